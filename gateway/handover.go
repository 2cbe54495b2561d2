package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/gateway/cases"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/retention"
)

// HandOver records what became of a message and its receipts: the authority's
// own file has them, or the archive has answered. Once that is settled, repeating
// it changes nothing, and the first word is returned. queue.ErrConflict: for some
// recipient the message is still on its way. *message.Refusal: it cannot be said,
// e.g. because the file has other octets than were accepted.
func (p *Programs) HandOver(ctx context.Context, authority string, id message.ID, f message.Filing) (message.Filing, error) {
	if err := f.Check(); err != nil {
		return message.Filing{}, &message.Refusal{Code: 550, Enhanced: "5.7.0", Text: err.Error()}
	}
	var err error
	for range maxConflicts {
		var s message.Story
		if s, err = p.message(ctx, authority, id); err != nil {
			return message.Filing{}, err
		}
		if said := f.SHA256; said != "" && !strings.EqualFold(said, s.Envelope.Content.Digest.String()) {
			return message.Filing{}, &message.Refusal{Code: 550, Enhanced: "5.7.0", Text: "the file has other octets than were accepted: fetch the message again and compare its SHA-256"}
		}
		if s.Receipts, err = p.g.o.Store.Receipts(ctx, id); err != nil && !errors.Is(err, queue.ErrNotFound) { // in the tail still: no receipts
			return message.Filing{}, err
		}
		f.At = p.g.now()
		c, err2 := fileAll(s, f)
		if err2 != nil || len(c.Items) == 0 {
			return s.Items[0].Filed, err2
		}
		if err = p.g.o.Store.Apply(ctx, c); !errors.Is(err, queue.ErrConflict) {
			return f, err
		}
	}
	return message.Filing{}, err
}

// fileAll returns the change by which a message counts as filed; without items:
// that was settled before.
func fileAll(s message.Story, f message.Filing) (queue.Change, error) {
	e := message.Event{At: f.At, Kind: message.EventHandedOver, Authority: s.Envelope.Authority, Message: s.Envelope.ID, Data: map[string]string{
		"by": f.By, "disposition": string(f.Disposition), "file_ref": f.Ref, "receipts": strconv.Itoa(len(s.Receipts)),
	}}
	if f.SHA256 != "" {
		e.Data["sha256"] = strings.ToLower(f.SHA256)
	}
	c := queue.Change{Events: []message.Event{e}}
	for _, item := range s.Items {
		if !item.State.Final() {
			return c, fmt.Errorf("item %s is %s: %w", item.Key, item.State, queue.ErrConflict)
		}
		if !item.HandedOver.IsZero() {
			continue
		}
		if item.Filed = f; f.Disposition.Settles() {
			item.HandedOver = f.At
			item.Alarm = message.WithAlarm(item.Alarm, lossOwner, "")
			if cases.Watched(item) {
				item.NextTry = f.At // alarms that only inform end with it
			}
		}
		c.Items = append(c.Items, item)
	}
	return c, nil
}

// unfiled says how a message stands that is not filed; ok is false for one that
// is, or of which nothing is kept.
func (g *Gateway) unfiled(env message.Envelope, items []message.Item) (u message.Unfiled, ok bool) {
	o := g.object(env, items, false)
	if o.Confirmed || o.NoRecord || o.Agreement != "" || !o.Erased.IsZero() {
		return u, false
	}
	_, err := os.Stat(g.exportPath(env))
	u = message.Unfiled{
		ID: env.ID, Direction: env.Direction, Class: items[0].Decision.Class, Received: env.Received, Size: env.Content.Size, SHA256: o.SHA256,
		Open: o.Open, Filed: items[0].Filed, Exported: err == nil,
	}
	for _, i := range items {
		if u.EraseBy.IsZero() || i.EraseBy.Before(u.EraseBy) {
			u.EraseBy = i.EraseBy
		}
	}
	u.Export = u.EraseBy.Add(-retention.ExportBefore)
	u.Lost = lost(items)
	return u, u.Lost || u.EraseBy.After(g.now())
}

// lossOwner is who writes the alarm of what was lost (message.WithAlarm); it stands
// until somebody says what became of the matter (HandOver).
const lossOwner = "content"

const lossAlarm = "it was destroyed at its limit, and nobody has it: tell the sender or the authority, then say what became of it (handover confirm)"

func lost(items []message.Item) bool {
	return slices.ContainsFunc(items, func(i message.Item) bool { return strings.Contains(i.Alarm, lossOwner+": "+lossAlarm) })
}

