package calendar

import (
	"cmp"
	"fmt"
	"sync"
	"time"
	_ "time/tzdata" // the zone must be there on a machine without tzdata too
)

// ZoneName is the zone in which legal days begin and end.
const ZoneName = "Europe/Zurich"

var zone = sync.OnceValue(func() *time.Location {
	loc, err := time.LoadLocation(ZoneName)
	if err != nil {
		panic(fmt.Sprintf("load zone %s: %v", ZoneName, err)) // cannot happen: embedded above
	}
	return loc
})

// Zone returns Europe/Zurich. It is loaded once and needs no tzdata on the
// machine.
func Zone() *time.Location { return zone() }

// Day is one legal day. Days compare with ==. The zero Day is no day.
type Day struct {
	Year  int
	Month time.Month
	Day   int
}

// Date returns the day of that date; values outside their ranges are
// normalised as by time.Date.
func Date(year int, month time.Month, day int) Day {
	return dayIn(time.Date(year, month, day, 12, 0, 0, 0, time.UTC))
}

// DayOf returns the legal day on which the instant lies.
func DayOf(t time.Time) Day { return dayIn(t.In(Zone())) }

func dayIn(t time.Time) Day {
	y, m, d := t.Date()
	return Day{y, m, d}
}

// ParseDay reads "2006-01-02". A date that does not exist is an error.
func ParseDay(s string) (Day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return Day{}, fmt.Errorf("not a day like 2026-11-23: %q", s)
	}
	return dayIn(t), nil
}

// String returns the day as "2006-01-02".
func (d Day) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, int(d.Month), d.Day) }

// MarshalText implements encoding.TextMarshaler.
func (d Day) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Day) UnmarshalText(b []byte) error {
	v, err := ParseDay(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// IsZero reports whether this is no day.
func (d Day) IsZero() bool { return d == Day{} }

// AddDays returns the day n days later, or earlier when n is negative.
func (d Day) AddDays(n int) Day { return Date(d.Year, d.Month, d.Day+n) }

// AddMonths returns the day with the same number n months later; where that
// month has no such day, its last day (OR Art. 77 para. 1 no. 3, ZPO Art. 142
// para. 2): 31 December plus two months is 28 or 29 February.
func (d Day) AddMonths(n int) Day {
	first := Date(d.Year, d.Month+time.Month(n), 1)
	last := Date(first.Year, first.Month+1, 0)
	return Day{first.Year, first.Month, min(d.Day, last.Day)}
}

// Compare returns -1, 0 or +1 as d lies before, on or after o.
func (d Day) Compare(o Day) int {
	return cmp.Or(cmp.Compare(d.Year, o.Year), cmp.Compare(d.Month, o.Month), cmp.Compare(d.Day, o.Day))
}

// Before reports whether d lies before o.
func (d Day) Before(o Day) bool { return d.Compare(o) < 0 }

// After reports whether d lies after o.
func (d Day) After(o Day) bool { return d.Compare(o) > 0 }

// Weekday returns the day of the week.
func (d Day) Weekday() time.Weekday {
	return time.Date(d.Year, d.Month, d.Day, 12, 0, 0, 0, time.UTC).Weekday()
}

// Start returns the instant at which the day begins in Europe/Zurich.
func (d Day) Start() time.Time { return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, Zone()) }

// End returns the instant at which the next day begins: the first one that no
// longer belongs to the day. A day has 23, 24 or 25 hours.
func (d Day) End() time.Time { return d.AddDays(1).Start() }
