package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatewayd/audit"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/vault"
)

// Catchup indexes what the vault has and the ledger has not, without starting
// anything else: for commands that read a data folder while no daemon runs.
func (g *Gateway) Catchup(ctx context.Context) error {
	if err := g.readPaused(); err != nil {
		return err
	}
	return g.replay(ctx)
}

// maxStories bounds what one question returns.
const maxStories = 100

// Trace tells the stories of the messages that a question names: a message id,
// id/recipient, a Message-ID, a reference or a recipient's address. That is noted
// first.
func (g *Gateway) Trace(ctx context.Context, r message.Reading, question string) ([]message.Story, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	ids, err := g.resolve(ctx, strings.TrimSpace(question))
	if err != nil {
		return nil, err
	}
	var stories []message.Story
	for _, id := range ids {
		s, err := g.Story(ctx, id)
		if err != nil {
			return stories, err
		}
		stories = append(stories, s)
	}
	if err := g.noteRead(ctx, r, read{door: "message trace", asked: question, count: len(stories)}); err != nil {
		return nil, err
	}
	return stories, nil
}

// Story returns everything known about one message; queue.ErrNotFound.
func (g *Gateway) Story(ctx context.Context, id message.ID) (message.Story, error) {
	var s message.Story
	var err error
	if a, ok := g.tail.get(id); ok {
		return message.Story{Envelope: a.Envelope, Items: a.Items, Events: a.Events}, nil
	}
	if s.Envelope, s.Items, err = g.o.Store.Message(ctx, id); err != nil {
		return s, err
	}
	if s.Receipts, err = g.o.Store.Receipts(ctx, id); err != nil {
		return s, err
	}
	if _, err = g.o.Audit.Drain(ctx, g.o.Store); err != nil && !errors.Is(err, audit.ErrBroken) {
		return s, err
	}
	s.Events, err = g.o.Audit.Trace(ctx, id, s.Envelope.Received)
	s.Protection = protectionOf(s.Events)
	return s, err
}

func (g *Gateway) resolve(ctx context.Context, q string) ([]message.ID, error) {
	plain, _, _ := strings.Cut(q, "/")
	if id, err := message.ParseID(plain); err == nil {
		return []message.ID{id}, nil
	}
	query := queue.Query{Limit: maxStories}
	switch {
	case strings.HasPrefix(q, "<"):
		query.MessageID = q
	case strings.Contains(q, "@"):
		a, err := message.ParseAddress(q)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", q, err)
		}
		query.Recipient = a.Key()
	default:
		query.Reference = strings.Trim(strings.ToUpper(q), "[]")
		return g.idsOf(ctx, query)
	}
	var ids []message.ID
	for _, a := range g.o.Authorities { // lookups are keyed per authority
		query.Authority = a.ID
		found, err := g.idsOf(ctx, query)
		if err != nil {
			return nil, err
		}
		ids = append(ids, found...)
	}
	return ids, nil
}

func (g *Gateway) idsOf(ctx context.Context, q queue.Query) ([]message.ID, error) {
	items, _, err := g.o.Store.Find(ctx, q)
	if err != nil {
		return nil, err
	}
	var ids []message.ID
	seen := map[message.ID]bool{}
	for _, item := range items {
		if id := item.Key.Message; !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// List returns items by state and authority, a page at a time.
func (g *Gateway) List(ctx context.Context, q queue.Query) ([]message.Item, string, error) {
	return g.o.Store.Find(ctx, q)
}

// Counts returns how many items are in each state.
func (g *Gateway) Counts(ctx context.Context) (map[message.State]int, error) {
	return g.o.Store.Counts(ctx)
}

// Message returns envelope and items of a message: what is to be done, not the
// log of what was.
func (g *Gateway) Message(ctx context.Context, id message.ID) (message.Story, error) {
	if a, ok := g.tail.get(id); ok {
		return message.Story{Envelope: a.Envelope, Items: a.Items}, nil
	}
	env, items, err := g.o.Store.Message(ctx, id)
	return message.Story{Envelope: env, Items: items}, err
}

// Unmatched returns receipts that belong to no known item, and notes that they
// were read.
func (g *Gateway) Unmatched(ctx context.Context, r message.Reading, limit int) ([]message.Receipt, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	rs, err := g.o.Store.Unmatched(ctx, limit)
	if err != nil {
		return nil, err
	}
	if err := g.noteRead(ctx, r, read{door: "receipts unmatched", count: len(rs)}); err != nil {
		return nil, err
	}
	return rs, nil
}

// Document returns a receipt's original, byte for byte.
func (g *Gateway) Document(_ context.Context, r message.Receipt) ([]byte, error) {
	b, err := g.blob(r.Document, r.Digest)
	if err != nil {
		return nil, fmt.Errorf("receipt %s: %w", r.ID, err)
	}
	return b, nil
}

// blob reads a document of the vault.
func (g *Gateway) blob(ref message.Ref, digest message.Digest) ([]byte, error) {
	body, err := g.o.Vault.OpenBody(ref)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b := make([]byte, body.Size())
	if _, err := body.ReadAt(b, 0); err != nil {
		return nil, err
	}
	if digestOf(b) != digest {
		return nil, errors.New("document does not match its digest")
	}
	return b, nil
}

// Check verifies every invariant of the data folder and returns what is wrong:
// the ledger in itself, every frame of the vault, and that every message whose
// work is open has its body.
func (g *Gateway) Check(ctx context.Context) ([]string, error) {
	var problems []string
	note := func(p string) { problems = append(problems, p) }
	if err := g.o.Store.Check(ctx, note); err != nil {
		return problems, err
	}
	if err := g.o.Vault.Check(note); err != nil {
		return problems, err
	}
	for _, state := range message.States() {
		if state.Final() {
			continue
		}
		if err := g.checkBodies(ctx, state, note); err != nil {
			return problems, err
		}
	}
	return problems, nil
}

// VerifyAudit verifies the hash chain of the day files, that it passes through
// the marks, and that it reaches as far as the ledger says: so a cut-off end is
// found, too.
func (g *Gateway) VerifyAudit(ctx context.Context, marks []audit.Mark) (audit.Report, error) {
	seq, hash, err := g.o.Store.Head(ctx) // before the rest: commits go on meanwhile
	if err != nil {
		return audit.Report{}, err
	}
	if _, err := g.o.Audit.Drain(ctx, g.o.Store); err != nil && !errors.Is(err, audit.ErrBroken) {
		return audit.Report{}, err
	}
	return g.o.Audit.Verify(audit.Options{Marks: append(slices.Clone(marks), audit.Mark{Seq: seq, Hash: hash, From: "the ledger"})})
}

func (g *Gateway) checkBodies(ctx context.Context, state message.State, note func(string)) error {
	return g.each(ctx, state, func(item message.Item) error {
		env, _, err := g.o.Store.Message(ctx, item.Key.Message)
		if err != nil {
			note(fmt.Sprintf("item %s: its message cannot be read: %v", item.Key, err))
			return nil
		}
		body, err := g.o.Vault.OpenBody(env.Body)
		switch {
		case errors.Is(err, vault.ErrGone):
			note(fmt.Sprintf("item %s is %s, but its body is gone", item.Key, item.State))
		case err != nil:
			note(fmt.Sprintf("item %s: its body cannot be opened: %v", item.Key, err))
		default:
			if body.Size() != env.Content.Size {
				note(fmt.Sprintf("item %s: body of %d octets, accepted were %d", item.Key, body.Size(), env.Content.Size))
			}
			body.Close()
		}
		return nil
	})
}
