package gateway

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"gatewayd/directory"
	"gatewayd/gateway/forms"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/vault"
)

// Programs is the flow as the programs of the authorities see it: package api
// asks it. Every call names the authority that asks; what belongs to another
// one is not there (queue.ErrNotFound), like what never was.
type Programs struct {
	g    *Gateway
	mu   sync.Mutex
	open map[idemKey]bool // messages with an idempotency key that are being accepted
}

// idemKey is a client's idempotency key; authorities do not share them.
type idemKey struct{ authority, key string }

// NewPrograms returns the flow for programs.
func NewPrograms(g *Gateway) *Programs { return &Programs{g: g, open: map[idemKey]bool{}} }

// Acts returns what a token may do for an authority that is not its own, today.
func (p *Programs) Acts(token, authority string) []directory.Right {
	if p.g.byID[authority] == nil {
		return nil
	}
	return p.g.o.Directory().TokenActs(token, authority, p.g.now())
}

// Owns reports whether an address is one from which the authority may send.
func (p *Programs) Owns(authority string, from message.Address) bool {
	a := p.g.byAddress[from.Key()]
	return a != nil && a.ID == authority
}

// Submit accepts one message as Gateway.Accept does. content is called at most
// once; it gives the message, written under that id if the gateway writes it,
// and is closed. With an idempotency key (queue.JoinIdemKey in s.IdemKey) that
// the ledger has, nothing is stored: the same wish and content gives the first
// id and again; another one gives queue.ErrKeyReused. While the first is being
// accepted: queue.ErrKeyInFlight.
func (p *Programs) Submit(ctx context.Context, s message.Submission, content func(message.ID) io.ReadCloser) (id message.ID, again bool, err error) {
	key, asked := queue.SplitIdemKey(s.IdemKey)
	if key != "" {
		done, ok := p.claim(idemKey{s.Authority, key})
		if !ok {
			return message.ID{}, false, queue.ErrKeyInFlight
		}
		defer done()
		first, known, err := p.first(ctx, s.Authority, key)
		if err != nil {
			return message.ID{}, false, err
		}
		if known {
			id, err := sameAgain(first, asked, content)
			return id, true, err
		}
	}
	body := content(message.NewID(p.g.now()))
	defer body.Close()
	id, err = p.g.Accept(ctx, s, body)
	return id, false, err
}

func (p *Programs) claim(k idemKey) (done func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[k] {
		return nil, false
	}
	p.open[k] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, k)
	}, true
}

// first finds the message that was accepted with a key: in the tail, then in
// the ledger, because records move from there to here.
func (p *Programs) first(ctx context.Context, authority, key string) (message.Envelope, bool, error) {
	if env, ok := p.g.tail.withIdemKey(authority, key); ok {
		return env, true, nil
	}
	items, _, err := p.g.o.Store.Find(ctx, queue.Query{Authority: authority, IdemKey: key, Limit: 1})
	if err != nil || len(items) == 0 {
		return message.Envelope{}, false, err
	}
	env, _, err := p.g.o.Store.Message(ctx, items[0].Key.Message)
	return env, err == nil, err
}

// sameAgain compares what comes now with what was accepted then. What the
// gateway writes itself is written under the id of then, so that the same wish
// gives the same octets.
func sameAgain(first message.Envelope, asked string, content func(message.ID) io.ReadCloser) (message.ID, error) {
	if _, then := queue.SplitIdemKey(first.IdemKey); then != asked {
		return message.ID{}, queue.ErrKeyReused
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(first.MessageID, "<"), "@")
	id, err := message.ParseID(name)
	if err != nil {
		id = first.ID // the client wrote it: the id does not matter
	}
	body := content(id)
	defer body.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, body); err != nil {
		return message.ID{}, err
	}
	if message.Digest(sum.Sum(nil)) != first.Content.Digest {
		return message.ID{}, queue.ErrKeyReused
	}
	return first.ID, nil
}

// withIdemKey finds the message of an idempotency key.
func (t *tail) withIdemKey(authority, key string) (message.Envelope, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.waiting {
		env := e.accepted.Envelope
		if k, _ := queue.SplitIdemKey(env.IdemKey); k == key && env.Authority == authority {
			return env, true
		}
	}
	return message.Envelope{}, false
}

// message returns an authority's message: from the tail, then from the ledger.
func (p *Programs) message(ctx context.Context, authority string, id message.ID) (message.Story, error) {
	var s message.Story
	if a, ok := p.g.tail.get(id); ok {
		s = message.Story{Envelope: a.Envelope, Items: slices.Clone(a.Items), Events: slices.Clone(a.Events)}
	} else {
		var err error
		if s.Envelope, s.Items, err = p.g.o.Store.Message(ctx, id); err != nil {
			return message.Story{}, err
		}
	}
	if authority == "" || s.Envelope.Authority != authority {
		return message.Story{}, fmt.Errorf("message %s: %w", id, queue.ErrNotFound)
	}
	return s, nil
}

