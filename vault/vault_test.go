package vault_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/vault"
)

const (
	day      = "2027-01-23"
	otherDay = "2027-01-24"
	logDay   = "2027-05-23"
)

func keysIn(t testing.TB, dir string) *seal.Keyring {
	t.Helper()
	k, err := seal.Open(dir, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// box is a vault folder with its keys.
type box struct {
	t    testing.TB
	o    vault.Options
	root string
}

func newBox(t testing.TB) *box {
	t.Helper()
	root := t.TempDir()
	return &box{t: t, root: root, o: vault.Options{Dir: filepath.Join(root, "vault"), Keys: keysIn(t, filepath.Join(root, "keys")), LargeBody: 8 << 10, SlowSync: time.Hour}} // one writer: the tests know where things lie
}

func (b *box) open() *vault.Vault {
	b.t.Helper()
	v, err := vault.Open(b.o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { v.Close() })
	return v
}

// reopen closes v in order and opens the folder again.
func (b *box) reopen(v *vault.Vault) *vault.Vault {
	b.t.Helper()
	if err := v.Close(); err != nil {
		b.t.Fatal(err)
	}
	return b.open()
}

// crash copies the folder as it is, as if the process had died, and opens the
// copy.
func (b *box) crash() *box {
	b.t.Helper()
	c := &box{t: b.t, root: b.t.TempDir(), o: b.o}
	c.o.Dir, c.o.Hooks = filepath.Join(c.root, "vault"), vault.Hooks{}
	err := os.CopyFS(c.o.Dir, os.DirFS(b.o.Dir))
	for tries := 0; errors.Is(err, os.ErrNotExist) && tries < 10; tries++ { // a body file got its final name meanwhile
		if err = os.RemoveAll(c.o.Dir); err == nil {
			err = os.CopyFS(c.o.Dir, os.DirFS(b.o.Dir))
		}
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// bodyOf makes a body that its number and length determine.
func bodyOf(n uint64, size int) []byte {
	p := make([]byte, size)
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], n)
	rand.NewChaCha8(seed).Read(p)
	return p
}

// metaOf makes the meta of record n with a body of that size.
func metaOf(n uint64, size int) []byte { return fmt.Appendf(nil, "record %d %d", n, size) }

func parseMeta(meta []byte) (n uint64, size int, err error) {
	_, err = fmt.Sscanf(string(meta), "record %d %d", &n, &size)
	return n, size, err
}

// put accepts record n.
func put(v *vault.Vault, day string, n uint64, size int) (message.Ref, error) {
	b, err := v.NewBody(day)
	if err != nil {
		return message.Ref{}, err
	}
	defer b.Abort()
	body := bodyOf(n, size)
	if _, err := b.Write(body); err != nil {
		return message.Ref{}, err
	}
	c, err := b.Finish()
	if err != nil {
		return message.Ref{}, err
	}
	if c.Size != int64(size) || c.Digest != sha256.Sum256(body) {
		return message.Ref{}, errors.New("Finish returns another content")
	}
	return v.Accept(nilCtx(), vault.Record{Meta: metaOf(n, size), LogDay: logDay, Body: b})
}

func mustPut(t testing.TB, v *vault.Vault, n uint64, size int) message.Ref {
	t.Helper()
	ref, err := put(v, day, n, size)
	if err != nil {
		t.Fatalf("accept record %d: %v", n, err)
	}
	return ref
}

func read(v *vault.Vault, ref message.Ref) ([]byte, error) {
	r, err := v.OpenBody(ref)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

type replayed struct {
	n    uint64
	size int
	ref  message.Ref
}

func replay(t testing.TB, v *vault.Vault, marks map[uint64]int64) []replayed {
	t.Helper()
	var all []replayed
	err := v.Replay(marks, func(ref message.Ref, meta []byte) error {
		n, size, err := parseMeta(meta)
		all = append(all, replayed{n, size, ref})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// verify replays everything and reads every body; it returns the numbers.
func verify(t testing.TB, v *vault.Vault) []uint64 {
	t.Helper()
	var ns []uint64
	for _, r := range replay(t, v, nil) {
		got, err := read(v, r.ref)
		if err != nil || !bytes.Equal(got, bodyOf(r.n, r.size)) {
			t.Errorf("record %d: body of %d octets, want %d: %v", r.n, len(got), r.size, err)
		}
		ns = append(ns, r.n)
	}
	return ns
}

func check(t testing.TB, v *vault.Vault) []string {
	t.Helper()
	var problems []string
	if err := v.Check(func(p string) { problems = append(problems, p) }); err != nil {
		t.Fatal(err)
	}
	return problems
}

func sound(t testing.TB, v *vault.Vault) {
	t.Helper()
	for _, p := range check(t, v) {
		t.Error(p)
	}
}

func upTo(n uint64) []uint64 {
	var all []uint64
	for i := range n {
		all = append(all, i)
	}
	return all
}

func TestRoundTrip(t *testing.T) {
	b := newBox(t)
	v := b.open()
	sizes := []int{0, 1, 63, 64, 65, 4096, 8<<10 - 17, 8<<10 - 16, 8 << 10, 70_000, 300_000}
	for i, size := range sizes {
		ref := mustPut(t, v, uint64(i), size)
		if got, err := read(v, ref); err != nil || !bytes.Equal(got, bodyOf(uint64(i), size)) {
			t.Errorf("%d octets: %v", size, err)
		}
	}
	sound(t, v)
	if got := verify(t, v); !slices.Equal(got, upTo(uint64(len(sizes)))) {
		t.Errorf("replay in the running vault: %v", got)
	}
	v = b.reopen(v)
	if got := verify(t, v); !slices.Equal(got, upTo(uint64(len(sizes)))) {
		t.Errorf("replay after reopen: %v", got)
	}
	if r := v.Recovered(); r.Segments != 0 || r.Damaged != nil {
		t.Errorf("start in order: %+v", r)
	}
	sound(t, v)
	c := b.crash().open()
	if got := verify(t, c); !slices.Equal(got, upTo(uint64(len(sizes)))) {
		t.Errorf("replay after a crash: %v", got)
	}
}

func TestBodyIsReadSeekReaderAt(t *testing.T) {
	v := newBox(t).open()
	ref := mustPut(t, v, 1, 200_000)
	r, err := v.OpenBody(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := bodyOf(1, 200_000)
	if r.Size() != 200_000 {
		t.Errorf("Size = %d", r.Size())
	}
	p := make([]byte, 1000)
	if _, err := r.ReadAt(p, 65_000); err != nil || !bytes.Equal(p, want[65_000:66_000]) {
		t.Errorf("ReadAt: %v", err)
	}
	if _, err := r.Seek(-10, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r); err != nil || !bytes.Equal(rest, want[199_990:]) {
		t.Errorf("after Seek: %v", err)
	}
}

func TestBlob(t *testing.T) {
	b := newBox(t)
	v := b.open()
	for _, fam := range []seal.Family{seal.Content, seal.Log} {
		for _, size := range []int{0, 1000, 50_000} {
			ref, err := v.PutBlob(nilCtx(), fam, day, bodyOf(9, size))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := read(v, ref); err != nil || !bytes.Equal(got, bodyOf(9, size)) {
				t.Errorf("%s blob of %d octets: %v", fam, size, err)
			}
		}
	}
	if got := replay(t, v, nil); got != nil {
		t.Errorf("blobs were replayed: %v", got)
	}
	sound(t, v)
	c := b.crash().open()
	sound(t, c)
	if got := replay(t, c, nil); got != nil {
		t.Errorf("blobs were replayed after a crash: %v", got)
	}
}

func TestReplayFromMarks(t *testing.T) {
	b := newBox(t)
	b.o.SegmentSize = 8 << 10
	v := b.open()
	var refs []message.Ref
	for i := range uint64(30) {
		refs = append(refs, mustPut(t, v, i, 1000))
		if i%3 == 0 {
			if _, err := put(v, otherDay, 1000+i, 500); err != nil {
				t.Fatal(err)
			}
			if _, err := v.PutBlob(nilCtx(), seal.Log, logDay, bodyOf(i, 700)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		for _, done := range []int{0, 1, 7, 29, 30} {
			marks := map[uint64]int64{}
			for _, r := range refs[:done] {
				marks[r.Segment] = max(marks[r.Segment], r.End)
			}
			next := uint64(done)
			for _, r := range replay(t, v, marks) {
				if r.n >= 1000 {
					continue
				}
				if r.n != next || r.ref != refs[r.n] {
					t.Fatalf("%d done: got record %d at %+v, want %d at %+v", done, r.n, r.ref, next, refs[next])
				}
				next++
			}
			if next != 30 {
				t.Errorf("%d done: replay ended before record %d", done, next)
			}
		}
		v = b.reopen(v)
	}
}

// TestGroupCommit: many writers share syncs; the callbacks come in journal order
// and before Accept returns.
func TestGroupCommit(t *testing.T) {
	b := newBox(t)
	var syncs atomic.Int64
	b.o.Hooks.BeforeSync = func(path string) error {
		if strings.HasSuffix(path, ".seg") {
			syncs.Add(1)
			time.Sleep(time.Millisecond) // a slow disk
		}
		return nil
	}
	v := b.open()
	const writers, each = 50, 20
	var mu sync.Mutex
	var order []message.Ref
	called := map[uint64]bool{}
	var wg sync.WaitGroup
	for w := range uint64(writers) {
		wg.Go(func() {
			for i := range uint64(each) {
				n := w*each + i
				body, err := v.NewBody(day)
				if err != nil {
					t.Error(err)
					return
				}
				body.Write(bodyOf(n, 500))
				if _, err := body.Finish(); err != nil {
					t.Error(err)
				}
				ref, err := v.Accept(nilCtx(), vault.Record{Meta: metaOf(n, 500), LogDay: logDay, Body: body, Committed: func(r message.Ref) {
					mu.Lock()
					defer mu.Unlock()
					order, called[n] = append(order, r), true
				}})
				mu.Lock()
				if err != nil || !called[n] || !slices.Contains(order, ref) {
					t.Errorf("record %d: returned before it was committed: %v", n, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for i := 1; i < len(order); i++ {
		if order[i].Offset != order[i-1].End || order[i].Segment != order[i-1].Segment {
			t.Fatalf("callback %d at %+v after %+v", i, order[i], order[i-1])
		}
	}
	if len(order) != writers*each {
		t.Errorf("%d callbacks, want %d", len(order), writers*each)
	}
	t.Logf("%d records, %d syncs", writers*each, syncs.Load())
	if got := syncs.Load(); got > writers*each/10 {
		t.Errorf("%d syncs for %d records of %d writers", got, writers*each, writers)
	}
	before := syncs.Load()
	mustPut(t, v, 5000, 100)
	if got := syncs.Load() - before; got != 1 {
		t.Errorf("a lone record took %d syncs", got)
	}
}

// TestSeveralWriters: where syncs are slow several groups are on their way at
// once, each in segments of its own; within a segment the callbacks keep its
// order, a day can be taken away meanwhile, and everything is there afterwards.
func TestSeveralWriters(t *testing.T) {
	b := newBox(t)
	b.o.SlowSync, b.o.SegmentSize = 1, 64<<10
	var running, most atomic.Int64
	b.o.Hooks.BeforeSync = func(path string) error {
		if !strings.HasSuffix(path, ".seg") {
			return nil
		}
		n := running.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(2 * time.Millisecond) // a slow disk
		running.Add(-1)
		return nil
	}
	v := b.open()
	const clients, each = 12, 30
	var mu sync.Mutex
	last := map[uint64]int64{} // segment → end of its last callback
	var wg sync.WaitGroup
	for c := range uint64(clients) {
		wg.Go(func() {
			for i := range uint64(each) {
				n := c*each + i
				body, err := v.NewBody([]string{day, otherDay}[c%2])
				if err != nil {
					t.Error(err)
					return
				}
				body.Write(bodyOf(n, 500))
				if _, err := body.Finish(); err != nil {
					t.Error(err)
				}
				_, err = v.Accept(nilCtx(), vault.Record{Meta: metaOf(n, 500), LogDay: logDay, Body: body, Committed: func(r message.Ref) {
					mu.Lock()
					defer mu.Unlock()
					if r.Offset < last[r.Segment] {
						t.Errorf("segment %d: %d after %d", r.Segment, r.Offset, last[r.Segment])
					}
					last[r.Segment] = r.End
				}})
				if err != nil {
					t.Errorf("record %d: %v", n, err)
				}
			}
		})
	}
	for range 5 {
		time.Sleep(10 * time.Millisecond)
		if _, err := v.EraseDay(seal.Content, "2027-03-01"); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if n := most.Load(); n < 2 {
		t.Errorf("never more than %d syncs at once", n)
	}
	check := func(v *vault.Vault) {
		t.Helper()
		got := replay(t, v, nil)
		if len(got) != clients*each {
			t.Errorf("%d records, want %d", len(got), clients*each)
		}
		for _, r := range got {
			if text, err := read(v, r.ref); err != nil || !bytes.Equal(text, bodyOf(r.n, r.size)) {
				t.Errorf("record %d: %v", r.n, err)
			}
		}
		sound(t, v)
	}
	check(v)
	c := b.crash()
	check(c.open())
	check(b.reopen(v))
}

func TestSegmentsRollAndNumbersGrow(t *testing.T) {
	b := newBox(t)
	b.o.SegmentSize = 4 << 10
	v := b.open()
	last := uint64(0)
	for round := range uint64(4) {
		for i := range uint64(20) {
			ref := mustPut(t, v, round*20+i, 1000)
			if ref.Segment < last {
				t.Fatalf("segment %d after %d", ref.Segment, last)
			}
			last = ref.Segment
		}
		if round == 1 { // everything erased: the numbers must not start again
			if err := os.RemoveAll(filepath.Join(b.o.Dir, day)); err != nil {
				t.Fatal(err)
			}
		}
		if v = b.reopen(v); v == nil {
			t.Fatal("no vault")
		}
		last++
	}
	if got := verify(t, v); len(got) != 40 {
		t.Errorf("%d records left, want the 40 of the last two rounds", len(got))
	}
	sound(t, v)
}

func TestManyDays(t *testing.T) {
	b := newBox(t)
	v := b.open()
	for i := range uint64(40) {
		if _, err := put(v, fmt.Sprintf("2027-03-%02d", i%20+1), i, 300); err != nil {
			t.Fatal(err)
		}
	}
	got := verify(t, b.reopen(v))
	slices.Sort(got)
	if !slices.Equal(got, upTo(40)) {
		t.Errorf("replayed %v", got)
	}
}

func TestLock(t *testing.T) {
	b := newBox(t)
	v := b.open()
	start := time.Now()
	if _, err := vault.Open(b.o); !errors.Is(err, vault.ErrLocked) || !strings.Contains(err.Error(), b.o.Dir) {
		t.Errorf("second Open = %v", err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("second Open took %v", d)
	}
	b.reopen(v)
}

func TestClose(t *testing.T) {
	b := newBox(t)
	v := b.open()
	body, err := v.NewBody(day)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := body.Finish(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var stored atomic.Int64
	for i := range uint64(50) {
		wg.Go(func() {
			switch _, err := put(v, day, i, 100); {
			case err == nil:
				stored.Add(1)
			case !errors.Is(err, vault.ErrClosed):
				t.Errorf("Accept during Close = %v", err)
			}
		})
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := v.Accept(nilCtx(), vault.Record{LogDay: logDay, Body: body}); !errors.Is(err, vault.ErrClosed) {
		t.Errorf("Accept after Close = %v", err)
	}
	if _, err := v.NewBody(day); !errors.Is(err, vault.ErrClosed) {
		t.Errorf("NewBody after Close = %v", err)
	}
	if err := v.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	if got := len(verify(t, b.open())); got != int(stored.Load()) {
		t.Errorf("%d records, %d were acknowledged", got, stored.Load())
	}
}

// TestMemoryIsShared: bodies that wait share a budget; beyond it they wait in
// files, small ones too, and nothing is lost. What is stored or dropped gives its
// part back.
func TestMemoryIsShared(t *testing.T) {
	b := newBox(t)
	b.o.Memory = 12 << 10
	v := b.open()
	files := func() int {
		t.Helper()
		all, err := filepath.Glob(filepath.Join(b.o.Dir, day, "*.[pb]*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	text := bytes.Repeat([]byte("x"), 5000)
	for round := range 3 {
		before := files()
		var open []*vault.Body
		for range 6 {
			body, err := v.NewBody(day)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := body.Write(text); err != nil {
				t.Fatal(err)
			}
			if _, err := body.Finish(); err != nil {
				t.Fatal(err)
			}
			open = append(open, body)
		}
		if got := files() - before; got != 4 {
			t.Errorf("round %d: %d of 6 bodies in files, want 4", round, got)
		}
		for i, body := range open {
			if i%2 == 0 {
				body.Abort()
				continue
			}
			ref, err := v.Accept(t.Context(), vault.Record{Meta: []byte("m"), LogDay: logDay, Body: body})
			if err != nil {
				t.Fatal(err)
			}
			r, err := v.OpenBody(ref)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, text) {
				t.Errorf("round %d: read %d octets, %v", round, len(got), err)
			}
			r.Close()
		}
	}
}

func TestBodyMisuse(t *testing.T) {
	b := newBox(t)
	v := b.open()
	if _, err := v.NewBody("../etc"); err == nil {
		t.Error("NewBody took ../etc for a day")
	}
	body, err := v.NewBody(day)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Accept(nilCtx(), vault.Record{LogDay: logDay, Body: body}); !errors.Is(err, vault.ErrUsed) {
		t.Errorf("Accept of an open body = %v", err)
	}
	if _, err := v.Accept(nilCtx(), vault.Record{LogDay: logDay}); !errors.Is(err, vault.ErrUsed) {
		t.Errorf("Accept without body = %v", err)
	}
	body.Write([]byte("x"))
	first, err := body.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := body.Finish(); err != nil || again != first {
		t.Errorf("second Finish = %v, %v", again, err)
	}
	if _, err := body.Write([]byte("x")); err == nil {
		t.Error("Write after Finish worked")
	}
	ctx := doneCtx()
	if _, err := v.Accept(ctx, vault.Record{LogDay: logDay, Body: body}); !errors.Is(err, ctx.Err()) {
		t.Errorf("Accept with a context that is over = %v", err)
	}
	if _, err := v.Accept(nilCtx(), vault.Record{Meta: metaOf(1, 1), LogDay: logDay, Body: body}); err != nil {
		t.Fatal(err)
	}
	body.Abort()
	if _, err := v.Accept(nilCtx(), vault.Record{LogDay: logDay, Body: body}); !errors.Is(err, vault.ErrUsed) {
		t.Errorf("second Accept = %v", err)
	}
	big, err := v.NewBody(day)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := big.Write(make([]byte, 300_000)); err != nil {
		t.Fatal(err)
	}
	big.Abort()
	big.Abort()
	if _, err := big.Finish(); err == nil {
		t.Error("Finish after Abort worked")
	}
	if left, _ := filepath.Glob(filepath.Join(b.o.Dir, "*", "*.part")); left != nil {
		t.Errorf("Abort left %v", left)
	}
	sound(t, v)
}

func TestErased(t *testing.T) {
	b := newBox(t)
	v := b.open()
	small, large := mustPut(t, v, 1, 1000), mustPut(t, v, 2, 50_000)
	v = b.reopen(v)

	// The slot is overwritten and the body punched, as erasure will do.
	seg := filepath.Join(b.o.Dir, day, fmt.Sprintf("%016x.seg", small.Segment))
	f, err := os.OpenFile(seg, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt(make([]byte, 64), small.Offset+64)
	f.WriteAt(make([]byte, 900), small.End-1000)
	f.Close()
	if _, err := read(v, small); !errors.Is(err, vault.ErrGone) {
		t.Errorf("erased slot: %v", err)
	}
	if got, err := read(v, large); err != nil || len(got) != 50_000 {
		t.Errorf("its neighbour: %v", err)
	}
	sound(t, v)
	if got := replay(t, v, nil); len(got) != 2 {
		t.Errorf("%d records replayed, want 2: the record outlives its body", len(got))
	}

	if err := b.o.Keys.Destroy(seal.Content, day); err != nil {
		t.Fatal(err)
	}
	if _, err := read(v, large); !errors.Is(err, vault.ErrGone) {
		t.Errorf("destroyed day key: %v", err)
	}
	if _, err := v.NewBody(day); !errors.Is(err, seal.ErrDestroyed) {
		t.Errorf("NewBody for a destroyed day: %v", err)
	}
	sound(t, v)
	if err := b.o.Keys.Destroy(seal.Log, logDay); err != nil {
		t.Fatal(err)
	}
	if got := replay(t, v, nil); got != nil {
		t.Errorf("records were replayed whose log key is destroyed: %v", got)
	}
	if err := os.RemoveAll(filepath.Join(b.o.Dir, day)); err != nil {
		t.Fatal(err)
	}
	if _, err := read(v, large); !errors.Is(err, vault.ErrGone) {
		t.Errorf("unlinked day: %v", err)
	}
	if got := replay(t, v, map[uint64]int64{small.Segment: large.End}); got != nil {
		t.Errorf("replay of an unlinked day: %v", got)
	}
}

func TestLostLogKeyStopsReplay(t *testing.T) {
	b := newBox(t)
	v := b.open()
	mustPut(t, v, 1, 100)
	v.Close()
	if err := os.Remove(filepath.Join(b.root, "keys", "log-"+logDay+".key")); err != nil {
		t.Fatal(err)
	}
	b.o.Keys = keysIn(t, filepath.Join(b.root, "keys"))
	v = b.open()
	err := v.Replay(nil, func(message.Ref, []byte) error { return nil })
	if !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("Replay without the log key = %v", err)
	}
}

func TestReplayStopsWithItsCaller(t *testing.T) {
	v := newBox(t).open()
	mustPut(t, v, 1, 100)
	stop := errors.New("stop")
	if err := v.Replay(nil, func(message.Ref, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Replay = %v", err)
	}
}

func TestBadRefs(t *testing.T) {
	v := newBox(t).open()
	ref := mustPut(t, v, 1, 100)
	for name, bad := range map[string]message.Ref{
		"zero": {}, "day": {Day: "../x", Segment: ref.Segment}, "offset": {Day: day, Segment: ref.Segment, Offset: 64},
		"behind": {Day: day, Segment: ref.Segment, Offset: 1 << 40}, "segment": {Day: day, Segment: 999}, "negative": {Day: day, Segment: ref.Segment, Offset: -64},
	} {
		if _, err := v.OpenBody(bad); err == nil || errors.Is(err, vault.ErrGone) {
			t.Errorf("%s: OpenBody = %v", name, err)
		}
	}
}

func TestFree(t *testing.T) {
	v := newBox(t).open()
	free, err := v.Free()
	if err != nil || free.Bytes == 0 || free.Inodes == 0 {
		t.Errorf("Free = %+v, %v", free, err)
	}
}

func TestPlaintextIsNowhere(t *testing.T) {
	b := newBox(t)
	v := b.open()
	planted := []string{"Baugesuch-Nr-4711-geheim", "max.muster@example.ch", "Verfuegung.pdf"}
	for size := range 3 {
		text := strings.Repeat(strings.Join(planted, "\r\n")+"\r\n", 1+size*size*1000)
		body, err := v.NewBody(day)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(body, text)
		if _, err := body.Finish(); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Accept(nilCtx(), vault.Record{Meta: []byte(text), LogDay: logDay, Body: body}); err != nil {
			t.Fatal(err)
		}
		if _, err := v.PutBlob(nilCtx(), seal.Log, logDay, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	files := 0
	err := filepath.WalkDir(b.root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		for _, p := range planted {
			if bytes.Contains(text, []byte(p)) {
				t.Errorf("%s holds %q", path, p)
			}
		}
		return err
	})
	if err != nil || files < 6 {
		t.Errorf("%d files searched: %v", files, err)
	}
}
