package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/message"
)

// maxLine bounds a line of a day file.
const maxLine = 1 << 20

// Errors of a single line, without its contents.
var (
	errTorn   = errors.New("the line has no end")
	errLong   = errors.New("the line is too long")
	errForm   = errors.New("not a link as it was written")
	errHash   = errors.New("its hash is not the hash of its contents")
	errWrong  = errors.New("it belongs to another day file")
	errSealed = errors.New("its seal is broken")
)

// daysIn lists the days that have a file or a seal, in order.
func daysIn(dir string) ([]calendar.Day, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	seen := map[calendar.Day]bool{}
	for _, e := range entries {
		name, ext, _ := strings.Cut(e.Name(), ".")
		if ext = "." + ext; ext != logExt && ext != zipExt && ext != sealExt {
			continue
		}
		if day, err := calendar.ParseDay(name); err == nil && day.String() == name {
			seen[day] = true
		}
	}
	return slices.SortedFunc(maps.Keys(seen), calendar.Day.Compare), nil
}

// lines reads a day file line by line.
type lines struct {
	r   *bufio.Reader
	n   int   // number of the last line read, from 1
	at  int64 // where it begins, in octets
	end int64 // where what was read ends
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 64<<10)} }

// next returns the next line without its end: io.EOF behind the last one,
// errTorn for an unfinished one, errLong. It is valid until the next call.
func (l *lines) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = l.long(line)
	}
	if len(line) == 0 && err != nil {
		l.at = l.end
		return nil, err
	}
	l.n++
	l.at, l.end = l.end, l.end+int64(len(line))
	switch {
	case err == nil && len(line) <= maxLine:
		return line[:len(line)-1], nil
	case err == nil || errors.Is(err, bufio.ErrBufferFull):
		return nil, errLong
	case errors.Is(err, io.EOF):
		return nil, errTorn
	}
	return nil, err
}

// long reads on in a line that is longer than the buffer, up to maxLine.
func (l *lines) long(begun []byte) (line []byte, err error) {
	line, err = bytes.Clone(begun), bufio.ErrBufferFull
	for errors.Is(err, bufio.ErrBufferFull) && len(line) <= maxLine {
		var more []byte
		more, err = l.r.ReadSlice('\n')
		line = append(line, more...)
	}
	return line, err
}

// eachLine calls fn with every whole line of a file and its number. A file that
// does not exist has none.
func eachLine(path string, fn func(n int, line []byte) error) error {
	f, err := openFile(path)
	if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(path, logExt) {
		f, err = openFile(strings.TrimSuffix(path, logExt) + zipExt) // sealed at this moment
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	all := newLines(f)
	for {
		line, err := all.next()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) { // being written, or left by a crash
			return nil
		}
		if err == nil {
			err = fn(all.n, line)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", all.n, err)
		}
	}
}

// openEvent opens what a link has sealed; nil when its key is gone.
func openEvent(keys *seal.Keyring, link message.Link) (*message.Event, error) {
	aead, err := keys.Lookup(seal.Log, link.Day)
	if errors.Is(err, seal.ErrDestroyed) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	plain, err := seal.OpenRecord(aead, link.Sealed, link.SealedTo())
	if err != nil {
		return nil, errSealed
	}
	e, err := message.ParseEvent(link, plain)
	switch {
	case errors.Is(err, message.ErrForeign):
		return nil, err
	case err != nil:
		return nil, errSealed
	}
	return &e, nil
}

// Each calls fn with every link from that day on, file by file, and its event;
// the event is nil when its key was destroyed. A line that does not read ends
// it with an error.
func (l *Log) Each(ctx context.Context, from calendar.Day, fn func(message.Link, *message.Event) error) error {
	return l.scan(ctx, span{from: from}, nil, func(link message.Link) error {
		e, err := openEvent(l.keys, link)
		if err != nil {
			return err
		}
		return fn(link, e)
	})
}

// Trace returns the events of one message from the day of that instant on, in
// the order of the chain. Only lines that name the message are opened; those
// whose key was destroyed are left out.
func (l *Log) Trace(ctx context.Context, id message.ID, from time.Time) ([]message.Event, error) {
	var events []message.Event
	err := l.scan(ctx, since(from), []byte(`"message":"`+id.String()+`"`), func(link message.Link) error {
		if link.Message != id {
			return nil
		}
		e, err := openEvent(l.keys, link)
		if err == nil && e != nil {
			events = append(events, *e)
		}
		return err
	})
	slices.SortFunc(events, func(a, b message.Event) int { return int(int64(a.Seq) - int64(b.Seq)) }) //nolint:gosec // order only
	return events, err
}

// scan reads the lines of some days that contain want.
func (l *Log) scan(ctx context.Context, s span, want []byte, fn func(message.Link) error) error {
	days, err := daysIn(l.dir)
	if err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	for _, day := range days {
		if !s.has(day) {
			continue
		}
		path := fileOf(l.dir, day)
		err := eachLine(path, func(_ int, line []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !bytes.Contains(line, want) {
				return nil
			}
			link, err := parseLine(line, day)
			if err != nil {
				return err
			}
			return fn(link)
		})
		if err != nil {
			return fmt.Errorf("read audit log %s: %w", path, err)
		}
	}
	return nil
}
