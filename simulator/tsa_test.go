package simulator_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/tsp"
	"gatewayd/simulator"
)

// TestTSA: the loopback TSA stamps for our client and refuses nonsense; package
// tsp lets OpenSSL check its stamps.
func TestTSA(t *testing.T) {
	ca, err := simulator.NewCA("TSA test")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.TSA("TSA")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 12, 7, 9, 30, 0, 0, time.UTC)
	s := httptest.NewServer(&simulator.TSA{Cert: cert, Now: func() time.Time { return at }})
	defer s.Close()
	c := tsp.Client{URL: s.URL, HTTP: s.Client(), Trust: cms.TrustPool(ca.Pool())}
	if _, stamp, err := c.Stamp(context.Background(), strings.NewReader("x")); err != nil || !stamp.At.Equal(at) || !stamp.Trusted() {
		t.Errorf("%+v, %v", stamp, err)
	}
	res, err := http.Post(s.URL, "application/timestamp-query", strings.NewReader("nonsense"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer := make([]byte, 100)
	n, _ := res.Body.Read(answer)
	if _, err := tsp.Token(answer[:n]); err == nil || !strings.Contains(err.Error(), "malformed request") {
		t.Errorf("nonsense: %v", err)
	}
}
