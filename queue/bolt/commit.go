package bolt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"

	"go.etcd.io/bbolt"

	"gatewayd/message"
	"gatewayd/queue"
)

// maxGroup bounds how many changes share one transaction.
const maxGroup = 1024

// How full bbolt leaves the pages of a bucket when it splits them. Where keys grow
// with time, at the end or behind a prefix, little is inserted later; where a row
// is not rewritten either, nothing is. An item's row grows by a quarter until it is
// done.
const (
	growingFill  = 0.9
	finishedFill = 1.0
	itemsFill    = 0.75
)

// fillOf returns how full the pages of a bucket are left.
func fillOf(bucket string) float64 {
	switch bucket {
	case ofFeed, ofMessages:
		return finishedFill
	case ofItems:
		return itemsFill
	case inAttention, inLetGo, inMarks, inMeta, ofDecisions:
		return bbolt.DefaultFillPercent
	}
	return growingFill
}

// op is one logical change that waits for the committer.
type op struct {
	plan  func(*batch) error
	alone func() error // instead of plan
	err   error        // of the plan
	done  chan error
}

// commit hands a change to the committer and waits until it is durable or has
// failed. Once the committer has taken it, the outcome is awaited whatever
// becomes of ctx.
func (s *Store) commit(ctx context.Context, plan func(*batch) error) error {
	o := &op{plan: plan, done: make(chan error, 1)}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return queue.ErrClosed
	case s.ops <- o:
		return <-o.done
	}
}

// onCommitter runs something of its own between two commits.
func (s *Store) onCommitter(ctx context.Context, alone func() error) error {
	o := &op{alone: alone, done: make(chan error, 1)}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return queue.ErrClosed
	case s.alone <- o:
		return <-o.done
	}
}

// run is the committer.
func (s *Store) run() {
	defer close(s.stopped)
	for {
		select {
		case <-s.closing:
			return
		case o := <-s.alone:
			o.done <- o.alone()
		case first := <-s.ops:
			s.commitAll(s.gather(first))
		}
	}
}

// gather takes everything that waits. Whoever was answered by the last commit
// gets the processor once before, so that it is not one commit behind.
func (s *Store) gather(first *op) []*op {
	runtime.Gosched()
	ops := []*op{first}
	for len(ops) < maxGroup {
		select {
		case o := <-s.ops:
			ops = append(ops, o)
		default:
			return ops
		}
	}
	return ops
}

// commitAll commits what is valid among ops in one transaction and answers all.
func (s *Store) commitAll(ops []*op) {
	var due []row
	err := s.update(func(tx *bbolt.Tx) error {
		b, err := s.begin(tx)
		if err != nil {
			return err
		}
		for _, o := range ops {
			if o.err = b.try(o.plan); b.failed != nil {
				return b.failed
			}
		}
		due = b.due
		return b.finish()
	})
	// Also after an error: the commit may be durable all the same, and a
	// destination that is asked for nothing costs little.
	s.dests.born(due)
	for _, o := range ops {
		if o.err == nil {
			o.err = err
		}
		o.done <- o.err
	}
}

// chainHead is the newest link of the audit chain.
type chainHead struct {
	Seq  uint64         `json:"seq"`
	Hash message.Digest `json:"hash"`
}

// batch is one transaction under construction. A plan reads through it and
// stages what it wants to write; only a plan that succeeds reaches the
// transaction, so a failing one leaves no trace.
type batch struct {
	s      *Store
	tx     *bbolt.Tx
	days   map[string]*bbolt.Bucket
	nested map[place]*bbolt.Bucket
	head   chainHead
	counts map[message.State]int
	due    []row // rows of inDue that were born
	dirty  bool
	failed error // the transaction itself cannot go on
	stage  stage
}

// place names a bucket: of a day, or over all days.
type place struct{ day, bucket string }

// rowKey names a row.
type rowKey struct {
	place
	key string
}

// stage is what one plan wants to change.
type stage struct {
	writes []write
	last   map[rowKey]int // newest write of a row
	head   chainHead
	counts map[message.State]int
}

// write is one row to put, or to delete where value is nil.
type write struct {
	place
	key, value []byte
}

func (s *Store) begin(tx *bbolt.Tx) (*batch, error) {
	b := &batch{s: s, tx: tx, days: map[string]*bbolt.Bucket{}, nested: map[place]*bbolt.Bucket{}}
	for _, name := range buckets() {
		tx.Bucket([]byte(name)).FillPercent = fillOf(name)
	}
	if err := s.readMeta(tx, "head", &b.head); err != nil {
		return nil, err
	}
	return b, s.readMeta(tx, "counts", &b.counts)
}

