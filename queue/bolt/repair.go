package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// Repaired is what Repair brought over, and what it could not.
type Repaired struct {
	Messages int
	Items    int
	Receipts int
	Events   int
	Lost     []string // what did not open, one line each, without personal data
	Old      string   // where the file that was repaired lies now
}

// repairBatch bounds how many rows one transaction of Repair writes.
const repairBatch = 500

// Repair makes a new ledger out of everything in the old one that opens: the
// rows by which things are found, the counts and the chain's end are derived
// anew. The old file is set aside in the folder corrupt, never dropped; it is
// sealed like the ledger. Nobody may have the ledger open.
//
// When the end of the chain or the epoch is lost, the next start takes the
// ledger for a restored one and holds what would still be sent.
func Repair(ctx context.Context, o Options, corrupt string) (rep Repaired, err error) {
	old, err := openDamaged(o)
	if err != nil {
		return rep, fmt.Errorf("repair ledger %s: %w", o.Path, err)
	}
	fresh := o
	fresh.Path, fresh.noSync = o.Path+".repair", true
	if err := os.Remove(fresh.Path); err != nil && !os.IsNotExist(err) {
		return rep, errors.Join(err, old.db.Close())
	}
	next, err := Open(fresh)
	if err == nil {
		r := repairer{ctx: ctx, old: old, next: next, rep: &rep}
		err = errors.Join(r.run(), next.db.Sync(), next.Close())
	}
	if err = errors.Join(err, old.db.Close()); err != nil {
		return rep, fmt.Errorf("repair ledger %s: %w", o.Path, err)
	}
	rep.Old = filepath.Join(corrupt, "ledger-"+o.Now().UTC().Format("20060102T150405")+".db")
	return rep, errors.Join(os.MkdirAll(corrupt, 0o700), os.Rename(o.Path, rep.Old), os.Rename(fresh.Path, o.Path), syncDir(filepath.Dir(o.Path)), syncDir(corrupt))
}

// openDamaged opens a file for reading what is left of it.
func openDamaged(o Options) (*Store, error) {
	s := &Store{o: o, hashes: newHashes(o.Keys), dests: newDests(), damaged: map[message.ItemKey]bool{}}
	s.o.Damaged = nil
	if err := checkSize(o.Path); err != nil {
		return nil, err
	}
	err := guarded(func() (err error) {
		s.db, err = bbolt.Open(o.Path, 0o600, &bbolt.Options{Timeout: lockWait, ReadOnly: true})
		return err
	})
	if err == nil {
		if err = s.view(context.Background(), s.ofThisVersion); err != nil {
			s.db.Close()
		}
	}
	return s, err
}

// ofThisVersion refuses a file that says that it is of another version. One that
// does not say it any more may be of this one.
func (s *Store) ofThisVersion(tx *bbolt.Tx) error {
	var got string
	if err := guarded(func() error { return s.readMeta(tx, "schema", &got) }); err == nil && got != schema {
		return anotherVersion(got)
	}
	return nil
}

type repairer struct {
	ctx       context.Context //nolint:containedctx // lives for one Repair
	old, next *Store
	rep       *Repaired
	tx        *bbolt.Tx // of the old file
	day       string
	batch     []func(*batch) error
	err       error // of writing
}

func (r *repairer) lose(format string, args ...any) {
	r.rep.Lost = append(r.rep.Lost, fmt.Sprintf(format, args...))
}

// run copies in one reading transaction. Messages come with their items, and
// receipts and links after what they name: nothing is brought over that hangs in
// the air, whatever pages are damaged.
func (r *repairer) run() error {
	tx, err := r.old.beginTx(false)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // a read ends
	r.tx = tx
	var days []string
	r.each("days", func() *bbolt.Bucket { return tx.Bucket([]byte(inDays)) }, func(k, _ []byte) {
		if !seal.ValidDay(string(k)) {
			r.lose("%q is no log day", k)
			return
		}
		days = append(days, string(k))
	})
	for _, of := range []struct {
		bucket  string
		copyRow func(k, v []byte)
	}{{ofDecisions, r.decision}, {ofItems, r.item}, {ofMessages, r.message}, {ofReceipts, r.receipt}, {ofFeed, r.feed}} {
		for _, r.day = range days {
			r.each(of.bucket+" of "+r.day, func() *bbolt.Bucket { return in(tx, r.day, of.bucket) }, of.copyRow)
		}
	}
	for _, over := range []struct {
		bucket  string
		copyRow func(k, v []byte)
	}{{inOutbox, r.outbox}, {inMarks, r.mark}} {
		r.each(over.bucket, func() *bbolt.Bucket { return tx.Bucket([]byte(over.bucket)) }, over.copyRow)
	}
	if err := errors.Join(r.err, r.flush(), r.meta()); err != nil {
		return err
	}
	return r.tally(days)
}

