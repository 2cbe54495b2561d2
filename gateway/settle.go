package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"gatewayd/connectors"
	"gatewayd/crypto/cms"
	"gatewayd/gateway/cases"
	"gatewayd/gateway/notices"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/receipts"
	"gatewayd/vault"
)

// edit changes one item and says what else belongs to the change. It may be
// called again with a fresh copy when somebody else was faster.
type edit func(context.Context, *message.Item) (queue.Change, error)

// errRecorded is what an edit returns when the ledger already has what it would
// write: the commit was durable although it was answered by an error.
var errRecorded = errors.New("recorded already")

// settle records the outcome of an attempt, however long the ledger needs to
// take it, and reports whether it is recorded: otherwise it becomes Unclear at
// the next start.
func (g *Gateway) settle(ctx context.Context, env message.Envelope, leased message.Item, o outcome) bool {
	now := g.now()
	var notice *queue.Accepted
	return g.persist(ctx, leased, func(record context.Context, item *message.Item) (queue.Change, error) {
		if item.State != message.Sending || item.Attempts != leased.Attempts {
			return queue.Change{}, errRecorded
		}
		event := g.conclude(env, item, o, now)
		change := queue.Change{Events: []message.Event{event}}
		if item.State == message.Refused && notice == nil {
			var err error
			if notice, err = g.notices.Failed(record, env, *item, now); err != nil {
				return change, err
			}
		}
		if notice != nil {
			change.New = append(change.New, *notice)
			change.Events = append(change.Events, noticeEvent(env, *item, notice.Envelope.ID, now))
		}
		return change, nil
	})
}

// maxConflicts bounds how often an edit is repeated at once because somebody
// else changed the item.
const maxConflicts = 100

// longestPause is the longest wait before a failing ledger is asked again.
const longestPause = 10 * time.Second

// persist applies an edit of one item, as it was leased, until the ledger has
// it: again at once when somebody else changed the item meanwhile, after growing
// pauses when the ledger fails. It gives up when the program ends, or when no repetition can help, and
// reports whether the ledger has it.
func (g *Gateway) persist(ctx context.Context, leased message.Item, e edit) bool {
	record := context.WithoutCancel(ctx)
	pause, key := g.retryPause, leased.Key
	err := g.apply(record, leased, e)
	for conflicts := 0; ; err = g.once(record, key, e) {
		switch {
		case err == nil, errors.Is(err, errRecorded):
			return true
		case hopeless(err):
			g.o.Log.Error("an outcome does not fit the ledger", "item", key.String(), "error", err)
			return false
		case errors.Is(err, queue.ErrConflict) && conflicts < maxConflicts:
			conflicts++
			continue
		}
		g.o.Log.Error("ledger does not take an outcome; will be tried again", "item", key.String(), "error", err)
		if ctx.Err() != nil {
			return false // found at the next start
		}
		g.pause(ctx, nil, pause)
		pause = min(2*pause, longestPause)
	}
}

