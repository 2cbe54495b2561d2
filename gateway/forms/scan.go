package forms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/mail"
	"gatewayd/mail/parts"
	"gatewayd/mail/tnef"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/scan"
)

// Scanner looks for malware in content. found is its name, "" for none; an error
// says that nobody knows, scan.ErrTooLarge that asking again does not help.
type Scanner interface {
	Scan(ctx context.Context, r io.Reader) (found string, err error)
}

// ErrUnscanned: mail that came in is not given out before the scanner has seen
// it, nor afterwards where it found something.
var ErrUnscanned = fmt.Errorf("%w: the message is held, or the scanner for malware has not seen it yet", queue.ErrConflict)

// Infected scans a message, and what lies in it: what S/MIME or OpenPGP enclose
// (as far as it can be opened) and the files of a winmail.dat. scan.ErrTooLarge:
// a part of it was not looked at.
func (f *Forms) Infected(ctx context.Context, env message.Envelope) (found string, err error) {
	if f.o.Scanner == nil {
		return "", nil
	}
	content := scanned{env.Content.Digest, env.Direction}
	if f.scanned.clean(content, f.o.Now().UTC()) {
		return "", nil
	}
	body, err := f.o.Vault.OpenBody(env.Body)
	if err != nil {
		return "", err
	}
	defer body.Close()
	if found, err = f.scanAll(ctx, body, body.Size()); found != "" || err != nil {
		return found, err
	}
	if env.Direction == message.Inbound && !env.PlainText {
		opening, err := f.open(ctx, env, false)
		if err != nil {
			return "", err
		}
		defer opening.Close()
		if len(opening.Layers) > 0 || opening.Encryption != entity.NotEncrypted {
			return f.infectedInside(ctx, opening.Opened) // keys may come: asked again each time
		}
	}
	f.scanned.note(content, f.o.Now().UTC())
	return "", nil
}

// infectedInside scans the opened form of a message.
func (f *Forms) infectedInside(ctx context.Context, op *entity.Opened) (found string, err error) {
	if f.o.Scanner == nil || op.Content == nil {
		return "", nil
	}
	s := entity.NewSpool(f.o.Data, maxProtected)
	defer s.Close()
	size, err := op.WriteMessage(s, func(*mail.Header) error { return nil })
	if err != nil {
		return "", err
	}
	return f.scanAll(ctx, s, size)
}

// scanAll scans a message and the files in its winmail.dat.
func (f *Forms) scanAll(ctx context.Context, r io.ReaderAt, size int64) (found string, err error) {
	if found, err = f.o.Scanner.Scan(ctx, io.NewSectionReader(r, 0, size)); found != "" || err != nil {
		return found, err
	}
	tree, err := parts.Read(io.NewSectionReader(r, 0, size), size, parts.Limits{})
	if err != nil {
		return "", err
	}
	if tree.Limited { // a winmail.dat may lie behind the last part that was cut out
		return "", fmt.Errorf("%w: %s", scan.ErrTooLarge, tree.Limit)
	}
	spool := func(limit int64) entity.Spool { return entity.NewSpool(f.o.Data, limit) }
	for _, p := range tree.Parts {
		if !tnef.Is(p.Type, p.FileName) {
			continue
		}
		e := parts.Entry{Encoding: p.Encoding, Start: p.Body.Start, Length: p.Body.Len(), Size: maxProtected}
		err := entity.Unpacked(r, e, spool, func(m *tnef.Message, in io.ReaderAt) error {
			var list []*io.SectionReader
			m.All(func(a tnef.Attachment) { list = append(list, a.Open(in)) })
			for _, file := range append(list, m.OpenHTML(in)) {
				if found, err = f.o.Scanner.Scan(ctx, file); found != "" || err != nil {
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

// cleanList remembers for a while which content was clean: one message to a hundred
// recipients is scanned once.
type cleanList struct {
	mu   sync.Mutex
	when map[scanned]time.Time
}

// scanned is what an answer is about: only mail that came in is opened for it.
type scanned struct {
	content   message.Digest
	direction message.Direction
}

// remembered is how long a clean answer counts, and of how much content.
const (
	remembered    = 10 * time.Minute
	maxRemembered = 4096
)

func (s *cleanList) clean(c scanned, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.when[c]
	return ok && now.Sub(at) >= 0 && now.Sub(at) < remembered
}

func (s *cleanList) note(c scanned, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.when == nil || len(s.when) >= maxRemembered {
		s.when = map[scanned]time.Time{}
	}
	s.when[c] = now
}
