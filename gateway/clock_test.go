package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/gateway"
	"gatewayd/retention"
	"gatewayd/vault"
)

// stopped is an office with one mail of a citizen that nobody has filed, whose clock
// was believed until the given time before the end of its content or log window, and
// which then stood still on a machine that is started anew.
func stopped(t *testing.T, f *office, p *planted, at, back time.Time) {
	t.Helper()
	f.boot = "first"
	f.close()
	f.open(t, f.w, f.dir)
	for _, look := range []time.Time{f.w.time(), f.w.time().Add(25 * time.Hour)} {
		f.w.set(look)
		f.sweep()
	}
	for day := f.w.time(); day.Before(at); day = day.Add(24 * time.Hour) {
		f.w.set(day)
		f.sweep()
	}
	f.w.set(at)
	f.sweep()
	env, _, err := f.store.Message(context.Background(), p.id)
	if err != nil {
		t.Fatal(err)
	}
	p.ref = env.Body
	f.shut()
	f.w.set(back)
	f.boot = "second"
}

// TestWhoVouches: after a stop over the end of a log window, on a machine that was
// started anew, log data go as soon as somebody vouches for the clock, or when as much
// time as is missing has passed by the steady clock. The protocol tells how late, why,
// and by what the clock was believed. A clock that is ahead erases nothing early.
func TestWhoVouches(t *testing.T) {
	const certain, month = 6 * time.Hour, 30 * 24 * time.Hour
	stamp := func(at func() time.Time) func(*gateway.Options) {
		return func(o *gateway.Options) {
			o.Evidence.Time = func(_ context.Context, content io.Reader) (time.Time, error) {
				if b, err := io.ReadAll(content); err != nil || len(b) < 20 {
					return time.Time{}, fmt.Errorf("no fresh question: %q %w", b, err)
				}
				return at(), nil
			}
		}
	}
	tests := []struct {
		name   string
		synced bool
		wrong  time.Duration // how far ahead of the truth the clock stands
		edit   func(f *office) func(*gateway.Options)
		proof  string
		after  time.Duration // it goes that long after the start
	}{
		{"nobody", false, 0, nil, retention.ProofPassed, certain},
		{"the time service", true, 0, nil, retention.ByTimeService, 0},
		{"the time service, which has been lied to by a month", true, month, nil, retention.ProofPassed, certain},
		{"the time service, which has been lied to by a year", true, 12 * month, nil, retention.ProofPassed, certain},
		{"a time stamp", false, 0, func(f *office) func(*gateway.Options) { return stamp(f.w.time) }, retention.ByStamp, 0},
		{"a time stamp, and the clock is a month ahead", true, month, func(f *office) func(*gateway.Options) {
			return stamp(func() time.Time { return f.w.time().Add(-month - 21*time.Hour) })
		}, retention.ProofPassed, time.Hour},
		{"an authority that is out of reach", false, 0, func(*office) func(*gateway.Options) {
			return func(o *gateway.Options) {
				o.Evidence.Time = func(context.Context, io.Reader) (time.Time, error) { return time.Time{}, errors.New("out of reach") }
			}
		}, retention.ProofPassed, certain},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newOffice(t)
			f.run()
			p := f.plant("inbound", "vouch")
			f.quiet()
			logEnd := retention.Default().LogDay(p.at).End()
			back := logEnd.Add(20*time.Hour + tt.wrong)
			stopped(t, f, &p, logEnd.Add(-certain), back)
			if f.synced = tt.synced; tt.edit != nil {
				f.edit = tt.edit(f)
			}
			f.open(t, f.w, f.dir)
			f.sweep()
			gone := func() bool { return !f.keys.Exists(seal.Log, retention.Default().LogDay(p.at).String()) }
			if tt.after > 0 {
				f.w.set(back.Add(tt.after - time.Second))
				f.sweep()
				if gone() {
					t.Error("gone before it was certain that its window is over")
				}
				f.w.set(back.Add(tt.after))
				f.sweep()
			}
			if !gone() {
				t.Fatalf("not gone %s after the start\n%s", tt.after, f.log)
			}
			f.checkLate(logEnd, back, tt.proof)
			f.shut()
		})
	}
}

