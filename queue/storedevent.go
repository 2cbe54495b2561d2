package queue

import (
	"gatewayd/message"
)

// storedEvent is an event of an accept record. What envelope and item say as well
// stands in it as a number (eventWords).
type storedEvent struct {
	_       struct{} `cbor:",toarray"`
	After   int64    // nanoseconds after the envelope was received
	Of      int      // the item whose words were used; 0: those of the envelope
	Message []byte   // nil: that of the envelope
	Packed  []byte
}

// mapEvent is an event of a record of mapsVersion. Authority and message are
// those of the record's envelope unless they stand here.
type mapEvent struct {
	At        int64             `cbor:"1,keyasint,omitempty"`
	Kind      string            `cbor:"2,keyasint"`
	Item      int               `cbor:"3,keyasint,omitempty"`
	Data      map[string]string `cbor:"4,keyasint,omitempty"`
	Authority *string           `cbor:"5,keyasint,omitempty"`
	Message   *message.ID       `cbor:"6,keyasint,omitempty"`
}

func storeEvents(a Accepted) (all []storedEvent) {
	words := newEventWords(a)
	for _, e := range a.Events {
		s := storedEvent{After: nanos(e.At) - nanos(a.Envelope.Received), Of: e.Item, Packed: e.AppendPacked(nil, words.of(e.Item))}
		if e.Message != a.Envelope.ID {
			s.Message = e.Message[:]
		}
		all = append(all, s)
	}
	return all
}

// events reads the events of a record whose envelope and items are in a.
func (s storedAccepted) events(a Accepted) (all []message.Event, err error) {
	for _, e := range s.Maps {
		all = append(all, e.event(a.Envelope))
	}
	words := newEventWords(a)
	for _, e := range s.Events {
		event, err := message.UnpackEvent(e.Packed, words.of(e.Of))
		if err != nil {
			return nil, errStored
		}
		event.At, event.Message = instant(e.After+nanos(a.Envelope.Received)), a.Envelope.ID
		if e.Message != nil && copy(event.Message[:], e.Message) != len(event.Message) {
			return nil, errStored
		}
		all = append(all, event)
	}
	return all, nil
}

// eventWords are what the events of a message often repeat: the words of its
// envelope, and behind them those of the item. Which they are, and their order,
// is part of the stored form.
type eventWords struct {
	env   []string
	items map[int]*message.Item
}

func newEventWords(a Accepted) eventWords {
	e := a.Envelope
	w := eventWords{
		env:   []string{e.Content.Digest.String(), e.From.String(), e.MessageID, e.Account, e.RemoteAddr, e.TLS, e.Authority, e.Helo, e.HeaderFrom},
		items: make(map[int]*message.Item, len(a.Items)),
	}
	for i := range a.Items {
		w.items[a.Items[i].Key.N] = &a.Items[i]
	}
	return w
}

func (w eventWords) of(n int) []string {
	item := w.items[n]
	if item == nil {
		return w.env
	}
	d := &item.Decision
	words := append(w.env[:len(w.env):len(w.env)], item.Recipient.Address.String(), d.Route, d.Via, item.Reference)
	for _, r := range d.Because {
		words = append(words, r.Rule+": "+r.Text)
	}
	return words
}

func (s mapEvent) event(env message.Envelope) message.Event {
	event := message.Event{At: instant(s.At), Kind: message.EventKind(s.Kind), Authority: env.Authority, Message: env.ID, Item: s.Item, Data: s.Data}
	if s.Authority != nil {
		event.Authority = *s.Authority
	}
	if s.Message != nil {
		event.Message = *s.Message
	}
	return event
}
