package pdfsig

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"codeberg.org/go-pdf/fpdf"
)

// now is when the tests sign; the certificates are good around it.
var now = time.Date(2026, 11, 23, 14, 5, 6, 0, time.FixedZone("CET", 3600))

// pki is an anchor, a platform below it, and a stranger with the same names.
type pki struct {
	roots               *x509.CertPool
	ca                  *x509.Certificate
	ec, rsa2048, sealer Signer
	stranger, short     Signer
}

var testPKI = sync.OnceValue(func() pki {
	caKey, ca := authority("Test Root")
	falseKey, falseCA := authority("Test Root")
	p := pki{roots: x509.NewCertPool(), ca: ca}
	p.roots.AddCert(ca)
	p.ec = leaf("Plattform EC", newEC(elliptic.P256()), caKey, ca)
	p.sealer = leaf("Plattform P-384", newEC(elliptic.P384()), caKey, ca)
	p.rsa2048 = leaf("Plattform RSA", newRSA(2048), caKey, ca)
	p.short = leaf("Plattform RSA kurz", newRSA(1024), caKey, ca)
	p.stranger = leaf("Plattform EC", newEC(elliptic.P256()), falseKey, falseCA)
	return p
})

func newEC(c elliptic.Curve) stdcrypto.Signer {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func newRSA(bits int) stdcrypto.Signer {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return k
}

func authority(name string) (stdcrypto.Signer, *x509.Certificate) {
	key := newEC(elliptic.P256())
	return key, certificate(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, key, key)
}

func leaf(name string, key, caKey stdcrypto.Signer, ca *x509.Certificate) Signer {
	return Signer{Key: key, Chain: []*x509.Certificate{ca}, Cert: certificate(&x509.Certificate{
		SerialNumber: big.NewInt(int64(len(name)) + 1000), Subject: pkix.Name{CommonName: name, Organization: []string{"Test"}},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment,
	}, ca, key, caKey)}
}

func certificate(tpl, parent *x509.Certificate, key, caKey stdcrypto.Signer) *x509.Certificate {
	if parent == nil {
		parent = tpl
	}
	tpl.NotBefore, tpl.NotAfter = now.AddDate(-1, 0, 0), now.AddDate(2, 0, 0)
	der, err := x509.CreateCertificate(rand.Reader, tpl, parent, key.Public(), caKey)
	if err != nil {
		panic(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return c
}

// receipt makes a PDF as the simulator does.
func receipt(t testing.TB, compressed bool, pages int) []byte {
	t.Helper()
	f := fpdf.New("P", "mm", "A4", "")
	f.SetCompression(compressed)
	f.SetTitle("Abgabequittung", true)
	f.SetCreationDate(now)
	f.SetModificationDate(now)
	for i := range pages {
		f.AddPage()
		f.SetFont("Helvetica", "", 12)
		f.Cell(40, 10, fmt.Sprintf("IncaMail Abgabequittung, Seite %d /ByteRange", i+1))
	}
	var b bytes.Buffer
	if err := f.Output(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sign(t testing.TB, pdf []byte, s Signer) []byte {
	t.Helper()
	out, err := Sign(pdf, s, Options{Name: "Plattform", Reason: "Abgabequittung", Time: now})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// need skips, or fails in CI, where a tool is missing.
func need(t *testing.T, tool, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		text := fmt.Sprintf("needs %s: apt-get install %s", tool, pkg)
		if os.Getenv("CI") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
}

func corpus(t *testing.T, parts ...string) string {
	t.Helper()
	dir := filepath.Join(append([]string{"..", "..", "..", "shared", "corpora", "pdf-signed"}, parts...)...)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("corpus pdf-signed is not here: %v", err)
	}
	return dir
}

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
