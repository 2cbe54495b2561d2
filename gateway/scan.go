package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gatewayd/crypto/entity"
	"gatewayd/message"
	"gatewayd/scan"
	"gatewayd/vault"
)

// Why an item is held for the sake of the scanner.
const (
	malwareFound = "malware was found: "
	unscannable  = "too large for the scanner for malware"
)

// scanOutcome says what becomes of an item by what the scanner says; nil: it may
// go on.
func (g *Gateway) scanOutcome(ctx context.Context, env message.Envelope) *outcome {
	if g.o.Scanner == nil || env.Direction == message.Notice {
		return nil
	}
	switch found, err := g.forms.Infected(ctx, env); {
	case found != "":
		return &outcome{hold: malwareFound + found}
	case errors.Is(err, scan.ErrTooLarge), errors.Is(err, entity.ErrTooLarge):
		return &outcome{hold: unscannable}
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
	return strings.HasPrefix(item.Reply, atGate+malwareFound) || item.Reply == atGate+unscannable
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
