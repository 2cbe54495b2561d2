package retention

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatewayd/calendar"
)

// The profiles of windows.
const (
	ProfileBL = "bl-egov" // Vo E-GovG BL § 11; also the empty one
	ProfileBS = "bs-bwpv" // BWPV BS § 10, Annex II: two runs a year; binding in Basel-Stadt only
)

// What BWPV BS Annex II number 1 says.
const (
	closedDays   = 180 // an object that was closed or aborted more than so many days before a run goes in it
	staleMonths  = 36  // one whose last change is longer ago than that goes whatever its state
	runHour      = 3 * time.Hour
	bwpvRule     = "messages closed more than 180 days before a run on 1 January or 1 July go in it, all others in the first run three years after they came"
	bwpvBasis    = "BWPV BS § 10 Abs. 2, Anhang II Ziff. 1"
	runPrefix    = "run"
	runKeyMethod = "key slot of each message overwritten and forced to the disk, body let go"
)

// Run is one half-yearly run; it begins at three o'clock.
func runOn(year, half int) calendar.Day {
	if half == 0 {
		return calendar.Day{Year: year, Month: time.January, Day: 1}
	}
	return calendar.Day{Year: year, Month: time.July, Day: 1}
}

// runAfter returns the first run behind a day.
func runAfter(d calendar.Day) calendar.Day {
	for year := d.Year; ; year++ {
		for half := range 2 {
			if r := runOn(year, half); r.After(d) {
				return r
			}
		}
	}
}

// runBefore returns the last run that had begun at an instant.
func runBefore(at time.Time) calendar.Day {
	d := calendar.DayOf(at.Add(-runHour))
	for year := d.Year; ; year-- {
		for half := 1; half >= 0; half-- {
			if r := runOn(year, half); !r.After(d) {
				return r
			}
		}
	}
}

// bwpvDay is the last day of everything about what came at an instant: the eve of
// the first run three years later, with the days that export and doom need.
func bwpvDay(start time.Time) calendar.Day {
	return runAfter(calendar.DayOf(start).AddMonths(staleMonths).AddDays(int(ExportBefore / (24 * time.Hour)))).AddDays(-1)
}

// BS reports whether the windows are those of BWPV BS.
func (w Windows) BS() bool { return w.Profile == ProfileBS }

// name returns the profile as protocols name it.
func (w Windows) name() string {
	if w.Profile == "" {
		return ProfileBL
	}
	return w.Profile
}

// halfYear does the run that is due: what was closed more than 180 days before it
// goes, after the archive gate. It can be cut off and repeated at every step: the
// list is on the disk before the first key slot is overwritten.
func (s *Sweeper) halfYear(ctx context.Context, r *Result) error {
	run := runBefore(r.Clock.Now)
	if s.ran == run {
		return nil
	}
	name := partName(runPrefix, run.String())
	if done, err := s.runDone(run); err != nil || done {
		if done {
			s.ran = run
		}
		return err
	}
	if may, err := s.mayRun(ctx, run, r); err != nil || !may {
		return err
	}
	list, err := s.closedBefore(ctx, run.AddDays(-closedDays), r)
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(s.o.Protocols, name+partExt))
	if started := err == nil; len(list) == 0 && !started {
		s.ran = run
		return nil
	} else if !started {
		if err := s.listRun(run, list, r.Clock.Now); err != nil {
			return err
		}
	}
	if err := s.step("wipe"); err != nil {
		return err
	}
	n, err := s.o.Messages.LetGo(ctx, list, r.Clock.Now)
	if err != nil {
		return err
	}
	r.Released += n
	if err := s.sealRun(ctx, name, run, r); err != nil {
		return err
	}
	s.ran = run
	return nil
}

// runDone reports whether a run has its protocol.
func (s *Sweeper) runDone(run calendar.Day) (bool, error) {
	done, err := filepath.Glob(filepath.Join(s.o.Protocols, "*-"+partName(runPrefix, run.String())+protocolExt))
	return len(done) > 0, err
}

// closedBefore lists what goes in a run: closed before that day, and handed over,
// exported or no record. What cannot be exported stays for the next run.
func (s *Sweeper) closedBefore(ctx context.Context, limit calendar.Day, r *Result) ([]Object, error) {
	var list []Object
	err := s.eachClosed(ctx, limit, func(o Object) error {
		failed := r.Failed
		if err := s.exportOne(ctx, o, r); err != nil || r.Failed > failed {
			return err
		}
		o.Exported = o.Exported || !o.Confirmed && !o.NoRecord && o.Agreement == ""
		list = append(list, o)
		return ctx.Err()
	})
	return list, err
}

// eachClosed calls fn with what was closed before a day.
func (s *Sweeper) eachClosed(ctx context.Context, limit calendar.Day, fn func(Object) error) error {
	for _, text := range s.o.Keys.Days(Content) {
		day, err := calendar.ParseDay(text)
		if err != nil {
			return err
		}
		err = s.o.Messages.Due(ctx, day, true, func(o Object) error {
			if o.Open || !o.Erased.IsZero() || !calendar.DayOf(o.Start).Before(limit) {
				return ctx.Err()
			}
			ended, err := s.o.Messages.Ended(ctx, o)
			if err != nil || !calendar.DayOf(ended).Before(limit) {
				return err
			}
			return fn(o)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Sweeper) listRun(run calendar.Day, list []Object, now time.Time) error {
	key := newRunKey()
	sealedBy := s.o.Windows.LogDay(now).String()
	sealed, err := s.o.Keys.Wrap(sealedBy, key)
	if err != nil {
		return err
	}
	p, err := createProtocol(s.o.Protocols, Head{
		Run: partName(runPrefix, run.String()) + "@" + now.UTC().Format(time.RFC3339), Profile: s.o.Windows.name(), Family: runPrefix, Day: run.String(),
		Rule: bwpvRule, LegalBasis: bwpvBasis, CutOff: run.AddDays(-closedDays).Start(), Started: now.UTC(), Local: now.In(calendar.Zone()).Format(time.RFC3339),
		Software: s.o.Software, Config: s.o.Config, RunKeyDay: sealedBy, RunKey: sealed, Residual: residualRisks(),
	}, key)
	if err != nil {
		return err
	}
	for _, o := range list {
		d := destroyed(o)
		d.Method = runKeyMethod
		if err := p.add(o, d); err != nil {
			return err
		}
	}
	return p.sync()
}

func (s *Sweeper) sealRun(ctx context.Context, name string, run calendar.Day, r *Result) error {
	key, err := s.o.Keys.SigningKey()
	if err != nil {
		return err
	}
	if err := s.step("protocol"); err != nil {
		return err
	}
	who, err := s.releasedBy(run)
	if err != nil {
		return err
	}
	t := Tail{Finished: r.Clock.Now.UTC(), Released: who, Backups: backupsHit, Key: Evidence{Method: runKeyMethod, Gone: true}}
	if err := sealProtocol(filepath.Join(s.o.Protocols, name), t, key); err != nil {
		return fmt.Errorf("protocol of destruction: %w", err)
	}
	r.Destroyed = append(r.Destroyed, name)
	return s.o.Logs.Note(ctx, r.Clock.Now, "destroyed", map[string]string{"family": runPrefix, "day": run.String()})
}

// isRun reports whether a part file is that of a half-yearly run, which goes on by
// itself.
func isRun(part string) bool { return strings.HasPrefix(part, runPrefix+"-") }
