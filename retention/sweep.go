package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"gatewayd/calendar"
)

// Options wires a Sweeper.
type Options struct {
	Windows   Windows
	Keys      Keys
	Messages  Messages
	Logs      Logs
	Folders   Folders
	Clock     *Clock
	Protocols string // folder of the protocols of destruction
	Looked    string // file that says which days were looked at for reminders
	Releases  string // file that says who has released which half-yearly run
	Remind    []int  // days before the limit at which an authority is reminded
	Software  string // version, for the protocol
	Config    string // hash of the configuration, for the protocol
	Log       *slog.Logger
	// Witnesses vouch for the clock while it is in doubt; the first who convinces ends
	// the asking.
	Witnesses []func(ctx context.Context, r Reading) (Witness, error)
	Hook      func(step string) error // tests: called before each step that changes something; an error ends the sweep there
}

// Sweeper enforces the windows. One goroutine at a time uses it; another sweep
// goes on where one was cut off, at whatever step.
type Sweeper struct {
	o        Options
	exported map[string]time.Time // content day → when its exports may be looked at again
	looked   map[string]int       // content day → days before its limit at which it was last looked at; nil: not read yet
	ran      calendar.Day         // profile bs-bwpv: the last run that this process has done or found done
	asked    time.Time            // profile bs-bwpv: when it may be asked again whether a run has anything to take
	askedFor calendar.Day         // about which run
	waits    string               // the run that waits for its release
	purged   string               // log day up to which the ledger was purged by this process
}

// Result is what one sweep did.
type Result struct {
	Clock     Reading  `json:"clock"`
	Released  int      `json:"released"` // messages whose body went early
	Exported  int      `json:"exported"`
	Expired   int      `json:"expired"`  // messages
	Filed     int      `json:"filed"`    // by a standing agreement
	Reminded  int      `json:"reminded"` // authorities that were told what they have not filed
	Doomed    []string `json:"doomed,omitempty"`
	Spared    []string `json:"spared,omitempty"`
	Destroyed []string `json:"destroyed,omitempty"` // "content-2027-01-23"
	Lost      int      `json:"lost"`                // messages whose content went and that nobody has
	Waits     string   `json:"waits,omitempty"`     // a half-yearly run that two persons must release
	Failed    int      `json:"failed"`              // exports that could not be made; they do not stop the erasure
}

// NewSweeper checks the wiring.
func NewSweeper(o Options) (*Sweeper, error) {
	if err := o.Windows.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Protocols, 0o700); err != nil {
		return nil, fmt.Errorf("protocols: %w", err)
	}
	return &Sweeper{o: o, exported: map[string]time.Time{}}, nil
}

// Sweep looks at the clock and does everything that is due: design.md section 5,
// law.md sections 5 and 6. ErrClockBehind: nothing was done. steady only ever
// grows while the program runs. Trouble with one day does not keep the others.
func (s *Sweeper) Sweep(ctx context.Context, wall time.Time, steady time.Duration) (Result, error) {
	var r Result
	var err error
	if r.Clock, err = s.o.Clock.Observe(wall, steady); err != nil {
		return r, err
	}
	if r.Clock.Behind {
		return r, ErrClockBehind
	}
	if r.Clock, err = s.believe(ctx, r.Clock); err != nil {
		return r, err
	}
	errs := []error{s.o.Logs.RotateAudit(ctx, wall), s.release(ctx, &r)}
	for _, day := range s.o.Keys.Days(Content) {
		errs = append(errs, s.each(ctx, Content, day, &r, s.content))
	}
	if r.Clock.Sure().IsZero() {
		return r, errors.Join(errs...)
	}
	errs = append(errs, s.finishParts(ctx, &r))
	if s.o.Windows.BS() && r.Clock.MayErase() {
		errs = append(errs, s.halfYear(ctx, &r))
	}
	for _, day := range s.o.Keys.Days(Log) {
		errs = append(errs, s.each(ctx, Log, day, &r, s.log))
	}
	return r, errors.Join(append(errs, s.leftovers(ctx, &r))...)
}

