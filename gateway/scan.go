package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/gateway/notices"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/scan"
	"gatewayd/vault"
)

// scanOutcome says what becomes of an item by what the scanner says; nil: it may
// go on.
func (g *Gateway) scanOutcome(ctx context.Context, env message.Envelope) *outcome {
	if g.o.Scanner == nil || env.Direction == message.Notice {
		return nil
	}
	switch found, err := g.forms.Infected(ctx, env); {
	case found != "":
		return &outcome{hold: notices.MalwareFound + found}
	case errors.Is(err, scan.ErrTooLarge), errors.Is(err, entity.ErrTooLarge):
		return &outcome{hold: notices.Unscannable}
	case errors.Is(err, vault.ErrGone), errors.Is(err, vault.ErrCorrupt):
		o := noBody(err)
		return &o
	case err != nil:
		return &outcome{err: fmt.Errorf("scan for malware: %w", err)} // temporary: never passed unscanned
	}
	return nil
}

// heldByScanner reports whether an item is held because of what was found.
func heldByScanner(item message.Item) bool {
	return strings.HasPrefix(item.Reply, notices.AtGate+notices.MalwareFound) || item.Reply == notices.AtGate+notices.Unscannable
}

// readable reports whether the scanner stands in nobody's way to a message.
func (g *Gateway) readable(s message.Story) bool {
	if g.o.Scanner == nil || s.Envelope.Direction != message.Inbound {
		return true
	}
	for _, item := range s.Items {
		if item.Decision.Via == viaMailbox && item.State == message.Done {
			return true
		}
	}
	return false
}

// heldNotice tells whom it concerns that a message waits.
func (g *Gateway) heldNotice(ctx context.Context, env message.Envelope, item message.Item, now time.Time) (*queue.Accepted, error) {
	if env.Direction != message.Inbound || !heldByScanner(item) {
		return g.notices.Held(ctx, env, item, now)
	}
	if strings.HasPrefix(item.Decision.Via, forwardPrefix) {
		return nil, nil // the item of the mailbox tells it
	}
	return g.notices.Malware(ctx, env, item, now)
}
