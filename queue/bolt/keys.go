package bolt

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"

	"gatewayd/message"
	"gatewayd/queue"
)

// The kinds of index keys: the first byte of a key in bucket "index". Every key
// ends with the key of its item, so that a kind with a value is a range.
const (
	byDue         = 'd' // next try of an item in Waiting; value: keyed hash of its destination
	byAttention   = 'n' // next try of an item in Held, Unclear or Handed
	byState       = 's' // state, authority
	byAuthority   = 'a' // authority
	byRecipient   = 'r' // recipient, per authority
	byMessageID   = 'm' // Message-ID as it came and as it left, per authority
	byReference   = 'f' // short reference, over all authorities
	byRemoteID    = 'i' // the platform's id, over all authorities
	byDuplicate   = 'x' // registered decision, per authority
	byEraseBy     = 'e' // erase-by instant
	byLetGo       = 'l' // nothing: the item has let go of its body, and the body is there still
	byIdemKey     = 'k' // a client's idempotency key, per authority; first item of a message only
	timeKeyPrefix = 1 + 8
)

// entry is one row of an index.
type entry struct{ key, value []byte }

// entries returns every index row of an item, sorted by key.
func (s *Store) entries(r record) ([]entry, error) {
	b := entryList{h: &s.hashes, item: itemKey(r.Item.Key)}
	b.state(r)
	b.hashed(byAuthority, r.Authority, []byte(r.Authority))
	b.hashed(byRecipient, r.Authority, []byte(r.Item.Recipient.Address.Key()))
	b.hashed(byMessageID, r.Authority, []byte(r.MessageID))
	if r.Item.SentAs != r.MessageID {
		b.hashed(byMessageID, r.Authority, []byte(r.Item.SentAs))
	}
	b.hashed(byReference, "", []byte(r.Item.Reference))
	b.hashed(byRemoteID, "", []byte(r.Item.RemoteID))
	b.hashed(byIdemKey, r.Authority, []byte(r.IdemKey))
	if r.Duplicate {
		k := sha256.Sum256(queue.DupKey(r.Authority, r.MessageID, r.Item.Recipient.Address, r.Content))
		b.hashed(byDuplicate, r.Authority, k[:])
	}
	b.add(byEraseBy, stamp(r.Item.EraseBy), nil)
	if r.Item.LetsGo() && r.Item.Erased.IsZero() {
		b.add(byLetGo, nil, nil)
	}
	slices.SortFunc(b.all, func(x, y entry) int { return bytes.Compare(x.key, y.key) })
	return b.all, b.err
}

// entryList gathers the rows of one item.
type entryList struct {
	h    *hashes
	item []byte
	all  []entry
	err  error
}

func (b *entryList) add(kind byte, value, row []byte) {
	key := append([]byte{kind}, value...)
	b.all = append(b.all, entry{append(key, b.item...), row})
}

// hashed adds a lookup by a keyed hash, unless there is nothing to look up.
func (b *entryList) hashed(kind byte, authority string, value []byte) {
	if len(value) == 0 && kind != byAuthority || b.err != nil {
		return
	}
	h, err := b.h.lookup(authority, string(kind), value)
	if err != nil {
		b.err = err
		return
	}
	b.add(kind, h, nil)
}

// state adds what depends on the state: its list, and when it is due.
func (b *entryList) state(r record) {
	auth, err := b.h.lookup(r.Authority, string(byAuthority), []byte(r.Authority))
	if err != nil {
		b.err = err
		return
	}
	b.add(byState, append(statePrefix(r.Item.State), auth...), nil)
	switch next := r.Item.NextTry; r.Item.State {
	case message.Waiting:
		dest, err := b.h.lookup("", "destination", []byte(queue.Destination(r.Item)))
		if err != nil {
			b.err = err
			return
		}
		b.add(byDue, stamp(next), dest[:8])
	case message.Held, message.Unclear, message.Handed:
		if !next.IsZero() {
			b.add(byAttention, stamp(next), nil)
		}
	}
}

func statePrefix(s message.State) []byte { return append([]byte(s), 0) }

// prefix returns the narrowest range of an index that holds every item of the
// query, and its bucket.
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
		return inIndex, append([]byte{byState}, statePrefix(q.State)...), nil
	case q.Authority == "":
		return inItems, nil, nil
	}
	h, err := s.hashes.lookup(authority, string(kind), value)
	if err != nil {
		return "", nil, err
	}
	if q.State != "" && kind == byAuthority {
		return inIndex, append(append([]byte{byState}, statePrefix(q.State)...), h...), nil
	}
	return inIndex, append([]byte{kind}, h...), nil
}

// matches compares the values themselves: an index only narrows the search.
func matches(r record, q queue.Query) bool {
	keyed := q.Recipient != "" || q.MessageID != "" || q.IdemKey != ""
	return (q.Authority == r.Authority || q.Authority == "" && !keyed) &&
		(q.State == "" || q.State == r.Item.State) &&
		(q.Recipient == "" || strings.ToLower(q.Recipient) == r.Item.Recipient.Address.Key()) &&
		(q.MessageID == "" || q.MessageID == r.MessageID || q.MessageID == r.Item.SentAs) &&
		(q.Reference == "" || q.Reference == r.Item.Reference) &&
		(q.IdemKey == "" || q.IdemKey == r.IdemKey) &&
		(q.RemoteID == "" || q.RemoteID == r.Item.RemoteID)
}

// eraseKey is where the row stands that lists the item's index keys.
func eraseKey(day string, item []byte) []byte { return append([]byte(day), item...) }

// listKeys writes the index keys of an item into its erasure row, without the
// item that they all end with.
func listKeys(all []entry) []byte {
	var b []byte
	for _, e := range all {
		n := len(e.key) - itemLen
		b = append(b, byte(n)) // the longest is a state and a hash
		b = append(b, e.key[:n]...)
	}
	return b
}

// parseKeys reads the index keys of an item from its erasure row.
func parseKeys(b, item []byte) ([][]byte, error) {
	var keys [][]byte
	for len(b) > 0 {
		n := int(b[0])
		if n == 0 || len(b) < 1+n {
			return nil, errDamaged
		}
		keys = append(keys, append(append([]byte(nil), b[1:1+n]...), item...))
		b = b[1+n:]
	}
	return keys, nil
}
