package seal

import (
	"bytes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrBusy is returned while the keyring is open elsewhere, or its master key is
// being changed.
var ErrBusy = errors.New("the keyring is in use: stop the gateway first")

// nextDir is where a rotation lays the keys, wrapped by the new master key. As long
// as its check lies there, too, the old master key counts; from when the check has
// taken its place in the keyring on the new one does, and the rest only has to
// follow.
const nextDir = "next"

// rotatedMark begins a key file that the rotation has overwritten: its successor
// lies in nextDir until it takes this place.
const rotatedMark = "gwdnext\n"

// Rotate wraps every key of the keyring in dir, which the master key was has
// wrapped, by the master key now, and returns how many there are. Nothing that
// was sealed under these keys is touched. ErrBusy when the keyring is open.
//
// A crash leaves the keyring to one of the two master keys, never to none; calling
// Rotate again, or Open with the right one, does the rest. Afterwards the old one
// opens nothing more in dir, but still what copies of dir survive elsewhere:
// backups, and blocks that an SSD has moved.
func Rotate(dir string, was, now []byte) (int, error) {
	r, err := newRotation(dir, was, now)
	if err != nil {
		return 0, err
	}
	return r.run()
}

type rotation struct {
	dir      string
	was, now cipher.AEAD
	step     func(string) error // asked before each change; tests only
}

func newRotation(dir string, was, now []byte) (*rotation, error) {
	if len(was) != keyLen || len(now) != keyLen {
		return nil, fmt.Errorf("keyring: a master key has %d octets", keyLen)
	}
	if bytes.Equal(was, now) {
		return nil, errors.New("keyring: both master keys are the same")
	}
	r := &rotation{dir: dir, step: func(string) error { return nil }}
	var err error
	if r.was, err = newGCM(was); err != nil {
		return nil, err
	}
	r.now, err = newGCM(now)
	return r, err
}

func (r *rotation) run() (n int, err error) {
	lock, err := holdDir(r.dir, unix.LOCK_EX)
	if err != nil {
		return 0, fmt.Errorf("keyring %s: %w", r.dir, err)
	}
	defer lock.Close()
	switch err := opensCheck(r.now, r.dir); {
	case err == nil: // a rotation that was cut off when it only had to be finished
		return r.count(finishRotation(r.dir, r.step))
	case !errors.Is(err, ErrWrongMaster):
		return 0, fmt.Errorf("keyring %s: %w", r.dir, err)
	}
	if err := opensCheck(r.was, r.dir); err != nil {
		return 0, fmt.Errorf("keyring %s: %w", r.dir, err)
	}
	if err := finishRotation(r.dir, r.step); err != nil { // one that was cut off before
		return 0, err
	}
	if err := r.prepare(); err != nil {
		return 0, fmt.Errorf("change master key: %w", err)
	}
	if err := r.commit(); err != nil {
		return 0, fmt.Errorf("change master key: %w", err)
	}
	return r.count(finishRotation(r.dir, r.step))
}

func (r *rotation) count(err error) (int, error) {
	names, err2 := keyFiles(r.dir, "")
	return len(names), errors.Join(err, err2)
}

// prepare lays every key into nextDir, beginning with the check.
func (r *rotation) prepare() error {
	next := &Keyring{dir: filepath.Join(r.dir, nextDir), master: r.now}
	if err := r.step("mkdir"); err != nil {
		return err
	}
	if err := os.Mkdir(next.dir, 0o700); err != nil {
		return err
	}
	if err := syncDir(r.dir); err != nil {
		return err
	}
	if err := r.step(check); err != nil {
		return err
	}
	if err := next.create(check, SealRecord(r.now, []byte("gatewayd"), []byte(check))); err != nil {
		return err
	}
	old := &Keyring{dir: r.dir, master: r.was}
	names, err := keyFiles(r.dir, "")
	if err != nil {
		return err
	}
	for _, name := range names {
		key, err := old.read(name)
		if errors.Is(err, ErrDestroyed) {
			continue // overwritten just before a crash: Open buries it
		}
		if err != nil {
			return err
		}
		if err := r.step(name); err != nil {
			return err
		}
		if err := next.create(name+keyExt, append([]byte(keyMark), SealRecord(r.now, key, []byte(name))...)); err != nil {
			return err
		}
		if again, err := next.read(name); err != nil || !bytes.Equal(again, key) {
			return fmt.Errorf("key %s does not read back: %w", name, errors.Join(err, ErrCorrupt))
		}
	}
	return nil
}

// commit makes the new master key the one that counts.
func (r *rotation) commit() error {
	if err := r.step("commit"); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(r.dir, nextDir, check), filepath.Join(r.dir, check)); err != nil {
		return err
	}
	return errors.Join(syncDir(r.dir), syncDir(filepath.Join(r.dir, nextDir)))
}

