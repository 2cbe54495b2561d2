package retention_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatewayd/calendar"
	"gatewayd/retention"
)

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

// look is one observation: how far the wall clock and the steady clock moved.
type look struct {
	wall, steady time.Duration
	restart      bool // the program was started anew before

	mayErase, behind, jumped bool
	high                     time.Duration // since the beginning
}

func TestClock(t *testing.T) {
	year := 365 * day
	tests := []struct {
		name  string
		looks []look
	}{
		{"steady for a day", []look{
			{12 * hour, 12 * hour, false, false, false, false, 12 * hour},
			{11 * hour, 11 * hour, false, false, false, false, 23 * hour},
			{hour, hour, false, true, false, false, 24 * hour},
		}},
		{"back by a year, and right again", []look{
			{25 * hour, 25 * hour, false, true, false, false, 25 * hour},
			{-year, hour, false, false, true, true, 25 * hour},
			{hour, hour, false, false, true, false, 25 * hour},
			{year, 0, false, true, false, true, 26 * hour}, // the steady clock proves that it is right again
			{23 * hour, 23 * hour, false, true, false, false, 49 * hour},
		}},
		{"back by a day", []look{
			{48 * hour, 48 * hour, false, true, false, false, 48 * hour},
			{-day, 0, false, false, true, true, 48 * hour},
			{23 * hour, 23 * hour, false, false, true, false, 48 * hour},
			{2 * hour, 2 * hour, false, true, false, false, 49 * hour}, // a day behind the truth: nothing goes too early
			{day, day, false, true, false, false, 73 * hour},
		}},
		{"ahead by a day: the mark waits", []look{
			{25 * hour, 25 * hour, false, true, false, false, 25 * hour},
			{25 * hour, hour, false, false, false, true, 25 * hour},
			{23 * hour, 23 * hour, false, false, false, false, 25 * hour},
			{hour, hour, false, true, false, false, 74 * hour},
		}},
		{"ahead by a year and back within the day: no harm", []look{
			{25 * hour, 25 * hour, false, true, false, false, 25 * hour},
			{year, hour, false, false, false, true, 25 * hour},
			{-year + hour, 2 * hour, false, true, false, true, 26 * hour},
			{25 * hour, 25 * hour, false, true, false, false, 51 * hour},
		}},
		{"ahead by a year and back by less", []look{
			{25 * hour, 25 * hour, false, true, false, false, 25 * hour},
			{year, hour, false, false, false, true, 25 * hour},
			{-year + 3*hour, hour, false, false, false, true, 25 * hour}, // an hour ahead still: the mark waits here, too
			{25 * hour, 25 * hour, false, true, false, false, 53 * hour},
		}},
		{"a restart is no jump", []look{
			{25 * hour, 25 * hour, false, true, false, false, 25 * hour},
			{hour / 2, 0, true, true, false, false, 25*hour + hour/2},
		}},
		{"off for a month", []look{
			{25 * hour, 25 * hour, false, true, false, false, 25 * hour},
			{30 * day, 0, true, false, false, true, 25 * hour},
			{day, day, false, true, false, false, 25*hour + 31*day},
		}},
		{"back while off", []look{
			{25 * hour, 25 * hour, false, true, false, false, 25 * hour},
			{-2 * hour, 0, true, false, true, true, 25 * hour},
		}},
		{"corrections of seconds", []look{
			{25 * hour, 25 * hour, false, true, false, false, 25 * hour},
			{-30 * time.Second, 0, false, true, false, false, 25 * hour},
			{hour + 30*time.Second, hour, false, true, false, false, 26 * hour},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { runClock(t, tt.looks) })
	}
}

func runClock(t *testing.T, looks []look) {
	path := filepath.Join(t.TempDir(), "clock.json")
	clock, err := retention.OpenClock(path, "")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)
	wall, steady := begin, 5*hour // a steady clock begins anywhere
	if _, err := clock.Observe(wall, steady); err != nil {
		t.Fatal(err)
	}
	for i, l := range looks {
		if l.restart {
			if clock, err = retention.OpenClock(path, ""); err != nil {
				t.Fatal(err)
			}
			steady = 0
		}
		wall, steady = wall.Add(l.wall), steady+l.steady
		r, err := clock.Observe(wall, steady)
		if err != nil {
			t.Fatal(err)
		}
		if r.MayErase() != l.mayErase || r.Behind != l.behind || r.Jumped != l.jumped || !r.High.Equal(begin.Add(l.high)) {
			t.Errorf("look %d: may erase %v, behind %v, jumped %v, high +%s, want %+v", i+1, r.MayErase(), r.Behind, r.Jumped, r.High.Sub(begin), l)
		}
	}
}

