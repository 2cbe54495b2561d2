package gateway

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"gatewayd/evidence"
	"gatewayd/gateway/cases"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
)

// Cases returns the delivery cases of an authority's message, without the
// numbers of the audit log: they would tell how much others send.
func (p *Programs) Cases(ctx context.Context, authority string, id message.ID) ([]legal.Case, error) {
	s, err := p.message(ctx, authority, id)
	if err != nil {
		return nil, err
	}
	list, err := p.g.cases.Of(ctx, s)
	for _, c := range list {
		for i := range c.Trail {
			c.Trail[i].Seq = 0
		}
	}
	return list, err
}

// CloseTask notes that a person of the authority has done what a case asked
// for, or has seen an alarm. by names who says it.
func (p *Programs) CloseTask(ctx context.Context, authority string, key message.ItemKey, code, reason, by string) error {
	if _, err := p.message(ctx, authority, key.Message); err != nil {
		return err
	}
	return p.g.closeTask(ctx, key, code, reason, by)
}

// SayExpected notes whether the party had to expect mail of the authority.
func (p *Programs) SayExpected(ctx context.Context, authority string, key message.ItemKey, a legal.Answer, reason, by string) error {
	if _, err := p.message(ctx, authority, key.Message); err != nil {
		return err
	}
	return p.g.sayExpected(ctx, key, a, reason, by)
}

// Cases returns the delivery cases that a question of Trace names; id/n names
// one of them.
func (g *Gateway) Cases(ctx context.Context, question string) ([]legal.Case, error) {
	question = strings.TrimSpace(question)
	stories, err := g.stories(ctx, question)
	if err != nil {
		return nil, err
	}
	var list []legal.Case
	for _, s := range stories {
		of, err := g.cases.Of(ctx, s)
		if err != nil {
			return nil, err
		}
		list = append(list, of...)
	}
	_, n, one := strings.Cut(question, "/")
	return slices.DeleteFunc(list, func(c legal.Case) bool { return one && fmt.Sprint(c.Item.N) != n }), nil
}

// stories reads the messages that a question names, without their events.
func (g *Gateway) stories(ctx context.Context, question string) ([]message.Story, error) {
	ids, err := g.resolve(ctx, question)
	if err != nil {
		return nil, err
	}
	var list []message.Story
	for _, id := range ids {
		s := message.Story{}
		if a, ok := g.tail.get(id); ok {
			s = message.Story{Envelope: a.Envelope, Items: a.Items, Events: a.Events}
		} else if s.Envelope, s.Items, err = g.o.Store.Message(ctx, id); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// CloseTask notes that a person has done what a case asked for, or has seen an
// alarm: which, and how, stand in the audit log.
func (g *Gateway) CloseTask(ctx context.Context, key message.ItemKey, code, reason string) error {
	return g.closeTask(ctx, key, code, reason, administrator)
}

func (g *Gateway) closeTask(ctx context.Context, key message.ItemKey, code, reason, by string) error {
	return g.onCase(ctx, key, reason, cases.Closed(code, by))
}

// SayExpected notes a person's word on whether the party had to expect mail of
// the authority; the fiction of the seventh day rests on it.
func (g *Gateway) SayExpected(ctx context.Context, key message.ItemKey, a legal.Answer, reason string) error {
	return g.sayExpected(ctx, key, a, reason, administrator)
}

func (g *Gateway) sayExpected(ctx context.Context, key message.ItemKey, a legal.Answer, reason, by string) error {
	say, err := cases.Expected(a, by)
	if err != nil {
		return err
	}
	return g.onCase(ctx, key, reason, say)
}

// onCase writes what a person says of a case (package cases).
func (g *Gateway) onCase(ctx context.Context, key message.ItemKey, reason string, say cases.Say) error {
	return g.byHand(ctx, key, reason, func(ctx context.Context, _ message.Envelope, item *message.Item, event *message.Event) ([]queue.Accepted, error) {
		return nil, g.cases.Hear(ctx, item, event, say)
	})
}

// dossiers makes evidence bundles of what the flow has.
func (g *Gateway) dossiers() cases.Dossiers {
	return cases.Dossiers{
		Cases: g.cases, Sealing: g.o.Evidence, Host: g.o.Hostname, Log: g.o.Audit, Contents: g.o.Vault, Document: g.blob,
		Roots: slices.DeleteFunc(slices.Collect(maps.Values(g.roots())), func(p *x509.CertPool) bool { return p == nil }),
		Authority: func(id string) (name, uid string) {
			if a := g.byID[id]; a != nil {
				return a.Name, a.UID
			}
			return "", ""
		},
	}
}

// Evidence writes the evidence bundle of one delivery case. What can fail fails
// before the first octet is written, but for reading and writing themselves.
// cases.ErrNoCase, evidence.ErrNoSeal, queue.ErrNotFound, message.ErrNoPurpose.
func (g *Gateway) Evidence(ctx context.Context, r message.Reading, key message.ItemKey, w io.Writer) error {
	if err := r.Check(); err != nil {
		return err
	}
	b, err := g.dossiers().Make(ctx, "", key, r, "evidence export")
	if err != nil {
		return err
	}
	return b.Write(w)
}

// Evidence makes the evidence bundle of one delivery case of the authority.
func (p *Programs) Evidence(ctx context.Context, authority string, key message.ItemKey, r message.Reading) (*evidence.Bundle, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	if _, err := p.message(ctx, authority, key.Message); err != nil {
		return nil, err
	}
	return p.g.dossiers().Make(ctx, authority, key, r, "api")
}
