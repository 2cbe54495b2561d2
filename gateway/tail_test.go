package gateway_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"gatewayd/message"
	"gatewayd/queue"
)

// indexing notes when batches came into the ledger, and how large they were.
type indexing struct {
	queue.Store
	mu      sync.Mutex
	at      []time.Time
	records int
}

func (i *indexing) IndexAndLease(ctx context.Context, accepted []queue.Accepted, marks map[uint64]int64, now time.Time, take func(message.Item) bool) ([]queue.Leased, error) {
	i.mu.Lock()
	i.at = append(i.at, time.Now())
	i.records += len(accepted)
	i.mu.Unlock()
	return i.Store.IndexAndLease(ctx, accepted, marks, now, take)
}

func (i *indexing) taken() (records int, at []time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.records, append([]time.Time(nil), i.at...)
}

// TestIndexPace: the mail of a busy session shares commits of the ledger, which
// keep their distance; what comes after a pause is taken at once.
func TestIndexPace(t *testing.T) {
	t.Parallel()
	const pace = 10 * time.Millisecond
	var store *indexing
	r := newRig(t, rigOptions{wrap: func(s queue.Store) queue.Store {
		store = &indexing{Store: s}
		return store
	}})
	const n = 200
	for i := range n {
		r.send("Anfrage "+strconv.Itoa(i), "a@example.net")
	}
	r.until("indexed", func() bool { records, _ := store.taken(); return records == n })
	_, at := store.taken()
	if took := at[len(at)-1].Sub(at[0]); len(at) > int(took/pace)+3 {
		t.Errorf("%d batches in %v", len(at), took)
	}
	soonest := time.Hour
	for range 20 {
		time.Sleep(3 * pace)
		r.send("Einzeln", "a@example.net")
		begun := time.Now()
		before := len(at)
		r.until("indexed", func() bool { _, at = store.taken(); return len(at) > before })
		soonest = min(soonest, at[before].Sub(begun))
	}
	if soonest > pace/2 {
		t.Errorf("a lone message waits %v at least", soonest)
	}
}
