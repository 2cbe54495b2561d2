package vault_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/vault"
)

func nilCtx() context.Context { return context.Background() }

func doneCtx() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// setHooks sets every failpoint to the same function.
func setHooks(h *vault.Hooks, f func(step, path string) error) {
	at := func(step string) func(string) error { return func(path string) error { return f(step, path) } }
	h.BeforeCreate, h.BeforeWrite, h.BeforeSync = at("create"), at("write"), at("sync")
	h.AfterSync, h.BeforeRename, h.BeforeTruncate = at("synced"), at("rename"), at("truncate")
}

// TestCrashAtEveryStep copies the folder at each failpoint of a small life and
// recovers the copy: everything acknowledged until then is there, and nothing
// that never was.
func TestCrashAtEveryStep(t *testing.T) {
	b := newBox(t)
	b.o.SegmentSize = 6 << 10
	var acked atomic.Uint64 // records 0 … acked-1 were acknowledged
	var steps []string
	setHooks(&b.o.Hooks, func(step, path string) error {
		want := acked.Load()
		c := b.crash()
		v, err := vault.Open(c.o)
		if err != nil {
			t.Fatalf("%s %s: %v", step, path, err)
		}
		got := verify(t, v)
		if n := uint64(len(got)); n < want || n > want+1 || !slices.Equal(got, upTo(n)) {
			t.Errorf("%s %s: recovered %v, acknowledged were %d", step, filepath.Base(path), got, want)
		}
		sound(t, v)
		if _, err := put(v, day, 99, 20_000); err != nil {
			t.Errorf("%s %s: accept after recovery: %v", step, path, err)
		}
		v.Close()
		steps = append(steps, step)
		return nil
	})
	v := b.open()
	for n, size := range []int{100, 20_000, 3000, 3000, 9000, 10, 70_000, 5000} {
		mustPut(t, v, uint64(n), size)
		acked.Add(1)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"create", "write", "sync", "synced", "rename"} {
		if !slices.Contains(steps, want) {
			t.Errorf("no crash at %q", want)
		}
	}
	t.Logf("%d crashes", len(steps))
}

// TestTornTail cuts the last frame at every octet, and fills what is missing with
// zeros or rubbish, as file systems do.
func TestTornTail(t *testing.T) {
	b := newBox(t)
	v := b.open()
	mustPut(t, v, 0, 500)
	mustPut(t, v, 1, 500)
	last := mustPut(t, v, 2, 300)
	c := b.crash()
	seg := filepath.Join(c.o.Dir, day, fmt.Sprintf("%016x.seg", last.Segment))
	whole, err := os.ReadFile(seg)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(whole)) != last.End {
		t.Fatalf("segment of %d octets, last frame ends at %d", len(whole), last.End)
	}
	// The padding carries nothing: a tail torn there is whole again in zeros.
	needed := last.Offset + 192 + int64(len(metaOf(2, 300))) + seal.Overhead + seal.SealedSize(300)
	rubbish := bodyOf(77, len(whole))
	for at := last.Offset; at < last.End; at++ {
		for name, tail := range map[string][]byte{"cut": nil, "zeros": make([]byte, last.End-at), "rubbish": rubbish[at:]} {
			torn := append(bytes.Clone(whole[:at]), tail...)
			if err := os.WriteFile(seg, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			v, err := vault.Open(c.o)
			if err != nil {
				t.Fatalf("%s at %d: %v", name, at, err)
			}
			want := 2
			if at >= needed && name != "cut" {
				want = 3
			}
			if got := verify(t, v); !slices.Equal(got, upTo(uint64(want))) {
				t.Errorf("%s at %d (needed %d): recovered %v", name, at, needed, got)
			}
			if r := v.Recovered(); want == 2 && (r.Damaged != nil || r.Cut != int64(len(torn))-last.Offset) {
				t.Errorf("%s at %d: report %+v", name, at, r)
			}
			sound(t, v)
			v.Close()
		}
	}
}

