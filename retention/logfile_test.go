package retention_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/retention"
)

func TestLogFile(t *testing.T) {
	now := time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "gatewayd.log")
	o := retention.LogFileOptions{Path: path, MaxSize: 1000, MaxAge: 48 * time.Hour, Keep: 3, Now: func() time.Time { return now }}
	l, err := retention.OpenLogFile(o)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 99) + "\n"
	write := func(n int) {
		t.Helper()
		for range n {
			if _, err := io.WriteString(l, line); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Second)
		}
	}
	closed := func() []string {
		t.Helper()
		all, err := filepath.Glob(path + ".*")
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	write(10)
	if got := closed(); len(got) != 0 {
		t.Errorf("rotated early: %v", got)
	}
	write(1)
	if got := closed(); len(got) != 1 || unzip(t, got[0]) != strings.Repeat(line, 10) {
		t.Errorf("by size: %v", got)
	}
	write(60)
	if got := closed(); len(got) != 3 {
		t.Errorf("%d closed files, want 3", len(got))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, now, now); err != nil { // the file system has a clock of its own
		t.Fatal(err)
	}
	now = now.Add(47 * time.Hour)
	if l, err = retention.OpenLogFile(o); err != nil {
		t.Fatal(err)
	}
	write(1)
	if got := closed(); len(got) != 3 {
		t.Errorf("rotated %d times; the file is not of age", len(got)-3)
	}
	now = now.Add(50 * time.Hour)
	write(1)
	if got := closed(); len(got) != 1 {
		t.Errorf("after their age: %v", got)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 100 || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
}

func unzip(t *testing.T, path string) string {
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
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMasked(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(retention.Masked(slog.NewJSONHandler(&b, nil)))
	log.With("subject", "GEHEIM-1").WithGroup("g").Error("mail of geheim-2@example.ch failed",
		"to", "GEHEIM-3", "item", "abc/1", "error", fmt.Errorf("rcpt <geheim-4@example.ch>: %w", errors.New("550 no")),
		slog.Group("inner", "Body", "GEHEIM-5", "n", 7), "text", `"geheim-6@example.ch"`)
	if got := strings.ToLower(b.String()); strings.Contains(got, "geheim") || strings.Contains(got, "@") {
		t.Errorf("let through: %s", got)
	}
	for _, want := range []string{`"item":"abc/1"`, `"n":7`, "550 no"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in %s", want, b.String())
		}
	}
}
