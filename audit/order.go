package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"gatewayd/calendar"
	"gatewayd/message"
)

// Reader reads the log in the order of the chain, and goes on where it ended. It
// serves one goroutine.
type Reader struct {
	log  *Log
	days span
	last uint64 // number of the link that was read last; 0: none
	// Bad is told of a line that does not read, and says whether to go on behind
	// it; nil: it ends the reading.
	Bad func(day calendar.Day, line int, err error) error

	offsets map[calendar.Day]int64 // how far the text of a day was read
	sealed  map[calendar.Day]bool  // days with nothing more, unless a late line opens them again
}

// Reader returns a reader of the links with a greater number than after.
func (l *Log) Reader(after uint64) *Reader { return l.reader(after, span{}) }

func (l *Log) reader(after uint64, days span) *Reader {
	return &Reader{log: l, days: days, last: after, offsets: map[calendar.Day]int64{}, sealed: map[calendar.Day]bool{}}
}

// Last returns the number of the newest link in the files.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.Seq
}

// Read calls fn with every entry that is there. Where fn fails the next Read
// begins with the same entry.
func (r *Reader) Read(ctx context.Context, fn func(Entry) error) error {
	return r.links(ctx, func(link message.Link) error {
		e, err := r.log.entry(link)
		if err == nil {
			err = fn(e)
		}
		return err
	})
}

// links is Read without opening what is sealed. Around midnight, and after a
// crash, an event can be committed after one of a later day: so the files are
// merged. A later file is opened only when the next number is not in the open ones.
func (r *Reader) links(ctx context.Context, fn func(message.Link) error) error {
	head := r.log.Last() // what is written meanwhile may stand in a file whose end was passed
	if head <= r.last {
		return nil
	}
	days, err := r.unread()
	if err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	var open []*cursor
	defer func() {
		for _, c := range open {
			c.close()
		}
	}()
	for ctx.Err() == nil {
		var next *cursor
		for _, c := range open {
			if !c.done && (next == nil || c.link.Seq < next.link.Seq) {
				next = c
			}
		}
		if len(days) > 0 && (next == nil || next.link.Seq > r.last+1 && (r.last > 0 || len(open) < 2)) {
			c, err := r.open(days[0])
			if err != nil {
				return err
			}
			days, open = days[1:], append(open, c)
			continue
		}
		if next == nil || next.link.Seq > head {
			return nil
		}
		if next.link.Seq > r.last { // else it stands there twice, or was read before
			if err := fn(next.link); err != nil {
				return err
			}
			r.last = next.link.Seq
		}
		r.offsets[next.day] = next.base + next.lines.end
		if err := r.advance(next); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// unread lists the days in which there may be something to read.
func (r *Reader) unread() ([]calendar.Day, error) {
	all, err := daysIn(r.log.dir)
	if err != nil {
		return nil, err
	}
	var days []calendar.Day
	for _, day := range all {
		if !r.days.has(day) {
			continue
		}
		if exists(pathOf(r.log.dir, day)) {
			delete(r.sealed, day)
		} else if !r.sealed[day] {
			s, err := readSeal(sealOf(r.log.dir, day), day, nil)
			r.sealed[day] = err == nil && (!s.Erased.IsZero() || s.upTo() <= r.last)
		}
		if !r.sealed[day] {
			days = append(days, day)
		}
	}
	return days, nil
}

// upTo is the greatest number in the sealed day.
func (s Seal) upTo() (last uint64) {
	for _, r := range s.Runs {
		last = max(last, r.Last)
	}
	return last
}

// cursor is one open day file with its next link.
type cursor struct {
	day   calendar.Day
	file  io.ReadCloser
	base  int64 // where reading began
	lines *lines
	link  message.Link
	done  bool
}

func (c *cursor) close() {
	if c.file != nil {
		c.file.Close()
	}
}

func (r *Reader) open(day calendar.Day) (*cursor, error) {
	c := &cursor{day: day, base: r.offsets[day]}
	file, err := openFile(pathOf(r.log.dir, day))
	if errors.Is(err, os.ErrNotExist) {
		file, err = openFile(zipOf(r.log.dir, day))
	}
	switch {
	case errors.Is(err, os.ErrNotExist): // erased meanwhile
		c.done = true
		return c, nil
	case err != nil:
		return nil, fmt.Errorf("read audit log %s: %w", day, err)
	}
	c.file = file
	if s, ok := file.(io.Seeker); ok {
		_, err = s.Seek(c.base, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, file, c.base)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		c.close()
		return nil, fmt.Errorf("read audit log %s: %w", day, err)
	}
	c.lines = newLines(file)
	if err := r.advance(c); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// advance reads the next link of a day.
func (r *Reader) advance(c *cursor) error {
	for {
		line, err := c.lines.next()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) { // being written
			c.done = true
			return nil
		}
		if err == nil {
			if c.link, err = parseLine(line, c.day); err == nil {
				return nil
			}
		}
		if r.Bad != nil && (errors.Is(err, errForm) || errors.Is(err, errHash) || errors.Is(err, errWrong)) {
			err = r.Bad(c.day, c.lines.n, err)
		}
		if err != nil {
			return fmt.Errorf("read audit log %s: line %d: %w", c.day, c.lines.n, err)
		}
	}
}
