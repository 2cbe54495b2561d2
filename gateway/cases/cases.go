// Package cases keeps the delivery cases of registered items while they run: it
// gathers what a case rests on, lets package legal read it, writes down what is new,
// takes a person's word on it, and makes the evidence bundle (Nachweisdossier) of
// one. It never sends anything.
package cases

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"gatewayd/directory"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
)

// owner is who writes the alarms of delivery cases (message.WithAlarm).
const owner = "case"

// What a person's word on a case can fail with.
var (
	ErrNoCase = fmt.Errorf("only a registered item has a delivery case: %w", queue.ErrNotFound)
	ErrNoTask = fmt.Errorf("the case has no such open task or alarm: %w", queue.ErrNotFound)
	ErrAnswer = errors.New("say yes or no")
)

// Options is what cases rest on.
type Options struct {
	Ledger    Ledger
	Directory func() *directory.Directory
	Rules     legal.Rules
	Wait      func(via string) time.Duration // how long an Abgabequittung may take before there is an alarm
	Now       func() time.Time
	// Unstamped is told of an item with a seal that waits for a time stamp
	// (Dossiers.Stamp), once each time it should be asked for. It must not wait; nil:
	// nobody asks.
	Unstamped func(message.ItemKey)
}

// Ledger is the part of queue.Store that cases ask.
type Ledger interface {
	Message(ctx context.Context, id message.ID) (message.Envelope, []message.Item, error)
	Receipts(ctx context.Context, id message.ID) ([]message.Receipt, error)
	Events(ctx context.Context, id message.ID) ([]message.Event, error)
	Apply(ctx context.Context, c queue.Change) error
}

// Cases are the delivery cases of the gateway. They hold no state of their own.
type Cases struct{ o Options }

// New returns the cases.
func New(o Options) *Cases { return &Cases{o} }

// Has reports whether an item has a delivery case.
func Has(item message.Item) bool { return item.Decision.Class == message.Registered }

// Watched reports whether its case, and nothing else, wants attention at
// NextTry: it was handed over, or has ended.
func Watched(item message.Item) bool {
	return Has(item) && (item.State == message.Handed || item.State.Final())
}

// NoteAddressee writes into the event of a decision or of a hand-over what the
// directory says of the addressee now: the case rests on it (docs/case.md).
func (c *Cases) NoteAddressee(event *message.Event, env message.Envelope, item message.Item) {
	if !Has(item) {
		return
	}
	a := legal.Addressee{Calendar: c.o.Rules.Calendar}
	if p, ok := c.o.Directory().Recipient(item.Recipient.Address); ok {
		if at, ok := p.Platform(item.Decision.Via); ok {
			a.Identified, a.Checked = at.Identified, at.Checked.Format(time.DateOnly)
		}
		if given, ok := p.Consent(env.Authority, event.At); ok {
			a.Consent, a.Expects = given.Evidence, legal.Answer(given.Expects)
		}
		if p.Canton != "" {
			a.Calendar = p.Canton
		}
	}
	for k, v := range a.Data() {
		if v != "" {
			event.Data[k] = v
		}
	}
}

// Input gathers what the case of an item rests on.
func (c *Cases) Input(ctx context.Context, item message.Item, now time.Time) (legal.Input, error) {
	in := legal.Input{Item: item, Rules: c.o.Rules, Now: now}
	in.Rules.ReceiptWait = c.o.Wait(item.Decision.Via)
	var err error
	if in.Receipts, err = c.o.Ledger.Receipts(ctx, item.Key.Message); err != nil {
		return in, err
	}
	in.Events, err = c.o.Ledger.Events(ctx, item.Key.Message)
	return in, err
}

// Attend reads a case again: what is new becomes an event, what still wants
// a person stands on the item, and NextTry is when more may be due. It never
// sends anything.
func (c *Cases) Attend(ctx context.Context, env message.Envelope, item *message.Item, now time.Time) (queue.Change, error) {
	in, err := c.Input(ctx, *item, now)
	if err != nil {
		return queue.Change{}, err
	}
	read := legal.Open(in)
	if read.State == legal.ReceiptMissing && item.Case == message.CaseNone {
		item.Case, item.CaseAt = message.CaseOverdue, now
	}
	var change queue.Change
	for _, a := range read.Alarms {
		if !raised(in.Events, item.Key.N, a) {
			change.Events = append(change.Events, alarmEvent(env, *item, read, a, now))
		}
	}
	if list := unstamped(in.Events, item.Key.N); len(list) > 0 {
		if again := askAgain(list, now); read.Next.IsZero() || again.Before(read.Next) {
			read.Next = again
		}
		if c.o.Unstamped != nil {
			c.o.Unstamped(item.Key)
		}
	}
	item.NextTry, item.Alarm = read.Next, message.WithAlarm(item.Alarm, owner, message.Bounded(read.Attention()))
	return change, nil
}

