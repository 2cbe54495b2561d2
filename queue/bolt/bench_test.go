package bolt_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/queue/storetest"
)

// prefilled opens a ledger with that many messages of one recipient each, in
// Waiting but not due. GATEWAYD_LEDGER_ITEMS sets the number.
func prefilled(b *testing.B) (*bolt.Store, uint64) {
	b.Helper()
	n, _ := strconv.ParseUint(os.Getenv("GATEWAYD_LEDGER_ITEMS"), 10, 32)
	o := options(b, b.TempDir())
	s, err := bolt.Open(bolt.Unsynced(o))
	if err != nil {
		b.Fatal(err)
	}
	for i := uint64(0); i < n; i += 500 {
		index(b, s, i, 500, storetest.Now().AddDate(0, 0, 3), 1)
		if err := s.Forget(context.Background(), head(b, s)); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	if s, err = bolt.Open(o); err != nil {
		b.Fatal(err)
	}
	if n > 0 {
		info, err := os.Stat(o.Path)
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%d messages: %d bytes each, open in %v", n, info.Size()/int64(n), time.Since(start)) //nolint:gosec // small
	}
	b.Cleanup(func() { s.Close() })
	return s, n
}

func head(b *testing.B, s *bolt.Store) uint64 {
	b.Helper()
	seq, _, err := s.Head(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	return seq
}

func index(b *testing.B, s *bolt.Store, from uint64, n int, next time.Time, recipients int) {
	b.Helper()
	batch := make([]queue.Accepted, n)
	for i := range batch {
		batch[i] = storetest.Accepted(from+uint64(i), recipients) //nolint:gosec // small
		if !next.IsZero() {
			batch[i].Items[0].NextTry = next
		}
	}
	if err := s.Index(context.Background(), batch, map[uint64]int64{1: int64(from)}); err != nil { //nolint:gosec // small
		b.Fatal(err)
	}
}

// BenchmarkIndex takes accepted messages over, in batches as the tail does.
func BenchmarkIndex(b *testing.B) {
	for _, size := range []int{1, 100, 512} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, seed := prefilled(b)
			for b.Loop() {
				index(b, s, seed, size, time.Time{}, 1)
				seed += uint64(size) //nolint:gosec // small
			}
			b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkLeaseApply leases items as the delivery loop does, up to the number
// of free workers at a time, and settles each from its worker.
func BenchmarkLeaseApply(b *testing.B) {
	for _, workers := range []int{1, 20} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			s, seed := prefilled(b)
			for done := 0; done < b.N; done += 500 {
				index(b, s, seed, 500, time.Time{}, 1)
				seed += 500
			}
			now := storetest.Now().AddDate(0, 0, 2)
			free := make(chan struct{}, workers)
			var wg sync.WaitGroup
			b.ResetTimer()
			for done := 0; done < b.N; {
				free <- struct{}{}
				items, err := s.Lease(context.Background(), now, workers-len(free)+1, nil)
				if err != nil {
					b.Fatal(err)
				}
				for i, l := range items {
					if i > 0 {
						free <- struct{}{}
					}
					wg.Go(func() {
						settle(b, s, l.Item, now)
						<-free
					})
				}
				done += len(items)
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
		})
	}
}

func settle(b *testing.B, s *bolt.Store, item message.Item, now time.Time) {
	item.State, item.NextTry = message.Done, time.Time{}
	if err := s.Apply(context.Background(), queue.Change{
		Items:  []message.Item{item},
		Events: []message.Event{{At: now, Kind: message.EventHanded, Message: item.Key.Message}},
	}); err != nil {
		b.Error(err)
	}
}

// BenchmarkFind looks up one item by its Message-ID.
func BenchmarkFind(b *testing.B) {
	s, seed := prefilled(b)
	index(b, s, seed, 500, time.Time{}, 1)
	q := queue.Query{Authority: "bau", MessageID: storetest.Accepted(seed+7, 1).Envelope.MessageID}
	for b.Loop() {
		if items, _, err := s.Find(context.Background(), q); err != nil || len(items) != 1 {
			b.Fatalf("Find = %d, %v", len(items), err)
		}
	}
}

// BenchmarkPurge erases a log day: messages that were delivered, with their
// events, which the day files have already.
func BenchmarkPurge(b *testing.B) {
	const n = 20_000
	for b.Loop() {
		b.StopTimer()
		s, err := bolt.Open(bolt.Unsynced(options(b, b.TempDir())))
		if err != nil {
			b.Fatal(err)
		}
		for i := uint64(0); i < n; i += 500 {
			index(b, s, i, 500, time.Time{}, 1)
		}
		now := storetest.Now().AddDate(0, 0, 2)
		for {
			items, err := s.Lease(context.Background(), now, 500, nil)
			if err != nil {
				b.Fatal(err)
			}
			if len(items) == 0 {
				break
			}
			change := queue.Change{}
			for _, l := range items {
				item := l.Item
				item.State, item.NextTry = message.Done, time.Time{}
				change.Items = append(change.Items, item)
				change.Events = append(change.Events, message.Event{At: now, Kind: message.EventHanded, Message: item.Key.Message})
			}
			if err := s.Apply(context.Background(), change); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Forget(context.Background(), head(b, s)); err != nil {
			b.Fatal(err)
		}
		day := storetest.LogDay(storetest.Accepted(n, 1).Envelope.Received)
		b.StartTimer()
		if err := s.Purge(context.Background(), day); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if w, err := s.WindowOf(context.Background(), day); err != nil || w.Items > 0 {
			b.Fatal(w, err)
		}
		s.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/n/float64(b.N), "µs/message")
}
