package bolt

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

const (
	defaultPage = 100
	// leaseScan bounds how many rows one Lease looks at, so that a long row of
	// items for a slow destination does not cost every call its length.
	leaseScan = 8192
	// leaseTries is how often Lease picks again when others were faster.
	leaseTries = 3
)

// Lease implements queue.Store. Items are picked in a read transaction, which
// holds up nobody, and opened in the commit if they still wait.
func (s *Store) Lease(ctx context.Context, now time.Time, max int, skip func(message.Item) bool) ([]message.Item, error) {
	for range leaseTries {
		picked, err := s.pick(ctx, now, min(max, queue.MaxPage), skip)
		if err != nil || len(picked) == 0 {
			return nil, err
		}
		leased, err := s.open(ctx, now, picked)
		if err != nil || len(leased) > 0 {
			return leased, err
		}
	}
	return nil, nil
}

// picker chooses items to lease.
type picker struct {
	s       *Store
	tx      *bbolt.Tx
	max     int
	limit   []byte // keys from here on are not due yet
	skip    func(message.Item) bool
	refused map[string]bool // destinations
	picked  []message.ItemKey
}

// pick looks at the due items from the earliest on, and, where those are too
// many for one call, at those behind the place where the last call stopped.
func (s *Store) pick(ctx context.Context, now time.Time, max int, skip func(message.Item) bool) ([]message.ItemKey, error) {
	s.mu.Lock()
	resume := s.resume
	s.mu.Unlock()
	p := picker{s: s, max: max, skip: skip, limit: append([]byte{byDue}, stamp(now.Add(1))...), refused: map[string]bool{}}
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		p.tx = tx
		stopped := p.scan([]byte{byDue})
		if stopped != nil && bytes.Compare(resume, stopped) > 0 {
			stopped = resume
		}
		if stopped != nil {
			stopped = p.scan(stopped)
		}
		resume = stopped
		return nil
	})
	s.mu.Lock()
	s.resume = resume
	s.mu.Unlock()
	return p.picked, err
}

// scan goes through due rows beginning at from. It returns where it stopped
// because it had seen enough of them, or nil when it reached the end or max.
func (p *picker) scan(from []byte) []byte {
	c := p.tx.Bucket([]byte(inIndex)).Cursor()
	rows := 0
	for k, dest := c.Seek(from); k != nil && bytes.Compare(k, p.limit) < 0; k, dest = c.Next() {
		if len(p.picked) >= p.max {
			return nil
		}
		if rows++; rows > leaseScan/2 {
			return bytes.Clone(k)
		}
		if p.refused[string(dest)] {
			continue
		}
		r, ok := p.s.readable(p.tx, k)
		if !ok {
			continue
		}
		if p.skip != nil && p.skip(r.Item) {
			p.refused[string(dest)] = true
			continue
		}
		p.picked = append(p.picked, r.Item.Key)
	}
	return nil
}

// readable reads the item at the end of an index key. One that does not open is
// passed over and reported once; one whose window is over is gone.
func (s *Store) readable(tx *bbolt.Tx, indexKey []byte) (record, bool) {
	key := parseItemKey(indexKey)
	r, err := s.record(tx, key)
	if err == nil {
		return r, true
	}
	if errors.Is(err, seal.ErrDestroyed) || s.o.Damaged == nil {
		return r, false
	}
	s.mu.Lock()
	again := s.damaged[key]
	s.damaged[key] = true
	s.mu.Unlock()
	if !again {
		s.o.Damaged(err.Error())
	}
	return r, false
}

func (s *Store) record(tx *bbolt.Tx, key message.ItemKey) (record, error) {
	var r record
	k := itemKey(key)
	value := tx.Bucket([]byte(inItems)).Get(k)
	if value == nil {
		return r, fmt.Errorf("item %s: %w", key, queue.ErrNotFound)
	}
	if _, err := s.openValue(inItems, k, value, &r); err != nil {
		return r, fmt.Errorf("item %s: %w", key, err)
	}
	return r, nil
}

// NextDue implements queue.Store.
func (s *Store) NextDue(ctx context.Context) (next time.Time, ok bool, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		_, k, _ := cursorAt(tx, inIndex, []byte{byDue}, nil)
		if len(k) < timeKeyPrefix || k[0] != byDue {
			return nil
		}
		ok = true
		if n := parseNumber(k[1:]); n != 0 {
			next = time.Unix(0, int64(n)).UTC() //nolint:gosec // stamp wrote it
		}
		return nil
	})
	return next, ok, err
}

// Due implements queue.Store.
func (s *Store) Due(ctx context.Context, now time.Time, max int) ([]message.Item, error) {
	var items []message.Item
	limit := append([]byte{byAttention}, stamp(now.Add(1))...)
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		c, k, _ := cursorAt(tx, inIndex, []byte{byAttention}, nil)
		for ; k != nil && bytes.Compare(k, limit) < 0 && len(items) < min(max, queue.MaxPage); k, _ = c.Next() {
			if r, ok := s.readable(tx, k); ok {
				items = append(items, r.Item)
			}
		}
		return nil
	})
	return items, err
}

