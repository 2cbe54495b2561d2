package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/crypto/seal"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/retention"
)

// TestSweepAtScale erases as many expired items as GATEWAYD_SWEEP_ITEMS says,
// while mail comes in, and prints what make bench reads (workload W6): every
// sweep that the items live through, from the export window to the end of the
// log window, on a clock that stands still while a sweep runs.
func TestSweepAtScale(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("GATEWAYD_SWEEP_ITEMS"))
	if err != nil || n < 1 {
		t.Skip("a measurement: set GATEWAYD_SWEEP_ITEMS, or run make bench WORKLOADS=W6")
	}
	w := newWorld(t)
	f := &office{start: w.now, over: true}
	f.fallback(t)
	f.open(t, w, filepath.Join(t.TempDir(), "data"))
	f.run()
	t.Cleanup(func() { f.close() })
	f.send("der Tag und seine Schlüssel", "kunde@example.org")
	born, windows := w.time(), retention.Default()
	figures := map[string]float64{"items": float64(n), "writers": sweepWriters}
	begun := time.Now()
	f.fillDone(n, born, windows)
	figures["fill_s"] = time.Since(begun).Seconds()
	for links, err := f.store.Pending(context.Background(), 0, 1); err != nil || len(links) > 0; links, err = f.store.Pending(context.Background(), 0, 1) {
		time.Sleep(10 * time.Millisecond) // the audit log takes it all; nothing else runs while it is measured
	}
	before, _ := f.acceptWhile(func() { time.Sleep(5 * time.Second) })
	figures["accept_p99_before_ms"] = p99(before)
	var during []float64
	content, logs := retention.ScheduleOf(retention.Content, windows.ContentDay(born)), windows.LogDay(born)
	for _, step := range []struct {
		name string
		at   time.Time
	}{
		{"export", content.Export.Add(time.Hour)},
		{"doom", content.Doom.Add(time.Hour)},
		{"destroy", content.Destroy.Add(2 * time.Hour)},
		{"log", logs.End().Add(time.Hour)},
	} {
		f.quiet() // what came in meanwhile has left, and is let go
		f.sweep()
		f.to(step.at)
		f.drained()
		begun := time.Now() // once a day, whatever expires
		if _, err := f.audit.Rotate(w.time()); err != nil {
			t.Fatal(err)
		}
		figures["rotate_s"] += time.Since(begun).Seconds()
		took, refused := f.acceptWhile(func() {
			begun := time.Now()
			f.sweep()
			figures[step.name+"_s"] = time.Since(begun).Seconds()
		})
		figures["sweep_s"] += figures[step.name+"_s"]
		figures[step.name+"_p99_ms"] = p99(took)
		figures["refused_452"] += refused
		during = append(during, took...)
	}
	figures["accept_p99_during_ms"] = p99(during)
	figures["accepted_during"] = float64(len(during))
	if f.keys.Exists(seal.Content, windows.ContentDay(born).String()) {
		t.Error("the content key is still there")
	}
	if left, err := f.bolt.WindowOf(context.Background(), logs.String()); err != nil || left.Items > 0 {
		t.Errorf("%d items are still there: %v", left.Items, err)
	}
	text, err := json.Marshal(figures)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("sweep figures: %s\n", text)
}

// fillDone puts messages into the ledger that were delivered and whose body was
// let go, as ordinary relay leaves them.
func (f *office) fillDone(n int, at time.Time, windows retention.Windows) {
	f.t.Helper()
	// Large batches write a page of the index once for many of its rows; but what one
	// commit adds to a page is sorted in row by row, so they grow with the index.
	for done, batch := 0, 1000; done < n; done, batch = done+batch, min(max(1000, done/4), 20_000) {
		var all []queue.Accepted
		var change queue.Change
		for i := done; i < min(done+batch, n); i++ {
			a := delivered(uint64(i), at, windows) //nolint:gosec // not negative
			all = append(all, a)
			item := a.Items[0]
			item.State, item.NextTry, item.Erased, item.Version = message.Done, time.Time{}, at, 1
			change.Items = append(change.Items, item)
			change.Events = append(change.Events, message.Event{At: at, Kind: message.EventHanded, Authority: "bau", Message: a.Envelope.ID, Item: 1})
		}
		if err := f.bolt.Index(context.Background(), all, nil); err != nil {
			f.t.Fatal(err)
		}
		if err := f.bolt.Apply(context.Background(), change); err != nil {
			f.t.Fatal(err)
		}
	}
}

