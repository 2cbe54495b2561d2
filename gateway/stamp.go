package gateway

import (
	"context"
	"time"

	"gatewayd/message"
)

// stampSoon asks for the stamps of an item's seals, beside the flow. Where too many
// wait already this one comes with its next turn (Item.NextTry).
func (g *Gateway) stampSoon(key message.ItemKey) {
	select {
	case g.unstamped <- key:
	default:
	}
}

// stampRest is how long nobody is asked after a time-stamping authority has failed.
const stampRest = 5 * time.Second

// stampLoop asks the time-stamping authority for what bundles lack that were made
// while it was out of reach.
func (g *Gateway) stampLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case key := <-g.unstamped:
			if err := g.dossiers().Stamp(ctx, key); err != nil && ctx.Err() == nil {
				g.o.Log.Warn("an evidence bundle has no time stamp yet; will be asked for again", "item", key.String(), "error", err)
				g.pause(ctx, nil, stampRest)
			}
		}
	}
}

// Seal returns the stamped seal of an evidence bundle that was made without a time
// stamp. queue.ErrNotFound; any trouble of the time-stamping authority.
func (g *Gateway) Seal(ctx context.Context, r message.Reading, key message.ItemKey, bundle string) ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	return g.dossiers().Seal(ctx, key, bundle)
}