// Message implements queue.Store.
func (s *Store) Message(ctx context.Context, id message.ID) (env message.Envelope, items []message.Item, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		value := tx.Bucket([]byte(inMessages)).Get(id[:])
		if value == nil {
			return fmt.Errorf("message %s: %w", id, queue.ErrNotFound)
		}
		if _, err := s.openValue(inMessages, id[:], value, &env); err != nil {
			return fmt.Errorf("message %s: %w", id, err)
		}
		c, k, _ := cursorAt(tx, inItems, id[:], nil)
		for ; bytes.HasPrefix(k, id[:]); k, _ = c.Next() {
			r, err := s.record(tx, parseItemKey(k))
			if err != nil {
				return err
			}
			items = append(items, r.Item)
		}
		return nil
	})
	return env, items, err
}

// Item implements queue.Store.
func (s *Store) Item(ctx context.Context, key message.ItemKey) (message.Item, error) {
	var r record
	err := s.view(ctx, func(tx *bbolt.Tx) (err error) {
		r, err = s.record(tx, key)
		return err
	})
	return r.Item, err
}

// Find implements queue.Store. The cursor is the place in the index.
func (s *Store) Find(ctx context.Context, q queue.Query) (items []message.Item, next string, err error) {
	after, err := base64.RawURLEncoding.DecodeString(q.After)
	if err != nil {
		return nil, "", fmt.Errorf("cursor: %w", queue.ErrMalformed)
	}
	limit := min(cmp.Or(max(q.Limit, 0), defaultPage), queue.MaxPage)
	bucket, prefix, err := s.prefix(q)
	if err != nil {
		return nil, "", err
	}
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		c, k, _ := cursorAt(tx, bucket, prefix, after)
		for ; k != nil && bytes.HasPrefix(k, prefix) && ctx.Err() == nil; k, _ = c.Next() {
			if len(items) == limit {
				next = base64.RawURLEncoding.EncodeToString(after)
				return nil
			}
			if r, ok := s.readable(tx, k); ok && matches(r, q) {
				items, after = append(items, r.Item), bytes.Clone(k[len(prefix):])
			}
		}
		return ctx.Err()
	})
	return items, next, err
}

// Sending implements queue.Store.
func (s *Store) Sending(ctx context.Context) ([]message.Item, error) {
	items, _, err := s.Find(ctx, queue.Query{State: message.Sending, Limit: queue.MaxPage})
	return items, err
}

// Receipts implements queue.Store.
func (s *Store) Receipts(ctx context.Context, id message.ID) ([]message.Receipt, error) {
	return s.receipts(ctx, id, queue.MaxPage)
}

// Unmatched implements queue.Store.
func (s *Store) Unmatched(ctx context.Context, limit int) ([]message.Receipt, error) {
	return s.receipts(ctx, message.ID{}, min(limit, queue.MaxPage))
}

func (s *Store) receipts(ctx context.Context, id message.ID, limit int) ([]message.Receipt, error) {
	var all []message.Receipt
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		c, k, v := cursorAt(tx, inReceipts, id[:], nil)
		for ; bytes.HasPrefix(k, id[:]) && len(all) < limit; k, v = c.Next() {
			var r message.Receipt
			_, err := s.openValue(inReceipts, k, v, &r)
			if errors.Is(err, seal.ErrDestroyed) {
				continue
			}
			if err != nil {
				return fmt.Errorf("receipt of message %s: %w", id, err)
			}
			all = append(all, r)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b message.Receipt) int {
		return cmp.Or(a.Received.Compare(b.Received), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return all, err
}

// Duplicate implements queue.Store.
func (s *Store) Duplicate(ctx context.Context, authority string, key [32]byte) (id message.ID, known bool, err error) {
	h, err := s.hashes.lookup(authority, string(byDuplicate), key[:])
	if err != nil {
		return id, false, err
	}
	prefix := append([]byte{byDuplicate}, h...)
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		_, k, _ := cursorAt(tx, inIndex, prefix, nil)
		if known = bytes.HasPrefix(k, prefix); known {
			id = parseItemKey(k).Message
		}
		return nil
	})
	return id, known, err
}

// Counts implements queue.Store.
func (s *Store) Counts(ctx context.Context) (counts map[message.State]int, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error { return s.readMeta(tx, "counts", &counts) })
	return counts, err
}

// Marks implements queue.Store.
func (s *Store) Marks(ctx context.Context) (map[uint64]int64, error) {
	marks := map[uint64]int64{}
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(inMarks)).ForEach(func(k, v []byte) error {
			value, err := s.hashes.verified(inMarks, k, v)
			marks[parseNumber(k)] = int64(parseNumber(value)) //nolint:gosec // mark wrote it
			return err
		})
	})
	return marks, err
}

// Pending implements queue.Store.
func (s *Store) Pending(ctx context.Context, after uint64, max int) ([]message.Link, error) {
	var links []message.Link
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(inOutbox)).Cursor()
		for k, v := c.Seek(number(after + 1)); k != nil && len(links) < min(max, queue.MaxPage); k, v = c.Next() {
			var link message.Link
			if err := json.Unmarshal(v, &link); err != nil || link.Seq != parseNumber(k) || link.Hash != link.ChainHash() {
				return fmt.Errorf("audit link %d: %w", parseNumber(k), errDamaged)
			}
			links = append(links, link)
		}
		return nil
	})
	return links, err
}

// Head implements queue.Store.
func (s *Store) Head(ctx context.Context) (seq uint64, hash message.Digest, err error) {
	var h head
	err = s.view(ctx, func(tx *bbolt.Tx) error { return s.readMeta(tx, "head", &h) })
	return h.Seq, h.Hash, err
}

// Epoch implements queue.Store.
func (s *Store) Epoch(ctx context.Context) (epoch string, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error { return s.readMeta(tx, "epoch", &epoch) })
	return epoch, err
}
