package gateway

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/gateway/proofs"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/receipts"
)

// receive takes mail that came in (docs/flow.md, step 9): a platform's receipt
// becomes proof on its item, everything else lies in the authority's mailbox.
// After our 250 nobody repeats it, so this is leased work like any delivery.
func (g *Gateway) receive(ctx context.Context, env message.Envelope, item message.Item) bool {
	record := context.WithoutCancel(ctx)
	found, err := g.recognise(record, env, item)
	var unreadable *proofs.UnreadableError
	readable := !errors.As(err, &unreadable)
	if err != nil && (readable || item.Attempts < unreadableAfter) {
		return g.settle(ctx, env, item, outcome{err: fmt.Errorf("read receipt: %w", err)})
	}
	if forPeople(found) && env.Direction == message.Inbound {
		if o := g.scanOutcome(ctx, env); o != nil {
			return g.settle(ctx, env, item, *o)
		}
	}
	f := filing{env: env, leased: item, found: found, unread: !readable}
	if len(found) == 0 && readable && item.Key.N == 1 {
		f.bounces = g.bounces(record, env)
	}
	if forPeople(found) && env.Direction == message.Inbound {
		f.protection, err = g.protection(record, env, item)
		if errors.Is(err, cms.ErrKeyAway) {
			return g.settle(ctx, env, item, outcome{err: fmt.Errorf("open mail: %w", err)}) // it waits until its keys can be asked
		}
		if err != nil { // then it lies there as it is
			g.o.Log.Warn("the protection of a mail could not be looked at", "item", item.Key.String(), "error", err)
		}
	}
	pause := g.retryPause
	err = g.file(record, f, item)
	for conflicts := 0; ; err = g.fileAgain(record, f) {
		switch {
		case err == nil, errors.Is(err, errRecorded):
			return true
		case errors.Is(err, queue.ErrConflict) && conflicts < maxConflicts:
			conflicts++
			continue
		}
		g.o.Log.Error("ledger does not take a receipt; will be tried again", "item", item.Key.String(), "error", err)
		switch {
		case ctx.Err() != nil:
			return false // found at the next start
		case hopeless(err) && !f.unmatched && len(found)+len(f.bounces) > 0:
			f.unmatched, f.bounces = true, nil // it cannot be brought to its item: a person must
		case hopeless(err):
			return false
		}
		g.pause(ctx, nil, pause)
		pause = min(2*pause, longestPause)
	}
}

// unreadableAfter many attempts to read a mail as a receipt it lies in the
// mailbox as it is, with an alarm: nothing that came in is lost because we
// cannot read it. Trouble of our own, such as a full disk, does not count.
const unreadableAfter = 3

// filing is what becomes of one mail that came in.
type filing struct {
	env       message.Envelope
	leased    message.Item
	found     []proofs.Proof
	unread    bool // it could not be read
	unmatched bool // its receipts cannot be brought to their items
	bounces   []bounced
	// protection is what S/MIME and OpenPGP around a mail for people are worth;
	// nil: there is none.
	protection map[string]string
}

// recognise reads what a platform says. Only the first recipient's item looks:
// one mail is one proof, to however many mailboxes it was addressed.
func (g *Gateway) recognise(ctx context.Context, env message.Envelope, item message.Item) ([]proofs.Proof, error) {
	if env.Direction != message.Inbound || item.Key.N != 1 {
		return nil, nil
	}
	found, err := g.proofs.Read(ctx, env)
	for _, p := range found {
		g.proven.saw(p.Receipt)
	}
	return found, err
}

// file commits receipts, the items they move, and the end of the inbound item
// at once.
//
// item is the inbound item as it is known; queue.ErrConflict when that, or an
// item that is moved, is not how the ledger has it.
func (g *Gateway) file(ctx context.Context, f filing, item message.Item) error {
	now, env := g.now(), f.env
	if f.unread {
		item.Alarm = "a mail that may be a receipt could not be read: look at it in the mailbox"
	}
	if f.protection["encryption"] == string(entity.NotForUs) {
		item.Alarm = noOwnKey
	}
	item.State, item.NextTry, item.HandedAt = message.Done, time.Time{}, now
	var c queue.Change
	byKey := map[message.ItemKey]*moved{}
	for _, r := range f.found {
		if f.unmatched {
			c.Receipts, c.Events = append(c.Receipts, r.Receipt), append(c.Events, receiptEvent(message.EventUnmatched, env, r.Receipt, now))
			continue
		}
		if err := g.fileOne(ctx, env, r, &c, byKey, now); err != nil {
			return err
		}
	}
	for _, m := range byKey {
		if err := g.tellMoved(ctx, m, &c, now); err != nil {
			return err
		}
		c.Items = append(c.Items, m.item)
	}
	if err := g.fileBounces(ctx, f, &c, now); err != nil {
		return err
	}
	c.Items = append(c.Items, item)
	if forPeople(f.found) {
		data := map[string]string{"to": item.Recipient.Address.String()}
		maps.Copy(data, f.protection)
		c.Events = append(c.Events, message.Event{At: now, Kind: message.EventMailbox, Authority: env.Authority, Message: env.ID, Item: item.Key.N, Data: data})
	}
	return g.o.Store.Apply(ctx, c)
}

// fileAgain is file with the item as the ledger has it now.
func (g *Gateway) fileAgain(ctx context.Context, f filing) error {
	item, err := g.o.Store.Item(ctx, f.leased.Key)
	switch {
	case err != nil:
		return err
	case item.State != message.Sending || item.Attempts != f.leased.Attempts:
		return errRecorded
	}
	return g.file(ctx, f, item)
}

// moved is an item that receipts of one mail move.
type moved struct {
	item message.Item
	was  message.State
}

