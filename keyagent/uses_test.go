package keyagent

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sixMonths(at time.Time) time.Time { return at.AddDate(0, 6, 0) }

// TestUseFields: every field of a line is declared.
func TestUseFields(t *testing.T) {
	var names []string
	for _, f := range UseFields() {
		names = append(names, f.Name)
	}
	u := reflect.TypeFor[Use]()
	for i := range u.NumField() {
		name, _, _ := strings.Cut(u.Field(i).Tag.Get("json"), ",")
		if i >= len(names) || names[i] != name {
			t.Errorf("%s is not declared in its place: %v", name, names)
		}
	}
}

// TestUses: lines follow from each other over days and restarts; old days go; what was
// changed shows.
func TestUses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "uses")
	at := now
	write := func(n int, days int) {
		t.Helper()
		u := must(OpenUses(dir, sixMonths))
		for range n {
			if err := u.Record(Use{At: at, Op: "sign", Key: "00", Authority: "amt"}); err != nil {
				t.Fatal(err)
			}
			at = at.AddDate(0, 0, days)
		}
		if err := u.Close(); err != nil {
			t.Fatal(err)
		}
	}
	verify := func(want int) {
		t.Helper()
		if n, _, err := VerifyUses(dir, func(u Use) {
			if u.Key != "00" {
				t.Errorf("%+v", u)
			}
		}); n != want || err != nil {
			t.Errorf("%d lines, want %d: %v", n, want, err)
		}
	}
	write(3, 0)
	write(2, 1)
	write(1, 0)
	verify(6)
	at = at.AddDate(0, 0, -1) // the clock goes back: no line stands in a day that is over
	write(2, 0)
	verify(8)
	if files := must(useFiles(dir)); len(files) != 3 {
		t.Errorf("%q", files)
	}

	// A torn line is cut off, and the next one follows from the one before.
	files := must(useFiles(dir))
	newest := files[len(files)-1]
	text := must(os.ReadFile(newest))
	put(t, dir, filepath.Base(newest), append(bytes.Clone(text), `{"at":"2026`...))
	write(1, 0)
	verify(9)

	// Changed, removed and inserted lines show.
	text = must(os.ReadFile(newest))
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	for name, change := range map[string]string{
		"changed":  strings.Replace(string(text), `"authority":"amt"`, `"authority":"ami"`, 1),
		"removed":  strings.Join(append([]string{lines[0]}, lines[2:]...), ""),
		"inserted": lines[0] + lines[0] + strings.Join(lines[1:], ""),
		"junk":     string(text) + "junk\n",
		"long":     string(text) + strings.Repeat("x", maxLine+1) + "\n",
	} {
		put(t, dir, filepath.Base(newest), []byte(change))
		if _, _, err := VerifyUses(dir, nil); !errors.Is(err, ErrUses) {
			t.Errorf("%s: %v", name, err)
		}
	}
	put(t, dir, filepath.Base(newest), text)
	verify(9)

	// Days go when their time is over; the rest stays whole.
	write(1, 30)
	for _, day := range []int{0, 1} {
		if err := must(OpenUses(dir, sixMonths)).Sweep(now.AddDate(0, 6, day)); err != nil {
			t.Fatal(err)
		}
		if files = must(useFiles(dir)); len(files) != 3-day {
			t.Errorf("%q", files)
		}
	}
	if n, last, err := VerifyUses(dir, nil); n == 0 || len(last) != 64 || err != nil {
		t.Errorf("%d %q %v", n, last, err)
	}
	if _, _, err := VerifyUses(filepath.Join(dir, "elsewhere"), nil); err == nil {
		t.Error("no folder")
	}
	if _, err := OpenUses(newest, sixMonths); err == nil {
		t.Error("a file as a folder")
	}
}
