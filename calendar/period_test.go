package calendar_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatewayd/calendar"
)

func in(t *testing.T, id string) calendar.Calendar {
	t.Helper()
	c, err := calendar.For(id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func rule(t *testing.T, p calendar.Profile) calendar.Rule {
	t.Helper()
	r, err := calendar.RuleOf(p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestWorkedExamples is the table of docs/law.md § 9, all its rows that count
// days; row 9 is served by nobody (package receipts), row 11 compares instants.
func TestWorkedExamples(t *testing.T) {
	tests := []struct {
		row       int
		available string // RFC 3339; the service date follows by fiction
		service   string
		bl        string
		ch, chDay string // 30 days; the day on which counting begins, where the table names it
		why       string // why the last day is not the raw one, under the rule for BL
	}{
		{1, "2026-11-30T10:00:00+01:00", "2026-12-07", "2026-12-17", "2027-01-22", "2026-12-08", ""},
		{2, "2026-11-28T10:00:00+01:00", "2026-12-05", "2026-12-15", "2027-01-20", "", ""},
		{3, "", "2026-12-05", "2026-12-15", "2027-01-20", "2026-12-06", ""},
		{4, "", "2026-12-15", "2026-12-28", "2027-02-01", "", "Weihnachten, Stephanstag, Sonntag"},
		{5, "2026-12-18T10:00:00+01:00", "2026-12-25", "2027-01-04", "2027-02-01", "2027-01-03", ""},
		{6, "2026-03-30T10:00:00+02:00", "2026-04-06", "2026-04-16", "2026-05-12", "2026-04-13", ""},
		{7, "2026-07-10T10:00:00+02:00", "2026-07-17", "2026-07-27", "2026-09-14", "2026-08-16", ""},
		{8, "2026-11-30T10:00:00+01:00", "2026-12-07", "2026-12-17", "", "", ""},
		{8, "", "2026-12-02", "2026-12-14", "", "", "Samstag, Sonntag"}, // the alternative: the day of refusal
		{10, "2026-10-24T22:30:00Z", "2026-11-01", "2026-11-11", "2026-12-01", "", ""},
		{12, "", "2026-12-04", "2026-12-14", "", "", ""},
	}
	for _, tt := range tests {
		service := day(t, tt.service)
		if tt.available != "" {
			at, err := time.Parse(time.RFC3339, tt.available)
			if err != nil {
				t.Fatal(err)
			}
			if got := calendar.FictionDay(at); got != service {
				t.Errorf("row %d: FictionDay(%s) = %s, want %s", tt.row, tt.available, got, service)
			}
		}
		bl := calendar.Count(service, rule(t, calendar.BLVwVG), in(t, "BL"))
		if bl.Last.String() != tt.bl || bl.Why != tt.why || bl.Days != 10 || bl.Calendar != "BL" || bl.Version == "" || bl.First != service.AddDays(1) {
			t.Errorf("row %d: %+v, want last day %s because of %q", tt.row, bl, tt.bl, tt.why)
		}
		if tt.ch == "" {
			continue
		}
		for _, p := range []calendar.Profile{calendar.CHVwVG, calendar.CHZPO} {
			ch := calendar.Count(service, rule(t, p), in(t, "BL"))
			if ch.Last.String() != tt.ch || tt.chDay != "" && ch.First.String() != tt.chDay {
				t.Errorf("row %d: %s: %+v, want last day %s, day 1 %s", tt.row, p, ch, tt.ch, tt.chDay)
			}
		}
	}
}

// TestRow11: the citizen's Abgabequittung of 23:59:58 on the last day keeps
// the period, whenever it is fetched.
func TestRow11(t *testing.T) {
	last := calendar.Count(day(t, "2026-11-20"), rule(t, calendar.BLVwVG), in(t, "BL")).Last
	receipt := time.Date(2026, time.November, 30, 23, 59, 58, 0, calendar.Zone())
	fetched := time.Date(2026, time.December, 1, 0, 20, 0, 0, calendar.Zone())
	if !calendar.Keeps(receipt, last) {
		t.Errorf("receipt %s is late for %s", receipt, last)
	}
	if calendar.Keeps(fetched, last) {
		t.Errorf("fetching at %s would be timely for %s", fetched, last)
	}
}

func TestHolidays(t *testing.T) {
	want := map[int][]string{
		2025: {"01-01", "04-18", "04-21", "05-01", "05-29", "06-09", "08-01", "12-25", "12-26"},
		2026: {"01-01", "04-03", "04-06", "05-01", "05-14", "05-25", "08-01", "12-25", "12-26"},
		2027: {"01-01", "03-26", "03-29", "05-01", "05-06", "05-17", "08-01", "12-25", "12-26"},
	}
	for year, days := range want {
		for _, id := range []string{calendar.BL, calendar.BS} {
			got := in(t, id).Holidays(year)
			if len(got) != len(days) {
				t.Fatalf("%s %d: %d holidays, want %d", id, year, len(got), len(days))
			}
			for i, h := range got {
				if h.Day.String()[5:] != days[i] || h.Name == "" || in(t, id).Holiday(h.Day) == "" {
					t.Errorf("%s %d: holiday %d is %s %q, want %s", id, year, i, h.Day, h.Name, days[i])
				}
			}
		}
		if got := in(t, calendar.Federal).Holidays(year); len(got) != 1 || got[0].Day.String()[5:] != "08-01" {
			t.Errorf("federal holidays of %d: %v", year, got)
		}
	}
	if ids := calendar.IDs(); !slices.Equal(ids, []string{"BL", "BS", "CH"}) {
		t.Errorf("calendars %v", ids)
	}
	if _, err := calendar.For("XX"); err == nil || !strings.Contains(err.Error(), "BL, BS, CH") {
		t.Errorf("For(XX): %v", err)
	}
}

func TestRules(t *testing.T) {
	for _, r := range calendar.Rules() {
		if got, err := calendar.RuleOf(r.Profile); err != nil || got != r {
			t.Errorf("RuleOf(%s) = %+v, %v", r.Profile, got, err)
		}
		if r.Days < 1 || r.Law == "" {
			t.Errorf("%+v", r)
		}
	}
	if _, err := calendar.RuleOf("ZH"); err == nil {
		t.Error("RuleOf(ZH) gave no error")
	}
}

// slowEaster is from a printed table, not from a formula.
func slowEaster(year int) time.Time {
	table := map[int]string{
		2023: "04-09", 2024: "03-31", 2025: "04-20", 2026: "04-05", 2027: "03-28", 2028: "04-16", 2029: "04-01", 2030: "04-21", 2031: "04-13",
	}
	at, err := time.Parse(time.DateOnly, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Format("2006-")+table[year])
	if err != nil {
		panic(err)
	}
	return at
}

// slowCount is an independent reading of the law: it walks from day to day and
// marks and crosses out each of them.
func slowCount(service time.Time, days int, standstill bool, fixed []string, movable []int) time.Time {
	for n := 1; n <= 200; n++ {
		d := service.Add(time.Duration(n) * 24 * time.Hour) // in UTC every day has 24 hours
		sinceEaster := int(d.Sub(slowEaster(d.Year())).Hours() / 24)
		mmdd := d.Format("01-02")
		still := standstill && (mmdd >= "07-15" && mmdd <= "08-15" || mmdd >= "12-18" || mmdd <= "01-02" || sinceEaster >= -7 && sinceEaster <= 7)
		if !still {
			days--
		}
		weekend := d.Weekday() == time.Saturday || d.Weekday() == time.Sunday
		if days <= 0 && !still && !weekend && !slices.Contains(fixed, mmdd) && !slices.Contains(movable, sinceEaster) {
			return d
		}
	}
	panic("no end found")
}

// TestCountHolds compares with the slow calculation: every profile, calendar
// and day of service of 2024 to 2030 that the generator draws, and in one run
// every day.
func TestCountHolds(t *testing.T) {
	cantonal := []string{"01-01", "05-01", "08-01", "12-25", "12-26"}
	holidays := map[string]struct {
		fixed   []string
		movable []int
	}{
		"BL": {cantonal, []int{-2, 1, 39, 50}}, "BS": {cantonal, []int{-2, 1, 39, 50}}, "CH": {[]string{"08-01"}, nil},
	}
	begin, end := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2030, 12, 31, 0, 0, 0, 0, time.UTC)
	type failer interface{ Fatalf(string, ...any) }
	check := func(t failer, at time.Time, r calendar.Rule, c calendar.Calendar) calendar.Period {
		service := calendar.Date(at.Date())
		got := calendar.Count(service, r, c)
		h := holidays[c.ID()]
		if want := calendar.Date(slowCount(at, r.Days, r.Standstill, h.fixed, h.movable).Date()); got.Last != want {
			t.Fatalf("%s, %s: Count(%s) = %s, the slow calculation says %s", r.Profile, c.ID(), service, got.Last, want)
		}
		if !c.Workday(got.Last) || r.Standstill && calendar.Standstill(got.Last) || (got.Why == "") != (got.Last == got.Raw) {
			t.Fatalf("%s, %s: %+v", r.Profile, c.ID(), got)
		}
		return got
	}
	rapid.Check(t, func(t *rapid.T) {
		r := calendar.Rules()[rapid.IntRange(0, len(calendar.Rules())-1).Draw(t, "rule")]
		r.Days = rapid.IntRange(1, 60).Draw(t, "days") // other laws have other periods
		c, err := calendar.For(rapid.SampledFrom(calendar.IDs()).Draw(t, "calendar"))
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.IntRange(0, int(end.Sub(begin).Hours()/24)-1).Draw(t, "day")
		check(t, begin.AddDate(0, 0, n), r, c)
	})
	for _, r := range calendar.Rules() {
		last := calendar.Day{}
		for at := begin; !at.After(end); at = at.AddDate(0, 0, 1) {
			got := check(t, at, r, in(t, "BL"))
			if got.Last.Before(last) {
				t.Fatalf("%s: later service %s gives an earlier end", r.Profile, got.Service)
			}
			last = got.Last
		}
	}
}

// TestCountEnds: no rule makes the count run for ever.
func TestCountEnds(t *testing.T) {
	for _, days := range []int{0, 1, 100000} {
		p := calendar.Count(day(t, "2026-01-31"), calendar.Rule{Days: days, Standstill: true}, calendar.Calendar{})
		if days < 2 && p.Last.After(day(t, "2026-02-03")) {
			t.Errorf("%d days: %+v", days, p)
		}
	}
}
