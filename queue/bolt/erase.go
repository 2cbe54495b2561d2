package bolt

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// purgeBatch bounds how many rows one commit of Purge takes away, so that
// accepting and delivering go on between two.
const purgeBatch = 2000

// LetGo returns messages whose items have all let go of the body while the body
// is there still, from the ID behind after on, at most max. It looks at a bounded
// number of rows; next is where the following call goes on, zero at the end.
func (s *Store) LetGo(ctx context.Context, after message.ID, max int) (ids []message.ID, next message.ID, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(inIndex)).Cursor()
		from := append([]byte{byLetGo}, after[:]...)
		if !after.IsZero() {
			from = append(from, 0xff, 0xff, 0xff, 0xff) // behind its last item
		}
		k, _ := c.Seek(from)
		for seen := 0; len(k) == 1+itemLen && k[0] == byLetGo; {
			id := message.ID(k[1 : 1+idLen])
			if len(ids) == max || seen >= leaseScan {
				return nil
			}
			gone := 0
			for ; len(k) == 1+itemLen && k[0] == byLetGo && bytes.HasPrefix(k[1:], id[:]); k, _ = c.Next() {
				gone, seen = gone+1, seen+1
			}
			if gone == countPrefix(tx, inItems, id[:], gone+1) {
				ids = append(ids, id)
			}
			next = id
		}
		next = message.ID{}
		return nil
	})
	return ids, next, err
}

// countPrefix counts rows of a prefix, at most up to max.
func countPrefix(tx *bbolt.Tx, bucket string, prefix []byte, max int) (n int) {
	c := tx.Bucket([]byte(bucket)).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && n < max; k, _ = c.Next() {
		n++
	}
	return n
}

// DueBetween returns messages with an item whose erase-by instant lies behind
// from and not behind to, in that order, each once; the cursor goes on behind
// the last one, "" at the end.
func (s *Store) DueBetween(ctx context.Context, from, to time.Time, after string, max int) (ids []message.ID, next string, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		start := append([]byte{byEraseBy}, stamp(from.Add(1))...)
		limit := append([]byte{byEraseBy}, stamp(to.Add(1))...)
		if after != "" {
			start = []byte(after)
		}
		c := tx.Bucket([]byte(inIndex)).Cursor()
		for k, _ := c.Seek(start); len(k) == timeKeyPrefix+itemLen && bytes.Compare(k, limit) < 0; k, _ = c.Next() {
			id := parseItemKey(k).Message
			if len(ids) > 0 && ids[len(ids)-1] == id {
				continue
			}
			if len(ids) == max {
				next = string(bytes.Clone(k))
				return nil
			}
			ids = append(ids, id)
		}
		return nil
	})
	return ids, next, err
}

// Window is what the ledger holds under one log day.
type Window struct {
	Messages int
	Items    int
	Receipts int
}

// WindowOf counts what belongs to a log day. It opens nothing.
func (s *Store) WindowOf(ctx context.Context, day string) (w Window, err error) {
	var last []byte
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(inErase)).Cursor()
		for k, _ := c.Seek([]byte(day)); bytes.HasPrefix(k, []byte(day)); k, _ = c.Next() {
			switch len(k) - dayLen {
			case itemLen:
				w.Items++
				if id := k[dayLen : dayLen+idLen]; !bytes.Equal(id, last) {
					w.Messages, last = w.Messages+1, id
				}
			case proofLen:
				w.Receipts++
			}
		}
		return nil
	})
	return w, err
}

// Purge deletes every row that belongs to a log day up to and including that
// one: items with all their index rows, envelopes, receipts, and the events of
// the feed. It opens nothing, works in many commits and may be repeated.
func (s *Store) Purge(ctx context.Context, day string) error {
	if !seal.ValidDay(day) {
		return fmt.Errorf("purge: %q is not a day: %w", day, queue.ErrMalformed)
	}
	for _, step := range []func(*batch, string) (int, error){purgeItems, purgeFeeds} {
		for done := false; !done; {
			err := s.commit(ctx, func(b *batch) error {
				n, err := step(b, day)
				done = n < purgeBatch
				return err
			})
			if err != nil {
				return fmt.Errorf("purge log day %s: %w", day, err)
			}
		}
	}
	return nil
}

// purgeItems takes one batch away by its erasure rows.
func purgeItems(b *batch, day string) (n int, err error) {
	c := b.tx.Bucket([]byte(inErase)).Cursor()
	for k, v := c.First(); len(k) > dayLen && string(k[:dayLen]) <= day && n < purgeBatch; k, v = c.Next() {
		n++
		k = bytes.Clone(k)
		b.del(inErase, k)
		if key := k[dayLen:]; len(key) == proofLen {
			b.del(inReceipts, key)
			continue
		}
		if err := b.purgeItem(k, v); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (b *batch) purgeItem(eraseRow, value []byte) error {
	item := eraseRow[dayLen:]
	list, err := b.s.hashes.verified(inErase, eraseRow, value)
	if err != nil {
		return err
	}
	keys, err := parseKeys(list, item)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if state, _, ok := bytes.Cut(k[1:], []byte{0}); ok && k[0] == byState {
			b.count(message.State(state), -1)
		}
		b.del(inIndex, k)
	}
	b.del(inItems, item)
	b.del(inMessages, item[:idLen:idLen])
	return nil
}

// purgeFeeds takes one batch of events away. An authority's feed is in the order
// of the chain, which is that of time but for events that were indexed late:
// those go when what stands before them is over, and are unreadable until then.
func purgeFeeds(b *batch, day string) (n int, err error) {
	c := b.tx.Bucket([]byte(inFeed)).Cursor()
	k, v := c.First()
	for len(k) == macLen+8 && n < purgeBatch {
		if len(v) >= dayLen && string(v[:dayLen]) > day { // the rest of this authority is younger
			whose := bytes.Clone(k[:macLen])
			k, v = c.Seek(append(whose, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
			continue
		}
		n++
		k = bytes.Clone(k)
		if id := v[max(0, len(v)-idLen):]; len(id) == idLen {
			b.del(inStories, slices.Concat(id, k[macLen:]))
		}
		b.del(inFeed, k)
		k, v = c.Next()
	}
	return n, nil
}
