package keysources

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net/http"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// TestAnswers: what issuers say is kept as it came: OCSP, else the list; for each
// certificate of a chain but the anchor; asked once while it holds.
func TestAnswers(t *testing.T) {
	root := newCA()
	asked := 0
	w := newWeb(t, zone{"ocsp.example": {public}, "crl.example": {public}}, FetchOptions{Plain: true, Guard: Guard{Ports: []int{80}}, Limit: maxList}, func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch r.Host {
		case "ocsp.example":
			q := must(ocsp.ParseRequest(must(io.ReadAll(r.Body))))
			a := ocsp.Response{Status: ocsp.Good, SerialNumber: q.SerialNumber, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(2 * time.Hour)}
			if q.SerialNumber.Int64() == 666 {
				a.Status, a.RevokedAt = ocsp.Revoked, now.AddDate(0, -1, 0)
			}
			_, _ = w.Write(must(ocsp.CreateResponse(root.cert, root.cert, a, root.key)))
		case "crl.example":
			_, _ = w.Write(must(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
				Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.AddDate(0, 0, 7),
				RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(667), RevocationTime: now.AddDate(0, -3, 0)}},
			}, root.cert, root.key)))
		}
	})
	leaf := func(serial int64, ocspAt, crlAt string) *x509.Certificate {
		c, _ := root.issue(func(c *x509.Certificate) {
			c.SerialNumber = big.NewInt(serial)
			if ocspAt != "" {
				c.OCSPServer = []string{ocspAt}
			}
			if crlAt != "" {
				c.CRLDistributionPoints = []string{crlAt}
			}
		})
		return c
	}
	const ocspURL, crlURL = "http://ocsp.example/", "http://crl.example/list"
	for name, c := range map[string]struct {
		leaf    *x509.Certificate
		kind    string
		revoked time.Time
	}{
		"good by OCSP":    {leaf(7, ocspURL, crlURL), "ocsp", time.Time{}},
		"revoked by OCSP": {leaf(666, ocspURL, ""), "ocsp", now.AddDate(0, -1, 0)},
		"good by list":    {leaf(8, "", crlURL), "crl", time.Time{}},
		"revoked by list": {leaf(667, "http://nobody.example/", crlURL), "crl", now.AddDate(0, -3, 0)},
		"nobody to ask":   {leaf(9, "", ""), "", time.Time{}},
	} {
		r := NewRevocation(w.fetch, Soft, func() time.Time { return now })
		for range 2 {
			before := asked
			list, err := r.Answers(t.Context(), []*x509.Certificate{c.leaf, root.cert})
			if c.kind == "" {
				if len(list) != 0 || !errors.Is(err, ErrStatusUnknown) {
					t.Errorf("%s: %d answers, %v", name, len(list), err)
				}
				continue
			}
			if err != nil || len(list) != 1 || list[0].Kind != c.kind || !list[0].Revoked.Equal(c.revoked) || !list[0].Of.Equal(c.leaf) || len(list[0].Data) == 0 {
				t.Fatalf("%s: %+v, %v", name, list, err)
			}
			again, _ := r.Answers(t.Context(), []*x509.Certificate{c.leaf, root.cert})
			if !bytes.Equal(again[0].Data, list[0].Data) || asked > before+1 {
				t.Errorf("%s: asked %d times", name, asked-before)
			}
		}
	}
	if list, err := NewRevocation(w.fetch, Off, func() time.Time { return now }).Answers(t.Context(), []*x509.Certificate{leaf(7, ocspURL, ""), root.cert}); len(list) != 0 || err != nil {
		t.Errorf("off: %d, %v", len(list), err)
	}
	if list, err := NewRevocation(nil, Soft, func() time.Time { return now }).Answers(t.Context(), []*x509.Certificate{root.cert}); len(list) != 0 || err != nil {
		t.Errorf("an anchor alone: %d, %v", len(list), err)
	}
}
