package seal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var (
	errCrash = errors.New("crash")
	doomedAt = time.Date(2027, 1, 23, 0, 0, 0, 0, time.UTC)
)

func masterKey(b byte) []byte { return bytes.Repeat([]byte{b}, keyLen) }

// filled is a keyring with keys of every kind, and a record of each under it.
type filled struct {
	dir     string
	records map[string][]byte // of a day
	index   []byte
	signing []byte
}

func newFilled(t *testing.T) *filled {
	t.Helper()
	f := &filled{dir: filepath.Join(t.TempDir(), "keys"), records: map[string][]byte{}}
	k := opened(t, f.dir, 1)
	for _, day := range []string{"2027-01-20", "2027-01-21", "2027-01-22"} {
		aead, err := k.AEAD(Content, day)
		if err != nil {
			t.Fatal(err)
		}
		f.records[day] = SealRecord(aead, []byte("plain"), nil)
	}
	if err := errors.Join(k.Destroy(Log, "2026-07-01"), k.Ensure(Log, "2026-07-02"), k.Doom(Content, "2027-01-20", doomedAt)); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.index, err = k.IndexKey("amt"); err != nil {
		t.Fatal(err)
	}
	s, err := k.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	f.signing = s.Seed()
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

func opened(t *testing.T, dir string, master byte) *Keyring {
	t.Helper()
	k, err := Open(dir, masterKey(master))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// whole checks that everything can be read by that master key, and closes.
func (f *filled) whole(t *testing.T, what string, master byte) {
	t.Helper()
	k := opened(t, f.dir, master)
	if _, doomed := k.Doomed(Content, "2027-01-20"); !doomed {
		t.Errorf("%s: the doomed day is not doomed any more", what)
	}
	if err := k.Spare(Content, "2027-01-20"); err != nil {
		t.Fatal(err)
	}
	for day, record := range f.records {
		aead, err := k.Lookup(Content, day)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got, err := OpenRecord(aead, record, nil); err != nil || string(got) != "plain" {
			t.Errorf("%s: %s: %q, %v", what, day, got, err)
		}
	}
	if _, err := k.Lookup(Log, "2026-07-01"); !errors.Is(err, ErrDestroyed) {
		t.Errorf("%s: the destroyed day: %v", what, err)
	}
	if index, err := k.IndexKey("amt"); err != nil || !bytes.Equal(index, f.index) {
		t.Errorf("%s: index key: %v", what, err)
	}
	if s, err := k.SigningKey(); err != nil || !bytes.Equal(s.Seed(), f.signing) {
		t.Errorf("%s: signing key: %v", what, err)
	}
	if err := errors.Join(k.Doom(Content, "2027-01-20", doomedAt), k.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, nextDir)); err == nil {
		t.Errorf("%s: %s is still there", what, nextDir)
	}
}

func TestRotate(t *testing.T) {
	f := newFilled(t)
	before, err := os.ReadFile(filepath.Join(f.dir, "content-2027-01-21.key"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := Rotate(f.dir, masterKey(1), masterKey(2))
	if err != nil || n != 6 {
		t.Fatalf("%d keys, %v", n, err)
	}
	f.whole(t, "rotated", 2)
	if _, err := Open(f.dir, masterKey(1)); !errors.Is(err, ErrWrongMaster) {
		t.Errorf("the old master key: %v", err)
	}
	if after, _ := os.ReadFile(filepath.Join(f.dir, "content-2027-01-21.key")); bytes.Equal(after, before) {
		t.Error("the key file is as it was")
	}
	if n, err := Rotate(f.dir, masterKey(1), masterKey(2)); err != nil || n != 6 {
		t.Errorf("once more: %d, %v", n, err)
	}
	for name, c := range map[string]struct {
		was, now []byte
		want     error
	}{
		"neither fits": {masterKey(3), masterKey(4), ErrWrongMaster}, "the same": {masterKey(2), masterKey(2), nil}, "short": {masterKey(2), masterKey(3)[:31], nil},
	} {
		if _, err := Rotate(f.dir, c.was, c.now); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.whole(t, "after refusals", 2)
	if _, err := Rotate(filepath.Join(f.dir, "none"), masterKey(1), masterKey(2)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no keyring: %v", err)
	}
}

// TestRotateBusy: nobody changes the master key of a keyring that is open, and
// nobody opens one while it is changed.
func TestRotateBusy(t *testing.T) {
	f := newFilled(t)
	k, second := opened(t, f.dir, 1), opened(t, f.dir, 1)
	if _, err := Rotate(f.dir, masterKey(1), masterKey(2)); !errors.Is(err, ErrBusy) {
		t.Errorf("open: %v", err)
	}
	if err := errors.Join(k.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := newRotation(f.dir, masterKey(1), masterKey(2))
	if err != nil {
		t.Fatal(err)
	}
	r.step = func(what string) error {
		if _, err := Open(f.dir, masterKey(1)); !errors.Is(err, ErrBusy) {
			t.Errorf("opened before %s: %v", what, err)
		}
		return nil
	}
	if _, err := r.run(); err != nil {
		t.Fatal(err)
	}
	f.whole(t, "rotated", 2)
}

// TestRotateCrash stops the rotation before each of its steps: then exactly one of
// both master keys opens the keyring, with everything in it, and the rotation can
// be called again.
func TestRotateCrash(t *testing.T) {
	for _, again := range []bool{false, true} {
		last := byte(0)
		for at := 1; ; at++ {
			f := newFilled(t)
			what, n := "", 0
			r, err := newRotation(f.dir, masterKey(1), masterKey(2))
			if err != nil {
				t.Fatal(err)
			}
			r.step = func(step string) error {
				if n++; n == at {
					what = step
					return errCrash
				}
				return nil
			}
			if _, err = r.run(); err == nil {
				if at < 15 || last != 2 && !again {
					t.Errorf("%d steps, the last one before the end leaves master key %d", at-1, last)
				}
				break
			}
			if !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			what = fmt.Sprintf("before step %d, %s", at, what)
			if again {
				if _, err := Rotate(f.dir, masterKey(1), masterKey(2)); err != nil {
					t.Errorf("%s: again: %v", what, err)
				}
				f.whole(t, what, 2)
				continue
			}
			good := byte(1)
			if _, err := Open(f.dir, masterKey(1)); errors.Is(err, ErrWrongMaster) {
				good = 2
			}
			if good < last {
				t.Errorf("%s: the old master key counts again", what)
			}
			last = good
			f.whole(t, what, good)
			if _, err := Open(f.dir, masterKey(3-good)); !errors.Is(err, ErrWrongMaster) {
				t.Errorf("%s: the other master key: %v", what, err)
			}
		}
	}
}
