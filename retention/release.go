package retention

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"gatewayd/calendar"
)

// A half-yearly run destroys only when two persons have released it (BWPV BS § 14:
// a second person for what changes the stock; law.md section 6 "released by"). What
// goes at the end of the three years goes without: that limit is absolute.

// releasers is how many persons release a run.
const releasers = 2

// runAhead is how long before it a run may be released: the persons look at what it
// would take (Preview).
const runAhead = 31 * 24 * time.Hour

// Release is one person's word that a run may destroy.
type Release struct {
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"` // change ticket, in words
}

// Errors of Release.
var (
	ErrNoRun      = errors.New("that is no half-yearly run that can be released: name the one that is due, or the next one within a month before it")
	ErrSamePerson = errors.New("you have released this run already: it needs a second person")
)

// Release notes a person's word. It returns who has released the run now. ErrNoRun,
// ErrSamePerson.
func (s *Sweeper) Release(run calendar.Day, word Release) ([]Release, error) {
	due := runBefore(word.At)
	if next := runAfter(due); !s.o.Windows.BS() || run != due && (run != next || next.Start().Sub(word.At) > runAhead) {
		return nil, ErrNoRun
	}
	all, err := s.releases()
	if err != nil {
		return nil, err
	}
	name := run.String()
	if slices.ContainsFunc(all[name], func(r Release) bool { return r.By == word.By }) {
		return all[name], ErrSamePerson
	}
	for day := range all {
		if day < due.String() {
			delete(all, day) // its protocol has it
		}
	}
	all[name] = append(all[name], word)
	text, err := json.Marshal(all)
	if err == nil {
		err = replaceFile(s.o.Releases, text)
	}
	s.asked = time.Time{}
	return all[name], err
}

// releases reads who has released which run.
func (s *Sweeper) releases() (map[string][]Release, error) {
	all := map[string][]Release{}
	text, err := os.ReadFile(s.o.Releases)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("releases of half-yearly runs %s: %w", s.o.Releases, err)
	}
	return all, nil
}

// releasedBy returns who has released a run, for its protocol; empty: not yet two
// persons.
func (s *Sweeper) releasedBy(run calendar.Day) (string, error) {
	all, err := s.releases()
	if err != nil || len(all[run.String()]) < releasers {
		return "", err
	}
	var names []string
	for _, r := range all[run.String()] {
		names = append(names, r.By+" ("+r.At.UTC().Format(time.RFC3339)+")")
	}
	return strings.Join(names, ", "), nil
}

// Preview is what a run would take.
type Preview struct {
	Run      string    `json:"run"`
	Messages int       `json:"messages"`
	Bytes    int64     `json:"bytes"`
	Exports  int       `json:"exports"` // of them, what nobody has confirmed: it is exported before
	Released []Release `json:"released"`
	Done     bool      `json:"done"`
}

// Preview tells what the last run that has begun at an instant would take, from what is
// there now. Nothing is changed.
func (s *Sweeper) Preview(ctx context.Context, at time.Time) (Preview, error) {
	run := runBefore(at)
	p := Preview{Run: run.String()}
	all, err := s.releases()
	if err != nil {
		return p, err
	}
	p.Released = all[p.Run]
	if p.Done, err = s.runDone(run); err != nil || p.Done {
		return p, err
	}
	err = s.eachClosed(ctx, run.AddDays(-closedDays), func(o Object) error {
		p.Messages, p.Bytes = p.Messages+1, p.Bytes+o.Size
		if wantsExport(o) {
			p.Exports++
		}
		return nil
	})
	return p, err
}

// askAgain is the pause between two looks whether a run that nobody has released has
// anything to take.
const askAgain = time.Hour

// mayRun reports whether two persons have released a run. One that has nothing to take
// needs nobody.
func (s *Sweeper) mayRun(ctx context.Context, run calendar.Day, r *Result) (bool, error) {
	who, err := s.releasedBy(run)
	if err != nil || who != "" {
		return who != "", err
	}
	if s.askedFor == run && r.Clock.Now.Before(s.asked) {
		r.Waits = s.waits
		return false, nil
	}
	p, err := s.Preview(ctx, r.Clock.Now)
	if err != nil {
		return false, err
	}
	s.askedFor, s.asked, s.waits = run, r.Clock.Now.Add(askAgain), ""
	if p.Messages == 0 {
		s.ran = run
	} else {
		s.waits = partName(runPrefix, p.Run)
	}
	r.Waits = s.waits
	return false, nil
}
