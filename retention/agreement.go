package retention

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"gatewayd/calendar"
)

// Agreement is a standing agreement on what becomes of messages, made with the
// archive (Archivierungsvereinbarung, Archivierungsgesetz BL): what it covers needs
// no word of the authority and is not exported.
type Agreement struct {
	ID          string   // its reference, as it stands in the protocols
	Authorities []string // that made it
	Classes     []string
	Directions  []string // in, out, notice
}

// Covers reports whether a message that has ended falls under it.
func (a Agreement) Covers(authority, class, direction string) bool {
	return slices.Contains(a.Authorities, authority) && slices.Contains(a.Classes, class) && slices.Contains(a.Directions, direction)
}

// Reminder tells an authority what it has not filed yet.
type Reminder struct {
	Day      string    // erase-by day
	Count    int       // messages
	IDs      []string  // the first of them
	Export   time.Time // when they are exported; past: they were
	Limit    time.Time // their content is gone at the latest
	Exported bool      // this tells that they were exported now
	Lost     bool      // this tells that their content goes now, and nobody has it
}

// remindIDs bounds how many messages one reminder names.
const remindIDs = 20

// DefaultRemind says how many days before the limit an authority is reminded.
func DefaultRemind() []int { return []int{14, 7} }

// agreedAfter is how long after its start content goes by a standing agreement
// at the earliest: the authority had time to look at it.
const agreedAfter = 14

// looks returns at how many days before its limit the content of a day is looked
// at, the earliest first: once for what an agreement covers, then at each reminder,
// where that is done again for what had not ended before.
func (s *Sweeper) looks() []int {
	months := s.o.Windows.ContentMonths
	if s.o.Windows.BS() {
		months = staleMonths
	}
	all := append([]int{months*30 - agreedAfter}, s.o.Remind...)
	slices.SortFunc(all, func(a, b int) int { return cmp.Compare(b, a) })
	return all
}

// look files what a standing agreement covers and reminds the authorities of the
// rest, when a mark has been passed. What was done stands in a file, so that a
// restart repeats nothing; a crash in between reminds twice.
func (s *Sweeper) look(ctx context.Context, day calendar.Day, r *Result) error {
	if err := s.readLooked(); err != nil {
		return err
	}
	mark := 0
	for _, days := range s.looks() {
		if !r.Clock.Now.Before(day.End().AddDate(0, 0, -days)) {
			mark = days
		}
	}
	if done, was := s.looked[day.String()]; mark == 0 || was && done <= mark {
		return nil
	}
	if err := s.step("look"); err != nil {
		return err
	}
	waiting := map[string]*Reminder{}
	err := s.o.Messages.Due(ctx, day, true, func(o Object) error {
		if o.Confirmed || o.NoRecord || !o.Erased.IsZero() {
			return ctx.Err()
		}
		if o.Agreement != "" {
			return s.file(ctx, o, r)
		}
		remember(waiting, o, day)
		return ctx.Err()
	})
	if err == nil && slices.Contains(s.o.Remind, mark) {
		err = s.remind(ctx, waiting, r)
	}
	if err != nil {
		return err
	}
	s.looked[day.String()] = mark
	return s.writeLooked()
}

func (s *Sweeper) file(ctx context.Context, o Object, r *Result) error {
	if err := s.o.Messages.File(ctx, o, r.Clock.Now); err != nil {
		s.o.Log.Error("a message cannot be filed by its standing agreement; its content goes on its day", "message", o.ID, "error", err)
		return ctx.Err()
	}
	r.Filed++
	return ctx.Err()
}

func remember(waiting map[string]*Reminder, o Object, day calendar.Day) {
	w := waiting[o.Authority]
	if w == nil {
		w = &Reminder{Day: day.String(), Export: day.End().Add(-ExportBefore), Limit: day.End()}
		waiting[o.Authority] = w
	}
	if w.Count++; len(w.IDs) < remindIDs {
		w.IDs = append(w.IDs, o.ID)
	}
}

func (s *Sweeper) remind(ctx context.Context, waiting map[string]*Reminder, r *Result) error {
	for _, authority := range slices.Sorted(maps.Keys(waiting)) {
		if err := s.step("remind"); err != nil {
			return err
		}
		if err := s.o.Messages.Remind(ctx, authority, *waiting[authority], r.Clock.Now); err != nil {
			return fmt.Errorf("remind %s: %w", authority, err)
		}
		r.Reminded++
	}
	return nil
}

// readLooked reads once, from the file, which days were looked at, and up to
// which mark.
func (s *Sweeper) readLooked() error {
	if s.looked != nil {
		return nil
	}
	text, err := os.ReadFile(s.o.Looked)
	looked := map[string]int{}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case json.Unmarshal(text, &looked) != nil:
		s.o.Log.Warn("it is not known which authorities were reminded; they are reminded again", "file", s.o.Looked)
		looked = map[string]int{}
	}
	s.looked = looked
	return nil
}

func (s *Sweeper) writeLooked() error {
	maps.DeleteFunc(s.looked, func(day string, _ int) bool { return !s.o.Keys.Exists(Content, day) })
	text, err := json.Marshal(s.looked)
	if err != nil {
		return err
	}
	return replaceFile(s.o.Looked, text)
}
