package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"gatewayd/connectors"
	"gatewayd/crypto/entity"
	"gatewayd/gateway/forms"
	"gatewayd/message"
)

// manner is how an authority wants its mail.
func (g *Gateway) manner(authority string) forms.Manner {
	a := g.byID[authority]
	if a == nil {
		return forms.Manner{}
	}
	return forms.Manner{Headers: a.Headers, Tags: a.Tags, ForwardOpened: a.ForwardOpened}
}

// Delivered returns a message of an authority in its opened form, with the
// verdict about it. What cannot be opened, what is held back and what carries a
// broken signature keeps its protection. Closing it forgets what was decrypted.
// vault.ErrGone, queue.ErrNotFound.
func (p *Programs) Delivered(ctx context.Context, authority string, id message.ID) (interface {
	io.WriterTo
	io.Closer
}, error,
) {
	return p.delivered(ctx, authority, id, false)
}

// DeliveredWithOriginal is Delivered with the message as it came attached to what was taken
// out of it.
func (p *Programs) DeliveredWithOriginal(ctx context.Context, authority string, id message.ID) (interface {
	io.WriterTo
	io.Closer
}, error,
) {
	return p.delivered(ctx, authority, id, true)
}

func (p *Programs) delivered(ctx context.Context, authority string, id message.ID, original bool) (*forms.Delivered, error) {
	env, body, err := p.Body(ctx, authority, id)
	if err != nil {
		return nil, err
	}
	if err := body.Close(); err != nil {
		return nil, err
	}
	d, err := p.g.forms.Delivered(ctx, env, original)
	if err != nil {
		return nil, fmt.Errorf("open message %s: %w", id, err)
	}
	return d, nil
}

// Contents tells what lies in a message of an authority as Delivered gives it,
// also in a winmail.dat, and what its protection is worth.
func (p *Programs) Contents(ctx context.Context, authority string, id message.ID) (entity.Contents, error) {
	d, err := p.delivered(ctx, authority, id, false)
	if err != nil {
		return entity.Contents{}, err
	}
	defer d.Close()
	return p.g.forms.Look(d)
}

// protectionOf reads from the events of a received message what its protection
// was worth when it was last looked at; nil: it was not.
func protectionOf(events []message.Event) map[string]string {
	var found map[string]string
	for _, e := range events {
		switch {
		case e.Kind != message.EventMailbox && e.Kind != message.EventOpened:
		case e.Data["verdict"] != "":
			found = maps.Clone(e.Data)
			delete(found, "to")
		case found == nil:
			found = map[string]string{"verdict": string(entity.WordUnsigned), "signature": string(entity.NotSigned), "encryption": string(entity.NotEncrypted)}
		}
	}
	return found
}

// Subjects adds the subject to each message of a page: as its author wrote it, also
// where it is hidden outside of the encryption. What was erased, and what the
// scanner has not seen, has none.
func (p *Programs) Subjects(ctx context.Context, page []message.Story) {
	for i, s := range page {
		if ctx.Err() != nil {
			return
		}
		if !p.g.readable(s) || !slices.ContainsFunc(s.Items, func(i message.Item) bool { return i.EraseBy.After(p.g.now()) }) {
			continue
		}
		subject, err := p.g.forms.Subject(ctx, s.Envelope)
		if err != nil {
			p.g.o.Log.Warn("a subject cannot be read", "message", s.Envelope.ID.String(), "error", err)
		}
		page[i].Subject = subject
	}
}

// protection tells what the protection of a mail that came in is worth, and
// learns from it; nil when it has none.
func (g *Gateway) protection(ctx context.Context, env message.Envelope, item message.Item) (map[string]string, error) {
	return g.forms.Protection(ctx, env, func(s entity.Summary, op *entity.Opened, from message.Address) {
		g.waitFor(env, item, s, from)
		g.Harvest(ctx, env, op, from)
	})
}

// protectError turns a failed protection into an outcome: never sent as it is.
func protectError(err error) outcome {
	switch {
	case errors.Is(err, forms.ErrNoKey), errors.Is(err, forms.ErrNoFooter):
		return outcome{hold: err.Error()}
	case errors.Is(err, entity.ErrIrregular):
		return outcome{err: connectors.Refuse(connectors.StepMessage, "5.6.0", "the message has irregular lines and cannot be signed: send it anew with another program")}
	}
	return outcome{err: fmt.Errorf("protect message: %w", err)}
}
