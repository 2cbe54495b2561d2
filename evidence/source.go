package evidence

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of what is read as a bundle.
const (
	maxFiles   = 1000
	maxMessage = 1 << 30 // octets of message.eml
	maxOwn     = 32 << 20
	maxTotal   = 4 << 30
)

// source is a bundle to be read.
type source struct {
	files    map[string]file
	problems []Problem
	close    func() error
}

type file struct {
	size int64
	open func() (io.ReadCloser, error)
}

// refuse notes a problem with one file.
func (s *source) refuse(name, format string, args ...any) {
	s.problems = append(s.problems, Problem{shown(name), fmt.Sprintf(format, args...)})
}

// shown makes a foreign name safe to print.
func shown(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return fmt.Sprintf("%.200q", name)
}

// add takes a file in, unless its name or size speaks against it.
func (s *source) add(name string, size int64, open func() (io.ReadCloser, error)) {
	total := size
	for known, f := range s.files {
		if total += f.size; strings.EqualFold(known, name) {
			s.refuse(name, "stands twice")
			return
		}
	}
	limit := int64(maxOwn)
	if name == FileMessage {
		limit = maxMessage
	}
	switch {
	case !plainName.MatchString(name):
		s.refuse(name, "no file of a bundle may have this name")
	case size > limit || total > maxTotal:
		s.refuse(name, "too large: %d octets", size)
	default:
		s.files[name] = file{size, open}
	}
}

// openSource opens a folder or a ZIP.
func openSource(path string) (*source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	s := &source{files: map[string]file{}, close: func() error { return nil }}
	if info.IsDir() {
		return s, s.readFolder(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s.close = f.Close
	if err := s.readZip(f, info.Size()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// ErrNoBundle: what was named is neither a folder nor a ZIP.
var ErrNoBundle = errors.New("neither a folder nor a ZIP: name a bundle as gatewayd evidence export wrote it")

func (s *source) readZip(f *os.File, size int64) error {
	var magic [4]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil || string(magic[:]) != "PK\x03\x04" {
		return ErrNoBundle
	}
	z, err := zip.NewReader(f, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return fmt.Errorf("%w: %w", ErrNoBundle, err)
	}
	if z.Comment != "" {
		s.refuse(f.Name(), "the ZIP has a comment")
	}
	for i, e := range z.File {
		switch {
		case i == maxFiles:
			s.refuse(e.Name, "more than %d files", maxFiles)
			return nil
		case !e.Mode().IsRegular() || strings.HasSuffix(e.Name, "/"):
			s.refuse(e.Name, "not a regular file")
		case e.Method != zip.Store && e.Method != zip.Deflate || e.Flags&1 != 0:
			s.refuse(e.Name, "packed in a way that is not allowed here")
		case e.UncompressedSize64 > maxTotal:
			s.refuse(e.Name, "too large")
		default:
			s.add(e.Name, int64(e.UncompressedSize64), e.Open) //nolint:gosec // bounded above
		}
	}
	return nil
}

func (s *source) readFolder(dir string) error {
	root, err := os.OpenRoot(dir) // no symbolic link leads out of it
	if err != nil {
		return err
	}
	s.close = root.Close
	n := 0
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		name := filepath.ToSlash(path)
		if d.IsDir() {
			if !slices.Contains([]string{folderReceipts, folderRevocation, folderAudit}, name+"/") {
				s.refuse(name, "no folder of a bundle has this name")
				return fs.SkipDir
			}
			return nil
		}
		if n++; n > maxFiles {
			s.refuse(name, "more than %d files", maxFiles)
			return fs.SkipAll
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			s.refuse(name, "not a regular file")
			return nil
		}
		s.add(name, info.Size(), func() (io.ReadCloser, error) { return root.Open(path) })
		return nil
	})
	return err
}

// copyTo reads a file to its end: not an octet more than it says it has.
func (s *source) copyTo(w io.Writer, name string) error {
	f, ok := s.files[name]
	if !ok {
		return fs.ErrNotExist
	}
	r, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(w, io.LimitReader(r, f.size+1))
	if err == nil && n != f.size {
		err = errors.New("its length is not what the bundle says")
	}
	return err
}
