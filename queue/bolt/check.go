package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// Check implements queue.Store: bbolt's own pages; every value opens and stands
// where it belongs; items, envelopes and decisions belong together; every index
// row is derived from an item and every item has all of its own; the counts are
// right; the feed holds what the chain says; the chain in the outbox is whole
// and ends at the head. What a destroyed key has sealed is checked by its clear
// parts.
func (s *Store) Check(ctx context.Context, fn func(problem string)) error {
	// bbolt holds the pages of one state against the list of free pages of now,
	// which it does not guard: nothing may be written meanwhile.
	var pages []string
	err := s.onCommitter(ctx, func() (err error) {
		pages, err = s.pages(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for _, p := range pages {
		fn("file: " + p)
	}
	return s.view(ctx, func(tx *bbolt.Tx) error {
		c := checker{s: s, ctx: ctx, tx: tx, report: fn, counts: map[message.State]int{}, rows: map[string]int{}}
		for _, step := range []func() error{c.meta, c.days, c.totals, c.outbox, c.stories, c.marks} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
}

// pages returns what bbolt says of its own pages.
func (s *Store) pages(ctx context.Context) (problems []string, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			problems = append(problems, err.Error())
		}
		return nil
	})
	return problems, err
}

type checker struct {
	s      *Store
	ctx    context.Context //nolint:containedctx // lives for one Check
	tx     *bbolt.Tx
	report func(string)
	head   chainHead
	stored map[message.State]int // counts as kept
	counts map[message.State]int // counts as found
	rows   map[string]int        // bucket over all days → rows that the items have there
	day    string                // being checked
	own    map[string]int        // rows that its items have in its buckets
	blind  bool                  // not all of its items open: how many rows they have is unknown
	refs   map[decisionRef]bool  // decisions that its items name
}

func (c *checker) say(format string, args ...any) { c.report(fmt.Sprintf(format, args...)) }

// each goes through a bucket; it ends early only when ctx does.
func (c *checker) each(bucket *bbolt.Bucket, fn func(k, v []byte)) error {
	if bucket == nil {
		return c.ctx.Err()
	}
	return bucket.ForEach(func(k, v []byte) error {
		fn(k, v)
		return c.ctx.Err()
	})
}

func (c *checker) meta() error {
	var text string
	for name, v := range map[string]any{"schema": &text, "epoch": &text, "head": &c.head, "counts": &c.stored} {
		if err := c.s.readMeta(c.tx, name, v); err != nil {
			c.say("meta: %v", err)
		}
	}
	return nil
}

// days: each log day in itself.
func (c *checker) days() error {
	for _, c.day = range daysOf(c.tx, "") {
		c.own, c.blind, c.refs = map[string]int{}, false, map[decisionRef]bool{}
		if !seal.ValidDay(c.day) {
			c.say("%q is no log day", c.day)
			continue
		}
		for _, step := range []func() error{c.messages, c.items, c.decisions, c.receipts, c.feed} {
			if err := step(); err != nil {
				return err
			}
		}
		for _, name := range []string{ofIndex, ofErase} {
			if got := rows(in(c.tx, c.day, name)); got != c.own[name] && (name != ofIndex || !c.blind) {
				c.say("%s of %s: %d rows, its items have %d", name, c.day, got, c.own[name])
			}
		}
	}
	return nil
}

// messages: every envelope opens, is the one of its key and has an item.
func (c *checker) messages() error {
	return c.each(in(c.tx, c.day, ofMessages), func(k, v []byte) {
		day, env, err := c.s.openEnvelope(k, v)
		switch {
		case errors.Is(err, seal.ErrDestroyed):
		case err != nil:
			c.say("message %x: %v", k, err)
		case !bytes.Equal(env.ID[:], k) || env.LogDay != day || day != c.day:
			c.say("message %x: another envelope stands there", k)
		}
		if len(k) == idLen && len(itemsOf(c.tx, c.day, message.ID(k))) == 0 {
			c.say("message %x: no item", k)
		}
	})
}

// items: every item with its rows and its envelope.
func (c *checker) items() error {
	return c.each(in(c.tx, c.day, ofItems), func(k, v []byte) {
		if err := c.item(k, v); err != nil {
			c.say("item %s: %v", parseItemKey(k), err)
		}
	})
}

func (c *checker) item(k, v []byte) error {
	h, _, err := parseHead(v)
	if err != nil {
		return err
	}
	c.counts[h.state]++
	want := headRows(h, k)
	r, err := c.s.openRecord(k, v, decisionsIn(c.tx))
	switch {
	case errors.Is(err, seal.ErrDestroyed):
		c.blind = true
		return c.found(want)
	case err != nil:
		return err
	}
	c.refs[r.ref] = true
	env, err := c.s.envelope(c.tx, c.day, r.Item.Key.Message)
	if err != nil {
		return err
	}
	derived, err := c.s.headOf(r.Item, env.LogDay, env.Authority, h.dup)
	switch {
	case err != nil:
		return err
	case derived != h:
		return errors.New("its head does not say what it is")
	case r.Item.Version == 0 || r.Item.EraseBy.IsZero():
		return errors.New("no version or no erase-by")
	}
	words, err := c.s.wordRows(wordsOf(env, r.Item, h.dup), k)
	if err != nil {
		return err
	}
	return c.found(append(words, want...))
}

// found: every row is there.
func (c *checker) found(want []row) error {
	for _, r := range want {
		bucket := c.tx.Bucket([]byte(r.bucket))
		if ofDay(r.bucket) {
			bucket = in(c.tx, c.day, r.bucket)
		}
		if bucket == nil || bucket.Get(r.key) == nil {
			return fmt.Errorf("a row in %s is missing", r.bucket)
		}
		if ofDay(r.bucket) {
			c.own[r.bucket]++
		} else {
			c.rows[r.bucket]++
		}
	}
	return nil
}

// decisions: every one opens, stands at its own hash, and an item names it.
func (c *checker) decisions() error {
	return c.each(in(c.tx, c.day, ofDecisions), func(k, v []byte) {
		_, plain, err := c.s.openText(ofDecisions, k, v)
		if errors.Is(err, seal.ErrDestroyed) {
			return
		}
		sum, err2 := c.s.hashes.lookup("", "decision", plain)
		if err := errors.Join(err, err2); err != nil {
			c.say("decision of %s: %v", c.day, err)
		} else if !bytes.Equal(sum[:], k) {
			c.say("decision of %s: another one stands there", c.day)
		}
	})
}

// receipts: every receipt opens, stands at its identity and day, and belongs to
// an item or to none.
func (c *checker) receipts() error {
	none := make([]byte, itemLen)
	return c.each(in(c.tx, c.day, ofReceipts), func(k, v []byte) {
		r, err := c.s.openReceipt(k, v)
		switch {
		case errors.Is(err, seal.ErrDestroyed):
			return
		case err != nil:
			c.say("receipt %x: %v", k, err)
			return
		case !bytes.Equal(receiptKey(r), k) || string(v[:dayLen]) != c.day:
			c.say("receipt %x: another receipt stands there", k)
			return
		}
		if day := c.s.dayOf(c.tx, r.Item.Message); !bytes.HasPrefix(k, none) && day != "" { // without the message: purged before its last receipt
			if items := in(c.tx, day, ofItems); items == nil || items.Get(k[:itemLen]) == nil {
				c.say("receipt %x: its item does not exist", k)
			}
		}
	})
}

// totals: no row is left over, and the counts are right.
func (c *checker) totals() error {
	for _, name := range []string{inDue, inAttention, inLetGo} {
		if got := rows(c.tx.Bucket([]byte(name))); got != c.rows[name] {
			c.say("%s: %d rows, the items have %d", name, got, c.rows[name])
		}
	}
	if !maps.Equal(c.counts, c.stored) {
		c.say("counts: kept are %v, found %v", c.stored, c.counts)
	}
	return c.ctx.Err()
}

// outbox: what waits for the day files is the end of the chain.
func (c *checker) outbox() error {
	var last *message.Link
	err := c.each(c.tx.Bucket([]byte(inOutbox)), func(k, v []byte) {
		link, err := linkOf(c.tx, k, v)
		if err != nil {
			c.say("audit link %d: %v", parseNumber(k), err)
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
	plain, err := c.s.unseal(link.Day, link.Sealed, link.SealedTo())
	if errors.Is(err, seal.ErrDestroyed) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = message.ParseEvent(link, plain)
	return err
}

// feed: every row opens, stands at its place, and is found from its message.
func (c *checker) feed() error {
	stories := c.tx.Bucket([]byte(inStories))
	return c.each(in(c.tx, c.day, ofFeed), func(k, v []byte) {
		all, err := c.s.feedRow(c.day, k, v)
		if err != nil {
			c.say("feed %x: %v", k, err)
		}
		if len(all) == 0 {
			return
		}
		whose, err := c.s.feedOf(all[0].Authority)
		if err != nil || !bytes.HasPrefix(k, whose[:]) {
			c.say("feed %x: events of another authority stand there", k)
		}
		_, id, _ := parseFeed(v)
		if all[0].Message != id {
			c.say("feed %x: names another message in clear", k)
		} else if !id.IsZero() && !bytes.Equal(stories.Get(append(id[:idLen:idLen], k[macLen:]...)), append(whose[:], c.day...)) {
			c.say("feed %x: not found from its message", k)
		}
	})
}

// stories: every row found from a message is in the feed of its day, unless that
// day is gone: Purge takes the rows away behind it.
func (c *checker) stories() error {
	return c.each(c.tx.Bucket([]byte(inStories)), func(k, v []byte) {
		whose, day, err := parseStory(v)
		if err == nil && len(k) == idLen+8 {
			if feed := in(c.tx, day, ofFeed); feed != nil && feed.Get(slices.Concat(whose, k[idLen:])) != nil {
				return
			}
		}
		if err != nil || c.tx.Bucket([]byte(inGone)).Bucket([]byte(day)) == nil {
			c.say("events of message %x: a row is missing", k)
		}
	})
}

func (c *checker) marks() error {
	return c.each(c.tx.Bucket([]byte(inMarks)), func(k, v []byte) {
		if _, err := c.s.hashes.verified(inMarks, k, v); err != nil {
			c.say("mark of segment %d: %v", parseNumber(k), err)
		}
	})
}

var _ queue.Store = (*Store)(nil)
