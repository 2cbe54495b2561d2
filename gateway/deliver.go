package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"gatewayd/connectors"
	"gatewayd/mail"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/receipts"
	"gatewayd/vault"
)

// viaMailbox is the way into an authority's own mailbox.
const viaMailbox = "mailbox"

// targets counts open attempts per destination, so that one slow destination
// cannot take every worker.
type targets struct {
	mu   sync.Mutex
	open map[string]int
	all  int
}

func (t *targets) add(name string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all += n
	if t.open[name] += n; t.open[name] == 0 {
		delete(t.open, name)
	}
}

func (t *targets) total() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}

func (t *targets) of(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[name]
}

// target names where an item goes: a platform, or the recipient's domain.
func target(item message.Item) string {
	if item.Decision.Via == "smtp" {
		return "smtp:" + item.Recipient.Address.Domain
	}
	return item.Decision.Via
}

// deliverLoop leases what is due and hands it to workers.
func (g *Gateway) deliverLoop(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := g.leaseSome(ctx)
		if err != nil && ctx.Err() == nil {
			g.o.Log.Error("ledger does not lease; will be tried again", "error", err)
		}
		if n == 0 {
			g.pause(ctx, g.wake, g.untilNext(ctx))
		}
	}
}

// untilNext is how long the loop may sleep; at most a second, because an
// injected clock can jump.
func (g *Gateway) untilNext(ctx context.Context) time.Duration {
	next, ok, err := g.o.Store.NextDue(ctx)
	if err != nil || !ok {
		return time.Second
	}
	return min(max(next.Sub(g.now()), 20*time.Millisecond), time.Second)
}

func (g *Gateway) leaseSome(ctx context.Context) (int, error) {
	free := g.o.Delivery.Concurrency - g.inFlight.total()
	if free <= 0 {
		return 0, nil
	}
	taken := map[string]int{}
	items, err := g.o.Store.Lease(ctx, g.now(), free, func(item message.Item) bool {
		t := target(item)
		if g.inFlight.of(t)+taken[t] >= g.o.Delivery.PerTarget {
			return true
		}
		taken[t]++
		return false
	})
	for _, item := range items {
		g.inFlight.add(target(item), 1)
		g.workers.Go(func() {
			defer g.Wake()
			defer g.inFlight.add(target(item), -1)
			g.work(ctx, item)
		})
	}
	return len(items), err
}

// work does what a leased item asks for, and records the outcome. The attempt
// may be cut short by ctx; recording it is not.
func (g *Gateway) work(ctx context.Context, item message.Item) {
	record := context.WithoutCancel(ctx)
	env, _, err := g.o.Store.Message(record, item.Key.Message)
	if err != nil {
		g.settle(ctx, item.Key, outcome{err: err})
		return
	}
	if item.Decision.Via == viaMailbox && env.Direction != message.Outbound {
		g.receive(ctx, env, item)
		return
	}
	if reason, open := g.gate(env, item); !open {
		g.settle(ctx, item.Key, outcome{hold: reason})
		return
	}
	if item.Decision.Via == viaMailbox {
		g.settle(ctx, item.Key, g.deliverLocal(ctx, env, item))
		return
	}
	g.settle(ctx, item.Key, g.submit(ctx, env, item))
}

// outcome is what one attempt led to.
type outcome struct {
	result connectors.Result
	err    error  // nil: the next system has it
	hold   string // the gate closed, for this reason
}

// submit hands the message to its connector, once.
func (g *Gateway) submit(ctx context.Context, env message.Envelope, item message.Item) outcome {
	c, ok := g.o.Connectors[item.Decision.Via]
	if !ok {
		return outcome{hold: "no connector is configured for " + item.Decision.Via}
	}
	body, err := g.o.Vault.OpenBody(env.Body)
	if err != nil {
		return outcome{err: bodyError(err)}
	}
	defer body.Close()
	from := env.From
	if a := g.byID[env.Authority]; a != nil && g.isPlatform(item.Decision.Via) {
		if from, ok = a.Platforms[item.Decision.Via]; !ok {
			return outcome{hold: "the authority has no address on " + item.Decision.Via}
		}
	}
	result, err := c.Submit(ctx, connectors.Handover{
		Item: item, Envelope: env, From: from, To: item.Recipient.Address, Body: body,
		Received: mail.ReceivedField(env, g.o.Hostname),
	})
	return outcome{result: result, err: err}
}

func (g *Gateway) isPlatform(via string) bool {
	_, ok := g.o.Platforms[via]
	return ok
}

// bodyError: a body that is gone will not come back; everything else may.
func bodyError(err error) error {
	if errors.Is(err, vault.ErrGone) {
		return &connectors.Error{Kind: connectors.Permanent, Enhanced: "5.3.0", Text: "the message has been erased", Err: err}
	}
	return fmt.Errorf("open body: %w", err)
}

// deliverLocal brings mail of one authority to another one on this gateway, by
// the same door as any other inbound mail.
func (g *Gateway) deliverLocal(ctx context.Context, env message.Envelope, item message.Item) outcome {
	to := g.local(item.Recipient.Address)
	if to == nil {
		return outcome{err: &connectors.Error{Kind: connectors.Permanent, Enhanced: "5.1.1", Text: "no such mailbox on this gateway"}}
	}
	body, err := g.o.Vault.OpenBody(env.Body)
	if err != nil {
		return outcome{err: bodyError(err)}
	}
	defer body.Close()
	id, err := g.Accept(ctx, message.Submission{
		Door: message.Inbound, From: env.From, To: []message.Recipient{{Address: item.Recipient.Address}},
		Helo: g.o.Hostname, Protocol: "LOCAL", UTF8: env.UTF8, EightBit: env.EightBit,
	}, body)
	if err != nil {
		return outcome{err: err}
	}
	return outcome{result: connectors.Result{Reply: "accepted as " + id.String(), RemoteID: id.String()}}
}

