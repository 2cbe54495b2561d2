package pdfsig

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"codeberg.org/go-pdf/fpdf"
)

var testTime = time.Date(2026, 11, 23, 14, 5, 6, 0, time.FixedZone("CET", 3600))

func TestQuick(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Quick"}, NotBefore: testTime.Add(-time.Hour), NotAfter: testTime.AddDate(5, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature}
	der, _ := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	cert, _ := x509.ParseCertificate(der)
	f := fpdf.New("P", "mm", "A4", "")
	f.AddPage()
	f.SetFont("Helvetica", "", 12)
	f.Cell(40, 10, "Abgabequittung")
	var b bytes.Buffer
	if err := f.Output(&b); err != nil {
		t.Fatal(err)
	}
	out, err := Sign(b.Bytes(), Signer{Cert: cert, Key: key}, Options{Name: "Prüf", Reason: "x(y", Time: testTime})
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(t.TempDir(), "a.pdf")
	os.WriteFile(p, out, 0o600)
	got, err := exec.Command("pdfsig", p).CombinedOutput()
	t.Logf("%s %v", got, err)
	if !strings.Contains(string(got), "Signature is Valid") {
		t.Fail()
	}
}
