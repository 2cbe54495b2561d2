package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"gatewayd/message"
	"gatewayd/retention"
)

// TestClockJumps moves the clock while mail is under way: by an hour and a day
// in both directions, a year back, over both changes of daylight saving, and
// through a second that comes twice. No content goes early, nothing is handed
// over twice, and the audit log keeps its order (quality goal R10).
func TestClockJumps(t *testing.T) {
	t.Parallel()
	f := newOffice(t)
	f.run()
	var all, ever []planted
	plant := func() {
		t.Helper()
		for _, kind := range []string{"registered", "normal", "inbound"} {
			ever = append(ever, f.plant(kind, fmt.Sprintf("jump-%d", len(ever))))
			all = append(all, ever[len(ever)-1])
		}
	}
	normal := 0
	once := func() { // of those whose log window is not over
		t.Helper()
		for _, p := range all {
			if n := f.events(p.id, message.EventHanded); p.kind == "normal" {
				if normal += n; n > 1 {
					t.Errorf("a normal mail of %s was handed over %d times", p.at, n)
				}
			}
		}
	}
	plant()
	f.quiet()
	jumps := []struct {
		name string
		by   time.Duration
	}{
		{"an hour ahead", time.Hour},
		{"an hour back", -time.Hour},
		{"a day ahead", 24 * time.Hour},
		{"a day back", -24 * time.Hour},
		{"a second twice", -time.Second},
		{"a year back", -365 * 24 * time.Hour},
		{"and right again", 365*24*time.Hour + time.Second},
	}
	for _, j := range jumps {
		f.w.links["smtp"].fails(errLater) // some of it waits while the clock jumps
		if f.ret.Room() == nil {
			plant()
		}
		f.drained()
		f.pass(j.by)
		if _, err := f.ret.Sweep(context.Background()); err != nil && !errors.Is(err, retention.ErrClockBehind) {
			t.Fatalf("%s: %v", j.name, err)
		}
		f.w.links["smtp"].on(nil)
		f.g.Wake()
		f.still(j.name, all)
	}
	for _, change := range []time.Time{time.Date(2027, 3, 28, 1, 0, 0, 0, time.UTC), time.Date(2027, 10, 31, 1, 0, 0, 0, time.UTC)} {
		f.drained()
		once()
		all = nil
		f.to(change.Add(-30 * time.Minute))
		f.sweep()
		plant()
		f.quiet()
		for range 3 {
			f.pass(30 * time.Minute)
			f.sweep()
			f.still(change.Format(time.DateOnly), all)
		}
	}
	f.pass(3 * time.Hour)
	f.quiet()
	registered := map[message.ItemKey]int{}
	for _, h := range f.w.links["incamail"].seen() {
		registered[h.key]++
	}
	for k, n := range registered {
		if n != 1 {
			t.Errorf("item %s: handed over %d times", k, n)
		}
	}
	once()
	if len(registered) < 6 || normal < 2 {
		t.Errorf("%d registered handed over, %d normal", len(registered), normal)
	}
	f.close()
}

// drained waits until everything that happened stands in the day files.
func (f *office) drained() {
	f.t.Helper()
	f.until("the audit log", func() bool {
		links, err := f.store.Pending(context.Background(), 0, 1)
		return err == nil && len(links) == 0
	})
}

// still: what is within its limit opens.
func (f *office) still(when string, all []planted) {
	f.t.Helper()
	for _, p := range all {
		env, items, err := f.store.Message(context.Background(), p.id)
		if err != nil {
			f.t.Fatalf("%s: %s: %v", when, p.kind, err)
		}
		if p.kind == "normal" && items[0].State != message.Waiting {
			continue // delivered, and let go
		}
		body, err := f.vault.OpenBody(env.Body)
		if err != nil {
			f.t.Fatalf("%s: %s of %s at %s: %v", when, p.kind, p.at, f.w.time(), err)
		}
		body.Close()
	}
}
