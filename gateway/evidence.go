package gateway

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"gatewayd/audit"
	"gatewayd/crypto/cms"
	"gatewayd/evidence"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/vault"
)

// Evidence is what seals evidence bundles (docs/evidence.md).
type Evidence struct {
	Seal     cms.Signer            // the gateway's; without a certificate no bundle is made
	Seals    map[string]cms.Signer // authority → its own, used instead
	Stamp    func(ctx context.Context, content io.Reader) ([]byte, error)
	Stamped  func(response []byte, content io.Reader) error // checks what Stamp has returned
	Software string                                         // name and version, for the record
}

// sealer returns what seals the bundles of an authority.
func (e Evidence) sealer(authority string) evidence.Sealer {
	if own, ok := e.Seals[authority]; ok {
		return evidence.Sealer{Signer: own, Stamp: e.Stamp}
	}
	return evidence.Sealer{Signer: e.Seal, Stamp: e.Stamp}
}

// Evidence writes the evidence bundle of one delivery case. What can fail fails
// before the first octet is written, but for reading and writing themselves.
// ErrNoCase, evidence.ErrNoSeal, queue.ErrNotFound, message.ErrNoPurpose.
func (g *Gateway) Evidence(ctx context.Context, r message.Reading, key message.ItemKey, w io.Writer) error {
	if err := r.Check(); err != nil {
		return err
	}
	b, err := g.evidence(ctx, "", key, r, "evidence export")
	if err != nil {
		return err
	}
	return b.Write(w)
}

// Evidence makes the evidence bundle of one delivery case of the authority. by
// names who asked.
func (p *Programs) Evidence(ctx context.Context, authority string, key message.ItemKey, by string) (*evidence.Bundle, error) {
	if _, err := p.message(ctx, authority, key.Message); err != nil {
		return nil, err
	}
	return p.g.evidence(ctx, authority, key, message.Reading{By: by, Purpose: message.ForOperation}, "api")
}

// evidence makes a bundle and notes who has it. For a program (authority not
// empty) it keeps the numbers of the audit log out: they would tell how much
// others send.
func (g *Gateway) evidence(ctx context.Context, authority string, key message.ItemKey, r message.Reading, door string) (*evidence.Bundle, error) {
	in, err := g.evidenceInput(ctx, key)
	if err != nil {
		return nil, err
	}
	if authority != "" {
		in.Events, in.Proof = nil, nil
		for i := range in.Case.Trail {
			in.Case.Trail[i].Seq = 0
		}
	}
	b, err := evidence.Prepare(ctx, in, g.o.Evidence.sealer(in.Envelope.Authority))
	if err != nil {
		return nil, err
	}
	return b, g.o.Store.Apply(ctx, queue.Change{Events: []message.Event{{
		At: in.Now, Kind: message.EventEvidence, Authority: in.Envelope.Authority, Message: key.Message, Item: key.N,
		Data: map[string]string{"by": r.By, "purpose": string(r.Purpose), "door": door, "evidence": b.Record.ID, "sha256": b.Manifest.String()},
	}}})
}

// evidenceInput gathers what the gateway knows of a delivery case.
func (g *Gateway) evidenceInput(ctx context.Context, key message.ItemKey) (evidence.Input, error) {
	env, items, err := g.o.Store.Message(ctx, key.Message)
	if err != nil {
		return evidence.Input{}, err
	}
	i := slices.IndexFunc(items, func(i message.Item) bool { return i.Key == key })
	switch {
	case i < 0:
		return evidence.Input{}, fmt.Errorf("item %s: %w", key, queue.ErrNotFound)
	case env.Direction != message.Outbound || !registered(items[i]):
		return evidence.Input{}, fmt.Errorf("item %s: %w", key, ErrNoCase)
	}
	c, err := g.caseInput(ctx, items[i], g.now())
	if err != nil {
		return evidence.Input{}, err
	}
	in := evidence.Input{
		Now: c.Now, Maker: evidence.Maker{Host: g.o.Hostname, Software: g.o.Evidence.Software}, Envelope: env, Item: items[i], Events: c.Events, Case: legal.Open(c),
		Receipts: slices.DeleteFunc(c.Receipts, func(r message.Receipt) bool { return r.Item != key }),
		Document: func(r message.Receipt) ([]byte, error) { return g.Document(context.WithoutCancel(ctx), r) },
		Proof:    func(seq uint64) ([]byte, error) { return g.proof(ctx, seq) },
		Status:   func(s message.Status) ([]byte, error) { return g.blob(s.Document, s.Digest) },
		Roots:    slices.Collect(maps.Values(g.roots())),
	}
	in.Roots = slices.DeleteFunc(in.Roots, func(p *x509.CertPool) bool { return p == nil })
	if a := g.byID[env.Authority]; a != nil {
		in.Name = a.Name
	}
	here, err := g.contentHere(env, items)
	if here {
		in.Message = func() (evidence.Body, error) { return g.o.Vault.OpenBody(env.Body) }
	}
	return in, err
}

// proof is the proof of one line of the audit log (audit.Proof), as JSON; nil
// while its day is not sealed, and when it is gone.
func (g *Gateway) proof(ctx context.Context, seq uint64) ([]byte, error) {
	p, err := g.o.Audit.Prove(ctx, seq)
	switch {
	case errors.Is(err, audit.ErrNotSealed), errors.Is(err, audit.ErrErased), errors.Is(err, audit.ErrNoLink):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return json.MarshalIndent(p, "", "  ")
}

// contentHere reports whether a message's content can still be read.
func (g *Gateway) contentHere(env message.Envelope, items []message.Item) (bool, error) {
	now := g.now()
	if !slices.ContainsFunc(items, func(i message.Item) bool { return i.EraseBy.After(now) && i.Erased.IsZero() }) {
		return false, nil
	}
	body, err := g.o.Vault.OpenBody(env.Body)
	if errors.Is(err, vault.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, body.Close()
}