// finishRotation brings what a rotation has left to its end: back if its check
// still lies beside the new keys, else forward. The lock must be held alone.
func finishRotation(dir string, step func(string) error) error {
	next := filepath.Join(dir, nextDir)
	entries, err := os.ReadDir(next)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	_, err = os.Stat(filepath.Join(next, check))
	back := err == nil
	for _, e := range entries {
		name, isKey := strings.CutSuffix(e.Name(), keyExt)
		if e.Name() == check {
			continue // last: as long as it is here, the way is back
		}
		if err := step("finish " + e.Name()); err != nil {
			return err
		}
		if err := finishOne(dir, e.Name(), isKey && !back); err != nil {
			return fmt.Errorf("change master key: key %s: %w", name, err)
		}
	}
	if err := errors.Join(syncDir(next), syncDir(dir), step("check")); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(next, check)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keyring: %w", err)
	}
	if err := step("rmdir"); err != nil {
		return err
	}
	if err := os.Remove(next); err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	return syncDir(dir)
}

// finishOne removes a file of nextDir, or puts it in the place of its predecessor,
// which is overwritten before: what the old master key had wrapped shall not
// survive in freed blocks.
func finishOne(dir, file string, forward bool) error {
	from, to := filepath.Join(dir, nextDir, file), filepath.Join(dir, file)
	if !forward {
		return os.Remove(from)
	}
	if err := overwrite(to, append([]byte(rotatedMark), make([]byte, fileLen-len(rotatedMark))...)); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// opensCheck returns nil if that master key has sealed the check of the keyring in
// dir, ErrWrongMaster if another one has.
func opensCheck(master cipher.AEAD, dir string) error {
	sealed, err := os.ReadFile(filepath.Join(dir, check))
	if err != nil {
		return err
	}
	if _, err := OpenRecord(master, sealed, []byte(check)); err != nil {
		return ErrWrongMaster
	}
	return nil
}

// holdDir locks the folder itself, with others (unix.LOCK_SH) or alone
// (unix.LOCK_EX), until the file is closed.
func holdDir(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil { //nolint:gosec // a descriptor
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrBusy
		}
		return nil, &os.PathError{Op: "flock", Path: dir, Err: err}
	}
	return f, nil
}

// holdOpen locks the folder with others, and finishes a rotation that a crash has
// cut off.
func (k *Keyring) holdOpen() (err error) {
	if k.lock, err = holdDir(k.dir, unix.LOCK_SH); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(k.dir, nextDir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := k.lock.Close(); err != nil {
		return err
	}
	alone, err := holdDir(k.dir, unix.LOCK_EX)
	if err != nil {
		return err
	}
	err = opensCheck(k.master, k.dir)
	if err == nil {
		err = finishRotation(k.dir, func(string) error { return nil })
	}
	if err = errors.Join(err, alone.Close()); err != nil {
		return err
	}
	k.lock, err = holdDir(k.dir, unix.LOCK_SH)
	return err
}
