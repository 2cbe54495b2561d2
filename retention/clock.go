package retention

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// What a clock must show before anything is erased by it.
const (
	SteadyFor  = 24 * time.Hour // so long without a jump
	clockSlip  = time.Minute    // a correction of that size is no jump
	longestGap = time.Hour      // a pause of the program up to this counts as no jump
)

// ErrClockBehind is what a clock before its own high-water mark is: nothing is
// accepted and nothing is erased until it is right again, or a person sets the
// mark (Clock.Reset).
var ErrClockBehind = errors.New("the clock stands before the high-water mark")

// Reading is what a Clock says about one look at the wall clock.
type Reading struct {
	Now    time.Time     `json:"now"`
	High   time.Time     `json:"high_water"` // the latest instant that counts as certain
	Steady time.Duration `json:"steady"`     // how long the clock has run without a jump, as far as this program saw it run
	Behind bool          `json:"behind"`     // before the mark
	Jumped bool          `json:"jumped"`     // this look found a jump, forwards or back
}

// MayErase reports whether the clock is good enough to erase by it.
func (r Reading) MayErase() bool { return !r.Behind && r.Steady >= SteadyFor }

// clockState is what survives a restart.
type clockState struct {
	High   time.Time     `json:"high"`
	Seen   time.Time     `json:"seen"` // last look
	Steady time.Duration `json:"steady_ns"`
	Ahead  bool          `json:"ahead"` // after a jump ahead: the mark waits until the clock is steady
}

// Clock judges the wall clock by a steady one. It remembers the latest certain
// instant in a file. A clock that jumps ahead is believed, but moves the mark,
// and allows erasing, only after SteadyFor; one that goes back behind the mark is
// refused. Daylight saving does not touch it: it knows instants only.
//
// It is used by one goroutine at a time.
type Clock struct {
	path   string
	state  clockState
	steady time.Duration // last look, steady clock
	looked bool
}

// OpenClock reads the mark from a file, which need not exist.
func OpenClock(path string) (*Clock, error) {
	c := &Clock{path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c.state)
	}
	if err != nil {
		return nil, fmt.Errorf("high-water mark %s: %w", path, err)
	}
	return c, nil
}

// Observe takes one look: the wall clock, and a steady clock that only ever
// grows while the program runs. It writes the mark durably.
func (c *Clock) Observe(wall time.Time, steady time.Duration) (Reading, error) {
	s := &c.state
	passed := steady - c.steady
	expected := s.Seen.Add(passed)
	jump := wall.Sub(expected)
	switch {
	case s.Seen.IsZero(): // the first look ever
		jump, passed = 0, 0
	case !c.looked: // the first look after a start: how long it was off is not known
		passed = 0
		if gap := wall.Sub(s.Seen); gap >= -clockSlip && gap <= longestGap {
			jump = 0
		} else {
			jump = gap
		}
	}
	r := Reading{Now: wall, Jumped: jump.Abs() > clockSlip}
	c.look(wall, steady)
	if r.Behind = wall.Before(s.High.Add(-clockSlip)); r.Behind {
		s.Steady, s.Ahead = 0, false
	} else {
		c.advance(wall, passed, jump)
	}
	r.High, r.Steady = s.High, s.Steady
	return r, c.save()
}

func (c *Clock) look(wall time.Time, steady time.Duration) {
	c.state.Seen, c.steady, c.looked = wall, steady, true
}

func (c *Clock) advance(wall time.Time, passed, jump time.Duration) {
	s := &c.state
	switch {
	case jump > clockSlip:
		s.Steady, s.Ahead = 0, true
	case jump < -clockSlip:
		s.Steady = 0
	default:
		s.Steady += passed
	}
	if s.Steady >= SteadyFor {
		s.Ahead = false
	}
	if !s.Ahead && wall.After(s.High) {
		s.High = wall
	}
}

// Reset sets the mark to an instant that a person answers for, when a wrong clock
// had moved it ahead. Erasing waits for SteadyFor again.
func (c *Clock) Reset(to time.Time) error {
	c.state = clockState{High: to, Seen: to}
	c.looked = false
	return c.save()
}

func (c *Clock) save() error {
	text, err := json.Marshal(c.state)
	if err == nil {
		err = replaceFile(c.path, text)
	}
	if err != nil {
		return fmt.Errorf("high-water mark %s: %w", c.path, err)
	}
	return nil
}

// replaceFile writes a small file so that after a crash it is the old or the new one.
func replaceFile(path string, text []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// High returns the mark; zero before the first look.
func (c *Clock) High() time.Time { return c.state.High }
