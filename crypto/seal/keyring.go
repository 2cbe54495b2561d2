package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Family says which window a day key serves.
type Family string

// The two families of day keys.
const (
	Content Family = "content" // bodies, subjects, file names: at most two months (Vo E-GovG BL § 11 para. 1 lit. a)
	Log     Family = "log"     // addresses, states, receipts, audit lines: six months (lit. b)
)

// Errors that callers tell apart.
var (
	ErrDestroyed   = errors.New("key was destroyed")                                              // its window is over; it never comes back
	ErrNoKey       = errors.New("key does not exist")                                             // Lookup only
	ErrWrongMaster = errors.New("the master key does not fit, or the keyring's check is damaged") // nothing was changed
)

// A key file holds a mark and the wrapped key. Destroying overwrites all of it
// with goneMark and zeros before the file gets its other name.
const (
	keyMark  = "gwdkey1\n"
	goneMark = "gwdgone\n"
	keyLen   = 32
	fileLen  = len(keyMark) + keyLen + Overhead
	keyExt   = ".key"
	goneExt  = ".gone"
	check    = "master.check"
	maxName  = 64 // octets of an index key's name
)

// Keyring holds the day keys and index keys of one installation, wrapped by the
// master key, one file each. It may be used by several goroutines, and read by a
// second process; Rotate refuses as long as anybody has it open.
type Keyring struct {
	dir    string
	master cipher.AEAD

	mu    sync.RWMutex
	aeads map[dayKey]cipher.AEAD
	index map[string][]byte

	doomed map[string]time.Time // since when

	lock *os.File // shared; held as long as the keyring lives
}

// dayKey names a day key.
type dayKey struct {
	family Family
	day    string
}

