package message

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// EventKind names what happened. Kinds of legal weight carry the codes of the
// evidence table in docs/law.md.
type EventKind string

// The kinds of events.
const (
	EventAccepted   EventKind = "accepted"
	EventDecided    EventKind = "decided"
	EventDuplicate  EventKind = "duplicate" // the client sent again what we have; answered with the first id
	EventAttempt    EventKind = "attempt"
	EventHanded     EventKind = "handed"
	EventRetry      EventKind = "retry"
	EventUnclear    EventKind = "unclear"
	EventHeld       EventKind = "held"
	EventReleased   EventKind = "released"
	EventRefused    EventKind = "refused"
	EventDropped    EventKind = "dropped"
	EventExpired    EventKind = "expired"
	EventNotice     EventKind = "notice" // a DSN or notice was written to the sender
	EventReceipt    EventKind = "receipt"
	EventCase       EventKind = "case"
	EventOverdue    EventKind = "receipt_overdue"
	EventUnmatched  EventKind = "receipt_unmatched"
	EventForged     EventKind = "receipt_forged"
	EventBounced    EventKind = "bounced"          // a mail system reports failure or delay; it proves nothing
	EventStated     EventKind = "stated"           // a person said what a delivery case rests on
	EventTaskClosed EventKind = "task_closed"      // a person has done what a delivery case asked for
	EventAlarm      EventKind = "alarm"            // a delivery case wants a person's attention
	EventOpened     EventKind = "opened"           // mail that waited for a key was opened or judged now that it is there
	EventKey        EventKind = "key"              // a key was learned, approved or revoked, or it ends soon; the key agent went or came back
	EventMailbox    EventKind = "mailbox"          // laid into an authority's mailbox
	EventHandedOver EventKind = "handed_over"      // the authority confirmed that its own file has message and receipts
	EventEvidence   EventKind = "evidence"         // an evidence bundle of a delivery case was made for somebody
	EventStamped    EventKind = "evidence_stamped" // the seal of a bundle that was made without a time stamp has one
	EventUnfiled    EventKind = "unfiled"          // the authority was told what its file has not taken yet, or what was exported instead
	EventExported   EventKind = "exported"         // encrypted to the authority's fallback key, before its content goes
	EventLost       EventKind = "lost"             // content goes that nobody had confirmed and that could not be exported
	EventErased     EventKind = "erased"           // one message's key was overwritten and its body let go
	EventDoomed     EventKind = "doomed"           // the content key of a day refuses to read from now on
	EventDestroyed  EventKind = "destroyed"        // the key of a day was destroyed; the protocol of destruction tells what
	EventClock      EventKind = "clock"            // the clock went back or jumped; or a person set the mark
	EventRun        EventKind = "run_released"     // a person has released a half-yearly run of destruction
	EventPaused     EventKind = "paused"           // nothing goes to a destination until it is resumed
	EventResumed    EventKind = "resumed"
	EventDamaged    EventKind = "damaged" // a stretch of the vault does not read; it was set aside
	EventStarted    EventKind = "started"
	EventRead       EventKind = "read" // somebody has read log data
)

// Event is one line of the audit log. Every change of state carries its events
// in the same atomic commit. Data may name recipients and addresses (log data,
// sealed at rest), never a subject or a body.
type Event struct {
	Seq       uint64            `json:"seq"` // given by the store, without gaps
	At        time.Time         `json:"at"`
	Kind      EventKind         `json:"kind"`
	Authority string            `json:"authority,omitempty"`
	Message   ID                `json:"message,omitzero"`
	Item      int               `json:"item,omitempty"` // recipient number, 0: the whole message
	Data      map[string]string `json:"data,omitempty"`
}

// Link is one record of the chain as it is stored and written to the day file:
// the sealed event and its place in the chain. The hash covers the sealed
// bytes, so that the chain can be verified without a key and after the key was
// destroyed.
type Link struct {
	Seq     uint64    `json:"seq"`
	At      time.Time `json:"at"`
	Message ID        `json:"message,omitzero"`
	Day     string    `json:"day"`    // log window: which key sealed it
	Sealed  []byte    `json:"sealed"` // AEAD over the Event (Event.AppendPacked)
	Prev    Digest    `json:"prev"`
	Hash    Digest    `json:"hash"`
}

// SealedTo returns what the seal of the event is bound to (the additional data
// of the AEAD): a sealed event opens only in its own link.
func (l Link) SealedTo() []byte {
	b := []byte("gatewayd event v1\x00")
	b = binary.BigEndian.AppendUint64(b, l.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(l.At.UnixNano())) //nolint:gosec // bit pattern only
	b = append(b, l.Message[:]...)
	return append(b, l.Day...)
}

// ChainHash computes the hash of a link from its other fields (docs/architecture.md, audit).
func (l Link) ChainHash() Digest {
	h := sha256.New()
	h.Write([]byte("gatewayd audit v1\x00"))
	h.Write(l.Prev[:])
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], l.Seq)
	h.Write(n[:])
	binary.BigEndian.PutUint64(n[:], uint64(l.At.UnixNano())) //nolint:gosec // bit pattern only
	h.Write(n[:])
	h.Write(l.Message[:])
	h.Write([]byte(l.Day))
	h.Write([]byte{0})
	h.Write(l.Sealed)
	var d Digest
	h.Sum(d[:0])
	return d
}
