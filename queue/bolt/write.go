package bolt

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// Index implements queue.Store.
func (s *Store) Index(ctx context.Context, accepted []queue.Accepted, marks map[uint64]int64) error {
	return s.commit(ctx, func(b *batch) error { return b.index(accepted, marks, nil) })
}

// IndexAndLease implements queue.Store.
func (s *Store) IndexAndLease(ctx context.Context, accepted []queue.Accepted, marks map[uint64]int64, now time.Time, take func(message.Item) bool) ([]queue.Leased, error) {
	l := leaser{now: now, take: take}
	err := s.commit(ctx, func(b *batch) error { return b.index(accepted, marks, &l) })
	if err != nil {
		return nil, err
	}
	return l.leased, nil
}

// leaser opens attempts while messages are taken over.
type leaser struct {
	now    time.Time
	take   func(message.Item) bool
	leased []queue.Leased
}

// open makes an open attempt of an item that is due, if it is taken.
func (l *leaser) open(env message.Envelope, item *message.Item) *message.Event {
	if l == nil || item.State != message.Waiting || item.NextTry.After(l.now) || !l.take(*item) {
		return nil
	}
	item.State = message.Sending
	item.Attempts++
	l.leased = append(l.leased, queue.Leased{Item: *item, Envelope: env})
	event := attempt(env, *item, l.now)
	return &event
}

func (b *batch) index(accepted []queue.Accepted, marks map[uint64]int64, l *leaser) error {
	for _, a := range accepted {
		if err := b.accept(a, l); err != nil {
			return fmt.Errorf("index message %s: %w", a.Envelope.ID, err)
		}
	}
	for segment, offset := range marks {
		if err := b.mark(segment, offset); err != nil {
			return fmt.Errorf("mark of segment %d: %w", segment, err)
		}
	}
	return nil
}

// accept takes a message over, unless the ledger has it. l, which may be nil,
// opens attempts.
func (b *batch) accept(a queue.Accepted, l *leaser) error {
	id, day := a.Envelope.ID, a.Envelope.LogDay
	if err := a.Validate(); err != nil {
		return err
	}
	if b.get(place{day, ofMessages}, id[:]) != nil {
		return nil
	}
	text, err := queue.EncodeEnvelope(a.Envelope)
	if err != nil {
		return err
	}
	sealed, err := b.s.sealText(day, ofMessages, id[:], text)
	if errors.Is(err, seal.ErrDestroyed) {
		// A vault from a backup: the window of this message is over. It must not
		// come back, and must not stop those behind it.
		return b.events([]message.Event{{Kind: message.EventExpired, Message: id, Data: map[string]string{"reason": "the log window was over before the ledger had the message"}}})
	}
	if err != nil {
		return err
	}
	b.put(place{day, ofMessages}, id[:], sealed)
	events := a.Events
	for _, item := range a.Items {
		item.Version = 1
		if e := l.open(a.Envelope, &item); e != nil {
			events = append(events[:len(events):len(events)], *e)
		}
		if err := b.newItem(a.Envelope, item); err != nil {
			return err
		}
	}
	return b.events(events)
}

// Mend lays the items of a message into the ledger that it does not have, after
// a Repair, and returns how many; with the message, where that is missing. Events
// are written only when there was something to mend.
func (s *Store) Mend(ctx context.Context, a queue.Accepted) (mended int, err error) {
	err = s.commit(ctx, func(b *batch) error {
		mended = 0
		id := a.Envelope.ID
		if b.dayOf(id) == "" {
			mended = len(a.Items)
			return b.accept(a, nil)
		}
		env, err := b.envelope(b.dayOf(id), id)
		if err != nil {
			return err
		}
		for _, item := range a.Items {
			if b.get(place{env.LogDay, ofItems}, itemKey(item.Key)) != nil {
				continue
			}
			item.Version = 1
			if err := b.newItem(env, item); err != nil {
				return err
			}
			mended++
		}
		if mended == 0 {
			return nil
		}
		return b.events(a.Events)
	})
	return mended, err
}

// newItem writes an item with all its rows.
func (b *batch) newItem(env message.Envelope, item message.Item) error {
	dup := queue.Registered(env, item)
	h, err := b.s.headOf(item, env.LogDay, env.Authority, dup)
	if err != nil {
		return err
	}
	key := itemKey(item.Key)
	rows, err := b.s.wordRows(wordsOf(env, item, dup), key)
	if err != nil {
		return err
	}
	for _, r := range append(rows, headRows(h, key)...) {
		b.putRow(h.day, r)
	}
	b.count(item.State, +1)
	ref, err := b.decision(h.day, item.Decision)
	if err != nil {
		return err
	}
	return b.writeItem(h, ref, item)
}

