package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
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
		r := repairer{ctx: ctx, old: old, next: next, rep: &rep, noFeed: map[string]bool{}}
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
	return s, err
}

type repairer struct {
	ctx       context.Context //nolint:containedctx // lives for one Repair
	old, next *Store
	rep       *Repaired
	tx        *bbolt.Tx // of the old file
	day       string
	noFeed    map[string]bool // keys of rows of the feed that are lost
	batch     []func(*batch) error
	err       error // of writing
}

func (r *repairer) lose(format string, args ...any) {
	r.rep.Lost = append(r.rep.Lost, fmt.Sprintf(format, args...))
}

// run copies in one reading transaction. A page that is damaged ends its bucket,
// not the repair.
func (r *repairer) run() error {
	tx, err := r.old.beginTx(false)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // a read ends
	r.tx = tx
	var days []string
	r.guard("days", func() { days = daysOf(tx, "") })
	for _, r.day = range days {
		if !seal.ValidDay(r.day) {
			r.lose("%q is no log day", r.day)
			continue
		}
		for name, copyRow := range map[string]func(k, v []byte){ofDecisions: r.decision, ofMessages: r.message, ofReceipts: r.receipt, ofItems: r.item} {
			r.each(name+" of "+r.day, func() *bbolt.Bucket { return in(tx, r.day, name) }, copyRow)
		}
	}
	for _, b := range []struct {
		name    string
		copyRow func(k, v []byte)
	}{{inFeed, r.feed}, {inOutbox, r.outbox}, {inMarks, r.mark}} {
		r.each(b.name, func() *bbolt.Bucket { return tx.Bucket([]byte(b.name)) }, b.copyRow)
	}
	if err := errors.Join(r.err, r.flush()); err != nil {
		return err
	}
	return r.meta()
}

// guard keeps a damaged page from ending the repair.
func (r *repairer) guard(what string, fn func()) {
	if err := guarded(func() error { fn(); return nil }); err != nil {
		r.lose("%s: %v", what, err)
	}
}

func (r *repairer) each(what string, open func() *bbolt.Bucket, fn func(k, v []byte)) {
	r.guard(what, func() {
		bucket := open()
		if bucket == nil {
			return
		}
		c := bucket.Cursor()
		for k, v := c.First(); k != nil && r.err == nil && r.ctx.Err() == nil; k, v = c.Next() {
			fn(k, v)
		}
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

func (r *repairer) message(k, v []byte) {
	day, env, err := r.old.openEnvelope(k, v)
	if err == nil && (!bytes.Equal(env.ID[:], k) || env.LogDay != r.day || day != r.day) {
		err = errDamaged
	}
	switch {
	case err != nil && !gone(err):
		r.lose("message %x: %v", k, err)
	case len(k) == idLen && !r.hasItem(message.ID(k)):
		r.lose("message %x: none of its items opens", k)
	default:
		r.rep.Messages++
		r.put(place{r.day, ofMessages}, k, v)
	}
}

// hasItem reports whether an item of a message can be brought over.
func (r *repairer) hasItem(id message.ID) bool {
	return slices.ContainsFunc(itemsOf(r.tx, r.day, id), func(key message.ItemKey) bool {
		_, err := r.old.record(r.tx, r.day, key)
		return err == nil || gone(err)
	})
}

func (r *repairer) receipt(k, v []byte) {
	rec, err := r.old.openReceipt(k, v)
	if err == nil && (!bytes.Equal(receiptKey(rec), k) || string(v[:dayLen]) != r.day) {
		err = errDamaged
	}
	if err != nil && !gone(err) {
		r.lose("receipt %x: %v", k, err)
		return
	}
	r.rep.Receipts++
	if err == nil && !rec.Item.Message.IsZero() && r.itemLost(rec.Item) {
		rec.Item = message.ItemKey{} // shown as unmatched, never dropped
		r.write(func(b *batch) error { return b.receipt(rec) })
		return
	}
	r.put(place{r.day, ofReceipts}, k, v)
}

// itemLost reports whether an item is not brought over although its message is.
func (r *repairer) itemLost(key message.ItemKey) bool {
	day := r.old.dayOf(r.tx, key.Message)
	_, err := r.old.record(r.tx, day, key)
	return day != "" && err != nil && !gone(err)
}

// item brings an item over with rows derived anew.
func (r *repairer) item(k, v []byte) {
	h, _, err := parseHead(v)
	var rec record
	if err == nil {
		rec, err = r.old.openRecord(k, v, decisionsIn(r.tx))
	}
	var env message.Envelope
	if err == nil {
		env, err = r.old.envelope(r.tx, r.day, rec.Item.Key.Message)
	}
	if gone(err) {
		r.rep.Items++
		key, row, day := clone(k), clone(v), r.day
		r.write(func(b *batch) error {
			for _, x := range headRows(h, key) {
				b.putRow(day, x)
			}
			b.count(h.state, +1)
			b.put(place{day, ofItems}, key, row)
			return nil
		})
		return
	}
	if err != nil {
		r.lose("item %s: %v", parseItemKey(k), err)
		return
	}
	r.rep.Items++
	r.write(func(b *batch) error { return b.newItem(env, rec.Item) })
}

// feed brings events over, and makes them found from their message again.
func (r *repairer) feed(k, v []byte) {
	if _, err := r.old.feedRow(k, v); err != nil {
		r.lose("feed %x: %v", k, err)
		r.noFeed[string(k)] = true
		return
	}
	entries, _, id, err := parseFeed(v)
	if err != nil {
		return // feedRow has read it
	}
	r.rep.Events += len(entries)
	r.put(place{"", inFeed}, k, v)
	if !id.IsZero() {
		r.put(place{"", inStories}, append(id[:idLen:idLen], k[macLen:]...), k[:macLen])
	}
}

func (r *repairer) outbox(k, v []byte) {
	_, err := linkOf(r.tx, k, v)
	if err == nil && r.noFeed[string(v[:macLen+8])] {
		err = errDamaged // what stands beside it
	}
	if err != nil {
		r.lose("audit link %d: %v; it is missing in the chain", parseNumber(k), err)
		return
	}
	r.put(place{"", inOutbox}, k, v)
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
	err := r.old.readMeta(r.tx, "head", &head)
	if err == nil {
		err = r.old.readMeta(r.tx, "epoch", &epoch)
	}
	if err != nil {
		r.lose("meta: %v; what would still be sent will be held", err)
		return nil
	}
	return r.next.commit(r.ctx, func(b *batch) error {
		b.stage.head = head
		return r.copyEpoch(b)
	})
}

func (r *repairer) copyEpoch(b *batch) error {
	b.put(place{"", inMeta}, []byte("epoch"), clone(r.tx.Bucket([]byte(inMeta)).Get([]byte("epoch"))))
	return nil
}
