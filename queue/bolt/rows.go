package bolt

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// The buckets. What belongs to a log day lies in buckets of that day (below
// inDays), which are dropped whole when its window is over; the rest is about
// what is still open, or is found over all days.
const (
	inDays      = "days"      // log day → its buckets
	inDue       = "due"       // destination, next try, item in Waiting → nothing
	inAttention = "attention" // next try, item in any state but Waiting and Sending → nothing
	inLetGo     = "letgo"     // item that has let go of its body, and the body is there still → nothing
	inGone      = "gone"      // log day that is over → its buckets: nobody reads them, Purge drops them one after another
	inOutbox    = "outbox"    // seq → where the event stands in the feeds, and its place in the chain
	inStories   = "stories"   // message, last seq → keyed hash of the authority, log day: where its events are in the feeds
	inMarks     = "marks"     // segment → offset
	inMeta      = "meta"      // schema, epoch, head, counts

	ofMessages  = "messages"  // message → sealed envelope
	ofItems     = "items"     // item → head, sealed item
	ofDecisions = "decisions" // keyed hash → sealed decision; many items share one
	ofReceipts  = "receipts"  // item, identity → sealed receipt; no item: zeros
	ofIndex     = "index"     // kind, value, item → nothing (keys.go)
	ofErase     = "erase"     // erase-by, item → nothing
	ofFeed      = "feed"      // keyed hash of the authority, last seq → sealed events of that day that belong together
)

func buckets() []string {
	return []string{inDays, inGone, inDue, inAttention, inLetGo, inOutbox, inStories, inMarks, inMeta}
}

// dayBuckets lists the buckets of a log day, in the order in which they go.
func dayBuckets() []string {
	return []string{ofIndex, ofErase, ofMessages, ofItems, ofDecisions, ofReceipts, ofFeed}
}

const (
	dayLen   = len("2006-01-02")
	idLen    = len(message.ID{})
	itemLen  = idLen + 4
	proofLen = itemLen + idLen // key of a receipt
	macLen   = 16
	destLen  = 8
)

// errDamaged is what a value is that does not open.
var errDamaged = errors.New("damaged")

func itemKey(k message.ItemKey) []byte {
	return binary.BigEndian.AppendUint32(k.Message[:idLen:idLen], uint32(k.N)) //nolint:gosec // ≤ queue.MaxRecipients
}

// parseItemKey reads the item key at the end of b.
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

// stampOf orders instants as numbers. No time at all comes first.
func stampOf(t time.Time) uint64 {
	if t.IsZero() || t.Unix() < 0 {
		return 0
	}
	return uint64(t.UnixNano()) //nolint:gosec // after 1970
}

func stamp(t time.Time) []byte { return number(stampOf(t)) }

func timeOf(stamp uint64) time.Time {
	if stamp == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(stamp)).UTC() //nolint:gosec // stampOf wrote it
}

// head is the part of an item's row that is not sealed: what the indexes have
// in clear as well. By it a row can be taken out of them, and counted, without
// a key. The sealed part is bound to it.
type head struct {
	day     string // log day
	auth    [macLen]byte
	state   message.State
	letGo   bool
	erased  bool
	dup     bool   // takes part in the search for duplicates
	next    uint64 // next try
	eraseBy uint64
	dest    [destLen]byte // of an item in Waiting
}

const headLen = dayLen + macLen + 2 + 8 + 8 + destLen

// Flags of a head.
const (
	flagLetGo = 1 << iota
	flagDup
	flagErased
)

// stateCodes are the states as one octet each, from 1; a new state is added at
// the end of message.States, or this table must stay as it is.
var stateCodes = message.States()

func stateCode(s message.State) byte {
	for i, name := range stateCodes {
		if name == s {
			return byte(i + 1) //nolint:gosec // nine states
		}
	}
	return 0
}

func (h head) append(b []byte) []byte {
	var flags byte
	if h.letGo {
		flags |= flagLetGo
	}
	if h.dup {
		flags |= flagDup
	}
	if h.erased {
		flags |= flagErased
	}
	b = append(b, h.day...)
	b = append(b, h.auth[:]...)
	b = append(b, stateCode(h.state), flags)
	b = binary.BigEndian.AppendUint64(b, h.next)
	b = binary.BigEndian.AppendUint64(b, h.eraseBy)
	return append(b, h.dest[:]...)
}

// parseHead reads the head of a row and returns what is behind it.
func parseHead(b []byte) (h head, rest []byte, err error) {
	if len(b) < headLen {
		return h, nil, fmt.Errorf("%s row: %w", ofItems, errDamaged)
	}
	h.day = string(b[:dayLen])
	rest = b[dayLen:]
	copy(h.auth[:], rest)
	code, flags := rest[macLen], rest[macLen+1]
	rest = rest[macLen+2:]
	if code == 0 || int(code) > len(stateCodes) {
		return h, nil, fmt.Errorf("%s row: %w", ofItems, errDamaged)
	}
	h.state, h.letGo, h.erased, h.dup = stateCodes[code-1], flags&flagLetGo != 0, flags&flagErased != 0, flags&flagDup != 0
	h.next, h.eraseBy = binary.BigEndian.Uint64(rest), binary.BigEndian.Uint64(rest[8:])
	copy(h.dest[:], rest[16:])
	return h, b[headLen:], nil
}

