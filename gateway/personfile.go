package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

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
	f, err := g.personFile(ctx, a, authority)
	if err != nil {
		return nil, err
	}
	return g.givenOut(ctx, r, f, a, "person show")
}

// Person is Gateway.Person for a program of the authority, without the numbers of
// the audit log: they would tell how much others send.
func (p *Programs) Person(ctx context.Context, authority string, r message.Reading, a message.Address) ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	f, err := p.g.personFile(ctx, a, authority)
	if err != nil {
		return nil, err
	}
	f.Events = slices.DeleteFunc(f.Events, func(e audit.Entry) bool { return e.Authority != authority })
	for i := range f.Events {
		f.Events[i].Seq, f.Events[i].Hash = 0, message.Digest{}
	}
	for _, m := range f.Messages {
		for _, c := range m.Cases {
			for i := range c.Trail {
				c.Trail[i].Seq = 0
			}
		}
	}
	return p.g.givenOut(ctx, r, f, a, "api")
}

func (g *Gateway) personFile(ctx context.Context, a message.Address, authority string) (personfile.File, error) {
	if _, err := g.o.Audit.Drain(ctx, g.o.Store); err != nil && !errors.Is(err, audit.ErrBroken) {
		return personfile.File{}, err
	}
	h := personfile.Holdings{
		Flow: g, Ledger: g.o.Store, Log: g.o.Audit, Directory: g.o.Directory(), Ours: func(address string) bool { return g.byAddress[address] != nil },
	}
	for _, known := range g.o.Authorities {
		h.Authorities = append(h.Authorities, known.ID)
	}
	return personfile.Gather(ctx, h, a, authority, g.now())
}

// givenOut notes that a file leaves, with the digest of what leaves.
func (g *Gateway) givenOut(ctx context.Context, r message.Reading, f personfile.File, a message.Address, door string) ([]byte, error) {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	sum := sha256.Sum256(text)
	err = g.noteRead(ctx, r, read{door: door, asked: a.String(), authority: f.Authority, count: len(f.Messages) + len(f.Events), digest: message.Digest(sum).String()})
	if err != nil {
		return nil, err
	}
	return text, nil
}