// hopeless reports whether asking again cannot help.
func hopeless(err error) bool {
	for _, e := range []error{queue.ErrTransition, queue.ErrEraseBy, queue.ErrNotFound, queue.ErrMalformed, queue.ErrClosed, vault.ErrCorrupt} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (g *Gateway) once(ctx context.Context, key message.ItemKey, e edit) error {
	item, err := g.o.Store.Item(ctx, key)
	if err != nil {
		return err
	}
	return g.apply(ctx, item, e)
}

// apply commits an edit of an item as it is known; queue.ErrConflict when that
// is not how the ledger has it.
func (g *Gateway) apply(ctx context.Context, item message.Item, e edit) error {
	key := item.Key
	change, err := e(ctx, &item)
	if err != nil {
		return err
	}
	if item.Decision.Class == message.Registered {
		// Receipts can be faster than the reply to DATA.
		rs, err := g.receiptsOf(ctx, key)
		if err != nil {
			return err
		}
		item, _ = advance(item, rs, g.now())
	}
	change.Items = append(change.Items, item)
	return g.o.Store.Apply(ctx, change)
}

// advance moves an item by its receipts. Where they change something its
// delivery case is read again at once, and says when it wants attention next.
func advance(item message.Item, rs []message.Receipt, now time.Time) (message.Item, []string) {
	next, changes := receipts.Advance(item, rs)
	if next.NextTry = item.NextTry; len(changes) > 0 && cases.Watched(next) {
		next.NextTry = now
	}
	return next, changes
}

func (g *Gateway) receiptsOf(ctx context.Context, key message.ItemKey) ([]message.Receipt, error) {
	all, err := g.o.Store.Receipts(ctx, key.Message)
	if err != nil {
		return nil, err
	}
	var mine []message.Receipt
	for _, r := range all {
		if r.Item == key {
			mine = append(mine, r)
		}
	}
	return mine, nil
}

// conclude writes the outcome into the item and returns its event.
func (g *Gateway) conclude(env message.Envelope, item *message.Item, o outcome, now time.Time) message.Event {
	event := message.Event{At: now, Authority: env.Authority, Message: env.ID, Item: item.Key.N, Data: map[string]string{"via": item.Decision.Via}}
	last := item.Reply
	item.Reply = message.Bounded(o.result.Reply)
	switch {
	case o.giveUp:
		item.State, item.NextTry, item.Reply = message.Refused, time.Time{}, givenUp(*item, last)
		event.Kind, event.Data["reply"] = message.EventRefused, item.Reply
	case o.hold != "":
		item.State, item.NextTry, item.Told, item.Reply = message.Held, now, time.Time{}, message.Bounded(notices.AtGate+o.hold)
		event.Kind, event.Data["reason"] = message.EventHeld, o.hold
	case o.err == nil:
		item.RemoteID, item.SentAs, item.HandedAt, item.Alarm = o.result.RemoteID, o.result.SentAs, now, ""
		item.State, item.NextTry = message.Done, time.Time{}
		if len(item.Decision.Owed) > 0 {
			item.State, item.NextTry = message.Handed, now.Add(g.receiptWait(item.Decision.Via))
		}
		event.Kind, event.Data["reply"], event.Data["remote_id"] = message.EventHanded, item.Reply, item.RemoteID
		g.cases.NoteAddressee(&event, env, *item)
	default:
		g.failed(env, item, o, now, &event)
	}
	if o.ownKey != "" {
		event.Data["own_key"] = o.ownKey // a use of a private key
	}
	event.Data["state"] = string(item.State)
	return event
}

// failed writes a failed attempt into the item: the default is temporary.
func (g *Gateway) failed(env message.Envelope, item *message.Item, o outcome, now time.Time, event *message.Event) {
	err := o.err
	item.Reply = message.Bounded(replyOf(err))
	event.Data["reply"] = item.Reply
	kind := connectors.KindOf(err)
	var refusal *message.Refusal
	if errors.As(err, &refusal) && !refusal.Temporary() {
		kind = connectors.Permanent
	}
	switch {
	case kind == connectors.Unclear:
		item.Unclears++
		item.SentAs = o.result.SentAs // receipts may name it
		item.State, item.NextTry = message.Unclear, now.Add(g.receiptWait(item.Decision.Via))
		if item.Decision.Class != message.Registered {
			item.NextTry = now.Add(g.backoff(item.Attempts))
		}
		event.Kind = message.EventUnclear
		g.cases.NoteAddressee(event, env, *item)
	case kind == connectors.Permanent:
		item.State, item.NextTry = message.Refused, time.Time{}
		event.Kind = message.EventRefused
	case env.Direction == message.Outbound && now.Sub(env.Received) >= item.Decision.GiveUp:
		item.State, item.NextTry, item.Reply = message.Refused, time.Time{}, givenUp(*item, item.Reply)
		event.Kind = message.EventRefused
		event.Data["reply"] = item.Reply
	default:
		item.State, item.NextTry = message.Waiting, now.Add(g.backoff(item.Attempts))
		if soon := now.Add(keyAgain); errors.Is(err, cms.ErrKeyAway) && item.NextTry.After(soon) {
			item.NextTry = soon // trouble of our own machine, which ends soon
		}
		if end := env.Received.Add(item.Decision.GiveUp); env.Direction == message.Outbound && item.NextTry.After(end) {
			item.NextTry = end // the last attempt: the sender must not wait longer for an answer
		}
		event.Kind, event.Data["next_try"] = message.EventRetry, item.NextTry.Format(time.RFC3339)
	}
}

// keyAgain is the longest wait after an attempt for which a private key was out of
// reach.
const keyAgain = time.Minute

// givenUp says that the time of an item is over, and what the next system said
// last.
func givenUp(item message.Item, last string) string {
	if last == "" {
		last = "none"
	}
	return message.Bounded(notices.GaveUp + item.Decision.GiveUp.String() + notices.LastAnswer + last)
}

// replyOf is what a person may read about a failure: the peer's own words, or
// what we found. It stands in sealed places only.
func replyOf(err error) string {
	var ce *connectors.Error
	if errors.As(err, &ce) {
		if ce.Code != 0 {
			return strings.TrimSpace(fmt.Sprintf("%s: %d %s %s", ce.Step, ce.Code, ce.Enhanced, ce.Text))
		}
		return strings.TrimSpace(ce.Error() + " " + ce.Text)
	}
	var refusal *message.Refusal
	if errors.As(err, &refusal) {
		return refusal.Error()
	}
	return "trouble on this gateway: " + err.Error()
}

// backoff doubles from the first wait to the longest, with a fifth of jitter.
func (g *Gateway) backoff(attempts int) time.Duration {
	d := g.o.Delivery.RetryFirst
	for range min(max(attempts-1, 0), 20) {
		d = min(2*d, g.o.Delivery.RetryMax)
	}
	return d - d/10 + rand.N(d/5+1) //nolint:gosec // jitter
}

// receiptWait is how long an Abgabequittung may take before we raise an alarm.
func (g *Gateway) receiptWait(via string) time.Duration {
	if p, ok := g.o.Platforms[via]; ok && p.ReceiptWait > 0 {
		return p.ReceiptWait
	}
	return 15 * time.Minute
}
