package retention

import (
	"time"

	"gatewayd/calendar"
)

// Family says which window a day key serves.
type Family string

// The families, named as in package seal.
const (
	Content Family = "content"
	Log     Family = "log"
)

// When, before the end of the erase-by day, the content of a day meets its end.
const (
	ExportBefore = 5 * 24 * time.Hour // what the authority has not confirmed is exported
	doomBefore   = 3 * 24 * time.Hour // what is still open expires, and reads refuse
	goneBefore   = time.Hour          // the key goes, whatever held up its doom
)

// Schedule is what the law and design.md section 5 fix for one day key.
type Schedule struct {
	Family  Family    `json:"family"`
	Day     string    `json:"day"`
	Export  time.Time `json:"export,omitzero"` // content: from here on unconfirmed messages are exported
	Doom    time.Time `json:"doom,omitzero"`   // content: from here on reads refuse
	Destroy time.Time `json:"destroy"`         // the earliest instant at which the key is destroyed, on a clock that is believed
	Limit   time.Time `json:"limit"`           // content: gone before; log: kept until
}

// ScheduleOf returns the instants for the key of a family and day.
func ScheduleOf(f Family, day calendar.Day) Schedule {
	end := day.End()
	s := Schedule{Family: f, Day: day.String(), Destroy: end, Limit: end}
	if f == Content {
		s.Export, s.Doom = end.Add(-ExportBefore), end.Add(-doomBefore)
		s.Destroy = s.Doom.Add(SteadyFor)
	}
	return s
}

// Stage is where a day key stands at an instant.
type Stage string

// The stages, in their order.
const (
	Keeps    Stage = "keeps"    // nothing to do
	Exports  Stage = "exports"  // what is unconfirmed goes to the authority's fallback key
	Refuses  Stage = "refuses"  // doomed: reads refuse, the key waits for the steady clock
	Destroys Stage = "destroys" // the key goes, with all that it sealed
)

// At returns the stage at an instant, on a clock that was steady all the time.
func (s Schedule) At(now time.Time) Stage {
	switch {
	case !now.Before(s.Destroy):
		return Destroys
	case s.Family == Content && !now.Before(s.Doom):
		return Refuses
	case s.Family == Content && !now.Before(s.Export):
		return Exports
	}
	return Keeps
}

// mayExport reports whether a day is exported although the clock is in doubt: when
// that ends its content may not be read any more, and an export destroys nothing.
func (s Schedule) mayExport(now time.Time) bool {
	return now.Before(s.Limit) && !now.Before(s.Export)
}

// ripe reports whether a key that is doomed since then may be destroyed now:
// it has refused for a day of believed clock. Close to its limit, because the
// gateway stood still, it does not wait once more.
func (s Schedule) ripe(doomed time.Time, r Reading) bool {
	return !r.Sure().Before(s.Limit.Add(-goneBefore)) || r.MayErase() && r.Now.Sub(doomed) >= SteadyFor
}