// Story returns everything known about one message.
func (p *Programs) Story(ctx context.Context, authority string, id message.ID) (message.Story, error) {
	s, err := p.message(ctx, authority, id)
	if err != nil || len(s.Events) > 0 { // still in the tail: nothing has happened yet
		return s, err
	}
	if s.Receipts, err = p.g.o.Store.Receipts(ctx, id); err != nil {
		return s, err
	}
	s.Events, err = p.g.o.Store.Events(ctx, id)
	s.Protection = protectionOf(s.Events)
	return s, err
}

// scanned bounds how many items one page of a mailbox looks at.
const scanned = 5000

// Mailbox returns a page of the messages of an authority with their receipts,
// the oldest first, without their events: those of one direction, or all.
// A page may have fewer than limit messages although more follow; the last one
// has no next cursor.
func (p *Programs) Mailbox(ctx context.Context, authority string, d message.Direction, after string, limit int) (page []message.Story, next string, err error) {
	q := queue.Query{Authority: authority, After: after}
	var last message.ID
	for seen := 0; len(page) < limit && seen < scanned; q.After = next {
		q.Limit = limit - len(page)
		var items []message.Item
		if items, next, err = p.g.o.Store.Find(ctx, q); err != nil {
			return nil, "", err
		}
		for _, item := range items {
			seen++
			if item.Key.Message == last {
				continue
			}
			last = item.Key.Message
			s, ok, err := p.listed(ctx, item.Key, d)
			if err != nil {
				return nil, "", err
			}
			if ok {
				page = append(page, s)
			}
		}
		if next == "" {
			break
		}
	}
	return page, next, nil
}

// listed reads the message of an item, unless it goes in another direction or
// an earlier page had it with its first item.
func (p *Programs) listed(ctx context.Context, key message.ItemKey, d message.Direction) (s message.Story, ok bool, err error) {
	if s.Envelope, s.Items, err = p.g.o.Store.Message(ctx, key.Message); err != nil {
		return s, false, err
	}
	if d != "" && s.Envelope.Direction != d || s.Items[0].Key != key {
		return s, false, nil
	}
	if s.Receipts, err = p.g.o.Store.Receipts(ctx, key.Message); err != nil || s.Envelope.Direction != message.Inbound {
		return s, err == nil, err
	}
	events, err := p.g.o.Store.Events(ctx, key.Message)
	s.Protection = protectionOf(events)
	return s, err == nil, err
}

// Body opens a message as it was accepted. vault.ErrGone: it was erased, or its
// erase-by is over and it will be.
func (p *Programs) Body(ctx context.Context, authority string, id message.ID) (message.Envelope, io.ReadCloser, error) {
	s, err := p.message(ctx, authority, id)
	if err != nil {
		return message.Envelope{}, nil, err
	}
	now := p.g.now()
	if !slices.ContainsFunc(s.Items, func(i message.Item) bool { return i.EraseBy.After(now) }) {
		return message.Envelope{}, nil, fmt.Errorf("message %s: %w", id, vault.ErrGone)
	}
	if !p.g.readable(s) {
		return message.Envelope{}, nil, fmt.Errorf("message %s: %w", id, forms.ErrUnscanned)
	}
	body, err := p.g.o.Vault.OpenBody(s.Envelope.Body)
	if err != nil {
		return message.Envelope{}, nil, err
	}
	return s.Envelope, body, nil
}

// Document returns a receipt of a message with its original, byte for byte.
// which is the receipt's id, or its number in Story, from 1.
func (p *Programs) Document(ctx context.Context, authority string, id message.ID, which string) (message.Receipt, []byte, error) {
	if _, err := p.message(ctx, authority, id); err != nil {
		return message.Receipt{}, nil, err
	}
	rs, err := p.g.o.Store.Receipts(ctx, id)
	if err != nil {
		return message.Receipt{}, nil, err
	}
	for i, r := range rs {
		if (r.ID.String() == which || strconv.Itoa(i+1) == which) && !r.Document.IsZero() {
			doc, err := p.g.Document(ctx, r)
			return r, doc, err
		}
	}
	return message.Receipt{}, nil, fmt.Errorf("message %s: receipt: %w", id, queue.ErrNotFound)
}

// Feed returns an authority's events behind after, in order and complete.
func (p *Programs) Feed(ctx context.Context, authority string, after uint64, limit int) ([]message.Event, error) {
	return p.g.o.Store.Feed(ctx, authority, after, limit)
}
