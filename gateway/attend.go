package gateway

import (
	"context"
	"errors"
	"time"

	"gatewayd/audit"
	"gatewayd/gateway/cases"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/queue"
)

// attendBatch bounds how many items one round looks at.
const attendBatch = 256

// attendLoop looks after items that wait for something else than delivery:
// held ones whose sender must be told or that go back, unclear ones, and
// delivery cases.
//
// An item that cannot be looked after now does not keep the others waiting.
func (g *Gateway) attendLoop(ctx context.Context) {
	for ctx.Err() == nil {
		items, err := g.o.Store.Due(ctx, g.now(), attendBatch)
		failed := err != nil
		if failed && ctx.Err() == nil {
			g.o.Log.Error("ledger does not list what wants attention; will be tried again", "error", err)
		}
		for _, item := range items {
			if ctx.Err() != nil {
				return
			}
			if err := g.attend(ctx, item.Key); err != nil {
				failed = true
				g.o.Log.Error("an item cannot be looked after; will be tried again", "item", item.Key.String(), "error", err)
			}
			g.Wake() // a notice wants delivery
		}
		switch {
		case failed:
			g.pause(ctx, nil, 5*g.retryPause)
		case len(items) == 0:
			g.pause(ctx, nil, 100*time.Millisecond)
		}
	}
}

// attend does the one thing that an item waits for.
func (g *Gateway) attend(ctx context.Context, key message.ItemKey) error {
	now := g.now()
	record := context.WithoutCancel(ctx)
	for conflicts := 0; ; conflicts++ {
		err := g.once(record, key, func(_ context.Context, item *message.Item) (queue.Change, error) {
			return g.attention(record, item, now)
		})
		switch {
		case err == nil, errors.Is(err, errRecorded):
			return nil
		case !errors.Is(err, queue.ErrConflict) || conflicts == maxConflicts:
			return err
		}
	}
}

// attention is the edit of attend.
func (g *Gateway) attention(ctx context.Context, item *message.Item, now time.Time) (queue.Change, error) {
	due := !item.NextTry.IsZero() && !item.NextTry.After(now)
	if !due || item.State == message.Waiting || item.State == message.Sending {
		return queue.Change{}, errRecorded // somebody was faster
	}
	env, _, err := g.o.Store.Message(ctx, item.Key.Message)
	if err != nil {
		return queue.Change{}, err
	}
	if cases.Watched(*item) {
		return g.cases.Attend(ctx, env, item, now)
	}
	event, tell := g.attended(env, item, now)
	change := queue.Change{Events: []message.Event{event}}
	if tell == nil {
		return change, nil
	}
	notice, err := tell(ctx, env, *item, now)
	if err == nil && notice != nil {
		change.New = append(change.New, *notice)
		change.Events = append(change.Events, noticeEvent(env, *item, notice.Envelope.ID, now))
	}
	return change, err
}

// teller composes what the sender is told, or nil when nobody is to be told.
type teller func(context.Context, message.Envelope, message.Item, time.Time) (*queue.Accepted, error)

// attended writes into the item what becomes of it now.
func (g *Gateway) attended(env message.Envelope, item *message.Item, now time.Time) (message.Event, teller) {
	event := message.Event{At: now, Authority: env.Authority, Message: env.ID, Item: item.Key.N, Data: map[string]string{}}
	var tell teller
	switch item.State {
	case message.Held:
		tell = g.attendHeld(item, now, &event)
	default: // Unclear
		tell = g.attendUnclear(item, now, &event)
	}
	event.Data["state"] = string(item.State)
	return event, tell
}

func (g *Gateway) attendHeld(item *message.Item, now time.Time, event *message.Event) teller {
	if item.Decision.Verdict == message.Refuse {
		item.State, item.NextTry, item.Reply = message.Refused, time.Time{}, message.Bounded(policy.Because(item.Decision))
		event.Kind, event.Data["reason"] = message.EventRefused, item.Reply
		return g.notices.Failed
	}
	if item.Told.IsZero() {
		if item.Reply == "" {
			item.Reply = message.Bounded(policy.Because(item.Decision))
		}
		item.Told, item.NextTry = now, now.Add(g.o.Delivery.HoldReturn)
		event.Kind, event.Data["reason"] = message.EventHeld, item.Reply
		return g.heldNotice
	}
	item.State, item.NextTry = message.Refused, time.Time{}
	event.Kind, event.Data["reason"] = message.EventRefused, "held until its limit: "+item.Reply
	return g.notices.Failed
}

// attendUnclear: a registered decision is never sent again by itself; other
// classes go once more with the same Message-ID (RFC 5321 prefers a duplicate
// to a loss).
func (g *Gateway) attendUnclear(item *message.Item, now time.Time, event *message.Event) teller {
	if item.Decision.Class != message.Registered && item.Unclears <= 1 {
		item.State, item.NextTry = message.Waiting, now
		event.Kind, event.Data["reason"] = message.EventRetry, "the reply was lost; sent once more with the same Message-ID"
		return nil
	}
	item.State, item.NextTry, item.Told = message.Held, time.Time{}, now // no automatic return: it may have arrived
	item.Alarm = unclearAlarm
	event.Kind, event.Data["reason"] = message.EventHeld, item.Alarm
	return g.heldNotice
}

// unclearAlarm is the task for a person.
const unclearAlarm = "unclear whether it was handed over: ask the platform, then release or drop it"

func noticeEvent(env message.Envelope, item message.Item, id message.ID, now time.Time) message.Event {
	return message.Event{
		At: now, Kind: message.EventNotice, Authority: env.Authority, Message: env.ID, Item: item.Key.N,
		Data: map[string]string{"notice": id.String(), "to": env.From.String(), "state": string(item.State)},
	}
}

// auditLoop writes the chain into the day files. While that fails nothing is
// accepted and nothing leaves: what cannot be written down must not happen.
func (g *Gateway) auditLoop(ctx context.Context) {
	for ctx.Err() == nil {
		_, err := g.o.Audit.Drain(ctx, g.o.Store)
		if ctx.Err() != nil {
			return
		}
		switch {
		case errors.Is(err, audit.ErrBroken): // written all the same
			g.o.Log.Error("the audit chain is broken: ledger or day files come from a backup", "error", err)
		case err != nil:
			g.o.Log.Error("audit log cannot be written: nothing is accepted or sent until it can", "error", err)
		}
		g.auditDown.Store(err != nil && !errors.Is(err, audit.ErrBroken))
		g.pause(ctx, nil, 500*time.Millisecond)
	}
}
