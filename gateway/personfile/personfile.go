// Package personfile gathers everything that the gateway holds about one person,
// as it may be given to this person (IDG BL, law.md W-09): what names others is
// redacted. It only reads.
package personfile

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"gatewayd/audit"
	"gatewayd/directory"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
)

// Bounds of a file: a person with more is no person.
const (
	maxMessages = 10_000
	maxEvents   = 100_000
)

// ErrTooMany: more than one person can have.
var ErrTooMany = errors.New("more messages or events than a file can hold: name one authority")

// Holdings is where a person can stand.
type Holdings struct {
	Flow        Flow
	Ledger      Ledger
	Log         Log
	Directory   Directory
	Authorities []string                  // every one: lookups are keyed per authority
	Ours        func(address string) bool // whether an address is an authority's: theirs are to be known
}

// Flow is what the gateway itself knows (gateway.Gateway).
type Flow interface {
	Message(ctx context.Context, id message.ID) (message.Story, error)
	Cases(ctx context.Context, question string) ([]legal.Case, error)
	Keys(ctx context.Context) ([]message.KeyInfo, error)
	Destinations(ctx context.Context) ([]message.Destination, error)
}

// Ledger is the part of queue.Store that is asked.
type Ledger interface {
	Find(ctx context.Context, q queue.Query) (items []message.Item, next string, err error)
	Receipts(ctx context.Context, id message.ID) ([]message.Receipt, error)
	Unmatched(ctx context.Context, limit int) ([]message.Receipt, error)
}

// Log is the audit log (audit.Log).
type Log interface {
	Entries(ctx context.Context, f audit.Filter, fn func(audit.Entry) error) error
}

// Directory is the directory as it is now (directory.Directory).
type Directory interface {
	Recipient(a message.Address) (directory.Recipient, bool)
}

// Gather makes the file of one person as of now. authority restricts it to what
// that authority holds, for each answers for its own; empty: all of it.
func Gather(ctx context.Context, h Holdings, a message.Address, authority string, now time.Time) (File, error) {
	p := newPerson(h, a, authority, now)
	err := p.gather(ctx)
	return p.file, err
}

// person is a file in the making.
type person struct {
	h    Holdings
	keys map[string]bool             // the person's addresses, message.Address.Key
	own  map[message.ID]map[int]bool // its messages, and which items of them are shown
	said map[message.ID]bool         // messages that are the person's by their From field alone
	name string                      // the person's, folded
	// others are names of others, folded, which are redacted wherever they stand.
	others map[string]bool
	file   File
}

func newPerson(h Holdings, a message.Address, authority string, now time.Time) *person {
	p := &person{h: h, keys: map[string]bool{a.Key(): true}, own: map[message.ID]map[int]bool{}, said: map[message.ID]bool{}, others: map[string]bool{}}
	p.file = File{
		Address: a.String(), Authority: authority, At: now, Messages: []Message{}, Keys: []message.KeyInfo{}, Destinations: []message.Destination{}, Events: []audit.Entry{},
		Remarks: Remarks(),
	}
	entry, ok := h.Directory.Recipient(a)
	if !ok {
		return p
	}
	p.name = strings.ToLower(entry.Name)
	p.file.Directory = &Entry{Name: entry.Name, Canton: entry.Canton}
	for _, c := range entry.Consents {
		if authority == "" || c.Authority == authority || c.Authority == directory.Everybody {
			p.file.Directory.Consents = append(p.file.Directory.Consents, Consent{c.Authority, string(c.Scope), c.Form, c.Given, c.Revoked, c.Evidence, c.Expects})
		}
	}
	for _, pl := range entry.Platforms {
		p.file.Directory.Platforms = append(p.file.Directory.Platforms, Platform{pl.Name, pl.Identified, pl.Checked, pl.Address.String()})
		if !pl.Address.IsNull() {
			p.keys[pl.Address.Key()] = true
		}
	}
	return p
}

func (p *person) gather(ctx context.Context) error {
	for _, a := range p.h.Authorities { // lookups are keyed per authority
		if err := p.findItems(ctx, a); err != nil {
			return err
		}
	}
	if err := p.findEvents(ctx); err != nil {
		return err
	}
	ids := make([]message.ID, 0, len(p.own))
	for id := range p.own {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b message.ID) int { return strings.Compare(a.String(), b.String()) })
	for _, id := range ids {
		if err := p.addMessage(ctx, id); err != nil && !errors.Is(err, queue.ErrNotFound) {
			return err
		}
	}
	if err := p.findReceipts(ctx); err != nil {
		return err
	}
	p.maskNames()
	all, err := p.h.Flow.Keys(ctx)
	if err != nil {
		return err
	}
	for _, k := range all {
		if p.keys[strings.ToLower(k.Address)] || slices.ContainsFunc(k.Names, func(n string) bool { return p.keys[strings.ToLower(n)] }) {
			p.file.Keys = append(p.file.Keys, k)
		}
	}
	destinations, err := p.h.Flow.Destinations(ctx)
	if err != nil {
		return err
	}
	for _, d := range destinations {
		for key := range p.keys {
			if _, domain, _ := strings.Cut(key, "@"); strings.HasSuffix(d.Name, ":"+domain) {
				d.Reason = p.mask(d.Reason)
				p.file.Destinations = append(p.file.Destinations, d)
				break
			}
		}
	}
	return nil
}

