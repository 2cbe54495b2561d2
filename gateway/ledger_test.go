package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
)

var errDisk = errors.New("input/output error")

// failCommit fails the commit with a number, counted from the start of the
// count: before it, so that nothing is written, or after it, so that everything
// is written and the caller hears an error.
type failCommit struct {
	at, n  atomic.Int64
	counts atomic.Bool
	after  bool
}

func (f *failCommit) hooks() bolt.Hooks {
	hit := func() error {
		if f.counts.Load() && f.n.Add(1) == f.at.Load() {
			return errDisk
		}
		return nil
	}
	if f.after {
		return bolt.Hooks{AfterCommit: hit}
	}
	return bolt.Hooks{BeforeCommit: hit}
}

// TestCommitFails: every commit of a story fails once, before or after it is
// durable. The story always ends the same, by itself; nothing is sent twice and
// nothing is written down twice.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		for n := int64(1); n <= 16; n++ {
			t.Run(fmt.Sprintf("after=%v/%d", after, n), func(t *testing.T) {
				t.Parallel()
				f := &failCommit{after: after}
				f.at.Store(n)
				r := newRig(t, rigOptions{bolt: f.hooks()})
				f.counts.Store(true)
				r.story()
				if f.n.Load() < n {
					t.Errorf("the story has only %d commits", f.n.Load())
				}
			})
		}
	}
}

// story sends a registered decision that is collected, an ordinary mail, one
// that is refused by the next system and one that is held.
func (r *rig) story() {
	r.t.Helper()
	r.w.links["smtp"].on(nil)
	decision := r.send("[einschreiben] Entscheid", "buerger@example.ch")
	normal := r.send("Auskunft", "a@example.net")
	item := r.becomes(decision, message.Handed)
	for _, kind := range []string{"Abgabequittung", "Abholquittung"} {
		in, err := r.inbound(platformSender, r.w.receipt(r.t, kind, item.Reference, "buerger@example.ch"), "bau@bl.example")
		if err != nil {
			r.t.Fatal(err)
		}
		r.until("filed", func() bool { r.g.Wake(); return r.item(key(in, 1)).State == message.Done })
		if n := r.events(in, message.EventMailbox); n != 0 {
			r.t.Errorf("%d mailbox events of a receipt", n)
		}
	}
	r.becomes(decision, message.Done)
	r.becomes(normal, message.Done)
	held := r.send("[einschreiben] Entscheid", "firma@example.ch")
	r.heldTold(held)
	r.told(key(held, 1), 1)
	r.w.links["smtp"].fails(errNever)
	bad := r.send("Auskunft", "b@example.net")
	r.becomes(bad, message.Refused)
	r.told(key(bad, 1), 1)
	r.until("notices are laid down", func() bool {
		n, err := r.g.Counts(context.Background())
		return err == nil && n[message.Waiting]+n[message.Sending] == 0
	})
	if n, m := len(r.w.links["incamail"].seen()), len(r.w.links["smtp"].seen()); n != 1 || m != 2 {
		r.t.Errorf("%d and %d submissions, want 1 and 2", n, m)
	}
	for _, want := range []struct {
		id   message.ID
		kind message.EventKind
		n    int
	}{
		{decision, message.EventAccepted, 1},
		{decision, message.EventHanded, 1},
		{decision, message.EventReceipt, 2},
		{decision, message.EventCase, 2},
		{decision, message.EventUnclear, 0},
		{normal, message.EventHanded, 1},
		{held, message.EventHeld, 1},
		{held, message.EventNotice, 1},
		{bad, message.EventRefused, 1},
		{bad, message.EventNotice, 1},
	} {
		if n := r.events(want.id, want.kind); n != want.n {
			r.t.Errorf("%d %s events, want %d", n, want.kind, want.n)
		}
	}
}

