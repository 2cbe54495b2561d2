package vault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Hooks are failpoints for tests; nil in production. Each is called with the path
// just before the step, except AfterSync; an error is taken as the step's own and
// the step is left out.
type Hooks struct {
	BeforeCreate   func(path string) error // of a folder, segment or body file
	BeforeWrite    func(path string) error // of frames or body octets
	BeforeSync     func(path string) error // of a file or folder
	AfterSync      func(path string) error // durable, not acknowledged yet
	BeforeRename   func(path string) error // old name
	BeforeTruncate func(path string) error
	BeforePunch    func(path string) error
	BeforeRemove   func(path string) error // when a day is erased or a body let go
}

// disk is the file system with failpoints.
type disk struct{ hooks Hooks }

func call(hook func(string) error, path string) error {
	if hook == nil {
		return nil
	}
	return hook(path)
}

// diskError wraps err, as ErrFull too when the disk or a quota is exhausted.
func diskError(object string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%s: %w: %w", object, ErrFull, err)
	}
	return fmt.Errorf("%s: %w", object, err)
}

// create makes a new file; its name is durable only after syncDir.
func (d disk) create(path string) (*os.File, error) {
	if err := call(d.hooks.BeforeCreate, path); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// makeDir makes a folder unless it exists, and its name durable in both cases: a
// crash may have come between the two.
func (d disk) makeDir(path string) error {
	if err := call(d.hooks.BeforeCreate, path); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return d.syncDir(filepath.Dir(path))
}

// sync forces the data of f, and its length, to the disk.
func (d disk) sync(f *os.File) error {
	if err := call(d.hooks.BeforeSync, f.Name()); err != nil {
		return err
	}
	for {
		err := unix.Fdatasync(int(f.Fd())) //nolint:gosec // a descriptor
		if err == nil {
			return call(d.hooks.AfterSync, f.Name())
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

func (d disk) syncDir(path string) error {
	if err := call(d.hooks.BeforeSync, path); err != nil {
		return err
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	err = dir.Sync()
	if e := dir.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return call(d.hooks.AfterSync, path)
}

func (d disk) writeAt(f *os.File, b []byte, off int64) error {
	if err := call(d.hooks.BeforeWrite, f.Name()); err != nil {
		return err
	}
	_, err := f.WriteAt(b, off)
	return err
}

func (d disk) rename(from, to string) error {
	if err := call(d.hooks.BeforeRename, from); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (d disk) truncate(f *os.File, size int64) error {
	if err := call(d.hooks.BeforeTruncate, f.Name()); err != nil {
		return err
	}
	return f.Truncate(size)
}

// replace writes a small file so that after a crash it is the old or the new one.
func (d disk) replace(path string, text []byte) error {
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := d.create(path + ".new")
	if err != nil {
		return err
	}
	err = d.writeAt(f, text, 0)
	if err == nil {
		err = d.sync(f)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = d.rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	return d.syncDir(filepath.Dir(path))
}

// lock takes the exclusive lock of a folder; ErrLocked if another holder exists.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // a descriptor
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	return f, nil
}
