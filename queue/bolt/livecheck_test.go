package bolt_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/queue/storetest"
)

// TestCheckWhileWritten: a commit while the file is checked is no damage.
func TestCheckWhileWritten(t *testing.T) {
	t.Parallel()
	s, err := bolt.Open(bolt.Unsynced(options(t, t.TempDir())))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var done atomic.Bool
	ended := make(chan error, 1)
	go func() {
		for n := uint64(1); !done.Load(); n++ {
			if err := s.Index(context.Background(), []queue.Accepted{storetest.Accepted(n, 1)}, nil); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		if err := s.Check(context.Background(), func(p string) { t.Errorf("problem: %s", p) }); err != nil {
			t.Fatal(err)
		}
	}
	done.Store(true)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