// tally counts what is in the new ledger.
func (r *repairer) tally(days []string) error {
	return r.next.view(r.ctx, func(tx *bbolt.Tx) error {
		for _, day := range days {
			r.rep.Messages += rows(in(tx, day, ofMessages))
			r.rep.Items += rows(in(tx, day, ofItems))
			r.rep.Receipts += rows(in(tx, day, ofReceipts))
		}
		return nil
	})
}

// guard keeps a damaged page from ending the repair; false when there was one.
func (r *repairer) guard(what string, fn func()) bool {
	err := guarded(func() error { fn(); return nil })
	if err != nil {
		r.lose("%s: %v", what, err)
	}
	return err == nil
}

// each goes through a bucket from its first row up to a damaged page, and then
// from its last one back to there. A row that leads to a damaged page elsewhere
// is lost alone.
func (r *repairer) each(what string, open func() *bbolt.Bucket, fn func(k, v []byte)) {
	var bucket *bbolt.Bucket
	var front []byte // the last row that the walk forward has reached
	row := func(k, v []byte) { r.guard("a row of "+what, func() { fn(k, v) }) }
	going := func() bool { return r.err == nil && r.ctx.Err() == nil }
	whole := r.guard(what, func() {
		if bucket = open(); bucket == nil {
			return
		}
		c := bucket.Cursor()
		for k, v := c.First(); k != nil && going(); k, v = c.Next() {
			if front != nil && bytes.Compare(k, front) <= 0 {
				panic("its rows are not in order")
			}
			front = append(front[:0], k...)
			row(k, v)
		}
	})
	if whole || bucket == nil {
		return
	}
	var back []byte
	_ = guarded(func() error { // told already
		c := bucket.Cursor()
		for k, v := c.Last(); k != nil && going() && bytes.Compare(k, front) > 0; k, v = c.Prev() {
			if back != nil && bytes.Compare(k, back) >= 0 {
				break
			}
			back = append(back[:0], k...)
			row(k, v)
		}
		return nil
	})
}

// write takes one change into the next transaction.
func (r *repairer) write(plan func(*batch) error) {
	if r.batch = append(r.batch, plan); len(r.batch) >= repairBatch {
		r.err = errors.Join(r.err, r.flush())
	}
}

