package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// dayIn returns the bucket of a log day; nil when it has none.
func dayIn(tx *bbolt.Tx, day string) *bbolt.Bucket {
	return tx.Bucket([]byte(inDays)).Bucket([]byte(day))
}

// in returns a bucket of a log day; nil when it does not exist.
func in(tx *bbolt.Tx, day, bucket string) *bbolt.Bucket {
	d := dayIn(tx, day)
	if d == nil {
		return nil
	}
	return d.Bucket([]byte(bucket))
}

// daysOf lists the log days that have anything, in order, from the first that is
// not before from.
func daysOf(tx *bbolt.Tx, from string) []string {
	var days []string
	c := tx.Bucket([]byte(inDays)).Cursor()
	for k, _ := c.Seek([]byte(from)); k != nil; k, _ = c.Next() {
		days = append(days, string(k))
	}
	return days
}

// dayOf finds the log day of a message; "" when the ledger does not have it. An
// id tells when it was made, and so where to look first.
func (s *Store) dayOf(tx *bbolt.Tx, id message.ID) string {
	guess := s.o.LogDay(id.Time())
	if m := in(tx, guess, ofMessages); m != nil && m.Get(id[:]) != nil {
		return guess
	}
	c := tx.Bucket([]byte(inDays)).Cursor()
	for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
		if m := in(tx, string(k), ofMessages); m != nil && m.Get(id[:]) != nil {
			return string(k)
		}
	}
	return ""
}

// record is an item as it is stored.
type record struct {
	Item message.Item
	head head
	ref  decisionRef
}

// decisionRef is the keyed hash of a decision: where it stands in its day.
type decisionRef [macLen]byte

// maxDecisions bounds how many decisions are kept in memory.
const maxDecisions = 4096

// decisions remembers decisions that were read or written. Few differ: an item
// costs a reference instead of all the reasons. Nobody may change what is in
// them.
type decisions struct {
	mu    sync.RWMutex
	known map[string]message.Decision // log day and reference → decision
}

func (d *decisions) get(day string, ref decisionRef) (message.Decision, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	known, ok := d.known[day+string(ref[:])]
	return known, ok
}

func (d *decisions) put(day string, ref decisionRef, decision message.Decision) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || len(d.known) >= maxDecisions {
		d.known = map[string]message.Decision{}
	}
	d.known[day+string(ref[:])] = decision
}

// decision reads a decision; row is what stands under its reference.
func (s *Store) decision(day string, ref decisionRef, row func() []byte) (message.Decision, error) {
	if d, ok := s.decisions.get(day, ref); ok {
		return d, nil
	}
	value := row()
	if value == nil {
		return message.Decision{}, fmt.Errorf("decision: %w", errDamaged)
	}
	_, plain, err := s.openText(ofDecisions, ref[:], value)
	if err != nil {
		return message.Decision{}, err
	}
	d, err := queue.DecodeDecision(plain)
	if err != nil {
		return d, fmt.Errorf("decision: %w", errDamaged)
	}
	s.decisions.put(day, ref, d)
	return d, nil
}

// openRecord reads an item with its decision.
func (s *Store) openRecord(key, value []byte, decision func(day string, ref decisionRef) []byte) (r record, err error) {
	if r.head, r.ref, r.Item, err = s.openItem(key, value); err != nil {
		return r, err
	}
	r.Item.Decision, err = s.decision(r.head.day, r.ref, func() []byte { return decision(r.head.day, r.ref) })
	return r, err
}

// record reads an item of a day.
func (s *Store) record(tx *bbolt.Tx, day string, key message.ItemKey) (record, error) {
	var value []byte
	k := itemKey(key)
	if items := in(tx, day, ofItems); items != nil {
		value = items.Get(k)
	}
	if value == nil {
		return record{}, fmt.Errorf("item %s: %w", key, queue.ErrNotFound)
	}
	r, err := s.openRecord(k, value, decisionsIn(tx))
	if err != nil {
		return r, fmt.Errorf("item %s: %w", key, err)
	}
	return r, nil
}

func decisionsIn(tx *bbolt.Tx) func(string, decisionRef) []byte {
	return func(day string, ref decisionRef) []byte {
		if d := in(tx, day, ofDecisions); d != nil {
			return d.Get(ref[:])
		}
		return nil
	}
}

// readable reads an item of a day. One that does not open is passed over and
// reported once; one whose window is over is gone.
func (s *Store) readable(tx *bbolt.Tx, day string, key message.ItemKey) (record, bool) {
	r, err := s.record(tx, day, key)
	if err == nil {
		return r, true
	}
	s.damage(key, err)
	return r, false
}

func (s *Store) damage(key message.ItemKey, err error) {
	if errors.Is(err, seal.ErrDestroyed) || s.o.Damaged == nil {
		return
	}
	s.mu.Lock()
	again := s.damaged[key]
	s.damaged[key] = true
	s.mu.Unlock()
	if !again {
		s.o.Damaged(err.Error())
	}
}

// envelope reads the envelope of a message of a day.
func (s *Store) envelope(tx *bbolt.Tx, day string, id message.ID) (env message.Envelope, err error) {
	return s.envelopeIn(in(tx, day, ofMessages), id)
}

// envelopeIn reads an envelope out of a day's messages; nil: there are none.
func (s *Store) envelopeIn(messages *bbolt.Bucket, id message.ID) (env message.Envelope, err error) {
	var value []byte
	if messages != nil {
		value = messages.Get(id[:])
	}
	if value == nil {
		return env, fmt.Errorf("message %s: %w", id, queue.ErrNotFound)
	}
	if _, env, err = s.openEnvelope(id[:], value); err != nil {
		return env, fmt.Errorf("message %s: %w", id, err)
	}
	return env, nil
}

// itemsOf lists the items of a message.
func itemsOf(tx *bbolt.Tx, day string, id message.ID) (keys []message.ItemKey) {
	items := in(tx, day, ofItems)
	if items == nil {
		return nil
	}
	c := items.Cursor()
	for k, _ := c.Seek(id[:]); bytes.HasPrefix(k, id[:]); k, _ = c.Next() {
		keys = append(keys, parseItemKey(k))
	}
	return keys
}
