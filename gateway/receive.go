package gateway

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/receipts"
)

// receive takes mail that came in (docs/flow.md, step 9): a platform's receipt
// becomes proof on its item, everything else lies in the authority's mailbox.
// After our 250 nobody repeats it, so this is leased work like any delivery.
func (g *Gateway) receive(ctx context.Context, env message.Envelope, item message.Item) {
	record := context.WithoutCancel(ctx)
	found, err := g.recognise(record, env, item)
	if err != nil && item.Attempts < unreadableAfter {
		g.settle(ctx, item.Key, outcome{err: fmt.Errorf("read receipt: %w", err)})
		return
	}
	for tries := 0; ; tries++ {
		err := g.file(record, env, item.Key, found)
		if err == nil {
			return
		}
		if !errors.Is(err, queue.ErrConflict) || tries > 100 {
			g.o.Log.Error("ledger does not take a receipt; will be tried again", "item", item.Key.String(), "error", err)
			if ctx.Err() != nil {
				return // found at the next start
			}
			g.pause(ctx, nil, g.retryPauses)
		}
	}
}

// unreadableAfter many attempts to read a mail as a receipt it lies in the
// mailbox as it is: nothing that came in is lost because we cannot read it.
const unreadableAfter = 3

// filed is a receipt with its finding; the document is in the vault already.
type filed struct {
	receipt message.Receipt
	finding receipts.Finding
}

// recognise reads what a platform says. Only the first recipient's item looks:
// one mail is one proof, to however many mailboxes it was addressed.
func (g *Gateway) recognise(ctx context.Context, env message.Envelope, item message.Item) ([]filed, error) {
	if env.Direction != message.Inbound || item.Key.N != 1 {
		return nil, nil
	}
	body, err := g.o.Vault.OpenBody(env.Body)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	roots := g.roots()
	findings, claimed, err := g.o.Recogniser.Recognise(receipts.Input{Envelope: env, Body: body, Size: body.Size(), Now: env.Received, Roots: roots})
	if err != nil {
		return nil, err
	}
	if !claimed {
		return nil, nil
	}
	var all []filed
	for i, f := range findings {
		r, err := g.receipt(ctx, env, f, i)
		if err != nil {
			return nil, err
		}
		all = append(all, filed{r, f})
	}
	return all, nil
}

func (g *Gateway) receipt(ctx context.Context, env message.Envelope, f receipts.Finding, n int) (message.Receipt, error) {
	r := message.Receipt{
		ID: receiptID(env.ID, n), Authority: env.Authority, Mail: env.ID, Kind: f.Kind, Platform: f.Platform, At: f.At, Received: env.Received,
		Verdict: f.Verdict, Detail: bounded(f.Detail), Signer: bounded(f.Signer), Code: f.Code,
		Digest: digestOf(f.Document), FileName: bounded(f.FileName), MediaType: f.MediaType,
	}
	if len(f.Document) > 0 {
		var err error
		// The document is proof: it follows the log window, not the content's.
		if r.Document, err = g.o.Vault.PutBlob(ctx, seal.Log, env.LogDay, f.Document); err != nil {
			return r, err
		}
	}
	return r, nil
}

// receiptID is derived from the mail's, so that a repeated attempt gives the
// same receipt.
func receiptID(mail message.ID, n int) message.ID {
	d := digestOf(fmt.Appendf(nil, "receipt %s %d", mail, n))
	id := mail
	copy(id[6:], d[:])
	return id
}

// file commits receipts, the items they move, and the end of the inbound item
// at once.
func (g *Gateway) file(ctx context.Context, env message.Envelope, key message.ItemKey, found []filed) error {
	now := g.now()
	item, err := g.o.Store.Item(ctx, key)
	if err != nil {
		return err
	}
	item.State, item.NextTry, item.HandedAt = message.Done, time.Time{}, now
	var c queue.Change
	moved := map[message.ItemKey]*message.Item{}
	for _, f := range found {
		if err := g.fileOne(ctx, env, f, &c, moved, now); err != nil {
			return err
		}
	}
	for _, m := range moved {
		c.Items = append(c.Items, *m)
	}
	c.Items = append(c.Items, item)
	if forPeople(found) {
		c.Events = append(c.Events, message.Event{At: now, Kind: message.EventMailbox, Authority: env.Authority, Message: env.ID, Item: key.N, Data: map[string]string{"to": item.Recipient.Address.String()}})
	}
	return g.o.Store.Apply(ctx, c)
}

// forPeople reports whether the mail lies in the mailbox for somebody to read:
// it is no receipt, or one that proves nothing by itself.
func forPeople(found []filed) bool {
	for _, f := range found {
		if f.receipt.Verdict == message.Verified {
			return false
		}
	}
	return true
}

func (g *Gateway) fileOne(ctx context.Context, env message.Envelope, f filed, c *queue.Change, moved map[message.ItemKey]*message.Item, now time.Time) error {
	r := f.receipt
	item, rung, ok, err := receipts.Match(ctx, f.finding, env.Authority, lookup{g.o.Store, g.byID})
	if err != nil {
		return err
	}
	event := message.Event{At: now, Kind: message.EventReceipt, Authority: env.Authority, Message: env.ID, Data: map[string]string{
		"kind": string(r.Kind), "platform": r.Platform, "verdict": string(r.Verdict), "at": r.At.Format(time.RFC3339), "mail": env.ID.String(), "sha256": r.Digest.String(), "detail": r.Detail,
	}}
	if !ok {
		event.Kind = message.EventUnmatched
		c.Receipts, c.Events = append(c.Receipts, r), append(c.Events, event)
		return nil
	}
	r.Item, r.MatchedBy = item.Key, rung
	event.Message, event.Item, event.Data["matched_by"] = item.Key.Message, item.Key.N, rung
	if r.Verdict == message.Forged {
		event.Kind = message.EventForged
	}
	if earlier := moved[item.Key]; earlier != nil {
		item = *earlier
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
	next, changes := advance(item, append(rs, r))
	moved[item.Key] = &next
	c.Receipts, c.Events = append(c.Receipts, r), append(c.Events, event)
	if len(changes) > 0 {
		c.Events = append(c.Events, message.Event{At: now, Kind: message.EventCase, Authority: env.Authority, Message: item.Key.Message, Item: item.Key.N, Data: map[string]string{
			"case": string(next.Case), "state": string(next.State), "at": next.CaseAt.Format(time.RFC3339), "change": strings.Join(changes, "; "),
		}})
	}
	return nil
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
