package vault_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/vault"
)

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// TestWipe: bodies go before their day, small and large; their neighbours and the
// journal stay, also after a crash.
func TestWipe(t *testing.T) {
	b := newBox(t)
	b.o.LargeBody = 1 << 20
	v := b.open()
	small, big := make([]message.Ref, 8), mustPut(t, v, 100, 2<<20)
	for i := range small {
		small[i] = mustPut(t, v, uint64(i), 200<<10) //nolint:gosec // small
	}
	seg := filepath.Join(b.o.Dir, day, "0000000000000001.seg")
	before := blocks(t, seg)
	refs := append([]message.Ref{big}, small[:6]...)
	freed, err := v.Wipe(refs)
	if err != nil || freed < 3<<20 {
		t.Fatalf("Wipe = %d, %v", freed, err)
	}
	if after := blocks(t, seg); before-after < 1100<<10 {
		t.Errorf("the segment took %d octets, now %d", before, after)
	}
	if again, err := v.Wipe(refs); err != nil || again > freed {
		t.Errorf("Wipe again = %d, %v", again, err)
	}
	checkWiped(t, v, refs, small[6:])
	crashed := b.crash().open()
	checkWiped(t, crashed, refs, small[6:])
	if r := crashed.Recovered(); len(r.Damaged) != 0 || r.Voided != 0 {
		t.Errorf("recovered %+v", r)
	}
	checkWiped(t, b.reopen(v), refs, small[6:])
}

func checkWiped(t *testing.T, v *vault.Vault, gone, there []message.Ref) {
	t.Helper()
	for _, ref := range gone {
		if _, err := read(v, ref); !errors.Is(err, vault.ErrGone) {
			t.Errorf("wiped body at %d: %v", ref.Offset, err)
		}
	}
	for i, ref := range there {
		if got, err := read(v, ref); err != nil || !bytes.Equal(got, bodyOf(uint64(6+i), 200<<10)) { //nolint:gosec // small
			t.Errorf("kept body at %d: %v", ref.Offset, err)
		}
	}
	if got := replay(t, v, nil); len(got) != 9 {
		t.Errorf("%d records are replayed, want 9", len(got))
	}
	if problems := check(t, v); len(problems) != 0 {
		t.Errorf("check: %q", problems)
	}
}

// TestWipeSyncsBeforeItPunches: as long as a slot may come back after a power
// cut, its body is there.
func TestWipeSyncsBeforeItPunches(t *testing.T) {
	b := newBox(t)
	var steps []string
	step := func(name string) func(string) error {
		return func(string) error { steps = append(steps, name); return nil }
	}
	b.o.Hooks = vault.Hooks{BeforePunch: step("punch"), BeforeRemove: step("unlink"), AfterSync: step("synced")}
	v := b.open()
	refs := []message.Ref{mustPut(t, v, 1, 100), mustPut(t, v, 2, 64<<10)}
	steps = nil
	if _, err := v.Wipe(refs); err != nil {
		t.Fatal(err)
	}
	if len(steps) != 3 || steps[0] != "synced" || steps[1] != "punch" || steps[2] != "unlink" {
		t.Errorf("steps %v", steps)
	}
}

func TestWipeRefuses(t *testing.T) {
	v := newBox(t).open()
	ref := mustPut(t, v, 1, 100)
	for _, bad := range []message.Ref{{Day: "../x", Segment: 1}, {Day: day, Segment: ref.Segment, Offset: 64}, {}} {
		if _, err := v.Wipe([]message.Ref{bad}); err == nil {
			t.Errorf("Wipe(%+v) is done", bad)
		}
	}
	if n, err := v.Wipe([]message.Ref{{Day: "2020-01-01", Segment: 9}}); n != 0 || err != nil {
		t.Errorf("a day that is gone: %d, %v", n, err)
	}
	if got, err := read(v, ref); err != nil || len(got) != 100 {
		t.Errorf("the body has suffered: %v", err)
	}
}

