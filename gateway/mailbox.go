package gateway

import (
	"context"
	"io"

	"gatewayd/crypto/entity"
	"gatewayd/message"
)

// Mailbox returns a page of an authority's messages with their receipts, the
// oldest first: of one direction, or all. That an administrator has read them is
// noted, as by every method here. subjects: each with its subject.
func (g *Gateway) Mailbox(ctx context.Context, r message.Reading, authority string, d message.Direction, after string, limit int, subjects bool) ([]message.Story, string, error) {
	if err := r.Check(); err != nil {
		return nil, "", err
	}
	page, next, err := NewPrograms(g).Mailbox(ctx, authority, d, after, limit)
	if err != nil {
		return nil, "", err
	}
	if err := g.noteRead(ctx, r, read{door: "mailbox list", asked: string(d), authority: authority, count: len(page)}); err != nil {
		return nil, "", err
	}
	if subjects {
		NewPrograms(g).Subjects(ctx, page)
	}
	return page, next, nil
}

// Fetch writes a message of an authority: as it is stored, or with open as
// Programs.Delivered gives it. vault.ErrGone when it was erased;
// queue.ErrNotFound when it belongs to somebody else.
func (g *Gateway) Fetch(ctx context.Context, r message.Reading, authority string, id message.ID, open bool, w io.Writer) error {
	if err := r.Check(); err != nil {
		return err
	}
	noted := read{door: "mailbox show", asked: id.String(), authority: authority, count: 1}
	if open {
		d, err := NewPrograms(g).Delivered(ctx, authority, id)
		if err != nil {
			return err
		}
		defer d.Close()
		if err := g.noteRead(ctx, r, noted); err != nil {
			return err
		}
		_, err = d.WriteTo(w)
		return err
	}
	_, body, err := NewPrograms(g).Body(ctx, authority, id)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := g.noteRead(ctx, r, noted); err != nil {
		return err
	}
	_, err = io.Copy(w, body)
	return err
}

// Contents tells what lies in a message, as Programs.Contents.
func (g *Gateway) Contents(ctx context.Context, r message.Reading, authority string, id message.ID) (entity.Contents, error) {
	if err := r.Check(); err != nil {
		return entity.Contents{}, err
	}
	c, err := NewPrograms(g).Contents(ctx, authority, id)
	if err != nil {
		return c, err
	}
	return c, g.noteRead(ctx, r, read{door: "mailbox parts", asked: id.String(), authority: authority, count: 1})
}

// Receipt returns one receipt of a message with its original, by its id or its
// number from 1.
func (g *Gateway) Receipt(ctx context.Context, r message.Reading, authority string, id message.ID, which string) (message.Receipt, []byte, error) {
	if err := r.Check(); err != nil {
		return message.Receipt{}, nil, err
	}
	receipt, document, err := NewPrograms(g).Document(ctx, authority, id, which)
	if err == nil {
		err = g.noteRead(ctx, r, read{door: "receipt of a mailbox", asked: id.String() + " " + which, authority: authority, count: 1})
	}
	if err != nil {
		return message.Receipt{}, nil, err
	}
	return receipt, document, nil
}
