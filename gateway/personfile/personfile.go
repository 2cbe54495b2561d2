// Package personfile gathers everything that the gateway holds about one person,
// as it may be given to this person (IDG BL, law.md W-09): what names others is
// redacted. It only reads.
package personfile

import (
	"cmp"
	"context"
	"errors"
	"maps"
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

// File is everything that is held about one person.
type File struct {
	Address      string                `json:"address"`
	Authority    string                `json:"authority,omitempty"` // only what this one holds; empty: all
	At           time.Time             `json:"at"`
	Directory    *Entry                `json:"directory,omitempty"`
	Messages     []Message             `json:"messages"`
	Unmatched    []message.Receipt     `json:"receipts_without_message,omitempty"`
	Keys         []message.KeyInfo     `json:"keys"`
	Destinations []message.Destination `json:"destinations"` // of the domain
	Events       []audit.Entry         `json:"events"`
	Remarks      []string              `json:"remarks"` // what this file cannot show
}

// Entry is what the directory says, with every consent.
type Entry struct {
	Name      string     `json:"name,omitempty"`
	Canton    string     `json:"canton,omitempty"`
	Platforms []Platform `json:"platforms,omitempty"`
	Consents  []Consent  `json:"consents,omitempty"`
}

// Platform is a registration on a platform.
type Platform struct {
	Name       string    `json:"platform"`
	Identified bool      `json:"identified"`
	Checked    time.Time `json:"checked,omitzero"`
	Address    string    `json:"address,omitempty"`
}

// Consent is a consent, given or revoked.
type Consent struct {
	Authority string    `json:"authority"` // "*": every one
	Scope     string    `json:"scope"`
	Form      string    `json:"form,omitempty"`
	Given     time.Time `json:"given,omitzero"`
	Revoked   time.Time `json:"revoked,omitzero"`
	Evidence  string    `json:"evidence,omitempty"`
	Expects   string    `json:"expects,omitempty"`
}

// Message is one message to the person or from it.
type Message struct {
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
	Claimed   bool              `json:"only_by_from_field,omitempty"` // its From field names the person, its envelope does not: nobody has proven that it is from the person
	Receipts  []message.Receipt `json:"receipts,omitempty"`
	Cases     []legal.Case      `json:"cases,omitempty"`
}

// redacted stands for what names somebody else.
const redacted = "[redacted]"

// Remarks says what no file can show.
func Remarks() []string {
	return []string{
		"free text (reasons, replies of mail systems) was searched for mail addresses, names beside them and names of the directory only: read it before it is given out",
		"mail is found by its envelope and its From field; Sender and Reply-To stand in its content only",
		"the content of messages is not part of this file; while it is held, the authority gives it out from its mailbox",
		"content that was exported before its erasure is encrypted to the authority's own key, and protocols of destruction name nobody: neither can be searched",
		"lines of the log whose key was destroyed can no longer be read by anybody",
	}
}

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
	text = namedAddress.ReplaceAllStringFunc(text, func(found string) string {
		name, address, _ := strings.Cut(found, "<")
		if address = strings.TrimRight(address, ".>"); p.is(address) || p.h.Ours(strings.ToLower(address)) {
			return found
		}
		p.another(strings.Trim(name, `" `))
		return redacted + " <" + redacted + ">"
	})
	return addressIn.ReplaceAllStringFunc(text, func(found string) string {
		if p.is(found) || p.h.Ours(strings.ToLower(strings.TrimRight(found, "."))) {
			return found
		}
		return redacted
	})
}

// namedAddress finds an address with the name of its owner before it, as mail
// systems write them.
var namedAddress = regexp.MustCompile(`(?:"[^"<>]{1,100}"|\p{Lu}[\p{L}.'-]*(?: \p{Lu}[\p{L}.'-]*){0,4}) ?<[^\s<>@]+@[^\s<>@]+>`)

// another keeps a name of somebody else. Single short words are left alone: too much
// else would go with them.
func (p *person) another(name string) {
	name = strings.ToLower(strings.Join(strings.Fields(name), " "))
	if len(name) < 5 || name == p.name || len(p.others) == maxNames {
		return
	}
	p.others[name] = true
	if given, family, ok := strings.Cut(name, " "); ok {
		p.others[family+" "+given] = true
		p.others[family+", "+given] = true
	}
}

// maxNames bounds the names of others that are looked for.
const maxNames = 10_000

// maskNames takes the names of others out of every free text, when all of them are
// known.
func (p *person) maskNames() {
	if len(p.others) == 0 {
		return
	}
	names := slices.SortedFunc(maps.Keys(p.others), func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	for i, n := range names {
		names[i] = regexp.QuoteMeta(n)
	}
	all := regexp.MustCompile(`(?i)(` + strings.Join(names, "|") + `)`)
	mask := func(texts ...*string) {
		for _, t := range texts {
			*t = all.ReplaceAllString(*t, redacted)
		}
	}
	for _, e := range p.file.Events {
		for name, value := range e.Data {
			if name != "message_id" && name != "sha256" {
				e.Data[name] = all.ReplaceAllString(value, redacted)
			}
		}
	}
	for i := range p.file.Messages {
		m := &p.file.Messages[i]
		for n := range m.Items {
			mask(&m.Items[n].Reply, &m.Items[n].Alarm)
		}
		for n := range m.Receipts {
			mask(&m.Receipts[n].Detail, &m.Receipts[n].Mismatch, &m.Receipts[n].FileName)
		}
		for n := range m.Cases {
			mask(&m.Cases[n].Addressee.SaidWhy)
			for k := range m.Cases[n].Tasks {
				mask(&m.Cases[n].Tasks[k].How)
			}
		}
	}
	for i := range p.file.Unmatched {
		mask(&p.file.Unmatched[i].Detail, &p.file.Unmatched[i].Mismatch, &p.file.Unmatched[i].FileName)
	}
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
