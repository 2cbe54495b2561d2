package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatewayd/audit"
	"gatewayd/directory"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
)

// PersonFile is everything that the gateway holds about one person, as it may be
// given to this person: what names others is redacted.
type PersonFile struct {
	Address      string                `json:"address"`
	Authority    string                `json:"authority,omitempty"` // only what this one holds; empty: all
	At           time.Time             `json:"at"`
	Directory    *PersonEntry          `json:"directory,omitempty"`
	Messages     []PersonMessage       `json:"messages"`
	Unmatched    []message.Receipt     `json:"receipts_without_message,omitempty"`
	Keys         []message.KeyInfo     `json:"keys"`
	Destinations []message.Destination `json:"destinations"` // of the domain
	Events       []audit.Entry         `json:"events"`
	Remarks      []string              `json:"remarks"` // what this file cannot show
}

// PersonEntry is what the directory says, with every consent.
type PersonEntry struct {
	Name      string           `json:"name,omitempty"`
	Canton    string           `json:"canton,omitempty"`
	Platforms []PersonPlatform `json:"platforms,omitempty"`
	Consents  []PersonConsent  `json:"consents,omitempty"`
}

// PersonPlatform is a registration on a platform.
type PersonPlatform struct {
	Name       string    `json:"platform"`
	Identified bool      `json:"identified"`
	Checked    time.Time `json:"checked,omitzero"`
	Address    string    `json:"address,omitempty"`
}

// PersonConsent is a consent, given or revoked.
type PersonConsent struct {
	Authority string    `json:"authority"` // "*": every one
	Scope     string    `json:"scope"`
	Form      string    `json:"form,omitempty"`
	Given     time.Time `json:"given,omitzero"`
	Revoked   time.Time `json:"revoked,omitzero"`
	Evidence  string    `json:"evidence,omitempty"`
	Expects   string    `json:"expects,omitempty"`
}

// PersonMessage is one message to the person or from it.
type PersonMessage struct {
	ID        string            `json:"id"`
	Direction message.Direction `json:"direction"`
	Authority string            `json:"authority"`
	From      string            `json:"from"`
	Received  time.Time         `json:"received"`
	MessageID string            `json:"message_id,omitempty"`
	Content   message.Content   `json:"content"`
	Held      bool              `json:"content_held"` // it can still be read; the authority gives it out
	Items     []message.Item    `json:"items"`        // the person's own, or of a message from it those of authorities
	Others    int               `json:"other_recipients,omitempty"`
	Receipts  []message.Receipt `json:"receipts,omitempty"`
	Cases     []legal.Case      `json:"cases,omitempty"`
}

// redacted stands for what names somebody else.
const redacted = "[redacted]"

// PersonRemarks says what no file can show.
func PersonRemarks() []string {
	return []string{
		"free text (reasons, replies of mail systems) was searched for mail addresses only: read it before it is given out",
		"the content of messages is not part of this file; while it is held, the authority gives it out from its mailbox",
		"content that was exported before its erasure is encrypted to the authority's own key, and protocols of destruction name nobody: neither can be searched",
		"lines of the log whose key was destroyed can no longer be read by anybody",
	}
}

// Bounds of a file: a person with more is no person.
const (
	maxPersonMessages = 10_000
	maxPersonEvents   = 100_000
)

// ErrManyAnswers: more than one person can have.
var ErrManyAnswers = errors.New("more messages or events than a file can hold: name one authority")

// Person gathers the file of one person, and notes that it was, with the digest of
// what was given out (VeÜ, IDG: the right to one's own data). authority restricts
// it to what that authority holds; each answers for its own.
func (g *Gateway) Person(ctx context.Context, r message.Reading, a message.Address, authority string) ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	if a.IsNull() {
		return nil, errors.New("name the person by a mail address")
	}
	if authority != "" && g.byID[authority] == nil {
		return nil, fmt.Errorf("authority %s: %w", authority, queue.ErrNotFound)
	}
	if _, err := g.o.Audit.Drain(ctx, g.o.Store); err != nil && !errors.Is(err, audit.ErrBroken) {
		return nil, err
	}
	p := g.newPerson(a, authority)
	if err := p.gather(ctx); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(p.file, "", "  ")
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	sum := sha256.Sum256(text)
	err = g.noteRead(ctx, r, read{door: "person show", asked: a.String(), authority: authority, count: len(p.file.Messages) + len(p.file.Events), digest: message.Digest(sum).String()})
	if err != nil {
		return nil, err
	}
	return text, nil
}

