package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
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

// Each log day has a feed of its own, which is dropped with it. A row is: the
// message of its events, then for each event its time, the length of what is sealed, and that: the very octets that
// the chain covers. Its key ends with the number of its last event, so that the
// first row at or behind a number is the first that has anything new.

// entry is one event in a row of the feed.
type entry struct {
	at     uint64
	sealed []byte
}

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
		if err := b.feed(all[:n]); err != nil {
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
	if env, err := b.envelope(b.dayOf(e.Message), e.Message); err == nil {
		e.Authority = env.Authority
	}
}

// together reports whether two events may share a row: one authority, one
// message, one log window.
func (b *batch) together(x, y message.Event) bool {
	return x.Authority == y.Authority && x.Message == y.Message && b.s.o.LogDay(x.At) == b.s.o.LogDay(y.At)
}

// feed writes events that belong together.
func (b *batch) feed(all []message.Event) error {
	whose, err := b.s.feedOf(all[0].Authority)
	if err != nil {
		return err
	}
	id, day := all[0].Message, b.s.o.LogDay(all[0].At)
	key := binary.BigEndian.AppendUint64(whose[:], b.stage.head.Seq+uint64(len(all)))
	value := clone(id[:])
	for i := range all {
		link, err := b.link(&all[i], day)
		if err != nil {
			return err
		}
		value = binary.BigEndian.AppendUint64(value, uint64(link.At.UnixNano())) //nolint:gosec // bit pattern only
		value = binary.BigEndian.AppendUint32(value, uint32(len(link.Sealed)))   //nolint:gosec // bounded by what an event holds
		value = append(value, link.Sealed...)
		waiting := slices.Concat(key, []byte(day), link.Prev[:], link.Hash[:])
		b.put(place{"", inOutbox}, number(link.Seq), waiting)
	}
	b.put(place{day, ofFeed}, key, value)
	if !id.IsZero() {
		b.put(place{"", inStories}, append(id[:idLen:idLen], key[macLen:]...), append(whose[:], day...))
	}
	return nil
}

// link gives an event its place in the chain.
func (b *batch) link(e *message.Event, day string) (message.Link, error) {
	e.Seq = b.stage.head.Seq + 1
	link := message.Link{Seq: e.Seq, At: e.At, Message: e.Message, Day: day, Prev: b.stage.head.Hash}
	aead, err := b.s.logKey(day)
	if err != nil {
		return link, err
	}
	link.Sealed = seal.SealRecord(aead, e.AppendPacked(make([]byte, 0, 256), nil), link.SealedTo())
	link.Hash = link.ChainHash()
	b.stage.head = chainHead{e.Seq, link.Hash}
	return link, nil
}

// feedOf returns what the keys of an authority's feed begin with.
func (s *Store) feedOf(authority string) ([macLen]byte, error) {
	return s.hashes.lookup(authority, ofFeed, []byte(authority))
}

// parseFeed takes a row of the feed apart.
func parseFeed(value []byte) (entries []entry, id message.ID, err error) {
	if len(value) < idLen {
		return nil, id, errDamaged
	}
	id = message.ID(value)
	for rest := value[idLen:]; len(rest) > 0; {
		if len(rest) < 12 {
			return nil, id, errDamaged
		}
		n := int(binary.BigEndian.Uint32(rest[8:]))
		if n > len(rest)-12 {
			return nil, id, errDamaged
		}
		entries = append(entries, entry{binary.BigEndian.Uint64(rest), clone(rest[12 : 12+n])})
		rest = rest[12+n:]
	}
	if len(entries) == 0 {
		return nil, id, errDamaged
	}
	return entries, id, nil
}

// feedRow opens a row of a day's feed; nothing when its window is over.
func (s *Store) feedRow(day string, key, value []byte) ([]message.Event, error) {
	entries, id, err := parseFeed(value)
	if err != nil || len(key) != macLen+8 {
		return nil, fmt.Errorf("feed row: %w", errDamaged)
	}
	first := parseNumber(key[macLen:]) - uint64(len(entries)) + 1
	all := make([]message.Event, 0, len(entries))
	for i, e := range entries {
		link := message.Link{Seq: first + uint64(i), At: timeOf(e.at), Message: id, Day: day} //nolint:gosec // small
		plain, err := s.unseal(day, e.sealed, link.SealedTo())
		if errors.Is(err, seal.ErrDestroyed) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("feed row: %w", err)
		}
		event, err := message.ParseEvent(link, plain)
		if err != nil {
			return nil, fmt.Errorf("feed row: %w", errDamaged)
		}
		all = append(all, event)
	}
	return all, nil
}

// Feed implements queue.Store. The feeds of the days are read together, in the
// order of the chain: what was indexed late lies in an earlier day.
func (s *Store) Feed(ctx context.Context, authority string, after uint64, max int) ([]message.Event, error) {
	max = min(max, queue.MaxPage)
	whose, err := s.feedOf(authority)
	if err != nil {
		return nil, err
	}
	var events []message.Event
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		open := s.feedsFrom(tx, whose, after)
		for len(open) > 0 && len(events) < max {
			f := slices.MinFunc(open, func(a, b *dayFeed) int { return bytes.Compare(a.key, b.key) })
			all, err := s.feedRow(f.day, f.key, f.value)
			if err != nil {
				return err
			}
			for _, e := range all {
				if e.Seq > after && len(events) < max {
					events = append(events, e)
				}
			}
			if f.key, f.value = f.rows.Next(); !bytes.HasPrefix(f.key, whose[:]) {
				open = slices.DeleteFunc(open, func(o *dayFeed) bool { return o == f })
			}
		}
		return ctx.Err()
	})
	return events, err
}

// dayFeed is where the reading of a day's feed stands.
type dayFeed struct {
	day        string
	rows       *bbolt.Cursor
	key, value []byte
}

// feedsFrom finds the days that have events of an authority behind a number.
func (s *Store) feedsFrom(tx *bbolt.Tx, whose [macLen]byte, after uint64) (open []*dayFeed) {
	for _, day := range daysOf(tx, "") {
		feed := in(tx, day, ofFeed)
		if feed == nil {
			continue
		}
		f := &dayFeed{day: day, rows: feed.Cursor()}
		if f.key, f.value = f.rows.Seek(append(whose[:macLen:macLen], number(after+1)...)); bytes.HasPrefix(f.key, whose[:]) {
			open = append(open, f)
		}
	}
	return open
}

// Events implements queue.Store.
func (s *Store) Events(ctx context.Context, id message.ID) ([]message.Event, error) {
	var events []message.Event
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(inStories)).Cursor()
		for k, v := c.Seek(id[:]); bytes.HasPrefix(k, id[:]); k, v = c.Next() {
			whose, day, err := parseStory(v)
			if err != nil {
				return fmt.Errorf("events of message %s: %w", id, err)
			}
			feed := in(tx, day, ofFeed)
			if feed == nil {
				continue // its window is over, and this row goes next
			}
			key := slices.Concat(whose, k[idLen:])
			all, err := s.feedRow(day, key, feed.Get(key))
			if err != nil {
				return fmt.Errorf("events of message %s: %w", id, err)
			}
			events = append(events, all...)
		}
		return ctx.Err()
	})
	return events, err
}

// parseStory reads where events of a message stand: under which authority, in the
// feed of which day.
func parseStory(value []byte) (whose []byte, day string, err error) {
	if len(value) != macLen+dayLen {
		return nil, "", errDamaged
	}
	return value[:macLen], string(value[macLen:]), nil
}
