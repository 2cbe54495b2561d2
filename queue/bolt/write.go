package bolt

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// Index implements queue.Store.
func (s *Store) Index(ctx context.Context, accepted []queue.Accepted, marks map[uint64]int64) error {
	return s.commit(ctx, func(b *batch) error {
		for _, a := range accepted {
			if err := b.accept(a); err != nil {
				return fmt.Errorf("index message %s: %w", a.Envelope.ID, err)
			}
		}
		for segment, offset := range marks {
			if err := b.mark(segment, offset); err != nil {
				return fmt.Errorf("mark of segment %d: %w", segment, err)
			}
		}
		return nil
	})
}

// accept takes a message over, unless the ledger has it.
func (b *batch) accept(a queue.Accepted) error {
	id := a.Envelope.ID
	if err := a.Validate(); err != nil {
		return err
	}
	if b.get(inMessages, id[:]) != nil {
		return nil
	}
	sealed, err := b.s.sealValue(a.Envelope.LogDay, inMessages, id[:], a.Envelope)
	if errors.Is(err, seal.ErrDestroyed) {
		// A vault from a backup: the window of this message is over. It must not
		// come back, and must not stop those behind it.
		return b.events([]message.Event{{Kind: message.EventExpired, Message: id, Data: map[string]string{"reason": "the log window was over before the ledger had the message"}}})
	}
	if err != nil {
		return err
	}
	b.put(inMessages, id[:], sealed)
	for i, item := range a.Items {
		item.Version = 1
		r := record{Item: item, Authority: a.Envelope.Authority, MessageID: a.Envelope.MessageID, Content: a.Envelope.Content.Digest, Duplicate: queue.Registered(a.Envelope, item)}
		if i == 0 {
			r.IdemKey, _ = queue.SplitIdemKey(a.Envelope.IdemKey)
		}
		if err := b.setItem(nil, r, a.Envelope.LogDay); err != nil {
			return err
		}
	}
	return b.events(a.Events)
}

// setItem writes an item, its index rows and its erasure row; old is nil for a
// new item.
func (b *batch) setItem(old *record, next record, day string) error {
	key := itemKey(next.Item.Key)
	sealed, err := b.s.sealValue(day, inItems, key, next)
	if err != nil {
		return err
	}
	b.put(inItems, key, sealed)
	var before []entry
	if old != nil {
		if before, err = b.s.entries(*old); err != nil {
			return err
		}
		b.count(old.Item.State, -1)
	}
	b.count(next.Item.State, +1)
	after, err := b.s.entries(next)
	if err != nil {
		return err
	}
	if b.replace(before, after) {
		row, err := b.s.hashes.protect(inErase, eraseKey(day, key), listKeys(after))
		if err != nil {
			return err
		}
		b.put(inErase, eraseKey(day, key), row)
	}
	return nil
}

// replace turns the sorted index rows before into after, and reports whether
// that changed any.
func (b *batch) replace(before, after []entry) bool {
	changed := false
	for len(before) > 0 || len(after) > 0 {
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		default:
			order = bytes.Compare(before[0].key, after[0].key)
		}
		if order < 0 {
			b.del(inIndex, before[0].key)
		}
		if order > 0 || order == 0 && !bytes.Equal(before[0].value, after[0].value) {
			b.put(inIndex, after[0].key, after[0].value)
		}
		if order <= 0 {
			before = before[1:]
		}
		if order >= 0 {
			after = after[1:]
		}
		changed = changed || order != 0
	}
	return changed
}

func (b *batch) count(state message.State, n int) {
	if b.stage.counts[state] += n; b.stage.counts[state] == 0 {
		delete(b.stage.counts, state)
	}
}

