package vault

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gatewayd/crypto/seal"
)

// Errors that callers tell apart. Every other error is temporary.
var (
	ErrFull   = errors.New("no space left for mail") // ENOSPC or EDQUOT: nothing was stored
	ErrClosed = errors.New("vault is closed")
	ErrGone   = errors.New("body was erased")              // its slot, its day key or its folder is gone
	ErrLocked = errors.New("in use by another process")    // Open only
	ErrUsed   = errors.New("body is unfinished or stored") // Accept only: Finish comes first, and a body enters once

	// ErrCorrupt is returned for frames and bodies that were damaged or changed.
	ErrCorrupt = seal.ErrCorrupt
)

// Defaults of Options.
const (
	DefaultLargeBody   = 256 << 10
	DefaultSegmentSize = 64 << 20
	DefaultMemory      = 32 << 20
)

// lockWait is how long Open waits for a process that is just ending.
const lockWait = 500 * time.Millisecond

// Options configures a vault.
type Options struct {
	Dir         string        // folder of the vault; created if absent
	Keys        *seal.Keyring // day keys
	LargeBody   int64         // sealed bodies of that many octets or more get a file of their own; 0: 256 KiB
	SegmentSize int64         // a segment is closed once it has that many octets; 0: 64 MiB
	Memory      int64         // octets of bodies that may wait in memory, all together; 0: 32 MiB
	SlowSync    time.Duration // when a sync takes so long, several groups are written at once; 0: 1 ms
	Hooks       Hooks         // failpoints for tests

	// Over, which may be nil, tells that bodies of that family and day may no
	// longer be read, although their key is still there: OpenBody answers ErrGone.
	Over func(f seal.Family, day string) bool
}

// Vault is an open vault. All methods may be called from several goroutines.
type Vault struct {
	o    Options
	disk disk
	lock *os.File

	inMemory atomic.Int64 // octets of bodies that wait in memory

	mu      sync.Mutex
	work    *sync.Cond // something waits, or closed: for the first writer
	more    *sync.Cond // the same for the others
	waiting []*request
	closed  bool
	days    map[string]bool     // folders known to be durable
	open    map[uint64]*segment // of all writers
	failed  map[uint64]int64    // abandoned segments and where they end
	report  Report
	cuts    map[string][]cut // abandoned segments that no durable cut frame names yet
	// syncTime is how long a sync takes, on the average of the last ones.
	syncTime time.Duration

	writers []*writer
	ended   sync.WaitGroup // of the writers
	writing sync.RWMutex   // held by whoever writes a group; alone, by whoever takes a day away

	dropping sync.RWMutex // held by whoever lets bodies and records go; shared, by whoever reads segments through

	numbers  sync.Mutex
	next     uint64 // the next segment's number
	reserved uint64 // numbers up to here are in the file "next"
}

// Open opens the vault in o.Dir, takes its lock (ErrLocked when another process
// keeps it for half a second) and recovers what a crash left; see the package
// comment. Recovered tells what was found.
func Open(o Options) (*Vault, error) {
	if o.LargeBody <= 0 {
		o.LargeBody = DefaultLargeBody
	}
	if o.SegmentSize <= 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	if o.SlowSync <= 0 {
		o.SlowSync = defaultSlowSync
	}
	if o.Memory <= 0 {
		o.Memory = DefaultMemory
	}
	v := &Vault{
		o: o, disk: disk{o.Hooks}, days: map[string]bool{}, open: map[uint64]*segment{}, failed: map[uint64]int64{},
		cuts: map[string][]cut{},
	}
	v.work, v.more = sync.NewCond(&v.mu), sync.NewCond(&v.mu)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	if err := v.disk.syncDir(filepath.Dir(o.Dir)); err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	if err := v.takeLock(); err != nil {
		return nil, fmt.Errorf("vault %s: %w", o.Dir, err)
	}
	if err := v.recover(); err != nil {
		v.lock.Close()
		return nil, fmt.Errorf("vault %s: %w", o.Dir, err)
	}
	for i := range maxWriters {
		w := &writer{v: v, first: i == 0, open: map[string]*segment{}}
		v.writers = append(v.writers, w)
		v.ended.Go(w.write)
	}
	return v, nil
}

func (v *Vault) takeLock() error {
	const step = 50 * time.Millisecond
	for waited := time.Duration(0); ; waited += step {
		f, err := lock(filepath.Join(v.o.Dir, "lock"))
		if err == nil {
			v.lock = f
			return nil
		}
		if !errors.Is(err, ErrLocked) || waited >= lockWait {
			return err
		}
		time.Sleep(step)
	}
}

// Recovered tells what Open, and Replay since, found damaged.
func (v *Vault) Recovered() Report {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.report
	r.Damaged = append([]Damage(nil), r.Damaged...)
	return r
}

// Space is what the disk has left for an ordinary process.
type Space struct {
	Bytes  uint64
	Inodes uint64 // math.MaxUint64 where the file system does not count them
}

// Free asks the file system.
func (v *Vault) Free() (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(v.o.Dir, &st); err != nil {
		return Space{}, fmt.Errorf("vault %s: statfs: %w", v.o.Dir, err)
	}
	free := Space{Bytes: st.Bavail * uint64(st.Bsize), Inodes: st.Ffree} //nolint:gosec // a block size
	if st.Files == 0 {
		free.Inodes = math.MaxUint64
	}
	return free, nil
}

// Close waits for the records that are being written, closes every segment in
// order and gives the lock back. Accept fails with ErrClosed from now on.
func (v *Vault) Close() error {
	v.mu.Lock()
	again := v.closed
	v.closed = true
	v.work.Broadcast()
	v.more.Broadcast()
	v.mu.Unlock()
	v.ended.Wait()
	if again {
		return nil
	}
	return v.lock.Close()
}

// dayDir returns the folder of a day and makes it durable on first use.
func (v *Vault) dayDir(day string) (string, error) {
	path := filepath.Join(v.o.Dir, day)
	v.mu.Lock()
	known := v.days[day]
	v.mu.Unlock()
	if known {
		return path, nil
	}
	if err := v.disk.makeDir(path); err != nil {
		return "", diskError("folder "+day, err)
	}
	v.mu.Lock()
	v.days[day] = true
	v.mu.Unlock()
	return path, nil
}

// limits returns how far segments may be read that are not closed in order: what
// lies behind is not durable, or was given up.
func (v *Vault) limits() map[uint64]int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := maps.Clone(v.failed)
	for _, s := range v.open {
		m[s.num] = s.synced
	}
	return m
}
