package vault

import (
	"sync"
	"testing"
	"time"
)

// TestTakeRobbed: while the first writer lets others join, another writer may
// take everything. The first goes on waiting: if it ended, nobody would write
// any more as long as syncs are fast.
func TestTakeRobbed(t *testing.T) {
	robbed := 0
	for range 2000 {
		v := &Vault{o: Options{SlowSync: time.Hour}}
		v.work, v.more = sync.NewCond(&v.mu), sync.NewCond(&v.mu)
		w := &writer{v: v, first: true}
		took := make(chan int, 1)
		v.mu.Lock()
		v.waiting = []*request{{}}
		go func() { took <- len(w.take()) }()
		thief := make(chan bool, 1)
		go func() {
			v.mu.Lock()
			defer v.mu.Unlock()
			thief <- len(v.waiting) > 0
			v.waiting = nil
		}()
		v.mu.Unlock()
		if !<-thief {
			<-took
			continue
		}
		robbed++
		v.mu.Lock()
		v.waiting = []*request{{}, {}}
		v.work.Signal()
		v.mu.Unlock()
		if n := <-took; n == 0 {
			t.Fatal("the first writer takes the vault for closed")
		}
	}
	t.Logf("robbed %d times", robbed)
}
