// Package syslog sends the lines of the audit log on to a collector, as they come:
// messages of RFC 5424 over TLS (RFC 5425), with a durable position, so that after
// a restart or an outage of the collector it goes on where it was.
//
// Syslog has no receipts. What counts as received is what the collector's system
// has acknowledged while the connection lived on for a while; after a broken
// connection the rest is sent again. So a line can come twice, which its number
// tells, and is lost only if the collector loses what it has taken.
package syslog

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"gatewayd/audit"
	"gatewayd/calendar"
)

// Options wire a forwarder. Zero times get the defaults named.
type Options struct {
	Log      *audit.Log
	Addr     string      // host:port of the collector
	TLS      *tls.Config // whom to believe, as whom to sign in
	Host     string      // ours, in each message
	Shown    audit.Shown // which fields leave the gateway
	Position string      // file
	Logger   *slog.Logger

	Look    time.Duration // pause between two looks for new lines; 2 s
	Settle  time.Duration // how long a connection must have lived on; 5 s
	First   time.Duration // pause after the first failure, doubling; 1 s
	Longest time.Duration // longest pause; 5 min
}

// Forwarder sends lines on.
type Forwarder struct {
	o    Options
	kept position // on disk
}

// position is what the file holds.
type position struct {
	Link uint64 `json:"link"` // last one that counts as received
}

// New reads the position. One that does not read is an error: the operator removes
// the file, and everything is sent again.
func New(o Options) (*Forwarder, error) {
	defaults(&o.Look, 2*time.Second)
	defaults(&o.Settle, 5*time.Second)
	defaults(&o.First, time.Second)
	defaults(&o.Longest, 5*time.Minute)
	f := &Forwarder{o: o}
	text, err := os.ReadFile(o.Position)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, nil
	case err != nil:
		return nil, fmt.Errorf("syslog position: %w", err)
	}
	if err := json.Unmarshal(text, &f.kept); err != nil {
		return nil, fmt.Errorf("syslog position %s: %w; remove the file to have everything sent again", o.Position, err)
	}
	return f, nil
}