// changeItem replaces an item: only rows that differ are touched.
func (b *batch) changeItem(old record, next message.Item) error {
	h := old.head
	key := itemKey(next.Key)
	h.state, h.letGo, h.erased, h.next, h.eraseBy = next.State, next.LetsGo() && next.Erased.IsZero(), !next.Erased.IsZero(), stampOf(next.NextTry), stampOf(next.EraseBy)
	var err error
	if h.dest = ([destLen]byte{}); next.State == message.Waiting {
		if h.dest, err = b.s.hashes.destination(queue.Destination(next)); err != nil {
			return err
		}
	}
	gone, born := diff(headRows(old.head, key), headRows(h, key))
	if o := old.Item; o.SentAs != next.SentAs || o.RemoteID != next.RemoteID || o.Reference != next.Reference || o.Recipient.Address != next.Recipient.Address {
		g, n, err := b.changedWords(old, next)
		if err != nil {
			return err
		}
		gone, born = append(gone, g...), append(born, n...)
	}
	for _, r := range gone {
		b.del(placeOf(h.day, r), r.key)
	}
	for _, r := range born {
		b.putRow(h.day, r)
	}
	b.count(old.Item.State, -1)
	b.count(next.State, +1)
	ref := old.ref
	if !sameDecision(old.Item.Decision, next.Decision) {
		if ref, err = b.decision(h.day, next.Decision); err != nil {
			return err
		}
	}
	return b.writeItem(h, ref, next)
}

func sameDecision(x, y message.Decision) bool {
	return x.Verdict == y.Verdict && x.Class == y.Class && x.Route == y.Route && x.Via == y.Via && x.Tag == y.Tag && x.GiveUp == y.GiveUp && x.Keep == y.Keep &&
		slices.Equal(x.Owed, y.Owed) && slices.Equal(x.Because, y.Because)
}

// changedWords returns the rows by which an item is found no more, and those by
// which it is found now.
func (b *batch) changedWords(old record, next message.Item) (gone, born []row, err error) {
	env, err := b.envelope(old.head.day, next.Key.Message)
	if err != nil {
		return nil, nil, err
	}
	key := itemKey(next.Key)
	before, err := b.s.wordRows(wordsOf(env, old.Item, old.head.dup), key)
	if err != nil {
		return nil, nil, err
	}
	after, err := b.s.wordRows(wordsOf(env, next, old.head.dup), key)
	gone, born = diff(before, after)
	return gone, born, err
}

func placeOf(day string, r row) place {
	if ofDay(r.bucket) {
		return place{day, r.bucket}
	}
	return place{"", r.bucket}
}

func (b *batch) putRow(day string, r row) { b.put(placeOf(day, r), r.key, nil) }

// decision writes a decision, unless its day has it, and returns its reference.
func (b *batch) decision(day string, d message.Decision) (ref decisionRef, err error) {
	text, err := queue.EncodeDecision(d)
	if err != nil {
		return ref, err
	}
	sum, err := b.s.hashes.lookup("", "decision", text)
	if err != nil {
		return ref, err
	}
	ref = decisionRef(sum)
	if at := (place{day, ofDecisions}); b.get(at, ref[:]) == nil {
		sealed, err := b.s.sealText(day, ofDecisions, ref[:], text)
		if err != nil {
			return ref, err
		}
		b.put(at, ref[:], sealed)
	}
	return ref, nil
}

func (b *batch) writeItem(h head, ref decisionRef, item message.Item) error {
	value, err := b.s.sealItem(h, ref, item)
	if err == nil {
		b.put(place{h.day, ofItems}, itemKey(item.Key), value)
	}
	return err
}

// mark moves a segment's mark; never back.
func (b *batch) mark(segment uint64, offset int64) error {
	key, at := number(segment), place{"", inMarks}
	if stored := b.get(at, key); stored != nil {
		value, err := b.s.hashes.verified(inMarks, key, stored)
		if err != nil || parseNumber(value) >= uint64(offset) { //nolint:gosec // offsets are not negative
			return err
		}
	}
	value, err := b.s.hashes.protect(inMarks, key, number(uint64(offset))) //nolint:gosec // as above
	if err != nil {
		return err
	}
	b.put(at, key, value)
	return nil
}

// Apply implements queue.Store.
func (s *Store) Apply(ctx context.Context, c queue.Change) error {
	return s.commit(ctx, func(b *batch) error {
		seen := make(map[message.ItemKey]bool, len(c.Items))
		for _, item := range c.Items {
			if seen[item.Key] {
				return fmt.Errorf("item %s stands twice in one change: %w", item.Key, queue.ErrConflict)
			}
			seen[item.Key] = true
			if err := b.change(item); err != nil {
				return err
			}
		}
		for _, a := range c.New {
			if err := b.accept(a, nil); err != nil {
				return fmt.Errorf("new message %s: %w", a.Envelope.ID, err)
			}
		}
		for _, r := range c.Receipts {
			if err := b.receipt(r); err != nil {
				return fmt.Errorf("receipt %s: %w", r.ID, err)
			}
		}
		return b.events(c.Events)
	})
}

