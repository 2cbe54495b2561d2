package queue

import (
	"fmt"

	"gatewayd/calendar"
	"gatewayd/message"
)

// Accepted is one accepted message as it stands in the vault record: what was
// asked, what becomes of it for each recipient, and the events of the accept.
type Accepted struct {
	Envelope message.Envelope
	Items    []message.Item
	Events   []message.Event
}

// encodingVersion is written into every record. A reader refuses others, but for
// the one before: there, events were maps.
const (
	encodingVersion = 3
	mapsVersion     = 2
)

// maxEncoded bounds a record: 10,000 recipients with their reasons fit.
const maxEncoded = 64 << 20

// Encode returns the form in which a vault record carries a. It refuses what a
// ledger would refuse later, so that no record enters the vault that can never
// be indexed.
func Encode(a Accepted) ([]byte, error) {
	if err := a.Validate(); err != nil {
		return nil, err
	}
	s, err := storeAccepted(a)
	var b []byte
	if err == nil {
		b, err = stored.enc.Marshal(s)
	}
	if err != nil {
		return nil, fmt.Errorf("encode message %s: %w", a.Envelope.ID, err)
	}
	if len(b) > maxEncoded {
		return nil, fmt.Errorf("encode message %s: %d bytes are too many", a.Envelope.ID, len(b))
	}
	return b, nil
}

// Decode reads what Encode wrote. The result is valid (Accepted.Validate).
func Decode(b []byte) (Accepted, error) {
	if len(b) > maxEncoded {
		return Accepted{}, fmt.Errorf("decode accepted message: %d bytes are too many", len(b))
	}
	var s storedAccepted
	if err := decode(b, &s); err != nil {
		return Accepted{}, fmt.Errorf("decode accepted message: %w", err)
	}
	if s.V != encodingVersion && s.V != mapsVersion {
		return Accepted{}, fmt.Errorf("decode accepted message: version %d, want %d", s.V, encodingVersion)
	}
	a, err := s.accepted()
	if err != nil {
		return Accepted{}, fmt.Errorf("decode accepted message: %w", err)
	}
	return a, a.Validate()
}

// Validate reports why no ledger takes a: an envelope without ID or log day, no
// items, an item that belongs to another message or stands twice
// (ErrMalformed), one that starts in a state that no item may start in
// (ErrTransition), or one without an erase-by instant (ErrEraseBy).
func (a Accepted) Validate() error {
	id := a.Envelope.ID
	if id.IsZero() {
		return fmt.Errorf("accepted message without id: %w", ErrMalformed)
	}
	if _, err := calendar.ParseDay(a.Envelope.LogDay); err != nil {
		return fmt.Errorf("message %s: log day: %w: %w", id, err, ErrMalformed)
	}
	if len(a.Items) == 0 {
		return fmt.Errorf("message %s without recipient: %w", id, ErrMalformed)
	}
	seen := make(map[int]bool, len(a.Items))
	for _, item := range a.Items {
		if item.Key.Message != id || item.Key.N < 1 || item.Key.N > MaxRecipients || seen[item.Key.N] {
			return fmt.Errorf("message %s: item %s does not belong or stands twice: %w", id, item.Key, ErrMalformed)
		}
		seen[item.Key.N] = true
		if err := checkFirst(item); err != nil {
			return err
		}
	}
	return nil
}

func checkFirst(item message.Item) error {
	if !message.State("").MayBecome(item.State) {
		return fmt.Errorf("item %s starts as %q: %w", item.Key, item.State, ErrTransition)
	}
	if item.EraseBy.IsZero() {
		return fmt.Errorf("item %s: %w", item.Key, ErrEraseBy)
	}
	return nil
}
