package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/gateway/forms"
	"gatewayd/gateway/notices"
	"gatewayd/keybook"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/queue"
	"gatewayd/vault"
)

// keyRound is how often keys that are missing are looked for again.
const keyRound = time.Hour

// keyLoop lets go what waits for a key as soon as the key is there, and says in
// time which keys end.
func (g *Gateway) keyLoop(ctx context.Context) {
	var rounds time.Time
	for ctx.Err() == nil {
		all, of := g.arrivals.take()
		full := rounds.IsZero() || g.now().Sub(rounds) >= keyRound || g.now().Before(rounds)
		if full {
			rounds = g.now()
			g.Round(ctx)
		}
		if full || all || len(of) > 0 {
			err := errors.Join(g.releaseKeyed(ctx, full || all, of), g.openWaiting(ctx, full || all, of))
			if err != nil && ctx.Err() == nil {
				g.o.Log.Error("mail that waits for a key could not be looked at; will be tried again in a minute", "error", err)
				g.arrivals.note(message.Address{})
			}
		}
		g.pause(ctx, g.keysMoved, time.Minute)
	}
}

// byKey is why an item goes on.
const byKey = "a usable key of the recipient is there"

// releaseKeyed lets go what was held for want of a key that is there now: for
// anybody if all, else for those recipients.
func (g *Gateway) releaseKeyed(ctx context.Context, all bool, of map[string]bool) error {
	return g.each(ctx, message.Held, func(item message.Item) error {
		if !all && !of[item.Recipient.Address.Key()] || !waitsForKey(item) || ctx.Err() != nil {
			return ctx.Err()
		}
		now := g.now()
		if len(g.Ways(item.Recipient.Address, now)) == 0 {
			if g.o.Keys.Lookup != nil {
				g.o.Keys.Lookup.Want(item.Recipient.Address)
			}
			return nil
		}
		err := g.insist(context.WithoutCancel(ctx), item.Key, g.keyCame)
		switch {
		case err == nil:
			g.Wake()
		case errors.Is(err, errRecorded), errors.Is(err, ErrStillHeld), errors.Is(err, queue.ErrConflict), errors.Is(err, ErrTooLate), errors.Is(err, vault.ErrGone):
			err = nil // it waits for something else as well, or somebody was faster
		}
		return err
	})
}

// insist makes an edit of an item also when somebody else changes it at the same
// time: a key that is there is not told again.
func (g *Gateway) insist(ctx context.Context, key message.ItemKey, e edit) error {
	for conflicts := 0; ; conflicts++ {
		if err := g.once(ctx, key, e); !errors.Is(err, queue.ErrConflict) || conflicts == maxConflicts {
			return err
		}
	}
}

// waitsForKey reports whether nothing but a key keeps an item: neither a person
// nor a doubt.
func waitsForKey(item message.Item) bool {
	if item.State != message.Held || item.Alarm != "" || item.Reply == notices.ByPerson {
		return false
	}
	d := item.Decision
	if d.Verdict == message.Deliver {
		return (d.Via == policy.ViaSMIME || d.Via == policy.ViaOpenPGP) && (item.Reply == notices.AtGate+d.Via+": "+policy.NoKey || item.Reply == notices.AtGate+forms.ErrNoKey.Error())
	}
	return policy.LacksKey(d)
}

