package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatewayd/connectors"
	"gatewayd/gateway"
	"gatewayd/message"
)

var errDown = &connectors.Error{Kind: connectors.Temporary, Step: connectors.StepConnect, Err: errors.New("connection refused")}

// TestDeadDestinationRests: one attempt tells that a destination is away; what
// waits for it waits together, nobody else waits for it, and when it is back it
// is not flooded.
func TestDeadDestinationRests(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{edit: func(o *gateway.Options) { o.Delivery.Concurrency, o.Delivery.PerTarget = 8, 4 }})
	var tries, open, most atomic.Int64
	var dead atomic.Bool
	dead.Store(true)
	r.w.links["smtp"].on(func(_ context.Context, h connectors.Handover) (connectors.Result, error) {
		if h.To.Domain != "dead.example" {
			return connectors.Result{Reply: "250 ok"}, nil
		}
		tries.Add(1)
		if dead.Load() {
			return connectors.Result{}, errDown
		}
		for n := open.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		time.Sleep(5 * time.Millisecond)
		open.Add(-1)
		return connectors.Result{Reply: "250 ok"}, nil
	})
	var waiting []message.ID
	for i := range 40 {
		waiting = append(waiting, r.send("Auskunft", fmt.Sprintf("a%d@dead.example", i)))
	}
	r.until("the first attempts", func() bool { return tries.Load() > 0 })
	for i := range 10 {
		r.becomes(r.send("Auskunft", fmt.Sprintf("b%d@alive.example", i)), message.Done)
	}
	if n := tries.Load(); n > 4 {
		t.Errorf("%d attempts at a dead destination at once, want at most 4", n)
	}
	destinations := func(want int) []message.Destination {
		t.Helper()
		var list []message.Destination
		r.until("open attempts end", func() bool {
			var err error
			list, err = r.g.Destinations(context.Background())
			return err == nil && len(list) == want
		})
		return list
	}
	if list := destinations(1); list[0].Name != "smtp:dead.example" || list[0].Failures != 1 || list[0].Rests.IsZero() {
		t.Errorf("destinations %+v", list)
	}
	before := tries.Load()
	r.pass(6 * time.Second)
	r.until("one attempt after the rest", func() bool { return tries.Load() > before })
	r.stays()
	if n := tries.Load() - before; n != 1 {
		t.Errorf("%d attempts after the rest, want 1", n)
	}
	dead.Store(false)
	r.pass(2 * time.Minute) // those that were tried are due again, too
	for _, id := range waiting {
		r.becomes(id, message.Done)
	}
	if n := most.Load(); n > 4 {
		t.Errorf("%d attempts at once, want at most 4", n)
	}
	destinations(0)
}

// TestPause: nothing goes to what a person paused, also after a restart, while
// others go on; each step stands in the audit log.
func TestPause(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	ctx := context.Background()
	for _, bad := range []string{"", "in camail", "smtp:", "smtp:../x", strings.Repeat("a", 40), "smtp:a@b.ch"} {
		if err := r.g.Pause(ctx, bad, "weil"); !errors.Is(err, gateway.ErrNoDestination) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := r.g.Pause(ctx, "incamail", " "); !errors.Is(err, message.ErrNoReason) {
		t.Errorf("without a reason: %v", err)
	}
	if err := r.g.Resume(ctx, "incamail", "weil"); !errors.Is(err, gateway.ErrNotPaused) {
		t.Errorf("resume of what is not paused: %v", err)
	}
	for range 2 {
		if err := errors.Join(r.g.Pause(ctx, "incamail", "Wartung"), r.g.Pause(ctx, "smtp", "Wartung")); err != nil {
			t.Fatal(err)
		}
	}
	decision, normal := r.send("[einschreiben] Entscheid", "buerger@example.ch"), r.send("Auskunft", "a@example.net")
	local := r.send("Amtshilfe", "steuer@bl.example")
	r.becomes(local, message.Done)
	r = r.again(rigOptions{})
	r.becomes(r.send("Amtshilfe", "steuer@bl.example"), message.Done)
	r.stays()
	if a, b := r.item(key(decision, 1)), r.item(key(normal, 1)); a.State != message.Waiting || b.State != message.Waiting || a.Attempts+b.Attempts != 0 {
		t.Errorf("paused: %s after %d attempts, %s after %d", a.State, a.Attempts, b.State, b.Attempts)
	}
	if list, err := r.g.Destinations(ctx); err != nil || len(list) != 2 || list[0].Name != "incamail" || list[0].Reason != "Wartung" || list[0].Paused.IsZero() {
		t.Errorf("destinations %+v, %v", list, err)
	}
	if err := r.g.Resume(ctx, "incamail", "Wartung beendet"); err != nil {
		t.Fatal(err)
	}
	r.pass(6 * time.Second) // it is looked at every five seconds
	r.becomes(decision, message.Handed)
	if item := r.item(key(normal, 1)); item.State != message.Waiting {
		t.Errorf("smtp is still paused, but the mail is %s", item.State)
	}
	if err := r.g.Resume(ctx, "smtp", "Wartung beendet"); err != nil {
		t.Fatal(err)
	}
	r.pass(6 * time.Second)
	r.becomes(normal, message.Done)
	if text, err := os.ReadFile(filepath.Join(r.dir, "paused.json")); err != nil || strings.Contains(string(text), "incamail") {
		t.Errorf("%v: %s", err, text)
	}
}
