package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/retention"
)

// sweepEvery is the pause between two sweeps: bodies that were let go and days
// that have come wait that long.
const sweepEvery = 10 * time.Second

// Ledger is what erasing needs of a ledger beside queue.Store.
type Ledger interface {
	LetGo(ctx context.Context, after message.ID, max int) ([]message.ID, message.ID, error)
	DueBetween(ctx context.Context, from, to time.Time, left bool, after string, max int) ([]bolt.Due, string, error)
	WindowOf(ctx context.Context, day string) (bolt.Window, error)
	Purge(ctx context.Context, day string) error
	Compact(ctx context.Context) (bool, error)
}

// RetentionOptions wires erasure.
type RetentionOptions struct {
	Keys     *seal.Keyring
	Ledger   Ledger
	Fallback map[string]*x509.Certificate // authority → to whom its unconfirmed messages are encrypted
	Software string                       // version, for the protocols of destruction
	Config   string                       // hash of the configuration, for the same
	Remind   []int                        // days before the limit at which an authority is told what it has not filed; empty: never
	// Machine knows the time beside the wall clock; without Steady it is
	// ThisMachine.
	Machine Machine
	Hook    func(step string) error // tests only: retention.Options.Hook
}

// Retention erases what the law says must go: the adapter between package
// retention, which decides, and the stores, which do.
type Retention struct {
	g       *Gateway
	o       RetentionOptions
	clock   *retention.Clock
	sweeper *retention.Sweeper

	mu   sync.Mutex // one sweep at a time
	high atomic.Int64
}

// NewRetention wires erasure for the folder of this gateway: the mark of the
// clock in clock.json, exports under export/, protocols under protocols/.
func (g *Gateway) NewRetention(o RetentionOptions) (*Retention, error) {
	if o.Machine.Steady == nil {
		o.Machine = ThisMachine()
	}
	clock, err := retention.OpenClock(filepath.Join(g.o.Data, "clock.json"), o.Machine.Boot)
	if err != nil {
		return nil, err
	}
	r := &Retention{g: g, o: o, clock: clock}
	r.high.Store(clock.High().UnixNano())
	g.guard = r.Room
	r.sweeper, err = retention.NewSweeper(retention.Options{
		Windows: g.o.Windows, Keys: sweepKeys{o.Keys}, Messages: sweepMessages{r}, Logs: sweepLogs{r}, Folders: sweepFolders{g}, Clock: clock,
		Protocols: filepath.Join(g.o.Data, "protocols"), Software: o.Software, Config: o.Config, Log: g.o.Log, Hook: o.Hook,
		Witnesses: r.witnesses(), Looked: filepath.Join(g.o.Data, "handover.json"), Releases: filepath.Join(g.o.Data, "release.json"), Remind: o.Remind,
	})
	return r, err
}

// Run sweeps until ctx ends. Trouble is logged and tried again.
func (r *Retention) Run(ctx context.Context) {
	told := ""
	for ctx.Err() == nil {
		did, err := r.Sweep(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, retention.ErrClockBehind):
			r.g.o.Log.Error("the clock stands before its high-water mark: nothing is accepted and nothing erased; set the clock, or the mark by `gatewayd retention clock`", "high_water", did.Clock.High)
		case err != nil:
			r.g.o.Log.Error("a sweep could not do everything; it will be tried again", "error", err)
		}
		if did.Clock.Jumped {
			r.g.o.Log.Warn("the clock has jumped: nothing is erased by it until somebody vouches for it, or for 24 hours", "proof", did.Clock.Proof)
		}
		if did.Waits != "" && did.Waits != told {
			r.g.o.Log.Warn("a half-yearly run waits for two persons: gatewayd retention release", "run", did.Waits)
		}
		told = did.Waits
		if did.Lost > 0 {
			r.g.o.Log.Error("content was destroyed at its limit that nobody has: gatewayd handover list names it", "lost", did.Lost)
		}
		if len(did.Doomed)+len(did.Destroyed)+did.Exported+did.Expired > 0 {
			r.g.o.Log.Info("swept", "exported", did.Exported, "expired", did.Expired, "doomed", did.Doomed, "destroyed", did.Destroyed)
		}
		r.g.pause(ctx, nil, sweepEvery)
	}
}

// Sweep does now what is due (retention.Sweeper.Sweep).
func (r *Retention) Sweep(ctx context.Context) (retention.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	did, err := r.sweeper.Sweep(ctx, r.g.now(), r.o.Machine.Steady())
	r.high.Store(did.Clock.High.UnixNano())
	if did.Expired+did.Reminded > 0 {
		r.g.Wake() // notices want delivery
	}
	if stamp := r.g.o.Evidence.Stamp; stamp != nil && ctx.Err() == nil {
		if _, stampErr := retention.StampProtocols(ctx, filepath.Join(r.g.o.Data, "protocols"), stamp); stampErr != nil {
			r.g.o.Log.Warn("a protocol of destruction has no time stamp yet; the next sweep asks again", "error", stampErr)
		}
	}
	return did, err
}

