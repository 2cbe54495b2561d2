package keysources

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"gatewayd/crypto/entity"
)

// TestOCSP: good, revoked, unknown; by whom an answer may be signed; and that it
// is remembered.
func TestOCSP(t *testing.T) {
	root := newCA()
	bad, good := int64(666), int64(7)
	delegate, delegateKey := root.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} })
	intruder, intruderKey := root.issue(func(c *x509.Certificate) { c.EmailAddresses = []string{"eve@partner.example"} })
	var asked atomic.Int32
	var edit func(*ocsp.Response)
	signer := ""
	w := newWeb(t, zone{"ocsp.example": {public}}, FetchOptions{Plain: true, Guard: Guard{Ports: []int{80}}}, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		q := must(ocsp.ParseRequest(must(io.ReadAll(r.Body))))
		a := ocsp.Response{Status: ocsp.Good, SerialNumber: q.SerialNumber, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(2 * time.Hour)}
		if q.SerialNumber.Int64() == bad {
			a.Status, a.RevokedAt = ocsp.Revoked, now.AddDate(0, -1, 0)
		}
		if edit != nil {
			edit(&a)
		}
		by, key := root.cert, root.key
		switch signer {
		case "delegate":
			by, key, a.Certificate = delegate, delegateKey, delegate
		case "intruder":
			by, key, a.Certificate = intruder, intruderKey, intruder
		case "stranger":
			other := newCA()
			by, key = other.cert, other.key
		}
		_, _ = w.Write(must(ocsp.CreateResponse(root.cert, by, a, key)))
	})
	leaf := func(serial int64) *x509.Certificate {
		c, _ := root.issue(func(c *x509.Certificate) {
			c.SerialNumber, c.OCSPServer = big.NewInt(serial), []string{"http://ocsp.example/"}
		})
		return c
	}
	for _, c := range []struct {
		name, signer string
		serial       int64
		edit         func(*ocsp.Response)
		soft, hard   error
	}{
		{"good", "", good, nil, nil, nil},
		{"revoked", "", bad, nil, entity.ErrRevoked, entity.ErrRevoked},
		{"revoked, by a delegate", "delegate", bad, nil, entity.ErrRevoked, entity.ErrRevoked},
		{"good, by a delegate", "delegate", good, nil, nil, nil},
		{"good, says a user of the same issuer", "intruder", good, nil, nil, ErrStatusUnknown},
		{"good, says another issuer", "stranger", good, nil, nil, ErrStatusUnknown},
		{"unknown", "", good, func(a *ocsp.Response) { a.Status = ocsp.Unknown }, nil, ErrStatusUnknown},
		{"old", "", good, func(a *ocsp.Response) { a.ThisUpdate, a.NextUpdate = now.AddDate(0, 0, -3), now.AddDate(0, 0, -2) }, nil, ErrStatusUnknown},
		{"of the future", "", good, func(a *ocsp.Response) { a.ThisUpdate = now.Add(time.Hour) }, nil, ErrStatusUnknown},
		{"revoked later than asked", "", bad, func(a *ocsp.Response) { a.RevokedAt = now.Add(time.Hour) }, nil, nil},
	} {
		edit, signer = c.edit, c.signer
		for mode, want := range map[Mode]error{Soft: c.soft, Hard: c.hard, Off: nil} {
			r := NewRevocation(w.fetch, mode, func() time.Time { return now })
			x := leaf(c.serial)
			for range 2 {
				if err := r.Asker(t.Context(), now)(x, root.cert); !errors.Is(err, want) {
					t.Errorf("%s, %s: %v, want %v", c.name, mode, err, want)
				}
			}
		}
	}
	edit, signer = nil, ""
	clock := now
	r := NewRevocation(w.fetch, Hard, func() time.Time { return clock })
	x := leaf(bad)
	before := asked.Load()
	for _, step := range []struct {
		after time.Duration
		asks  int32
	}{{0, 1}, {time.Hour, 1}, {3 * time.Hour, 2}} {
		clock = now.Add(step.after)
		_ = r.Asker(t.Context(), now)(x, root.cert)
		if got := asked.Load() - before; got != step.asks {
			t.Errorf("after %s: asked %d times, want %d", step.after, got, step.asks)
		}
	}
}

