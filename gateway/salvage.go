package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// lostAlarm stands on what the vault gives back after the ledger's own row was
// damaged.
const lostAlarm = "its row in the ledger was damaged: it may have left already; ask, then release or drop it"

// Mender is a ledger that takes what it has lost (bolt.Store.Mend).
type Mender interface {
	Mend(ctx context.Context, a queue.Accepted) (items int, err error)
}

// Salvage gives a ledger that was repaired every item that only the vault has
// still, and returns how many. What an authority had sent is held for a person,
// because it may have left; what had come in is laid into the mailbox. Nothing
// may run meanwhile.
func (g *Gateway) Salvage(ctx context.Context, ledger Mender) (items int, err error) {
	err = g.o.Vault.Replay(nil, func(ref message.Ref, meta []byte) error {
		a, err := queue.Decode(meta)
		if err != nil {
			return fmt.Errorf("record at %s/%d/%d: %w", ref.Day, ref.Segment, ref.Offset, err)
		}
		a.Envelope.Body = ref
		if a, err = g.missing(ctx, a); err != nil || len(a.Items) == 0 {
			return err
		}
		g.hold(&a)
		n, err := ledger.Mend(ctx, a)
		items += n
		return err
	})
	return items, err
}

// missing leaves of an accepted message the items that the ledger lacks; its
// events only when it lacks all of it.
func (g *Gateway) missing(ctx context.Context, a queue.Accepted) (queue.Accepted, error) {
	_, there, err := g.o.Store.Message(ctx, a.Envelope.ID)
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return a, nil
	case errors.Is(err, seal.ErrDestroyed):
		a.Items = nil
		return a, nil
	case err != nil:
		return a, err
	}
	a.Events = nil
	a.Items = slices.DeleteFunc(a.Items, func(item message.Item) bool {
		return slices.ContainsFunc(there, func(known message.Item) bool { return known.Key == item.Key })
	})
	return a, nil
}

// hold makes of an accepted message one that waits for a person.
func (g *Gateway) hold(a *queue.Accepted) {
	now := g.now()
	if a.Envelope.Direction != message.Outbound {
		return
	}
	for i := range a.Items {
		item := &a.Items[i]
		item.State, item.NextTry, item.Told, item.Alarm = message.Held, time.Time{}, now, lostAlarm
		a.Events = append(a.Events, message.Event{
			At: now, Kind: message.EventHeld, Authority: a.Envelope.Authority, Message: a.Envelope.ID, Item: item.Key.N, Data: map[string]string{"reason": lostAlarm},
		})
	}
}

// tellDamage notes in log and audit log what the vault found damaged at this
// start; it lies under corrupt/.
func (g *Gateway) tellDamage(ctx context.Context) error {
	rep := g.o.Vault.Recovered()
	if rep.Segments > 0 {
		g.o.Log.Info("the last run did not end in order; the vault is whole again", "segments", rep.Segments, "records", rep.Records, "cut", rep.Cut, "voided", rep.Voided, "orphans", rep.Orphans)
	}
	var events []message.Event
	for _, d := range rep.Damaged {
		g.o.Log.Error("a stretch of the vault is damaged; it was set aside", "day", d.Day, "segment", d.Segment, "offset", d.Offset, "octets", d.Length, "file", d.File)
		events = append(events, message.Event{At: g.now(), Kind: message.EventDamaged, Data: map[string]string{
			"day": d.Day, "segment": strconv.FormatUint(d.Segment, 10), "offset": strconv.FormatInt(d.Offset, 10), "octets": strconv.FormatInt(d.Length, 10), "file": d.File,
		}})
	}
	if len(events) == 0 {
		return nil
	}
	return g.o.Store.Apply(ctx, queue.Change{Events: events})
}
