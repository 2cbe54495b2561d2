package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"gatewayd/audit"
	"gatewayd/message"
	"gatewayd/queue"
)

// read is what somebody has read of log data, or of mail that is not his own.
type read struct {
	door      string // the command
	asked     string // filter or question
	authority string // whose; empty: of more than one
	digest    string // of what was given out, if it was a document
	count     int    // less than 0: nobody knows
}

// noteRead writes down that somebody reads, before he gets it: what cannot be
// noted is not read (Benutzungsreglement BL § 22).
func (g *Gateway) noteRead(ctx context.Context, r message.Reading, what read) error {
	data := map[string]string{"by": r.By, "purpose": string(r.Purpose), "door": what.door}
	if what.count >= 0 {
		data["count"] = strconv.Itoa(what.count)
	}
	if what.asked != "" {
		data["asked"] = message.Bounded(what.asked)
	}
	if what.digest != "" {
		data["sha256"] = what.digest
	}
	err := g.o.Store.Apply(ctx, queue.Change{Events: []message.Event{{At: g.now(), Kind: message.EventRead, Authority: what.authority, Data: data}}})
	if err != nil {
		return fmt.Errorf("nothing is shown, because that it was read cannot be noted: %w", err)
	}
	return nil
}

// NoteRead writes down that a token reads.
func (p *Programs) NoteRead(ctx context.Context, r message.Reading, authority, door, asked string) error {
	return p.g.noteRead(ctx, r, read{door: door, asked: asked, authority: authority, count: -1})
}

// maxListed bounds what is read with a limit: it is gathered first, so that one
// event says how much it was.
const maxListed = 10_000

// ReadAudit calls fn with the lines of the log that the filter takes, and notes
// who reads them: a list up to a limit once, with its count; anything longer when
// it begins, and again with its count when it ends, whether or not it came to the
// last line.
func (g *Gateway) ReadAudit(ctx context.Context, r message.Reading, f audit.Filter, fn func(audit.Entry) error) error {
	if err := r.Check(); err != nil {
		return err
	}
	if _, err := g.o.Audit.Drain(ctx, g.o.Store); err != nil && !errors.Is(err, audit.ErrBroken) {
		return err
	}
	if f.Limit > 0 && f.Limit <= maxListed {
		return g.listAudit(ctx, r, f, fn)
	}
	if err := g.noteRead(ctx, r, read{door: "audit export, begun", asked: f.String(), count: -1}); err != nil {
		return err
	}
	n := 0
	err := g.o.Audit.Entries(ctx, f, func(e audit.Entry) error {
		n++
		return fn(e)
	})
	return errors.Join(err, g.noteRead(context.WithoutCancel(ctx), r, read{door: "audit export", asked: f.String(), count: n}))
}

func (g *Gateway) listAudit(ctx context.Context, r message.Reading, f audit.Filter, fn func(audit.Entry) error) error {
	var list []audit.Entry
	err := g.o.Audit.Entries(ctx, f, func(e audit.Entry) error {
		list = append(list, e)
		return nil
	})
	if err == nil {
		err = g.noteRead(ctx, r, read{door: "audit list", asked: f.String(), count: len(list)})
	}
	for _, e := range list {
		if err == nil {
			err = fn(e)
		}
	}
	return err
}

// Prove proves that one line stands in the log of a sealed day (audit.Proof), and
// notes that it was read.
func (g *Gateway) Prove(ctx context.Context, r message.Reading, seq uint64) (audit.Proof, error) {
	if err := r.Check(); err != nil {
		return audit.Proof{}, err
	}
	p, err := g.o.Audit.Prove(ctx, seq)
	if err == nil {
		err = g.noteRead(ctx, r, read{door: "audit prove", asked: strconv.FormatUint(seq, 10), count: 1})
	}
	if err != nil {
		return audit.Proof{}, err
	}
	return p, nil
}
