package gateway

import (
	"context"
	"fmt"
	"strconv"

	"gatewayd/message"
	"gatewayd/queue"
)

// read is what somebody has read of log data, or of mail that is not his own.
type read struct {
	door      string // the command
	asked     string // filter or question
	authority string // whose; empty: of more than one
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
		data["asked"] = bounded(what.asked)
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
