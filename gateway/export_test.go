package gateway

import "time"

// Sooner makes a gateway ask a failing ledger again without much delay.
func (g *Gateway) Sooner() { g.retryPause = 5 * time.Millisecond }

// Slower gives loops that have nothing to do a longest rest, for years in virtual time.
func (g *Gateway) Slower(d time.Duration) { g.least = d }

// MaxTail is how many records the ledger may lag behind.
const MaxTail = maxTail

// Pace returns how a sweep rests between two pieces of work, and what tells it
// that a client has brought a message.
func (g *Gateway) Pace() (rest, came func()) {
	p := pace{g: g}
	return p.rest, func() { g.came.Add(1) }
}