func delivered(seed uint64, at time.Time, windows retention.Windows) queue.Accepted {
	sum := sha256.Sum256(fmt.Append(nil, "scale ", seed))
	id := message.NewID(at)
	return queue.Accepted{
		Envelope: message.Envelope{
			ID: id, Direction: message.Outbound, Authority: "bau", Account: "bau", From: addr("bau@bl.example"), Received: at,
			Content: message.Content{Digest: sum, Size: 4096}, MessageID: fmt.Sprintf("<%x@bl.example>", sum[:8]),
			EraseDay: windows.ContentDay(at).String(), LogDay: windows.LogDay(at).String(),
		},
		Items: []message.Item{{
			Key: key(id, 1), Recipient: message.Recipient{Address: addr(fmt.Sprintf("kunde%d@example.org", seed))},
			Decision: message.Decision{Verdict: message.Deliver, Class: message.Normal, Route: "extern", Via: "smtp", Keep: message.KeepUntilDone},
			State:    message.Waiting, NextTry: at.Add(72 * time.Hour), EraseBy: windows.EraseBy(at),
		}},
		Events: []message.Event{
			{At: at, Kind: message.EventAccepted, Authority: "bau", Message: id, Data: map[string]string{"size": "4096"}},
			{At: at, Kind: message.EventDecided, Authority: "bau", Message: id, Item: 1},
		},
	}
}

// sweepWriters bring mail in meanwhile, each some dozen messages a second.
const sweepWriters = 4

// acceptWhile returns how long accepting took while do ran, in ms, and how often
// it was refused for a moment.
func (f *office) acceptWhile(do func()) (took []float64, refused float64) {
	f.t.Helper()
	stop := make(chan struct{})
	var mu sync.Mutex
	var writers sync.WaitGroup
	text := letter("Auskunft", "scale") + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 52)
	for range sweepWriters {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				begun := time.Now()
				_, err := f.g.Accept(context.Background(), submission("kunde@example.org"), strings.NewReader(text))
				refusal, busy := errors.AsType[*message.Refusal](err)
				mu.Lock()
				switch {
				case err == nil:
					took = append(took, float64(time.Since(begun).Microseconds())/1000)
				case busy && refusal.Code == 452: // the ledger lags: the client comes again
					refused++
				default:
					f.t.Errorf("accept meanwhile: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	do()
	close(stop)
	writers.Wait()
	return took, refused
}

// p99 is the 99th percentile: of fewer than a hundred the largest.
func p99(took []float64) float64 {
	if len(took) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(took))[len(took)*99/100]
}

// TestPace: a sweep rests while mail comes in, after each piece of work of some
// length, and not while none does.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rest, came := (&gateway.Gateway{}).Pace()
		rested := func() bool {
			begun := time.Now()
			rest()
			return time.Since(begun) > 0
		}
		for i, tt := range []struct {
			work time.Duration
			came int
			want bool
		}{{0, 0, false}, {3 * time.Millisecond, 0, false}, {3 * time.Millisecond, 1, true}, {time.Millisecond, 5, false}, {time.Millisecond, 0, true}, {time.Hour, 0, false}} {
			time.Sleep(tt.work)
			for range tt.came {
				came()
			}
			if got := rested(); got != tt.want {
				t.Errorf("%d: after %s of work and %d messages it rested: %v", i, tt.work, tt.came, got)
			}
		}
	})
}