// Lost implements retention.Messages: an event, and an alarm on every item, in one
// commit.
func (m sweepMessages) Lost(ctx context.Context, o retention.Object, because string, now time.Time) (bool, error) {
	id, err := message.ParseID(o.ID)
	if err != nil {
		return false, err
	}
	for range maxConflicts {
		env, items, err2 := m.r.g.o.Store.Message(ctx, id)
		if err2 != nil || lost(items) {
			return false, err2
		}
		states := map[string]bool{}
		for i := range items {
			states[string(items[i].State)] = true
			items[i].Alarm = message.WithAlarm(items[i].Alarm, lossOwner, lossAlarm)
		}
		err = m.r.g.o.Store.Apply(ctx, queue.Change{Items: items, Events: []message.Event{{
			At: now, Kind: message.EventLost, Authority: env.Authority, Message: id,
			Data: map[string]string{"day": env.EraseDay, "sha256": o.SHA256, "because": because, "state": strings.Join(slices.Sorted(maps.Keys(states)), " ")},
		}}})
		if !errors.Is(err, queue.ErrConflict) {
			break
		}
	}
	return err == nil, err
}

// Unfiled returns a page of an authority's messages whose content nobody has
// filed yet, the oldest first. A page may have fewer than limit messages although
// more follow; the last one has no next cursor.
func (p *Programs) Unfiled(ctx context.Context, authority, after string, limit int) (page []message.Unfiled, next string, err error) {
	for seen := 0; len(page) < limit && seen < scanned; after = next {
		stories, more, err := p.Mailbox(ctx, authority, "", after, limit-len(page))
		if err != nil {
			return nil, "", err
		}
		for _, s := range stories {
			if u, ok := p.g.unfiled(s.Envelope, s.Items); ok {
				page = append(page, u)
			}
		}
		if seen, next = seen+max(1, len(stories)), more; next == "" {
			break
		}
	}
	return page, next, nil
}

// HandOver records an authority's word that an administrator brings.
func (g *Gateway) HandOver(ctx context.Context, authority string, id message.ID, f message.Filing) (message.Filing, error) {
	f.By = administrator
	return NewPrograms(g).HandOver(ctx, authority, id, f)
}

// Unfiled returns a page of an authority's messages that nobody has filed yet.
func (g *Gateway) Unfiled(ctx context.Context, authority, after string, limit int) ([]message.Unfiled, string, error) {
	return NewPrograms(g).Unfiled(ctx, authority, after, limit)
}

// reminds reports whether a message is a reminder of ours: it is about no
// message, and no record.
func reminds(env message.Envelope) bool {
	return env.Direction == message.Notice && env.About.Message.IsZero()
}

// agreement returns the standing agreement that covers all of a message.
func (g *Gateway) agreement(env message.Envelope, items []message.Item) string {
	for _, a := range g.o.Agreements {
		if !slices.ContainsFunc(items, func(i message.Item) bool {
			return !a.Covers(env.Authority, string(i.Decision.Class), string(env.Direction))
		}) {
			return a.ID
		}
	}
	return ""
}

// File implements retention.Messages.
func (m sweepMessages) File(ctx context.Context, o retention.Object, now time.Time) error {
	id, err := message.ParseID(o.ID)
	if err != nil {
		return err
	}
	for range maxConflicts {
		s := message.Story{}
		if s.Envelope, s.Items, err = m.r.g.o.Store.Message(ctx, id); err != nil {
			return err
		}
		if s.Receipts, err = m.r.g.o.Store.Receipts(ctx, id); err != nil {
			return err
		}
		c, err2 := fileAll(s, message.Filing{Disposition: message.StandingAgreement, Ref: o.Agreement, By: "standing agreement", At: now})
		if err2 != nil || len(c.Items) == 0 {
			return err2
		}
		if err = m.r.g.o.Store.Apply(ctx, c); !errors.Is(err, queue.ErrConflict) {
			return err
		}
	}
	return err
}

// Remind implements retention.Messages: a mail into the authority's mailbox, and
// an event in its feed, in one commit.
func (m sweepMessages) Remind(ctx context.Context, authority string, about retention.Reminder, now time.Time) error {
	g := m.r.g
	a := g.byID[authority]
	if a == nil || len(a.Addresses) == 0 {
		return nil // it is no authority of this configuration any more: nobody to tell
	}
	to := a.Addresses[0]
	notice, err := g.notices.Unfiled(ctx, authority, to, about, now)
	if err != nil {
		return err
	}
	return g.o.Store.Apply(ctx, queue.Change{New: []queue.Accepted{*notice}, Events: []message.Event{{
		At: now, Kind: message.EventUnfiled, Authority: authority, Data: map[string]string{
			"day": about.Day, "count": strconv.Itoa(about.Count), "until": about.Export.In(calendar.Zone()).Format(time.RFC3339), "exported": strconv.FormatBool(about.Exported), "lost": strconv.FormatBool(about.Lost),
			"notice": notice.Envelope.ID.String(), "to": to.String(),
		},
	}}})
}
