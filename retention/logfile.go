package retention

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// LogFileOptions say where the operational log goes and when it is rotated.
type LogFileOptions struct {
	Path    string
	MaxSize int64         // octets in one file; 0: 10 MiB
	MaxAge  time.Duration // a file is closed, and a closed one removed, after this time; 0: 7 days
	Keep    int           // closed files; 0: 10
	Now     func() time.Time
}

// LogFile is the operational log: a file that is rotated by size and age; closed
// files are compressed. It may be used by several goroutines.
type LogFile struct {
	o     LogFileOptions
	mu    sync.Mutex
	file  *os.File
	size  int64
	begun time.Time
}

// OpenLogFile opens the file and goes on at its end.
func OpenLogFile(o LogFileOptions) (*LogFile, error) {
	if o.MaxSize <= 0 {
		o.MaxSize = 10 << 20
	}
	if o.MaxAge <= 0 {
		o.MaxAge = 7 * 24 * time.Hour
	}
	if o.Keep <= 0 {
		o.Keep = 10
	}
	l := &LogFile{o: o, begun: o.Now()}
	if st, err := os.Stat(o.Path); err == nil && st.Size() > 0 && st.ModTime().Before(l.begun) {
		l.begun = st.ModTime() // its first line is older still: close enough
	}
	return l, l.open()
}

func (l *LogFile) open() (err error) {
	if l.file, err = os.OpenFile(l.o.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return fmt.Errorf("operational log: %w", err)
	}
	st, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("operational log: %w", err)
	}
	l.size = st.Size()
	return nil
}

// Write implements io.Writer: one whole line per call.
func (l *LogFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Now()
	if l.size > 0 && (l.size+int64(len(p)) > l.o.MaxSize || now.Sub(l.begun) >= l.o.MaxAge) {
		if err := l.rotate(now); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

// rotate closes the file, compresses it under its time, and removes what is too
// old or too much.
func (l *LogFile) rotate(now time.Time) error {
	if err := l.file.Close(); err != nil {
		return err
	}
	closed := l.o.Path + "." + now.UTC().Format("20060102T150405.000000000")
	if err := os.Rename(l.o.Path, closed); err != nil {
		return errors.Join(err, l.open())
	}
	l.begun = now
	err := l.open()
	if e := compressFile(closed); err == nil && e == nil {
		err = os.Remove(closed)
	}
	return errors.Join(err, l.clean(now))
}

func (l *LogFile) clean(now time.Time) error {
	old, err := filepath.Glob(l.o.Path + ".*")
	if err != nil {
		return err
	}
	for i, path := range old { // in the order of time
		text := strings.TrimSuffix(strings.TrimPrefix(path, l.o.Path+"."), ".gz")
		at, err := time.Parse("20060102T150405.000000000", text)
		if err == nil && (i < len(old)-l.o.Keep || now.Sub(at) >= l.o.MaxAge) {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

func compressFile(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path+".gz", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	zip := gzip.NewWriter(out)
	_, err = io.Copy(zip, in)
	return errors.Join(err, zip.Close(), out.Close())
}

// Close implements io.Closer.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}

// Masked returns a handler that lets no address, subject or body through to the
// next one: attributes of such names lose their value, and whatever looks like an
// address is masked in every text. The code logs none; this is the second lock.
func Masked(next slog.Handler) slog.Handler { return masked{next} }

type masked struct{ next slog.Handler }

const mask = "…"

var (
	addressLike = regexp.MustCompile(`[^\s<>"(),;:=]+@[^\s<>"(),;:=]+`)
	secretNames = map[string]bool{
		"subject": true, "body": true, "address": true, "from": true, "to": true, "recipient": true, "sender": true, "rcpt": true,
		"mail_from": true, "rcpt_to": true, "file_name": true, "filename": true, "password": true, "token": true, "authorization": true,
	}
)

// Enabled implements slog.Handler.
func (m masked) Enabled(ctx context.Context, l slog.Level) bool { return m.next.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (m masked) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, maskText(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(maskAttr(a))
		return true
	})
	return m.next.Handle(ctx, clean)
}

// WithAttrs implements slog.Handler.
func (m masked) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = maskAttr(a)
	}
	return masked{m.next.WithAttrs(clean)}
}

// WithGroup implements slog.Handler.
func (m masked) WithGroup(name string) slog.Handler { return masked{m.next.WithGroup(name)} }

func maskText(s string) string { return addressLike.ReplaceAllString(s, mask) }

func maskAttr(a slog.Attr) slog.Attr {
	if secretNames[strings.ToLower(a.Key)] {
		return slog.String(a.Key, mask)
	}
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindGroup:
		var group []any
		for _, g := range v.Group() {
			group = append(group, maskAttr(g))
		}
		return slog.Group(a.Key, group...)
	case slog.KindString:
		return slog.String(a.Key, maskText(v.String()))
	case slog.KindAny:
		return slog.String(a.Key, maskText(fmt.Sprint(v.Any())))
	}
	return a
}
