package keysources

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestGuard: no connection to what is not of the public Internet, whatever the
// DNS says (quality.md S25).
func TestGuard(t *testing.T) {
	var dialed []string
	z := zone{"good.example": {public}, "both.example": {"10.0.0.1", public, "::1"}}
	g := Guard{Resolver: z, Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
		dialed = append(dialed, addr)
		a, b := net.Pipe()
		t.Cleanup(func() { _, _ = a.Close(), b.Close() })
		return a, nil
	}}
	internal := []string{
		"127.0.0.1", "127.255.0.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "192.0.0.8", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1",
		"::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1", "2001:0:7f00:1::", "fec0::1",
	}
	for i, ip := range internal {
		name := fmt.Sprintf("in%d.example", i)
		z[name] = []string{ip}
		for _, host := range []string{name, ip} {
			if c, err := g.DialContext(t.Context(), "tcp", net.JoinHostPort(host, "443")); !errors.Is(err, ErrGuarded) {
				t.Errorf("%s as %s: %v, %v", ip, host, c, err)
			}
		}
	}
	for _, port := range []string{"22", "25", "80", "8443", "0", "x"} {
		if _, err := g.DialContext(t.Context(), "tcp", "good.example:"+port); !errors.Is(err, ErrGuarded) {
			t.Errorf("port %s: %v", port, err)
		}
	}
	if len(dialed) > 0 {
		t.Fatalf("dialed %v", dialed)
	}
	for _, host := range []string{"good.example", "both.example", "2606:4700::1111"} {
		if _, err := g.DialContext(t.Context(), "tcp", net.JoinHostPort(host, "443")); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if want := "[8.8.8.8:443 8.8.8.8:443 [2606:4700::1111]:443]"; fmt.Sprint(dialed) != want {
		t.Errorf("dialed %v, want %s", dialed, want)
	}
	g.Allow = []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24")}
	if _, err := g.DialContext(t.Context(), "tcp", "10.1.2.3:443"); err != nil {
		t.Errorf("allowed network: %v", err)
	}
	if _, err := g.DialContext(t.Context(), "tcp", "10.1.3.3:443"); !errors.Is(err, ErrGuarded) {
		t.Errorf("the network beside it: %v", err)
	}
}

// TestRebinding: a name that changes its address between two questions is
// dialled where it was judged.
func TestRebinding(t *testing.T) {
	asked := 0
	var dialed string
	g := Guard{
		Resolver: resolverFunc(func() string { asked++; return []string{public, "127.0.0.1"}[min(asked-1, 1)] }),
		Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
			dialed = addr
			return nil, errors.New("enough")
		},
	}
	_, _ = g.DialContext(t.Context(), "tcp", "turn.example:443")
	if dialed != public+":443" {
		t.Errorf("dialed %q", dialed)
	}
	if _, err := g.DialContext(t.Context(), "tcp", "turn.example:443"); !errors.Is(err, ErrGuarded) {
		t.Errorf("afterwards: %v", err)
	}
}

type resolverFunc func() string

func (f resolverFunc) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr(f())}, nil
}

// TestFetch: limits, redirects, and that no error names the URL.
func TestFetch(t *testing.T) {
	z := zone{"good.example": {public}, "other.example": {public}, "inner.example": {"10.0.0.1"}}
	w := newWeb(t, z, FetchOptions{Limit: 1000}, func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{
			"/inner": "https://inner.example/ok", "/http": "http://good.example/ok", "/port": "https://good.example:8443/ok", "/user": "https://a:b@good.example/ok",
			"/file": "file:///etc/passwd", "/loop": "/loop", "/other": "https://other.example/ok", "/ip": "https://127.0.0.1/ok",
			"/3": "/2", "/2": "/1", "/1": "/ok",
		}[r.URL.Path]
		switch {
		case to != "":
			http.Redirect(w, r, to, http.StatusFound)
		case r.URL.Path == "/big":
			_, _ = w.Write(make([]byte, 1001))
		case r.URL.Path == "/zipped" && r.Header.Get("Accept-Encoding") != "":
			t.Error("asks for packed answers")
		case r.URL.Path == "/ok", r.URL.Path == "/zipped":
			_, _ = w.Write([]byte("ok"))
		case r.URL.Path == "/403":
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	for path, want := range map[string]error{
		"/ok": nil, "/zipped": nil, "/other": nil, "/3": nil, "/none": ErrNoAnswer, "/big": ErrTooLarge, "/inner": ErrGuarded, "/ip": ErrGuarded, "/port": ErrGuarded,
		"/http": errScheme, "/user": errScheme, "/file": errScheme, "/loop": errAny, "/403": errAny,
	} {
		text, err := w.fetch.Get(t.Context(), "https://good.example"+path+"?l=bob")
		if want == nil && (err != nil || string(text) != "ok") || want != nil && (err == nil || want != errAny && !errors.Is(err, want)) {
			t.Errorf("%s: %q, %v, want %v", path, text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "bob") {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, bad := range []string{"http://good.example/ok", "ftp://good.example/ok", "https:///ok", "https://u@good.example/", "::", "https://inner.example/ok"} {
		if _, err := w.fetch.Get(t.Context(), bad); err == nil {
			t.Errorf("%s is asked", bad)
		}
	}
	for _, d := range *w.dialed {
		if d != public+":443" {
			t.Errorf("dialed %s", d)
		}
	}
	if u, _ := url.Parse("https://good.example/"); w.fetch.allowed(u) != nil {
		t.Error("a good URL is refused")
	}
}

var errAny = errors.New("any")

// TestSlow: a server that never ends its answer costs the bound, no more.
func TestSlow(t *testing.T) {
	w := newWeb(t, zone{"slow.example": {public}}, FetchOptions{}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := w.fetch.Get(ctx, "https://slow.example/"); err == nil {
		t.Error("an answer")
	}
}
