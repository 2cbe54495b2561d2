package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/mail"
	"gatewayd/mail/parts"
	"gatewayd/mail/tnef"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/scan"
	"gatewayd/vault"
)

// Scanner looks for malware in content. found is its name, "" for none; an error
// says that nobody knows, scan.ErrTooLarge that asking again does not help.
type Scanner interface {
	Scan(ctx context.Context, r io.Reader) (found string, err error)
}

// errUnscanned: mail that came in is not given out before the scanner has seen
// it, nor afterwards where it found something.
var errUnscanned = fmt.Errorf("%w: the message is held, or the scanner for malware has not seen it yet", queue.ErrConflict)

// Why an item is held for the sake of the scanner.
const (
	malwareFound = "malware was found: "
	unscannable  = "too large for the scanner for malware"
)

// infected scans a message, and what lies in it: what S/MIME or OpenPGP enclose
// (as far as it can be opened) and the files of a winmail.dat. scan.ErrTooLarge:
// a part of it was not looked at.
func (g *Gateway) infected(ctx context.Context, env message.Envelope) (found string, err error) {
	if g.o.Scanner == nil {
		return "", nil
	}
	if g.scanned.clean(env.Content.Digest, g.now()) {
		return "", nil
	}
	body, err := g.o.Vault.OpenBody(env.Body)
	if err != nil {
		return "", err
	}
	defer body.Close()
	if found, err = g.scanAll(ctx, body, body.Size()); found != "" || err != nil {
		return found, err
	}
	if env.Direction == message.Inbound && !env.PlainText {
		opening, err := g.open(ctx, env, false)
		if err != nil {
			return "", err
		}
		defer opening.Close()
		if len(opening.Layers) > 0 || opening.Encryption != entity.NotEncrypted {
			return g.infectedInside(ctx, opening.Opened) // keys may come: asked again each time
		}
	}
	g.scanned.note(env.Content.Digest, g.now())
	return "", nil
}

// infectedInside scans the opened form of a message.
func (g *Gateway) infectedInside(ctx context.Context, op *entity.Opened) (found string, err error) {
	if g.o.Scanner == nil || op.Content == nil {
		return "", nil
	}
	s := entity.NewSpool(g.o.Data, maxProtected)
	defer s.Close()
	size, err := op.WriteMessage(s, func(*mail.Header) error { return nil })
	if err != nil {
		return "", err
	}
	return g.scanAll(ctx, s, size)
}

// scanAll scans a message and the files in its winmail.dat.
func (g *Gateway) scanAll(ctx context.Context, r io.ReaderAt, size int64) (found string, err error) {
	if found, err = g.o.Scanner.Scan(ctx, io.NewSectionReader(r, 0, size)); found != "" || err != nil {
		return found, err
	}
	tree, err := parts.Read(io.NewSectionReader(r, 0, size), size, parts.Limits{})
	if err != nil {
		return "", err
	}
	if tree.Limited { // a winmail.dat may lie behind the last part that was cut out
		return "", fmt.Errorf("%w: %s", scan.ErrTooLarge, tree.Limit)
	}
	spool := func(limit int64) entity.Spool { return entity.NewSpool(g.o.Data, limit) }
	for _, p := range tree.Parts {
		if !tnef.Is(p.Type, p.FileName) {
			continue
		}
		e := parts.Entry{Encoding: p.Encoding, Start: p.Body.Start, Length: p.Body.Len(), Size: maxProtected}
		err := entity.Unpacked(r, e, spool, func(m *tnef.Message, in io.ReaderAt) error {
			var list []*io.SectionReader
			m.All(func(a tnef.Attachment) { list = append(list, a.Open(in)) })
			for _, file := range append(list, m.OpenHTML(in)) {
				if found, err = g.o.Scanner.Scan(ctx, file); found != "" || err != nil {
					return err
				}
			}
			return nil
		})
		switch {
		case found != "":
			return found, nil
		case errors.Is(err, tnef.ErrNotTNEF):
		case errors.Is(err, tnef.ErrLimits):
			return "", fmt.Errorf("%w: %w", scan.ErrTooLarge, err)
		case err != nil:
			return "", err
		}
	}
	return "", nil
}

// scanOutcome says what becomes of an item by what the scanner says; nil: it may
// go on.
func (g *Gateway) scanOutcome(ctx context.Context, env message.Envelope) *outcome {
	if g.o.Scanner == nil || env.Direction == message.Notice {
		return nil
	}
	switch found, err := g.infected(ctx, env); {
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

// cleanList remembers for a while which content was clean: one message to a hundred
// recipients is scanned once.
type cleanList struct {
	mu   sync.Mutex
	when map[message.Digest]time.Time
}

// remembered is how long a clean answer counts, and of how much content.
const (
	remembered    = 10 * time.Minute
	maxRemembered = 4096
)

func (s *cleanList) clean(d message.Digest, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.when[d]
	return ok && now.Sub(at) >= 0 && now.Sub(at) < remembered
}

func (s *cleanList) note(d message.Digest, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.when == nil || len(s.when) >= maxRemembered {
		s.when = map[message.Digest]time.Time{}
	}
	s.when[d] = now
}
