package cases

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"gatewayd/audit"
	"gatewayd/crypto/cms"
	"gatewayd/evidence"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/vault"
)

// Sealing is what seals evidence bundles (docs/evidence.md).
type Sealing struct {
	Seal    cms.Signer            // the gateway's; without a certificate no bundle is made
	Seals   map[string]cms.Signer // authority → its own, used instead
	Stamp   func(ctx context.Context, content io.Reader) ([]byte, error)
	Stamped func(response []byte, content io.Reader) error // checks what Stamp has returned
	// Time has content stamped and returns the time that the stamp proves.
	Time     func(ctx context.Context, content io.Reader) (time.Time, error)
	Software string // name and version, for the record
	NTP      string // where the system's clock is set from, for the record; may be empty
}

// sealer returns what seals the bundles of an authority.
func (s Sealing) sealer(authority string) evidence.Sealer {
	if own, ok := s.Seals[authority]; ok {
		return evidence.Sealer{Signer: own, Stamp: s.Stamp}
	}
	return evidence.Sealer{Signer: s.Seal, Stamp: s.Stamp}
}

// Dossiers makes evidence bundles.
type Dossiers struct {
	Cases   *Cases
	Sealing Sealing
	Host    string
	// Authority tells the name of an authority, for people, and its number in the
	// federal register of enterprises.
	Authority func(id string) (name, uid string)
	Roots     []*x509.CertPool // anchors of the platforms' seals
	Log       Log
	Contents  Contents
	Document  func(ref message.Ref, d message.Digest) ([]byte, error) // what lies beside a receipt, checked against its digest
}

// Log proves that a line stands in the audit log (audit.Log).
type Log interface {
	Prove(ctx context.Context, seq uint64) (audit.Proof, error)
}

// Contents opens what messages hold; vault.ErrGone when it was erased (vault.Vault).
type Contents interface {
	OpenBody(ref message.Ref) (*vault.BodyReader, error)
}

// Make makes the bundle of one delivery case and notes who has it. For a program (authority not
// empty) it keeps the numbers of the audit log out: they would tell how much
// others send. Without an answer of the time-stamping authority the bundle has no
// stamp (Bundle.Pending) and its seal waits (Stamp, Seal). ErrNoCase, evidence.ErrManyWait, evidence.ErrNoSeal, queue.ErrNotFound.
func (d Dossiers) Make(ctx context.Context, authority string, key message.ItemKey, r message.Reading, door string) (*evidence.Bundle, error) {
	in, err := d.input(ctx, key)
	if err != nil {
		return nil, err
	}
	if len(unstamped(in.Events, key.N)) >= maxWaiting {
		return nil, fmt.Errorf("%w: %d", evidence.ErrManyWait, maxWaiting)
	}
	if authority != "" {
		in.Events, in.Proof = nil, nil
		for i := range in.Case.Trail {
			in.Case.Trail[i].Seq = 0
		}
	}
	b, err := evidence.Prepare(ctx, in, d.Sealing.sealer(in.Envelope.Authority))
	if err != nil {
		return nil, err
	}
	return b, d.note(ctx, key, message.Event{
		At: in.Now, Kind: message.EventEvidence, Authority: in.Envelope.Authority, Message: key.Message, Item: key.N, Data: map[string]string{
			"by": r.By, "purpose": string(r.Purpose), "door": door, keyBundle: b.Record.ID, "sha256": b.Manifest.String(), "evidence_sha256": b.Evidence.String(),
		},
	}, b)
}

// input gathers what the gateway knows of a delivery case.
func (d Dossiers) input(ctx context.Context, key message.ItemKey) (evidence.Input, error) {
	env, items, err := d.Cases.o.Ledger.Message(ctx, key.Message)
	if err != nil {
		return evidence.Input{}, err
	}
	i := slices.IndexFunc(items, func(i message.Item) bool { return i.Key == key })
	switch {
	case i < 0:
		return evidence.Input{}, fmt.Errorf("item %s: %w", key, queue.ErrNotFound)
	case env.Direction != message.Outbound || !Has(items[i]):
		return evidence.Input{}, fmt.Errorf("item %s: %w", key, ErrNoCase)
	}
	c, err := d.Cases.Input(ctx, items[i], d.Cases.o.Now().UTC())
	if err != nil {
		return evidence.Input{}, err
	}
	in := evidence.Input{
		Now: c.Now, Maker: evidence.Maker{Host: d.Host, Software: d.Sealing.Software}, Clock: d.clock(), Envelope: env, Item: items[i], Events: c.Events, Case: legal.Open(c),
		Receipts: slices.DeleteFunc(c.Receipts, func(r message.Receipt) bool { return r.Item != key }),
		Document: d.original,
		Proof:    func(seq uint64) ([]byte, error) { return d.proof(ctx, seq) },
		Status:   func(s message.Status) ([]byte, error) { return d.Document(s.Document, s.Digest) },
		Roots:    d.Roots,
	}
	in.Name, in.UID = d.Authority(env.Authority)
	in.Version, in.Previous = previous(c.Events, key)
	here, err := d.contentHere(env, items)
	if here {
		in.Message = func() (evidence.Body, error) { return d.Contents.OpenBody(env.Body) }
	}
	return in, err
}

// previous finds the bundle of a case that was made last, and the number of the
// next one.
func previous(events []message.Event, key message.ItemKey) (version int, last evidence.Previous) {
	version = 1
	for _, e := range events {
		if e.Kind != message.EventEvidence || e.Item != key.N || e.Data[keyBundle] == "" {
			continue
		}
		version++
		last = evidence.Previous{ID: e.Data[keyBundle]}
		// What an older version has not noted, or what does not read, stays zero.
		_ = last.Manifest.UnmarshalText([]byte(e.Data["sha256"]))
		_ = last.Evidence.UnmarshalText([]byte(e.Data["evidence_sha256"]))
	}
	return version, last
}

// clock is what the system says of its clock now.
func (d Dossiers) clock() evidence.Clock {
	c := evidence.SystemClock()
	c.Source = d.Sealing.NTP
	return c
}

// original is a receipt's document, byte for byte.
func (d Dossiers) original(r message.Receipt) ([]byte, error) {
	b, err := d.Document(r.Document, r.Digest)
	if err != nil {
		return nil, fmt.Errorf("receipt %s: %w", r.ID, err)
	}
	return b, nil
}

// proof is the proof of one line of the audit log (audit.Proof), as JSON; nil
// while its day is not sealed, and when it is gone.
func (d Dossiers) proof(ctx context.Context, seq uint64) ([]byte, error) {
	p, err := d.Log.Prove(ctx, seq)
	switch {
	case errors.Is(err, audit.ErrNotSealed), errors.Is(err, audit.ErrErased), errors.Is(err, audit.ErrNoLink):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return json.MarshalIndent(p, "", "  ")
}

// contentHere reports whether a message's content can still be read.
func (d Dossiers) contentHere(env message.Envelope, items []message.Item) (bool, error) {
	now := d.Cases.o.Now().UTC()
	if !slices.ContainsFunc(items, func(i message.Item) bool { return i.EraseBy.After(now) && i.Erased.IsZero() }) {
		return false, nil
	}
	body, err := d.Contents.OpenBody(env.Body)
	if errors.Is(err, vault.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, body.Close()
}
