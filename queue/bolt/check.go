package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
)

// Check implements queue.Store: bbolt's own pages; every value opens and stands
// where it belongs; items and envelopes belong together; every index row is
// derived from an item and every item has all of its own; erasure rows list
// exactly these; the counts are right; the chain in the outbox is whole and ends
// at the head. What a destroyed key has sealed is checked by its clear parts.
func (s *Store) Check(ctx context.Context, fn func(problem string)) error {
	return s.view(ctx, func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			fn("file: " + err.Error())
		}
		c := checker{s: s, ctx: ctx, tx: tx, report: fn, counts: map[message.State]int{}}
		for _, step := range []func() error{c.meta, c.messages, c.items, c.receipts, c.outbox, c.feed, c.marks} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
}

type checker struct {
	s      *Store
	ctx    context.Context //nolint:containedctx // lives for one Check
	tx     *bbolt.Tx
	report func(string)
	head   head
	stored map[message.State]int // counts as kept
	counts map[message.State]int // counts as found
}

func (c *checker) say(format string, args ...any) { c.report(fmt.Sprintf(format, args...)) }

// each goes through a bucket; it ends early only when ctx does.
func (c *checker) each(bucket string, fn func(k, v []byte)) error {
	return c.tx.Bucket([]byte(bucket)).ForEach(func(k, v []byte) error {
		fn(k, v)
		return c.ctx.Err()
	})
}

func (c *checker) rows(bucket string) int { return c.tx.Bucket([]byte(bucket)).Stats().KeyN }

func (c *checker) meta() error {
	var text string
	for name, v := range map[string]any{"schema": &text, "epoch": &text, "head": &c.head, "counts": &c.stored} {
		if err := c.s.readMeta(c.tx, name, v); err != nil {
			c.say("meta: %v", err)
		}
	}
	return nil
}

// messages: every envelope opens, is the one of its key and has an item.
func (c *checker) messages() error {
	items := c.tx.Bucket([]byte(inItems)).Cursor()
	return c.each(inMessages, func(k, v []byte) {
		var env message.Envelope
		day, err := c.s.openValue(inMessages, k, v, &env)
		switch {
		case errors.Is(err, seal.ErrDestroyed):
		case err != nil:
			c.say("message %x: %v", k, err)
		case !bytes.Equal(env.ID[:], k) || env.LogDay != day:
			c.say("message %x: another envelope stands there", k)
		}
		if first, _ := items.Seek(k); !bytes.HasPrefix(first, k) {
			c.say("message %x: no item", k)
		}
	})
}

// items: every item with its index rows, its erasure row and its envelope; then
// the totals, so that no row is left over.
func (c *checker) items() error {
	indexed := 0
	err := c.each(inItems, func(k, v []byte) {
		if c.tx.Bucket([]byte(inMessages)).Get(k[:idLen]) == nil {
			c.say("item %s: no envelope", parseItemKey(k))
		}
		n, err := c.item(k, v)
		if err != nil {
			c.say("item %s: %v", parseItemKey(k), err)
		}
		indexed += n
	})
	if err != nil {
		return err
	}
	if got := c.rows(inIndex); got != indexed {
		c.say("index: %d rows, the items have %d", got, indexed)
	}
	if got, want := c.rows(inErase), c.rows(inItems)+c.rows(inReceipts); got != want {
		c.say("erase: %d rows for %d items and receipts", got, want)
	}
	if !maps.Equal(c.counts, c.stored) {
		c.say("counts: kept are %v, found %v", c.stored, c.counts)
	}
	return nil
}

// item checks one item and returns how many index rows it has.
func (c *checker) item(k, v []byte) (int, error) {
	if len(v) < dayLen {
		return 0, errDamaged
	}
	key := eraseKey(string(v[:dayLen]), k)
	list, err := c.s.hashes.verified(inErase, key, c.tx.Bucket([]byte(inErase)).Get(key))
	if err != nil {
		return 0, err
	}
	keys, err := parseKeys(list, k)
	if err != nil {
		return 0, fmt.Errorf("erase row: %w", err)
	}
	var r record
	_, err = c.s.openValue(inItems, k, v, &r)
	if errors.Is(err, seal.ErrDestroyed) {
		c.countByKeys(keys)
		return len(keys), c.present(keys)
	}
	if err != nil {
		return len(keys), err
	}
	c.counts[r.Item.State]++
	return len(keys), errors.Join(c.sound(k, r), c.present(keys), c.derived(r, keys))
}

