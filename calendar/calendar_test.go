package calendar_test

import (
	"encoding/json"
	"testing"
	"time"

	"gatewayd/calendar"
)

func day(t *testing.T, s string) calendar.Day {
	t.Helper()
	d, err := calendar.ParseDay(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// everyDay calls f with every day of 2024 to 2032.
func everyDay(f func(calendar.Day)) {
	end := calendar.Date(2033, time.January, 1)
	for d := calendar.Date(2024, time.January, 1); d.Before(end); d = d.AddDays(1) {
		f(d)
	}
}

// TestWindowsOfLaw is the table of docs/law.md § 5.
func TestWindowsOfLaw(t *testing.T) {
	tests := []struct{ start, two, sixty, six, oneEighty string }{
		{"2026-12-31", "2027-02-28", "2027-03-01", "2027-06-30", "2027-06-29"},
		{"2026-02-28", "2026-04-28", "2026-04-29", "2026-08-28", "2026-08-27"},
		{"2027-12-31", "2028-02-29", "2028-02-29", "2028-06-30", "2028-06-28"},
		{"2026-11-23", "2027-01-23", "2027-01-22", "2027-05-23", "2027-05-22"},
		{"2026-08-31", "2026-10-31", "2026-10-30", "2027-02-28", "2027-02-27"},
	}
	for _, tt := range tests {
		start := day(t, tt.start)
		got := []calendar.Day{start.AddMonths(2), start.AddDays(60), start.AddMonths(6), start.AddDays(180)}
		for i, want := range []string{tt.two, tt.sixty, tt.six, tt.oneEighty} {
			if got[i].String() != want {
				t.Errorf("%s, column %d: got %s, want %s", tt.start, i+1, got[i], want)
			}
		}
	}
}

// TestServiceAndPeriods is the table of docs/law.md § 9. Rows 9 and 11 compute
// no date here: nothing was served, and an instant is compared.
func TestServiceAndPeriods(t *testing.T) {
	tests := []struct {
		row       int
		available string // RFC 3339; the service date follows by fiction
		service   string // wanted after available, given when available is empty
		bl, ch    string
	}{
		{1, "2026-11-30T10:00:00+01:00", "2026-12-07", "2026-12-17", "2027-01-22"},
		{2, "2026-11-28T10:00:00+01:00", "2026-12-05", "2026-12-15", "2027-01-20"},
		{3, "", "2026-12-05", "2026-12-15", "2027-01-20"},
		{4, "", "2026-12-15", "2026-12-28", "2027-02-01"},
		{5, "2026-12-18T10:00:00+01:00", "2026-12-25", "2027-01-04", "2027-02-01"},
		{6, "2026-03-30T10:00:00+02:00", "2026-04-06", "2026-04-16", "2026-05-12"},
		{7, "2026-07-10T10:00:00+02:00", "2026-07-17", "2026-07-27", "2026-09-14"},
		{8, "2026-11-30T10:00:00+01:00", "2026-12-07", "2026-12-17", ""},
		{8, "", "2026-12-02", "2026-12-14", ""}, // the alternative: the day of refusal
		{10, "2026-10-24T22:30:00Z", "2026-11-01", "2026-11-11", "2026-12-01"},
		{12, "", "2026-12-04", "2026-12-14", ""},
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
		if got := calendar.Deadline(service, calendar.BLVwVG); got.String() != tt.bl {
			t.Errorf("row %d: Deadline(%s, BL) = %s, want %s", tt.row, service, got, tt.bl)
		}
		if got := calendar.Deadline(service, calendar.CHVwVG); tt.ch != "" && got.String() != tt.ch {
			t.Errorf("row %d: Deadline(%s, CH) = %s, want %s", tt.row, service, got, tt.ch)
		}
	}
}

// TestRow11 : the citizen's Abgabequittung of 23:59:58 on the last day keeps
// the period, whenever it is fetched.
func TestRow11(t *testing.T) {
	last := calendar.Deadline(day(t, "2026-11-20"), calendar.BLVwVG)
	receipt := time.Date(2026, time.November, 30, 23, 59, 58, 0, calendar.Zone())
	fetched := time.Date(2026, time.December, 1, 0, 20, 0, 0, calendar.Zone())
	if !receipt.Before(last.End()) {
		t.Errorf("receipt %s is late for %s", receipt, last)
	}
	if fetched.Before(last.End()) {
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
		got := calendar.Holidays(year)
		if len(got) != len(days) {
			t.Fatalf("%d: %d holidays, want %d", year, len(got), len(days))
		}
		for i, h := range got {
			if h.Day.String()[5:] != days[i] || h.Name == "" {
				t.Errorf("%d: holiday %d is %s %q, want %s", year, i, h.Day, h.Name, days[i])
			}
		}
	}
	n := 0
	everyDay(func(d calendar.Day) {
		if calendar.IsHoliday(d) {
			n++
		}
	})
	if n < 9*9-2 || n > 9*9 { // two holidays may fall on one day: Auffahrt on 1 May
		t.Errorf("%d holidays in nine years", n)
	}
}

func TestEaster(t *testing.T) {
	for _, want := range []string{
		"1818-03-22", "1943-04-25", "1961-04-02", "2000-04-23", "2008-03-23", "2019-04-21",
		"2024-03-31", "2025-04-20", "2026-04-05", "2027-03-28", "2028-04-16", "2029-04-01",
		"2030-04-21", "2031-04-13", "2032-03-28", "2038-04-25", "2285-03-22",
	} {
		if got := calendar.Easter(day(t, want).Year); got.String() != want {
			t.Errorf("Easter = %s, want %s", got, want)
		}
	}
}

func TestStandstill(t *testing.T) {
	tests := map[string]bool{
		"2026-03-28": false, "2026-03-29": true, "2026-04-12": true, "2026-04-13": false,
		"2026-07-14": false, "2026-07-15": true, "2026-08-15": true, "2026-08-16": false,
		"2026-12-17": false, "2026-12-18": true, "2027-01-02": true, "2027-01-03": false,
	}
	for s, want := range tests {
		if got := calendar.Standstill(day(t, s)); got != want {
			t.Errorf("Standstill(%s) = %v, want %v", s, got, want)
		}
	}
}

func TestAddMonthsHolds(t *testing.T) {
	everyDay(func(d calendar.Day) {
		for _, n := range []int{0, 1, 2, 6, 12, -1} {
			got := d.AddMonths(n)
			months := (got.Year-d.Year)*12 + int(got.Month-d.Month)
			if months != n {
				t.Fatalf("%s + %d months = %s", d, n, got)
			}
			if got.Day != d.Day && got.AddDays(1).Day != 1 {
				t.Fatalf("%s + %d months = %s: neither the same number nor the last day", d, n, got)
			}
			if got.Day > d.Day {
				t.Fatalf("%s + %d months = %s: later than the same number", d, n, got)
			}
		}
	})
}

func TestDaysHold(t *testing.T) {
	before := calendar.Date(2023, time.December, 31)
	everyDay(func(d calendar.Day) {
		if d != before.AddDays(1) || before != d.AddDays(-1) || !before.Before(d) || !d.After(before) || d.Compare(d) != 0 {
			t.Fatalf("order broken between %s and %s", before, d)
		}
		if d.Weekday() != (before.Weekday()+1)%7 {
			t.Fatalf("%s is a %s after a %s", d, d.Weekday(), before.Weekday())
		}
		start, end := d.Start(), d.End()
		if h := end.Sub(start).Hours(); h < 23 || h > 25 {
			t.Fatalf("%s has %v hours", d, h)
		}
		if calendar.DayOf(start.UTC()) != d || calendar.DayOf(end.Add(-1).UTC()) != d || calendar.DayOf(start.Add(-1)) != before {
			t.Fatalf("DayOf does not agree with the bounds of %s", d)
		}
		if got, err := calendar.ParseDay(d.String()); err != nil || got != d {
			t.Fatalf("ParseDay(%s) = %s, %v", d, got, err)
		}
		before = d
	})
}

func TestDeadlineHolds(t *testing.T) {
	for _, p := range []calendar.Profile{calendar.BLVwVG, calendar.CHVwVG} {
		last := calendar.Day{}
		everyDay(func(d calendar.Day) {
			end := calendar.Deadline(d, p)
			if end.Before(d.AddDays(p.Days())) {
				t.Fatalf("%s: Deadline(%s) = %s: too early", p, d, end)
			}
			if end.After(d.AddDays(p.Days() + 32 + 16 + 5)) { // at worst two standstills and a weekend
				t.Fatalf("%s: Deadline(%s) = %s: too late", p, d, end)
			}
			if !calendar.IsWorkday(end) || p.Standstill() && calendar.Standstill(end) {
				t.Fatalf("%s: Deadline(%s) = %s ends on a day without work", p, d, end)
			}
			if end.Before(last) {
				t.Fatalf("%s: later service %s gives an earlier end %s", p, d, end)
			}
			last = end
		})
	}
}

func TestFictionNeverShifts(t *testing.T) {
	everyDay(func(d calendar.Day) {
		for _, at := range []time.Time{d.Start(), d.End().Add(-time.Nanosecond)} {
			if got := calendar.FictionDay(at.UTC()); got != d.AddDays(7) {
				t.Fatalf("FictionDay(%s) = %s, want %s", at, got, d.AddDays(7))
			}
		}
	})
}

func TestParseDayRefuses(t *testing.T) {
	for _, s := range []string{"", "2026-02-29", "2026-13-01", "2026-1-1", "23.11.2026", "2026-11-23T00:00:00Z", " 2026-11-23"} {
		if d, err := calendar.ParseDay(s); err == nil {
			t.Errorf("ParseDay(%q) = %s, want an error", s, d)
		}
	}
}

func TestDayText(t *testing.T) {
	in := map[string]calendar.Day{"d": day(t, "2026-11-23")}
	b, err := json.Marshal(in)
	if err != nil || string(b) != `{"d":"2026-11-23"}` {
		t.Fatalf("Marshal = %s, %v", b, err)
	}
	var out map[string]calendar.Day
	if err := json.Unmarshal(b, &out); err != nil || out["d"] != in["d"] {
		t.Errorf("Unmarshal = %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"d":"soon"}`), &out); err == nil {
		t.Error("Unmarshal(soon) gave no error")
	}
	if !(calendar.Day{}).IsZero() || in["d"].IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestProfiles(t *testing.T) {
	for _, p := range []calendar.Profile{calendar.BLVwVG, calendar.CHVwVG} {
		if got, err := calendar.ParseProfile(string(p)); err != nil || got != p {
			t.Errorf("ParseProfile(%s) = %s, %v", p, got, err)
		}
	}
	if _, err := calendar.ParseProfile("ZH"); err == nil {
		t.Error("ParseProfile(ZH) gave no error")
	}
	if got := calendar.Deadline(day(t, "2026-11-23"), "ZH"); !got.IsZero() {
		t.Errorf("Deadline with an unknown profile = %s, want no day", got)
	}
}

func FuzzParseDay(f *testing.F) {
	for _, s := range []string{"2026-11-23", "2028-02-29", "0001-01-01", "9999-12-31", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := calendar.ParseDay(s)
		if err == nil && d.String() != s {
			t.Fatalf("ParseDay(%q) = %s", s, d)
		}
	})
}
