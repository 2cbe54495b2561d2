package seal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatewayd/crypto/seal"
)

const day = "2027-01-23"

func master(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func open(t *testing.T, dir string) *seal.Keyring {
	t.Helper()
	k, err := seal.Open(dir, master(7))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sealed(t *testing.T, k *seal.Keyring, f seal.Family, day string) []byte {
	t.Helper()
	aead, err := k.AEAD(f, day)
	if err != nil {
		t.Fatal(err)
	}
	return seal.SealRecord(aead, []byte("plain"), []byte("place"))
}

func TestKeysSurviveReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[b]*", "keys") // no pattern may be made of it
	k := open(t, dir)
	record := sealed(t, k, seal.Log, day)
	index, err := k.IndexKey("bauinspektorat")
	if err != nil {
		t.Fatal(err)
	}
	k = open(t, dir)
	aead, err := k.Lookup(seal.Log, day)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := seal.OpenRecord(aead, record, []byte("place")); err != nil || string(got) != "plain" {
		t.Errorf("OpenRecord after reopen = %q, %v", got, err)
	}
	again, err := k.IndexKey("bauinspektorat")
	if err != nil || !bytes.Equal(again, index) {
		t.Errorf("IndexKey after reopen differs: %v", err)
	}
	again[0]++ // the caller's copy
	if third, _ := k.IndexKey("bauinspektorat"); !bytes.Equal(third, index) {
		t.Error("IndexKey hands out its own memory")
	}
	if other, _ := k.IndexKey(""); bytes.Equal(other, index) {
		t.Error("two authorities share an index key")
	}
	if _, err := k.IndexKey(strings.Repeat("x", 65)); err == nil {
		t.Error("IndexKey took a name of 65 octets")
	}
}

func TestFamiliesAndDaysDiffer(t *testing.T) {
	k := open(t, t.TempDir())
	record := sealed(t, k, seal.Log, day)
	for _, other := range []struct {
		f   seal.Family
		day string
	}{{seal.Content, day}, {seal.Log, "2027-01-24"}} {
		aead, err := k.AEAD(other.f, other.day)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := seal.OpenRecord(aead, record, []byte("place")); !errors.Is(err, seal.ErrCorrupt) {
			t.Errorf("record of log/%s opened with %s/%s: %v", day, other.f, other.day, err)
		}
	}
	if got := k.Days(seal.Log); !slices.Equal(got, []string{day, "2027-01-24"}) {
		t.Errorf("Days(log) = %v", got)
	}
	if got := k.Days(seal.Content); !slices.Equal(got, []string{day}) {
		t.Errorf("Days(content) = %v", got)
	}
}

func TestWrongMaster(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := seal.Open(dir, master(8)); !errors.Is(err, seal.ErrWrongMaster) {
		t.Errorf("Open with another master = %v", err)
	}
	if _, err := seal.Open(dir, master(7)[:31]); err == nil {
		t.Error("Open took a master of 31 octets")
	}
}

func TestMissingCheckIsNoNewKeyring(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Ensure(seal.Log, day); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "master.check")); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.Open(dir, master(8)); err == nil {
		t.Error("Open made a new check word over old keys")
	}
}

func TestLookupCreatesNothing(t *testing.T) {
	dir := t.TempDir()
	k := open(t, dir)
	if _, err := k.Lookup(seal.Content, day); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("Lookup = %v, want ErrNoKey", err)
	}
	if got := k.Days(seal.Content); got != nil {
		t.Errorf("Days = %v", got)
	}
}

