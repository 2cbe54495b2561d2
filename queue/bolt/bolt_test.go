package bolt_test

import (
	"path/filepath"
	"testing"
	"time"

	"gatewayd/crypto/seal"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/queue/storetest"
)

// options returns the options of a ledger in dir, with keys beside it.
func options(t testing.TB, dir string) bolt.Options {
	t.Helper()
	keys, err := seal.Open(filepath.Join(dir, "keys"), make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return bolt.Options{Path: filepath.Join(dir, "ledger.db"), Keys: keys, LogDay: storetest.LogDay, Now: func() time.Time { return storetest.Now() }}
}

func TestStore(t *testing.T) {
	shared := options(t, t.TempDir()).Keys // making keys costs syncs
	storetest.Run(t, func(t *testing.T) queue.Store {
		o := options(t, t.TempDir())
		o.Keys = shared
		o.Damaged = func(p string) { t.Errorf("damaged: %s", p) }
		s, err := bolt.Open(bolt.Unsynced(o))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
