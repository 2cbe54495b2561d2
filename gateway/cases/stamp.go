package cases

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatewayd/evidence"
	"gatewayd/message"
	"gatewayd/queue"
)

// A bundle is made while the time-stamping authority is out of reach. Its seal then
// stands in the event of the bundle until it is stamped, which is an event of its
// own; Item.NextTry is when the authority is asked again. Nothing else is kept, so
// that a crash loses nothing, and everything goes with the log window.

// Keys of the data of message.EventEvidence and message.EventStamped.
const (
	keyBundle = "evidence" // id
	keySeal   = "seal"     // DER, base64
)

// Bounds of the time between two requests for one seal; the wait doubles from the
// first to the second.
const (
	stampFirst = time.Minute
	stampLast  = time.Hour
)

// maxWaiting is how many bundles of one case may wait for a time stamp: each adds an
// event, and a program may ask again and again while nobody stamps.
const maxWaiting = 8

// waiting is a seal without a time stamp.
type waiting struct {
	id    string // of its bundle
	since time.Time
	seal  []byte
}

// unstamped returns the seals of an item that wait for a time stamp.
func unstamped(events []message.Event, n int) (list []waiting) {
	for _, e := range events {
		if e.Item != n {
			continue
		}
		switch e.Kind {
		case message.EventEvidence:
			if seal, err := base64.StdEncoding.DecodeString(e.Data[keySeal]); err == nil && len(seal) > 0 {
				list = append(list, waiting{e.Data[keyBundle], e.At, seal})
			}
		case message.EventStamped:
			list = slices.DeleteFunc(list, func(w waiting) bool { return w.id == e.Data[keyBundle] })
		}
	}
	return list
}

// askAgain is when the authority is asked next for the seals of an item; zero:
// none waits.
func askAgain(list []waiting, now time.Time) time.Time {
	var next time.Time
	for _, w := range list {
		if at := now.Add(min(max(now.Sub(w.since), stampFirst), stampLast)); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// Stamp asks the time-stamping authority for every seal of an item that waits, and
// notes what it got. Until one fails; then the rest waits on.
func (d Dossiers) Stamp(ctx context.Context, key message.ItemKey) error {
	events, err := d.Cases.o.Ledger.Events(ctx, key.Message)
	if err != nil {
		return err
	}
	list := unstamped(events, key.N)
	if len(list) == 0 {
		return nil
	}
	env, _, err := d.Cases.o.Ledger.Message(ctx, key.Message)
	if err != nil {
		return err
	}
	s := d.Sealing.sealer(env.Authority)
	if s.Stamp == nil {
		return evidence.ErrNoSeal
	}
	for _, w := range list {
		stamped, err := s.Stamped(ctx, w.seal)
		if err == nil {
			err = d.Cases.o.Ledger.Apply(ctx, queue.Change{Events: []message.Event{{
				At: d.Cases.o.Now().UTC(), Kind: message.EventStamped, Authority: env.Authority, Message: key.Message, Item: key.N,
				Data: map[string]string{keyBundle: w.id, keySeal: base64.StdEncoding.EncodeToString(stamped)},
			}}})
		}
		if err != nil {
			return fmt.Errorf("evidence bundle %s: %w", w.id, err)
		}
	}
	return nil
}

// Seal returns the stamped seal of a bundle that was made without a stamp; if it
// waits still, the authority is asked now. queue.ErrNotFound: no such bundle, or it
// had its stamp from the start.
func (d Dossiers) Seal(ctx context.Context, key message.ItemKey, id string) ([]byte, error) {
	if err := d.Stamp(ctx, key); err != nil && !errors.Is(err, queue.ErrNotFound) {
		return nil, err
	}
	events, err := d.Cases.o.Ledger.Events(ctx, key.Message)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		if e.Kind == message.EventStamped && e.Item == key.N && e.Data[keyBundle] == id {
			return base64.StdEncoding.DecodeString(e.Data[keySeal])
		}
	}
	return nil, fmt.Errorf("no seal of evidence bundle %.40q has waited for a time stamp: %w", id, queue.ErrNotFound)
}

// maxConflicts bounds how often a bundle is noted again because its item was
// changed meanwhile.
const maxConflicts = 20

// note writes down who has a bundle; where it has no time stamp, the item is looked
// after at once.
func (d Dossiers) note(ctx context.Context, key message.ItemKey, e message.Event, b *evidence.Bundle) error {
	if b.Pending == nil {
		return d.Cases.o.Ledger.Apply(ctx, queue.Change{Events: []message.Event{e}})
	}
	e.Data[keySeal] = base64.StdEncoding.EncodeToString(b.Unstamped)
	for conflicts := 0; ; conflicts++ {
		change := queue.Change{Events: []message.Event{e}}
		_, items, err := d.Cases.o.Ledger.Message(ctx, key.Message)
		if err != nil {
			return err
		}
		for _, item := range items {
			if item.Key == key && Watched(item) {
				item.NextTry = e.At
				change.Items = append(change.Items, item)
			}
		}
		if err = d.Cases.o.Ledger.Apply(ctx, change); !errors.Is(err, queue.ErrConflict) || conflicts == maxConflicts {
			return err
		}
	}
}
