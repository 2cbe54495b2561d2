package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// How far the heap may grow, in percent of what lives, before it is cleaned. A
// small heap may grow to three times: half the work of the collector for some
// megabytes. What many open messages take is not worth that.
const (
	gcMost  = 200
	gcLeast = 100
	gcStep  = 25
	gcRoom  = 24 << 20 // octets that the heap may always grow by, within gcMost
)

// gcPercent returns the percentage for a heap of which so many octets live.
func gcPercent(live uint64) int {
	if live == 0 {
		return gcMost
	}
	most := min(gcRoom*100/live, gcMost)
	return max(int(most)/gcStep*gcStep, gcLeast) //nolint:gosec // at most gcMost
}

// paceCollector sets the percentage now and after each collection.
func paceCollector() {
	set := gcMost
	debug.SetGCPercent(set)
	eachCollection(func() {
		if want := gcPercent(liveHeap()); want != set {
			set = want
			debug.SetGCPercent(set)
		}
	})
}

// liveHeap is what the last collection has found alive.
func liveHeap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}

// eachCollection calls fn after each collection: something that is dropped at
// once is found by the next one.
func eachCollection(fn func()) {
	dropped := new([64]byte)
	runtime.AddCleanup(dropped, func(struct{}) {
		fn()
		eachCollection(fn)
	}, struct{}{})
}