func defaults(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Run sends until ctx ends. Trouble is logged once, and tried again.
func (f *Forwarder) Run(ctx context.Context) {
	pause, broken := f.o.First, false
	for ctx.Err() == nil {
		before := f.kept
		err := f.connection(ctx)
		if ctx.Err() != nil {
			return
		}
		if f.kept != before {
			pause, broken = f.o.First, false
		}
		if !broken {
			f.o.Logger.Warn("the audit log is not sent on: the syslog collector cannot be reached, or broke off; it will be tried again", "error", err)
			broken = true
		}
		wait(ctx, pause/2+rand.N(pause/2+1))
		pause = min(2*pause, f.o.Longest)
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// errClosed: the collector has ended the connection.
var errClosed = errors.New("the collector closed the connection")

// connection opens one connection and sends over it until it breaks.
func (f *Forwarder) connection(ctx context.Context) error {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 30 * time.Second}, Config: f.o.TLS}
	opened, err := dialer.DialContext(ctx, "tcp", f.o.Addr)
	if err != nil {
		return err
	}
	conn := opened.(*tls.Conn)
	defer conn.Close()
	alive, end := context.WithCancelCause(ctx)
	defer end(nil)
	closed := make(chan error, 1)
	go func() { // a collector says nothing: whatever comes is the end
		_, err := io.Copy(io.Discard, conn)
		closed <- err
		if err == nil {
			err = errClosed
		}
		end(err)
	}()
	if f.kept.Link > f.o.Log.Last() {
		f.o.Logger.Warn("the audit log is older than what the syslog collector has, as after a restore; it is sent again from its beginning")
		f.kept = position{}
	}
	s := &sending{f: f, conn: conn, out: bufio.NewWriterSize(conn, 64<<10), reader: f.o.Log.Reader(f.kept.Link), left: f.kept.Link, sent: f.kept.Link, before: f.kept.Link}
	s.reader.Bad = func(day calendar.Day, line int, err error) error {
		f.o.Logger.Error("a line of the audit log does not read and is not sent on: gatewayd audit verify tells more", "day", day.String(), "line", line, "error", err)
		return nil
	}
	if err := s.run(alive); err != nil {
		return err
	}
	return s.farewell(closed)
}

// sending is one connection.
type sending struct {
	f      *Forwarder
	conn   *tls.Conn
	out    *bufio.Writer
	reader *audit.Reader
	frame  []byte

	left   uint64    // everything up to here was given to our system
	sent   uint64    // everything up to here was acknowledged by the collector's system
	before uint64    // and up to here at
	at     time.Time // that time, or earlier

	checkpoint uint64 // the last one that was sent; over each connection anew, for it is not noted what became of it
}

// sendTimeout bounds how long a collector may take nothing.
const sendTimeout = time.Minute

// run sends what is there, and what comes; nil when it ends in order.
func (s *sending) run(alive context.Context) error {
	s.at = time.Now()
	for {
		if err := s.pass(alive); err != nil {
			if cause := context.Cause(alive); alive.Err() != nil && cause != nil {
				err = cause
			}
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
		if err := s.keep(); err != nil {
			return err
		}
		wait(alive, s.f.o.Look)
	}
}

// pass sends what is new, and waits until the other side has acknowledged it.
func (s *sending) pass(alive context.Context) error {
	if err := alive.Err(); err != nil {
		return err
	}
	last := s.sent
	err := s.reader.Read(alive, func(e audit.Entry) error {
		s.frame = audit.AppendSyslog(s.frame[:0], e, s.f.o.Shown, s.f.o.Host)
		last = e.Seq
		return s.write()
	})
	if err != nil {
		return err
	}
	if c := s.f.o.Log.Signed(); c.Seq > s.checkpoint && c.Seq <= last {
		s.frame = audit.AppendCheckpoint(s.frame[:0], c, s.f.o.Shown, s.f.o.Host)
		if err := s.write(); err != nil {
			return err
		}
		s.checkpoint = c.Seq
	}
	if s.out.Buffered() == 0 && last == s.sent {
		return nil
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	s.left = last
	for end := time.Now().Add(sendTimeout); ; wait(alive, 5*time.Millisecond) {
		switch n, err := unacknowledged(s.conn.NetConn()); {
		case err != nil:
			return err
		case n == 0:
			s.sent = last
			return nil
		case time.Now().After(end):
			return errors.New("the collector takes nothing more")
		case alive.Err() != nil:
			return alive.Err()
		}
	}
}

// write writes one message in its frame (RFC 5425 section 4.3): its length in
// octets, a space, the message.
func (s *sending) write() error {
	if s.out.Buffered() == 0 || s.out.Available() < len(s.frame)+8 {
		if err := s.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
			return err
		}
	}
	_, err := s.out.Write(append(strconv.AppendInt(nil, int64(len(s.frame)), 10), ' '))
	if err == nil {
		_, err = s.out.Write(s.frame)
	}
	return err
}

// keep notes durably how far it came, of what has settled.
func (s *sending) keep() error {
	if time.Since(s.at) < s.f.o.Settle {
		return nil
	}
	settled := s.before
	s.before, s.at = s.sent, time.Now()
	return s.f.keep(settled)
}

// farewell ends the connection in order: when the collector has closed it, too, it
// has read everything.
func (s *sending) farewell(closed <-chan error) error {
	if err := s.conn.CloseWrite(); err != nil {
		return err
	}
	t := time.NewTimer(2 * time.Second)
	defer t.Stop()
	select {
	case err := <-closed:
		if err == nil {
			err = s.f.keep(s.left)
		}
		return err
	case <-t.C:
		return nil
	}
}

// keep writes the position, durably.
func (f *Forwarder) keep(link uint64) error {
	if link <= f.kept.Link {
		return nil
	}
	text, err := json.Marshal(position{link})
	if err != nil {
		return err
	}
	if err := replace(f.o.Position, text); err != nil {
		return fmt.Errorf("syslog position: %w", err)
	}
	f.kept.Link = link
	return nil
}

func replace(path string, text []byte) error {
	out, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
