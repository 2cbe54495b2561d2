package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// maxTogether bounds how many events share one row of the feed.
const maxTogether = 64

// events gives events their places in the chain, lays them into the outbox and
// into the feed of their authority. Neighbours that belong together share a row
// there.
func (b *batch) events(all []message.Event) error {
	all = slices.Clone(all)
	for i := range all {
		b.complete(&all[i])
	}
	for len(all) > 0 {
		n := 1
		for n < min(len(all), maxTogether) && b.together(all[0], all[n]) {
			n++
		}
		text := []byte{'['}
		for i := range all[:n] {
			plain, err := b.link(&all[i])
			if err != nil {
				return err
			}
			text = append(append(text, plain...), ',')
		}
		text[len(text)-1] = ']'
		if err := b.feed(all[n-1], text); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// complete fills in when it happened and whose it is.
func (b *batch) complete(e *message.Event) {
	if e.At.IsZero() {
		e.At = b.s.o.Now()
	}
	e.At = e.At.UTC()
	if e.Authority != "" || e.Message.IsZero() {
		return
	}
	id := e.Message
	var env message.Envelope
	if _, err := b.s.openValue(inMessages, id[:], b.get(inMessages, id[:]), &env); err == nil {
		e.Authority = env.Authority
	}
}

// together reports whether two events may share a row: one authority, one
// message, one log window.
func (b *batch) together(x, y message.Event) bool {
	return x.Authority == y.Authority && x.Message == y.Message && b.s.o.LogDay(x.At) == b.s.o.LogDay(y.At)
}

// link gives an event its place in the chain, lays it into the outbox and
// returns its JSON.
func (b *batch) link(e *message.Event) ([]byte, error) {
	e.Seq = b.stage.head.Seq + 1
	link := message.Link{Seq: e.Seq, At: e.At, Message: e.Message, Day: b.s.o.LogDay(e.At), Prev: b.stage.head.Hash}
	plain, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	aead, err := b.s.o.Keys.AEAD(seal.Log, link.Day)
	if err != nil {
		return nil, fmt.Errorf("log key of %s: %w", link.Day, err)
	}
	link.Sealed = seal.SealRecord(aead, plain, link.SealedTo())
	link.Hash = link.ChainHash()
	row, err := json.Marshal(link)
	if err != nil {
		return nil, err
	}
	b.put(inOutbox, number(e.Seq), row)
	b.stage.head = head{e.Seq, link.Hash}
	return plain, nil
}

// feed writes events into the feed of their authority: a JSON list that ends
// with last.
func (b *batch) feed(last message.Event, text []byte) error {
	whose, err := b.s.feedOf(last.Authority)
	if err != nil {
		return err
	}
	key := append(whose, number(last.Seq)...)
	sealed, err := b.s.sealText(b.s.o.LogDay(last.At), inFeed, key, text)
	if err != nil {
		return err
	}
	b.put(inFeed, key, append(sealed, last.Message[:]...)) // in clear: Purge finds the message's row by it
	if !last.Message.IsZero() {
		b.put(inStories, append(last.Message[:idLen:idLen], number(last.Seq)...), whose)
	}
	return nil
}

// feedOf returns what the keys of an authority's feed begin with.
func (s *Store) feedOf(authority string) ([]byte, error) {
	h, err := s.hashes.lookup(authority, inFeed, []byte(authority))
	return h[:len(h):len(h)], err
}

// feedRow opens a row of the feed; nothing when its window is over.
func (s *Store) feedRow(key, value []byte) ([]message.Event, error) {
	if len(value) < idLen {
		return nil, fmt.Errorf("feed row: %w", errDamaged)
	}
	var row []message.Event
	_, err := s.openValue(inFeed, key, value[:len(value)-idLen], &row)
	switch {
	case errors.Is(err, seal.ErrDestroyed):
		return nil, nil
	case err != nil:
		return nil, err
	case len(row) == 0 || row[len(row)-1].Seq != parseNumber(key[macLen:]):
		return nil, fmt.Errorf("feed row: %w", errDamaged)
	}
	return row, nil
}

// Feed implements queue.Store. A row stands at its last event, so that the first
// row at or behind after+1 is the first that has anything new.
func (s *Store) Feed(ctx context.Context, authority string, after uint64, max int) ([]message.Event, error) {
	max = min(max, queue.MaxPage)
	whose, err := s.feedOf(authority)
	if err != nil {
		return nil, err
	}
	var events []message.Event
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(inFeed)).Cursor()
		for k, v := c.Seek(append(whose, number(after+1)...)); bytes.HasPrefix(k, whose) && len(events) < max; k, v = c.Next() {
			row, err := s.feedRow(k, v)
			if err != nil {
				return err
			}
			for _, e := range row {
				if e.Seq > after && len(events) < max {
					events = append(events, e)
				}
			}
		}
		return ctx.Err()
	})
	return events, err
}

// Events implements queue.Store.
func (s *Store) Events(ctx context.Context, id message.ID) ([]message.Event, error) {
	var events []message.Event
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		feed := tx.Bucket([]byte(inFeed))
		c, k, whose := cursorAt(tx, inStories, id[:], nil)
		for ; bytes.HasPrefix(k, id[:]); k, whose = c.Next() {
			key := slices.Concat(whose, k[idLen:])
			row, err := s.feedRow(key, feed.Get(key))
			if err != nil {
				return fmt.Errorf("events of message %s: %w", id, err)
			}
			events = append(events, row...)
		}
		return ctx.Err()
	})
	return events, err
}

// feed: every row of the feed opens, stands at its place, and is found from its
// message; every row found from a message is in the feed.
func (c *checker) feed() error {
	stories := c.tx.Bucket([]byte(inStories))
	err := c.each(inFeed, func(k, v []byte) {
		if len(k) != macLen+8 {
			c.say("feed %x: %v", k, errDamaged)
			return
		}
		row, err := c.s.feedRow(k, v)
		if err != nil {
			c.say("feed %x: %v", k, err)
		}
		if len(row) == 0 {
			return
		}
		whose, err := c.s.feedOf(row[0].Authority)
		if err != nil || !bytes.HasPrefix(k, whose) {
			c.say("feed %x: events of another authority stand there", k)
		}
		if id := row[0].Message; string(id[:]) != string(v[len(v)-idLen:]) {
			c.say("feed %x: names another message in clear", k)
		} else if !id.IsZero() && !bytes.Equal(stories.Get(append(id[:], k[macLen:]...)), whose) {
			c.say("feed %x: not found from its message", k)
		}
	})
	if err != nil {
		return err
	}
	feed := c.tx.Bucket([]byte(inFeed))
	return c.each(inStories, func(k, whose []byte) {
		if len(k) != idLen+8 || feed.Get(slices.Concat(whose, k[idLen:])) == nil {
			c.say("events of message %x: a row is missing", k)
		}
	})
}
