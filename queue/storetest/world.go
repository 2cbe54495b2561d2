package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatewayd/message"
	"gatewayd/queue"
)

// Now is the instant at which the suite's world begins.
func Now() time.Time { return time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC) }

// LogDay is the log window that the suite's stores must be opened with: six
// months, by the simplest rule.
func LogDay(t time.Time) string { return t.AddDate(0, 6, 0).Format(time.DateOnly) }

// Accepted returns a message of authority bau with n recipients in Waiting, due
// at once, with its two events. The same seed gives the same message.
func Accepted(seed uint64, n int) queue.Accepted {
	at := Now().Add(time.Duration(seed) * time.Millisecond) //nolint:gosec // small seeds
	sum := sha256.Sum256(fmt.Appendf(nil, "seed %d", seed))
	id := message.NewID(at)
	copy(id[6:], sum[:])
	a := queue.Accepted{Envelope: message.Envelope{
		ID: id, Direction: message.Outbound, Authority: "bau", Account: "fachapplikation",
		From: message.Address{Local: "bau", Domain: "bl.example"}, Received: at,
		Content: message.Content{Digest: sum, Size: 4096}, Body: message.Ref{Day: "2027-01-23", Segment: 1, Offset: 64, End: 128},
		MessageID: fmt.Sprintf("<%x@bl.example>", sum[:8]), EraseDay: "2027-01-23", LogDay: LogDay(at),
	}}
	for i := range n {
		a.Items = append(a.Items, message.Item{
			Key:       message.ItemKey{Message: id, N: i + 1},
			Recipient: message.Recipient{Address: message.Address{Local: fmt.Sprintf("Buerger%d", i), Domain: fmt.Sprintf("d%d.example", seed%7)}},
			Decision:  message.Decision{Verdict: message.Deliver, Class: message.Normal, Route: "post", Via: "smtp"},
			State:     message.Waiting, NextTry: at, EraseBy: at.AddDate(0, 2, 0),
		})
	}
	a.Events = []message.Event{
		{At: at, Kind: message.EventAccepted, Authority: "bau", Message: id},
		{At: at, Kind: message.EventDecided, Authority: "bau", Message: id, Item: 1},
	}
	return a
}

// Registered returns a message as Accepted, of class registered over a platform.
func Registered(seed uint64, n int) queue.Accepted {
	a := Accepted(seed, n)
	for i := range a.Items {
		a.Items[i].Decision.Class, a.Items[i].Decision.Via = message.Registered, "incamail"
		a.Items[i].Decision.Owed = []message.ReceiptKind{message.Abgabequittung}
		a.Items[i].Reference = fmt.Sprintf("BL-%08d", seed*10+uint64(i))
	}
	return a
}

// must are the calls that the tests make all the time.
type must struct {
	t rapid.TB
	queue.Store
}

// start opens a store whose invariants are checked when the test ends.
func start(t *testing.T, open func(*testing.T) queue.Store) must {
	t.Helper()
	m := must{t, open(t)}
	t.Cleanup(func() {
		if _, err := m.Epoch(m.ctx()); !errors.Is(err, queue.ErrClosed) {
			m.check()
		}
		if err := m.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return m
}

func (m must) ctx() context.Context { return context.Background() }

func (m must) check() {
	m.t.Helper()
	if err := m.Check(m.ctx(), func(p string) { m.t.Errorf("Check: %s", p) }); err != nil {
		m.t.Errorf("Check: %v", err)
	}
}

func (m must) index(batch ...queue.Accepted) {
	m.t.Helper()
	if err := m.Index(m.ctx(), batch, nil); err != nil {
		m.t.Fatalf("Index: %v", err)
	}
}

func (m must) apply(c queue.Change) {
	m.t.Helper()
	if err := m.Apply(m.ctx(), c); err != nil {
		m.t.Fatalf("Apply: %v", err)
	}
}

func (m must) item(key message.ItemKey) message.Item {
	m.t.Helper()
	item, err := m.Item(m.ctx(), key)
	if err != nil {
		m.t.Fatalf("Item(%s): %v", key, err)
	}
	return item
}

// edit changes one item.
func (m must) edit(key message.ItemKey, fn func(*message.Item)) message.Item {
	m.t.Helper()
	item := m.item(key)
	fn(&item)
	m.apply(queue.Change{Items: []message.Item{item}})
	return m.item(key)
}

func (m must) lease(now time.Time, n int, room func(string) queue.Room) []message.Item {
	m.t.Helper()
	leased, err := m.Lease(m.ctx(), now, n, room)
	if err != nil {
		m.t.Fatalf("Lease: %v", err)
	}
	var items []message.Item
	for _, l := range leased {
		if env, _, err := m.Message(m.ctx(), l.Item.Key.Message); err != nil || !reflect.DeepEqual(env, l.Envelope) {
			m.t.Errorf("leased with envelope %+v, stored is %+v, %v", l.Envelope, env, err)
		}
		items = append(items, l.Item)
	}
	return items
}

// find returns the keys of all pages of a query.
func (m must) find(q queue.Query) []message.ItemKey {
	m.t.Helper()
	var keys []message.ItemKey
	for range 10_000 {
		items, next, err := m.Find(m.ctx(), q)
		if err != nil {
			m.t.Fatalf("Find: %v", err)
		}
		for _, item := range items {
			keys = append(keys, item.Key)
		}
		if next == "" {
			return keys
		}
		q.After = next
	}
	m.t.Fatal("Find: the pages do not end")
	return nil
}

func (m must) pending() []message.Link {
	m.t.Helper()
	links, err := m.Pending(m.ctx(), 0, queue.MaxPage)
	if err != nil {
		m.t.Fatalf("Pending: %v", err)
	}
	return links
}

func keysOf(items []message.Item) []message.ItemKey {
	var keys []message.ItemKey
	for _, item := range items {
		keys = append(keys, item.Key)
	}
	return keys
}