// findItems finds the messages to the person.
func (p *person) findItems(ctx context.Context, authority string) error {
	if p.file.Authority != "" && p.file.Authority != authority {
		return nil
	}
	for key := range p.keys {
		q := queue.Query{Authority: authority, Recipient: key, Limit: 1000}
		for {
			items, next, err := p.h.Ledger.Find(ctx, q)
			if err != nil {
				return err
			}
			for _, i := range items {
				p.mark(i.Key.Message, i.Key.N)
			}
			if len(p.own) > maxMessages {
				return ErrTooMany
			}
			if q.After = next; next == "" {
				break
			}
		}
	}
	return nil
}

func (p *person) mark(id message.ID, n int) {
	if p.own[id] == nil {
		p.own[id] = map[int]bool{}
	}
	p.own[id][n] = true
}

// findEvents reads the whole log: a message from the person is found by nothing
// else, and an address may stand in any event.
func (p *person) findEvents(ctx context.Context) error {
	return p.h.Log.Entries(ctx, audit.Filter{}, func(e audit.Entry) error {
		if p.file.Authority != "" && e.Authority != "" && e.Authority != p.file.Authority {
			return nil
		}
		items, known := p.own[e.Message]
		names := p.named(e)
		if !names && !known && e.Kind == message.EventAccepted {
			claims, err := p.claimed(ctx, e.Message)
			if err != nil {
				return err
			}
			if claims {
				p.said[e.Message] = true
				p.mark(e.Message, 0)
				items, known = p.own[e.Message], true
			}
		}
		if names && e.Kind == message.EventAccepted && !e.Message.IsZero() && p.has(e.Data["from"]) {
			p.mark(e.Message, 0) // from the person: every item
			items, known = p.own[e.Message], true
		}
		if !names && (!known || e.Item != 0 && !items[0] && !items[e.Item]) {
			return nil
		}
		if len(p.file.Events) == maxEvents || len(p.own) > maxMessages {
			return ErrTooMany
		}
		p.file.Events = append(p.file.Events, p.redact(e, items[0] && !p.said[e.Message]))
		return nil
	})
}

// claimed reports whether the From field of a message names the person.
func (p *person) claimed(ctx context.Context, id message.ID) (bool, error) {
	s, err := p.h.Flow.Message(ctx, id)
	if errors.Is(err, queue.ErrNotFound) {
		return false, nil
	}
	return err == nil && p.has(s.Envelope.HeaderFrom), err
}

func (p *person) named(e audit.Entry) bool {
	for _, value := range e.Data {
		if p.has(value) {
			return true
		}
	}
	return false
}

// addMessage adds what the ledger has of a message.
func (p *person) addMessage(ctx context.Context, id message.ID) error {
	s, err := p.h.Flow.Message(ctx, id)
	if err != nil {
		return err
	}
	env := s.Envelope
	if p.file.Authority != "" && env.Authority != p.file.Authority {
		return nil
	}
	m := Message{
		ID: id.String(), Direction: env.Direction, Authority: env.Authority, From: p.mask(env.From.String()), Received: env.Received, MessageID: env.MessageID, Content: env.Content,
		Claimed: p.said[id],
	}
	for _, i := range s.Items {
		if !p.own[id][0] && !p.own[id][i.Key.N] {
			m.Others++
			if other, ok := p.h.Directory.Recipient(i.Recipient.Address); ok {
				p.another(other.Name)
			}
			continue
		}
		m.Held = m.Held || i.Erased.IsZero() && i.EraseBy.After(p.file.At)
		m.Items = append(m.Items, p.item(i))
	}
	receipts, err := p.h.Ledger.Receipts(ctx, id)
	if err != nil && !errors.Is(err, queue.ErrNotFound) {
		return err
	}
	for _, r := range receipts {
		if p.own[id][0] || p.own[id][r.Item.N] {
			m.Receipts = append(m.Receipts, p.receipt(r))
		}
	}
	cases, err := p.h.Flow.Cases(ctx, id.String())
	if err != nil {
		return err
	}
	for _, c := range cases {
		if p.own[id][0] || p.own[id][c.Item.N] {
			m.Cases = append(m.Cases, p.legal(c))
		}
	}
	p.file.Messages = append(p.file.Messages, m)
	return nil
}

// findReceipts finds receipts that name the person and belong to no message.
func (p *person) findReceipts(ctx context.Context) error {
	all, err := p.h.Ledger.Unmatched(ctx, queue.MaxPage)
	if err != nil {
		return err
	}
	for _, r := range all {
		if (p.file.Authority == "" || r.Authority == p.file.Authority) && (p.has(r.Detail) || p.has(r.FileName)) {
			p.file.Unmatched = append(p.file.Unmatched, p.receipt(r))
		}
	}
	return nil
}
