package receipts

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
	"gatewayd/message"
)

var testDay = time.Date(2026, 11, 23, 13, 5, 6, 0, time.UTC)

// seal is a platform's seal with its own anchor.
type seal struct {
	signer pdfsig.Signer
	roots  *x509.CertPool
}

func newSeal(t testing.TB, name string) seal {
	t.Helper()
	caKey, ca := certify(t, name+" CA", nil, nil)
	key, cert := certify(t, name+" Siegel", ca, caKey)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return seal{pdfsig.Signer{Cert: cert, Key: key}, pool}
}

func certify(t testing.TB, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, Organization: []string{"Test"}},
		NotBefore: testDay.AddDate(-1, 0, 0), NotAfter: testDay.AddDate(5, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment, BasicConstraintsValid: true, IsCA: parent == nil,
	}
	if parent == nil {
		parent, parentKey, tmpl.KeyUsage = tmpl, key, x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// render makes a PDF with one shown string a line.
func render(t testing.TB, compress bool, lines ...string) []byte {
	t.Helper()
	pdf := fpdf.New("P", "mm", "A4", "")
	pdf.SetCompression(compress)
	pdf.AddPage()
	pdf.SetFont("Helvetica", "", 11)
	tr := pdf.UnicodeTranslatorFromDescriptor("")
	for _, l := range lines {
		pdf.CellFormat(0, 7, tr(l), "", 1, "L", false, 0, "")
	}
	var b bytes.Buffer
	if err := pdf.Output(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (s seal) sign(t testing.TB, pdf []byte) []byte {
	t.Helper()
	out, err := pdfsig.Sign(pdf, s.signer, pdfsig.Options{Name: "Platform", Time: testDay})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// receiptLines are those of the platform strings agreed with the simulator.
func receiptLines(title string) []string {
	return []string{
		title, "Absender: bau@bl.example", "Empfänger: buerger@example.ch", "Betreff: [BL-7F3K9Q2M] Verfügung über das Baugesuch",
		"Zeitpunkt: 2026-11-23T14:05:06+01:00", "SHA-256: " + strings.Repeat("ab", 32), "Simulation",
	}
}

// letter wraps a document into a platform's mail.
func letter(from, subject string, pdfs ...[]byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "From: %s\r\nTo: <bau@bl.example>\r\nSubject: %s\r\nDate: Mon, 23 Nov 2026 14:06:00 +0100\r\nMIME-Version: 1.0\r\n", from, subject)
	b.WriteString("Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nIm Anhang.\r\n")
	for _, pdf := range pdfs {
		b.WriteString("--b1\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"Abgabequittung.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		enc := base64.StdEncoding.EncodeToString(pdf)
		for len(enc) > 76 {
			b.WriteString(enc[:76] + "\r\n")
			enc = enc[76:]
		}
		b.WriteString(enc + "\r\n")
	}
	b.WriteString("--b1--\r\n")
	return b.String()
}

const (
	fromInca  = "IncaMail <swisspost@im.post.ch>"
	fromPriva = "PrivaSphere <securemessaging@privasphere.com>"
)

func recogniser(t testing.TB, o Options) *Recogniser {
	t.Helper()
	if o.Platforms == nil {
		o.Platforms = DefaultPlatforms()
	}
	r, errs := New(o)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return r
}

func input(raw string, roots map[string]*x509.CertPool) Input {
	return Input{
		Envelope: message.Envelope{From: message.Address{Local: "swisspost+T0KEN", Domain: "im.post.ch"}, Authority: "bau"},
		Body:     strings.NewReader(raw), Size: int64(len(raw)), Now: testDay.Add(time.Minute), Roots: roots,
	}
}