// mark moves a segment's mark; never back.
func (b *batch) mark(segment uint64, offset int64) error {
	key := number(segment)
	if stored := b.get(inMarks, key); stored != nil {
		value, err := b.s.hashes.verified(inMarks, key, stored)
		if err != nil || parseNumber(value) >= uint64(offset) { //nolint:gosec // offsets are not negative
			return err
		}
	}
	value, err := b.s.hashes.protect(inMarks, key, number(uint64(offset))) //nolint:gosec // as above
	if err != nil {
		return err
	}
	b.put(inMarks, key, value)
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
			if err := b.accept(a); err != nil {
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
	old, day, err := b.item(next.Key)
	if err != nil {
		return err
	}
	if err := queue.CheckItem(old.Item, next); err != nil {
		return err
	}
	changed := old
	changed.Item = next
	changed.Item.Version++
	return b.setItem(&old, changed, day)
}

func (b *batch) item(key message.ItemKey) (r record, day string, err error) {
	k := itemKey(key)
	value := b.get(inItems, k)
	if value == nil {
		return r, "", fmt.Errorf("item %s: %w", key, queue.ErrNotFound)
	}
	if day, err = b.s.openValue(inItems, k, value, &r); err != nil {
		return r, "", fmt.Errorf("item %s: %w", key, err)
	}
	return r, day, nil
}

// receipt adds a receipt, unless its equal is there.
func (b *batch) receipt(r message.Receipt) error {
	if !r.Item.Message.IsZero() && b.get(inItems, itemKey(r.Item)) == nil {
		return fmt.Errorf("item %s: %w", r.Item, queue.ErrNotFound)
	}
	key := receiptKey(r)
	if value := b.get(inReceipts, key); value != nil {
		var stored message.Receipt
		_, err := b.s.openValue(inReceipts, key, value, &stored)
		if gone := errors.Is(err, seal.ErrDestroyed); !gone && (err != nil || !queue.Supersedes(stored, r)) {
			return err
		}
	}
	at := r.Received
	if at.IsZero() {
		at = b.s.o.Now()
	}
	day := b.s.o.LogDay(at)
	sealed, err := b.s.sealValue(day, inReceipts, key, r)
	if err != nil {
		return err
	}
	if old := b.get(inReceipts, key); len(old) > dayLen {
		b.del(inErase, eraseKey(string(old[:dayLen]), key))
	}
	row, err := b.s.hashes.protect(inErase, eraseKey(day, key), nil)
	if err != nil {
		return err
	}
	b.put(inErase, eraseKey(day, key), row)
	b.put(inReceipts, key, sealed)
	return nil
}

// open turns the items that Lease has picked into open attempts. Those that
// somebody changed meanwhile are left alone.
func (s *Store) open(ctx context.Context, now time.Time, picked []message.ItemKey) ([]message.Item, error) {
	var leased []message.Item
	err := s.commit(ctx, func(b *batch) error {
		leased = nil
		for _, key := range picked {
			old, day, err := b.item(key)
			if errors.Is(err, queue.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if old.Item.State != message.Waiting || old.Item.NextTry.After(now) {
				continue
			}
			next := old
			next.Item.State = message.Sending
			next.Item.Attempts++
			next.Item.Version++
			if err := errors.Join(b.setItem(&old, next, day), b.events([]message.Event{attempt(next, now)})); err != nil {
				return err
			}
			leased = append(leased, next.Item)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return leased, nil
}

func attempt(r record, now time.Time) message.Event {
	return message.Event{
		At: now, Kind: message.EventAttempt, Authority: r.Authority, Message: r.Item.Key.Message, Item: r.Item.Key.N,
		Data: map[string]string{"attempt": strconv.Itoa(r.Item.Attempts), "via": r.Item.Decision.Via},
	}
}

// Forget implements queue.Store.
func (s *Store) Forget(ctx context.Context, upTo uint64) error {
	return s.commit(ctx, func(b *batch) error {
		if upTo > b.head.Seq {
			return fmt.Errorf("forget links up to %d of %d: %w", upTo, b.head.Seq, queue.ErrMalformed)
		}
		c := b.tx.Bucket([]byte(inOutbox)).Cursor()
		for k, _ := c.First(); k != nil && parseNumber(k) <= upTo; k, _ = c.Next() {
			b.del(inOutbox, bytes.Clone(k))
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
		row, err := b.s.hashes.protect(inMeta, []byte("epoch"), plain)
		if err != nil {
			return err
		}
		b.put(inMeta, []byte("epoch"), row)
		return nil
	})
}

func newEpoch() string { return rand.Text() }

// cursorAt positions a cursor at the first row of a prefix behind after.
func cursorAt(tx *bbolt.Tx, bucket string, prefix, after []byte) (c *bbolt.Cursor, k, v []byte) {
	c = tx.Bucket([]byte(bucket)).Cursor()
	from := append(bytes.Clone(prefix), after...)
	k, v = c.Seek(from)
	if len(after) > 0 && bytes.Equal(k, from) {
		k, v = c.Next()
	}
	return c, k, v
}
