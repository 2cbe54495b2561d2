package audit_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/message"
)

func dayOf(n int) calendar.Day { return calendar.DayOf(noon()).AddDays(n) }

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if e.Name() == "checkpoint" {
			continue
		}
		all = append(all, strings.TrimPrefix(e.Name(), "2026-11-"))
	}
	return strings.Join(all, " ")
}

func rotate(t *testing.T, l *audit.Log, at time.Time, want int) {
	t.Helper()
	if n, err := l.Rotate(at); err != nil || n != want {
		t.Fatalf("Rotate at %s = %d, %v, want %d", at, n, err, want)
	}
}

// erase erases the days up to n.
func erase(t *testing.T, l *audit.Log, n int, want ...string) {
	t.Helper()
	got, err := l.Erase(noon().AddDate(0, 6, 0), func(d calendar.Day) bool { return !d.After(dayOf(n)) })
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("Erase = %v, %v, want %v", got, err, want)
	}
}

// good checks the chain with and without keys, and where it ends.
func good(t *testing.T, dir string, s *source, links, gone int) {
	t.Helper()
	for _, keys := range []*seal.Keyring{s.keys, nil} {
		r := verify(t, dir, keys)
		if !r.OK() || r.Links != links || r.Gone != uint64(gone) || r.First != 1 || !r.EndsAt(s.head.Seq, s.head.Hash) { //nolint:gosec // small
			t.Fatalf("Verify = %+v, %v, want %d links and %d vouched for\n%s", r, r.Bad, links, gone, names(t, dir))
		}
	}
}

// TestRotate follows three days from open over sealed to erased.
func TestRotate(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	midnight := dayOf(0).End()
	rotate(t, l, midnight, 0) // what was committed around midnight is still to come
	rotate(t, l, midnight.Add(10*time.Minute), 1)
	if got := names(t, dir); got != "23.log.gz 23.seal 24.log 25.log" {
		t.Errorf("files %s", got)
	}
	rotate(t, l, midnight.Add(10*time.Minute), 0)
	good(t, dir, s, 30, 0)
	rotate(t, l, dayOf(3).Start().Add(time.Hour), 2)
	good(t, dir, s, 30, 0)
	traced(t, l, 10)
	erase(t, l, 0, "2026-11-23")
	erase(t, l, 0)
	good(t, dir, s, 19, 11) // the day has a link behind the first one of the next
	erase(t, l, 1, "2026-11-24")
	good(t, dir, s, 9, 21)
	if got := names(t, dir); got != "23.seal 24.seal 25.log.gz 25.seal" {
		t.Errorf("files %s", got)
	}
	traced(t, l, 2)
	erase(t, l, 2, "2026-11-25")
	good(t, dir, s, 0, 30)
	l = open(t, dir, s.keys) // the chain goes on from the seals
	s.add(noon().AddDate(0, 0, 5), message.ID{1})
	drain(t, l, s, 1)
	good(t, dir, s, 1, 30)
}

func traced(t *testing.T, l *audit.Log, want int) {
	t.Helper()
	events, err := l.Trace(context.Background(), message.ID{1}, noon())
	if err != nil || len(events) != want {
		t.Errorf("Trace = %d events, %v, want %d", len(events), err, want)
	}
}

// TestLateLine: a line for a sealed day opens it again; the next rotation seals it.
func TestLateLine(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	rotate(t, l, dayOf(3).Start().Add(time.Hour), 3)
	l = open(t, dir, s.keys)
	s.add(noon(), message.ID{1})
	drain(t, l, s, 1)
	good(t, dir, s, 31, 0)
	if got := names(t, dir); got != "23.log 24.log.gz 24.seal 25.log.gz 25.seal" {
		t.Errorf("files %s", got)
	}
	rotate(t, l, dayOf(3).Start().Add(time.Hour), 1)
	good(t, dir, s, 31, 0)
	erase(t, l, 0, "2026-11-23") // its link 31 comes last
	good(t, dir, s, 19, 12)
}

// TestEraseUnsealed: the gateway stood still for half a year.
func TestEraseUnsealed(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	erase(t, l, 1, "2026-11-23", "2026-11-24")
	good(t, dir, s, 10-1, 21)
}

