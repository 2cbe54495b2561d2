package calendar

import (
	_ "embed" // the holidays
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed holidays.txt
var holidayText string

// Calendar holds the public holidays of one canton, or those of federal law
// alone. The zero Calendar has no holiday.
type Calendar struct {
	id      string
	version string
	rules   []rule
}

// rule is one holiday that comes back every year.
type rule struct {
	name   string
	easter bool // day counts from Easter Sunday
	month  time.Month
	day    int
}

// Holiday is one public holiday.
type Holiday struct {
	Day  Day
	Name string // German
}

// The calendars that come with the program.
const (
	Federal = "CH" // federal law alone: for a party whose canton is not known
	BL      = "BL"
	BS      = "BS"
)

var calendars = sync.OnceValue(func() map[string]Calendar {
	all, err := parseCalendars(holidayText)
	if err != nil {
		panic("holidays.txt: " + err.Error()) // cannot happen: embedded, read by a test
	}
	return all
})

// For returns the calendar of that name, such as "BL".
func For(id string) (Calendar, error) {
	c, ok := calendars()[id]
	if !ok {
		return Calendar{}, fmt.Errorf("unknown calendar %q: use one of %s", id, strings.Join(IDs(), ", "))
	}
	return c, nil
}

// IDs lists the names of the calendars, in alphabetical order.
func IDs() []string {
	var ids []string
	for id := range calendars() {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// parseCalendars reads the format that the head of holidays.txt describes.
func parseCalendars(text string) (map[string]Calendar, error) {
	version, rules := "", map[string][]rule{}
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.SplitN(line, " ", 3)
		switch {
		case len(f) == 2 && f[0] == "version" && version == "":
			version = f[1]
			continue
		case len(f) != 3 || len(f[0]) != 2:
			return nil, fmt.Errorf("line %d: not calendar, rule and name", n+1)
		}
		r, err := parseRule(f[1], f[2])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		rules[f[0]] = append(rules[f[0]], r)
	}
	if version == "" {
		return nil, fmt.Errorf("no version")
	}
	all := map[string]Calendar{}
	for id, own := range rules {
		if id != Federal {
			own = slices.Concat(own, rules[Federal])
		}
		all[id] = Calendar{id: id, version: version, rules: own}
	}
	return all, nil
}

func parseRule(s, name string) (rule, error) {
	if after, ok := strings.CutPrefix(s, "easter"); ok {
		n, err := strconv.Atoi(after)
		if err != nil || n < -100 || n > 100 {
			return rule{}, fmt.Errorf("rule %q: not easter+39 or easter-2", s)
		}
		return rule{name: name, easter: true, day: n}, nil
	}
	d, err := ParseDay("2023-" + s) // no holiday falls on 29 February
	if err != nil {
		return rule{}, fmt.Errorf("rule %q: not a month and day like 08-01", s)
	}
	return rule{name: name, month: d.Month, day: d.Day}, nil
}

func (r rule) in(year int) Day {
	if r.easter {
		return Easter(year).AddDays(r.day)
	}
	return Day{year, r.month, r.day}
}

// ID returns the canton's short name, or "CH".
func (c Calendar) ID() string { return c.id }

// Version says which edition of the holidays this is; it stands in every
// result, because holidays change with the law.
func (c Calendar) Version() string { return c.version }

// Holidays returns the public holidays of a year, in order: the days on which
// no period ends. Two may fall on one day.
func (c Calendar) Holidays(year int) []Holiday {
	var list []Holiday
	for _, r := range c.rules {
		list = append(list, Holiday{r.in(year), r.name})
	}
	slices.SortStableFunc(list, func(a, b Holiday) int { return a.Day.Compare(b.Day) })
	return list
}

// Holiday returns the name of the public holiday on that day; "" if there is
// none.
func (c Calendar) Holiday(d Day) string {
	for _, r := range c.rules {
		if r.in(d.Year) == d {
			return r.name
		}
	}
	return ""
}

// Workday reports whether a period may end on the day: no Saturday, no Sunday,
// no public holiday.
func (c Calendar) Workday(d Day) bool {
	w := d.Weekday()
	return w != time.Saturday && w != time.Sunday && c.Holiday(d) == ""
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
