package bolt

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// Bounds of what one commit or look of Purge takes, so that accepting and
// delivering go on between two.
const (
	purgeRows = 50_000
	warmRows  = 4000
	breath    = 1000 // rows that are looked at before whoever waits for the processor gets it
)

// Purge deletes everything that belongs to a log day up to and including that
// one. It opens nothing, works in many commits, none of which touches the rows of
// the day one by one, and may be repeated: in one commit the days leave the ledger
// for a place where nobody reads; then the ways to their events go, and then their
// buckets, one after another. What was cut off is ended by the next call. Events
// that the day files do not have yet stay for the next time.
func (s *Store) Purge(ctx context.Context, day string) error {
	if !seal.ValidDay(day) {
		return fmt.Errorf("purge: %q is not a day: %w", day, queue.ErrMalformed)
	}
	err := s.purgeGone(ctx, day)
	if err == nil {
		err = s.retireDays(ctx, day)
	}
	if err == nil {
		err = s.purgeGone(ctx, day)
	}
	if err != nil {
		return fmt.Errorf("purge log day %s: %w", day, err)
	}
	return nil
}

// purging makes one change outside of the commits that others share: buckets can
// only be moved where nobody else has written in the same transaction.
func (s *Store) purging(ctx context.Context, fn func(*bbolt.Tx) error) error {
	return s.onCommitter(ctx, func() error { return s.update(fn) })
}

func (s *Store) retireDays(ctx context.Context, upTo string) error {
	var days []string
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		days = slices.DeleteFunc(daysOf(tx, ""), func(day string) bool { return day > upTo })
		return nil
	})
	for _, day := range days {
		if err == nil {
			err = s.warm(ctx, day)
		}
		if err == nil {
			err = s.purging(ctx, func(tx *bbolt.Tx) error { return s.retire(tx, day) })
		}
	}
	return err
}

// warm reads what the commits will walk through, so that they do not wait for the
// disk: a day that is over was not read for months.
func (s *Store) warm(ctx context.Context, day string) error {
	for _, name := range dayBuckets() {
		for after := []byte(nil); ; {
			n := 0
			err := s.view(ctx, func(tx *bbolt.Tx) error {
				bucket := in(tx, day, name)
				if bucket == nil {
					return nil
				}
				c := bucket.Cursor()
				for k, _ := c.Seek(after); k != nil && n < warmRows; k, _ = c.Next() {
					if n++; n == warmRows {
						after = append(clone(k), 0)
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			if n < warmRows {
				break
			}
			runtime.Gosched()
		}
	}
	return nil
}

// retire takes a day out of the ledger: the rows that its items have elsewhere
// go, by their clear heads, the counts lose them, and its buckets move to where
// Purge drops them.
func (s *Store) retire(tx *bbolt.Tx, day string) error {
	from := dayIn(tx, day)
	if from == nil {
		return errNothing
	}
	keep := undrained(tx, day)
	if keep && from.Bucket([]byte(ofItems)) == nil && from.Bucket([]byte(ofReceipts)) == nil {
		return errNothing // nothing but events that wait
	}
	if err := s.discount(tx, from.Bucket([]byte(ofItems))); err != nil {
		return err
	}
	to, err := tx.Bucket([]byte(inGone)).CreateBucketIfNotExists([]byte(day))
	if err != nil {
		return err
	}
	for _, name := range dayBuckets() {
		if from.Bucket([]byte(name)) == nil || keep && name == ofFeed {
			continue
		}
		if err := from.MoveBucket([]byte(name), to); err != nil {
			return err
		}
	}
	if keep {
		return nil
	}
	return tx.Bucket([]byte(inDays)).DeleteBucket([]byte(day))
}

// undrained reports whether the day files lack events of a day's feed.
func undrained(tx *bbolt.Tx, day string) bool {
	c := tx.Bucket([]byte(inOutbox)).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if outboxDay(v) == day {
			return true
		}
	}
	return false
}

// discount takes a day's items out of the counts and out of what is kept over all
// days. Most have ended long ago and have no row there. One whose head does not
// open keeps nothing from going.
func (s *Store) discount(tx *bbolt.Tx, items *bbolt.Bucket) error {
	if items == nil {
		return nil
	}
	var counts map[message.State]int
	if err := s.readMeta(tx, "counts", &counts); err != nil {
		return err
	}
	c := items.Cursor()
	seen := 0
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if seen++; seen%breath == 0 {
			runtime.Gosched()
		}
		h, _, err := parseHead(v)
		if err != nil {
			continue
		}
		counts[h.state]--
		if h.state != message.Waiting && h.next == 0 && !h.letGo {
			continue
		}
		for _, r := range headRows(h, k) {
			if ofDay(r.bucket) {
				continue
			}
			if err := tx.Bucket([]byte(r.bucket)).Delete(r.key); err != nil {
				return err
			}
		}
	}
	maps.DeleteFunc(counts, func(_ message.State, n int) bool { return n == 0 })
	return s.writeMeta(tx, "counts", counts)
}

// purgeGone ends what retire has begun.
func (s *Store) purgeGone(ctx context.Context, upTo string) error {
	if err := s.purgeStories(ctx, upTo); err != nil {
		return err
	}
	for more := true; more; {
		err := s.purging(ctx, func(tx *bbolt.Tx) (err error) {
			more, err = dropOne(tx, upTo)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dropOne drops one bucket of a day that is gone, or the day when it has none left.
func dropOne(tx *bbolt.Tx, upTo string) (more bool, err error) {
	gone := tx.Bucket([]byte(inGone))
	day, _ := gone.Cursor().First()
	if day == nil || string(day) > upTo {
		return false, errNothing
	}
	day = clone(day)
	of := gone.Bucket(day)
	if name, _ := of.Cursor().First(); name != nil {
		return true, of.DeleteBucket(clone(name))
	}
	return true, gone.DeleteBucket(day)
}

// purgeStories takes the ways away that lead into feeds that are gone.
func (s *Store) purgeStories(ctx context.Context, upTo string) error {
	for after, more := []byte(nil), true; more; {
		var keys [][]byte
		err := s.view(ctx, func(tx *bbolt.Tx) error {
			keys, after, more = s.overdue(tx, upTo, after)
			return nil
		})
		if err == nil && len(keys) > 0 {
			err = s.purging(ctx, func(tx *bbolt.Tx) error {
				stories := tx.Bucket([]byte(inStories))
				for _, k := range keys {
					if err := stories.Delete(k); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// overdue returns rows of inStories that lead nowhere. Messages stand there in
// the order of time: behind the first that is younger nothing is over.
func (s *Store) overdue(tx *bbolt.Tx, upTo string, after []byte) (keys [][]byte, next []byte, more bool) {
	open := map[string]bool{} // log day → its feed is there
	c := tx.Bucket([]byte(inStories)).Cursor()
	n := 0
	for k, v := c.Seek(after); k != nil; k, v = c.Next() {
		if n == purgeRows {
			return keys, clone(k), true
		}
		n++
		_, day, err := parseStory(v)
		if err != nil || len(k) < idLen {
			continue // Check tells
		}
		if day > upTo {
			if s.o.LogDay(message.ID(k[:idLen]).Time()) > upTo {
				return keys, nil, false
			}
			continue // told later about a message of that time
		}
		there, known := open[day]
		if !known {
			there = in(tx, day, ofFeed) != nil
			open[day] = there
		}
		if !there {
			keys = append(keys, clone(k))
		}
	}
	return keys, nil, false
}