// keyCame is the edit that lets an item go on.
func (g *Gateway) keyCame(ctx context.Context, item *message.Item) (queue.Change, error) {
	if !waitsForKey(*item) {
		return queue.Change{}, errRecorded
	}
	env, _, err := g.o.Store.Message(ctx, item.Key.Message)
	if err != nil {
		return queue.Change{}, err
	}
	if item.Decision.Verdict != message.Deliver {
		if err := g.decideAgain(env, item); err != nil {
			return queue.Change{}, err
		}
	} else if reason, open := g.gate(env, *item); !open {
		return queue.Change{}, fmt.Errorf("%w: %s", ErrStillHeld, reason)
	}
	if g.tooLate(env, *item) {
		return queue.Change{}, ErrTooLate
	}
	now := g.now()
	item.State, item.NextTry, item.Told, item.Reply = message.Waiting, now, time.Time{}, ""
	return queue.Change{Events: []message.Event{{
		At: now, Kind: message.EventReleased, Authority: env.Authority, Message: env.ID, Item: item.Key.N, Data: map[string]string{
			"reason": byKey, "by": "gateway", "state": string(item.State), "class": string(item.Decision.Class),
			"route": item.Decision.Route, "via": item.Decision.Via, "because": policy.Because(item.Decision),
		},
	}}}, nil
}

// noOwnKey is the task for a person when mail came in that none of the
// authority's keys opens.
const noOwnKey = "encrypted for a key that is not here: import it, then the mail is opened by itself"

// waitFor notes that mail waits for a key: one of the authority, or one of its
// sender, who is asked for in the background.
func (g *Gateway) waitFor(env message.Envelope, item message.Item, s entity.Summary, from message.Address) {
	if g.o.Keys.Book == nil {
		return
	}
	u := keybook.Unopened{Message: env.ID, Item: item.Key.N, Authority: env.Authority, Until: item.EraseBy}
	switch {
	case s.Encryption == entity.NotForUs:
	case s.Signature == entity.UnknownKey && !from.IsNull():
		u.From = from.Key()
		if g.o.Keys.Lookup != nil {
			g.o.Keys.Lookup.Want(from)
		}
	default:
		return
	}
	if err := g.o.Keys.Book.Wait(u); err != nil {
		g.o.Log.Error("key book cannot note mail that waits for a key", "error", err)
	}
}

// openWaiting tries again what waited for keys that came: for anybody's if all,
// else of those senders.
func (g *Gateway) openWaiting(ctx context.Context, all bool, of map[string]bool) error {
	if g.o.Keys.Book == nil {
		return nil
	}
	var errs []error
	for _, u := range g.o.Keys.Book.Waiting() {
		if ctx.Err() != nil {
			break
		}
		if all || of[u.From] {
			errs = append(errs, g.openAgain(ctx, u))
		}
	}
	return errors.Join(errs...)
}

// openAgain looks at mail that waited; its event says what it is worth now.
func (g *Gateway) openAgain(ctx context.Context, u keybook.Unopened) error {
	forget := func() error { return g.o.Keys.Book.Opened(u.Message) }
	if g.now().After(u.Until) {
		return forget()
	}
	key := message.ItemKey{Message: u.Message, N: u.Item}
	err := g.insist(context.WithoutCancel(ctx), key, func(ctx context.Context, item *message.Item) (queue.Change, error) {
		env, _, err := g.o.Store.Message(ctx, u.Message)
		if err != nil {
			return queue.Change{}, err
		}
		found, err := g.protection(ctx, env, *item)
		if err != nil {
			return queue.Change{}, err
		}
		if found == nil || waits(u, found) {
			return queue.Change{}, errRecorded
		}
		if item.Alarm == noOwnKey {
			item.Alarm = ""
		}
		return queue.Change{Events: []message.Event{{At: g.now(), Kind: message.EventOpened, Authority: env.Authority, Message: env.ID, Item: u.Item, Data: found}}}, nil
	})
	switch {
	case err == nil, errors.Is(err, queue.ErrNotFound), errors.Is(err, vault.ErrGone):
		return forget()
	case errors.Is(err, errRecorded):
		return nil
	}
	return fmt.Errorf("open message %s: %w", u.Message, err)
}

// waits reports whether what was found still lacks the same key.
func waits(u keybook.Unopened, found map[string]string) bool {
	if u.From == "" {
		return found["encryption"] == string(entity.NotForUs)
	}
	return found["signature"] == string(entity.UnknownKey)
}