// believe asks the witnesses while the clock is in doubt. One who cannot be asked is
// no trouble of the sweep.
func (s *Sweeper) believe(ctx context.Context, r Reading) (Reading, error) {
	for _, ask := range s.o.Witnesses {
		if r.MayErase() {
			break
		}
		w, err := ask(ctx, r)
		if err != nil {
			s.o.Log.Warn("nobody can be asked for the time", "error", err)
			continue
		}
		if r, err = s.o.Clock.Hear(w, r); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (s *Sweeper) each(ctx context.Context, f Family, text string, r *Result, do func(context.Context, Schedule, calendar.Day, *Result) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	day, err := calendar.ParseDay(text)
	if err == nil {
		err = do(ctx, ScheduleOf(f, day), day, r)
	}
	if err != nil {
		return fmt.Errorf("%s of %s: %w", f, text, err)
	}
	return nil
}

func (s *Sweeper) step(name string) error {
	if s.o.Hook == nil {
		return nil
	}
	return s.o.Hook(name)
}

func (s *Sweeper) release(ctx context.Context, r *Result) (err error) {
	if err := s.step("release"); err != nil {
		return err
	}
	r.Released, err = s.o.Messages.Release(ctx, r.Clock.Now)
	return err
}

// content brings one content day forward.
func (s *Sweeper) content(ctx context.Context, plan Schedule, day calendar.Day, r *Result) error {
	now := r.Clock.Now
	doomed, is := s.o.Keys.Doomed(Content, plan.Day)
	stage := plan.At(now)
	if is && (stage == Keeps || stage == Exports) { // the clock that had called for it was wrong
		r.Spared = append(r.Spared, plan.Day)
		return s.o.Keys.Spare(Content, plan.Day)
	}
	stage = plan.At(r.Clock.Sure())
	switch {
	case !r.Clock.MayErase() && stage == Keeps:
		if plan.mayExport(now) {
			return s.exportOnce(ctx, day, r)
		}
		return nil
	case stage == Keeps:
		return s.look(ctx, day, r)
	case stage == Exports:
		return s.exportOnce(ctx, day, r)
	case !is:
		if err := s.doom(ctx, plan, day, r); err != nil {
			return err
		}
		doomed = now
	}
	if !plan.ripe(doomed, r.Clock) {
		return nil
	}
	return s.destroyContent(ctx, plan, day, doomed, r)
}

// exportOnce exports what is not confirmed; what failed is tried again hourly.
func (s *Sweeper) exportOnce(ctx context.Context, day calendar.Day, r *Result) error {
	if r.Clock.Now.Before(s.exported[day.String()]) {
		return nil
	}
	failed, gone := r.Failed, map[string]*Reminder{}
	err := s.o.Messages.Due(ctx, day, true, func(o Object) error {
		before := r.Exported
		err := s.exportOne(ctx, o, r)
		if r.Exported > before {
			remember(gone, o, day)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, g := range gone {
		g.Exported = true
	}
	if err := s.remind(ctx, gone, r); err != nil {
		return err
	}
	next := day.End() // nothing new can come
	if r.Failed > failed {
		next = r.Clock.Now.Add(time.Hour)
	}
	s.exported[day.String()] = next
	return nil
}

// wantsExport reports whether nobody has said yet what becomes of a message.
func wantsExport(o Object) bool {
	return !o.Confirmed && !o.Exported && !o.NoRecord && o.Agreement == "" && o.Erased.IsZero()
}

// exportOne exports one message unless that is done or not needed. What cannot
// be exported is named in the protocol.
func (s *Sweeper) exportOne(ctx context.Context, o Object, r *Result) error {
	if !wantsExport(o) {
		return ctx.Err()
	}
	if err := s.step("export"); err != nil {
		return err
	}
	if err := s.o.Messages.Export(ctx, o, r.Clock.Now); err != nil {
		s.o.Log.Error("a message cannot be exported before its content goes", "message", o.ID, "error", err)
		r.Failed++
		return ctx.Err()
	}
	r.Exported++
	return ctx.Err()
}

// doom exports what is not confirmed, lets what is still open expire, and makes
// the key refuse. Nothing blocks a day key: what cannot be exported or expired is
// named in the protocol.
func (s *Sweeper) doom(ctx context.Context, plan Schedule, day calendar.Day, r *Result) error {
	err := s.o.Messages.Due(ctx, day, true, func(o Object) error {
		if err := s.exportOne(ctx, o, r); err != nil {
			return err
		}
		return s.expire(ctx, o, r)
	})
	if err != nil {
		return err
	}
	if err := s.step("doom"); err != nil {
		return err
	}
	if err := s.o.Keys.Doom(Content, plan.Day, r.Clock.Now); err != nil {
		return err
	}
	r.Doomed = append(r.Doomed, plan.Day)
	return s.o.Logs.Note(ctx, r.Clock.Now, "doomed", map[string]string{"day": plan.Day})
}

// expire ends what is open of one message.
func (s *Sweeper) expire(ctx context.Context, o Object, r *Result) error {
	if !o.Open {
		return ctx.Err()
	}
	if err := s.step("expire"); err != nil {
		return err
	}
	if err := s.o.Messages.Expire(ctx, o, r.Clock.Now); err != nil {
		s.o.Log.Error("an item cannot expire; its content goes all the same", "message", o.ID, "error", err)
		return ctx.Err()
	}
	r.Expired++
	return ctx.Err()
}

func (s *Sweeper) begin(plan Schedule, now time.Time, rows Rows) (*protocol, error) {
	key := newRunKey()
	h := Head{
		Run: partName(plan.Family, plan.Day) + "@" + now.UTC().Format(time.RFC3339), Profile: s.o.Windows.name(), Family: plan.Family, Day: plan.Day,
		Rule: "content of messages first stored two calendar months before goes before the end of the day", LegalBasis: "Vo E-GovG BL § 11 Abs. 1 lit. a",
		CutOff: plan.Limit, Started: now.UTC(), Local: now.In(calendar.Zone()).Format(time.RFC3339),
		Software: s.o.Software, Config: s.o.Config, Rows: rows, Residual: residualRisks(),
	}
	if plan.Family == Content {
		h.RunKeyDay = s.o.Windows.LogDay(now).String()
		sealed, err := s.o.Keys.Wrap(h.RunKeyDay, key)
		if err != nil {
			return nil, err
		}
		h.RunKey = sealed
	} else {
		h.Rule, h.LegalBasis = "log data are kept for exactly the log window and erased behind it", "Vo E-GovG BL § 11 Abs. 1 lit. b"
		if s.o.Windows.LegalBasis != "" {
			h.LegalBasis = s.o.Windows.LegalBasis
		}
	}
	if s.o.Windows.BS() {
		h.Rule, h.LegalBasis = bwpvRule, bwpvBasis
	}
	return createProtocol(s.o.Protocols, h, key)
}

// finish does what follows the destruction of a key.
func (s *Sweeper) finish(ctx context.Context, plan Schedule, doomed time.Time, list *tally, r *Result) error {
	if err := s.step("unlink"); err != nil {
		return err
	}
	folder, err := s.o.Folders.EraseDay(plan.Family, plan.Day)
	if err != nil {
		return err
	}
	return s.close(ctx, plan, Tail{Folder: folder, Key: Evidence{DoomedAt: doomed}, list: list}, r)
}

// close seals the protocol and notes it.
func (s *Sweeper) close(ctx context.Context, plan Schedule, t Tail, r *Result) error {
	key, err := s.o.Keys.SigningKey()
	if err != nil {
		return err
	}
	t.Finished, t.Released, t.Backups, t.Late = r.Clock.Now.UTC(), "automatic", backupsHit, late(plan.Family, plan.Limit, r.Clock)
	t.Key.Method, t.Key.Gone = keyMethod, !s.o.Keys.Exists(plan.Family, plan.Day)
	if err := s.step("protocol"); err != nil {
		return err
	}
	if err := sealProtocol(filepath.Join(s.o.Protocols, partName(plan.Family, plan.Day)), t, key); err != nil {
		return fmt.Errorf("protocol of destruction: %w", err)
	}
	r.Destroyed = append(r.Destroyed, partName(plan.Family, plan.Day))
	return s.o.Logs.Note(ctx, r.Clock.Now, "destroyed", map[string]string{"family": string(plan.Family), "day": plan.Day})
}

// finishParts ends what a crash has cut off behind the destruction of a key.
func (s *Sweeper) finishParts(ctx context.Context, r *Result) error {
	names, err := protocols(s.o.Protocols, partExt)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if isRun(name) {
			continue
		}
		f, day := Content, ""
		if n := len(name) - len("2006-01-02"); n > 1 {
			f, day = Family(name[:n-1]), name[n:]
		}
		if s.o.Keys.Exists(f, day) {
			continue // it begins again
		}
		errs = append(errs, s.each(ctx, f, day, r, func(ctx context.Context, plan Schedule, _ calendar.Day, r *Result) error {
			return s.finish(ctx, plan, time.Time{}, nil, r)
		}))
	}
	return errors.Join(errs...)
}

// log ends one log day: its rows, day files and folder go, then its key. Until
// the key is gone all of it can be repeated; the list of a cut off run stays.
func (s *Sweeper) log(ctx context.Context, plan Schedule, _ calendar.Day, r *Result) error {
	if plan.At(r.Clock.Sure()) != Destroys {
		return nil
	}
	if err := s.listLog(ctx, plan, r); err != nil {
		return err
	}
	if err := s.step("purge"); err != nil {
		return err
	}
	if err := s.o.Logs.Purge(ctx, plan.Day); err != nil {
		return err
	}
	if err := s.step("erase audit"); err != nil {
		return err
	}
	days, err := s.o.Logs.EraseAudit(ctx, r.Clock.Sure())
	if err != nil {
		return err
	}
	if err := s.step("destroy"); err != nil {
		return err
	}
	if err := s.o.Keys.Destroy(Log, plan.Day); err != nil {
		return err
	}
	if err := s.step("unlink"); err != nil {
		return err
	}
	folder, err := s.o.Folders.EraseDay(Log, plan.Day)
	if err != nil {
		return err
	}
	compacted, err := s.o.Logs.Compact(ctx)
	if err != nil {
		return err
	}
	return s.close(ctx, plan, Tail{Folder: folder, Audit: days, Compacted: compacted}, r)
}

func (s *Sweeper) listLog(ctx context.Context, plan Schedule, r *Result) error {
	if _, err := os.Stat(filepath.Join(s.o.Protocols, partName(plan.Family, plan.Day)+partExt)); err == nil {
		return nil
	}
	if err := s.step("list"); err != nil {
		return err
	}
	rows, err := s.o.Logs.Rows(ctx, plan.Day)
	if err != nil {
		return err
	}
	p, err := s.begin(plan, r.Clock.Now, rows)
	if err != nil {
		return err
	}
	return p.sync()
}

// leftovers removes what has no key any more: remains of a sweep that was cut
// off, or of a restored backup. Once a day and at start it also looks for rows.
func (s *Sweeper) leftovers(ctx context.Context, r *Result) error {
	now := r.Clock.Sure()
	days, err := s.o.Folders.Days()
	if err != nil {
		return err
	}
	var errs []error
	for _, text := range days {
		day, err := calendar.ParseDay(text)
		if err != nil || now.Before(day.End()) {
			continue
		}
		for _, f := range []Family{Content, Log} {
			if !s.o.Keys.Exists(f, text) {
				_, err := s.o.Folders.EraseDay(f, text)
				errs = append(errs, err)
			}
		}
	}
	yesterday := calendar.DayOf(now).AddDays(-1)
	if s.purged == yesterday.String() {
		return errors.Join(errs...)
	}
	_, err = s.o.Logs.EraseAudit(ctx, now)
	errs = append(errs, err, s.o.Logs.Purge(ctx, yesterday.String()), s.o.Logs.EraseExports(yesterday))
	_, err = s.o.Logs.Compact(ctx)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.purged = yesterday.String()
	return nil
}