// checkLate reads the protocol of the log day that ends at limit.
func (f *office) checkLate(limit, back time.Time, proof string) {
	t := f.t
	names, err := filepath.Glob(filepath.Join(f.dir, "protocols", "*-log-"+calendar.DayOf(limit.Add(-time.Hour)).String()+".jsonl"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%v %v", names, err)
	}
	text, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	_, _, tail, err := protocolOf(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := tail.Late
	if l == nil || l.By != f.w.time().Sub(limit).String() || l.Proof != proof || proof != retention.ProofPassed && !l.Proven.Equal(f.w.time()) || l.From.After(limit) || l.Until.Before(back) || l.Because == "" {
		t.Errorf("%s says %+v, want by %s", names[0], l, proof)
	}
}

// TestReceiptVouches: the first signed receipt that arrives proves the clock; one
// that is older only proves what is before it.
func TestReceiptVouches(t *testing.T) {
	for _, age := range []time.Duration{time.Minute, 3 * time.Hour} {
		f := newOffice(t)
		f.run()
		p := f.plant("inbound", "vouch")
		f.quiet()
		logEnd := retention.Default().LogDay(p.at).End()
		stopped(t, f, &p, logEnd.Add(-6*time.Hour), logEnd.Add(20*time.Hour))
		f.open(t, f.w, f.dir)
		f.run()
		f.sweep()
		_, item := f.registered()
		text := f.w.receipt(t, "Abgabequittung", item.Reference, "buerger@example.ch")
		f.pass(age)
		f.receives(text)
		did := f.sweep()
		if gone := !f.keys.Exists(seal.Log, retention.Default().LogDay(p.at).String()); !gone {
			t.Errorf("receipt of %s ago: the day that ended before it is still there", age)
		}
		want := map[bool]string{true: retention.ByReceipt}[age == time.Minute]
		if did.Clock.Proof != want || did.Clock.Certain.After(f.w.time()) || did.Clock.Certain.Before(f.w.time().Add(-age)) {
			t.Errorf("receipt of %s ago: %+v", age, did.Clock)
		}
		f.close()
	}
}

// TestStaysOver: what is over its limit does not become readable again, neither at a
// start before anything else has happened, nor because somebody sets the clock back.
func TestStaysOver(t *testing.T) {
	f := newOffice(t)
	f.run()
	p := f.plant("inbound", "over")
	f.quiet()
	limit := retention.Default().EraseBy(p.at)
	stopped(t, f, &p, limit.Add(-6*24*time.Hour), limit)
	f.open(t, f.w, f.dir)
	readable := func() bool {
		body, err := f.vault.OpenBody(p.ref)
		if err == nil {
			body.Close()
		} else if !errors.Is(err, vault.ErrGone) {
			t.Fatal(err)
		}
		return err == nil
	}
	if readable() {
		t.Error("at the start it is readable at its limit")
	}
	f.w.set(limit.Add(-time.Second))
	if !readable() {
		t.Error("a second before its limit it is not readable: then this test does not look where it should")
	}
	f.w.set(limit.Add(time.Minute))
	f.synced = false
	f.sweep() // in doubt: the key stays
	if !f.keys.Exists(seal.Content, p.ref.Day) {
		t.Fatal("the key is gone")
	}
	f.w.set(limit.Add(25 * time.Hour))
	f.hook = func(step string) error { // believed, but nothing can be destroyed
		if step == "doom" {
			return errCut
		}
		return nil
	}
	if _, err := f.ret.Sweep(context.Background()); !errors.Is(err, errCut) {
		t.Fatalf("%v", err)
	}
	f.w.set(limit.Add(-30 * 24 * time.Hour))
	if readable() {
		t.Error("the clock was set back, and it is readable again")
	}
	if f.ret.Room() == nil {
		t.Error("mail is taken by a clock that was set back")
	}
	f.shut()
}

// TestMachine: the kernel's clock goes on, and the run of the machine has a name.
func TestMachine(t *testing.T) {
	m := gateway.ThisMachine()
	if a := m.Steady(); a <= 0 || m.Steady() < a {
		t.Errorf("the steady clock stands at %s", a)
	}
	if again := gateway.ThisMachine(); again.Boot != m.Boot || strings.ContainsAny(m.Boot, "- \n") {
		t.Errorf("runs of the machine: %q and %q", m.Boot, again.Boot)
	}
	if _, err := os.Stat("/proc/sys/kernel/random/boot_id"); err == nil && len(m.Boot) != 32 {
		t.Errorf("the run of the machine has the name %q", m.Boot)
	}
	m.Synced() // either answer may be right
}
