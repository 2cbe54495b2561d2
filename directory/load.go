package directory

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
)

// maxFile bounds both files, in octets: about 200,000 recipients.
const maxFile = 64 << 20

// Load reads the directory file. It returns a Directory only if there is no
// mistake; otherwise all of them.
func Load(path string) (*Directory, []Problem) {
	text, problem := readFile(path)
	if problem != nil {
		return nil, []Problem{*problem}
	}
	return parse(path, text)
}

func readFile(path string) ([]byte, *Problem) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &Problem{File: path, Text: "cannot be opened: " + reason(err)}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, &Problem{File: path, Text: "cannot be read: " + reason(err)}
	case len(text) > maxFile:
		return nil, &Problem{File: path, Text: fmt.Sprintf("is larger than %d MiB", maxFile>>20)}
	}
	return text, nil
}

// reason drops the path from an error of os: the problem names it already.
func reason(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// Live holds the current Directory of a file.
type Live struct {
	path    string
	current atomic.Pointer[Directory]
}

// Open loads the file for the first time.
func Open(path string) (*Live, []Problem) {
	d, problems := Load(path)
	if len(problems) > 0 {
		return nil, problems
	}
	l := &Live{path: path}
	l.current.Store(d)
	return l, nil
}

// Get returns the current Directory.
func (l *Live) Get() *Directory { return l.current.Load() }

// Reload reads the file again. With any mistake the old Directory stays, and
// the error lists them all.
func (l *Live) Reload() error {
	d, problems := Load(l.path)
	if len(problems) > 0 {
		return fmt.Errorf("reload directory, the old one stays: %w", problemsError(problems))
	}
	l.current.Store(d)
	return nil
}

// isWord reports whether s is a plain identifier, as authorities have.
func isWord(s string) bool {
	return s != "" && len(s) <= 128 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}
