package bolt

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

const defaultPage = 100

// Due implements queue.Store.
func (s *Store) Due(ctx context.Context, now time.Time, max int) ([]message.Item, error) {
	var items []message.Item
	limit := number(stampOf(now) + 1)
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(inAttention)).Cursor()
		for k, _ := c.First(); k != nil && bytes.Compare(k, limit) < 0 && len(items) < min(max, queue.MaxPage); k, _ = c.Next() {
			key := parseItemKey(k)
			if r, ok := s.readable(tx, s.dayOf(tx, key.Message), key); ok {
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
		d, err := s.rowsIn(tx, s.dayOf(tx, id)).due(id)
		env, items = d.Envelope, d.Items
		return err
	})
	return env, items, err
}

// Item implements queue.Store.
func (s *Store) Item(ctx context.Context, key message.ItemKey) (message.Item, error) {
	var r record
	err := s.view(ctx, func(tx *bbolt.Tx) (err error) {
		r, err = s.record(tx, s.dayOf(tx, key.Message), key)
		return err
	})
	return r.Item, err
}

// Find implements queue.Store: day by day, the oldest first. The cursor is the
// day and the place in its index.
func (s *Store) Find(ctx context.Context, q queue.Query) (items []message.Item, next string, err error) {
	after, err := base64.RawURLEncoding.DecodeString(q.After)
	if err != nil || len(after) > 0 && len(after) < dayLen {
		return nil, "", fmt.Errorf("cursor: %w", queue.ErrMalformed)
	}
	f := finder{s: s, ctx: ctx, q: q, limit: min(cmp.Or(max(q.Limit, 0), defaultPage), queue.MaxPage)}
	if f.bucket, f.prefix, err = s.prefix(q); err != nil {
		return nil, "", err
	}
	if q.Authority != "" {
		if f.auth, err = s.hashes.authority(q.Authority); err != nil {
			return nil, "", err
		}
	}
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		from := ""
		if len(after) > 0 {
			from, after = string(after[:dayLen]), after[dayLen:]
		}
		for i, day := range daysOf(tx, from) {
			if i > 0 || day != from {
				after = nil
			}
			if full := f.scan(tx, day, after); full || ctx.Err() != nil {
				break
			}
		}
		return ctx.Err()
	})
	if f.more {
		next = base64.RawURLEncoding.EncodeToString(f.last)
	}
	return f.items, next, err
}

// finder gathers one page.
type finder struct {
	s      *Store
	ctx    context.Context //nolint:containedctx // lives for one Find
	q      queue.Query
	bucket string
	prefix []byte
	auth   [macLen]byte
	limit  int
	items  []message.Item
	last   []byte // day and place of the last item
	more   bool
}

// scan goes through a day; true when the page is full and more follow.
func (f *finder) scan(tx *bbolt.Tx, day string, after []byte) bool {
	bucket := in(tx, day, f.bucket)
	if bucket == nil {
		return false
	}
	c := bucket.Cursor()
	from := append(clone(f.prefix), after...)
	k, _ := c.Seek(from)
	if len(after) > 0 && bytes.Equal(k, from) {
		k, _ = c.Next()
	}
	for ; k != nil && bytes.HasPrefix(k, f.prefix) && f.ctx.Err() == nil; k, _ = c.Next() {
		if len(f.items) == f.limit {
			f.more = true
			return true
		}
		if item, ok := f.take(tx, day, parseItemKey(k)); ok {
			f.items, f.last = append(f.items, item), append([]byte(day), k[len(f.prefix):]...)
		}
	}
	return false
}

// take reads an item and compares the values themselves: an index only narrows
// the search.
func (f *finder) take(tx *bbolt.Tx, day string, key message.ItemKey) (item message.Item, ok bool) {
	r, ok := f.s.readable(tx, day, key)
	if !ok {
		return item, false
	}
	q, item := f.q, r.Item
	keyed := q.Recipient != "" || q.MessageID != "" || q.IdemKey != ""
	switch {
	case q.Authority != "" && r.head.auth != f.auth,
		q.State != "" && q.State != item.State,
		q.Recipient != "" && strings.ToLower(q.Recipient) != item.Recipient.Address.Key(),
		q.Reference != "" && q.Reference != item.Reference,
		q.RemoteID != "" && q.RemoteID != item.RemoteID:
		return item, false
	}
	if !keyed || q.Authority != "" && q.MessageID == "" && q.IdemKey == "" {
		return item, true
	}
	env, err := f.s.envelope(tx, day, key.Message)
	if err != nil {
		f.s.damage(key, err)
		return item, false
	}
	idem, _ := queue.SplitIdemKey(env.IdemKey)
	return item, (q.Authority != "" || env.Authority == "") &&
		(q.MessageID == "" || q.MessageID == env.MessageID || q.MessageID == item.SentAs) &&
		(q.IdemKey == "" || q.IdemKey == idem)
}

