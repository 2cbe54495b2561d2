package retention

import "time"

// LateBy is what a protocol says about something that goes at that reading.
func LateBy(f Family, limit time.Time, r Reading) *Late { return late(f, limit, r) }
