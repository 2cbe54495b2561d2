package gateway_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/retention"
	"gatewayd/vault"
)

// TestHalfYear: under the profile bs-bwpv a run at three o'clock on 1 January and
// 1 July takes what was closed more than 180 days before, after the archive gate,
// and tells it in a protocol of its own, also when it was cut off. The rest goes
// with its key, three years later.
func TestHalfYear(t *testing.T) {
	w := newWorld(t)
	f := &office{start: w.now, over: true, windows: retention.Windows{Profile: retention.ProfileBS}}
	f.fallback(t)
	f.open(t, w, filepath.Join(fastDir(t), "data"))
	f.run()
	t.Cleanup(func() { f.close() })
	zurich := func(y int, m time.Month, d, h int) time.Time { return time.Date(y, m, d, h, 0, 0, 0, calendar.Zone()) }
	there := func(p planted) bool {
		body, err := f.vault.OpenBody(p.ref)
		if err == nil {
			body.Close()
		} else if !errors.Is(err, vault.ErrGone) {
			t.Errorf("%s: %v", p.body, err)
		}
		return err == nil
	}
	put := func(mark string) planted {
		p := f.plant("inbound", mark)
		f.becomes(p.id, message.Done)
		env, _, err := f.store.Message(context.Background(), p.id)
		if err != nil {
			t.Fatal(err)
		}
		p.ref = env.Body
		return p
	}
	f.to(zurich(2027, time.January, 1, 12))
	old := put("181")
	f.to(zurich(2027, time.January, 2, 12))
	young := put("180")
	f.sweep()
	f.to(zurich(2027, time.July, 1, 3).Add(-time.Minute))
	f.sweep()
	if !there(old) || !there(young) {
		t.Error("gone before the run")
	}
	f.releaseRun(zurich(2027, time.July, 1, 3), "2027-07-01", func() bool { return there(old) })
	for _, step := range []string{"export", "wipe", "protocol"} { // cut off at each
		f.hook = func(s string) error {
			if s == step {
				return errCut
			}
			return nil
		}
		if _, err := f.ret.Sweep(context.Background()); !errors.Is(err, errCut) {
			t.Errorf("cut off at %s: %v", step, err)
		}
	}
	f.hook = nil
	f.sweep()
	if there(old) || !there(young) {
		t.Errorf("after the run: closed for 181 days %v, for 180 days %v", there(old), there(young))
	}
	if _, err := os.Stat(filepath.Join(f.dir, "export", "bau", f.windows.ContentDay(old.at).String(), old.id.String()+".p7m")); err != nil {
		t.Errorf("it was not exported before: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(f.dir, "protocols", "00000001-run-2027-07-01.jsonl"))
	if err != nil || strings.Count(string(text), `"object"`) != 1 || !strings.Contains(string(text), `"export_forced"`) || !strings.Contains(string(text), "BWPV BS") || !strings.Contains(string(text), `"released_by":"administrator anna (`) || !strings.Contains(string(text), `), administrator beat (`) {
		t.Errorf("protocol: %v\n%s", err, text)
	}
	f.close()
	f.open(t, w, f.dir)
	f.run()
	f.sweep()
	if r, err := f.ret.VerifyProtocols(); err != nil || !r.OK() || r.Protocols != 1 || r.Objects != 1 {
		t.Errorf("%+v %v", r, err)
	}
	f.sweep()
	f.to(f.w.time().Add(25 * time.Hour))
	f.sweep()
	f.to(zurich(2028, time.January, 1, 3))
	for _, who := range []string{"administrator anna", "administrator beat"} {
		if _, err := f.ret.Release(context.Background(), "2028-01-01", who, "Antrag 2028-1"); err != nil {
			t.Fatal(err)
		}
	}
	f.sweep()
	if there(young) {
		t.Error("it is there after the next run")
	}
	day := f.windows.ContentDay(young.at)
	for at := day.End().AddDate(0, 0, -6); at.Before(day.End()); at = at.Add(12 * time.Hour) {
		f.to(at)
		f.sweep()
	}
	if f.keys.Exists(seal.Content, day.String()) {
		t.Errorf("the key of %s is still there", day)
	}
	if r, err := f.ret.VerifyProtocols(); err != nil || !r.OK() || r.Protocols < 3 {
		t.Errorf("%+v %v", r, err)
	}
}

// releaseRun: a run that is due waits for two persons, who see before what it would
// take; one person twice is one, and there is no release for another day. Each word
// stands in the log.
func (f *office) releaseRun(at time.Time, run string, there func() bool) {
	t, ctx := f.t, context.Background()
	rep, err := f.ret.Report(ctx, at)
	if err != nil || rep.Run == nil || rep.Run.Run != run || rep.Run.Messages != 1 || rep.Run.Exports != 1 || rep.Run.Bytes == 0 || rep.Run.Done || len(rep.Run.Released) != 0 {
		t.Errorf("before the run: %+v %v", rep.Run, err)
	}
	if rep, err := f.ret.Report(ctx, at.Add(-time.Minute)); err != nil || rep.Run.Run == run || rep.Run.Messages != 0 {
		t.Errorf("a minute before it: %+v %v", rep.Run, err)
	}
	release := func(day, by, reason string, want int, wantErr error) {
		t.Helper()
		if n, err := f.ret.Release(ctx, day, by, reason); n != want || !errors.Is(err, wantErr) {
			t.Errorf("release of %s by %q: %d %v, want %d %v", day, by, n, err, want, wantErr)
		}
	}
	waits := func(want string) {
		t.Helper()
		if did := f.sweep(); did.Waits != want || !there() {
			t.Errorf("it waits for %q, want %q; there: %v", did.Waits, want, there())
		}
	}
	release("2027-07-02", "administrator anna", "Antrag", 0, retention.ErrNoRun)
	release("2028-07-01", "administrator anna", "Antrag", 0, retention.ErrNoRun)
	release("x", "administrator anna", "Antrag", 0, retention.ErrNoRun)
	release(run, "", "Antrag", 0, retention.ErrNoRun)
	if _, err := f.ret.Release(ctx, run, "administrator anna", ""); err == nil {
		t.Error("without a reason")
	}
	f.to(at)
	waits("run-" + run)
	waits("run-" + run)
	release(run, "administrator anna", "Antrag 2027-14", 1, nil)
	waits("run-" + run)
	release(run, "administrator anna", "Antrag 2027-14", 1, retention.ErrSamePerson)
	waits("run-" + run)
	f.close()
	f.open(t, f.w, f.dir) // it is remembered
	f.run()
	f.sweep()
	f.to(at.Add(time.Hour))
	waits("run-" + run)
	release(run, "administrator beat", "Antrag 2027-14", 2, nil)
	f.drained()
	said := 0
	err = f.audit.Each(ctx, calendar.Day{}, func(_ message.Link, e *message.Event) error {
		if e != nil && e.Kind == message.EventRun && e.Data["day"] == run && strings.HasPrefix(e.Data["by"], "administrator ") {
			said++
		}
		return nil
	})
	if err != nil || said != 3 {
		t.Errorf("the log has %d releases: %v", said, err)
	}
}
