package vault_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gatewayd/vault"
)

// TestPowerCut stops an ext4 file system under load without flushing its journal
// (EXT4_IOC_SHUTDOWN): what was not synced is lost, as with a power cut. Every
// record acknowledged before the call must be there after the next mount. What is
// acknowledged while the call runs does not count: there Linux 6.18 returns 0
// from fdatasync for data that it then drops (seen in 10 of 120 cuts of a bare
// write and fdatasync loop, never before the call). GATEWAYD_POWERCUTS says how
// often (default 1). ext4 commits a new file's name together with its data, so a
// forgotten sync of a folder does not show here.
func TestPowerCut(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a file system of its own")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		const need = "needs mkfs.ext4: apt-get install e2fsprogs"
		if os.Getenv("CI") != "" {
			t.Fatal(need)
		}
		t.Skip(need)
	}
	cuts, err := strconv.Atoi(os.Getenv("GATEWAYD_POWERCUTS"))
	if err != nil {
		cuts = 1
	}
	dir := t.TempDir()
	image, mnt := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 128<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-F", image)
	if err := os.Mkdir(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	b := newBox(t) // the keys lie elsewhere: they are not under test
	b.o.Dir, b.o.SegmentSize = filepath.Join(mnt, "vault"), 256<<10
	acked := map[uint64]int{}
	for i := range cuts {
		if out, err := exec.Command("mount", "-o", "loop", image, mnt).CombinedOutput(); err != nil {
			t.Skipf("needs loop devices: %s", out)
		}
		t.Cleanup(func() { unix.Unmount(mnt, unix.MNT_DETACH) })
		b.o.Keys, b.o.SlowSync = keysIn(t, filepath.Join(b.root, "keys")), []time.Duration{1, time.Hour}[i%2] // several writers, or one
		v := b.open()
		verifyAcked(t, v, acked)
		loadAndCut(t, v, mnt, uint64(i), acked)
		v.Close()
		run(t, "umount", mnt)
	}
	run(t, "mount", "-o", "loop", image, mnt)
	verifyAcked(t, b.open(), acked)
	t.Logf("%d power cuts, %d acknowledged records", cuts, len(acked))
	if len(acked) < cuts*10 {
		t.Errorf("only %d records were acknowledged", len(acked))
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// verifyAcked proves that every acknowledged record is there with its octets.
func verifyAcked(t *testing.T, v *vault.Vault, acked map[uint64]int) {
	t.Helper()
	there := map[uint64]bool{}
	for _, r := range replay(t, v, nil) {
		got, err := read(v, r.ref)
		if err != nil || !bytes.Equal(got, bodyOf(r.n, r.size)) {
			t.Errorf("record %d: body of %d octets, want %d: %v", r.n, len(got), r.size, err)
		}
		there[r.n] = true
	}
	for n := range acked {
		if !there[n] {
			t.Errorf("acknowledged record %d is lost", n)
		}
	}
	sound(t, v)
	if rep := v.Recovered(); rep.Segments > 0 {
		t.Logf("%+v", rep)
	}
}

// loadAndCut runs eight writers until the file system is gone; all of them must
// get an error then.
func loadAndCut(t *testing.T, v *vault.Vault, mnt string, round uint64, acked map[uint64]int) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	cutting, before := false, len(acked)
	for w := range uint64(8) {
		wg.Go(func() {
			for i := uint64(0); ; i++ {
				n, size := round<<32|w<<24|i, rand.IntN(5000)
				if i%9 == 0 {
					size = 20_000 + rand.IntN(40_000)
				}
				if _, err := put(v, []string{day, otherDay}[w%2], n, size); err != nil {
					return
				}
				mu.Lock()
				if !cutting {
					acked[n] = size
				}
				mu.Unlock()
			}
		})
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) { // a busy machine is slow to begin
		mu.Lock()
		enough := len(acked) >= before+10
		mu.Unlock()
		if enough || time.Now().After(end) {
			break
		}
	}
	time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
	d, err := os.Open(mnt)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	mu.Lock()
	cutting = true
	mu.Unlock()
	const ext4Shutdown, noLogFlush = 0x8004587d, 2
	if err := unix.IoctlSetPointerInt(int(d.Fd()), ext4Shutdown, noLogFlush); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}
