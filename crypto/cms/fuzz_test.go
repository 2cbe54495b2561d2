package cms

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatewayd/crypto/ber"
)

// fixed is a signer whose signatures are the same in every process, as the
// fuzzing engine needs it.
var fixed = sync.OnceValue(func() identity {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Fuzz"},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der := must(x509.CreateCertificate(nil, tpl, tpl, key.Public(), key))
	return identity{cert: must(x509.ParseCertificate(der)), key: key}
})

// FuzzVerify wants no panic, and no good word about content that was not
// signed.
func FuzzVerify(f *testing.F) {
	id := fixed()
	f.Add(must(attach(strings.NewReader(text), id.signer(), SignOptions{Time: now})), false)
	f.Add(must(Sign(strings.NewReader(text), id.signer(), SignOptions{Time: now})), true)
	f.Add(must(Sign(strings.NewReader(text), id.signer(), SignOptions{Hash: 0})), true)
	f.Add(bytes.Repeat([]byte{0x30, 0x80}, 100), false)
	f.Add(bytes.Repeat([]byte{0x24, 0x80}, 100), false)
	roots := x509.NewCertPool()
	roots.AddCert(id.cert)
	f.Fuzz(func(t *testing.T, der []byte, detached bool) {
		var out bytes.Buffer
		var content io.Reader
		if detached {
			content = strings.NewReader(text)
			out.WriteString(text)
		}
		r, err := Verify(bytes.NewReader(der), content, VerifyOptions{Trust: TrustPool(roots), At: now, Out: &out, Limits: ber.Limits{Size: 1 << 20}})
		if err != nil {
			return
		}
		for _, s := range r.Signatures {
			if s.ChainErr == nil && (out.String() != text || !s.Cert.Equal(id.cert)) {
				t.Errorf("verified %q", out.String())
			}
		}
	})
}

// FuzzDecrypt wants no panic and no endless work.
func FuzzDecrypt(f *testing.F) {
	// A published key, so that what is found fails in every process.
	key, cert := rfc9216(f)
	for _, size := range []int64{int64(len(text)), -1} {
		var b bytes.Buffer
		if err := Encrypt(&b, strings.NewReader(text), size, EncryptOptions{Recipients: []*x509.Certificate{cert}, PKCS1v15: size < 0, Cipher: AES256GCM}); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	curve := must(ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{1}, 32)))
	tpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Fuzz"}}
	ec := must(x509.ParseCertificate(must(x509.CreateCertificate(nil, tpl, tpl, curve.Public(), curve))))
	f.Add(must(sealedFor(ec)))
	f.Add(must(sealedFor(cert)))
	f.Add(bytes.Repeat([]byte{0x30, 0x80}, 100))
	keys := []Recipient{{Cert: cert, Key: key}, {Cert: ec, Agree: must(curve.ECDH())}}
	f.Fuzz(func(t *testing.T, der []byte) {
		var out counter
		_, err := Decrypt(&out, bytes.NewReader(der), keys, ber.Limits{Size: 1 << 20})
		if err == nil && int(out) > len(der) {
			t.Errorf("%d octets out of %d", out, len(der))
		}
	})
}

func sealedFor(c *x509.Certificate) ([]byte, error) {
	var b bytes.Buffer
	err := Encrypt(&b, strings.NewReader(text), -1, EncryptOptions{Recipients: []*x509.Certificate{c}})
	return b.Bytes(), err
}

// rfc9216 returns Bob's key for decryption.
func rfc9216(f *testing.F) (*rsa.PrivateKey, *x509.Certificate) {
	dir := filepath.Join("..", "..", "..", "shared", "corpora", "rfc-smime-examples", "rfc9216-pem")
	if _, err := os.Stat(dir); err != nil {
		f.Skip("corpus rfc-smime-examples is not here")
	}
	key, _ := pem.Decode(get(f, dir, "5.4_Bob-s-Decryption-Private-Key-Material.pem"))
	cert, _ := pem.Decode(get(f, dir, "5.3_Bob-s-Encryption-End-Entity-Certificate.pem"))
	return must(x509.ParsePKCS8PrivateKey(key.Bytes)).(*rsa.PrivateKey), must(x509.ParseCertificate(cert.Bytes))
}

// FuzzCapabilities wants no panic.
func FuzzCapabilities(f *testing.F) {
	f.Add(ownCapabilities())
	f.Fuzz(func(_ *testing.T, der []byte) {
		_, _ = ParseCapabilities(der)
		_ = KindOf(bytes.NewReader(der))
	})
}
