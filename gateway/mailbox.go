package gateway

import (
	"context"
	"fmt"
	"io"

	"gatewayd/message"
)

// Mailbox returns a page of an authority's messages with their receipts, the
// oldest first: of one direction, or all.
func (g *Gateway) Mailbox(ctx context.Context, authority string, d message.Direction, after string, limit int) ([]message.Story, string, error) {
	return NewPrograms(g).Mailbox(ctx, authority, d, after, limit)
}

// Fetch writes a message of an authority: as it came, or with open without its
// S/MIME or OpenPGP, under a field that says what that was worth. vault.ErrGone
// when it was erased; queue.ErrNotFound when it belongs to somebody else.
func (g *Gateway) Fetch(ctx context.Context, authority string, id message.ID, open bool, w io.Writer) error {
	env, body, err := NewPrograms(g).Body(ctx, authority, id)
	if err != nil {
		return err
	}
	defer body.Close()
	if !open {
		_, err = io.Copy(w, body)
		return err
	}
	opening, err := g.Open(ctx, env)
	if err != nil {
		return fmt.Errorf("open message %s: %w", id, err)
	}
	defer opening.Close()
	_, err = opening.WriteMessage(w, fmt.Sprintf("X-Gatewayd-Opened: encryption=%s; signature=%s", opening.Encryption, opening.Signature))
	return err
}

// Receipt returns one receipt of a message with its original, by its id or its
// number from 1.
func (g *Gateway) Receipt(ctx context.Context, authority string, id message.ID, which string) (message.Receipt, []byte, error) {
	return NewPrograms(g).Document(ctx, authority, id, which)
}