func TestDestroy(t *testing.T) {
	dir := t.TempDir()
	k := open(t, dir)
	sealed(t, k, seal.Content, day)
	path := filepath.Join(dir, "content-"+day+".key")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(path) // stands for the blocks on the disk
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := k.Destroy(seal.Content, day); err != nil {
		t.Fatal(err)
	}
	now := make([]byte, len(old))
	if _, err := held.ReadAt(now, 0); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(now, old[8:20]) || bytes.Contains(now, old[20:52]) {
		t.Error("the wrapped key was not overwritten in place")
	}
	for name, k := range map[string]*seal.Keyring{"same": k, "reopened": open(t, dir)} {
		for what, err := range map[string]error{
			"Ensure": k.Ensure(seal.Content, day), "Lookup": second(k.Lookup(seal.Content, day)), "AEAD": second(k.AEAD(seal.Content, day)),
		} {
			if !errors.Is(err, seal.ErrDestroyed) {
				t.Errorf("%s keyring: %s = %v, want ErrDestroyed", name, what, err)
			}
		}
		if got := k.Days(seal.Content); got != nil {
			t.Errorf("%s keyring: Days = %v", name, got)
		}
		if err := k.Destroy(seal.Content, day); err != nil {
			t.Errorf("%s keyring: second Destroy = %v", name, err)
		}
	}
	if err := k.Ensure(seal.Log, day); err != nil {
		t.Errorf("the other family's key of that day: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestDestroyWhatNeverWas(t *testing.T) {
	k := open(t, t.TempDir())
	if err := k.Destroy(seal.Log, day); err != nil {
		t.Fatal(err)
	}
	if err := k.Ensure(seal.Log, day); !errors.Is(err, seal.ErrDestroyed) {
		t.Errorf("Ensure = %v", err)
	}
}

// TestDestroyCrash: the key was overwritten, but the process died before it
// renamed the file.
func TestDestroyCrash(t *testing.T) {
	dir := t.TempDir()
	k := open(t, dir)
	if err := k.Ensure(seal.Log, day); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "log-"+day+".key")
	if err := os.WriteFile(path, append([]byte("gwdgone\n"), make([]byte, 60)...), 0o600); err != nil {
		t.Fatal(err)
	}
	k = open(t, dir)
	if err := k.Ensure(seal.Log, day); !errors.Is(err, seal.ErrDestroyed) {
		t.Errorf("Ensure = %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("Open did not finish the destruction")
	}
}

func TestDamagedKeyFile(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Ensure(seal.Log, day); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "log-"+day+".key")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string][]byte{"empty": nil, "short": good[:60], "mark": append([]byte("x"), good[1:]...)}
	for i := 8; i < len(good); i += 7 {
		b := bytes.Clone(good)
		b[i] ^= 1
		damage["bit "+string(rune('a'+i%26))] = b
	}
	for name, b := range damage {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, dir).AEAD(seal.Log, day); !errors.Is(err, seal.ErrCorrupt) {
			t.Errorf("%s: AEAD = %v, want ErrCorrupt", name, err)
		}
	}
	// A key file under the name of another day is not taken for that day's.
	if err := os.WriteFile(filepath.Join(dir, "log-2027-01-25.key"), good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir).AEAD(seal.Log, "2027-01-25"); !errors.Is(err, seal.ErrCorrupt) {
		t.Errorf("moved key file: %v", err)
	}
}

func TestBadNames(t *testing.T) {
	k := open(t, t.TempDir())
	for _, d := range []string{"", "2027-1-2", "2027-02-30", "../../x", "2027-01-23/..", "2027-01-23\n"} {
		if err := k.Ensure(seal.Log, d); err == nil {
			t.Errorf("Ensure took day %q", d)
		}
		if err := k.Destroy(seal.Log, d); err == nil {
			t.Errorf("Destroy took day %q", d)
		}
	}
	if err := k.Ensure("other", day); err == nil {
		t.Error("Ensure took an unknown family")
	}
}

// TestRace: two processes (two keyrings) ask for the same new key at once.
func TestRace(t *testing.T) {
	dir := t.TempDir()
	rings := []*seal.Keyring{open(t, dir), open(t, dir)}
	records := make([][]byte, 20)
	var wg sync.WaitGroup
	for i := range records {
		wg.Go(func() {
			aead, err := rings[i%2].AEAD(seal.Content, day)
			if err != nil {
				t.Error(err)
				return
			}
			records[i] = seal.SealRecord(aead, []byte("plain"), nil)
		})
	}
	wg.Wait()
	aead, err := open(t, dir).Lookup(seal.Content, day)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range records {
		if _, err := seal.OpenRecord(aead, r, nil); err != nil {
			t.Errorf("record %d: %v", i, err)
		}
	}
}

func TestNoKeyInClear(t *testing.T) {
	dir := t.TempDir()
	k := open(t, dir)
	index, err := k.IndexKey("a")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, index[:8]) || bytes.Contains(b, master(7)[:8]) {
			t.Errorf("%s holds a key in clear", f.Name())
		}
		if info, _ := f.Info(); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
		if strings.HasPrefix(f.Name(), ".new") {
			t.Errorf("%s was left behind", f.Name())
		}
	}
}

func TestRecord(t *testing.T) {
	k := open(t, t.TempDir())
	aead, err := k.AEAD(seal.Log, day)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 15, 16, 17, 5000} {
		plain := bytes.Repeat([]byte{0xa5}, n)
		record := seal.SealRecord(aead, plain, []byte("aad"))
		if len(record) != n+seal.Overhead {
			t.Errorf("%d octets become %d", n, len(record))
		}
		got, err := seal.OpenRecord(aead, record, []byte("aad"))
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d octets: round trip fails: %v", n, err)
		}
		if _, err := seal.OpenRecord(aead, record, []byte("AAD")); !errors.Is(err, seal.ErrCorrupt) {
			t.Errorf("%d octets: other aad: %v", n, err)
		}
		for i := range min(len(record), 64) {
			record[i] ^= 0x10
			if _, err := seal.OpenRecord(aead, record, []byte("aad")); !errors.Is(err, seal.ErrCorrupt) {
				t.Errorf("%d octets, bit of octet %d: %v", n, i, err)
			}
			record[i] ^= 0x10
		}
		for cut := range min(len(record), 64) {
			if _, err := seal.OpenRecord(aead, record[:cut], []byte("aad")); !errors.Is(err, seal.ErrCorrupt) {
				t.Errorf("%d octets cut to %d: %v", n, cut, err)
			}
		}
	}
	if bytes.Equal(seal.SealRecord(aead, nil, nil), seal.SealRecord(aead, nil, nil)) {
		t.Error("two records share a nonce")
	}
}
