package gateway_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"codeberg.org/go-pdf/fpdf"

	"gatewayd/crypto/pdfsig"
)

// platformSeal signs receipts as IncaMail would.
type platformSeal struct {
	signer pdfsig.Signer
	issuer *x509.Certificate
	roots  *x509.CertPool
}

func newSeal(t testing.TB) platformSeal {
	t.Helper()
	caKey, ca := certify(t, "Test CA", nil, nil)
	k, cert := certify(t, "Test Siegel", ca, caKey)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return platformSeal{pdfsig.Signer{Cert: cert, Key: k}, ca, pool}
}

func certify(t testing.TB, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: day, NotAfter: day.AddDate(5, 0, 0), BasicConstraintsValid: true, IsCA: parent == nil,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment,
	}
	if parent == nil {
		parent, parentKey, tmpl.KeyUsage = tmpl, k, x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &k.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return k, cert
}

// receipt returns IncaMail's mail with a sealed receipt about one of our items.
func (w *world) receipt(t testing.TB, kind, reference, to string, more ...string) string {
	t.Helper()
	return carry(kind, w.document(t, kind, reference, to, more...))
}

func (w *world) document(t testing.TB, kind, reference, to string, more ...string) []byte {
	t.Helper()
	pdf := fpdf.New("P", "mm", "A4", "")
	pdf.AddPage()
	pdf.SetFont("Helvetica", "", 11)
	tr := pdf.UnicodeTranslatorFromDescriptor("")
	for _, l := range append([]string{
		"IncaMail " + kind, "Absender: bau@inca.example", "Empfänger: " + to, "Betreff: [" + reference + "] Entscheid",
		"Zeitpunkt: " + w.time().Format(time.RFC3339),
	}, more...) {
		pdf.CellFormat(0, 7, tr(l), "", 1, "L", false, 0, "")
	}
	var b bytes.Buffer
	if err := pdf.Output(&b); err != nil {
		t.Fatal(err)
	}
	signed, err := pdfsig.Sign(b.Bytes(), w.seal.signer, pdfsig.Options{Name: "IncaMail", Time: w.time()})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// carry wraps a document into a platform's mail.
func carry(kind string, pdf []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "From: IncaMail <swisspost@im.post.ch>\r\nTo: <bau@bl.example>\r\nSubject: %s: Entscheid\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\n", kind)
	b.WriteString("--b1\r\nContent-Type: text/plain\r\n\r\nIm Anhang.\r\n--b1\r\nContent-Type: application/pdf; name=q.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	enc := base64.StdEncoding.EncodeToString(pdf)
	for len(enc) > 76 {
		b.WriteString(enc[:76] + "\r\n")
		enc = enc[76:]
	}
	b.WriteString(enc + "\r\n--b1--\r\n")
	return b.String()
}

const platformSender = "swisspost+t0ken@im.post.ch"
