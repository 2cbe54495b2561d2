package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/queue/storetest"
)

func opened(t *testing.T, o bolt.Options) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(bolt.Unsynced(o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestLetGo: a message is listed when all its items let go, until it is noted.
func TestLetGo(t *testing.T) {
	s, ctx := opened(t, options(t, t.TempDir())), context.Background()
	var all []queue.Accepted
	for n := range uint64(20) {
		a := storetest.Accepted(n+1, 2)
		for i := range a.Items {
			a.Items[i].Decision.Keep = message.KeepUntilDone
			a.Items[i].State, a.Items[i].NextTry = message.Refused, time.Time{}
		}
		if n%2 == 0 {
			a.Items[1].State, a.Items[1].NextTry = message.Held, storetest.Now()
		}
		if n%5 == 1 {
			a.Items[0].Decision.Keep = message.KeepWindow
		}
		all = append(all, a)
	}
	if err := s.Index(ctx, all, nil); err != nil {
		t.Fatal(err)
	}
	var want, got []message.ID
	for n, a := range all {
		if n%2 == 1 && n%5 != 1 {
			want = append(want, a.Envelope.ID)
		}
	}
	for after := (message.ID{}); ; {
		ids, next, err := s.LetGo(ctx, after, 3)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ids...)
		if next.IsZero() {
			break
		}
		after = next
	}
	slices.SortFunc(want, func(a, b message.ID) int { return bytes.Compare(a[:], b[:]) })
	if !slices.Equal(got, want) {
		t.Errorf("%d have let go, want %d", len(got), len(want))
	}
	_, items, err := s.Message(ctx, got[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range items {
		items[i].Erased = storetest.Now()
	}
	if err := s.Apply(ctx, queue.Change{Items: items}); err != nil {
		t.Fatal(err)
	}
	if ids, _, err := s.LetGo(ctx, message.ID{}, 1); err != nil || len(ids) != 1 || ids[0] != got[1] {
		t.Errorf("after it was noted: %v %v", ids, err)
	}
	checked(t, s)
}

func TestDueBetween(t *testing.T) {
	s, ctx := opened(t, options(t, t.TempDir())), context.Background()
	limit := storetest.Now().AddDate(0, 2, 0)
	var want []message.ID
	for n := range uint64(9) {
		a := storetest.Accepted(n+1, 2)
		for i := range a.Items {
			a.Items[i].EraseBy = limit.Add(time.Duration(n/3) * time.Second)
		}
		if n/3 == 1 {
			want = append(want, a.Envelope.ID)
		}
		if err := s.Index(ctx, []queue.Accepted{a}, nil); err != nil {
			t.Fatal(err)
		}
	}
	var got []message.ID
	for after := ""; ; {
		ids, next, err := s.DueBetween(ctx, limit, limit.Add(time.Second), false, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ids {
			if got = append(got, d.Envelope.ID); len(d.Items) != 2 {
				t.Errorf("%d items", len(d.Items))
			}
		}
		if next == "" {
			break
		}
		after = next
	}
	slices.SortFunc(want, func(a, b message.ID) int { return bytes.Compare(a[:], b[:]) })
	if !slices.Equal(got, want) {
		t.Errorf("DueBetween = %v, want %v", got, want)
	}
	// One item ends and its body goes: its message stays; with the other one, it has ended.
	for n := range 2 {
		k := message.ItemKey{Message: want[1], N: n + 1}
		item, err := s.Item(ctx, k)
		if err != nil {
			t.Fatal(err)
		}
		item.State, item.NextTry, item.Erased = message.Expired, time.Time{}, storetest.Now()
		if err := s.Apply(ctx, queue.Change{Items: []message.Item{item}}); err != nil {
			t.Fatal(err)
		}
		left, next, err := s.DueBetween(ctx, limit, limit.Add(time.Second), true, "", 9)
		all, _, err2 := s.DueBetween(ctx, limit, limit.Add(time.Second), false, "", 9)
		if err := errors.Join(err, err2); err != nil || len(left) != 3-n || len(all) != 3 || next != "" {
			t.Errorf("%d items have ended: %d messages left of %d, %v", n+1, len(left), len(all), err)
		}
	}
	checked(t, s)
}

// TestPurge: a log day goes with all its rows, others stay whole; with and without
// its key.
func TestPurge(t *testing.T) {
	for _, destroyed := range []bool{false, true} {
		o := options(t, t.TempDir())
		o.LogDay = func(at time.Time) string { return at.AddDate(0, 6, 0).Format(time.DateOnly) }
		s, ctx := opened(t, o), context.Background()
		now := storetest.Now()
		days := []string{o.LogDay(now), o.LogDay(now.AddDate(0, 0, 1))}
		var all []queue.Accepted
		for n := range uint64(4400) {
			a := storetest.Accepted(n+1, 1)
			at := now.AddDate(0, 0, int(n%2)) //nolint:gosec // small
			a.Envelope.LogDay = days[n%2]
			a.Events = []message.Event{{At: at, Kind: message.EventAccepted, Authority: a.Envelope.Authority, Message: a.Envelope.ID}}
			all = append(all, a)
		}
		if err := s.Index(ctx, all, nil); err != nil {
			t.Fatal(err)
		}
		// A receipt and an event that outlive their message.
		late := message.Receipt{ID: message.ID{7}, Item: all[0].Items[0].Key, Received: now.AddDate(0, 0, 1)}
		early := message.Receipt{ID: message.ID{8}, Item: all[2].Items[0].Key, Received: now}
		event := message.Event{At: now.AddDate(0, 0, 1), Kind: message.EventCase, Authority: all[0].Envelope.Authority, Message: all[0].Envelope.ID}
		if err := s.Apply(ctx, queue.Change{Receipts: []message.Receipt{late, early}, Events: []message.Event{event}}); err != nil {
			t.Fatal(err)
		}
		if w, err := s.WindowOf(ctx, days[0]); err != nil || w != (bolt.Window{Messages: 2200, Items: 2200, Receipts: 1}) {
			t.Fatalf("WindowOf = %+v, %v", w, err)
		}
		seq, _, err := s.Head(ctx)
		if err == nil {
			err = s.Forget(ctx, seq-1)
		}
		if err != nil {
			t.Fatal(err)
		}
		if destroyed {
			if err := o.Keys.Destroy(seal.Log, days[0]); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := s.Purge(ctx, days[0]); err != nil {
				t.Fatal(err)
			}
		}
		checked(t, s)
		checkPurged(t, s, all, days)
		if err := s.Purge(ctx, days[1]); err != nil {
			t.Fatal(err)
		}
		checked(t, s)
		if es, err := s.Pending(ctx, 0, 10); err != nil || len(es) != 1 {
			t.Errorf("what the day files do not have yet: %d, %v", len(es), err)
		}
		if err := errors.Join(s.Forget(ctx, seq), s.Purge(ctx, days[1])); err != nil {
			t.Fatal(err)
		}
		checked(t, s)
		checkEmpty(t, s, o.Path)
	}
}

func checkPurged(t *testing.T, s *bolt.Store, all []queue.Accepted, days []string) {
	t.Helper()
	ctx := context.Background()
	for n, a := range all {
		_, items, err := s.Message(ctx, a.Envelope.ID)
		if gone := n%2 == 0; gone != errors.Is(err, queue.ErrNotFound) || !gone && len(items) != 1 {
			t.Fatalf("message %d: %v", n, err)
		}
	}
	counts, err := s.Counts(ctx)
	if err != nil || counts[message.Waiting] != 2200 {
		t.Errorf("counts %v %v", counts, err)
	}
	if rs, err := s.Receipts(ctx, all[0].Envelope.ID); err != nil || len(rs) != 1 {
		t.Errorf("the receipt of the next day: %v %v", rs, err)
	}
	if es, err := s.Events(ctx, all[0].Envelope.ID); err != nil || len(es) != 1 || es[0].Kind != message.EventCase {
		t.Errorf("the event of the next day: %v %v", es, err)
	}
	if w, err := s.WindowOf(ctx, days[0]); err != nil || w != (bolt.Window{}) {
		t.Errorf("WindowOf = %+v, %v", w, err)
	}
}

// checkEmpty: nothing but what the ledger knows of itself.
func checkEmpty(t *testing.T, s *bolt.Store, path string) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			if n := b.Stats().KeyN; n > 0 && string(name) != "meta" {
				t.Errorf("bucket %s has %d rows", name, n)
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}

// TestCompact: while others read and write, the file shrinks and loses nothing.
func TestCompact(t *testing.T) {
	o := options(t, t.TempDir())
	s, ctx := opened(t, o), context.Background()
	day := storetest.LogDay(storetest.Now())
	var all []queue.Accepted
	for n := range uint64(16000) {
		all = append(all, storetest.Accepted(n+1, 2))
	}
	for batch := range slices.Chunk(all, 500) {
		if err := s.Index(ctx, batch, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{all[0].Envelope.LogDay, day} {
		if err := s.Purge(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	seq, _, err := s.Head(ctx)
	if err == nil {
		err = s.Forget(ctx, seq)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := sizeOf(t, o.Path)
	if did, err := s.Compact(ctx); err != nil || did || sizeOf(t, o.Path) != before {
		t.Errorf("compacted for little: %v", err)
	}
	var work sync.WaitGroup
	kept := make([]queue.Accepted, 200)
	for i := range kept {
		kept[i] = storetest.Accepted(uint64(10_000+i), 1) //nolint:gosec // small
	}
	work.Go(func() {
		for _, a := range kept {
			if err := s.Index(ctx, []queue.Accepted{a}, nil); err != nil {
				t.Error(err)
				return
			}
		}
	})
	work.Go(func() {
		for range 200 {
			if _, err := s.Counts(ctx); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 3 {
		if err := s.CompactNow(ctx); err != nil {
			t.Fatal(err)
		}
	}
	work.Wait()
	if after := sizeOf(t, o.Path); after > before/2 { // bbolt grows a file by 16 MiB
		t.Errorf("%d octets, before %d", after, before)
	}
	checked(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, o)
	for _, a := range kept {
		if _, _, err := s.Message(ctx, a.Envelope.ID); err != nil {
			t.Fatal(err)
		}
	}
	checked(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.CompactNow(ctx); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestCompactFails: the old file stays, and stays in use.
func TestCompactFails(t *testing.T) {
	o := options(t, t.TempDir())
	trouble := errors.New("no")
	fail := false
	o.Hooks.BeforeSwap = func() error {
		if fail {
			return trouble
		}
		return nil
	}
	s, ctx := opened(t, o), context.Background()
	a := storetest.Accepted(1, 1)
	if err := s.Index(ctx, []queue.Accepted{a}, nil); err != nil {
		t.Fatal(err)
	}
	fail = true
	if err := s.CompactNow(ctx); !errors.Is(err, trouble) {
		t.Errorf("CompactNow: %v", err)
	}
	fail = false
	if err := s.Index(ctx, []queue.Accepted{storetest.Accepted(2, 1)}, nil); err != nil {
		t.Error(err)
	}
	checked(t, s)
	if _, err := os.Stat(o.Path + ".compact"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the new file is left behind: %v", err)
	}
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}
