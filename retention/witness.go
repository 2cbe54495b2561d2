package retention

import (
	"cmp"
	"time"
)

// Witness is somebody outside of this program who vouches for the time. He proves
// how late it is at least, never how late at most: what must not be is that the
// clock is ahead of the truth, because then something goes too early.
type Witness struct {
	By string    // who, as protocols and the log name him
	At time.Time // the true time was not before this when the clock was looked at last
	// Most bounds how far beyond what is certain he is believed, all times together
	// that nobody better has spoken since: the machine's own time service follows
	// servers that nothing authenticates. Zero: he has signed what he says, and is
	// believed without a bound.
	Most time.Duration
}

// The witnesses.
const (
	ByTimeService = "time service of the machine"
	ByStamp       = "time stamp (RFC 3161)"
	ByReceipt     = "signed receipt of a platform"
)

// ServiceTrust is how far the machine's time service alone is believed: a long
// weekend off. Beyond it a signature or SteadyFor is needed, so that a clock which
// somebody has moved by weeks erases nothing.
const ServiceTrust = 5 * 24 * time.Hour

// proofWithin is how close a signed instant must come to the wall clock to prove
// it right. An older one only moves what is certain.
const proofWithin = 10 * time.Minute

// Hear takes what a witness says about the last look, and returns the reading as it
// is then. A witness who names a later time than the wall clock shows proves nothing
// about it. A clock behind its mark is not helped by anybody but a person.
func (c *Clock) Hear(w Witness, r Reading) (Reading, error) {
	s := &c.state
	if r.Behind || r.MayErase() || w.At.After(s.Seen.Add(clockSlip)) || w.At.IsZero() {
		return r, nil
	}
	switch ahead := s.Seen.Sub(s.Certain); {
	case w.Most > 0 && (s.Certain.IsZero() || s.Credit+ahead > w.Most):
		return r, nil
	case w.Most > 0:
		s.Credit += ahead
	case s.Seen.Sub(w.At) > proofWithin:
		if w.At.After(s.Certain) {
			s.Certain = w.At
		}
		return c.read(r), c.save()
	default:
		s.Credit = 0
	}
	s.Proof = w.By
	c.settle()
	s.Gap.proven(s.Seen, s.Proof)
	return c.read(r), c.save()
}

// Gap is the last time in which nothing could be erased: nobody looked at the
// clock, or nobody vouched for it.
type Gap struct {
	From   time.Time `json:"from,omitzero"`   // the last look before
	Until  time.Time `json:"until,omitzero"`  // the first look after
	Proven time.Time `json:"proven,omitzero"` // since when the clock is believed again; zero: not yet
	Proof  string    `json:"proof,omitempty"` // by what
}

// gapAfter is how long without a look is a gap.
const gapAfter = 10 * time.Minute

func (g *Gap) look(before, now time.Time, jumped bool, proof string) {
	if !before.IsZero() && (jumped || now.Sub(before) > gapAfter) {
		if g.From.IsZero() || !g.Proven.IsZero() {
			g.From = before
		}
		g.Until, g.Proven, g.Proof = now, time.Time{}, ""
	}
	if proof != "" {
		g.proven(now, proof)
	}
}

func (g *Gap) proven(at time.Time, proof string) {
	if !g.From.IsZero() && g.Proven.IsZero() {
		g.Proven, g.Proof = at, proof
	}
}

// lateAfter is how long after its limit something may go without a word about it:
// log data go in the first sweep behind their window, content goes before its limit.
const lateAfter = time.Hour

// Late tells why something went after its limit. Its content was not readable in
// between (vault.Options.Over).
type Late struct {
	By      string `json:"by"` // how long after the limit, as "26h0m0s"
	Because string `json:"because"`
	Gap
}

// The reasons of Late, and its proof where none of the clock was needed.
const (
	lateGap   = "the limit passed while the gateway did not run, or nobody vouched for its clock"
	lateOther = "the sweep was held up or cut off"

	// ProofPassed is why something may go while the clock is in doubt.
	ProofPassed = "the limit has passed for certain, however wrong the clock may be"
)

// late returns why what was to go at limit goes now; nil: it is not late.
func late(f Family, limit time.Time, r Reading) *Late {
	by := r.Now.Sub(limit)
	if by <= 0 || f == Log && by <= lateAfter {
		return nil
	}
	l := &Late{By: by.Round(time.Second).String(), Because: lateOther}
	if g := r.Gap; !g.From.IsZero() && !g.From.After(limit) && (g.Proven.IsZero() || !g.Proven.Before(limit)) {
		l.Because, l.Gap = lateGap, g
		l.Proof = cmp.Or(g.Proof, ProofPassed)
	}
	return l
}
