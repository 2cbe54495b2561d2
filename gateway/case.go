package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
)

// caseOwner is who writes the alarms of delivery cases (message.WithAlarm).
const caseOwner = "case"

// What a person's word on a case can fail with.
var (
	ErrNoCase = fmt.Errorf("only a registered item has a delivery case: %w", queue.ErrNotFound)
	ErrNoTask = fmt.Errorf("the case has no such open task or alarm: %w", queue.ErrNotFound)
	ErrAnswer = errors.New("say yes or no")
)

// registered reports whether an item has a delivery case.
func registered(item message.Item) bool { return item.Decision.Class == message.Registered }

// hasCase reports whether its case, and nothing else, wants attention at
// NextTry: it was handed over, or has ended.
func hasCase(item message.Item) bool {
	return registered(item) && (item.State == message.Handed || item.State.Final())
}

// noteAddressee writes into the event of a decision or of a hand-over what the
// directory says of the addressee now: the case rests on it (docs/case.md).
func (g *Gateway) noteAddressee(event *message.Event, env message.Envelope, item message.Item) {
	if !registered(item) {
		return
	}
	a := legal.Addressee{Calendar: g.o.Legal.Calendar}
	if p, ok := g.o.Directory().Recipient(item.Recipient.Address); ok {
		if at, ok := p.Platform(item.Decision.Via); ok {
			a.Identified, a.Checked = at.Identified, at.Checked.Format(time.DateOnly)
		}
		if c, ok := p.Consent(env.Authority, event.At); ok {
			a.Consent, a.Expects = c.Evidence, legal.Answer(c.Expects)
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

// caseInput gathers what the case of an item rests on.
func (g *Gateway) caseInput(ctx context.Context, item message.Item, now time.Time) (legal.Input, error) {
	in := legal.Input{Item: item, Rules: g.o.Legal, Now: now}
	in.Rules.ReceiptWait = g.receiptWait(item.Decision.Via)
	var err error
	if in.Receipts, err = g.o.Store.Receipts(ctx, item.Key.Message); err != nil {
		return in, err
	}
	in.Events, err = g.o.Store.Events(ctx, item.Key.Message)
	return in, err
}

// attendCase reads a case again: what is new becomes an event, what still wants
// a person stands on the item, and NextTry is when more may be due. It never
// sends anything.
func (g *Gateway) attendCase(ctx context.Context, env message.Envelope, item *message.Item, now time.Time) (queue.Change, error) {
	in, err := g.caseInput(ctx, *item, now)
	if err != nil {
		return queue.Change{}, err
	}
	c := legal.Open(in)
	if c.State == legal.ReceiptMissing && item.Case == message.CaseNone {
		item.Case, item.CaseAt = message.CaseOverdue, now
	}
	var change queue.Change
	for _, a := range c.Alarms {
		if !raised(in.Events, item.Key.N, a) {
			change.Events = append(change.Events, alarmEvent(env, *item, c, a, now))
		}
	}
	item.NextTry, item.Alarm = c.Next, message.WithAlarm(item.Alarm, caseOwner, message.Bounded(c.Attention()))
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

// casesOf opens the cases of a message, one for each registered recipient.
func (g *Gateway) casesOf(ctx context.Context, s message.Story) ([]legal.Case, error) {
	var list []legal.Case
	for _, item := range s.Items {
		if s.Envelope.Direction != message.Outbound || !registered(item) {
			continue
		}
		in, err := g.caseInput(ctx, item, g.now())
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

// Cases returns the delivery cases of an authority's message, without the
// numbers of the audit log: they would tell how much others send.
func (p *Programs) Cases(ctx context.Context, authority string, id message.ID) ([]legal.Case, error) {
	s, err := p.message(ctx, authority, id)
	if err != nil {
		return nil, err
	}
	cases, err := p.g.casesOf(ctx, s)
	for _, c := range cases {
		for i := range c.Trail {
			c.Trail[i].Seq = 0
		}
	}
	return cases, err
}

// CloseTask notes that a person of the authority has done what a case asked
// for, or has seen an alarm. by names who says it.
func (p *Programs) CloseTask(ctx context.Context, authority string, key message.ItemKey, code, reason, by string) error {
	if _, err := p.message(ctx, authority, key.Message); err != nil {
		return err
	}
	return p.g.closeTask(ctx, key, code, reason, by)
}

// SayExpected notes whether the party had to expect mail of the authority.
func (p *Programs) SayExpected(ctx context.Context, authority string, key message.ItemKey, a legal.Answer, reason, by string) error {
	if _, err := p.message(ctx, authority, key.Message); err != nil {
		return err
	}
	return p.g.sayExpected(ctx, key, a, reason, by)
}

// Cases returns the delivery cases that a question of Trace names; id/n names
// one of them.
func (g *Gateway) Cases(ctx context.Context, question string) ([]legal.Case, error) {
	question = strings.TrimSpace(question)
	stories, err := g.stories(ctx, question)
	if err != nil {
		return nil, err
	}
	var list []legal.Case
	for _, s := range stories {
		cases, err := g.casesOf(ctx, s)
		if err != nil {
			return nil, err
		}
		list = append(list, cases...)
	}
	_, n, one := strings.Cut(question, "/")
	return slices.DeleteFunc(list, func(c legal.Case) bool { return one && fmt.Sprint(c.Item.N) != n }), nil
}

// stories reads the messages that a question names, without their events.
func (g *Gateway) stories(ctx context.Context, question string) ([]message.Story, error) {
	ids, err := g.resolve(ctx, question)
	if err != nil {
		return nil, err
	}
	var list []message.Story
	for _, id := range ids {
		s := message.Story{}
		if a, ok := g.tail.get(id); ok {
			s = message.Story{Envelope: a.Envelope, Items: a.Items, Events: a.Events}
		} else if s.Envelope, s.Items, err = g.o.Store.Message(ctx, id); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// CloseTask notes that a person has done what a case asked for, or has seen an
// alarm: which, and how, stand in the audit log.
func (g *Gateway) CloseTask(ctx context.Context, key message.ItemKey, code, reason string) error {
	return g.closeTask(ctx, key, code, reason, administrator)
}

func (g *Gateway) closeTask(ctx context.Context, key message.ItemKey, code, reason, by string) error {
	return g.onCase(ctx, key, reason, func(c legal.Case, event *message.Event) error {
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
	})
}

// SayExpected notes a person's word on whether the party had to expect mail of
// the authority; the fiction of the seventh day rests on it.
func (g *Gateway) SayExpected(ctx context.Context, key message.ItemKey, a legal.Answer, reason string) error {
	return g.sayExpected(ctx, key, a, reason, administrator)
}

func (g *Gateway) sayExpected(ctx context.Context, key message.ItemKey, a legal.Answer, reason, by string) error {
	if a != legal.Yes && a != legal.No {
		return ErrAnswer
	}
	return g.onCase(ctx, key, reason, func(_ legal.Case, event *message.Event) error {
		event.Kind = message.EventStated
		maps.Copy(event.Data, legal.Statement(a, by, event.Data[legal.KeyReason]))
		return nil
	})
}

// onCase writes what a person says of a case, and lets the case be read again.
func (g *Gateway) onCase(ctx context.Context, key message.ItemKey, reason string, say func(legal.Case, *message.Event) error) error {
	err := g.byHand(ctx, key, reason, func(ctx context.Context, _ message.Envelope, item *message.Item, event *message.Event) ([]queue.Accepted, error) {
		if !registered(*item) {
			return nil, ErrNoCase
		}
		in, err := g.caseInput(ctx, *item, event.At)
		if err != nil {
			return nil, err
		}
		if hasCase(*item) {
			item.NextTry = event.At
		}
		return nil, say(legal.Open(in), event)
	})
	return err
}