// TestClockDST: both changes of the hour are ordinary hours.
func TestClockDST(t *testing.T) {
	for _, d := range []string{"2027-03-28", "2026-10-25"} {
		clock, err := retention.OpenClock(filepath.Join(t.TempDir(), "clock.json"), "")
		if err != nil {
			t.Fatal(err)
		}
		change, err := calendar.ParseDay(d)
		if err != nil {
			t.Fatal(err)
		}
		start := change.AddDays(-1).Start()
		for at := start; at.Before(change.AddDays(2).Start()); at = at.Add(10 * time.Minute) {
			r, err := clock.Observe(at.In(calendar.Zone()), at.Sub(start))
			if err != nil || r.Jumped || r.Behind || r.MayErase() != (at.Sub(start) >= day) {
				t.Fatalf("%s: %+v %v", at, r, err)
			}
		}
	}
}

func TestClockReset(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock.json")
	clock, err := retention.OpenClock(path, "")
	if err != nil {
		t.Fatal(err)
	}
	wrong := time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
	right := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := clock.Observe(wrong, 0); err != nil {
		t.Fatal(err)
	}
	if r, err := clock.Observe(right, hour); err != nil || !r.Behind {
		t.Fatalf("%+v %v", r, err)
	}
	if err := clock.Reset(right); err != nil {
		t.Fatal(err)
	}
	r, err := clock.Observe(right.Add(time.Second), hour+time.Second)
	if err != nil || r.Behind || r.MayErase() || !r.High.Equal(right.Add(time.Second)) {
		t.Fatalf("after the reset: %+v %v", r, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := retention.OpenClock(path, ""); err == nil {
		t.Error("a damaged mark is read")
	}
}

// TestSchedule is law.md section 5 with its worked dates, to the second.
func TestSchedule(t *testing.T) {
	tests := []struct{ start, export, doom, destroy, limit, log string }{
		{"2026-12-31", "2027-02-24", "2027-02-26", "2027-02-27", "2027-03-01", "2027-07-01"},
		{"2026-02-28", "2026-04-24", "2026-04-26", "2026-04-27", "2026-04-29", "2026-08-29"},
		{"2027-12-31", "2028-02-25", "2028-02-27", "2028-02-28", "2028-03-01", "2028-07-01"},
		{"2026-11-23", "2027-01-19", "2027-01-21", "2027-01-22", "2027-01-24", "2027-05-24"},
		{"2026-08-31", "2026-10-27", "2026-10-29", "2026-10-30", "2026-11-01", "2027-03-01"},
	}
	w := retention.Default()
	for _, tt := range tests {
		at := parse(t, tt.start).Start().Add(15 * hour)
		s, l := retention.ScheduleOf(retention.Content, w.ContentDay(at)), retention.ScheduleOf(retention.Log, w.LogDay(at))
		for name, pair := range map[string]struct {
			got  time.Time
			want string
		}{"export": {s.Export, tt.export}, "doom": {s.Doom, tt.doom}, "destroy": {s.Destroy, tt.destroy}, "limit": {s.Limit, tt.limit}, "log": {l.Destroy, tt.log}} {
			if want := parse(t, pair.want).Start(); !pair.got.Equal(want) && name != "destroy" || pair.got.Sub(want).Abs() > hour {
				t.Errorf("start %s: %s at %s, want %s", tt.start, name, pair.got.In(calendar.Zone()), pair.want)
			}
		}
		edges := []struct {
			at   time.Time
			f    retention.Schedule
			want retention.Stage
		}{
			{s.Export.Add(-1), s, retention.Keeps},
			{s.Export, s, retention.Exports},
			{s.Doom.Add(-1), s, retention.Exports},
			{s.Doom, s, retention.Refuses},
			{s.Destroy.Add(-1), s, retention.Refuses},
			{s.Destroy, s, retention.Destroys},
			{l.Limit.Add(-1), l, retention.Keeps},
			{l.Limit, l, retention.Destroys},
		}
		for _, e := range edges {
			if got := e.f.At(e.at); got != e.want {
				t.Errorf("start %s, %s key at %s: %s, want %s", tt.start, e.f.Family, e.at, got, e.want)
			}
		}
	}
}

func parse(t *testing.T, s string) calendar.Day {
	t.Helper()
	d, err := calendar.ParseDay(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