// countByKeys finds the state of an item that does not open in its index keys.
func (c *checker) countByKeys(keys [][]byte) {
	for _, k := range keys {
		if state, _, ok := bytes.Cut(k[1:], []byte{0}); ok && k[0] == byState {
			c.counts[message.State(state)]++
		}
	}
}

func (c *checker) sound(k []byte, r record) error {
	switch {
	case !bytes.Equal(itemKey(r.Item.Key), k):
		return errors.New("another item stands there")
	case r.Item.Version == 0 || r.Item.EraseBy.IsZero():
		return errors.New("no version or no erase-by")
	}
	return nil
}

func (c *checker) present(keys [][]byte) error {
	index := c.tx.Bucket([]byte(inIndex))
	for _, k := range keys {
		if index.Get(k) == nil {
			return fmt.Errorf("index row of kind %q is missing", k[0])
		}
	}
	return nil
}

// derived compares what the item should be found by with what is listed.
func (c *checker) derived(r record, keys [][]byte) error {
	want, err := c.s.entries(r)
	if err != nil {
		return err
	}
	if len(want) != len(keys) {
		return fmt.Errorf("%d index rows listed, want %d", len(keys), len(want))
	}
	for i, e := range want {
		if !bytes.Equal(e.key, keys[i]) {
			return fmt.Errorf("index row of kind %q is listed where kind %q belongs", keys[i][0], e.key[0])
		}
		if got := c.tx.Bucket([]byte(inIndex)).Get(e.key); !bytes.Equal(got, e.value) {
			return fmt.Errorf("index row of kind %q has another value", e.key[0])
		}
	}
	return nil
}

// receipts: every receipt opens, stands at its identity and belongs to an item
// or to none.
func (c *checker) receipts() error {
	none := make([]byte, itemLen)
	return c.each(inReceipts, func(k, v []byte) {
		var r message.Receipt
		_, err := c.s.openValue(inReceipts, k, v, &r)
		switch {
		case errors.Is(err, seal.ErrDestroyed):
		case err != nil:
			c.say("receipt %x: %v", k, err)
		case !bytes.Equal(receiptKey(r), k):
			c.say("receipt %x: another receipt stands there", k)
		case !bytes.HasPrefix(k, none) && c.tx.Bucket([]byte(inItems)).Get(k[:itemLen]) == nil && c.tx.Bucket([]byte(inMessages)).Get(k[:idLen]) != nil:
			c.say("receipt %x: its item does not exist", k) // without the message: purged before its last receipt
		}
		if len(v) >= dayLen && c.tx.Bucket([]byte(inErase)).Get(eraseKey(string(v[:dayLen]), k)) == nil {
			c.say("receipt %x: its erase row is missing", k)
		}
	})
}

// outbox: what waits for the day files is the end of the chain.
func (c *checker) outbox() error {
	var last *message.Link
	err := c.each(inOutbox, func(k, v []byte) {
		var link message.Link
		if err := json.Unmarshal(v, &link); err != nil || link.Seq != parseNumber(k) || link.Hash != link.ChainHash() {
			c.say("audit link %d: %v", parseNumber(k), errDamaged)
			return
		}
		if last != nil && (link.Seq != last.Seq+1 || link.Prev != last.Hash) {
			c.say("audit link %d: does not continue link %d", link.Seq, last.Seq)
		}
		if err := c.event(link); err != nil {
			c.say("audit link %d: %v", link.Seq, err)
		}
		last = &link
	})
	if last != nil && (last.Seq != c.head.Seq || last.Hash != c.head.Hash) {
		c.say("audit link %d: the head of the chain is %d", last.Seq, c.head.Seq)
	}
	return err
}

// event opens what a link has sealed.
func (c *checker) event(link message.Link) error {
	aead, err := c.s.o.Keys.Lookup(seal.Log, link.Day)
	if errors.Is(err, seal.ErrDestroyed) {
		return nil
	}
	if err != nil {
		return err
	}
	plain, err := seal.OpenRecord(aead, link.Sealed, link.SealedTo())
	if err != nil {
		return errDamaged
	}
	var e message.Event
	if err := json.Unmarshal(plain, &e); err != nil || e.Seq != link.Seq || e.Message != link.Message || !e.At.Equal(link.At) {
		return errors.New("seals another event")
	}
	return nil
}

func (c *checker) marks() error {
	return c.each(inMarks, func(k, v []byte) {
		if _, err := c.s.hashes.verified(inMarks, k, v); err != nil {
			c.say("mark of segment %d: %v", parseNumber(k), err)
		}
	})
}