// TestEraseDay: one family's records of a day go, from the open segment too; those
// of the other family stay to their turn.
func TestEraseDay(t *testing.T) {
	b := newBox(t)
	v := b.open()
	ctx := context.Background()
	other, err := put(v, otherDay, 5, 100)
	if err != nil {
		t.Fatal(err)
	}
	content := []message.Ref{mustPut(t, v, 1, 100), mustPut(t, v, 2, 64<<10)}
	var proofs []message.Ref
	for _, text := range []string{"small proof", string(bodyOf(9, 64<<10))} {
		ref, err := v.PutBlob(ctx, seal.Log, day, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		proofs = append(proofs, ref)
	}
	if err := b.o.Keys.Destroy(seal.Content, day); err != nil {
		t.Fatal(err)
	}
	e, err := v.EraseDay(seal.Content, day)
	if err != nil || e.Records != 2 || e.Kept != 1 || e.Segments != 0 || e.Bytes < 64<<10 {
		t.Errorf("EraseDay = %+v, %v", e, err)
	}
	for _, ref := range content {
		if _, err := read(v, ref); !errors.Is(err, vault.ErrGone) {
			t.Errorf("content: %v", err)
		}
	}
	v = b.reopen(v)
	for i, want := range [][]byte{[]byte("small proof"), bodyOf(9, 64<<10)} {
		if got, err := read(v, proofs[i]); err != nil || !bytes.Equal(got, want) {
			t.Errorf("proof %d: %v", i, err)
		}
	}
	if problems := check(t, v); len(problems) != 0 {
		t.Errorf("check: %q", problems)
	}
	if err := b.o.Keys.Destroy(seal.Log, day); err != nil {
		t.Fatal(err)
	}
	if e, err = v.EraseDay(seal.Log, day); err != nil || e.Records != 2 || e.Segments != 1 || e.Kept != 0 {
		t.Errorf("EraseDay = %+v, %v", e, err)
	}
	if _, err := os.Stat(filepath.Join(b.o.Dir, day)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %+v %v", e, err)
	}
	if got, err := read(v, other); err != nil || len(got) != 100 {
		t.Errorf("another day has suffered: %v", err)
	}
	if days, err := v.Days(); err != nil || len(days) != 1 || days[0] != otherDay {
		t.Errorf("days %v %v", days, err)
	}
	if e, err := v.EraseDay(seal.Log, day); err != nil || e != (vault.Erased{}) {
		t.Errorf("once more: %+v %v", e, err)
	}
	if _, err := v.EraseDay(seal.Log, "../keys"); err == nil {
		t.Error("a path is taken for a day")
	}
}

// TestEraseDayBesideProofs: content of a day whose folder stays, because another
// segment there is kept for the log window, was erased; it is not damage.
func TestEraseDayBesideProofs(t *testing.T) {
	b := newBox(t)
	v := b.open()
	content := mustPut(t, v, 1, 100)
	v = b.reopen(v) // the next record begins a segment
	proof, err := v.PutBlob(context.Background(), seal.Log, day, []byte("proof"))
	if err != nil || proof.Segment == content.Segment {
		t.Fatalf("%+v %+v %v", content, proof, err)
	}
	if err := b.o.Keys.Destroy(seal.Content, day); err != nil {
		t.Fatal(err)
	}
	if e, err := v.EraseDay(seal.Content, day); err != nil || e.Segments != 1 {
		t.Errorf("EraseDay = %+v, %v", e, err)
	}
	if _, err := read(v, content); !errors.Is(err, vault.ErrGone) {
		t.Errorf("content: %v", err)
	}
	if got, err := read(v, proof); err != nil || string(got) != "proof" {
		t.Errorf("proof: %q %v", got, err)
	}
}

func TestOver(t *testing.T) {
	b := newBox(t)
	over := false
	b.o.Over = func(f seal.Family, d string) bool { return over && f == seal.Content && d == day }
	v := b.open()
	ref := mustPut(t, v, 1, 100)
	if _, err := read(v, ref); err != nil {
		t.Error(err)
	}
	over = true
	if _, err := read(v, ref); !errors.Is(err, vault.ErrGone) {
		t.Errorf("past its limit: %v", err)
	}
}
