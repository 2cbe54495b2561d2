package gateway

import "time"

// Sooner makes a gateway ask a failing ledger again without much delay.
func (g *Gateway) Sooner() { g.retryPause = 5 * time.Millisecond }

// Slower gives loops that have nothing to do a longest rest, for years in virtual time.
func (g *Gateway) Slower(d time.Duration) { g.least = d }

// MaxTail is how many records the ledger may lag behind.
const MaxTail = maxTail
