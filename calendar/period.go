package calendar

import (
	"fmt"
	"time"
)

// Holiday is one public holiday of Basel-Landschaft.
type Holiday struct {
	Day  Day
	Name string // German
}

// Holidays returns the public holidays of Basel-Landschaft in that year, in
// order: the days on which no period ends (docs/law.md § 9). Sundays and the
// holidays that always fall on one are not listed; nor are holidays of single
// communes.
func Holidays(year int) []Holiday {
	easter := Easter(year)
	return []Holiday{
		{Day{year, time.January, 1}, "Neujahr"},
		{easter.AddDays(-2), "Karfreitag"},
		{easter.AddDays(1), "Ostermontag"},
		{Day{year, time.May, 1}, "Tag der Arbeit"},
		{easter.AddDays(39), "Auffahrt"},
		{easter.AddDays(50), "Pfingstmontag"},
		{Day{year, time.August, 1}, "Bundesfeier"},
		{Day{year, time.December, 25}, "Weihnachten"},
		{Day{year, time.December, 26}, "Stephanstag"},
	}
}

// IsHoliday reports whether the day is a public holiday of Basel-Landschaft.
func IsHoliday(d Day) bool {
	for _, h := range Holidays(d.Year) {
		if h.Day == d {
			return true
		}
	}
	return false
}

// IsWorkday reports whether a period may end on the day: no Saturday, no
// Sunday, no public holiday of Basel-Landschaft.
func IsWorkday(d Day) bool {
	w := d.Weekday()
	return w != time.Saturday && w != time.Sunday && !IsHoliday(d)
}

// Easter returns Easter Sunday of a Gregorian year (the computus of Meeus,
// Jones and Butcher).
func Easter(year int) Day {
	a, b, c := year%19, year/100, year%100
	g := (8*b + 13) / 25
	h := (19*a + b - b/4 - g + 15) % 30
	l := (32 + 2*(b%4) + 2*(c/4) - h - c%4) % 7
	m := (a + 11*h + 22*l) / 451
	n := h + l - 7*m + 114
	return Day{year, time.Month(n / 31), n%31 + 1}
}

// Standstill reports whether periods in days stand still on the day: seven days
// before to seven days after Easter, 15 July to 15 August, 18 December to
// 2 January (VwVG Art. 22a).
func Standstill(d Day) bool {
	easter := Easter(d.Year)
	switch {
	case !d.Before(easter.AddDays(-7)) && !d.After(easter.AddDays(7)):
		return true
	case d.Month == time.July:
		return d.Day >= 15
	case d.Month == time.August:
		return d.Day <= 15
	case d.Month == time.December:
		return d.Day >= 18
	}
	return d.Month == time.January && d.Day <= 2
}

// FictionDays is how many days after the first delivery attempt a registered
// item counts as served (ZPO Art. 138 para. 3 lit. a).
const FictionDays = 7

// FictionDay returns the day on which an item counts as served that was laid
// into an identified mailbox at that instant and never collected: day 0 plus
// seven. It does not move when it falls on a Saturday, Sunday or holiday: only
// the end of a period for acting does (docs/law.md § 9).
func FictionDay(available time.Time) Day { return DayOf(available).AddDays(FictionDays) }

// Profile names a rule for counting a party's period.
type Profile string

// The profiles (docs/law.md C-13). Both use the holidays of Basel-Landschaft;
// those of a party's own canton (VwVG Art. 20 para. 3) are not known here.
const (
	BLVwVG Profile = "BL-VwVG" // § 33 VwVG BL: 10 days, no standstill
	CHVwVG Profile = "CH-VwVG" // VwVG Art. 50 and 22a: 30 days, standstill
)

// ParseProfile returns the profile of that name.
func ParseProfile(s string) (Profile, error) {
	switch p := Profile(s); p {
	case BLVwVG, CHVwVG:
		return p, nil
	}
	return "", fmt.Errorf("unknown deadline profile %q: use %s or %s", s, BLVwVG, CHVwVG)
}

// Days returns the length of the period in days; 0 for an unknown profile.
func (p Profile) Days() int {
	switch p {
	case BLVwVG:
		return 10
	case CHVwVG:
		return 30
	}
	return 0
}

// Standstill reports whether the period stands still on the days of
// Standstill.
func (p Profile) Standstill() bool { return p == CHVwVG }

// Deadline returns the last day of the period that service on that day starts.
// The day after service is day 1; weekends count; days of standstill do not,
// where the profile has them; an end on a Saturday, Sunday, holiday or day of
// standstill moves to the next working day outside (VwVG Art. 20 para. 3). It
// is help for a person, never binding. For an unknown profile it is the zero
// Day.
func Deadline(service Day, p Profile) Day {
	left := p.Days()
	if left == 0 {
		return Day{}
	}
	still := func(d Day) bool { return p.Standstill() && Standstill(d) }
	d := service
	for left > 0 {
		d = d.AddDays(1)
		if !still(d) {
			left--
		}
	}
	for !IsWorkday(d) || still(d) {
		d = d.AddDays(1)
	}
	return d
}
