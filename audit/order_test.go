package audit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/calendar"
	"gatewayd/message"
)

// seqs reads what is there.
func seqs(t *testing.T, r *audit.Reader) (got []uint64) {
	t.Helper()
	err := r.Read(context.Background(), func(e audit.Entry) error {
		got = append(got, e.Seq)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return got
}

func upTo(from, to uint64) (all []uint64) {
	for n := from; n <= to; n++ {
		all = append(all, n)
	}
	return all
}

// TestReaderOrder: the reader follows the chain, not the files: over midnight,
// over late lines, over sealing and opening again; each line once.
func TestReaderOrder(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	whole, later := l.Reader(0), l.Reader(17)
	expect := func(r *audit.Reader, from, to uint64) {
		t.Helper()
		if got := seqs(t, r); !slices.Equal(got, upTo(from, to)) {
			t.Errorf("read %v, want %d to %d", got, from, to)
		}
	}
	expect(whole, 1, 30)
	expect(later, 18, 30)
	expect(whole, 31, 30)
	rotate(t, l, dayOf(1).Start().Add(time.Hour), 1)
	s.add(noon().AddDate(0, 0, 2), message.ID{1}) // today
	s.add(noon(), message.ID{2})                  // late: opens a sealed day again
	s.add(noon().AddDate(0, 0, 2), message.ID{3})
	drain(t, l, s, 3)
	expect(whole, 31, 33)
	rotate(t, l, dayOf(3).Start().Add(time.Hour), 3)
	expect(later, 31, 33)
	expect(l.Reader(0), 1, 33)
	s.add(noon().AddDate(0, 0, 1), message.ID{4})
	drain(t, l, s, 1)
	expect(whole, 34, 34)
	expect(later, 34, 34)
	if _, err := l.Erase(noon().AddDate(0, 7, 0), func(d calendar.Day) bool { return !d.After(dayOf(0)) }); err != nil {
		t.Fatal(err)
	}
	s.add(noon().AddDate(0, 0, 3), message.ID{5})
	drain(t, l, s, 1)
	expect(whole, 35, 35)
	if got := seqs(t, l.Reader(0)); len(got) != 35-12 || !slices.IsSorted(got) {
		t.Errorf("after the erasure of a day of 12: %v", got)
	}
}

// TestReaderGoesOn: what fails is read again; a bad line is told of and passed.
func TestReaderGoesOn(t *testing.T) {
	dir, s := filled(t)
	l := open(t, dir, s.keys)
	r, trouble := l.Reader(0), errors.New("the receiver is gone")
	var got []uint64
	for range 100 {
		err := r.Read(context.Background(), func(e audit.Entry) error {
			if len(got)%3 == 2 {
				got = append(got, 0)
				return trouble
			}
			got = append(got, e.Seq)
			return nil
		})
		if err == nil {
			break
		}
		if !errors.Is(err, trouble) {
			t.Fatal(err)
		}
	}
	got = slices.DeleteFunc(got, func(n uint64) bool { return n == 0 })
	if !slices.Equal(got, upTo(1, 30)) {
		t.Errorf("read %v", got)
	}
	path := filepath.Join(dir, "2026-11-24.log")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	lines[2] = strings.Replace(lines[2], `"prev":"`, `"prev":"0`, 1)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Reader(0).Read(context.Background(), func(audit.Entry) error { return nil }); err == nil || !strings.Contains(err.Error(), "2026-11-24: line 3") {
		t.Errorf("a bad line: %v", err)
	}
	bad := l.Reader(0)
	told := ""
	bad.Bad = func(day calendar.Day, line int, err error) error {
		told += day.String() + err.Error()
		return nil
	}
	if got := seqs(t, bad); len(got) != 29 || !strings.HasPrefix(told, "2026-11-24not a link") {
		t.Errorf("passed a bad line: %v, told %q", got, told)
	}
}
