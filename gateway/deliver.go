package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gatewayd/connectors"
	"gatewayd/mail"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/queue"
	"gatewayd/vault"
)

// viaMailbox is the way into an authority's own mailbox.
const viaMailbox = "mailbox"

// deliverLoop leases what is due and hands it to workers. While the audit log
// cannot be written nothing leaves.
func (g *Gateway) deliverLoop(ctx context.Context) {
	for ctx.Err() == nil {
		if g.auditDown.Load() {
			g.pause(ctx, nil, g.retryPause)
			continue
		}
		if g.doubt.Load() && g.reclaim(ctx) {
			g.doubt.Store(false)
		}
		n, err := g.leaseSome(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			g.doubt.Store(true)
			g.o.Log.Error("ledger does not lease; will be tried again", "error", err)
			g.pause(ctx, nil, g.retryPause)
		case n == 0:
			g.pause(ctx, g.wake, g.untilNext(ctx))
		}
	}
}

// untilNext is how long the loop may sleep; at most a second, because an
// injected clock can jump. With every worker busy the first that is free wakes
// the loop.
func (g *Gateway) untilNext(ctx context.Context) time.Duration {
	next, ok, err := g.o.Store.NextDue(ctx)
	if err != nil || !ok || g.inFlight.Total() >= g.o.Delivery.Concurrency {
		return time.Second
	}
	return min(max(next.Sub(g.now()), 20*time.Millisecond), time.Second)
}

func (g *Gateway) leaseSome(ctx context.Context) (int, error) {
	free := g.o.Delivery.Concurrency - g.inFlight.Total()
	if free <= 0 {
		return 0, nil
	}
	now := g.now()
	leased, err := g.o.Store.Lease(ctx, now, free, func(destination string) queue.Room { return g.room(destination, now) })
	for _, l := range leased {
		g.inFlight.Begin(l.Item)
	}
	g.start(ctx, leased)
	return len(leased), err
}

// start makes the attempts that were opened; targets has counted them.
func (g *Gateway) start(ctx context.Context, leased []queue.Leased) {
	for _, l := range leased {
		g.workers.Go(func() {
			recorded := g.work(ctx, l.Envelope, l.Item)
			g.inFlight.End(l.Item, recorded)
			g.Wake()
		})
	}
}

// reclaim returns attempts to the queue that the ledger has opened without
// telling us: the commit was durable, its answer an error. Nobody has made
// them. It reports whether nothing is left in doubt.
func (g *Gateway) reclaim(ctx context.Context) bool {
	items, err := g.o.Store.Sending(ctx)
	if err != nil {
		return false
	}
	for _, item := range items {
		if g.inFlight.Has(item.Key) {
			continue
		}
		err := g.once(ctx, item.Key, func(ctx context.Context, now *message.Item) (queue.Change, error) {
			if now.State != message.Sending || now.Attempts != item.Attempts {
				return queue.Change{}, errRecorded
			}
			env, _, err := g.o.Store.Message(ctx, item.Key.Message)
			now.State, now.NextTry = message.Waiting, g.now()
			return queue.Change{Events: []message.Event{{
				At: g.now(), Kind: message.EventRetry, Authority: env.Authority, Message: item.Key.Message, Item: item.Key.N,
				Data: map[string]string{"reason": "the ledger did not confirm the attempt in time; nothing was sent"},
			}}}, err
		})
		if err != nil && !errors.Is(err, errRecorded) {
			g.o.Log.Error("an attempt that was not made cannot be taken back; will be tried again", "item", item.Key.String(), "error", err)
			return false
		}
	}
	return true
}