// headOf makes the head of an item of an authority.
func (s *Store) headOf(item message.Item, day, authority string, dup bool) (head, error) {
	auth, err := s.hashes.authority(authority)
	if err != nil {
		return head{}, err
	}
	h := head{
		day: day, auth: auth, state: item.State, letGo: item.LetsGo() && item.Erased.IsZero(), erased: !item.Erased.IsZero(), dup: dup,
		next: stampOf(item.NextTry), eraseBy: stampOf(item.EraseBy),
	}
	if item.State == message.Waiting {
		h.dest, err = s.hashes.destination(queue.Destination(item))
	}
	return h, err
}

// bound is what a sealed value is bound to: its place, and what stands before it
// in clear.
func bound(bucket string, key, clear []byte) []byte {
	b := make([]byte, 0, len(bucket)+1+len(key)+len(clear))
	b = append(append(b, bucket...), 0)
	return append(append(b, key...), clear...)
}

// sealItem returns the row of an item.
func (s *Store) sealItem(h head, ref decisionRef, item message.Item) ([]byte, error) {
	text, err := queue.EncodeItem(item)
	if err != nil {
		return nil, err
	}
	aead, err := s.logKey(h.day)
	if err != nil {
		return nil, err
	}
	row := h.append(make([]byte, 0, headLen+len(ref)+len(text)+seal.Overhead))
	plain := append(ref[:len(ref):len(ref)], text...)
	return append(row, seal.SealRecord(aead, plain, bound(ofItems, itemKey(item.Key), row))...), nil
}

// openItem reads the row of an item; its decision stands elsewhere.
func (s *Store) openItem(key, row []byte) (h head, ref decisionRef, item message.Item, err error) {
	h, sealed, err := parseHead(row)
	if err != nil {
		return h, ref, item, err
	}
	plain, err := s.unseal(h.day, sealed, bound(ofItems, key, row[:headLen]))
	if err != nil {
		return h, ref, item, fmt.Errorf("%s row: %w", ofItems, err)
	}
	if len(plain) < len(ref) {
		return h, ref, item, fmt.Errorf("%s row: %w", ofItems, errDamaged)
	}
	ref = decisionRef(plain)
	if item, err = queue.DecodeItem(plain[len(ref):]); err != nil {
		return h, ref, item, fmt.Errorf("%s row: %w", ofItems, errDamaged)
	}
	item.Key = parseItemKey(key)
	return h, ref, item, nil
}

// sealText seals a text under the log key of a day, which stands in front.
func (s *Store) sealText(day, bucket string, key, plain []byte) ([]byte, error) {
	if len(day) != dayLen {
		return nil, fmt.Errorf("log day %q: %w", day, queue.ErrMalformed)
	}
	aead, err := s.logKey(day)
	if err != nil {
		return nil, err
	}
	return append([]byte(day), seal.SealRecord(aead, plain, bound(bucket, key, nil))...), nil
}

// openText undoes sealText: errDamaged, or seal.ErrDestroyed when the window is
// over.
func (s *Store) openText(bucket string, key, value []byte) (day string, plain []byte, err error) {
	if len(value) < dayLen {
		return "", nil, fmt.Errorf("%s row: %w", bucket, errDamaged)
	}
	day = string(value[:dayLen])
	if plain, err = s.unseal(day, value[dayLen:], bound(bucket, key, nil)); err != nil {
		return day, nil, fmt.Errorf("%s row: %w", bucket, err)
	}
	return day, plain, nil
}

func (s *Store) unseal(day string, sealed, aad []byte) ([]byte, error) {
	aead, err := s.o.Keys.Lookup(seal.Log, day)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	plain, err := seal.OpenRecord(aead, sealed, aad)
	if err != nil {
		return nil, errDamaged
	}
	return plain, nil
}

// openEnvelope reads the row of a message.
func (s *Store) openEnvelope(key, value []byte) (day string, env message.Envelope, err error) {
	day, plain, err := s.openText(ofMessages, key, value)
	if err != nil {
		return day, env, err
	}
	if env, err = queue.DecodeEnvelope(plain); err != nil {
		return day, env, fmt.Errorf("%s row: %w", ofMessages, errDamaged)
	}
	return day, env, nil
}

// openReceipt reads the row of a receipt.
func (s *Store) openReceipt(key, value []byte) (r message.Receipt, err error) {
	_, plain, err := s.openText(ofReceipts, key, value)
	if err != nil {
		return r, err
	}
	if json.Unmarshal(plain, &r) != nil {
		return r, fmt.Errorf("%s row: %w", ofReceipts, errDamaged)
	}
	return r, nil
}
