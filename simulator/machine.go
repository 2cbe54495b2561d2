package simulator

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatewayd/message"
)

// State is where one message stands on the platform.
type State string

// The states of a registered message, and Delivered, the end of every other.
const (
	SubmittedReceipted State = "SUBMITTED_RECEIPTED"
	AwaitingPickup     State = "AWAITING_PICKUP" // 7 days run
	HandedOver         State = "HANDED_OVER"     // the other platform delivers
	PickedUp           State = "PICKED_UP"
	Refused            State = "REFUSED"
	Expired            State = "EXPIRED"
	Blocked            State = "BLOCKED"
	Undeliverable      State = "UNDELIVERABLE"
	Withdrawn          State = "WITHDRAWN" // by the sender, from the logbook
	Delivered          State = "DELIVERED" // not registered: handed to the recipient
)

// Message is one mail for one recipient, as the platform sees it.
type Message struct {
	ID       string                `json:"id"`
	Received int                   `json:"received,omitempty"` // number of the recorded mail; 0: not by SMTP
	From     string                `json:"from"`
	To       string                `json:"to"`
	Class    message.Class         `json:"class"`
	Tag      string                `json:"tag"`                // that chose the class; "" for the silent default
	Subject  string                `json:"subject"`            // decoded, without the tag
	Controls []string              `json:"controls,omitempty"` // PrivaSphere's control strings that were obeyed
	State    State                 `json:"state"`
	At       time.Time             `json:"at"` // submission
	Deadline time.Time             `json:"deadline,omitzero"`
	Ended    time.Time             `json:"ended,omitzero"`
	Receipts []message.ReceiptKind `json:"receipts,omitempty"` // issued, also those that a fault dropped
}

// entry is a message with what the platform remembers about it. The content is
// dropped at the end, as IncaMail does.
type entry struct {
	Message
	mode    int
	digest  [sha256.Size]byte // of the body, header excluded
	size    int
	raw     []byte
	profile Profile
	due     time.Time              // when the recipient acts by itself; zero: never
	origin  func(State, time.Time) // tells the platform that handed the message over; nil: none
	held    []*outgoing            // by the fault reorder
}

// Errors of Accept, Refuse, Ignore and Withdraw.
var (
	ErrNoMessage = errors.New("no such message")
	ErrState     = errors.New("the message does not wait for its recipient here")
)

// Messages returns every message, in order of submission.
func (p *Platform) Messages() []Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Message, len(p.entries))
	for i, e := range p.entries {
		all[i] = e.Message
		all[i].Receipts = slices.Clone(e.Receipts)
	}
	return all
}

// Accept lets the recipient accept the message: Abholquittung.
func (p *Platform) Accept(id string) error { return p.act(id, PickedUp) }

// Refuse lets the recipient refuse the message: Annahmeverweigerung.
func (p *Platform) Refuse(id string) error { return p.act(id, Refused) }

// Withdraw lets the sender block the message. No receipt is known for it.
func (p *Platform) Withdraw(id string) error { return p.act(id, Withdrawn) }

// Ignore cancels what the recipient would do by itself: the 7 days run out.
func (p *Platform) Ignore(id string) error { return p.act(id, AwaitingPickup) }

func (p *Platform) act(id string, to State) error {
	err := ErrNoMessage
	p.do(func() {
		p.catchUp()
		for _, e := range p.entries {
			if e.ID != id {
				continue
			}
			switch {
			case e.State != AwaitingPickup:
				err = ErrState
			case to == AwaitingPickup:
				e.due, err = time.Time{}, nil
			default:
				p.end(e, to, p.o.Clock.Now())
				err = nil
			}
		}
	})
	return err
}

// Tick does everything that is due at the clock's time: recipients act,
// windows close. What it makes is delivered in the background; Flush waits.
func (p *Platform) Tick() {
	p.do(p.catchUp)
	p.wake()
}