// work does what a leased item asks for, and reports whether the outcome is
// recorded. The attempt may be cut short by ctx; recording it is not.
func (g *Gateway) work(ctx context.Context, env message.Envelope, item message.Item) bool {
	if item.Decision.Via == viaMailbox && env.Direction != message.Outbound {
		return g.receive(ctx, env, item)
	}
	if g.tooLate(env, item) {
		return g.settle(ctx, env, item, outcome{giveUp: true})
	}
	if reason, open := g.gate(env, item); !open {
		return g.settle(ctx, env, item, outcome{hold: reason})
	}
	if item.Decision.Via == viaMailbox {
		return g.settle(ctx, env, item, g.deliverLocal(ctx, env, item))
	}
	if o := g.scanOutcome(ctx, env); o != nil {
		return g.settle(ctx, env, item, *o)
	}
	o := g.submit(ctx, env, item)
	if o.hold == "" {
		g.inFlight.Tried(item, o.err, g.now())
	}
	return g.settle(ctx, env, item, o)
}

// tooLate forbids an attempt at a registered decision whose time is over, for
// instance because the gateway stood still: a hand-over now could not be proven
// before its content must be erased.
func (g *Gateway) tooLate(env message.Envelope, item message.Item) bool {
	return item.Decision.Class == message.Registered && g.now().After(env.Received.Add(item.Decision.GiveUp))
}

// outcome is what one attempt led to.
type outcome struct {
	result connectors.Result
	err    error  // nil: the next system has it
	hold   string // the gate closed, for this reason
	giveUp bool   // the time for the hand-over was over: nothing was tried
	ownKey string // fingerprint of the own key that has signed it for this attempt
}

// submit hands the message to its connector, once.
func (g *Gateway) submit(ctx context.Context, env message.Envelope, item message.Item) outcome {
	c, ok := g.o.Connectors[item.Decision.Via]
	if !ok {
		return outcome{hold: "no connector is configured for " + item.Decision.Via}
	}
	body, err := g.o.Vault.OpenBody(env.Body)
	if err != nil {
		return noBody(err)
	}
	defer body.Close()
	from := env.From
	if a := g.byID[env.Authority]; a != nil && g.isPlatform(item.Decision.Via) {
		if from, ok = a.Platforms[item.Decision.Via]; !ok {
			return outcome{hold: "the authority has no address on " + item.Decision.Via}
		}
	}
	source, footed, err := g.forms.Footed(env, item, body)
	if err != nil {
		return protectError(err)
	}
	defer footed()
	var content io.ReadSeeker = source
	ownKey := ""
	if item.Decision.Via == policy.ViaSMIME || item.Decision.Via == policy.ViaOpenPGP {
		sealed, err := g.forms.Protect(ctx, env, item, source)
		if err != nil {
			return protectError(err)
		}
		defer sealed.Close()
		content, ownKey = sealed, sealed.SignedBy
	}
	if strings.HasPrefix(item.Decision.Via, forwardPrefix) && env.Direction == message.Inbound {
		var done func()
		if content, done, err = g.forms.Forwarded(ctx, env, body); err != nil {
			return outcome{err: err}
		}
		defer done()
	}
	result, err := c.Submit(ctx, connectors.Handover{
		Item: item, Envelope: env, From: from, To: item.Recipient.Address, Body: content,
		Received: mail.ReceivedField(env, g.o.Hostname),
	})
	return outcome{result: result, err: err, ownKey: ownKey}
}

func (g *Gateway) isPlatform(via string) bool {
	_, ok := g.o.Platforms[via]
	return ok
}

// noBody: a body that is gone will not come back, and a damaged one only by
// somebody's hand; everything else passes.
func noBody(err error) outcome {
	switch {
	case errors.Is(err, vault.ErrGone):
		return outcome{err: &connectors.Error{Kind: connectors.Permanent, Step: connectors.StepForm, Enhanced: "5.3.0", Text: "the message has been erased", Err: err}}
	case errors.Is(err, vault.ErrCorrupt):
		return outcome{hold: "the stored message is damaged: restore it from a backup, or drop it"}
	}
	return outcome{err: fmt.Errorf("open body: %w", err)}
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
		return noBody(err)
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
