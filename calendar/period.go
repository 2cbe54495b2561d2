package calendar

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Standstill reports whether periods in days stand still on the day: seven days
// before to seven days after Easter, 15 July to 15 August, 18 December to
// 2 January (VwVG Art. 22a, ZPO Art. 145).
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
// item counts as served (ZPO Art. 138 para. 3 lit. a, VwVG Art. 20 para. 2bis).
const FictionDays = 7

// FictionDay returns the day on which an item counts as served that was laid
// into an identified mailbox at that instant and never collected: day 0 plus
// seven. It does not move when it falls on a Saturday, Sunday or holiday: only
// the end of a period for acting does (docs/law.md § 9).
func FictionDay(available time.Time) Day { return DayOf(available).AddDays(FictionDays) }

// Profile names a rule for counting a party's period.
type Profile string

// The profiles (docs/law.md C-13).
const (
	BLVwVG Profile = "BL-VwVG"
	CHVwVG Profile = "CH-VwVG"
	CHZPO  Profile = "CH-ZPO"
)

// Rule is what a profile says.
type Rule struct {
	Profile    Profile
	Days       int
	Standstill bool   // days of Standstill do not count, and none of them ends a period
	Law        string // where it stands
	Except     string // German: where it does not hold; a person must know
}

// Rules lists the profiles in the order in which they are shown.
func Rules() []Rule {
	return []Rule{
		{BLVwVG, 10, false, "VwVG BL § 5, § 33", "andere Fristen nach Spezialgesetz"},
		{CHVwVG, 30, true, "VwVG Art. 20, 22a, 50", "kein Stillstand bei vorsorglichen Massnahmen und öffentlichen Beschaffungen"},
		{CHZPO, 30, true, "ZPO Art. 142, 145, 311", "kein Stillstand im Schlichtungs- und im summarischen Verfahren"},
	}
}

// RuleOf returns the rule of a profile.
func RuleOf(p Profile) (Rule, error) {
	i := slices.IndexFunc(Rules(), func(r Rule) bool { return r.Profile == p })
	if i < 0 {
		var names []string
		for _, r := range Rules() {
			names = append(names, string(r.Profile))
		}
		return Rule{}, fmt.Errorf("unknown deadline profile %q: use one of %s", p, strings.Join(names, ", "))
	}
	return Rules()[i], nil
}

// Period is a party's period as it was counted, with everything that went into
// it. It is help for a person, never binding.
type Period struct {
	Profile  Profile `json:"profile"`
	Days     int     `json:"days"`
	Law      string  `json:"law"`
	Except   string  `json:"except,omitempty"` // where the rule does not hold
	Calendar string  `json:"calendar"`         // whose holidays
	Version  string  `json:"calendar_version"`
	Service  Day     `json:"service"`
	First    Day     `json:"first"` // day 1
	Raw      Day     `json:"raw"`   // the last counted day, before it moves
	Last     Day     `json:"last"`  // the last day on which the party may act
	Paused   int     `json:"paused,omitempty"`
	Why      string  `json:"why,omitempty"` // why Last is not Raw, in German
}

// maxPause bounds the days that a period can stand still or move: far more
// than two standstills and the longest row of holidays.
const maxPause = 200

// Count returns the period that service on a day starts. The day after service
// is day 1; weekends count; days of standstill do not, where the rule has them;
// an end on a Saturday, Sunday or holiday moves to the next working day (VwVG
// Art. 20 para. 1 and 3, ZPO Art. 142 para. 1 and 3). Whose holidays count is
// for the caller to say: those of the party's or its representative's canton.
func Count(service Day, r Rule, c Calendar) Period {
	p := Period{
		Profile: r.Profile, Days: r.Days, Law: r.Law, Except: r.Except,
		Calendar: c.ID(), Version: c.Version(), Service: service,
	}
	still := func(d Day) bool { return r.Standstill && Standstill(d) }
	d := service
	for left := r.Days; left > 0 && p.Paused < maxPause; {
		d = d.AddDays(1)
		if still(d) {
			p.Paused++
			continue
		}
		if left--; p.First.IsZero() {
			p.First = d
		}
	}
	p.Raw = d
	var why []string
	for moved := 0; moved < maxPause; moved++ {
		reason := closed(d, c, still)
		if reason == "" {
			break
		}
		if !slices.Contains(why, reason) {
			why = append(why, reason)
		}
		d = d.AddDays(1)
	}
	p.Last, p.Why = d, strings.Join(why, ", ")
	return p
}

// closed names what keeps a period from ending on the day; "" on a working day.
func closed(d Day, c Calendar, still func(Day) bool) string {
	switch name := c.Holiday(d); {
	case name != "":
		return name
	case d.Weekday() == time.Saturday:
		return "Samstag"
	case d.Weekday() == time.Sunday:
		return "Sonntag"
	case still(d):
		return "Stillstand"
	}
	return ""
}

// Keeps reports whether an act at an instant is in time for a period that ends
// on that day: until midnight (VeÜ-ZSSV Art. 8b: the platform's time counts).
func Keeps(at time.Time, last Day) bool { return at.Before(last.End()) }
