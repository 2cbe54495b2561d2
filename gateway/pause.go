package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"gatewayd/gateway/targets"
	"gatewayd/message"
	"gatewayd/queue"
)

// What a request to pause or resume can fail with, beside message.ErrNoReason.
var (
	ErrNoDestination = errors.New("name a platform or way (incamail, privasphere, smtp, smime, openpgp, mailbox, forward:authority), or one domain of it (smtp:example.ch)")
	ErrNotPaused     = errors.New("it is not paused")
)

// pausedFile holds the paused destinations over restarts.
const pausedFile = "paused.json"

// destinationName is what a destination looks like: a way, or a way and a domain
// or authority.
var destinationName = regexp.MustCompile(`^[a-z]{2,32}(:[A-Za-z0-9._\p{L}-]{1,255})?$`)

// readPaused loads the paused destinations at start.
func (g *Gateway) readPaused() error {
	text, err := os.ReadFile(filepath.Join(g.o.Data, pausedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var list []targets.Paused
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		return fmt.Errorf("paused destinations: %w", err)
	}
	g.inFlight.SetPaused(list)
	return nil
}

// Pause keeps everything from a destination until Resume, also over restarts:
// what is due waits, and its give-up time runs on. An attempt that is open ends.
// The reason stands in the audit log.
func (g *Gateway) Pause(ctx context.Context, destination, reason string) error {
	return g.setPaused(ctx, destination, reason, message.EventPaused, func(list []targets.Paused, p targets.Paused) ([]targets.Paused, error) {
		if slices.ContainsFunc(list, func(o targets.Paused) bool { return o.Destination == p.Destination }) {
			return list, nil
		}
		return append(list, p), nil
	})
}

// Resume lets a paused destination go on.
func (g *Gateway) Resume(ctx context.Context, destination, reason string) error {
	return g.setPaused(ctx, destination, reason, message.EventResumed, func(list []targets.Paused, p targets.Paused) ([]targets.Paused, error) {
		rest := slices.DeleteFunc(slices.Clone(list), func(o targets.Paused) bool { return o.Destination == p.Destination })
		if len(rest) == len(list) {
			return nil, ErrNotPaused
		}
		return rest, nil
	})
}

func (g *Gateway) setPaused(ctx context.Context, destination, reason string, kind message.EventKind, change func([]targets.Paused, targets.Paused) ([]targets.Paused, error)) error {
	if !destinationName.MatchString(destination) {
		return ErrNoDestination
	}
	reason, err := message.CheckReason(reason)
	if err != nil {
		return err
	}
	g.pauseMu.Lock()
	defer g.pauseMu.Unlock()
	list, err := change(g.inFlight.Paused(), targets.Paused{Destination: destination, Since: g.now(), Reason: reason})
	if err != nil {
		return fmt.Errorf("%s: %w", destination, err)
	}
	err = g.o.Store.Apply(ctx, queue.Change{Events: []message.Event{{
		At: g.now(), Kind: kind, Data: map[string]string{"destination": destination, "reason": reason, "by": "administrator"},
	}}})
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err == nil {
		err = writeSynced(filepath.Join(g.o.Data, pausedFile), text)
	}
	if err != nil {
		return err
	}
	g.inFlight.SetPaused(list)
	g.Wake()
	return nil
}

// Destinations tells of every destination that has open attempts, rests after
// failures, or is paused.
func (g *Gateway) Destinations(context.Context) ([]message.Destination, error) {
	return g.inFlight.List(g.now()), nil
}
