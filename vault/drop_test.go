package vault_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/vault"
)

func segmentOf(b *box) string { return filepath.Join(b.o.Dir, day, "0000000000000001.seg") }

// holds checks a vault whose records 0 to len(refs)-1 have size octets: those
// that were dropped are gone, for readers and for Replay, and all others whole.
func holds(t *testing.T, v *vault.Vault, refs []message.Ref, dropped map[int]bool, size int) {
	t.Helper()
	want := map[uint64]bool{}
	for i, ref := range refs {
		got, err := read(v, ref)
		if dropped[i] {
			if !errors.Is(err, vault.ErrGone) {
				t.Errorf("dropped record %d: %v", i, err)
			}
			continue
		}
		want[uint64(i)] = true                                        //nolint:gosec // small
		if err != nil || !bytes.Equal(got, bodyOf(uint64(i), size)) { //nolint:gosec // small
			t.Errorf("record %d: %v", i, err)
		}
	}
	all := replay(t, v, nil)
	if len(all) != len(want) || slices.ContainsFunc(all, func(r replayed) bool { return !want[r.n] }) {
		t.Errorf("%d records are replayed, want %d", len(all), len(want))
	}
	sound(t, v)
	if r := v.Recovered(); len(r.Damaged) != 0 || r.Voided != 0 || r.Cut != 0 {
		t.Errorf("recovered %+v", r)
	}
}

func putAll(t *testing.T, v *vault.Vault, n, size int) (refs []message.Ref) {
	t.Helper()
	for i := range n {
		refs = append(refs, mustPut(t, v, uint64(i), size)) //nolint:gosec // small
	}
	return refs
}

// TestDrop: small records that were dropped take no place any more, in an open
// segment, after a crash and in one that was closed.
func TestDrop(t *testing.T) {
	b := newBox(t)
	v := b.open()
	refs := putAll(t, v, 500, 4200)
	before := blocks(t, segmentOf(b))
	dropped := map[int]bool{}
	for i := range refs {
		dropped[i] = i != 100 && i != 400
	}
	gone := slices.Concat(refs[:100], refs[101:400], refs[401:], refs[:3])
	if freed, err := v.Drop(gone); err != nil || freed < 498*4200 {
		t.Fatalf("Drop = %d, %v", freed, err)
	}
	after := blocks(t, segmentOf(b))
	if before < 500*4200 || after > 10*4096 {
		t.Errorf("the segment took %d octets, now %d", before, after)
	}
	holds(t, v, refs, dropped, 4200)
	if _, err := v.Drop(gone); err != nil || blocks(t, segmentOf(b)) != after {
		t.Errorf("Drop again: %v, %d octets, before %d", err, blocks(t, segmentOf(b)), after)
	}
	holds(t, b.crash().open(), refs, dropped, 4200)
	v = b.reopen(v)
	holds(t, v, refs, dropped, 4200)
	marks := map[uint64]int64{refs[0].Segment: refs[50].End} // a ledger from a backup: the mark lies in a run
	if got := replay(t, v, marks); len(got) != 2 || len(v.Recovered().Damaged) != 0 {
		t.Errorf("behind a mark in a run: %d records, %+v", len(got), v.Recovered())
	}
	if e, err := v.EraseDay(seal.Content, day); err != nil || e.Records != 500 {
		t.Errorf("EraseDay = %+v, %v; dropped records count as well", e, err)
	}
}

// TestDropOneByOne: runs grow together, in whatever order their records go, and
// whether or not the vault was opened anew in between.
func TestDropOneByOne(t *testing.T) {
	const n = 60
	for seed := range uint64(6) {
		b := newBox(t)
		v := b.open()
		refs := putAll(t, v, n, 4200)
		dropped := map[int]bool{}
		order := rand.New(rand.NewPCG(seed, 1)).Perm(n) //nolint:gosec // a test
		if seed < 2 {                                   // as mail goes: in order, and backwards
			slices.Sort(order)
		}
		if seed == 1 {
			slices.Reverse(order)
		}
		for k, i := range order {
			if _, err := v.Drop(refs[i : i+1]); err != nil {
				t.Fatal(err)
			}
			dropped[i] = true
			if k%9 == 8 {
				holds(t, b.crash().open(), refs, dropped, 4200)
				v = b.reopen(v)
			}
		}
		holds(t, v, refs, dropped, 4200)
		if left := blocks(t, segmentOf(b)); left > 5*4096 {
			t.Errorf("seed %d: %d octets are left of %d dropped records", seed, left, n)
		}
	}
}

