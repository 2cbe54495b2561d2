package gateway

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"gatewayd/mail/bounce"
	mailparts "gatewayd/mail/parts"
	"gatewayd/message"
	"gatewayd/queue"
)

// maxBounced bounds how many recipients of one report are looked up.
const maxBounced = 50

// mayBounce reports whether a mail that came in can be a report about one of
// ours: the null reverse-path (RFC 3464 section 2), or a mail system that does
// not keep to it. Other mail is not searched.
func mayBounce(env message.Envelope) bool {
	if env.Direction != message.Inbound {
		return false
	}
	local, _, _ := strings.Cut(env.HeaderFrom, "@")
	return env.From.IsNull() || strings.EqualFold(local, "mailer-daemon") || strings.EqualFold(local, "postmaster")
}

// bounced is what a report says of one item.
type bounced struct {
	key message.ItemKey
	by  bounce.Recipient
}

// bounces reads a mail as a report of a mail system and finds the items that it
// is about, by the Message-ID that it quotes and the recipient that it names. A
// report comes from strangers and proves nothing: it becomes an event and an
// alarm on its item, and closes nothing. What cannot be read is just a mail.
func (g *Gateway) bounces(ctx context.Context, env message.Envelope) []bounced {
	if !mayBounce(env) {
		return nil
	}
	body, err := g.o.Vault.OpenBody(env.Body)
	if err != nil {
		return nil
	}
	defer body.Close()
	sections, err := mailparts.Sections(body, body.Size())
	if err != nil {
		return nil
	}
	report, ok := bounce.Read(sections)
	if !ok || report.Original == nil {
		return nil
	}
	id := strings.TrimSpace(report.Original.Get("Message-ID"))
	if id == "" {
		return nil
	}
	items, _, err := g.o.Store.Find(ctx, queue.Query{Authority: env.Authority, MessageID: id, Limit: queue.MaxPage})
	if err != nil {
		return nil
	}
	var all []bounced
	for _, r := range report.Recipients[:min(len(report.Recipients), maxBounced)] {
		for _, item := range items {
			if reportsOn(r, item) {
				all = append(all, bounced{item.Key, r})
			}
		}
	}
	return all
}

// reportsOn reports whether what a report says of a recipient is about an item
// that has left.
func reportsOn(r bounce.Recipient, item message.Item) bool {
	to := item.Recipient.Address.Key()
	return !item.HandedAt.IsZero() && (r.Address.Key() == to || r.Original.Key() == to) && (r.Action == bounce.Failed || r.Action == bounce.Delayed)
}

// fileBounces notes on each item what was reported of it.
func (g *Gateway) fileBounces(ctx context.Context, f filing, c *queue.Change, now time.Time) error {
	seen := map[message.ItemKey]bool{f.leased.Key: true}
	for _, b := range f.bounces {
		if seen[b.key] {
			continue
		}
		seen[b.key] = true
		item, err := g.o.Store.Item(ctx, b.key)
		if errors.Is(err, queue.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if b.by.Action == bounce.Failed {
			item.Alarm = message.Bounded("a mail system reports that it was not delivered: " + strings.TrimSpace(b.by.Status+" "+string(b.by.Reason)))
			c.Items = append(c.Items, item)
		}
		c.Events = append(c.Events, message.Event{
			At: now, Kind: message.EventBounced, Authority: f.env.Authority, Message: b.key.Message, Item: b.key.N,
			Data: map[string]string{
				"action": b.by.Action, "status": b.by.Status, "permanent": strconv.FormatBool(b.by.Permanent), "reason": string(b.by.Reason),
				"diagnostic": message.Bounded(b.by.Diagnostic), "mail": f.env.ID.String(),
			},
		})
	}
	return nil
}