// prefix returns the narrowest range of a day's index that holds every item of
// the query, and its bucket.
func (s *Store) prefix(q queue.Query) (bucket string, prefix []byte, err error) {
	kind, authority, value := byte(byAuthority), q.Authority, []byte(q.Authority)
	switch {
	case q.Reference != "":
		kind, authority, value = byReference, "", []byte(q.Reference)
	case q.RemoteID != "":
		kind, authority, value = byRemoteID, "", []byte(q.RemoteID)
	case q.IdemKey != "":
		kind, value = byIdemKey, []byte(q.IdemKey)
	case q.MessageID != "":
		kind, value = byMessageID, []byte(q.MessageID)
	case q.Recipient != "":
		kind, value = byRecipient, []byte(strings.ToLower(q.Recipient))
	case q.State != "" && q.Authority == "":
		return ofIndex, []byte{byState, stateCode(q.State)}, nil
	case q.Authority == "":
		return ofItems, nil, nil
	}
	if kind == byAuthority {
		h, err := s.hashes.authority(authority)
		if q.State != "" {
			return ofIndex, append([]byte{byState, stateCode(q.State)}, h[:]...), err
		}
		return ofIndex, append([]byte{kind}, h[:]...), err
	}
	h, err := s.hashes.lookup(authority, string(kind), value)
	return ofIndex, append([]byte{kind}, h[:]...), err
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
		for _, day := range daysOf(tx, "") {
			bucket := in(tx, day, ofReceipts)
			if bucket == nil {
				continue
			}
			c := bucket.Cursor()
			for k, v := c.Seek(id[:]); bytes.HasPrefix(k, id[:]) && len(all) < limit; k, v = c.Next() {
				r, err := s.openReceipt(k, v)
				if errors.Is(err, seal.ErrDestroyed) {
					continue
				}
				if err != nil {
					return fmt.Errorf("receipt of message %s: %w", id, err)
				}
				all = append(all, r)
			}
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
	prefix := append([]byte{byDuplicate}, h[:]...)
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		for _, day := range daysOf(tx, "") {
			index := in(tx, day, ofIndex)
			if index == nil {
				continue
			}
			if k, _ := index.Cursor().Seek(prefix); bytes.HasPrefix(k, prefix) {
				id, known = parseItemKey(k).Message, true
				return nil
			}
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
			link, err := linkOf(tx, k, v)
			if err != nil {
				return fmt.Errorf("audit link %d: %w", parseNumber(k), err)
			}
			links = append(links, link)
		}
		return nil
	})
	return links, err
}

// A row of the outbox: where the event stands in the feed of which day, and the
// hashes before and with it.
const outboxLen = macLen + 8 + dayLen + 2*len(message.Digest{})

// linkOf puts a link together and verifies its hash.
func linkOf(tx *bbolt.Tx, key, value []byte) (link message.Link, err error) {
	if len(key) != 8 || len(value) != outboxLen {
		return link, errDamaged
	}
	seq, last := parseNumber(key), binary.BigEndian.Uint64(value[macLen:])
	day, hashes := outboxDay(value), value[macLen+8+dayLen:]
	feed := in(tx, day, ofFeed)
	if feed == nil {
		return link, errDamaged
	}
	entries, id, err := parseFeed(feed.Get(value[:macLen+8]))
	back := last - seq
	if err != nil || last < seq || back >= uint64(len(entries)) {
		return link, errDamaged
	}
	e := entries[uint64(len(entries))-1-back]
	link = message.Link{
		Seq: seq, At: timeOf(e.at), Message: id, Day: day, Sealed: e.sealed,
		Prev: message.Digest(hashes), Hash: message.Digest(hashes[len(link.Hash):]),
	}
	if link.Hash != link.ChainHash() {
		return link, errDamaged
	}
	return link, nil
}

// outboxDay returns in which day's feed a row of the outbox has its event; "" when
// it is none.
func outboxDay(value []byte) string {
	if len(value) != outboxLen {
		return ""
	}
	return string(value[macLen+8 : macLen+8+dayLen])
}

// Head implements queue.Store.
func (s *Store) Head(ctx context.Context) (seq uint64, hash message.Digest, err error) {
	var h chainHead
	err = s.view(ctx, func(tx *bbolt.Tx) error { return s.readMeta(tx, "head", &h) })
	return h.Seq, h.Hash, err
}

// Epoch implements queue.Store.
func (s *Store) Epoch(ctx context.Context) (epoch string, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error { return s.readMeta(tx, "epoch", &epoch) })
	return epoch, err
}
