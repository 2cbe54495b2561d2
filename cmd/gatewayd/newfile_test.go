package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestNewFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "export")
	fill := func(w io.Writer) error { _, err := io.WriteString(w, "one"); return err }
	broken := errors.New("broken")
	if err := newFile(path, func(w io.Writer) error { return errors.Join(fill(w), broken) }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a file was left: %v", err)
	}
	if err := newFile(path, fill); err != nil {
		t.Fatal(err)
	}
	if err := newFile(path, func(io.Writer) error { return nil }); !errors.Is(err, os.ErrExist) {
		t.Errorf("an existing file: %v", err)
	}
	got, err := os.ReadFile(path)
	st, errStat := os.Stat(path)
	if err != nil || errStat != nil || string(got) != "one" || st.Mode().Perm() != 0o600 {
		t.Errorf("%q, %v, %v, %v", got, err, st.Mode(), errStat)
	}
}

// TestNewFileDurable watches the system calls: the file is synced before it is
// closed, and its folder after.
func TestNewFileDurable(t *testing.T) {
	if path := os.Getenv("GATEWAYD_NEWFILE"); path != "" {
		if err := newFile(path, func(w io.Writer) error { _, err := io.WriteString(w, "one"); return err }); err != nil {
			t.Fatal(err)
		}
		return
	}
	strace := need(t, "strace", "strace")
	dir := t.TempDir()
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", trace, os.Args[0], "-test.run=^TestNewFileDurable$") //nolint:gosec // this test again
	cmd.Env = append(os.Environ(), "GATEWAYD_NEWFILE="+filepath.Join(dir, "export"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	calls, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	file, folder := strings.Index(string(calls), "<"+dir+"/export>"), strings.Index(string(calls), "<"+dir+">")
	if file < 0 || folder < file {
		t.Errorf("synced:\n%s", calls)
	}
}