// TestSealCrash: whatever of a sealing reached the disk, the chain is whole and
// the next rotation ends it.
func TestSealCrash(t *testing.T) {
	for _, keep := range [][]string{{".log"}, {".log", ".seal"}, {".log", ".seal", ".log.gz"}, {".log", ".log.gz.new"}, {".log", ".seal.new"}} {
		dir, s := filled(t)
		text, err := os.ReadFile(filepath.Join(dir, "2026-11-23.log"))
		if err != nil {
			t.Fatal(err)
		}
		rotate(t, open(t, dir, s.keys), dayOf(1).Start().Add(time.Hour), 1)
		for _, ext := range []string{".seal", ".log.gz"} {
			if !slices.Contains(keep, ext) {
				if err := os.Remove(filepath.Join(dir, "2026-11-23"+ext)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, ext := range keep {
			if ext == ".log" || strings.HasSuffix(ext, ".new") {
				if err := os.WriteFile(filepath.Join(dir, "2026-11-23"+ext), text[:], 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		good(t, dir, s, 30, 0)
		l := open(t, dir, s.keys)
		traced(t, l, 10)
		rotate(t, l, dayOf(1).Start().Add(time.Hour), 1)
		good(t, dir, s, 30, 0)
		if got := names(t, dir); !strings.HasPrefix(got, "23.log.gz 23.seal 24.log") && !strings.Contains(got, "seal.new") {
			t.Errorf("%v: files %s", keep, got)
		}
	}
}

// TestSealTampered: a sealed day and the seal of an erased one give every change away.
func TestSealTampered(t *testing.T) {
	rezip := func(t *testing.T, path string, change func([][]byte) [][]byte) {
		t.Helper()
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(bytes.Join(change(bytes.SplitAfter(text, []byte("\n"))), nil))
		if err := errors.Join(w.Close(), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	reseal := func(t *testing.T, path string, change func(*audit.Seal)) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var s audit.Seal
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		change(&s)
		if text, err = json.Marshal(s); err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, file, reason string
		change             func(t *testing.T, dir string)
	}{
		{"a line taken out at the end", "2026-11-24.log.gz", "missing|sealed", func(t *testing.T, dir string) {
			rezip(t, filepath.Join(dir, "2026-11-24.log.gz"), func(l [][]byte) [][]byte { return l[:len(l)-2] })
		}},
		{"emptied", "2026-11-24.log.gz", "sealed", func(t *testing.T, dir string) {
			rezip(t, filepath.Join(dir, "2026-11-24.log.gz"), func([][]byte) [][]byte { return nil })
		}},
		{"a byte of the compressed file", "2026-11-24.log.gz", "damaged|written|hash", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "2026-11-24.log.gz")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text[len(text)/2] ^= 0x10
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"seal of an erased day lost", "", "missing", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "2026-11-23.seal")); err != nil {
				t.Fatal(err)
			}
		}},
		{"count of an erased day", "2026-11-23.seal", "signed", func(t *testing.T, dir string) {
			reseal(t, filepath.Join(dir, "2026-11-23.seal"), func(s *audit.Seal) { s.Count-- })
		}},
		{"root of an erased day", "2026-11-23.seal", "signed", func(t *testing.T, dir string) {
			reseal(t, filepath.Join(dir, "2026-11-23.seal"), func(s *audit.Seal) { s.Root[0]++ })
		}},
		{"date of an erased day", "2026-11-23.seal", "signed", func(t *testing.T, dir string) {
			reseal(t, filepath.Join(dir, "2026-11-23.seal"), func(s *audit.Seal) { s.Day = s.Day.AddDays(-1) })
		}},
		{"another gateway's seal", "2026-11-23.seal", "another gateway", func(t *testing.T, dir string) {
			strange, other := filled(t)
			l := open(t, strange, other.keys)
			rotate(t, l, dayOf(1).Start().Add(time.Hour), 1)
			text, err := os.ReadFile(filepath.Join(strange, "2026-11-23.seal"))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "2026-11-23.seal"), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, s := filled(t)
			l := open(t, dir, s.keys)
			rotate(t, l, dayOf(2).Start().Add(time.Hour), 2)
			erase(t, l, 0, "2026-11-23")
			good(t, dir, s, 19, 11)
			tt.change(t, dir)
			bad := verify(t, dir, s.keys).Bad
			if bad == nil || tt.file != "" && bad.File != tt.file && !strings.Contains(bad.Reason, "missing") {
				t.Fatalf("Verify names %v, want %s", bad, tt.file)
			}
			if !slices.ContainsFunc(strings.Split(tt.reason, "|"), func(r string) bool { return strings.Contains(bad.Reason, r) }) && !strings.Contains(bad.Reason, "missing") {
				t.Errorf("Verify says %v, want %s", bad, tt.reason)
			}
		})
	}
}

// TestRotateLeavesDamage: a day that does not read is not sealed, but named.
func TestRotateLeavesDamage(t *testing.T) {
	dir, s := filled(t)
	tamper(t, dir, 0, func(l [][]byte) [][]byte { l[3] = []byte("x\n"); return l })
	l := open(t, dir, s.keys)
	if n, err := l.Rotate(dayOf(3).Start()); err == nil || n != 1 {
		t.Errorf("Rotate = %d, %v, want the other day sealed", n, err)
	}
	if r := verify(t, dir, nil); r.OK() || r.Bad.Line != 4 {
		t.Errorf("%v", r.Bad)
	}
	erase(t, l, 0, "2026-11-23") // damage does not keep it beyond its window
	if r := verify(t, dir, nil); r.OK() || !strings.Contains(r.Bad.Reason, "4 to 4 are missing") {
		t.Errorf("%v", r.Bad)
	}
}