// raised reports whether an alarm stands in the log already.
func raised(events []message.Event, n int, a legal.Alarm) bool {
	since := a.At.UTC().Format(time.RFC3339Nano)
	return slices.ContainsFunc(events, func(e message.Event) bool {
		return e.Item == n && (e.Kind == message.EventAlarm || e.Kind == message.EventOverdue) && e.Data["alarm"] == string(a.Code) && e.Data["since"] == since
	})
}

func alarmEvent(env message.Envelope, item message.Item, c legal.Case, a legal.Alarm, now time.Time) message.Event {
	e := message.Event{At: now, Kind: message.EventAlarm, Authority: env.Authority, Message: env.ID, Item: item.Key.N, Data: map[string]string{
		"alarm": string(a.Code), "since": a.At.UTC().Format(time.RFC3339Nano), "text": message.Bounded(a.Text), "case": string(item.Case), "delivery": string(c.State), "state": string(item.State),
	}}
	switch a.Code {
	case legal.AlarmOverdue:
		e.Kind, e.Data["missing"] = message.EventOverdue, string(message.Abgabequittung)
	case legal.AlarmClosing:
		e.Kind, e.Data["missing"] = message.EventOverdue, "closing receipt"
	}
	if !c.Service.Date.IsZero() {
		e.Data["service"], e.Data["basis"] = c.Service.Date.String(), string(c.Service.Basis)
	}
	return e
}

// Of opens the cases of a message, one for each registered recipient.
func (c *Cases) Of(ctx context.Context, s message.Story) ([]legal.Case, error) {
	var list []legal.Case
	for _, item := range s.Items {
		if s.Envelope.Direction != message.Outbound || !Has(item) {
			continue
		}
		in, err := c.Input(ctx, item, c.o.Now().UTC())
		if errors.Is(err, queue.ErrNotFound) { // in the tail still
			in.Receipts, in.Events, err = s.Receipts, s.Events, nil
		}
		if err != nil {
			return nil, err
		}
		list = append(list, legal.Open(in))
	}
	return list, nil
}

// Say is what a person says of a case; it goes into the event.
type Say func(legal.Case, *message.Event) error

// Closed says that somebody has done what a case asked for, or has seen an alarm.
// ErrNoTask.
func Closed(code, by string) Say {
	return func(c legal.Case, event *message.Event) error {
		task := slices.ContainsFunc(c.Tasks, func(t legal.Task) bool {
			return string(t.Code) == code && t.Closed.IsZero() && t.Code != legal.TaskExpect
		})
		alarm := slices.ContainsFunc(c.Alarms, func(a legal.Alarm) bool { return string(a.Code) == code })
		if !task && !alarm {
			return ErrNoTask
		}
		event.Kind = message.EventTaskClosed
		event.Data[legal.KeyTask], event.Data[legal.KeyBy] = code, by
		return nil
	}
}

// Expected says whether the party had to expect mail of the authority. ErrAnswer.
func Expected(a legal.Answer, by string) (Say, error) {
	if a != legal.Yes && a != legal.No {
		return nil, ErrAnswer
	}
	return func(_ legal.Case, event *message.Event) error {
		event.Kind = message.EventStated
		maps.Copy(event.Data, legal.Statement(a, by, event.Data[legal.KeyReason]))
		return nil
	}, nil
}

// Hear writes what a person says of an item's case into the event, and lets the
// case be read again. ErrNoCase.
func (c *Cases) Hear(ctx context.Context, item *message.Item, event *message.Event, say Say) error {
	if !Has(*item) {
		return ErrNoCase
	}
	in, err := c.Input(ctx, *item, event.At)
	if err != nil {
		return err
	}
	if Watched(*item) {
		item.NextTry = event.At
	}
	return say(legal.Open(in), event)
}
