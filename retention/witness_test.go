package retention_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/retention"
)

// stand is a clock that was believed for two days.
type stand struct {
	t      *testing.T
	path   string
	clock  *retention.Clock
	wall   time.Time
	steady time.Duration
	last   retention.Reading
}

func newStand(t *testing.T, boot string) *stand {
	t.Helper()
	s := &stand{t: t, path: filepath.Join(t.TempDir(), "clock.json"), wall: time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC), steady: 5 * hour}
	s.open(boot)
	s.look(0, 0)
	if r := s.look(2*day, 2*day); !r.MayErase() || r.Proof != retention.ProofSteady || !r.Certain.Equal(s.wall) {
		t.Fatalf("after two days: %+v", r)
	}
	return s
}

func (s *stand) open(boot string) {
	s.t.Helper()
	var err error
	if s.clock, err = retention.OpenClock(s.path, boot); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) look(wall, steady time.Duration) retention.Reading {
	s.t.Helper()
	s.wall, s.steady = s.wall.Add(wall), s.steady+steady
	r, err := s.clock.Observe(s.wall, s.steady)
	if err != nil {
		s.t.Fatal(err)
	}
	s.last = r
	return r
}

func (s *stand) hear(by string, age, most time.Duration) retention.Reading {
	s.t.Helper()
	r, err := s.clock.Hear(retention.Witness{By: by, At: s.wall.Add(-age), Most: most}, s.last)
	if err != nil {
		s.t.Fatal(err)
	}
	s.last = r
	return r
}

// TestWitness: who is believed about a clock that is ahead of what is certain, and
// how far. A time service that says yes to everything is the worst case: the clock
// was moved by somebody who answers for the service, too.
func TestWitness(t *testing.T) {
	month, year := 30*day, 365*day
	service, stamp, receipt := retention.ByTimeService, retention.ByStamp, retention.ByReceipt
	tests := []struct {
		name      string
		off       time.Duration // the wall clock moves by that much while the machine was off
		by        string
		age, most time.Duration
		may       bool
		sure      time.Duration // before the wall clock
	}{
		{"nobody", 5 * hour, "", 0, 0, false, 5 * hour},
		{"the service after a night", 9 * hour, service, 0, retention.ServiceTrust, true, 0},
		{"the service after a long weekend", 4 * day, service, 0, retention.ServiceTrust, true, 0},
		{"the service after a month", month, service, 0, retention.ServiceTrust, false, month},
		{"the service after a year", year, service, 0, retention.ServiceTrust, false, year},
		{"a stamp after a month", month, stamp, 0, 0, true, 0},
		{"a stamp after a year, by another clock", year, stamp, 9 * time.Minute, 0, true, 0},
		{"a stamp says that it is a month ahead", month, stamp, month, 0, false, month},
		{"a stamp says that it is a year ahead", year, stamp, year - day, 0, false, year - day},
		{"a stamp from the time before", month, stamp, month + day, 0, false, month},
		{"a stamp of the future", 5 * hour, stamp, -2 * time.Minute, 0, false, 5 * hour},
		{"a receipt of now", 3 * day, receipt, time.Minute, 0, true, 0},
		{"a receipt of two hours ago", 3 * day, receipt, 2 * hour, 0, false, 2 * hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, "")
			high := s.wall
			s.open("")
			s.steady = 0
			if r := s.look(tt.off, 0); r.MayErase() || !r.Jumped {
				t.Fatalf("after the start: %+v", r)
			}
			r := s.hear(tt.by, tt.age, tt.most)
			if r.MayErase() != tt.may || !r.Sure().Equal(s.wall.Add(-tt.sure)) {
				t.Errorf("may erase %v, sure %s before now, want %v, %s", r.MayErase(), s.wall.Sub(r.Sure()), tt.may, tt.sure)
			}
			if want := map[bool]time.Time{true: s.wall, false: high}[tt.may]; !r.High.Equal(want) {
				t.Errorf("the mark stands at %s, want %s", r.High, want)
			}
			if tt.may && (r.Proof != tt.by || r.Gap.Proof != tt.by || !r.Gap.From.Equal(high) || !r.Gap.Proven.Equal(s.wall)) {
				t.Errorf("%+v", r)
			}
			s.open("") // it is remembered
			s.steady = 0
			if r := s.look(time.Minute, 0); r.MayErase() != tt.may {
				t.Errorf("after another start: %+v", r)
			}
		})
	}
}