// TestCRL: the list of the issuer, where nobody answers OCSP.
func TestCRL(t *testing.T) {
	root, other := newCA(), newCA()
	bad := big.NewInt(666)
	idp := pkix.Extension{Id: []int{2, 5, 29, 28}, Critical: true}
	flag := func(tag byte) []byte { return []byte{0x30, 3, 0x80 | tag, 1, 0xff} }
	lists := map[string]*x509.RevocationList{
		"/good": {}, "/old": {ThisUpdate: now.AddDate(0, -2, 0), NextUpdate: now.AddDate(0, -1, 0)}, "/other": {}, "/user": {ExtraExtensions: []pkix.Extension{idp}},
		"/ca": {ExtraExtensions: []pkix.Extension{idp}}, "/indirect": {ExtraExtensions: []pkix.Extension{idp}}, "/odd": {ExtraExtensions: []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}},
	}
	for path, tag := range map[string]byte{"/user": 1, "/ca": 2, "/indirect": 4} {
		lists[path].ExtraExtensions[0].Value = flag(tag)
	}
	asked := map[string]int{}
	w := newWeb(t, zone{"crl.example": {public}}, FetchOptions{Plain: true, Guard: Guard{Ports: []int{80}}, Limit: maxList}, func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		tpl, ok := lists[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		full := *tpl
		full.Number, full.RevokedCertificateEntries = big.NewInt(1), []x509.RevocationListEntry{{SerialNumber: bad, RevocationTime: now.AddDate(0, -3, 0)}}
		if full.ThisUpdate.IsZero() {
			full.ThisUpdate, full.NextUpdate = now.Add(-time.Hour), now.AddDate(0, 0, 7)
		}
		by := root
		if r.URL.Path == "/other" {
			by = other
		}
		_, _ = w.Write(must(x509.CreateRevocationList(rand.Reader, &full, by.cert, by.key)))
	})
	for path, known := range map[string]bool{"/good": true, "/user": true, "/old": false, "/other": false, "/ca": false, "/indirect": false, "/odd": false, "/none": false} {
		for _, serial := range []*big.Int{bad, big.NewInt(7)} {
			c, _ := root.issue(func(c *x509.Certificate) {
				c.SerialNumber, c.CRLDistributionPoints = serial, []string{"ldap://crl.example/x", "http://crl.example" + path}
			})
			want := ErrStatusUnknown
			if known {
				want = map[bool]error{true: entity.ErrRevoked, false: nil}[serial == bad]
			}
			r := NewRevocation(w.fetch, Hard, func() time.Time { return now })
			if err := r.Asker(t.Context(), now)(c, root.cert); !errors.Is(err, want) {
				t.Errorf("%s, serial %s: %v, want %v", path, serial, err, want)
			}
		}
	}
	r := NewRevocation(w.fetch, Hard, func() time.Time { return now })
	before := asked["/good"]
	for i := range 3 {
		c, _ := root.issue(func(c *x509.Certificate) {
			c.SerialNumber, c.CRLDistributionPoints = big.NewInt(int64(i)+10), []string{"http://crl.example/good"}
		})
		if err := r.Asker(t.Context(), now)(c, root.cert); err != nil {
			t.Error(err)
		}
	}
	if n := asked["/good"] - before; n != 1 {
		t.Errorf("one list was fetched %d times", n)
	}
	c, _ := root.issue(func(c *x509.Certificate) {
		c.CRLDistributionPoints = []string{"http://127.0.0.1/good", "http://crl.example:22/good"}
	})
	dialed := len(*w.dialed)
	if err := r.Asker(t.Context(), now)(c, root.cert); !errors.Is(err, ErrStatusUnknown) || len(*w.dialed) != dialed {
		t.Errorf("a list in an internal network: %v, dialed %v", err, slices.Clone(*w.dialed)[dialed:])
	}
	if err := NewRevocation(nil, Hard, func() time.Time { return now }).Asker(t.Context(), now)(c, root.cert); !errors.Is(err, ErrStatusUnknown) {
		t.Errorf("nobody to ask: %v", err)
	}
}