func (b *batch) change(next message.Item) error {
	old, err := b.item(next.Key)
	if err != nil {
		return err
	}
	if err := queue.CheckItem(old.Item, next); err != nil {
		return err
	}
	next.Version++
	return b.changeItem(old, next)
}

// dayOf is Store.dayOf as the plan would leave it.
func (b *batch) dayOf(id message.ID) string {
	if guess := b.s.o.LogDay(id.Time()); b.get(place{guess, ofMessages}, id[:]) != nil {
		return guess
	}
	for k := range b.stage.last { // born in this plan, with another window than its id tells
		if k.bucket == ofMessages && k.key == string(id[:]) {
			return k.day
		}
	}
	return b.s.dayOf(b.tx, id)
}

func (b *batch) item(key message.ItemKey) (record, error) {
	return b.itemOf(b.dayOf(key.Message), key)
}

func (b *batch) itemOf(day string, key message.ItemKey) (r record, err error) {
	k := itemKey(key)
	value := b.get(place{day, ofItems}, k)
	if day == "" || value == nil {
		return r, fmt.Errorf("item %s: %w", key, queue.ErrNotFound)
	}
	r, err = b.s.openRecord(k, value, func(day string, ref decisionRef) []byte { return b.get(place{day, ofDecisions}, ref[:]) })
	if err != nil {
		return r, fmt.Errorf("item %s: %w", key, err)
	}
	return r, nil
}

func (b *batch) envelope(day string, id message.ID) (env message.Envelope, err error) {
	value := b.get(place{day, ofMessages}, id[:])
	if day == "" || value == nil {
		return env, fmt.Errorf("message %s: %w", id, queue.ErrNotFound)
	}
	if _, env, err = b.s.openEnvelope(id[:], value); err != nil {
		return env, fmt.Errorf("message %s: %w", id, err)
	}
	return env, nil
}

// receipt adds a receipt, unless its equal is there.
func (b *batch) receipt(r message.Receipt) error {
	if id := r.Item.Message; !id.IsZero() && b.get(place{b.dayOf(id), ofItems}, itemKey(r.Item)) == nil {
		return fmt.Errorf("item %s: %w", r.Item, queue.ErrNotFound)
	}
	key := receiptKey(r)
	before, value := b.receiptRow(key)
	if value != nil {
		stored, err := b.s.openReceipt(key, value)
		if gone := errors.Is(err, seal.ErrDestroyed); !gone && (err != nil || !queue.Supersedes(stored, r)) {
			return err
		}
	}
	at := r.Received
	if at.IsZero() {
		at = b.s.o.Now()
	}
	day := b.s.o.LogDay(at)
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	sealed, err := b.s.sealText(day, ofReceipts, key, text)
	if err != nil {
		return err
	}
	if value != nil && before != day {
		b.del(place{before, ofReceipts}, key)
	}
	b.put(place{day, ofReceipts}, key, sealed)
	return nil
}

// receiptRow finds a receipt, whatever day it belongs to.
func (b *batch) receiptRow(key []byte) (day string, value []byte) {
	for k := range b.stage.last {
		if k.bucket == ofReceipts && k.key == string(key) {
			if value := b.get(k.place, key); value != nil {
				return k.day, value
			}
		}
	}
	for _, day := range daysOf(b.tx, "") {
		if value := b.get(place{day, ofReceipts}, key); value != nil {
			return day, value
		}
	}
	return "", nil
}

// Forget implements queue.Store.
func (s *Store) Forget(ctx context.Context, upTo uint64) error {
	return s.commit(ctx, func(b *batch) error {
		if upTo > b.head.Seq {
			return fmt.Errorf("forget links up to %d of %d: %w", upTo, b.head.Seq, queue.ErrMalformed)
		}
		c := b.tx.Bucket([]byte(inOutbox)).Cursor()
		for k, _ := c.First(); k != nil && parseNumber(k) <= upTo; k, _ = c.Next() {
			b.del(place{"", inOutbox}, clone(k))
		}
		return nil
	})
}

// SetEpoch implements queue.Store.
func (s *Store) SetEpoch(ctx context.Context, epoch string) error {
	return s.commit(ctx, func(b *batch) error {
		plain, err := json.Marshal(epoch)
		if err != nil {
			return err
		}
		value, err := b.s.hashes.protect(inMeta, []byte("epoch"), plain)
		if err != nil {
			return err
		}
		b.put(place{"", inMeta}, []byte("epoch"), value)
		return nil
	})
}

func newEpoch() string { return rand.Text() }

// clone copies a key or value that must outlive what happens next in its
// transaction.
func clone(b []byte) []byte { return append([]byte{}, b...) }