// TestWitnessCredit: a time service that lies a little each time comes to its bound;
// a signature, or a steady day, gives it back.
func TestWitnessCredit(t *testing.T) {
	s := newStand(t, "")
	jump := func(want bool) {
		t.Helper()
		s.look(2*day, time.Minute)
		if r := s.hear(retention.ByTimeService, 0, retention.ServiceTrust); r.MayErase() != want {
			t.Errorf("believed: %v, want %v: %+v", r.MayErase(), want, r)
		}
	}
	jump(true)
	jump(true)
	jump(false)
	s.look(25*hour, 25*hour)
	jump(true)
	s.look(25*hour, 25*hour) // by the service all the time
	jump(true)
	jump(true)
	jump(false)
	if r := s.hear(retention.ByStamp, 0, 0); !r.MayErase() {
		t.Errorf("%+v", r)
	}
	jump(true)
}

// TestWitnessBack: nobody but a person helps a clock that stands before its mark.
func TestWitnessBack(t *testing.T) {
	for _, back := range []time.Duration{-2 * hour, -30 * day, -365 * day} {
		s := newStand(t, "")
		s.look(back, time.Minute)
		for _, by := range []string{retention.ByStamp, retention.ByReceipt} {
			if r := s.hear(by, 0, 0); r.MayErase() || !r.Behind || !r.Sure().IsZero() {
				t.Errorf("back by %s: %+v", back, r)
			}
		}
		if r := s.hear(retention.ByTimeService, 0, retention.ServiceTrust); r.MayErase() {
			t.Errorf("back by %s: %+v", back, r)
		}
	}
}

// TestNewClock: where no mark is known, only a signature or a steady day counts.
func TestNewClock(t *testing.T) {
	s := &stand{t: t, path: filepath.Join(t.TempDir(), "clock.json"), wall: time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)}
	s.open("")
	s.look(0, 0)
	if r := s.hear(retention.ByTimeService, 0, retention.ServiceTrust); r.MayErase() || !r.Sure().IsZero() {
		t.Errorf("the service: %+v", r)
	}
	if r := s.hear(retention.ByStamp, 0, 0); !r.MayErase() {
		t.Errorf("a stamp: %+v", r)
	}
}

// TestSameBoot: the steady clock of the machine goes on while the program is off.
func TestSameBoot(t *testing.T) {
	tests := []struct {
		name         string
		boot         string
		wall, steady time.Duration
		may, jumped  bool
	}{
		{"off for a week, the machine ran", "a", 7 * day, 7 * day, true, false},
		{"off for a week, the machine was started again", "b", 7 * day, -50 * hour, false, true},
		{"another boot with a larger steady clock", "b", 7 * day, 7 * day, false, true},
		{"off for a week, the clock was moved by a month", "a", 37 * day, 7 * day, false, true},
		{"off for a week, the clock went back to where it was", "a", 0, 7 * day, true, true},
		{"the same name, and the steady clock went back", "a", 7 * day, -50 * hour, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, "a")
			s.open(tt.boot)
			if r := s.look(tt.wall, tt.steady); r.MayErase() != tt.may || r.Jumped != tt.jumped {
				t.Errorf("may erase %v, jumped %v: %+v", r.MayErase(), r.Jumped, r)
			}
		})
	}
}

// TestGap: what a protocol says when something went after its limit.
func TestGap(t *testing.T) {
	s := newStand(t, "")
	from := s.wall
	s.open("")
	s.steady = 0
	s.look(30*hour, 0)
	until := s.wall
	if g := s.last.Gap; !g.From.Equal(from) || !g.Until.Equal(until) || !g.Proven.IsZero() {
		t.Fatalf("%+v", g)
	}
	s.look(10*hour, 10*hour) // an hour without looks in the middle of the doubt
	if g := s.last.Gap; !g.From.Equal(from) || !g.Proven.IsZero() {
		t.Fatalf("%+v", g)
	}
	s.look(14*hour, 14*hour)
	proven := s.wall
	if g := s.last.Gap; !g.Proven.Equal(proven) || g.Proof != retention.ProofSteady {
		t.Fatalf("%+v", g)
	}
	for range 6 {
		s.look(time.Minute, time.Minute)
	}
	tests := []struct {
		family  retention.Family
		limit   time.Time
		because string // empty: it is not late
	}{
		{retention.Log, s.wall.Add(-time.Minute), ""},
		{retention.Log, s.wall.Add(time.Minute), ""},
		{retention.Content, s.wall, ""},
		{retention.Content, s.wall.Add(-time.Second), "held up"},
		{retention.Content, proven.Add(-time.Hour), "did not run"},
		{retention.Log, from.Add(time.Hour), "did not run"},
		{retention.Log, from, "did not run"},
		{retention.Log, from.Add(-time.Second), "held up"},
	}
	for _, tt := range tests {
		got := retention.LateBy(tt.family, tt.limit, s.last)
		if (got == nil) != (tt.because == "") || got != nil && !strings.Contains(got.Because, tt.because) {
			t.Errorf("%s to go at %s: %+v, want %q", tt.family, tt.limit, got, tt.because)
		}
	}
}
