package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/smime"
	"gatewayd/message"
)

// testCA issues certificates for mail.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newTestCA(t *testing.T) testCA {
	t.Helper()
	c := testCA{}
	tpl := &x509.Certificate{Subject: pkix.Name{CommonName: "Partner CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.key = key
	c.cert = c.issue(t, tpl, key.Public())
	return c
}

func (c testCA) issue(t *testing.T, tpl *x509.Certificate, public any) *x509.Certificate {
	t.Helper()
	tpl.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<60))
	tpl.NotBefore, tpl.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	parent := c.cert
	if parent == nil {
		parent = tpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, parent, public, c.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// mail issues a certificate for an address with a new key.
func (c testCA) mail(t *testing.T, address string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return c.issue(t, &x509.Certificate{EmailAddresses: []string{address}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement}, key.Public()), key
}

func (r *rig) temp(name string, data []byte) string {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// TestKeys: an administrator's day with keys, beside the running gateway.
func TestKeys(t *testing.T) {
	need(t, "openssl", "openssl")
	r := newRig(t, nil)
	r.start()
	ca := newTestCA(t)
	must := func(code int, word string, args ...string) string {
		t.Helper()
		out, got := r.run(append([]string{"keys"}, args...)...)
		if got != code || !strings.Contains(out, word) {
			t.Fatalf("keys %v: exit %d, want %d and %q:\n%s", args, got, code, word, out)
		}
		return out
	}
	must(1, "no usable key", "find", "neu@partner.example")
	dialogue, err := r.swaks("--to", "neu@partner.example", "--header", "Subject: x", "--add-header", "Sensitivity: Company-Confidential")
	if err != nil {
		t.Fatalf("%v\n%s", err, dialogue)
	}
	id := idIn(t, dialogue)
	await(t, "the message is held", func() bool { return r.trace(id.String())[0].Items[0].State == message.Held })

	// A partner's certificate lets the message go.
	cert, _ := ca.mail(t, "neu@partner.example")
	fp := smime.Fingerprint(cert)
	file := r.temp("neu.crt", certPEM(cert))
	must(0, "written", "import", file)
	must(1, "exist", "import", file)
	must(0, "* smime", "find", "neu@partner.example")
	await(t, "the message goes on", func() bool { return r.trace(id.String())[0].Items[0].State == message.Done })
	if out := must(0, "BEGIN CERTIFICATE", "export", fp[:12]); out != string(certPEM(cert)) {
		t.Errorf("export:\n%s", out)
	}
	must(0, "neu@partner.example", "show", fp)
	must(1, "needed", "revoke", "--reason", " ", fp)
	must(0, "revoked", "revoke", "--reason", "kompromittiert", fp)
	must(1, "out of use", "find", "neu@partner.example")
	must(1, "no such key", "approve", "--reason", "x", "00112233")

	// Renewal: the request, its certificate, a PKCS #12 file, the old key's end.
	request, code := r.run("keys", "csr", "--authority", "bauinspektorat", "--address", "bauinspektorat@bl.example", "--key", "p256")
	block, _ := pem.Decode([]byte(request[max(strings.Index(request, "-----BEGIN"), 0):]))
	if code != 0 || block == nil {
		t.Fatalf("csr: %d\n%s", code, request)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil || len(csr.EmailAddresses) != 1 {
		t.Fatalf("request: %v", err)
	}
	renewed := ca.issue(t, &x509.Certificate{EmailAddresses: csr.EmailAddresses, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement}, csr.PublicKey)
	must(0, "request-", "import", "--authority", "bauinspektorat", r.temp("neu.crt", certPEM(renewed)))
	must(1, "private key", "import", "--authority", "bauinspektorat", r.temp("fremd.crt", certPEM(cert)))
	must(1, "no authority", "import", "--authority", "niemand", r.temp("neu.crt", certPEM(renewed)))
	byP12, key := ca.mail(t, "bauinspektorat@bl.example")
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	both := r.temp("both.pem", append(certPEM(byP12, ca.cert), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...))
	p12 := filepath.Join(t.TempDir(), "seal.p12")
	if out, err := exec.Command("openssl", "pkcs12", "-export", "-in", both, "-out", p12, "-passout", "pass:geheim").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	must(1, "password", "import", "--authority", "bauinspektorat", p12)
	must(0, smime.Fingerprint(byP12)[:16]+".key", "import", "--authority", "bauinspektorat", "--password-file", r.temp("pw", []byte("geheim\n")), p12)
	if info, err := os.Stat(filepath.Join(r.cfg.Keyring, "own", "bauinspektorat", smime.Fingerprint(byP12)[:16]+".key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	must(0, "revoked", "revoke", "--reason", "abgelöst", "--opens-until", "2029-12-31", smime.Fingerprint(renewed))
	must(0, "written", "import", "--anchor", "zertes", r.temp("ca.crt", certPEM(ca.cert)))
	must(1, "no issuer", "import", "--anchor", "zertes", r.temp("ca.crt", certPEM(cert)))
	states := map[string]string{}
	var list []message.KeyInfo
	if err := json.Unmarshal([]byte(must(0, "[", "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, k := range list {
		states[k.Fingerprint] = strings.TrimSpace(k.Kind + " " + k.Set + " " + k.State)
	}
	for c, want := range map[*x509.Certificate]string{renewed: "own  opens old mail only", byP12: "own  usable", ca.cert: "anchor zertes usable", cert: "partner  out of use by an administrator's decision"} {
		if got := states[smime.Fingerprint(c)]; got != want {
			t.Errorf("%s: %q, want %q", c.EmailAddresses, got, want)
		}
	}
	must(0, "bauinspektorat", "list", "--authority", "bauinspektorat", "--expiring", "400")
	if out := must(0, "KIND", "list", "--waiting"); strings.Count(out, "\n") != 1 {
		t.Errorf("something waits:\n%s", out)
	}
}