// try runs one plan on top of those before it.
func (b *batch) try(plan func(*batch) error) error {
	b.stage = stage{writes: b.stage.writes[:0], last: map[rowKey]int{}, head: b.head, counts: maps.Clone(b.counts)}
	if err := plan(b); err != nil {
		return err
	}
	for _, w := range b.stage.writes {
		if b.failed = b.apply(w); b.failed != nil {
			return b.failed
		}
	}
	b.dirty = b.dirty || len(b.stage.writes) > 0
	b.head, b.counts = b.stage.head, b.stage.counts
	return nil
}

func (b *batch) apply(w write) error {
	bucket, err := b.bucket(w.place, w.value != nil)
	switch {
	case err != nil:
		return err
	case w.value != nil:
		if w.bucket == inDue {
			b.due = append(b.due, row{inDue, w.key})
		}
		return bucket.Put(w.key, w.value)
	case bucket != nil:
		return bucket.Delete(w.key)
	}
	return nil
}

// bucket returns a bucket, or nil when it does not exist and create is false.
func (b *batch) bucket(p place, create bool) (*bbolt.Bucket, error) {
	if p.day == "" {
		return b.tx.Bucket([]byte(p.bucket)), nil
	}
	if bucket := b.nested[p]; bucket != nil {
		return bucket, nil
	}
	day := b.days[p.day]
	if day == nil {
		day = dayIn(b.tx, p.day)
	}
	var err error
	if day == nil && create {
		day, err = b.tx.Bucket([]byte(inDays)).CreateBucket([]byte(p.day))
	}
	if day == nil || err != nil {
		return nil, err
	}
	b.days[p.day] = day
	bucket := day.Bucket([]byte(p.bucket))
	if bucket == nil && create {
		bucket, err = day.CreateBucket([]byte(p.bucket))
	}
	if bucket == nil || err != nil {
		return nil, err
	}
	bucket.FillPercent = fillOf(p.bucket)
	b.nested[p] = bucket
	return bucket, nil
}

// finish writes head and counts.
func (b *batch) finish() error {
	if !b.dirty {
		return errNothing
	}
	if err := b.s.writeMeta(b.tx, "head", b.head); err != nil {
		return err
	}
	return b.s.writeMeta(b.tx, "counts", b.counts)
}

// get reads a row as the plan would leave it. The result is valid during the
// transaction only.
func (b *batch) get(p place, key []byte) []byte {
	if i, ok := b.stage.last[rowKey{p, string(key)}]; ok {
		return b.stage.writes[i].value
	}
	bucket, err := b.bucket(p, false)
	if bucket == nil || err != nil {
		return nil
	}
	return bucket.Get(key)
}

// put stages a row. An empty value is stored as such.
func (b *batch) put(p place, key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	b.write(write{p, key, value})
}

func (b *batch) del(p place, key []byte) { b.write(write{p, key, nil}) }

func (b *batch) write(w write) {
	b.stage.last[rowKey{w.place, string(w.key)}] = len(b.stage.writes)
	b.stage.writes = append(b.stage.writes, w)
}

func (b *batch) count(state message.State, n int) {
	if b.stage.counts[state] += n; b.stage.counts[state] == 0 {
		delete(b.stage.counts, state)
	}
}

// readMeta reads a value about the ledger itself.
func (s *Store) readMeta(tx *bbolt.Tx, name string, v any) error {
	stored := tx.Bucket([]byte(inMeta)).Get([]byte(name))
	plain, err := s.hashes.verified(inMeta, []byte(name), stored)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return json.Unmarshal(plain, v)
}

func (s *Store) writeMeta(tx *bbolt.Tx, name string, v any) error {
	plain, err := json.Marshal(v)
	if err != nil {
		return err
	}
	stored, err := s.hashes.protect(inMeta, []byte(name), plain)
	if err != nil {
		return err
	}
	return tx.Bucket([]byte(inMeta)).Put([]byte(name), stored)
}

// schema is the version of this file's layout.
const schema = "gatewayd ledger 7"

func anotherVersion(got string) error {
	return fmt.Errorf("it is a %q, this program knows %q", got, schema)
}

// create makes the buckets of a new file and checks whose an old one is.
func (s *Store) create(tx *bbolt.Tx) error {
	if tx.Bucket([]byte(inMeta)) != nil {
		return s.recognise(tx)
	}
	for _, name := range buckets() {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	return errors.Join(
		s.writeMeta(tx, "schema", schema), s.writeMeta(tx, "epoch", newEpoch()),
		s.writeMeta(tx, "head", chainHead{}), s.writeMeta(tx, "counts", map[message.State]int{}),
	)
}

// recognise refuses a ledger of another version or with other keys.
func (s *Store) recognise(tx *bbolt.Tx) error {
	var got string
	if err := s.readMeta(tx, "schema", &got); err != nil {
		return fmt.Errorf("not written with these keys, or damaged: %w", err)
	}
	if got != schema {
		return anotherVersion(got)
	}
	for _, name := range buckets() {
		if tx.Bucket([]byte(name)) == nil {
			return fmt.Errorf("bucket %s is missing: %w", name, errDamaged)
		}
	}
	return errNothing
}