// person is a file in the making.
type person struct {
	g    *Gateway
	keys map[string]bool             // the person's addresses, message.Address.Key
	own  map[message.ID]map[int]bool // its messages, and which items of them are shown
	file PersonFile
}

func (g *Gateway) newPerson(a message.Address, authority string) *person {
	p := &person{g: g, keys: map[string]bool{a.Key(): true}, own: map[message.ID]map[int]bool{}}
	p.file = PersonFile{
		Address: a.String(), Authority: authority, At: g.now(), Messages: []PersonMessage{}, Keys: []message.KeyInfo{}, Destinations: []message.Destination{}, Events: []audit.Entry{},
		Remarks: PersonRemarks(),
	}
	entry, ok := g.o.Directory().Recipient(a)
	if !ok {
		return p
	}
	p.file.Directory = &PersonEntry{Name: entry.Name, Canton: entry.Canton}
	for _, c := range entry.Consents {
		if authority == "" || c.Authority == authority || c.Authority == directory.Everybody {
			p.file.Directory.Consents = append(p.file.Directory.Consents, PersonConsent{c.Authority, string(c.Scope), c.Form, c.Given, c.Revoked, c.Evidence, c.Expects})
		}
	}
	for _, pl := range entry.Platforms {
		p.file.Directory.Platforms = append(p.file.Directory.Platforms, PersonPlatform{pl.Name, pl.Identified, pl.Checked, pl.Address.String()})
		if !pl.Address.IsNull() {
			p.keys[pl.Address.Key()] = true
		}
	}
	return p
}

