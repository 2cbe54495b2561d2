package gateway_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/tsp"
	"gatewayd/retention"
	"gatewayd/simulator"
)

// TestVerifyProtocols: the chain of the protocols of destruction verifies, and
// whatever is altered, left out, put elsewhere or cut off is named.
func TestVerifyProtocols(t *testing.T) {
	f := newOffice(t)
	f.run()
	for n := range 3 {
		f.plant("normal", "prot-"+string(rune('a'+n)))
		f.quiet()
		f.to(f.w.time().Add(24 * time.Hour))
	}
	f.close()
	f.open(t, f.w, f.dir)
	f.sweep()
	for limit := retention.Default().EraseBy(f.w.time()); f.w.time().Before(limit); f.w.set(f.w.time().Add(12 * time.Hour)) {
		f.sweep()
	}
	dir := filepath.Join(f.dir, "protocols")
	whole, err := f.ret.VerifyProtocols()
	if err != nil || !whole.OK() || whole.Protocols < 3 || whole.Objects < 3 {
		t.Fatalf("%+v %v", whole, err)
	}
	key, err := f.keys.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	public := key.Public().(ed25519.PublicKey)
	names, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	first, second, last := names[0], names[1], names[len(names)-1]
	foreign, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		do     func(t *testing.T, dir string)
		public ed25519.PublicKey
		want   []string
	}{
		"as it is":     {func(*testing.T, string) {}, public, nil},
		"without key":  {func(*testing.T, string) {}, nil, nil},
		"foreign key":  {func(*testing.T, string) {}, foreign, []string{"00000001", "signature"}},
		"altered":      {func(t *testing.T, dir string) { alter(t, dir, second) }, public, []string{"00000002", "signature"}},
		"left out":     {func(t *testing.T, dir string) { remove(t, dir, second) }, public, []string{"00000003", "number 2 is missing"}},
		"another name": {func(t *testing.T, dir string) { rename(t, dir, first, "00000001-content-2020-01-01.jsonl") }, public, []string{"00000001", "it tells of"}},
		"exchanged": {func(t *testing.T, dir string) {
			rename(t, dir, second, "00000001-"+filepath.Base(second)[9:])
			rename(t, dir, first, "00000002-"+filepath.Base(first)[9:])
			remove(t, dir, first)
		}, public, []string{"00000001", "it follows"}},
		"an older end": {func(t *testing.T, dir string) { remove(t, dir, last) }, public, nil}, // whole in itself
	} {
		t.Run(name, func(t *testing.T) {
			copied := t.TempDir()
			copyTree(t, dir, copied)
			tt.do(t, copied)
			got, err := retention.VerifyProtocols(copied, tt.public, nil)
			if err != nil || got.OK() != (tt.want == nil) {
				t.Errorf("%+v %v", got, err)
			}
			for _, w := range tt.want {
				if !strings.Contains(got.Bad, w) {
					t.Errorf("%q does not say %q", got.Bad, w)
				}
			}
		})
	}
	f.stamped(dir, public, names)
	// The gateway itself knows which keys it destroyed: a cut-off end is found.
	if err := os.Remove(last); err != nil {
		t.Fatal(err)
	}
	got, err := f.ret.VerifyProtocols()
	if err != nil || got.OK() || !strings.Contains(got.Bad, filepath.Base(last)[9:len(filepath.Base(last))-len(".jsonl")]) {
		t.Errorf("cut off: %+v %v", got, err)
	}
	f.shut()
}

func alter(t *testing.T, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, filepath.Base(name))
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(text, []byte(`"bl-egov"`), []byte(`"bl-egow"`), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, filepath.Base(name))); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

func rename(t *testing.T, dir, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, filepath.Base(from)), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}

// stamped: protocols are stamped in order, later when nobody answers; a stamp of
// another protocol, of a stranger, or one that is cut, is named.
func (f *office) stamped(dir string, public ed25519.PublicKey, names []string) {
	f.t.Helper()
	ca, err := simulator.NewCA("Zeit AG")
	if err != nil {
		f.t.Fatal(err)
	}
	cert, err := ca.TSA("stamps")
	if err != nil {
		f.t.Fatal(err)
	}
	authority, answers := &simulator.TSA{Cert: cert, Now: time.Now}, 2
	ask := func(_ context.Context, r io.Reader) ([]byte, error) {
		if answers--; answers < 0 {
			return nil, errors.New("nobody answers")
		}
		q, err := tsp.NewRequest(r)
		if err != nil {
			return nil, err
		}
		return authority.Stamp(q)
	}
	ctx := context.Background()
	if n, err := retention.StampProtocols(ctx, dir, ask); n != 2 || err == nil || !strings.Contains(err.Error(), filepath.Base(names[2])[:8]) {
		f.t.Errorf("%d stamps, %v", n, err)
	}
	answers = 1000
	if n, err := retention.StampProtocols(ctx, dir, ask); n != len(names)-2 || err != nil {
		f.t.Errorf("%d stamps, %v", n, err)
	}
	verify := func(trusted *simulator.CA) retention.ChainReport {
		r, err := retention.VerifyProtocols(dir, public, nil)
		if err == nil {
			err = r.CheckStamps(dir, func(response []byte, content io.Reader) error {
				return tsp.Check(response, content, cms.TrustPool(trusted.Pool()))
			})
		}
		if err != nil {
			f.t.Fatal(err)
		}
		return r
	}
	if r := verify(ca); !r.OK() || r.Stamped != len(names) {
		f.t.Errorf("%+v", r)
	}
	other, err := simulator.NewCA("Zeit AG")
	if err != nil {
		f.t.Fatal(err)
	}
	if r := verify(other); r.OK() || !strings.Contains(r.Bad, "00000001") {
		f.t.Errorf("a stranger's stamps: %+v", r)
	}
	stamp := func(n int) string { return strings.TrimSuffix(names[n], ".jsonl") + ".tsr" }
	first, err := os.ReadFile(stamp(0))
	if err != nil {
		f.t.Fatal(err)
	}
	for what, text := range map[string][]byte{"of another protocol": first, "cut": first[:len(first)/2], "empty": nil} {
		if err := os.WriteFile(stamp(1), text, 0o600); err != nil {
			f.t.Fatal(err)
		}
		if r := verify(ca); r.OK() || !strings.Contains(r.Bad, "00000002") || !strings.Contains(r.Bad, "time stamp") {
			f.t.Errorf("a stamp that is %s: %+v", what, r)
		}
	}
}
