package gateway

import (
	"context"
	"io"

	"gatewayd/message"
)

// Mailbox returns a page of an authority's messages with their receipts, the
// oldest first: of one direction, or all.
func (g *Gateway) Mailbox(ctx context.Context, authority string, d message.Direction, after string, limit int) ([]message.Story, string, error) {
	return NewPrograms(g).Mailbox(ctx, authority, d, after, limit)
}

// Fetch writes a message of an authority: as it is stored, or with open as
// Programs.Delivered gives it. vault.ErrGone when it was erased;
// queue.ErrNotFound when it belongs to somebody else.
func (g *Gateway) Fetch(ctx context.Context, authority string, id message.ID, open bool, w io.Writer) error {
	if open {
		d, err := NewPrograms(g).Delivered(ctx, authority, id)
		if err != nil {
			return err
		}
		defer d.Close()
		_, err = d.WriteTo(w)
		return err
	}
	_, body, err := NewPrograms(g).Body(ctx, authority, id)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	return err
}

// Receipt returns one receipt of a message with its original, by its id or its
// number from 1.
func (g *Gateway) Receipt(ctx context.Context, authority string, id message.ID, which string) (message.Receipt, []byte, error) {
	return NewPrograms(g).Document(ctx, authority, id, which)
}
