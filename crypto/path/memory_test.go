package path

import (
	"bytes"
	"crypto/x509"
	"errors"
	"testing"
	"time"
)

// TestRemembered: what was checked once gives the same answer afterwards, in time
// and out of it; what was not signed by that key is never taken for signed.
func TestRemembered(t *testing.T) {
	root := issue("root", nil, ca)
	middle := issue("middle", &root, ca)
	leaf := issue("leaf", &middle, nil)
	a := New([]*x509.Certificate{root.cert}, nil, nil)
	o := Options{At: now, Others: []*x509.Certificate{middle.cert}}
	for range 2 {
		if _, err := a.Verify(leaf.cert, o); err != nil {
			t.Fatal(err)
		}
		late := o
		late.At = now.AddDate(100, 0, 0)
		if _, err := a.Verify(leaf.cert, late); !errors.Is(err, ErrTime) {
			t.Errorf("long after its end: %v", err)
		}
		banned := o
		banned.Revoked = func(*x509.Certificate, *x509.Certificate) error { return errBanned }
		if _, err := a.Verify(leaf.cert, banned); !errors.Is(err, errBanned) {
			t.Errorf("revoked meanwhile: %v", err)
		}
		if _, err := a.Verify(leaf.cert, Options{At: now}); !errors.Is(err, ErrUnknown) {
			t.Errorf("without the one between: %v", err)
		}
		if _, err := a.Verify(forged(t, leaf.cert), o); !errors.Is(err, ErrUnknown) {
			t.Errorf("another signature in the same certificate: %v", err)
		}
	}
	if n := len(a.memory.signed); n != 2 {
		t.Errorf("%d signatures remembered; want 2", n)
	}
}

var errBanned = errors.New("banned")

// forged returns the certificate with one octet of its signature changed.
func forged(t *testing.T, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	der := bytes.Clone(c.Raw)
	der[len(der)-1] ^= 1
	f, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestRememberedOnce: a certificate of a good path is parsed once, and a signature
// that fits is checked once; one that does not fit every time.
func TestRememberedOnce(t *testing.T) {
	root := issue("root", nil, ca)
	leaf := issue("leaf", &root, nil)
	a := New([]*x509.Certificate{root.cert}, nil, nil)
	if _, err := a.Verify(leaf.cert, Options{At: now}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*x509.Certificate{leaf.cert, root.cert} {
		if again, err := a.Certificate(bytes.Clone(c.Raw)); err != nil || again != c {
			t.Errorf("parsed again: %v", err)
		}
	}
	if _, err := a.Certificate([]byte("x")); err == nil {
		t.Error("junk is a certificate")
	}
	for fits, want := range map[bool]int{true: 1, false: 3} {
		m, calls := newMemory(), 0
		for range 3 {
			if got := m.once(root.cert, root.cert, func() bool { calls++; return fits }); got != fits {
				t.Errorf("%v came out as %v", fits, got)
			}
		}
		if calls != want {
			t.Errorf("fits %v: checked %d times; want %d", fits, calls, want)
		}
	}
}

// TestRememberedStranger: certificates that no anchor vouches for are not kept, neither
// those that are only parsed nor those that are tried for a path: parsed they may be many
// times as large, and they would push the others out.
func TestRememberedStranger(t *testing.T) {
	root, other := issue("root", nil, ca), issue("other", nil, ca)
	middle := issue("middle", &other, ca)
	leaf := issue("leaf", &middle, nil)
	a := New([]*x509.Certificate{root.cert}, nil, nil)
	for _, c := range []*x509.Certificate{leaf.cert, middle.cert, other.cert} {
		if _, err := a.Certificate(c.Raw); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Verify(leaf.cert, Options{At: now, Others: []*x509.Certificate{middle.cert, other.cert}}); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
	if _, err := a.Verify(issue("late", &root, nil).cert, Options{At: now.AddDate(100, 0, 0)}); !errors.Is(err, ErrTime) {
		t.Errorf("%v", err)
	}
	if n := len(a.memory.steps); n != 0 {
		t.Errorf("%d certificates are kept", n)
	}
}

// TestRememberedBounds: a flood of certificates does not fill the memory, and a
// large one is not kept.
func TestRememberedBounds(t *testing.T) {
	m := newMemory()
	root := issue("root", nil, ca)
	for i := range 3 * maxRemembered {
		c := *root.cert
		c.Raw = append(bytes.Clone(c.Raw), byte(i), byte(i>>8))
		m.keep(chain{m.step(&c)})
		m.once(root.cert, &c, func() bool { return true })
		if len(m.steps) > maxRemembered || len(m.signed) > maxRemembered {
			t.Fatalf("%d certificates, %d signatures", len(m.steps), len(m.signed))
		}
	}
	before := len(m.steps)
	large := *root.cert
	large.Raw = make([]byte, maxCertOctets+1)
	m.keep(chain{m.step(&large)})
	if before == 0 || len(m.steps) != before {
		t.Error("a large certificate was kept")
	}
}

// TestNothingRemembered: without anchors nobody is trusted, and nothing breaks.
func TestNothingRemembered(t *testing.T) {
	root := issue("root", nil, ca)
	var a *Anchors
	if c, err := a.Certificate(root.cert.Raw); err != nil || !c.Equal(root.cert) {
		t.Errorf("%v", err)
	}
	if _, err := a.Also(nil, []*x509.Certificate{root.cert}).Verify(root.cert, Options{At: time.Now()}); !errors.Is(err, ErrNoAnchor) {
		t.Errorf("%v", err)
	}
}
