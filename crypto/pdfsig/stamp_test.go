package pdfsig_test

import (
	"bytes"
	"crypto/x509"
	"testing"
	"time"

	"codeberg.org/go-pdf/fpdf"

	"gatewayd/crypto/pdfsig"
	"gatewayd/crypto/tsp"
	"gatewayd/message"
	"gatewayd/simulator"
)

// TestStampInside: a time stamp beside the signature proves the time at which
// the chain must have been good; one that is about something else counts as
// none.
func TestStampInside(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ca, err := simulator.NewCA("Platform CA")
	must(err)
	other, err := simulator.NewCA("Other CA")
	must(err)
	seal, err := ca.Client("Siegel")
	must(err)
	f := fpdf.New("P", "mm", "A4", "")
	f.AddPage()
	var doc bytes.Buffer
	must(f.Output(&doc))
	stampBy := func(c *simulator.CA, over func([]byte) []byte) func([]byte) ([]byte, error) {
		cert, err := c.TSA("TSA")
		must(err)
		tsa := &simulator.TSA{Cert: cert, Now: func() time.Time { return at.Add(time.Second) }}
		return func(signature []byte) ([]byte, error) {
			q, err := tsp.NewRequest(bytes.NewReader(over(signature)))
			if err != nil {
				return nil, err
			}
			answer, err := tsa.Stamp(q)
			if err != nil {
				return nil, err
			}
			return tsp.Token(answer)
		}
	}
	same := func(b []byte) []byte { return b }
	for name, c := range map[string]struct {
		stamp          func([]byte) ([]byte, error)
		fits, trusted  bool
		broken         bool
		detailContains string
	}{
		"none":            {nil, false, false, false, ""},
		"trusted":         {stampBy(ca, same), true, true, false, "time stamped 2026-11-23T12:00:01Z"},
		"untrusted":       {stampBy(other, same), true, false, false, ""},
		"about something": {stampBy(ca, func([]byte) []byte { return []byte("else") }), false, false, true, ""},
		"junk":            {func([]byte) ([]byte, error) { return []byte{0x30, 0}, nil }, false, false, true, ""},
	} {
		signed, err := pdfsig.Sign(doc.Bytes(), pdfsig.Signer{Cert: seal.Leaf, Key: seal.Key, Chain: []*x509.Certificate{seal.Issuer}}, pdfsig.Options{Time: at, Stamp: c.stamp})
		must(err)
		r, err := pdfsig.Verify(signed, pdfsig.VerifyOptions{Roots: ca.Pool()})
		must(err)
		s := r.Signatures[0]
		if r.Verdict != message.Verified || (s.Stamp != nil) != c.fits || (s.StampErr != nil) != c.broken || c.fits && s.Stamp.Trusted() != c.trusted || !bytes.Contains([]byte(r.Detail), []byte(c.detailContains)) {
			t.Errorf("%s: %s (%s), stamp %+v, %v", name, r.Verdict, r.Detail, s.Stamp, s.StampErr)
		}
	}
}