// tellMoved reports to the sender that a platform could not deliver what it had
// taken.
func (g *Gateway) tellMoved(ctx context.Context, m *moved, c *queue.Change, now time.Time) error {
	if m.item.State != message.Refused || m.was == message.Refused {
		return nil
	}
	env, _, err := g.o.Store.Message(ctx, m.item.Key.Message)
	if err != nil {
		return err
	}
	m.item.Reply = message.Bounded("the platform reports: " + string(m.item.Case))
	notice, err := g.notices.Failed(ctx, env, m.item, now)
	if err != nil || notice == nil {
		return err
	}
	c.New = append(c.New, *notice)
	c.Events = append(c.Events, noticeEvent(env, m.item, notice.Envelope.ID, now))
	return nil
}

// forPeople reports whether the mail lies in the mailbox for somebody to read:
// it is no receipt, or one that proves nothing by itself.
func forPeople(found []proofs.Proof) bool {
	for _, f := range found {
		if f.Receipt.Verdict == message.Verified {
			return false
		}
	}
	return true
}

func (g *Gateway) fileOne(ctx context.Context, env message.Envelope, f proofs.Proof, c *queue.Change, byKey map[message.ItemKey]*moved, now time.Time) error {
	r := f.Receipt
	item, rung, ok, err := receipts.Match(ctx, f.Finding, env.Authority, lookup{g.o.Store, g.byID})
	if err != nil {
		return err
	}
	if !ok {
		c.Receipts, c.Events = append(c.Receipts, r), append(c.Events, receiptEvent(message.EventUnmatched, env, r, now))
		return nil
	}
	event := receiptEvent(message.EventReceipt, env, r, now)
	r.Item, r.MatchedBy = item.Key, rung
	if r.Verdict == message.Verified {
		if r.Fits, r.Mismatch, err = g.compare(ctx, f.Finding, item.Key.Message); err != nil {
			return err
		}
		if r.Mismatch != "" {
			event.Data["mismatch"] = r.Mismatch
		}
	}
	event.Message, event.Item, event.Data["matched_by"] = item.Key.Message, item.Key.N, rung
	if r.Verdict == message.Forged {
		event.Kind = message.EventForged
	}
	m := byKey[item.Key]
	if m == nil {
		m = &moved{item: item, was: item.State}
		byKey[item.Key] = m
	}
	rs, err := g.receiptsOf(ctx, item.Key)
	if err != nil {
		return err
	}
	for _, other := range c.Receipts {
		if other.Item == item.Key {
			rs = append(rs, other)
		}
	}
	next, changes := advance(m.item, append(rs, r), now)
	m.item = next
	c.Receipts, c.Events = append(c.Receipts, r), append(c.Events, event)
	if len(changes) > 0 {
		c.Events = append(c.Events, message.Event{At: now, Kind: message.EventCase, Authority: env.Authority, Message: item.Key.Message, Item: item.Key.N, Data: map[string]string{
			"case": string(next.Case), "state": string(next.State), "at": next.CaseAt.Format(time.RFC3339), "change": strings.Join(changes, "; "),
		}})
	}
	return nil
}

// compare says whether a verified receipt names what was sent.
func (g *Gateway) compare(ctx context.Context, f receipts.Finding, id message.ID) (fits, differs string, err error) {
	env, _, err := g.o.Store.Message(ctx, id)
	if err != nil {
		return "", "", err
	}
	return g.proofs.Compare(f, env)
}

func receiptEvent(kind message.EventKind, env message.Envelope, r message.Receipt, now time.Time) message.Event {
	return message.Event{At: now, Kind: kind, Authority: env.Authority, Message: env.ID, Data: map[string]string{
		"kind": string(r.Kind), "platform": r.Platform, "verdict": string(r.Verdict), "at": r.At.Format(time.RFC3339), "mail": env.ID.String(), "sha256": r.Digest.String(), "detail": r.Detail,
	}}
}

// lookup answers the matching ladder from the ledger.
type lookup struct {
	store queue.Store
	byID  map[string]*Authority
}

// Senders lists the addresses from which an authority sends.
func (l lookup) Senders(_ context.Context, authority string) ([]message.Address, error) {
	a := l.byID[authority]
	if a == nil {
		return nil, nil
	}
	all := append([]message.Address(nil), a.Addresses...)
	for _, addr := range a.Platforms {
		all = append(all, addr)
	}
	return all, nil
}

// ByReference finds items by their short reference.
func (l lookup) ByReference(ctx context.Context, ref string) ([]message.Item, error) {
	return l.find(ctx, queue.Query{Reference: ref, Limit: 10})
}

// ByMessageID finds items by the Message-ID of their message, as it came or as it left.
func (l lookup) ByMessageID(ctx context.Context, authority, id string) ([]message.Item, error) {
	return l.find(ctx, queue.Query{Authority: authority, MessageID: id, Limit: 10})
}

// ByRecipient finds the items of an authority for a recipient, newest last.
func (l lookup) ByRecipient(ctx context.Context, authority string, to message.Address) ([]message.Item, error) {
	return l.find(ctx, queue.Query{Authority: authority, Recipient: to.Key(), Limit: 1000})
}

// Envelope returns the envelope of a message.
func (l lookup) Envelope(ctx context.Context, id message.ID) (message.Envelope, error) {
	env, _, err := l.store.Message(ctx, id)
	return env, err
}

func (l lookup) find(ctx context.Context, q queue.Query) ([]message.Item, error) {
	items, _, err := l.store.Find(ctx, q)
	return items, err
}

// roots are the anchors of every platform: a receipt may come from the other one.
func (g *Gateway) roots() map[string]*x509.CertPool {
	all := map[string]*x509.CertPool{}
	for name, p := range g.o.Platforms {
		all[name] = p.Roots
	}
	return all
}
