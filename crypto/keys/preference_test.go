package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/smime"
)

// usedFor returns a self-signed certificate for one use, and its key.
func usedFor(mail string, usage x509.KeyUsage) (cert, key []byte) {
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: mail}, EmailAddresses: []string{mail},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), KeyUsage: usage,
	}
	der := must(x509.CreateCertificate(rand.Reader, tpl, tpl, k.Public(), k))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(k))})
}

// TestKeyPreference: an authority with one certificate to sign and another one to
// decrypt sends both, and names the second (RFC 8551 section 2.5.3); OpenSSL
// finds the name. With one certificate for both nothing is said.
func TestKeyPreference(t *testing.T) {
	dir := t.TempDir()
	sc, sk := usedFor("amt@bl.example", x509.KeyUsageDigitalSignature)
	ec, ek := usedFor("amt@bl.example", x509.KeyUsageKeyAgreement)
	put(t, dir, "own/amt/sign.crt", sc, 0o600)
	put(t, dir, "own/amt/sign.key", sk, 0o600)
	put(t, dir, "own/amt/open.crt", ec, 0o600)
	put(t, dir, "own/amt/open.key", ek, 0o600)
	both, bk := usedFor("amt@bl.example", x509.KeyUsageDigitalSignature|x509.KeyUsageKeyAgreement)
	put(t, dir, "own/gericht/both.crt", both, 0o600)
	put(t, dir, "own/gericht/both.key", bk, 0o600)
	r := load(t, dir)
	encryption := must(smime.ParseCertificates(ec))[0]
	for authority, named := range map[string]bool{"amt": true, "gericht": false} {
		s := r.Signers(authority, addr("amt@bl.example"), now).SMIME
		if s == nil || (s.Encryption != nil) != named || named && !s.Encryption.Equal(encryption) {
			t.Fatalf("%s: %+v", authority, s)
		}
		text := "From: amt@bl.example\r\nContent-Type: text/plain\r\n\r\nGuten Tag\r\n"
		p := must(smime.Protect(strings.NewReader(text), int64(len(text)), smime.Options{Signer: s, Time: now}))
		var b bytes.Buffer
		must(p.WriteTo(&b))
		op := must(entity.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), entity.Options{At: now, Openers: r.Openers(Reader{Authority: "amt", At: now, Learned: []Partner{{Cert: s.Cert, Trust: Direct}}})}))
		certs, preferred := op.Layers[0].Signatures[0].Certificates, op.Layers[0].Signatures[0].Preferred
		if op.Signature != entity.Good || (len(certs) == 2) != named || named != bytes.Equal(preferred, encryption.Raw) {
			t.Errorf("%s: %s, %d certificates", authority, op.Signature, len(certs))
		}
		op.Close()
		if _, err := exec.LookPath("openssl"); err != nil {
			continue
		}
		cmd := exec.Command("openssl", "cms", "-cmsout", "-print", "-noout")
		cmd.Stdin = &b
		out, err := cmd.Output()
		if err != nil || strings.Contains(string(out), "id-smime-aa-encrypKeyPref (1.2.840.113549.1.9.16.2.11)") != named {
			t.Errorf("%s: OpenSSL: %v\n%s", authority, err, out)
		}
	}
}

// TestMethodOfPartner: an administrator's word for the partner, then for his
// domain; then what his program has announced, wherever the certificate is from.
func TestMethodOfPartner(t *testing.T) {
	file, _ := usedFor("bob@partner.example", x509.KeyUsageKeyAgreement)
	other, _ := usedFor("bob@partner.example", x509.KeyUsageKeyAgreement)
	cert, second, gcm := must(smime.ParseCertificates(file))[0], must(smime.ParseCertificates(other))[0], smime.Method{GCM: true, OAEP: true}
	for name, c := range map[string]struct {
		files   map[string]string
		learned []Partner
		want    smime.Method
	}{
		"nothing known":          {nil, nil, smime.Method{}},
		"announced":              {nil, []Partner{{Source: Mail, Trust: Direct, Cert: cert, Method: gcm}}, gcm},
		"by another certificate": {nil, []Partner{{Source: Mail, Trust: Waiting, Cert: second, Method: gcm}}, smime.Method{}},
		"written":                {map[string]string{"bob@partner.example.method": "RSAES-OAEP"}, []Partner{{Source: Mail, Trust: Direct, Cert: cert, Method: gcm}}, smime.Method{OAEP: true}},
		"written for all":        {map[string]string{"@partner.example.method": "opaque"}, []Partner{{Source: Mail, Trust: Direct, Cert: cert, Method: gcm}}, smime.Method{Opaque: true}},
		"written for both":       {map[string]string{"@partner.example.method": "opaque", "bob@partner.example.method": "AES-256-CBC"}, nil, smime.Method{}},
		"written for others":     {map[string]string{"@other.example.method": "opaque"}, nil, smime.Method{}},
	} {
		dir := t.TempDir()
		put(t, dir, "partners/bob@partner.example.crt", file, 0o600)
		for f, text := range c.files {
			put(t, dir, "partners/"+f, []byte(text), 0o600)
		}
		s := load(t, dir).Select(Wish{To: addr("bob@partner.example"), At: now, Learned: c.learned})
		if s.Certificate == nil || s.Method != c.want {
			t.Errorf("%s: %s", name, s.Method)
		}
	}
}
