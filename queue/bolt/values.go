package bolt

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// The buckets. Keys: see the functions below.
const (
	inMessages = "messages" // message → sealed envelope
	inItems    = "items"    // item → sealed record
	inReceipts = "receipts" // item, identity → sealed receipt; no item: zeros
	inIndex    = "index"    // kind, value, item → nothing, or the destination (keys.go)
	inErase    = "erase"    // log day, item → every index key of the item; log day, receipt → nothing
	inOutbox   = "outbox"   // seq → link of the audit chain
	inMarks    = "marks"    // segment → offset
	inFeed     = "feed"     // keyed hash of the authority, last seq → sealed events that belong together, their message
	inStories  = "stories"  // message, last seq → keyed hash of the authority: where its events are in the feed
	inMeta     = "meta"     // schema, epoch, head, counts
)

func buckets() []string {
	return []string{inMessages, inItems, inReceipts, inIndex, inErase, inOutbox, inFeed, inStories, inMarks, inMeta}
}

const (
	dayLen   = len("2006-01-02")
	idLen    = len(message.ID{})
	itemLen  = idLen + 4
	proofLen = itemLen + idLen // key of a receipt
	macLen   = 16
)

// errDamaged is what a value is that does not open.
var errDamaged = errors.New("damaged")

// record is an item as it is stored, with what its index keys need.
type record struct {
	Item      message.Item   `json:"item"`
	Authority string         `json:"authority,omitempty"`
	MessageID string         `json:"message_id,omitempty"`
	Content   message.Digest `json:"sha256"`
	Duplicate bool           `json:"duplicate,omitempty"` // takes part in the search for duplicates
	IdemKey   string         `json:"idem_key,omitempty"`
}

func itemKey(k message.ItemKey) []byte {
	return binary.BigEndian.AppendUint32(k.Message[:idLen:idLen], uint32(k.N)) //nolint:gosec // ≤ queue.MaxRecipients
}

func parseItemKey(b []byte) message.ItemKey {
	if len(b) < itemLen {
		return message.ItemKey{}
	}
	b = b[len(b)-itemLen:]
	return message.ItemKey{Message: message.ID(b[:idLen]), N: int(binary.BigEndian.Uint32(b[idLen:]))}
}

func receiptKey(r message.Receipt) []byte {
	d := queue.ReceiptIdentity(r)
	return append(itemKey(r.Item), d[:idLen]...)
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func parseNumber(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// stamp orders instants as bytes. No time at all comes first.
func stamp(t time.Time) []byte {
	if t.IsZero() || t.Unix() < 0 {
		return number(0)
	}
	return number(uint64(t.UnixNano())) //nolint:gosec // after 1970
}

// bound is what a sealed value is bound to: its place.
func bound(bucket string, key []byte) []byte {
	return append([]byte(bucket+"\x00"), key...)
}

// sealValue seals v as JSON under the log key of that day. The day stands in
// front, so that a reader knows the key.
func (s *Store) sealValue(day, bucket string, key []byte, v any) ([]byte, error) {
	if len(day) != dayLen {
		return nil, fmt.Errorf("log day %q: %w", day, queue.ErrMalformed)
	}
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return s.sealText(day, bucket, key, plain)
}

// sealText seals what is JSON already.
func (s *Store) sealText(day, bucket string, key, plain []byte) ([]byte, error) {
	aead, err := s.o.Keys.AEAD(seal.Log, day)
	if err != nil {
		return nil, fmt.Errorf("log key of %s: %w", day, err)
	}
	return append([]byte(day), seal.SealRecord(aead, plain, bound(bucket, key))...), nil
}

// openValue opens what sealValue wrote: errDamaged, or seal.ErrDestroyed when
// the window is over.
func (s *Store) openValue(bucket string, key, value []byte, v any) (day string, err error) {
	if len(value) < dayLen {
		return "", fmt.Errorf("%s row: %w", bucket, errDamaged)
	}
	day = string(value[:dayLen])
	aead, err := s.o.Keys.Lookup(seal.Log, day)
	if err != nil {
		return day, fmt.Errorf("log key: %w", err)
	}
	plain, err := seal.OpenRecord(aead, value[dayLen:], bound(bucket, key))
	if err != nil {
		return day, fmt.Errorf("%s row: %w", bucket, errDamaged)
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return day, fmt.Errorf("%s row: %w", bucket, errDamaged)
	}
	return day, nil
}

// hashes makes the keyed hashes of the lookups and the MACs of values that name
// nobody. Index keys stay in memory once they were read.
type hashes struct {
	keys *seal.Keyring
	mu   sync.Mutex
	seen map[string][]byte
}

func (h *hashes) key(authority string) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k, ok := h.seen[authority]; ok {
		return k, nil
	}
	k, err := h.keys.IndexKey(authority)
	if err != nil {
		return nil, fmt.Errorf("index key: %w", err)
	}
	if h.seen == nil {
		h.seen = map[string][]byte{}
	}
	h.seen[authority] = k
	return k, nil
}

// lookup returns the keyed hash under which an authority's value is found; the
// empty authority is the gateway itself. 128 bits: a chance hit would need 2^64
// values, and whoever reads compares the value itself.
func (h *hashes) lookup(authority, kind string, value []byte) ([]byte, error) {
	k, err := h.key(authority)
	if err != nil {
		return nil, err
	}
	m := hmac.New(sha256.New, k)
	m.Write([]byte("gatewayd lookup " + kind + "\x00"))
	m.Write(value)
	return m.Sum(nil)[:macLen], nil
}

// protect appends a MAC to a value that names nobody.
func (h *hashes) protect(bucket string, key, value []byte) ([]byte, error) {
	mac, err := h.lookup("", "mac", append(append(bound(bucket, key), 0), value...))
	if err != nil {
		return nil, err
	}
	return append(append([]byte(nil), value...), mac...), nil
}

// verified returns the value that protect got.
func (h *hashes) verified(bucket string, key, stored []byte) ([]byte, error) {
	if len(stored) < macLen {
		return nil, fmt.Errorf("%s row: %w", bucket, errDamaged)
	}
	value := stored[: len(stored)-macLen : len(stored)-macLen]
	want, err := h.protect(bucket, key, value)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(want, stored) != 1 {
		return nil, fmt.Errorf("%s row: %w", bucket, errDamaged)
	}
	return value, nil
}
