package bolt

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"gatewayd/message"
	"gatewayd/queue"
)

// The kinds of index keys of a day: the first byte of a key in its index. Every
// key ends with the key of its item, so that a kind with a value is a range.
const (
	byState     = 's' // state, authority
	byAuthority = 'a' // authority
	byRecipient = 'r' // recipient, per authority
	byMessageID = 'm' // Message-ID as it came and as it left, per authority
	byReference = 'f' // short reference, over all authorities
	byRemoteID  = 'i' // the platform's id, over all authorities
	byDuplicate = 'x' // registered decision, per authority
	byIdemKey   = 'k' // a client's idempotency key, per authority; first item of a message only
)

// words are what an item is found by, beside its state.
type words struct {
	authority string
	messageID string // as it came
	sentAs    string // as it left
	recipient string // message.Address.Key
	reference string
	remoteID  string
	idemKey   string   // first item only
	duplicate [32]byte // SHA-256 of queue.DupKey; zeros: takes no part
}

// wordsOf gathers the words of an item.
func wordsOf(env message.Envelope, item message.Item, dup bool) words {
	w := words{
		authority: env.Authority, messageID: env.MessageID, sentAs: item.SentAs, recipient: item.Recipient.Address.Key(),
		reference: item.Reference, remoteID: item.RemoteID,
	}
	if item.Key.N == 1 {
		w.idemKey, _ = queue.SplitIdemKey(env.IdemKey)
	}
	if dup {
		w.duplicate = sha256.Sum256(queue.DupKey(env.Authority, env.MessageID, item.Recipient.Address, env.Content.Digest))
	}
	return w
}

// row is a row of some bucket.
type row struct {
	bucket string
	key    []byte
}

// ofDay reports whether a bucket with rows of items lies in the item's day; the
// others are over all days.
func ofDay(bucket string) bool { return bucket == ofIndex || bucket == ofErase }

// wordRows returns the rows by which an item is found by its words; none changes
// with the state.
func (s *Store) wordRows(w words, item []byte) (rows []row, err error) {
	add := func(kind byte, authority string, value []byte) {
		if len(value) == 0 && kind != byAuthority || err != nil {
			return
		}
		var h [macLen]byte
		if kind == byAuthority {
			h, err = s.hashes.authority(authority)
		} else {
			h, err = s.hashes.lookup(authority, string(kind), value)
		}
		rows = append(rows, row{ofIndex, indexKey(kind, h[:], item)})
	}
	add(byAuthority, w.authority, nil)
	add(byRecipient, w.authority, []byte(w.recipient))
	add(byMessageID, w.authority, []byte(w.messageID))
	if w.sentAs != w.messageID {
		add(byMessageID, w.authority, []byte(w.sentAs))
	}
	add(byReference, "", []byte(w.reference))
	add(byRemoteID, "", []byte(w.remoteID))
	add(byIdemKey, w.authority, []byte(w.idemKey))
	if w.duplicate != ([32]byte{}) {
		add(byDuplicate, w.authority, w.duplicate[:])
	}
	return rows, err
}

func indexKey(kind byte, value, item []byte) []byte {
	k := make([]byte, 0, 1+len(value)+len(item))
	return append(append(append(k, kind), value...), item...)
}

// headRows returns the rows that follow from the head of an item.
func headRows(h head, item []byte) []row {
	rows := []row{{ofIndex, indexKey(byState, append([]byte{stateCode(h.state)}, h.auth[:]...), item)}}
	rows = append(rows, row{ofErase, append(number(h.eraseBy), item...)})
	switch h.state {
	case message.Waiting:
		rows = append(rows, row{inDue, dueKey(h.dest, h.next, item)})
	case message.Sending:
	default:
		if h.next != 0 {
			rows = append(rows, row{inAttention, append(number(h.next), item...)})
		}
	}
	if h.letGo {
		rows = append(rows, row{inLetGo, item})
	}
	return rows
}

func dueKey(dest [destLen]byte, next uint64, item []byte) []byte {
	k := make([]byte, 0, destLen+8+itemLen)
	k = binary.BigEndian.AppendUint64(append(k, dest[:]...), next)
	return append(k, item...)
}

// diff returns the rows that before has and after has not, and the reverse.
func diff(before, after []row) (gone, born []row) {
	has := func(list []row, r row) bool {
		return slices.ContainsFunc(list, func(o row) bool { return o.bucket == r.bucket && bytes.Equal(o.key, r.key) })
	}
	for _, r := range before {
		if !has(after, r) {
			gone = append(gone, r)
		}
	}
	for _, r := range after {
		if !has(before, r) {
			born = append(born, r)
		}
	}
	return gone, born
}
