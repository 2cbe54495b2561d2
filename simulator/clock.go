package simulator

import (
	"sync"
	"time"
)

// Clock tells the time. The simulator asks nothing else for the time of its
// receipts and windows; only the pauses between two attempts of a delivery run
// on the real clock, because the gateway is real.
type Clock interface{ Now() time.Time }

// VirtualClock is a clock that stands still until it is advanced.
type VirtualClock struct {
	mu  sync.Mutex
	now time.Time
}

// NewVirtualClock returns a clock that stands at start.
func NewVirtualClock(start time.Time) *VirtualClock { return &VirtualClock{now: start} }

// Now implements Clock.
func (c *VirtualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock forward by d; a negative d is ignored.
func (c *VirtualClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(max(d, 0))
}