// TestDamageInTheMiddle flips a bit in every part of a frame in the middle, in a
// segment that a crash left open and in one closed in order.
func TestDamageInTheMiddle(t *testing.T) {
	b := newBox(t)
	v := b.open()
	var refs []message.Ref
	for n := range uint64(5) {
		refs = append(refs, mustPut(t, v, n, 700))
	}
	open := b.crash()
	v.Close()
	closed := b.crash()
	mid := refs[2]
	for at := mid.Offset; at < mid.End; at += 13 {
		inHead := at < mid.Offset+64 || at >= mid.Offset+128 && at < mid.Offset+192+int64(len(metaOf(2, 700)))+seal.Overhead
		for name, from := range map[string]*box{"open": open, "closed": closed} {
			c := from.crash()
			flip(t, filepath.Join(c.o.Dir, day, fmt.Sprintf("%016x.seg", mid.Segment)), at)
			v := c.open()
			want, damaged := upTo(5), name == "open" && at < mid.Offset+192+int64(len(metaOf(2, 700)))+seal.Overhead+seal.SealedSize(700)
			if inHead {
				want, damaged = []uint64{0, 1, 3, 4}, true
			}
			var got []uint64
			for _, r := range replay(t, v, nil) {
				got = append(got, r.n)
				body, err := read(v, r.ref)
				if r.n != 2 && (err != nil || !bytes.Equal(body, bodyOf(r.n, 700))) {
					t.Errorf("%s, octet %d: neighbour %d: %v", name, at-mid.Offset, r.n, err)
				}
				if r.n == 2 && err == nil && !bytes.Equal(body, bodyOf(2, 700)) {
					t.Errorf("%s, octet %d: a changed body was read", name, at-mid.Offset)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, octet %d: replayed %v, want %v", name, at-mid.Offset, got, want)
			}
			rep := v.Recovered()
			if damaged && (len(rep.Damaged) != 1 || rep.Damaged[0].Offset != mid.Offset) {
				t.Errorf("%s, octet %d: report %+v", name, at-mid.Offset, rep)
			}
			for _, d := range rep.Damaged {
				if st, err := os.Stat(d.File); err != nil || st.Size() != d.Length {
					t.Errorf("%s, octet %d: set aside: %v", name, at-mid.Offset, err)
				}
			}
			if damaged && len(check(t, v)) == 0 {
				t.Errorf("%s, octet %d: Check finds nothing", name, at-mid.Offset)
			}
			v.Close()
		}
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x04
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedBodyFile: a flipped bit, a cut and a missing body file are noticed;
// the record stays.
func TestDamagedBodyFile(t *testing.T) {
	b := newBox(t)
	v := b.open()
	ref := mustPut(t, v, 0, 200_000)
	mustPut(t, v, 1, 10)
	v.Close()
	files, _ := filepath.Glob(filepath.Join(b.o.Dir, day, "*.body"))
	if len(files) != 1 {
		t.Fatalf("body files: %v", files)
	}
	name := filepath.Base(files[0])
	for what, do := range map[string]func(path string) error{
		"flipped": func(p string) error { flip(t, p, 100_000); return nil },
		"cut":     func(p string) error { return os.Truncate(p, 70_000) },
		"missing": os.Remove,
	} {
		c := b.crash()
		if err := do(filepath.Join(c.o.Dir, day, name)); err != nil {
			t.Fatal(err)
		}
		v := c.open()
		if _, err := read(v, ref); !errors.Is(err, vault.ErrCorrupt) {
			t.Errorf("%s: read = %v", what, err)
		}
		if got := check(t, v); len(got) != 1 {
			t.Errorf("%s: Check reports %v", what, got)
		}
		if got := replay(t, v, nil); len(got) != 2 {
			t.Errorf("%s: %d records", what, len(got))
		}
	}
}

// TestVoided: the frame reached the disk before the crash, its body did not, and
// a later frame did.
func TestVoided(t *testing.T) {
	b := newBox(t)
	v := b.open()
	mustPut(t, v, 0, 100)
	torn := mustPut(t, v, 1, 700)
	third := mustPut(t, v, 2, 100)
	c := b.crash()
	seg := filepath.Join(c.o.Dir, day, fmt.Sprintf("%016x.seg", torn.Segment))
	// Let the third frame say that nothing behind the first was synced.
	patchSynced(t, seg, torn.Offset, torn.Offset)
	patchSynced(t, seg, third.Offset, torn.Offset)
	flip(t, seg, torn.End-200)
	v2 := c.open()
	if got := verify(t, v2); !slices.Equal(got, []uint64{0, 2}) {
		t.Errorf("recovered %v", got)
	}
	if r := v2.Recovered(); r.Voided != 1 || r.Damaged != nil {
		t.Errorf("report %+v", r)
	}
	sound(t, v2)
	v2 = c.reopen(v2)
	if got := verify(t, v2); !slices.Equal(got, []uint64{0, 2}) {
		t.Errorf("second start: %v", got)
	}
	if r := v2.Recovered(); r.Segments != 0 || r.Damaged != nil {
		t.Errorf("second start: report %+v", r)
	}
}

// TestLostSegmentTail: the ledger knows more than the segment has.
func TestLostSegmentTail(t *testing.T) {
	b := newBox(t)
	v := b.open()
	first, last := mustPut(t, v, 0, 100), mustPut(t, v, 1, 100)
	c := b.crash()
	if err := os.Truncate(filepath.Join(c.o.Dir, day, fmt.Sprintf("%016x.seg", last.Segment)), first.End); err != nil {
		t.Fatal(err)
	}
	v = c.open()
	if got := replay(t, v, map[uint64]int64{last.Segment: last.End}); got != nil {
		t.Errorf("replayed %v", got)
	}
	if r := v.Recovered(); len(r.Damaged) != 1 {
		t.Errorf("report %+v", r)
	}
}

func TestNumberFileDamaged(t *testing.T) {
	b := newBox(t)
	v := b.open()
	mustPut(t, v, 0, 100)
	v.Close()
	if err := os.WriteFile(filepath.Join(b.o.Dir, "next"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Open(b.o); !errors.Is(err, vault.ErrCorrupt) {
		t.Errorf("Open = %v", err)
	}
}

// TestEveryStepFails lets the k-th step of one acceptance fail, for all k and
// several errors: the caller hears it, nothing acknowledged is lost, a failed
// record does not come back, and the vault lives on.
func TestEveryStepFails(t *testing.T) {
	for _, size := range []int{300, 20_000} {
		for _, cause := range []error{unix.EIO, unix.ENOSPC, unix.EDQUOT} {
			for k := 1; ; k++ {
				if failStep(t, size, cause, k) {
					break
				}
			}
		}
	}
}

// failStep reports whether the acceptance had fewer than k steps.
func failStep(t *testing.T, size int, cause error, k int) (over bool) {
	t.Helper()
	b := newBox(t)
	count, failed := -1000, "" // armed later
	var mu sync.Mutex
	setHooks(&b.o.Hooks, func(step, path string) error {
		mu.Lock()
		defer mu.Unlock()
		if count++; count == k {
			failed = step + " " + filepath.Base(path)
			return &os.PathError{Op: step, Path: path, Err: cause}
		}
		return nil
	})
	arm := func(n int) { mu.Lock(); defer mu.Unlock(); count = n }
	v := b.open()
	mustPut(t, v, 0, 100)
	arm(0)
	_, err := put(v, day, 1, size)
	arm(-1000)
	want := []uint64{0, 1, 2, 3}
	if failed != "" && !strings.HasPrefix(failed, "rename") { // the rename comes after the answer and may fail
		want = []uint64{0, 2, 3}
		if !errors.Is(err, cause) || errors.Is(err, vault.ErrFull) != (cause != unix.EIO) {
			t.Errorf("%d octets, step %d (%s), %v: Accept = %v", size, k, failed, cause, err)
		}
	} else if err != nil {
		t.Errorf("%d octets, step %d (%s), %v: Accept = %v", size, k, failed, cause, err)
	}
	mustPut(t, v, 2, 100)
	mustPut(t, v, 3, 20_000)
	if got := verify(t, v); !slices.Equal(got, want) {
		t.Errorf("%d octets, step %d (%s), %v: running vault has %v, want %v", size, k, failed, cause, got, want)
	}
	c := b.crash().open()
	if got := verify(t, c); !slices.Equal(got, want) {
		t.Errorf("%d octets, step %d (%s), %v: recovered %v, want %v", size, k, failed, cause, got, want)
	}
	sound(t, c)
	if r := c.Recovered(); r.Damaged != nil {
		t.Errorf("%d octets, step %d (%s), %v: report %+v", size, k, failed, cause, r)
	}
	v.Close()
	return failed == ""
}

// TestFailedSync follows the rule for a failed sync to the letter: everybody who
// waits gets the error, the segment is cut to what was synced before and never
// grows again, the next record goes to a new one, and even when the truncation
// is lost the failed records do not come back.
func TestFailedSync(t *testing.T) {
	for _, truncates := range []bool{true, false} {
		b := newBox(t)
		var fail atomic.Bool
		b.o.Hooks.BeforeSync = func(path string) error {
			if fail.Load() && strings.HasSuffix(path, ".seg") {
				return &os.PathError{Op: "fdatasync", Path: path, Err: unix.EIO}
			}
			return nil
		}
		b.o.Hooks.BeforeTruncate = func(string) error {
			if truncates {
				return nil
			}
			return unix.EIO
		}
		v := b.open()
		good := mustPut(t, v, 0, 100)
		fail.Store(true)
		var wg sync.WaitGroup
		for n := range uint64(20) {
			wg.Go(func() {
				if _, err := put(v, day, 100+n, 100); !errors.Is(err, unix.EIO) {
					t.Errorf("Accept during the fault = %v", err)
				}
			})
		}
		wg.Wait()
		fail.Store(false)
		next := mustPut(t, v, 1, 100)
		if next.Segment == good.Segment {
			t.Error("the failed segment was used again")
		}
		st, err := os.Stat(filepath.Join(b.o.Dir, day, fmt.Sprintf("%016x.seg", good.Segment)))
		if err != nil || truncates && st.Size() != good.End || !truncates && st.Size() <= good.End {
			t.Errorf("failed segment: %v, %v", st, err)
		}
		for name, v := range map[string]*vault.Vault{"running": v, "recovered": b.crash().open()} {
			if got := verify(t, v); !slices.Equal(got, []uint64{0, 1}) {
				t.Errorf("%s, truncates %v: %v", name, truncates, got)
			}
			sound(t, v)
		}
		// The vault itself closes and opens again.
		b.o.Hooks = vault.Hooks{}
		v = b.reopen(v)
		if got := verify(t, v); !slices.Equal(got, []uint64{0, 1}) {
			t.Errorf("reopened, truncates %v: %v", truncates, got)
		}
		mustPut(t, v, 2, 100)
		sound(t, b.reopen(v))
	}
}

// TestDiskFull fills a real file system: ErrFull, nothing acknowledged is lost,
// and mail is accepted again when there is room.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m,nr_inodes=200"); err != nil {
		t.Skipf("needs root for a small tmpfs: mount: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	b := newBox(t)
	b.o.Dir, b.o.SegmentSize = filepath.Join(dir, "vault"), 128<<10
	v := b.open()
	var want []uint64
	full := 0
	for n := uint64(0); full < 200; n++ {
		size := []int{500, 4000, 30_000}[n%3]
		switch _, err := put(v, day, n, size); {
		case err == nil:
			want = append(want, n)
		case errors.Is(err, vault.ErrFull):
			full++
		default:
			t.Fatalf("record %d: %v", n, err)
		}
	}
	if len(want) < 50 {
		t.Errorf("only %d records fit", len(want))
	}
	if free, err := v.Free(); err != nil || free.Bytes > 2<<20 {
		t.Errorf("Free = %+v, %v", free, err)
	}
	if got := verify(t, v); !slices.Equal(got, want) {
		t.Errorf("full: %d records, want %d", len(got), len(want))
	}
	v = b.reopen(v) // opens on a full disk, too
	if got := verify(t, v); !slices.Equal(got, want) {
		t.Errorf("reopened when full: %d records, want %d", len(got), len(want))
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=16m,nr_inodes=2000"); err != nil {
		t.Fatal(err)
	}
	for n := uint64(100_000); n < 100_010; n++ {
		mustPut(t, v, n, 5000)
		want = append(want, n)
	}
	v = b.reopen(v)
	if got := verify(t, v); !slices.Equal(got, want) {
		t.Errorf("after room was made: %d records, want %d", len(got), len(want))
	}
	sound(t, v)
	if parts, _ := filepath.Glob(filepath.Join(b.o.Dir, "*", "*.part")); parts != nil {
		t.Errorf("left behind: %v", parts)
	}
}

// TestLargeBodyInBoundedMemory streams 50 MiB in and out.
func TestLargeBodyInBoundedMemory(t *testing.T) {
	b := newBox(t)
	b.o.LargeBody = 0 // the default
	v := b.open()
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc) //nolint:gosec // far below 2^63
	}
	base, peak := heap(), int64(0)
	body, err := v.NewBody(day)
	if err != nil {
		t.Fatal(err)
	}
	part := bodyOf(5, 1<<20)
	for range 50 {
		if _, err := body.Write(part); err != nil {
			t.Fatal(err)
		}
		peak = max(peak, heap()-base)
	}
	if _, err := body.Finish(); err != nil {
		t.Fatal(err)
	}
	ref, err := v.Accept(nilCtx(), vault.Record{Meta: metaOf(5, 0), LogDay: logDay, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	r, err := v.OpenBody(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := make([]byte, 1<<20)
	for off := int64(0); off < r.Size(); off += int64(len(p)) {
		if _, err := r.ReadAt(p, off); err != nil || !bytes.Equal(p, part) {
			t.Fatalf("at %d: %v", off, err)
		}
		peak = max(peak, heap()-base)
	}
	t.Logf("50 MiB in and out: heap at most %d KiB above the start", peak>>10)
	if peak > 4<<20 {
		t.Errorf("heap grew by %d octets", peak)
	}
}

// TestKill kills a process under load again and again; every record whose
// acknowledgement it printed is there with equal octets.
func TestKill(t *testing.T) {
	if dir := os.Getenv("VAULT_KILL_DIR"); dir != "" {
		loadUntilKilled(t, dir)
		return
	}
	kills := 20
	if testing.Short() {
		kills = 5
	}
	b := newBox(t)
	b.o.SegmentSize = 256 << 10
	acked := map[uint64]int{}
	for i := range kills {
		killOnce(t, b, i, acked)
		v := b.open()
		there := map[uint64]bool{}
		for _, n := range verify(t, v) {
			if there[n] {
				t.Errorf("record %d is there twice", n)
			}
			there[n] = true
		}
		for n := range acked {
			if !there[n] {
				t.Errorf("kill %d: acknowledged record %d is lost", i, n)
			}
		}
		if r := v.Recovered(); r.Damaged != nil {
			t.Errorf("kill %d: %+v", i, r)
		}
		if i%5 == 4 {
			sound(t, v)
		}
		v.Close()
	}
	t.Logf("%d kills, %d acknowledged records, all there", kills, len(acked))
	if len(acked) < kills*10 {
		t.Errorf("only %d records were acknowledged", len(acked))
	}
}

func killOnce(t *testing.T, b *box, round int, acked map[uint64]int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), "VAULT_KILL_DIR="+b.root, fmt.Sprintf("VAULT_KILL_ROUND=%d", round))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var kill *time.Timer
	for lines.Scan() {
		if kill == nil {
			kill = time.AfterFunc(time.Duration(5+rand.IntN(60))*time.Millisecond, func() { cmd.Process.Kill() })
		}
		var n uint64
		var size int
		if k, err := fmt.Sscanf(lines.Text(), "ack %d %d.", &n, &size); k == 2 && err == nil {
			acked[n] = size
		} else if strings.HasPrefix(lines.Text(), "fail") {
			t.Errorf("round %d: %s", round, lines.Text())
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Errorf("round %d: the process ended by itself", round)
	}
}

// loadUntilKilled is the process that is killed.
func loadUntilKilled(t *testing.T, root string) {
	var round uint64
	fmt.Sscan(os.Getenv("VAULT_KILL_ROUND"), &round)
	b := &box{t: t, root: root, o: vault.Options{
		Dir: filepath.Join(root, "vault"), Keys: keysIn(t, filepath.Join(root, "keys")), LargeBody: 8 << 10, SegmentSize: 256 << 10,
	}}
	if round%2 == 1 {
		b.o.SlowSync = 1 // several writers
	}
	v := b.open()
	for w := range uint64(8) {
		go func() {
			for i := uint64(0); ; i++ {
				n := round<<32 | w<<24 | i
				size := rand.IntN(6000)
				if i%7 == 0 {
					size = 20_000 + rand.IntN(60_000)
				}
				if _, err := put(v, []string{day, otherDay}[w%2], n, size); err != nil {
					fmt.Fprintf(os.Stdout, "fail %v\n", err)
					return
				}
				os.Stdout.WriteString(fmt.Sprintf("ack %d %d.\n", n, size))
			}
		}()
	}
	time.Sleep(time.Minute)
}