// TestLedgerLags: when the ledger takes nothing the door says 452 after a
// second or 4,096 records; everything acknowledged is there when it is back.
func TestLedgerLags(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	r := newRig(t, rigOptions{bolt: bolt.Hooks{BeforeCommit: func() error {
		if down.Load() {
			return errDisk
		}
		return nil
	}}})
	down.Store(true)
	first := r.send("[einschreiben] Entscheid", "buerger@example.ch")
	if s, err := r.g.Story(context.Background(), first); err != nil || len(s.Items) != 1 {
		t.Errorf("one's own write: %+v, %v", s, err)
	}
	if _, err := r.g.Accept(context.Background(), submission("buerger@example.ch"), strings.NewReader("Subject: x\r\n\r\nx\r\n")); err != nil {
		t.Errorf("within the second: %v", err)
	}
	time.Sleep(1100 * time.Millisecond)
	_, err := r.g.Accept(context.Background(), submission("a@example.net"), strings.NewReader("Subject: x\r\n\r\nx\r\n"))
	refused(t, err, 452)
	down.Store(false)
	r.becomes(first, message.Handed)
	r.until("accepted again", func() bool {
		_, err := r.g.Accept(context.Background(), submission("a@example.net"), strings.NewReader("Subject: x\r\n\r\nx\r\n"))
		return err == nil
	})
}

// stuckStore does not take what was accepted, without an error and at once.
type stuckStore struct {
	queue.Store
	open chan struct{}
}

func (s stuckStore) Index(ctx context.Context, batch []queue.Accepted, marks map[uint64]int64) error {
	<-s.open
	return s.Store.Index(ctx, batch, marks)
}

func (s stuckStore) IndexAndLease(ctx context.Context, batch []queue.Accepted, marks map[uint64]int64, now time.Time, take func(message.Item) bool) ([]queue.Leased, error) {
	<-s.open
	return s.Store.IndexAndLease(ctx, batch, marks, now, take)
}

// TestTailIsBounded: however fast the clients are.
func TestTailIsBounded(t *testing.T) {
	t.Parallel()
	open := make(chan struct{})
	r := newRig(t, rigOptions{
		wrap: func(s queue.Store) queue.Store { return stuckStore{s, open} },
		edit: func(o *gateway.Options) { o.Delivery.Concurrency, o.Delivery.PerTarget = 256, 256 },
	})
	var clients sync.WaitGroup
	var taken atomic.Int64
	for range 64 {
		clients.Go(func() {
			for {
				if _, err := r.g.Accept(context.Background(), message.Submission{Door: message.Inbound, To: []message.Recipient{{Address: addr("bau@bl.example")}}}, strings.NewReader("\r\n")); err != nil {
					refused(t, err, 452)
					return
				}
				taken.Add(1)
			}
		})
	}
	clients.Wait()
	if n := taken.Load(); n == 0 || n > gateway.MaxTail+64 {
		t.Errorf("%d records waited", n)
	}
	close(open)
	r.until("everything is in the mailbox", func() bool {
		n, err := r.g.Counts(context.Background())
		return err == nil && int64(n[message.Done]) == taken.Load()
	})
}

// TestLedgerDownForLong: open attempts wait for the ledger, nothing is sent
// meanwhile, nothing spins, and all goes on by itself.
func TestLedgerDownForLong(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	var commits atomic.Int64
	r := newRig(t, rigOptions{bolt: bolt.Hooks{BeforeCommit: func() error {
		commits.Add(1)
		if down.Load() {
			return errDisk
		}
		return nil
	}}})
	r.w.links["smtp"].fails(errLater)
	id := r.send("Auskunft", "a@example.net")
	r.until("an attempt", func() bool { i := r.item(key(id, 1)); return i.State == message.Waiting && i.Attempts == 1 })
	held := r.send("[einschreiben] Entscheid", "firma@example.ch")
	r.heldTold(held)
	r.w.links["smtp"].on(nil)
	down.Store(true)
	r.pass(25 * time.Hour) // an attempt is due, and the held one goes back
	before := commits.Load()
	time.Sleep(500 * time.Millisecond)
	if n := commits.Load() - before; n > 200 { // 5 ms pauses in tests, 200 ms in life
		t.Errorf("%d commits tried in half a second", n)
	}
	if n := len(r.w.links["smtp"].seen()); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
	down.Store(false)
	r.becomes(id, message.Done)
	r.becomes(held, message.Refused)
	r.told(key(held, 1), 2)
}