// Room refuses mail while the clock stands before its mark: its windows would
// be computed from a wrong day.
func (r *Retention) Room() error {
	if high := r.high.Load(); high > 0 && r.g.now().Before(time.Unix(0, high).Add(-time.Minute)) {
		return &message.Refusal{Code: 451, Enhanced: "4.3.0", Text: "the clock of this server is wrong; try again later"}
	}
	return nil
}

// ResetClock sets the mark to now, after a person has set the clock right. It
// is noted with the reason.
func (r *Retention) ResetClock(ctx context.Context, reason string) error {
	if reason == "" {
		return message.ErrNoReason
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.g.now()
	if err := r.clock.Reset(now); err != nil {
		return err
	}
	r.high.Store(now.UnixNano())
	return sweepLogs{r}.Note(ctx, now, string(message.EventClock), map[string]string{"reason": message.Bounded(reason), "by": "administrator"})
}

// Release notes a person's word that a half-yearly run may destroy (profile bs-bwpv),
// in the log, too, and returns how many persons have released it now. ErrNoReason,
// retention.ErrNoRun, retention.ErrSamePerson.
func (r *Retention) Release(ctx context.Context, run, by, reason string) (int, error) {
	if reason == "" {
		return 0, message.ErrNoReason
	}
	day, err := calendar.ParseDay(run)
	if err != nil || by == "" {
		return 0, retention.ErrNoRun
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.g.now()
	if err := (sweepLogs{r}).Note(ctx, now, string(message.EventRun), map[string]string{"day": run, "by": message.Bounded(by), "reason": message.Bounded(reason)}); err != nil {
		return 0, err
	}
	all, err := r.sweeper.Release(day, retention.Release{By: message.Bounded(by), At: now.UTC(), Reason: message.Bounded(reason)})
	return len(all), err
}

// VerifyProtocols verifies the protocols of destruction: signed by this gateway,
// chained, and one for every destroyed key; the time stamps beside them fit.
func (r *Retention) VerifyProtocols() (retention.ChainReport, error) {
	key, err := r.o.Keys.SigningKey()
	if err != nil {
		return retention.ChainReport{}, err
	}
	destroyed := map[retention.Family][]string{}
	for _, f := range []retention.Family{retention.Content, retention.Log} {
		if destroyed[f], err = r.o.Keys.Gone(seal.Family(f)); err != nil {
			return retention.ChainReport{}, err
		}
	}
	dir := filepath.Join(r.g.o.Data, "protocols")
	report, err := retention.VerifyProtocols(dir, key.Public().(ed25519.PublicKey), destroyed)
	if err != nil {
		return report, err
	}
	return report, report.CheckStamps(dir, r.g.o.Evidence.Stamped)
}

// sweepKeys are the day keys for package retention.
type sweepKeys struct{ *seal.Keyring }

func (k sweepKeys) Days(f retention.Family) []string { return k.Keyring.Days(seal.Family(f)) }
func (k sweepKeys) Exists(f retention.Family, day string) bool {
	return k.Keyring.Exists(seal.Family(f), day)
}

func (k sweepKeys) Doomed(f retention.Family, day string) (time.Time, bool) {
	return k.Keyring.Doomed(seal.Family(f), day)
}

func (k sweepKeys) Doom(f retention.Family, day string, at time.Time) error {
	return k.Keyring.Doom(seal.Family(f), day, at)
}

func (k sweepKeys) Spare(f retention.Family, day string) error {
	return k.Keyring.Spare(seal.Family(f), day)
}

func (k sweepKeys) Destroy(f retention.Family, day string) error {
	return k.Keyring.Destroy(seal.Family(f), day)
}

func (k sweepKeys) Wrap(day string, secret []byte) ([]byte, error) {
	aead, err := k.AEAD(seal.Log, day)
	if err != nil {
		return nil, err
	}
	return seal.SealRecord(aead, secret, []byte("gatewayd run key 1")), nil
}

// sweepFolders are the vault's folders for package retention.
type sweepFolders struct{ g *Gateway }

func (f sweepFolders) Days() ([]string, error) { return f.g.o.Vault.Days() }

func (f sweepFolders) EraseDay(family retention.Family, day string) (retention.Folder, error) {
	e, err := f.g.o.Vault.EraseDay(seal.Family(family), day)
	return retention.Folder{Records: e.Records, Segments: e.Segments, Kept: e.Kept, Bytes: e.Bytes}, err
}

// sweepLogs is what is kept for the log window.
type sweepLogs struct{ r *Retention }

func (l sweepLogs) Rows(ctx context.Context, day string) (retention.Rows, error) {
	w, err := l.r.o.Ledger.WindowOf(ctx, day)
	return retention.Rows(w), err
}

func (l sweepLogs) Purge(ctx context.Context, day string) error { return l.r.o.Ledger.Purge(ctx, day) }
func (l sweepLogs) Compact(ctx context.Context) (bool, error)   { return l.r.o.Ledger.Compact(ctx) }

func (l sweepLogs) RotateAudit(_ context.Context, now time.Time) error {
	_, err := l.r.g.o.Audit.Rotate(now)
	return err
}

func (l sweepLogs) EraseAudit(_ context.Context, now time.Time) ([]string, error) {
	return l.r.g.o.Audit.Erase(now, func(day calendar.Day) bool { return !now.Before(l.r.g.o.Windows.LogDay(day.Start()).End()) })
}

// EraseExports removes what was exported from that erase-by day or before, and
// has lain there for a log window since.
func (l sweepLogs) EraseExports(yesterday calendar.Day) error {
	root := filepath.Join(l.r.g.o.Data, "export")
	authorities, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range authorities {
		days, err := os.ReadDir(filepath.Join(root, a.Name()))
		errs = append(errs, err)
		for _, d := range days {
			day, err := calendar.ParseDay(d.Name())
			if err == nil && !l.r.g.o.Windows.LogDay(day.Start()).After(yesterday) {
				errs = append(errs, os.RemoveAll(filepath.Join(root, a.Name(), d.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

func (l sweepLogs) Note(ctx context.Context, now time.Time, kind string, data map[string]string) error {
	return l.r.g.o.Store.Apply(ctx, queue.Change{Events: []message.Event{{At: now, Kind: message.EventKind(kind), Data: data}}})
}

// RetentionReport tells what is there and what becomes of it.
type RetentionReport struct {
	At      time.Time         `json:"at"`
	Windows retention.Windows `json:"windows"`
	High    time.Time         `json:"high_water"`
	Days    []RetentionDay    `json:"days"`
	// Run is what the last half-yearly run that has begun then would take (profile bs-bwpv).
	Run *retention.Preview `json:"run,omitempty"`
}

// RetentionDay is one day key.
type RetentionDay struct {
	retention.Schedule
	Stage       retention.Stage `json:"stage"` // at that instant, on a steady clock
	DoomedAt    time.Time       `json:"doomed_at,omitzero"`
	Messages    int             `json:"messages"`
	Bytes       int64           `json:"bytes,omitempty"`       // content
	LetGo       int             `json:"let_go,omitempty"`      // content: bodies that went early
	Open        int             `json:"open,omitempty"`        // content: would expire
	Unconfirmed int             `json:"unconfirmed,omitempty"` // content: would be exported
	Receipts    int             `json:"receipts,omitempty"`    // log
}

// Report tells what would go at an instant, and when; nothing is changed.
func (r *Retention) Report(ctx context.Context, at time.Time) (RetentionReport, error) {
	rep := RetentionReport{At: at, Windows: r.g.o.Windows, High: time.Unix(0, r.high.Load()).UTC()}
	if r.g.o.Windows.BS() {
		r.mu.Lock()
		run, err := r.sweeper.Preview(ctx, at)
		r.mu.Unlock()
		if err != nil {
			return rep, err
		}
		rep.Run = &run
	}
	for _, f := range []retention.Family{retention.Content, retention.Log} {
		for _, text := range r.o.Keys.Days(seal.Family(f)) {
			day, err := calendar.ParseDay(text)
			if err != nil {
				return rep, err
			}
			d := RetentionDay{Schedule: retention.ScheduleOf(f, day)}
			d.Stage = d.At(at)
			d.DoomedAt, _ = r.o.Keys.Doomed(seal.Family(f), text)
			if err := r.fill(ctx, &d, day); err != nil {
				return rep, fmt.Errorf("%s of %s: %w", f, text, err)
			}
			rep.Days = append(rep.Days, d)
		}
	}
	return rep, nil
}

func (r *Retention) fill(ctx context.Context, d *RetentionDay, day calendar.Day) error {
	if d.Family == retention.Log {
		w, err := r.o.Ledger.WindowOf(ctx, d.Day)
		d.Messages, d.Receipts = w.Messages, w.Receipts
		return err
	}
	return sweepMessages{r}.Due(ctx, day, false, func(o retention.Object) error {
		d.Messages++
		switch {
		case !o.Erased.IsZero():
			d.LetGo++
			return nil
		case !o.Confirmed && !o.Exported && !o.NoRecord && o.Agreement == "":
			d.Unconfirmed++
		}
		if o.Open {
			d.Open++
		}
		d.Bytes += o.Size
		return nil
	})
}
