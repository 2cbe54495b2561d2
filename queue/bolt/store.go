package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"gatewayd/crypto/seal"
	"gatewayd/message"
	"gatewayd/queue"
)

// mmapSize is reserved as address space, so that growth below it never has to
// wait for readers.
const mmapSize = 1 << 30

// noFreelistSync is off: without a list of free pages in the file, opening it
// reads every page (200,000 messages: 0.7 s in memory against 1 ms), and a start
// must not depend on how much is stored.
const noFreelistSync = false

// lockWait is how long Open waits for another process to let go of the file.
const lockWait = time.Second

// Hooks lets tests fail or stop at the dangerous moments. An error of
// BeforeCommit rolls back; one of AfterCommit is returned although the commit
// is durable. The same holds for the swap, when a compacted file takes the old
// one's name.
type Hooks struct {
	BeforeCommit func() error
	AfterCommit  func() error
	BeforeSwap   func() error
	AfterSwap    func() error
}

// Options of Open.
type Options struct {
	Path   string                 // the file; its folder must exist
	Keys   *seal.Keyring          // log keys and index keys
	LogDay func(time.Time) string // the log window of what happens at an instant (retention.Windows.LogDay)
	Now    func() time.Time       // for events and receipts that carry no time
	// Damaged, which may be nil, hears once of each item that cannot be read
	// and is therefore passed over. It must not block or call the store.
	Damaged func(problem string)
	Hooks   Hooks
	noSync  bool // tests only: the property tests would measure the disk
}

// Store is a queue.Store in one bbolt file.
type Store struct {
	o       Options
	swap    sync.RWMutex // of db, when it is compacted
	db      *bbolt.DB
	hashes  hashes
	dests   *dests
	ops     chan *op
	alone   chan *op // what runs on the committer without a transaction
	closing chan struct{}
	stopped chan struct{}
	close   func() error

	decisions decisions

	mu      sync.Mutex
	damaged map[message.ItemKey]bool
}

// Open opens the ledger and creates it if there is none. It fails within a
// second when another process has it open, and clearly when the file is
// truncated, belongs to other keys or has another version.
func Open(o Options) (*Store, error) {
	if o.Keys == nil || o.LogDay == nil || o.Now == nil {
		return nil, errors.New("open ledger: keys, log day and clock are needed")
	}
	if err := checkSize(o.Path); err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", o.Path, err)
	}
	_, err := os.Stat(o.Path)
	fresh := errors.Is(err, fs.ErrNotExist)
	db, err := bbolt.Open(o.Path, 0o600, &bbolt.Options{
		Timeout: lockWait, FreelistType: bbolt.FreelistMapType, NoFreelistSync: noFreelistSync, InitialMmapSize: mmapSize, NoSync: o.noSync,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open ledger %s: another process has it open", o.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", o.Path, err)
	}
	s := &Store{o: o, db: db, hashes: newHashes(o.Keys), dests: newDests(), ops: make(chan *op), alone: make(chan *op), closing: make(chan struct{}), stopped: make(chan struct{}), damaged: map[message.ItemKey]bool{}}
	if err := s.prepare(fresh); err != nil {
		db.Close()
		return nil, fmt.Errorf("open ledger %s: %w", o.Path, err)
	}
	s.close = sync.OnceValue(s.shut)
	go s.run()
	return s, nil
}

// prepare creates what a new file needs and refuses a foreign one.
func (s *Store) prepare(fresh bool) error {
	if fresh {
		if err := syncDir(filepath.Dir(s.o.Path)); err != nil {
			return err
		}
	}
	if err := s.update(s.create); err != nil {
		return err
	}
	return s.view(context.Background(), func(tx *bbolt.Tx) error {
		s.dests.load(tx)
		return nil
	})
}

// Close waits for the commit that runs, and closes the file.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	close(s.closing)
	<-s.stopped
	return s.db.Close()
}

// view reads a consistent state of the ledger.
func (s *Store) view(ctx context.Context, fn func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return guarded(func() error {
		tx, err := s.beginTx(false)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // a read ends
		return fn(tx)
	})
}

// errNothing ends a transaction that has nothing to commit.
var errNothing = errors.New("nothing to commit")

// update runs one write transaction. Only the committer calls it, and prepare
// before there is one.
func (s *Store) update(fn func(*bbolt.Tx) error) error {
	err := guarded(func() error {
		tx, err := s.beginTx(true)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // without effect after Commit
		if err := fn(tx); err != nil {
			return err
		}
		if err := call(s.o.Hooks.BeforeCommit); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		return call(s.o.Hooks.AfterCommit)
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

func call(hook func() error) error {
	if hook == nil {
		return nil
	}
	return hook()
}

// guarded turns what bbolt throws at a damaged file into an error: its own
// panics, and the fault of a mapped page that is no longer in the file. The
// other errors get the ledger's names.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("ledger file is damaged: %v", r)
		}
	}()
	err = fn()
	switch {
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return queue.ErrClosed
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, bolterrors.ErrMaxSizeReached):
		return fmt.Errorf("%w: %w", queue.ErrFull, err)
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
