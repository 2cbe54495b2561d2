package audit_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/message"
)

// The deeds that TestCrash kills. The folder is that of filled.
func deeds() map[string]func(*audit.Log, *source) error {
	midnight := dayOf(2).Start().Add(time.Hour)
	rotate := func(l *audit.Log, _ *source) error {
		_, err := l.Rotate(midnight)
		return err
	}
	erase := func(l *audit.Log, _ *source) error {
		_, err := l.Erase(midnight.AddDate(0, 6, 0), func(d calendar.Day) bool { return !d.After(dayOf(1)) })
		return err
	}
	return map[string]func(*audit.Log, *source) error{
		"rotate": rotate,
		"erase":  erase, // seals first
		"erase sealed": func(l *audit.Log, s *source) error {
			return errors.Join(rotate(l, s), erase(l, s))
		},
		"checkpoint": func(l *audit.Log, _ *source) error {
			_, err := l.Checkpoint(midnight)
			return err
		},
		"late line": func(l *audit.Log, s *source) error {
			err := rotate(l, s)
			s.add(noon(), message.ID{1})
			_, e := l.Drain(s.t.Context(), s)
			return errors.Join(err, e, rotate(l, s))
		},
	}
}

// TestCrashChild is no test: TestCrash starts it, and it kills itself.
func TestCrashChild(t *testing.T) {
	deed, dir := os.Getenv("GATEWAYD_AUDIT_DEED"), os.Getenv("GATEWAYD_AUDIT_DIR")
	if deed == "" {
		t.Skip("run by TestCrash")
	}
	at, err := strconv.Atoi(os.Getenv("GATEWAYD_AUDIT_AT"))
	if err != nil {
		t.Fatal(err)
	}
	s := sourceOf(t, filepath.Join(dir, "keys"))
	l := open(t, filepath.Join(dir, "audit"), s.keys)
	r, err := l.Verify(audit.Options{})
	if err != nil || !r.OK() {
		t.Fatal(err, r.Bad)
	}
	s.head = message.Link{Seq: r.Last, Hash: r.Head}
	n := 0
	l.OnStep(func(string) {
		if n++; n == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	})
	if err := deeds()[deed](l, s); err != nil {
		t.Fatal(err)
	}
}

// TestCrash kills the process between every two steps of sealing, erasing,
// opening again and checkpointing. Each time the chain is whole in what lies
// there, the log opens, and the same deed ends.
func TestCrash(t *testing.T) {
	for deed := range deeds() {
		t.Run(deed, func(t *testing.T) {
			t.Parallel()
			kills := 0
			for at := 1; crash(t, deed, at); at++ {
				kills++
			}
			if kills < 2 || deed != "checkpoint" && kills < 8 {
				t.Errorf("killed at %d steps only", kills)
			}
		})
	}
}

// crash runs a deed in a process that kills itself at a step; false: it came to
// its end before.
func crash(t *testing.T, deed string, at int) bool {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "audit")
	s := sourceOf(t, filepath.Join(root, "keys"))
	fill(t, dir, s)
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), "GATEWAYD_AUDIT_DEED="+deed, "GATEWAYD_AUDIT_DIR="+root, "GATEWAYD_AUDIT_AT="+strconv.Itoa(at))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if err != nil && !killed {
		t.Fatalf("step %d: %v\n%s", at, err, out)
	}
	r := verify(t, dir, s.keys)
	if !r.OK() || r.Last < s.head.Seq {
		t.Fatalf("killed at step %d: %v\n%s", at, r.Bad, names(t, dir))
	}
	s.head = message.Link{Seq: r.Last, Hash: r.Head} // the late line, if it came to that
	l := open(t, dir, s.keys)
	if left, err := filepath.Glob(filepath.Join(dir, "*.new")); err != nil || len(left) > 0 {
		t.Errorf("killed at step %d: %v stay", at, left)
	}
	if err := deeds()[deed](l, s); err != nil {
		t.Fatalf("again after step %d: %v", at, err)
	}
	r = verify(t, dir, s.keys)
	if !r.OK() || !r.EndsAt(s.head.Seq, s.head.Hash) || strings.HasPrefix(deed, "erase") && r.Erased != 2 || deed == "rotate" && r.Sealed != 2 {
		t.Fatalf("ended after step %d: %+v\n%s", at, r, names(t, dir))
	}
	return killed
}

func sourceOf(t testing.TB, dir string) *source {
	t.Helper()
	keys, err := seal.Open(dir, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return &source{t: t, keys: keys}
}
