package gateway

import "time"

// Sooner makes a gateway ask a failing ledger again without much delay.
func (g *Gateway) Sooner() { g.retryPause = 5 * time.Millisecond }

// MaxTail is how many records the ledger may lag behind.
const MaxTail = maxTail

// Contains is the search for armour in a text.
var Contains = contains