// catchUp takes what is due in the order of time, so that a long jump of the
// clock gives the same story as many small ones.
func (p *Platform) catchUp() {
	for {
		var first *entry
		var when time.Time
		var to State
		for _, e := range p.waiting {
			at, s := e.next()
			if first == nil || at.Before(when) || at.Equal(when) && e.ID < first.ID {
				first, when, to = e, at, s
			}
		}
		if first == nil || when.After(p.o.Clock.Now()) {
			return
		}
		p.end(first, to, when)
	}
}

// next is what happens to a waiting message by itself, and when.
func (e *entry) next() (time.Time, State) {
	switch {
	case e.due.IsZero() || !e.due.Before(e.Deadline):
		return e.Deadline, Expired
	case e.profile.Action == ActRefuse:
		return e.due, Refused
	}
	return e.due, PickedUp
}

// add takes a new message into the machine.
func (p *Platform) add(e *entry) {
	e.ID = fmt.Sprintf("%s-%06d", p.o.Kind, len(p.entries)+1)
	e.profile = p.profile(e.To)
	p.entries = append(p.entries, e)
	if e.Class != message.Registered {
		p.passOn(e)
		return
	}
	e.State = SubmittedReceipted
	p.issue(e, message.Abgabequittung, e.At)
	switch {
	case e.profile.Kind == BlocksRegistered:
		p.end(e, Blocked, e.At)
	case e.profile.Kind == OtherPlatform && p.peer != nil && e.origin == nil:
		p.handOver(e)
	case e.profile.Kind == OtherPlatform || e.profile.Kind == Unregistered || e.tooLarge():
		p.end(e, Undeliverable, e.At)
	default:
		p.await(e)
	}
}

// passOn delivers what is not registered: at once and without a receipt.
func (p *Platform) passOn(e *entry) {
	if e.tooLarge() {
		p.end(e, Undeliverable, e.At)
		return
	}
	p.deliverContent(e)
	p.end(e, Delivered, e.At)
}

func (e *entry) tooLarge() bool {
	return e.profile.Kind == SmallMailbox && e.size > e.profile.MailboxMB*1e6
}

func (p *Platform) await(e *entry) {
	e.State, e.Deadline = AwaitingPickup, e.At.Add(window)
	p.waiting[e.ID] = e
	if e.profile.Kind == AutoAccept {
		p.end(e, PickedUp, e.At)
		return
	}
	if !e.profile.direct() {
		p.deliverContent(e)
	}
	if e.profile.Action == ActAccept || e.profile.Action == ActRefuse {
		e.due = e.At.Add(e.profile.After)
	}
}

// handOver gives the message to the other recognised platform (VEUE Art. 2
// lit. g). What happens there comes back through the entry's origin.
func (p *Platform) handOver(e *entry) {
	e.State = HandedOver
	if p.brand.kind == PrivaSphere {
		p.issue(e, message.Weitergabe, e.At)
	}
	peer, there := p.peer, &entry{
		Message: Message{From: e.From, To: e.To, Class: e.Class, Tag: e.Tag, Subject: e.Subject, At: e.At},
		mode:    e.mode, digest: e.digest, size: e.size, raw: e.raw,
		origin: func(s State, at time.Time) { p.do(func() { p.end(e, s, at) }) },
	}
	p.after = append(p.after, func() { peer.do(func() { peer.add(there) }) })
}

// end brings a message to its terminal state, with the document it owes.
func (p *Platform) end(e *entry, s State, at time.Time) {
	e.State, e.Ended = s, at
	delete(p.waiting, e.ID)
	switch s {
	case PickedUp:
		p.issue(e, message.Abholquittung, at)
		if e.profile.direct() {
			p.deliverContent(e)
		}
	case Refused:
		p.issue(e, message.Annahmeverweigerung, at)
	case Expired:
		p.issue(e, message.Verfallquittung, at)
	case Blocked:
		p.notify(e, message.NoticeBlocked, at, e.From)
	case Undeliverable:
		p.notify(e, message.NoticeUndelivered, at, e.From, e.To)
	}
	e.raw = nil
	p.release(e)
	if e.origin != nil {
		tell := e.origin
		p.after = append(p.after, func() { tell(s, at) })
	}
}
