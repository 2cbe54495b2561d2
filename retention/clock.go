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
	SteadyFor  = 24 * time.Hour // so long without a jump, where nobody vouches for it sooner (Witness)
	clockSlip  = time.Minute    // a correction of that size is no jump
	longestGap = time.Hour      // a pause of the program up to this counts as no jump
)

// ErrClockBehind is what a clock before its own high-water mark is: nothing is
// accepted and nothing is erased until it is right again, or a person sets the
// mark (Clock.Reset).
var ErrClockBehind = errors.New("the clock stands before the high-water mark")

// Reading is what a Clock says about one look at the wall clock.
type Reading struct {
	Now  time.Time `json:"now"`
	High time.Time `json:"high_water"` // the latest instant that counts as certain
	// Certain is an instant that has passed for certain, whatever the wall clock
	// says: the last one that was, and what the steady clock has added since. Zero:
	// the clock was never believed.
	Certain time.Time     `json:"certain,omitzero"`
	Steady  time.Duration `json:"steady"`          // how long the clock has run without a jump, as far as this program saw it run
	Proof   string        `json:"proof,omitempty"` // by what it is believed: ProofSteady or a Witness; empty: not yet
	Behind  bool          `json:"behind"`          // before the mark
	Jumped  bool          `json:"jumped"`          // this look found a jump, forwards or back
	Gap     Gap           `json:"gap,omitzero"`    // the last time without looks, or without proof
}

// ProofSteady is the proof by the steady clock alone: no jump for SteadyFor, or a
// wall clock that stands where the steady one says it must.
const ProofSteady = "steady clock"

// MayErase reports whether the wall clock is good enough to erase by it.
func (r Reading) MayErase() bool { return !r.Behind && r.Proof != "" }

// Sure is the instant by which may be erased: now, or, as long as the clock is in
// doubt, what has passed for certain. Zero: by none.
func (r Reading) Sure() time.Time {
	switch {
	case r.Behind:
		return time.Time{}
	case r.MayErase():
		return r.Now
	}
	return r.Certain
}

// clockState is what survives a restart.
type clockState struct {
	High    time.Time     `json:"high"`
	Seen    time.Time     `json:"seen"` // last look
	Steady  time.Duration `json:"steady_ns"`
	Ahead   bool          `json:"ahead"` // after a jump ahead: the mark waits until the clock is believed
	Certain time.Time     `json:"certain,omitzero"`
	Proof   string        `json:"proof,omitempty"`
	Credit  time.Duration `json:"credit_ns,omitempty"` // how much was believed without a strong proof (Witness.Most)
	Gap     Gap           `json:"gap,omitzero"`
	Boot    string        `json:"boot,omitempty"` // in which run of the machine
	Ran     time.Duration `json:"ran_ns"`         // what the steady clock showed there
}

// Clock judges the wall clock by a steady one. It remembers the latest certain
// instant in a file. A clock that jumps ahead is believed, but moves the mark,
// and allows erasing, only when somebody vouches for it (Hear) or after SteadyFor;
// one that goes back behind the mark is refused. Daylight saving does not touch it:
// it knows instants only.
//
// It is used by one goroutine at a time.
type Clock struct {
	path   string
	boot   string
	state  clockState
	steady time.Duration // last look, steady clock
	looked bool
}

// OpenClock reads the mark from a file, which need not exist. boot names the run
// of the machine in which the steady clock of Observe counts: it goes on there
// when the program is started again. Empty: it counts in this process only.
func OpenClock(path, boot string) (*Clock, error) {
	c := &Clock{path: path, boot: boot}
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
	if s := c.state; boot != "" && s.Boot == boot && !s.Seen.IsZero() {
		c.steady, c.looked = s.Ran, true
	}
	return c, nil
}

// Observe takes one look: the wall clock, and a steady clock that only ever
// grows while the program runs. It writes the mark durably.
func (c *Clock) Observe(wall time.Time, steady time.Duration) (Reading, error) {
	s := &c.state
	if steady < c.steady { // another run of the machine after all
		c.looked = false
	}
	passed := steady - c.steady
	jump := wall.Sub(s.Seen.Add(passed))
	switch {
	case s.Seen.IsZero(): // the first look ever
		jump, passed = 0, 0
	case !c.looked: // the first look after a start: how long it was off is not known
		passed = 0
		if jump = wall.Sub(s.Seen); jump >= -clockSlip && jump <= longestGap {
			jump = 0
		}
	}
	r := Reading{Now: wall, Jumped: jump.Abs() > clockSlip}
	before := s.Seen
	s.Seen, c.steady, c.looked, s.Boot, s.Ran = wall, steady, true, c.boot, steady
	if !s.Certain.IsZero() {
		s.Certain = s.Certain.Add(passed)
	}
	if r.Behind = wall.Before(s.High.Add(-clockSlip)); r.Behind {
		s.Steady, s.Ahead, s.Proof = 0, false, ""
	} else {
		c.advance(wall, passed, jump)
	}
	s.Gap.look(before, wall, r.Jumped, s.Proof)
	return c.read(r), c.save()
}

// advance moves everything that a look moves.
func (c *Clock) advance(wall time.Time, passed, jump time.Duration) {
	s := &c.state
	switch {
	case jump > clockSlip:
		s.Steady, s.Ahead, s.Proof = 0, true, ""
	case jump < -clockSlip:
		s.Steady, s.Proof = 0, ""
	default:
		s.Steady += passed
	}
	if s.Steady >= SteadyFor {
		s.Credit = 0
	}
	// Where the wall stands at what is certain, a jump was taken back.
	if s.Proof == "" && (s.Steady >= SteadyFor || !s.Certain.IsZero() && !wall.After(s.Certain.Add(clockSlip))) {
		s.Proof = ProofSteady
	}
	c.settle()
}

// settle moves the mark and what is certain up to the last look, as far as that is
// believed.
func (c *Clock) settle() {
	s := &c.state
	if s.Proof != "" {
		s.Ahead, s.Certain = false, s.Seen
	}
	if s.Certain.After(s.Seen) {
		s.Certain = s.Seen
	}
	if !s.Ahead && s.Seen.After(s.High) {
		s.High = s.Seen
	}
}

func (c *Clock) read(r Reading) Reading {
	s := c.state
	r.High, r.Certain, r.Steady, r.Proof, r.Gap = s.High, s.Certain, s.Steady, s.Proof, s.Gap
	return r
}

// Reset sets the mark to an instant that a person answers for, when a wrong clock
// had moved it ahead. Erasing waits for SteadyFor again.
func (c *Clock) Reset(to time.Time) error {
	c.state = clockState{High: to, Seen: to, Gap: c.state.Gap}
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
