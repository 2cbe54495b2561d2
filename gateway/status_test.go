package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"gatewayd/crypto/pdfsig"
	"gatewayd/gateway"
	"gatewayd/keysources"
	"gatewayd/message"
)

// TestStatusIsKept: what the issuer says of a receipt's seal is kept with the
// receipt and lies in its evidence bundle; a receipt whose seal was revoked
// before its time proves nothing.
func TestStatusIsKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status  int
		revoked time.Duration // before the receipt; less than 0: after it
		down    bool
		verdict message.Authenticity
	}{
		"good":           {ocsp.Good, 0, false, message.Verified},
		"revoked before": {ocsp.Revoked, 24 * time.Hour, false, message.Untrusted},
		"revoked after":  {ocsp.Revoked, -time.Second, false, message.Verified},
		"nobody answers": {ocsp.Good, 0, true, message.Verified},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			caKey, ca := certify(t, "Platform CA", nil, nil)
			responder := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
				raw, _ := io.ReadAll(in.Body)
				q, err := ocsp.ParseRequest(raw)
				if err != nil || c.down {
					out.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				text, _ := ocsp.CreateResponse(ca, ca, ocsp.Response{
					Status: c.status, SerialNumber: q.SerialNumber, RevokedAt: w.time().Add(-c.revoked), ThisUpdate: w.time().Add(-time.Minute), NextUpdate: w.time().Add(time.Hour),
				}, caKey)
				_, _ = out.Write(text)
			}))
			defer responder.Close()
			w.seal = revocableSeal(t, ca, caKey, responder.URL)
			edit, evidenceCA := sealing(t)
			r := newRigAt(t, w, t.TempDir(), rigOptions{edit: func(o *gateway.Options) {
				edit(o)
				u, _ := url.Parse(responder.URL)
				port, _ := strconv.Atoi(u.Port())
				guard := keysources.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Ports: []int{port}}
				o.Keys.Revocation = keysources.NewRevocation(keysources.NewFetcher(keysources.FetchOptions{Guard: guard, Plain: true}), keysources.Soft, o.Now)
			}})
			w.know(t, expectingText)
			id, item := r.registered()
			r.receives(w.receipt(t, "Abholquittung", item.Reference, "buerger@example.ch"))
			rs, err := r.store.Receipts(context.Background(), id)
			if err != nil || len(rs) != 1 || rs[0].Verdict != c.verdict || (len(rs[0].Status) == 1) == c.down {
				t.Fatalf("%v: %+v", err, rs)
			}
			if i := r.item(key(id, 1)); (i.Case == message.CaseCollected) != (c.verdict == message.Verified) {
				t.Errorf("case %s", i.Case)
			}
			if c.down && !strings.Contains(rs[0].Detail, "could not be learned") {
				t.Error(rs[0].Detail)
			}
			roots := evidenceCA.Pool()
			roots.AddCert(ca)
			rec := r.verified(key(id, 1), roots).Record.Receipts[0]
			if (len(rec.Status) == 1) == c.down {
				t.Errorf("bundle: %+v", rec)
			}
		})
	}
}

func revocableSeal(t *testing.T, ca *x509.Certificate, caKey *ecdsa.PrivateKey, responder string) platformSeal {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Test Siegel"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, OCSPServer: []string{responder},
	}, ca, &k.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return platformSeal{pdfsig.Signer{Cert: cert, Key: k}, ca, pool}
}
