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
