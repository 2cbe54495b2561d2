package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"gatewayd/audit"
	"gatewayd/gateway/personfile"
	"gatewayd/message"
	"gatewayd/queue"
)

// Person gathers the file of one person (package personfile), and notes that it
// was, with the digest of what was given out (VeÜ, IDG: the right to one's own
// data). authority restricts it to what that authority holds; each answers for its
// own.
func (g *Gateway) Person(ctx context.Context, r message.Reading, a message.Address, authority string) ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	if a.IsNull() {
		return nil, errors.New("name the person by a mail address")
	}
	if authority != "" && g.byID[authority] == nil {
		return nil, fmt.Errorf("authority %s: %w", authority, queue.ErrNotFound)
	}
	if _, err := g.o.Audit.Drain(ctx, g.o.Store); err != nil && !errors.Is(err, audit.ErrBroken) {
		return nil, err
	}
	h := personfile.Holdings{
		Flow: g, Ledger: g.o.Store, Log: g.o.Audit, Directory: g.o.Directory(), Ours: func(address string) bool { return g.byAddress[address] != nil },
	}
	for _, known := range g.o.Authorities {
		h.Authorities = append(h.Authorities, known.ID)
	}
	f, err := personfile.Gather(ctx, h, a, authority, g.now())
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	sum := sha256.Sum256(text)
	err = g.noteRead(ctx, r, read{door: "person show", asked: a.String(), authority: authority, count: len(f.Messages) + len(f.Events), digest: message.Digest(sum).String()})
	if err != nil {
		return nil, err
	}
	return text, nil
}
