package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatewayd/gateway/forms"
	"gatewayd/gateway/notices"
	"gatewayd/mail"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/queue"
)

// What an operator's request can fail with, beside queue.ErrNotFound.
var (
	ErrNotHeld    = errors.New("only a held item can be released or dropped: hold it first")
	ErrNotOpen    = errors.New("only an item that waits for an attempt, or whose hand-over is unclear, can be held")
	ErrNotWaiting = errors.New("only an item that waits for its next attempt can be tried now: release a held one")
	ErrStillHeld  = errors.New("the rules still do not let it go")
	ErrTooLate    = errors.New("the time for the hand-over of this registered decision is over: drop it, and send it anew")
)

// Release lets a held item go, for a reason that stands in the audit log. An
// item that was held before any way was decided is decided now, by the same
// rules and today's facts, from the header as it was accepted; if they still do
// not let it go nothing changes and the error, ErrStillHeld, names the rule. A
// release is the approval of mass mail (Benutzungsreglement BL § 13), and it is
// the person's word that an unclear or restored item has not arrived.
func (g *Gateway) Release(ctx context.Context, key message.ItemKey, reason string) error {
	err := g.byHand(ctx, key, reason, func(ctx context.Context, env message.Envelope, item *message.Item, event *message.Event) ([]queue.Accepted, error) {
		if item.State != message.Held {
			return nil, ErrNotHeld
		}
		event.Kind = message.EventReleased
		if item.Decision.Verdict != message.Deliver || item.Decision.Via == "" {
			if err := g.decideAgain(env, item); err != nil {
				return nil, err
			}
			event.Data["class"], event.Data["route"], event.Data["via"] = string(item.Decision.Class), item.Decision.Route, item.Decision.Via
			event.Data["reference"], event.Data["because"] = item.Reference, policy.Because(item.Decision)
			g.cases.NoteAddressee(event, env, *item)
		}
		if g.tooLate(env, *item) {
			return nil, ErrTooLate
		}
		item.State, item.NextTry, item.Told, item.Alarm, item.Reply = message.Waiting, g.now(), time.Time{}, "", ""
		return nil, nil
	})
	if err == nil {
		g.Wake()
	}
	return err
}

// decideAgain asks the policy as Accept did. It never invents a way.
func (g *Gateway) decideAgain(env message.Envelope, item *message.Item) error {
	body, err := g.o.Vault.OpenBody(env.Body)
	if err != nil {
		return fmt.Errorf("open body: %w", err)
	}
	defer body.Close()
	head, err := mail.ReadHeader(bufio.NewReader(body), forms.MaxHeader)
	if err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	now := g.now()
	f := g.factsOf(&env, item.Recipient.Address, head, now)
	f.Recipient.Suffix = suffixOf(item.Decision)
	if c := item.Decision.Class; c != message.Normal {
		f.Message.Class = c // never less strict than it was
	}
	f.Message.Approved = slices.ContainsFunc(item.Decision.Because, func(r message.Reason) bool { return r.Rule == "duty:bulk" })
	d := g.o.Policy.Decide(f)
	if d.Verdict != message.Deliver || d.Via == "" {
		return fmt.Errorf("%w: %s", ErrStillHeld, policy.Because(d))
	}
	if d.Class == message.Registered {
		d.GiveUp = min(d.GiveUp, g.o.Windows.MaxGiveUp(env.Received))
		if item.Reference == "" {
			item.Reference = message.NewReference(g.o.ReferencePrefix)
		}
	}
	item.Decision = d
	return nil
}

// Hold keeps an item from being sent, or sent again, for a reason that stands
// in the audit log. The sender is told and gets it back after the usual time;
// an item whose hand-over is unclear waits for a person without limit.
func (g *Gateway) Hold(ctx context.Context, key message.ItemKey, reason string) error {
	return g.byHand(ctx, key, reason, func(_ context.Context, env message.Envelope, item *message.Item, event *message.Event) ([]queue.Accepted, error) {
		event.Kind = message.EventHeld
		switch {
		case env.Direction != message.Outbound:
			return nil, ErrNotOpen // nothing leaves
		case item.State == message.Waiting && item.Unclears == 0:
			item.State, item.NextTry, item.Told, item.Reply = message.Held, g.now(), time.Time{}, notices.ByPerson
		case item.State == message.Waiting || item.State == message.Unclear:
			item.State, item.NextTry, item.Told, item.Alarm = message.Held, time.Time{}, g.now(), unclearAlarm
		default:
			return nil, ErrNotOpen
		}
		return nil, nil
	})
}

// Drop ends a held item for a reason that stands in the audit log. A sender
// whose message has certainly not left is told; whether one that may have
// arrived did so is between the person and the sender.
func (g *Gateway) Drop(ctx context.Context, key message.ItemKey, reason string) error {
	return g.byHand(ctx, key, reason, func(ctx context.Context, env message.Envelope, item *message.Item, event *message.Event) ([]queue.Accepted, error) {
		if item.State != message.Held {
			return nil, ErrNotHeld
		}
		event.Kind = message.EventDropped
		item.State, item.NextTry, item.Reply = message.Dropped, time.Time{}, notices.DroppedBy
		if !neverLeft(*item) {
			return nil, nil
		}
		notice, err := g.notices.Failed(ctx, env, *item, g.now())
		if err != nil || notice == nil {
			return nil, err
		}
		return []queue.Accepted{*notice}, nil
	})
}

// Retry makes an item that waits for its next attempt due at once.
func (g *Gateway) Retry(ctx context.Context, key message.ItemKey) error {
	err := g.byHand(ctx, key, "tried at once by the administrators", func(_ context.Context, _ message.Envelope, item *message.Item, event *message.Event) ([]queue.Accepted, error) {
		if item.State != message.Waiting {
			return nil, ErrNotWaiting
		}
		event.Kind, item.NextTry = message.EventRetry, g.now()
		return nil, nil
	})
	if err == nil {
		g.Wake()
	}
	return err
}

// administrator is who speaks on the operator's socket.
const administrator = "administrator"

// deed is what a person does to an item; it may bring notices.
type deed func(context.Context, message.Envelope, *message.Item, *message.Event) ([]queue.Accepted, error)

// byHand applies a deed and writes its event, in one commit. The item must be
// in the ledger; one that was accepted a moment ago may not be there yet.
func (g *Gateway) byHand(ctx context.Context, key message.ItemKey, reason string, do deed) error {
	reason, err := message.CheckReason(reason)
	if err != nil {
		return err
	}
	for conflicts := 0; ; conflicts++ {
		err := g.once(ctx, key, func(ctx context.Context, item *message.Item) (queue.Change, error) {
			env, _, err := g.o.Store.Message(ctx, key.Message)
			if err != nil {
				return queue.Change{}, err
			}
			now := g.now()
			event := message.Event{At: now, Authority: env.Authority, Message: env.ID, Item: key.N, Data: map[string]string{"reason": reason, "by": administrator}}
			born, err := do(ctx, env, item, &event)
			if err != nil {
				return queue.Change{}, err
			}
			event.Data["state"] = string(item.State)
			change := queue.Change{New: born, Events: []message.Event{event}}
			for _, n := range born {
				change.Events = append(change.Events, noticeEvent(env, *item, n.Envelope.ID, now))
			}
			return change, nil
		})
		if err == nil {
			return nil
		}
		if !errors.Is(err, queue.ErrConflict) || conflicts == maxConflicts {
			return fmt.Errorf("item %s: %w", key, err)
		}
	}
}
