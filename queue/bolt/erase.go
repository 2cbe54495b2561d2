package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// Bounds of what one call or commit looks at, so that accepting and delivering
// go on between two.
const (
	letGoScan  = 8192 // also of messages that have ended
	purgeBatch = 4000
)

// LetGo returns messages whose items have all let go of the body while the body
// is there still, from the ID behind after on, at most max. It looks at a bounded
// number of rows; next is where the following call goes on, zero at the end.
func (s *Store) LetGo(ctx context.Context, after message.ID, max int) (ids []message.ID, next message.ID, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(inLetGo)).Cursor()
		from := clone(after[:])
		if !after.IsZero() {
			from = append(from, 0xff, 0xff, 0xff, 0xff) // behind its last item
		}
		k, _ := c.Seek(from)
		for seen := 0; len(k) == itemLen; {
			id := message.ID(k[:idLen])
			if len(ids) == max || seen >= letGoScan {
				return nil
			}
			gone := 0
			for ; bytes.HasPrefix(k, id[:]); k, _ = c.Next() {
				gone, seen = gone+1, seen+1
			}
			if gone == len(itemsOf(tx, s.dayOf(tx, id), id)) {
				ids = append(ids, id)
			}
			next = id
		}
		next = message.ID{}
		return nil
	})
	return ids, next, err
}

// Due is a message whose content must go, with its items.
type Due struct {
	Envelope message.Envelope
	Items    []message.Item
}

// DueBetween returns messages with an item whose erase-by instant lies behind
// from and not behind to, in that order, each once; the cursor goes on behind
// the last one, "" at the end. With left, only those of which something is left to
// do: an item that has not ended, or a body that is there. What does not open any
// more, because its log window is over as well, is left out.
func (s *Store) DueBetween(ctx context.Context, from, to time.Time, left bool, after string, max int) (due []Due, next string, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		start, limit := stamp(from.Add(1)), stamp(to.Add(1))
		if after != "" {
			start = []byte(after)
		}
		var last message.ID
		passed := 0
		c := tx.Bucket([]byte(inErase)).Cursor()
		for k, _ := c.Seek(start); len(k) == 8+itemLen && bytes.Compare(k, limit) < 0; k, _ = c.Next() {
			id := parseItemKey(k).Message
			if id == last {
				continue
			}
			if len(due) == max || passed >= letGoScan {
				next = string(k)
				return nil
			}
			last = id
			if left && s.ended(tx, id) {
				passed++
				continue
			}
			d, err := s.due(tx, id)
			if errors.Is(err, seal.ErrDestroyed) {
				continue
			}
			if err != nil {
				return err
			}
			due = append(due, d)
		}
		return nil
	})
	return due, next, err
}

// ended reports by the clear heads whether every item of a message has ended and
// the body is gone.
func (s *Store) ended(tx *bbolt.Tx, id message.ID) bool {
	items := in(tx, s.dayOf(tx, id), ofItems)
	if items == nil {
		return false
	}
	c := items.Cursor()
	for k, v := c.Seek(id[:]); bytes.HasPrefix(k, id[:]); k, v = c.Next() {
		if h, _, err := parseHead(v); err != nil || !h.erased || !h.state.Final() {
			return false
		}
	}
	return true
}

func (s *Store) due(tx *bbolt.Tx, id message.ID) (d Due, err error) {
	day := s.dayOf(tx, id)
	if d.Envelope, err = s.envelope(tx, day, id); err != nil {
		return d, err
	}
	for _, key := range itemsOf(tx, day, id) {
		r, err := s.record(tx, day, key)
		if err != nil {
			return d, err
		}
		d.Items = append(d.Items, r.Item)
	}
	return d, nil
}

// Window is what the ledger holds under one log day.
type Window struct {
	Messages int
	Items    int
	Receipts int
}

// WindowOf counts what belongs to a log day. It opens nothing.
func (s *Store) WindowOf(ctx context.Context, day string) (w Window, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		w = Window{Messages: rows(in(tx, day, ofMessages)), Items: rows(in(tx, day, ofItems)), Receipts: rows(in(tx, day, ofReceipts))}
		return nil
	})
	return w, err
}

func rows(b *bbolt.Bucket) int {
	if b == nil {
		return 0
	}
	return b.Stats().KeyN
}

// Purge deletes everything that belongs to a log day up to and including that
// one. It opens nothing, works in many commits and may be repeated.
func (s *Store) Purge(ctx context.Context, day string) error {
	if !seal.ValidDay(day) {
		return fmt.Errorf("purge: %q is not a day: %w", day, queue.ErrMalformed)
	}
	for _, step := range []func(*batch, string) (bool, error){purgeItems, purgeFeeds} {
		for more := true; more; {
			err := s.commit(ctx, func(b *batch) (err error) {
				more, err = step(b, day)
				return err
			})
			if err != nil {
				return fmt.Errorf("purge log day %s: %w", day, err)
			}
		}
	}
	return nil
}

// purgeItems takes a batch of items out of what is kept over all days, by the
// clear heads of their rows, and drops a day that has none left.
func purgeItems(b *batch, upTo string) (more bool, err error) {
	k, _ := b.tx.Bucket([]byte(inDays)).Cursor().First()
	if k == nil || string(k) > upTo {
		return false, nil
	}
	day, n := string(k), 0
	if items := in(b.tx, day, ofItems); items != nil {
		c := items.Cursor()
		for k, v := c.First(); k != nil && n < purgeBatch; k, v = c.Next() {
			n++
			if err := b.purgeItem(day, clone(k), v); err != nil {
				return false, err
			}
		}
	}
	if n < purgeBatch {
		b.write(write{place: place{day, ""}})
	}
	return true, nil
}

func (b *batch) purgeItem(day string, key, row []byte) error {
	h, _, err := parseHead(row)
	if err != nil {
		return err
	}
	for _, r := range headRows(h, key) {
		if r.bucket != ofIndex {
			b.del(place{"", r.bucket}, r.key)
		}
	}
	b.count(h.state, -1)
	b.del(place{day, ofItems}, key)
	return nil
}

// purgeFeeds takes a batch of events away. An authority's feed is in the order
// of the chain, which is that of time but for events that were indexed late:
// those go when what stands before them is over, and are unreadable until then.
// What the day files do not have yet stays for the next time.
func purgeFeeds(b *batch, upTo string) (more bool, err error) {
	undrained, _ := b.tx.Bucket([]byte(inOutbox)).Cursor().First()
	c := b.tx.Bucket([]byte(inFeed)).Cursor()
	k, v := c.First()
	n := 0
	for len(k) == macLen+8 && n < purgeBatch {
		_, day, id, err := parseFeed(v)
		if err != nil {
			return false, err
		}
		if day > upTo || undrained != nil && bytes.Compare(k[macLen:], undrained) >= 0 { // the rest of this authority is younger
			k, v = c.Seek(append(clone(k[:macLen]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
			continue
		}
		n++
		k = clone(k)
		if !id.IsZero() {
			b.del(place{"", inStories}, append(id[:idLen:idLen], k[macLen:]...))
		}
		b.del(place{"", inFeed}, k)
		k, v = c.Next()
	}
	return n == purgeBatch, nil
}
