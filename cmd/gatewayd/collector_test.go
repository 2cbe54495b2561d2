package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 200, 1 << 20: 200, 12 << 20: 200, 13 << 20: 175, 16 << 20: 150, 20 << 20: 100, 24 << 20: 100, 1 << 40: 100} {
		if got := gcPercent(live); got != want {
			t.Errorf("of %d MiB: %d, want %d", live>>20, got, want)
		}
	}
}

// TestPaceCollector: with much alive the heap grows less, and more again when
// that is gone.
func TestPaceCollector(t *testing.T) {
	before := debug.SetGCPercent(gcMost)
	paceCollector()
	t.Cleanup(func() { debug.SetGCPercent(before) })
	ballast := make([][]byte, 64)
	for i := range ballast {
		ballast[i] = make([]byte, 1<<20)
	}
	becomes(t, gcLeast, gcLeast)
	runtime.KeepAlive(ballast)
	clear(ballast)
	becomes(t, gcLeast+gcStep, gcMost) // other tests may have left something
}

// becomes waits until a collection has led to a percentage from least to most.
func becomes(t *testing.T, least, most uint64) {
	t.Helper()
	got := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		runtime.GC()
		if metrics.Read(got); least <= got[0].Value.Uint64() && got[0].Value.Uint64() <= most {
			return
		}
	}
	t.Errorf("it is %d, want %d to %d, with %d MiB alive", got[0].Value.Uint64(), least, most, liveHeap()>>20)
}
