package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// letGoScan bounds at how many rows one call looks, also of messages that have
// ended, so that accepting and delivering go on between two.
const letGoScan = 8192

// dueBreath is after how many messages whoever waits for the processor gets it.
const dueBreath = 16

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
// from and not behind to, log day by log day in that order, each once; the cursor
// goes on behind the last one, "" at the end. With left, only those of which
// something is left to do: an item that has not ended, or a body that is there.
// What does not open any more, because its log window is over as well, is left out.
func (s *Store) DueBetween(ctx context.Context, from, to time.Time, left bool, after string, max int) (due []Due, next string, err error) {
	if after != "" && len(after) != dayLen+8+itemLen {
		return nil, "", fmt.Errorf("cursor: %w", queue.ErrMalformed)
	}
	d := dueScan{s: s, limit: stamp(to.Add(1)), left: left, max: max}
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		first := ""
		if after != "" {
			first = after[:dayLen]
		}
		for _, day := range daysOf(tx, first) {
			start := stamp(from.Add(1))
			if day == first {
				start = []byte(after[dayLen:])
			}
			if full, err := d.scan(tx, day, start); full || err != nil {
				return err
			}
		}
		return nil
	})
	return d.due, d.next, err
}

// dueScan gathers one page of what is due.
type dueScan struct {
	s      *Store
	limit  []byte
	left   bool
	max    int
	due    []Due
	passed int
	next   string
}

// scan goes through a day; true when the page is full and more follow.
func (d *dueScan) scan(tx *bbolt.Tx, day string, start []byte) (full bool, err error) {
	erase := in(tx, day, ofErase)
	if erase == nil {
		return false, nil
	}
	rows := d.s.rowsIn(tx, day)
	var last message.ID
	c := erase.Cursor()
	for k, _ := c.Seek(start); len(k) == 8+itemLen && bytes.Compare(k, d.limit) < 0; k, _ = c.Next() {
		id := parseItemKey(k).Message
		if id == last {
			continue
		}
		if len(d.due) == d.max || d.passed >= letGoScan {
			d.next = day + string(k)
			return true, nil
		}
		last = id
		if d.left && rows.ended(id) {
			d.passed++
			continue
		}
		if len(d.due)%dueBreath == 0 {
			runtime.Gosched()
		}
		one, err := rows.due(id)
		if errors.Is(err, seal.ErrDestroyed) {
			continue
		}
		if err != nil {
			return false, err
		}
		d.due = append(d.due, one)
	}
	return false, nil
}

// dayRows are messages and items of one day, opened once for many.
type dayRows struct {
	s         *Store
	day       string
	messages  *bbolt.Bucket // nil: the day has none
	items     *bbolt.Cursor // likewise
	decisions func(day string, ref decisionRef) []byte
}

func (s *Store) rowsIn(tx *bbolt.Tx, day string) dayRows {
	r := dayRows{s: s, day: day, messages: in(tx, day, ofMessages), decisions: decisionsIn(tx)}
	if items := in(tx, day, ofItems); items != nil {
		r.items = items.Cursor()
	}
	return r
}

// ended reports by the clear heads whether every item of a message has ended and
// the body is gone.
func (r dayRows) ended(id message.ID) bool {
	if r.items == nil {
		return false
	}
	for k, v := r.items.Seek(id[:]); bytes.HasPrefix(k, id[:]); k, v = r.items.Next() {
		if h, _, err := parseHead(v); err != nil || !h.erased || !h.state.Final() {
			return false
		}
	}
	return true
}

// due reads a message with its items.
func (r dayRows) due(id message.ID) (d Due, err error) {
	if d.Envelope, err = r.s.envelopeIn(r.messages, id); err != nil || r.items == nil {
		return d, err
	}
	for k, v := r.items.Seek(id[:]); bytes.HasPrefix(k, id[:]); k, v = r.items.Next() {
		rec, err := r.s.openRecord(k, v, r.decisions)
		if err != nil {
			return d, fmt.Errorf("item %s: %w", parseItemKey(k), err)
		}
		d.Items = append(d.Items, rec.Item)
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