// settle records the outcome of an attempt, however long the ledger needs to
// take it: an outcome that is not recorded becomes Unclear at the next start.
func (g *Gateway) settle(ctx context.Context, key message.ItemKey, o outcome) {
	now := g.now()
	var notice *queue.Accepted
	g.persist(ctx, key, func(record context.Context, item *message.Item) (queue.Change, error) {
		env, _, err := g.o.Store.Message(record, key.Message)
		if err != nil {
			return queue.Change{}, err
		}
		event := g.conclude(env, item, o, now)
		change := queue.Change{Events: []message.Event{event}}
		if item.State == message.Refused && notice == nil {
			if notice, err = g.dsn(record, env, *item, now); err != nil {
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

// persist applies an edit of one item until the ledger has it: again at once
// when somebody else changed the item, after a pause when the ledger fails.
// It gives up only when the program ends.
func (g *Gateway) persist(ctx context.Context, key message.ItemKey, edit func(context.Context, *message.Item) (queue.Change, error)) {
	record := context.WithoutCancel(ctx)
	for tries := 0; ; tries++ {
		err := g.once(record, key, edit)
		if err == nil {
			return
		}
		if errors.Is(err, queue.ErrTransition) || errors.Is(err, queue.ErrEraseBy) || errors.Is(err, queue.ErrNotFound) {
			g.o.Log.Error("an outcome does not fit the ledger", "item", key.String(), "error", err)
			return
		}
		if errors.Is(err, queue.ErrConflict) && tries < 100 {
			continue
		}
		g.o.Log.Error("ledger does not take an outcome; will be tried again", "item", key.String(), "error", err)
		if ctx.Err() != nil {
			return // found at the next start
		}
		g.pause(ctx, nil, g.retryPauses)
	}
}

func (g *Gateway) once(ctx context.Context, key message.ItemKey, edit func(context.Context, *message.Item) (queue.Change, error)) error {
	item, err := g.o.Store.Item(ctx, key)
	if err != nil {
		return err
	}
	change, err := edit(ctx, &item)
	if err != nil {
		return err
	}
	if item.Decision.Class == message.Registered {
		// Receipts can be faster than the reply to DATA.
		rs, err := g.receiptsOf(ctx, key)
		if err != nil {
			return err
		}
		item, _ = advance(item, rs)
	}
	change.Items = append(change.Items, item)
	return g.o.Store.Apply(ctx, change)
}

// advance moves an item by its receipts. What is handed over and not closed yet
// wants attention again when the collection window is over.
func advance(item message.Item, rs []message.Receipt) (message.Item, []string) {
	next, changes := receipts.Advance(item, rs)
	switch {
	case next.State.Final() || next.Case.Closed():
		next.NextTry = time.Time{}
	case next.State == message.Handed && next.Case != message.CaseNone && next.Case != message.CaseOverdue:
		next.NextTry = next.HandedAt.Add(closingWait)
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
	item.Reply = bounded(o.result.Reply)
	switch {
	case o.hold != "":
		item.State, item.NextTry, item.Reply = message.Held, now, bounded(o.hold)
		event.Kind, event.Data["reason"] = message.EventHeld, o.hold
	case o.err == nil:
		item.RemoteID, item.SentAs, item.HandedAt, item.Alarm = o.result.RemoteID, o.result.SentAs, now, ""
		item.State, item.NextTry = message.Done, time.Time{}
		if len(item.Decision.Owed) > 0 {
			item.State, item.NextTry = message.Handed, now.Add(g.receiptWait(item.Decision.Via))
		}
		event.Kind, event.Data["reply"], event.Data["remote_id"] = message.EventHanded, item.Reply, item.RemoteID
	default:
		g.failed(env, item, o.err, now, &event)
	}
	event.Data["state"] = string(item.State)
	return event
}

// failed writes a failed attempt into the item: the default is temporary.
func (g *Gateway) failed(env message.Envelope, item *message.Item, err error, now time.Time, event *message.Event) {
	item.Reply = bounded(replyOf(err))
	event.Data["reply"] = item.Reply
	kind := connectors.KindOf(err)
	var refusal *message.Refusal
	if errors.As(err, &refusal) && !refusal.Temporary() {
		kind = connectors.Permanent
	}
	switch {
	case kind == connectors.Unclear:
		item.Unclears++
		item.State, item.NextTry = message.Unclear, now.Add(g.receiptWait(item.Decision.Via))
		if item.Decision.Class != message.Registered {
			item.NextTry = now.Add(g.backoff(item.Attempts))
		}
		event.Kind = message.EventUnclear
	case kind == connectors.Permanent:
		item.State, item.NextTry = message.Refused, time.Time{}
		event.Kind = message.EventRefused
	case env.Direction == message.Outbound && now.Sub(env.Received) >= item.Decision.GiveUp:
		item.State, item.NextTry = message.Refused, time.Time{}
		item.Reply = bounded("given up after " + strings.TrimSpace(item.Decision.GiveUp.String()) + "; last answer: " + item.Reply)
		event.Kind = message.EventRefused
		event.Data["reply"] = item.Reply
	default:
		item.State, item.NextTry = message.Waiting, now.Add(g.backoff(item.Attempts))
		event.Kind, event.Data["next_try"] = message.EventRetry, item.NextTry.Format(time.RFC3339)
	}
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

func bounded(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= 500 {
		return s
	}
	return strings.ToValidUTF8(s[:500], "") + "…"
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
