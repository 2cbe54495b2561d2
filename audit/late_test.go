package audit_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/seal"
	"gatewayd/message"
)

// TestLateForErased: a line that comes when its day was erased already goes into the
// newest file, with its own time, and the chain verifies: with that file open, sealed
// and erased, with and without the key of its day.
func TestLateForErased(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	erase(t, l, 0, "2026-11-23")
	late := func(n int, want string) {
		t.Helper()
		s.add(dayOf(n).Start().Add(13*time.Hour), message.ID{7})
		drain(t, l, s, 1)
		if got := names(t, dir); got != want {
			t.Errorf("files %s, want %s", got, want)
		}
	}
	late(0, "23.seal 24.log 25.log")
	good(t, dir, s, 20, 11)
	rotate(t, l, dayOf(3).Start().Add(time.Hour), 2)
	good(t, dir, s, 20, 11)
	late(0, "23.seal 24.log.gz 24.seal 25.log") // the sealed file is opened again
	good(t, dir, s, 21, 11)
	s.add(dayOf(2).Start().Add(14*time.Hour), message.ID{7}) // and the chain goes on behind it
	drain(t, open(t, dir, s.keys), s, 1)
	good(t, dir, s, 22, 11)
	l = open(t, dir, s.keys)
	erase(t, l, 1, "2026-11-24")
	late(1, "23.seal 24.seal 25.log")
	rotate(t, l, dayOf(3).Start().Add(time.Hour), 1)
	if err := s.keys.Destroy(seal.Log, logDay); err != nil {
		t.Fatal(err)
	}
	good(t, dir, s, 13, 21)
	erase(t, l, 2, "2026-11-25")
	good(t, dir, s, 0, 34)
}

// TestLateForAllErased: where no file is left, the line begins one behind all of them.
func TestLateForAllErased(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	erase(t, l, 2, "2026-11-23", "2026-11-24", "2026-11-25")
	s.add(noon(), message.ID{7})
	drain(t, l, s, 1)
	if got := names(t, dir); got != "23.seal 24.seal 25.seal 26.log" {
		t.Errorf("files %s", got)
	}
	good(t, dir, s, 1, 30)
}

// TestLateRepeated: a crash between writing and forgetting does not write a late line
// twice, also when a newer file has begun since.
func TestLateRepeated(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	erase(t, l, 0, "2026-11-23")
	s.add(noon(), message.ID{7})
	s.forget = errors.New("crash")
	if n, err := l.Drain(context.Background(), s); !errors.Is(err, s.forget) || n != 1 {
		t.Fatalf("Drain = %d, %v", n, err)
	}
	s.add(dayOf(4).Start().Add(time.Hour), message.ID{7})
	s.add(noon(), message.ID{7})
	if n, err := l.Drain(context.Background(), s); !errors.Is(err, s.forget) || n != 2 {
		t.Fatalf("Drain = %d, %v", n, err)
	}
	s.forget = nil
	drain(t, open(t, dir, s.keys), s, 0)
	good(t, dir, s, 22, 11)
}

// TestMovedLine: a line of a day that is there does not belong into a later file.
func TestMovedLine(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	erase(t, l, 0, "2026-11-23")
	from, to := filepath.Join(dir, "2026-11-24.log"), filepath.Join(dir, "2026-11-25.log")
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	last := lines[len(lines)-2] // link 22 of day 24, behind the first one of day 25
	rest, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	first, behind, _ := bytes.Cut(rest, []byte("\n"))
	moved := bytes.Join([][]byte{append(first, '\n'), last, behind}, nil)
	if err := errors.Join(os.WriteFile(from, bytes.TrimSuffix(text, last), 0o600), os.WriteFile(to, moved, 0o600)); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir, nil); r.OK() || r.Bad.File != "2026-11-25.log" || r.Bad.Line != 2 || !strings.Contains(r.Bad.Reason, "another day") {
		t.Errorf("%+v %v", r, r.Bad)
	}
}