// Open opens the keyring in dir and creates it if dir is empty or absent. master
// has 32 octets. ErrWrongMaster when another master key made this keyring.
func Open(dir string, master []byte) (*Keyring, error) {
	if len(master) != keyLen {
		return nil, fmt.Errorf("keyring: the master key has %d octets, it must have %d", len(master), keyLen)
	}
	aead, err := newGCM(master)
	if err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	k := &Keyring{dir: dir, master: aead, aeads: map[dayKey]cipher.AEAD{}, index: map[string][]byte{}, doomed: map[string]time.Time{}}
	if err := k.holdOpen(); err != nil {
		return nil, fmt.Errorf("keyring %s: %w", dir, err)
	}
	if err := k.begin(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

func (k *Keyring) begin() error {
	if err := k.verifyMaster(); err != nil {
		return fmt.Errorf("keyring %s: %w", k.dir, err)
	}
	if err := k.finishDestroying(); err != nil {
		return err
	}
	return k.readDoomed()
}

// Close lets Rotate have the keyring. Ciphers that were given out go on working.
func (k *Keyring) Close() error { return k.lock.Close() }

// verifyMaster opens the sealed check word, or seals it in a new keyring.
func (k *Keyring) verifyMaster() error {
	if err := opensCheck(k.master, k.dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	old, err := keyFiles(k.dir, "")
	if err != nil {
		return err
	}
	if len(old) > 0 {
		return fmt.Errorf("there are keys, but %s is missing: restore it from where the keys came", check)
	}
	if err := k.create(check, SealRecord(k.master, []byte("gatewayd"), []byte(check))); errors.Is(err, fs.ErrExist) {
		return k.verifyMaster() // another process was faster
	} else if err != nil {
		return err
	}
	return nil
}

// Ensure creates the key of that family and day if it is absent, durably.
// ErrDestroyed if it existed once and was destroyed.
func (k *Keyring) Ensure(f Family, day string) error {
	_, err := k.AEAD(f, day)
	return err
}

// AEAD returns the cipher of that family and day and creates the key if it is
// absent, durably. ErrDestroyed if it existed once and was destroyed.
func (k *Keyring) AEAD(f Family, day string) (cipher.AEAD, error) { return k.aead(f, day, true) }

// Lookup returns the cipher of that family and day for reading: it never creates
// a key, so that a lost one is noticed. ErrNoKey, ErrDestroyed.
func (k *Keyring) Lookup(f Family, day string) (cipher.AEAD, error) { return k.aead(f, day, false) }

func (k *Keyring) aead(f Family, day string, create bool) (cipher.AEAD, error) {
	k.mu.RLock()
	aead := k.aeads[dayKey{f, day}] // a hot path: names are made and checked below only
	k.mu.RUnlock()
	if aead != nil {
		return aead, nil
	}
	name, err := keyName(f, day)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if aead := k.aeads[dayKey{f, day}]; aead != nil {
		return aead, nil
	}
	if _, doomed := k.doomed[name]; doomed {
		return nil, fmt.Errorf("key %s: %w", name, errDoomed)
	}
	key, err := k.load(name, create)
	if err != nil {
		return nil, err
	}
	if aead, err = newGCM(key); err != nil {
		return nil, err
	}
	k.aeads[dayKey{f, day}] = aead
	return aead, nil
}

// Destroy overwrites the key of that family and day, forces that to the disk and
// leaves a tombstone under another name, so that the key is never made again. It
// needs no free space. A key that never existed gets its tombstone too. Who
// holds the AEAD must let go of it first. What survives on the medium itself
// (blocks that an SSD or a copy-on-write file system moved, backups of the key
// file) is beyond software.
func (k *Keyring) Destroy(f Family, day string) error {
	name, err := keyName(f, day)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.aeads, dayKey{f, day})
	path := filepath.Join(k.dir, name+keyExt)
	_, err = os.Stat(path)
	switch {
	case err == nil:
		if err := k.bury(path); err != nil {
			return err
		}
		return k.spare(name)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("key %s: %w", name, err)
	}
	if err := k.create(name+goneExt, tombstone()); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("key %s: %w", name, err)
	}
	return k.spare(name)
}

// bury turns a key file into a tombstone. A crash in between is finished by the
// next Open or Destroy.
func (k *Keyring) bury(path string) error {
	name := strings.TrimSuffix(filepath.Base(path), keyExt)
	if err := overwrite(path, tombstone()); err != nil {
		return fmt.Errorf("overwrite key %s: %w", name, err)
	}
	if err := os.Rename(path, filepath.Join(k.dir, name+goneExt)); err != nil {
		return fmt.Errorf("bury key %s: %w", name, err)
	}
	return syncDir(k.dir)
}

func tombstone() []byte { return append([]byte(goneMark), make([]byte, fileLen-len(goneMark))...) }

// finishDestroying renames keys that were overwritten just before a crash.
func (k *Keyring) finishDestroying() error {
	names, err := keyFiles(k.dir, "")
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(k.dir, name+keyExt)
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("keyring: %w", err)
		}
		if bytes.Equal(text, tombstone()) {
			if err := k.bury(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// Days returns the days of that family whose key exists, ascending.
func (k *Keyring) Days(f Family) []string {
	names, err := keyFiles(k.dir, string(f)+"-")
	if err != nil {
		return nil
	}
	var days []string
	for _, name := range names {
		if day := strings.TrimPrefix(name, string(f)+"-"); ValidDay(day) {
			days = append(days, day)
		}
	}
	return days // os.ReadDir sorts
}

// keyFiles lists the key files with that prefix, without extension, in order.
func keyFiles(dir, prefix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), keyExt); ok && strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, nil
}

// IndexKey returns the 32 octets under which lookups of one authority are hashed;
// the name "" is the gateway itself. The key is created on first use, durably.
func (k *Keyring) IndexKey(name string) ([]byte, error) {
	if len(name) > maxName {
		return nil, fmt.Errorf("index key: the name has %d octets, at most %d", len(name), maxName)
	}
	file := "index-" + hex.EncodeToString([]byte(name))
	k.mu.Lock()
	defer k.mu.Unlock()
	if key := k.index[file]; key != nil {
		return slices.Clone(key), nil
	}
	key, err := k.load(file, true)
	if err != nil {
		return nil, err
	}
	k.index[file] = key
	return slices.Clone(key), nil
}

// load reads and unwraps a key file, or makes the key.
func (k *Keyring) load(name string, create bool) ([]byte, error) {
	key, err := k.read(name)
	if !create || !errors.Is(err, ErrNoKey) {
		return key, err
	}
	key = make([]byte, keyLen)
	rand.Read(key)
	err = k.create(name+keyExt, append([]byte(keyMark), SealRecord(k.master, key, []byte(name))...))
	if errors.Is(err, fs.ErrExist) {
		return k.read(name) // another process was faster
	}
	if err != nil {
		return nil, fmt.Errorf("create key %s: %w", name, err)
	}
	return key, nil
}

func (k *Keyring) read(name string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(k.dir, name+keyExt))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err := os.Stat(filepath.Join(k.dir, name+goneExt))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("key %s: %w", name, ErrNoKey)
		}
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", name, err)
		}
		return nil, fmt.Errorf("key %s: %w", name, ErrDestroyed)
	case err != nil:
		return nil, fmt.Errorf("key %s: %w", name, err)
	case bytes.Equal(text, tombstone()):
		return nil, fmt.Errorf("key %s: %w", name, ErrDestroyed)
	case len(text) != fileLen || string(text[:len(keyMark)]) != keyMark:
		return nil, fmt.Errorf("key %s: %w", name, ErrCorrupt)
	}
	key, err := OpenRecord(k.master, text[len(keyMark):], []byte(name))
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	return key, nil
}

// create writes a file that appears whole or not at all and is on the disk when
// create returns; fs.ErrExist if the name is taken.
func (k *Keyring) create(name string, text []byte) error {
	f, err := os.CreateTemp(k.dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), filepath.Join(k.dir, name)); err != nil {
		return err
	}
	return syncDir(k.dir)
}

// keyName is the file name without extension; it is also what the wrapped key is
// bound to.
func keyName(f Family, day string) (string, error) {
	if f != Content && f != Log {
		return "", fmt.Errorf("keyring: unknown family %q", f)
	}
	if !ValidDay(day) {
		return "", fmt.Errorf("keyring: %q is not a day", day)
	}
	return string(f) + "-" + day, nil
}

// ValidDay reports whether s is a day as it stands in file names: 2006-01-02.
func ValidDay(s string) bool {
	t, err := time.Parse(time.DateOnly, s)
	return err == nil && t.Format(time.DateOnly) == s
}

// overwrite replaces the octets of a file in place.
func overwrite(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(text, 0); err == nil {
		err = f.Truncate(int64(len(text)))
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}