// TestDropCutOff: whichever step is the last one, what is live is whole, nothing
// counts as damaged, and dropping again finishes.
func TestDropCutOff(t *testing.T) {
	stopped := errors.New("stopped")
	for last := 0; ; last++ {
		b := newBox(t)
		left := -1
		step := func(string) error {
			if left--; left == -1 {
				left = 0
				return stopped
			}
			return nil
		}
		b.o.Hooks = vault.Hooks{BeforeWrite: step, BeforeSync: step, AfterSync: step, BeforePunch: step, BeforeRemove: step}
		v := b.open()
		refs := putAll(t, v, 12, 4200)
		refs = append(refs, mustPut(t, v, 12, 30<<10)) // in a file of its own
		if _, err := v.Drop(refs[3:5]); err != nil {
			t.Fatal(err)
		}
		left = last
		gone := slices.Concat(refs[1:3], refs[5:9], refs[12:])
		_, err := v.Drop(gone)
		left = -1
		dropped := map[int]bool{3: true, 4: true}
		c := b.crash().open()
		for i, ref := range refs[:12] {
			if _, err := read(c, ref); errors.Is(err, vault.ErrGone) && (i == 0 || i > 8) {
				t.Errorf("step %d: record %d is gone", last, i)
			}
		}
		sound(t, c)
		if r := c.Recovered(); len(r.Damaged) != 0 || r.Voided != 0 {
			t.Errorf("step %d: recovered %+v", last, r)
		}
		if _, err := c.Drop(gone); err != nil {
			t.Errorf("step %d: Drop again: %v", last, err)
		}
		for _, i := range []int{1, 2, 5, 6, 7, 8, 12} {
			dropped[i] = true
		}
		holds(t, c, refs, dropped, 4200)
		if files, _ := filepath.Glob(filepath.Join(b.o.Dir, day, "*.body")); err == nil && len(files) != 0 {
			t.Errorf("body files left: %q", files)
		}
		if err == nil {
			if last < 12 {
				t.Errorf("only %d steps", last)
			}
			return
		}
	}
}

// TestDropKeepsTheOthers: what is of the log family is wiped only, and what lies
// nowhere is refused.
func TestDropKeepsTheOthers(t *testing.T) {
	b := newBox(t)
	v := b.open()
	doc, err := v.PutBlob(t.Context(), seal.Log, day, []byte("a receipt"))
	if err != nil {
		t.Fatal(err)
	}
	ref := mustPut(t, v, 1, 100)
	if _, err := v.Drop([]message.Ref{doc}); err != nil {
		t.Error(err)
	}
	if _, err := read(v, doc); !errors.Is(err, vault.ErrGone) {
		t.Errorf("wiped blob: %v", err)
	}
	if _, err := v.Drop([]message.Ref{{Day: day, Segment: ref.Segment, Offset: ref.Offset + 64}}); !errors.Is(err, vault.ErrCorrupt) {
		t.Errorf("Drop of no record: %v", err)
	}
	if got := replay(t, v, nil); len(got) != 1 {
		t.Errorf("%d records are replayed", len(got))
	}
}

// TestZerosAreNoRun: a stretch of zeros that no run covers is damage, not gone.
func TestZerosAreNoRun(t *testing.T) {
	b := newBox(t)
	v := b.open()
	refs := putAll(t, v, 6, 4200)
	if _, err := v.Drop(refs[:2]); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(segmentOf(b), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, refs[3].End-refs[3].Offset), refs[3].Offset); err != nil {
		t.Fatal(err)
	}
	if _, err := read(v, refs[3]); !errors.Is(err, vault.ErrCorrupt) || errors.Is(err, vault.ErrGone) {
		t.Errorf("a record full of zeros: %v", err)
	}
	if _, err := read(v, refs[1]); !errors.Is(err, vault.ErrGone) {
		t.Errorf("a dropped record: %v", err)
	}
	if len(check(t, v)) == 0 {
		t.Error("check is silent about zeros")
	}
}