func (p *person) gather(ctx context.Context) error {
	for _, a := range p.g.o.Authorities { // lookups are keyed per authority
		if err := p.findItems(ctx, a.ID); err != nil {
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
	all, err := p.g.Keys(ctx)
	if err != nil {
		return err
	}
	for _, k := range all {
		if p.keys[strings.ToLower(k.Address)] || slices.ContainsFunc(k.Names, func(n string) bool { return p.keys[strings.ToLower(n)] }) {
			p.file.Keys = append(p.file.Keys, k)
		}
	}
	for _, d := range p.g.inFlight.list(p.g.now()) {
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
			items, next, err := p.g.o.Store.Find(ctx, q)
			if err != nil {
				return err
			}
			for _, i := range items {
				p.mark(i.Key.Message, i.Key.N)
			}
			if len(p.own) > maxPersonMessages {
				return ErrManyAnswers
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
	return p.g.o.Audit.Entries(ctx, audit.Filter{}, func(e audit.Entry) error {
		if p.file.Authority != "" && e.Authority != "" && e.Authority != p.file.Authority {
			return nil
		}
		items, known := p.own[e.Message]
		names := p.named(e)
		if names && e.Kind == message.EventAccepted && !e.Message.IsZero() && p.has(e.Data["from"]) {
			p.mark(e.Message, 0) // from the person: every item
			items, known = p.own[e.Message], true
		}
		if !names && (!known || e.Item != 0 && !items[0] && !items[e.Item]) {
			return nil
		}
		if len(p.file.Events) == maxPersonEvents || len(p.own) > maxPersonMessages {
			return ErrManyAnswers
		}
		p.file.Events = append(p.file.Events, p.redact(e, items[0]))
		return nil
	})
}

func (p *person) named(e audit.Entry) bool {
	for _, value := range e.Data {
		if p.has(value) {
			return true
		}
	}
	return false
}

// addressIn finds what may be a mail address in a text.
var addressIn = regexp.MustCompile(`[^\s<>"'(),;:=\[\]|]+@[^\s<>"'(),;:=\[\]|]+`)

// has reports whether an address of the person stands in a text.
func (p *person) has(text string) bool {
	if !strings.Contains(text, "@") {
		return false
	}
	if p.keys[strings.ToLower(text)] {
		return true
	}
	return slices.ContainsFunc(addressIn.FindAllString(text, -1), p.is)
}

func (p *person) is(address string) bool {
	return p.keys[strings.ToLower(strings.TrimRight(address, "."))]
}

// mask takes out the addresses of others; those of the authorities are theirs to
// be known.
func (p *person) mask(text string) string {
	return addressIn.ReplaceAllStringFunc(text, func(found string) string {
		if p.is(found) || p.g.byAddress[strings.ToLower(strings.TrimRight(found, "."))] != nil {
			return found
		}
		return redacted
	})
}

// redact takes out of an event what names others: who worked on it, from where a
// client came that is not the person's, and every other address.
func (p *person) redact(e audit.Entry, fromPerson bool) audit.Entry {
	data := map[string]string{}
	for name, value := range e.Data {
		switch name {
		case "by", "account", "delegate", "signer":
			if !p.has(value) && value != "" {
				value = redacted
			}
		case "peer":
			if !fromPerson {
				value = redacted
			}
		case "message_id", "sha256":
		default:
			value = p.mask(value)
		}
		data[name] = value
	}
	if e.Data = data; len(data) == 0 {
		e.Data = nil
	}
	return e
}

// addMessage adds what the ledger has of a message.
func (p *person) addMessage(ctx context.Context, id message.ID) error {
	s, err := p.g.Message(ctx, id)
	if err != nil {
		return err
	}
	env := s.Envelope
	if p.file.Authority != "" && env.Authority != p.file.Authority {
		return nil
	}
	m := PersonMessage{
		ID: id.String(), Direction: env.Direction, Authority: env.Authority, From: p.mask(env.From.String()), Received: env.Received, MessageID: env.MessageID, Content: env.Content,
	}
	now := p.g.now()
	for _, i := range s.Items {
		if !p.own[id][0] && !p.own[id][i.Key.N] {
			m.Others++
			continue
		}
		m.Held = m.Held || i.Erased.IsZero() && i.EraseBy.After(now)
		m.Items = append(m.Items, p.item(i))
	}
	receipts, err := p.g.o.Store.Receipts(ctx, id)
	if err != nil && !errors.Is(err, queue.ErrNotFound) {
		return err
	}
	for _, r := range receipts {
		if p.own[id][0] || p.own[id][r.Item.N] {
			m.Receipts = append(m.Receipts, p.receipt(r))
		}
	}
	cases, err := p.g.Cases(ctx, id.String())
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

func (p *person) item(i message.Item) message.Item {
	if a := i.Recipient.Address.String(); p.mask(a) != a {
		i.Recipient = message.Recipient{} // of somebody else
	}
	i.Reply, i.Alarm = p.mask(i.Reply), p.mask(i.Alarm)
	if i.Filed.By != "" {
		i.Filed.By = redacted
	}
	return i
}

func (p *person) receipt(r message.Receipt) message.Receipt {
	r.Detail, r.Mismatch, r.FileName = p.mask(r.Detail), p.mask(r.Mismatch), p.mask(r.FileName)
	return r
}

func (p *person) legal(c legal.Case) legal.Case {
	if a := c.Addressee.SaidBy; a != "" {
		c.Addressee.SaidBy = redacted
	}
	c.Addressee.SaidWhy = p.mask(c.Addressee.SaidWhy)
	c.Tasks = slices.Clone(c.Tasks)
	for n := range c.Tasks {
		if c.Tasks[n].By != "" {
			c.Tasks[n].By = redacted
		}
		c.Tasks[n].How = p.mask(c.Tasks[n].How)
	}
	return c
}

// findReceipts finds receipts that name the person and belong to no message.
func (p *person) findReceipts(ctx context.Context) error {
	all, err := p.g.o.Store.Unmatched(ctx, queue.MaxPage)
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
