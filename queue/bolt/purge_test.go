package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/queue/storetest"
)

// TestPurgeCutOff: wherever Purge is cut off, before a commit or behind it, the
// ledger is whole, nothing of the day is read that is half there, and the next
// call ends it.
func TestPurgeCutOff(t *testing.T) {
	planted := errors.New("planted")
	for _, after := range []bool{false, true} {
		for cut := 1; ; cut++ {
			o := options(t, t.TempDir())
			o.LogDay = func(at time.Time) string { return at.AddDate(0, 6, 0).Format(time.DateOnly) }
			left := -1
			hook := func() error {
				if left--; left == 0 {
					return planted
				}
				return nil
			}
			if after {
				o.Hooks.AfterCommit = hook
			} else {
				o.Hooks.BeforeCommit = hook
			}
			s, ctx := opened(t, o), context.Background()
			old, young := twoDays(t, s, o)
			left = cut
			err := s.Purge(ctx, old[0].Envelope.LogDay)
			done := left > 0
			left = -1
			if !done && !errors.Is(err, planted) || done && err != nil {
				t.Fatalf("cut at commit %d: %v", cut, err)
			}
			checked(t, s)
			gone := 0
			for _, a := range old {
				if _, _, err := s.Message(ctx, a.Envelope.ID); err != nil {
					gone++
				}
				if es, err := s.Events(ctx, a.Envelope.ID); err != nil || len(es) > 2 {
					t.Fatalf("cut at commit %d: %d events, %v", cut, len(es), err)
				}
			}
			if gone != 0 && gone != len(old) {
				t.Errorf("cut at commit %d: %d of %d messages are gone", cut, gone, len(old))
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = opened(t, o)
			checked(t, s)
			if err := s.Purge(ctx, old[0].Envelope.LogDay); err != nil {
				t.Fatal(err)
			}
			checked(t, s)
			for _, a := range young {
				if _, _, err := s.Message(ctx, a.Envelope.ID); err != nil {
					t.Errorf("the next day: %v", err)
				}
			}
			if err := s.Purge(ctx, young[0].Envelope.LogDay); err != nil {
				t.Fatal(err)
			}
			checkEmpty(t, s, o.Path)
			if done {
				if cut < 8 { // the day, the ways to its events, six buckets
					t.Errorf("Purge took %d commits", cut-1)
				}
				break
			}
		}
	}
}

// twoDays fills a ledger with messages of two log days, which the audit log has.
func twoDays(t *testing.T, s *bolt.Store, o bolt.Options) (old, young []queue.Accepted) {
	t.Helper()
	ctx := context.Background()
	for n := range uint64(40) {
		a := storetest.Accepted(n+1, 2)
		at := storetest.Now().AddDate(0, 0, int(n%2)) //nolint:gosec // small
		a.Envelope.LogDay = o.LogDay(at)
		a.Events = []message.Event{{At: at, Kind: message.EventAccepted, Authority: a.Envelope.Authority, Message: a.Envelope.ID}}
		if n%2 == 0 { // one event outlives its message
			old = append(old, a)
			a.Events = append(a.Events, message.Event{At: at.AddDate(0, 0, 1), Kind: message.EventCase, Authority: a.Envelope.Authority, Message: a.Envelope.ID})
		} else {
			young = append(young, a)
		}
		if err := s.Index(ctx, []queue.Accepted{a}, nil); err != nil {
			t.Fatal(err)
		}
	}
	receipt := message.Receipt{ID: message.ID{7}, Item: old[0].Items[0].Key, Received: storetest.Now()}
	if err := s.Apply(ctx, queue.Change{Receipts: []message.Receipt{receipt}}); err != nil {
		t.Fatal(err)
	}
	seq, _, err := s.Head(ctx)
	if err == nil {
		err = s.Forget(ctx, seq)
	}
	if err != nil {
		t.Fatal(err)
	}
	return old, young
}

// TestPurgeKeepsUndrained: what the audit log does not have yet stays readable to
// it, although everything else of its day is gone.
func TestPurgeKeepsUndrained(t *testing.T) {
	o := options(t, t.TempDir())
	s, ctx := opened(t, o), context.Background()
	a := storetest.Accepted(1, 1)
	if err := s.Index(ctx, []queue.Accepted{a}, nil); err != nil {
		t.Fatal(err)
	}
	day := storetest.LogDay(a.Events[0].At)
	for range 2 {
		if err := s.Purge(ctx, max(day, a.Envelope.LogDay)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Message(ctx, a.Envelope.ID); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("Message = %v", err)
		}
		if links, err := s.Pending(ctx, 0, 10); err != nil || len(links) != len(a.Events) {
			t.Errorf("Pending = %d, %v, want %d", len(links), err, len(a.Events))
		}
		if es, err := s.Events(ctx, a.Envelope.ID); err != nil || len(es) != len(a.Events) {
			t.Errorf("Events = %d, %v, want %d", len(es), err, len(a.Events))
		}
		checked(t, s)
	}
	if err := errors.Join(s.Forget(ctx, uint64(len(a.Events))), s.Purge(ctx, max(day, a.Envelope.LogDay))); err != nil {
		t.Fatal(err)
	}
	checked(t, s)
	checkEmpty(t, s, o.Path)
}

// TestFeedOverDays: events of many log days come in the order of the chain, also
// those that were indexed late, from wherever and in pages of whatever size.
func TestFeedOverDays(t *testing.T) {
	o := options(t, t.TempDir())
	o.LogDay = func(at time.Time) string { return at.AddDate(0, 6, 0).Format(time.DateOnly) }
	s, ctx := opened(t, o), context.Background()
	a := storetest.Accepted(1, 1)
	a.Events = nil
	if err := s.Index(ctx, []queue.Accepted{a}, nil); err != nil {
		t.Fatal(err)
	}
	want := []int{3, 1, 1, 2, 9, 0, 3, 3, 8}
	for _, days := range want {
		at := storetest.Now().AddDate(0, 0, days)
		both := []message.Event{
			{At: at, Kind: message.EventCase, Authority: a.Envelope.Authority, Message: a.Envelope.ID, Data: map[string]string{"days": fmt.Sprint(days)}},
			{At: at, Kind: message.EventCase, Authority: "steuern"},
		}
		if err := s.Apply(ctx, queue.Change{Events: both}); err != nil {
			t.Fatal(err)
		}
	}
	told := func(es []message.Event) (days []int) {
		for _, e := range es {
			n := int(e.At.Sub(storetest.Now()).Hours()+1) / 24
			if e.Data["days"] != fmt.Sprint(n) {
				t.Errorf("another event: %+v", e)
			}
			days = append(days, n)
		}
		return days
	}
	for page := 1; page <= len(want)+1; page++ {
		var got []message.Event
		for after := uint64(0); ; {
			es, err := s.Feed(ctx, a.Envelope.Authority, after, page)
			if err != nil {
				t.Fatal(err)
			}
			if len(es) == 0 {
				break
			}
			got, after = append(got, es...), es[len(es)-1].Seq
		}
		if days := told(got); !slices.Equal(days, want) || !slices.IsSortedFunc(got, func(x, y message.Event) int { return int(x.Seq) - int(y.Seq) }) { //nolint:gosec // small
			t.Errorf("in pages of %d: %v, want %v", page, days, want)
		}
	}
	story, err := s.Events(ctx, a.Envelope.ID)
	if days := told(story); err != nil || !slices.Equal(days, want) {
		t.Errorf("Events = %v, %v, want %v", days, err, want)
	}
	checked(t, s)
}

// TestOldLedger: one of another version is refused in clear words, also by Repair,
// which would take what it does not know for nothing.
func TestOldLedger(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	o := options(t, dir)
	damage(t, dir, func(tx *bbolt.Tx) error {
		value, err := bolt.Protect(o, "meta", "schema", []byte(`"gatewayd ledger 6"`))
		return errors.Join(err, tx.Bucket([]byte("meta")).Put([]byte("schema"), value))
	})
	const want = `it is a "gatewayd ledger 6", this program knows "gatewayd ledger `
	if _, err := bolt.Open(o); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Open: %v", err)
	}
	if _, err := bolt.Repair(context.Background(), o, t.TempDir()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Repair: %v", err)
	}
}
