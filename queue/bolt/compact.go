package bolt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// When compacting is worth it: the file never shrinks by itself.
const (
	compactFrom  = 64 << 20 // octets of free pages
	compactShare = 2        // and at least one page in so many is free
	compactTx    = 1 << 20  // octets copied per transaction
)

// Compact rewrites the file without its free pages when they are at least 64 MiB
// and half of it. Readers go on, writers wait. The new file is on the disk before
// it takes the old one's name; a crash leaves the old one. It reports whether it was
// worth it.
func (s *Store) Compact(ctx context.Context) (bool, error) {
	stats, info := s.current().Stats(), s.current().Info()
	free := int64(stats.FreePageN+stats.PendingPageN) * int64(info.PageSize)
	st, err := os.Stat(s.o.Path)
	if err != nil {
		return false, fmt.Errorf("compact ledger: %w", err)
	}
	if free < compactFrom || free*compactShare < st.Size() {
		return false, nil
	}
	return true, s.CompactNow(ctx)
}

// CompactNow is Compact whatever it brings.
func (s *Store) CompactNow(ctx context.Context) error {
	if err := s.onCommitter(ctx, s.compact); err != nil {
		return fmt.Errorf("compact ledger: %w", err)
	}
	return nil
}

// compact runs on the committer: nothing is written meanwhile.
func (s *Store) compact() error {
	path := s.o.Path + ".compact"
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	var next *bbolt.DB
	err := guarded(func() (err error) {
		next, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: lockWait, FreelistType: bbolt.FreelistMapType, NoFreelistSync: noFreelistSync, InitialMmapSize: mmapSize, NoSync: true,
		})
		if err != nil {
			return err
		}
		if err := bbolt.Compact(next, s.db, compactTx); err != nil {
			return err
		}
		return next.Sync()
	})
	if err == nil {
		err = call(s.o.Hooks.BeforeSwap)
	}
	if err == nil {
		err = os.Rename(path, s.o.Path)
	}
	if err != nil {
		if next != nil {
			next.Close()
		}
		os.Remove(path)
		return err
	}
	next.NoSync = s.o.noSync
	s.swap.Lock()
	old := s.db
	s.db = next
	s.swap.Unlock()
	err = syncDir(filepath.Dir(s.o.Path))
	if e := old.Close(); err == nil { // waits for its readers
		err = e
	}
	if err == nil {
		err = call(s.o.Hooks.AfterSwap)
	}
	return err
}

// current returns the file that is open now.
func (s *Store) current() *bbolt.DB {
	s.swap.RLock()
	defer s.swap.RUnlock()
	return s.db
}

// beginTx starts a transaction on the file that is open now.
func (s *Store) beginTx(writable bool) (*bbolt.Tx, error) {
	s.swap.RLock()
	defer s.swap.RUnlock()
	return s.db.Begin(writable)
}