func (r *repairer) flush() error {
	plans := r.batch
	r.batch = nil
	if err := r.ctx.Err(); err != nil {
		return err
	}
	return r.next.commit(r.ctx, func(b *batch) error {
		for _, plan := range plans {
			if err := plan(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// put copies a row as it is.
func (r *repairer) put(p place, k, v []byte) {
	k, v = clone(k), clone(v)
	r.write(func(b *batch) error {
		b.put(p, k, v)
		return nil
	})
}

// gone reports whether a row does not open only because its window is over: it
// stays until it is purged.
func gone(err error) bool { return errors.Is(err, seal.ErrDestroyed) }

func (r *repairer) decision(k, v []byte) {
	_, plain, err := r.old.openText(ofDecisions, k, v)
	if err == nil {
		var sum [macLen]byte
		if sum, err = r.old.hashes.lookup("", "decision", plain); err == nil && !bytes.Equal(sum[:], k) {
			err = errDamaged
		}
	}
	if err != nil && !gone(err) {
		r.lose("decision of %s: %v", r.day, err)
		return
	}
	r.put(place{r.day, ofDecisions}, k, v)
}

// item brings an item over with rows derived anew, and the message that it
// belongs to.
func (r *repairer) item(k, v []byte) {
	h, _, err := parseHead(v)
	var rec record
	if err == nil {
		rec, err = r.old.openRecord(k, v, decisionsIn(r.tx))
	}
	if err != nil && !gone(err) {
		r.lose("item %s: %v", parseItemKey(k), err)
		return
	}
	id, text, env, err2 := r.above(k)
	if err2 != nil && !gone(err2) {
		r.lose("item %s: %v", parseItemKey(k), err2)
		return
	}
	key, row, day := clone(k), clone(v), r.day
	r.write(func(b *batch) error {
		if at := (place{day, ofMessages}); b.get(at, id) == nil {
			b.put(at, id, text)
		}
		if !gone(err) && !gone(err2) {
			return b.newItem(env, rec.Item)
		}
		for _, x := range headRows(h, key) {
			b.putRow(day, x)
		}
		b.count(h.state, +1)
		b.put(place{day, ofItems}, key, row)
		return nil
	})
}

// above reads the message of an item.
func (r *repairer) above(k []byte) (id, text []byte, env message.Envelope, err error) {
	if len(k) != itemLen {
		return nil, nil, env, errDamaged
	}
	id = clone(k[:idLen])
	if m := in(r.tx, r.day, ofMessages); m != nil {
		text = m.Get(id)
	}
	if text == nil {
		return id, nil, env, fmt.Errorf("message: %w", queue.ErrNotFound)
	}
	day, env, err := r.old.openEnvelope(id, text)
	if err == nil && (!bytes.Equal(env.ID[:], id) || env.LogDay != r.day || day != r.day) {
		err = errDamaged
	}
	return id, clone(text), env, err
}

// message tells of one that has not come with an item.
func (r *repairer) message(k, _ []byte) {
	key, day := clone(k), r.day
	r.write(func(b *batch) error {
		if b.get(place{day, ofMessages}, key) == nil {
			r.lose("message %x: it does not open, or none of its items does", key)
		}
		return nil
	})
}

// receipt brings a receipt over. One whose item is not there is shown as
// unmatched, never dropped.
func (r *repairer) receipt(k, v []byte) {
	rec, err := r.old.openReceipt(k, v)
	if err == nil && (!bytes.Equal(receiptKey(rec), k) || string(v[:dayLen]) != r.day) {
		err = errDamaged
	}
	if err != nil && !gone(err) {
		r.lose("receipt %x: %v", k, err)
		return
	}
	key, row, day := clone(k), clone(v), r.day
	r.write(func(b *batch) error {
		if id := rec.Item.Message; err == nil && !id.IsZero() && r.inOld(id) && b.get(place{b.dayOf(id), ofItems}, itemKey(rec.Item)) == nil {
			rec.Item = message.ItemKey{}
			return b.receipt(rec)
		}
		b.put(place{day, ofReceipts}, key, row)
		return nil
	})
}

// inOld reports whether the old ledger has a message, or had: a receipt may
// outlive it. Where a page is damaged it may.
func (r *repairer) inOld(id message.ID) bool {
	var day string
	err := guarded(func() error { day = r.old.dayOf(r.tx, id); return nil })
	return err != nil || day != ""
}

// feed brings events of a day over, and makes them found from their message again.
func (r *repairer) feed(k, v []byte) {
	if _, err := r.old.feedRow(r.day, k, v); err != nil {
		r.lose("feed %x: %v", k, err)
		return
	}
	entries, id, err := parseFeed(v)
	if err != nil {
		return // feedRow has read it
	}
	r.rep.Events += len(entries)
	r.put(place{r.day, ofFeed}, k, v)
	if !id.IsZero() {
		r.put(place{"", inStories}, append(id[:idLen:idLen], k[macLen:]...), append(clone(k[:macLen]), r.day...))
	}
}

// outbox brings the links over whose events have come.
func (r *repairer) outbox(k, v []byte) {
	_, err := linkOf(r.tx, k, v)
	key, row := clone(k), clone(v)
	r.write(func(b *batch) error {
		at := place{"", inOutbox}
		switch {
		case err != nil:
		case b.get(place{outboxDay(row), ofFeed}, row[:macLen+8]) == nil:
			err = errDamaged // what stands beside it
		default:
			b.put(at, key, row)
			return nil
		}
		r.lose("audit link %d: %v; it is missing in the chain", parseNumber(key), err)
		return nil
	})
}

func (r *repairer) mark(k, v []byte) {
	if _, err := r.old.hashes.verified(inMarks, k, v); err != nil {
		r.lose("mark of segment %d: %v; the segment is read again", parseNumber(k), err)
		return
	}
	r.put(place{"", inMarks}, k, v)
}

// meta brings over what belongs together with vault and audit files.
func (r *repairer) meta() error {
	var head chainHead
	var epoch string
	var row []byte
	err := guarded(func() error {
		if err := r.old.readMeta(r.tx, "head", &head); err != nil {
			return err
		}
		row = clone(r.tx.Bucket([]byte(inMeta)).Get([]byte("epoch")))
		return r.old.readMeta(r.tx, "epoch", &epoch)
	})
	if err != nil {
		r.lose("meta: %v; what would still be sent will be held", err)
		return nil
	}
	return r.next.commit(r.ctx, func(b *batch) error {
		b.stage.head = head
		b.put(place{"", inMeta}, []byte("epoch"), row)
		return nil
	})
}
