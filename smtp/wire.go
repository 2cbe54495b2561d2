package smtp

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Times that are not worth a key in the configuration.
const (
	handshakeTime = 30 * time.Second // for the TLS handshake
	rateGrace     = 30 * time.Second // waiting that Limits.MinRate does not count
)

// wire is one connection below go-smtp (and below TLS). go-smtp has a single
// deadline per command, which for DATA means the whole body; wire gives every
// read its own: how long the peer may be silent, how long a body may take, and
// how slow it may be.
//
// A read that ran out of time is final. go-smtp would otherwise go on and take
// the rest of a half-read body for commands.
type wire struct {
	net.Conn
	limits  Limits
	release func()
	once    sync.Once

	mu       sync.Mutex
	command  time.Time  // when the command being read must be complete
	open     bool       // a transaction is open
	body     *bodyClock // a body is on its way
	draining bool       // the server stops: only bodies are still read
	dead     error      // answers every further read
}

// bodyClock measures one body. Only the time spent waiting for the peer counts
// for its rate, not the time we need ourselves.
type bodyClock struct {
	start  time.Time
	waited time.Duration
	octets int64
	over   bool
}

func newWire(c net.Conn, limits Limits, release func()) *wire {
	return &wire{Conn: c, limits: limits, release: release, command: time.Now().Add(handshakeTime)}
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	start := time.Now()
	if err := w.arm(start); err != nil {
		return 0, err
	}
	n, err := w.Conn.Read(p)
	return n, w.settle(p[:n], time.Since(start), err)
}

// arm sets the deadline of the next read.
func (w *wire) arm(now time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.gone(); err != nil {
		return err
	}
	deadline := w.command
	if w.body != nil {
		deadline = w.body.deadline(now, w.limits)
	}
	if !now.Before(deadline) {
		return w.expire()
	}
	return w.Conn.SetReadDeadline(deadline)
}

// gone says why nothing more is read.
func (w *wire) gone() error {
	if w.dead == nil && w.draining && w.body == nil {
		return w.expire()
	}
	return w.dead
}

func (b *bodyClock) deadline(now time.Time, l Limits) time.Time {
	allowed := rateGrace + time.Duration(b.octets/l.MinRate)*time.Second - b.waited
	return earliest(now.Add(l.Idle), b.start.Add(l.Data), now.Add(allowed))
}

func earliest(first time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if t.Before(first) {
			first = t
		}
	}
	return first
}

// settle books what a read brought.
func (w *wire) settle(p []byte, took time.Duration, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.body != nil {
		w.body.waited += took
		w.body.octets += int64(len(p))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return w.expire()
	}
	return err
}

// expire ends the connection for reading. Inside a transaction the error is
// one that go-smtp passes on as it is (421); it would answer any other with a
// permanent 554. Outside, go-smtp answers a timeout with 421 by itself.
func (w *wire) expire() error {
	w.dead = io.EOF
	if w.open || w.body != nil {
		return &errTimeout
	}
	return os.ErrDeadlineExceeded
}

// SetReadDeadline implements net.Conn. go-smtp calls it once before each
// command; so it also marks the end of a body that was refused and skipped.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.command = t
	if w.body != nil && w.body.over {
		w.body = nil
	}
	return nil
}

// Close implements net.Conn.
func (w *wire) Close() error {
	w.once.Do(w.release)
	return w.Conn.Close()
}

func (w *wire) setOpen(open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = open
}

// beginBody starts the clock of a body. With BDAT the first read of a chunk may
// be waiting already; it gets the new deadline too.
func (w *wire) beginBody() *bodyClock {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.body = &bodyClock{start: now}
	w.Conn.SetReadDeadline(w.body.deadline(now, w.limits))
	return w.body
}

// endBody says that nobody wants the body any more; what is left of it is
// still read under its limits.
func (w *wire) endBody(b *bodyClock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.over = true
}

// hangUp lets the reply that is about to be written be the last.
func (w *wire) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = io.EOF
}

// ended says why no further command is taken, though some may have been
// received; nil if there is no reason.
func (w *wire) ended() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gone()
}

// busy reports whether the end of the connection would cut something short.
func (w *wire) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open || w.body != nil
}

// beginTLS forgets what was going on in the clear, and gives the handshake its
// time.
func (w *wire) beginTLS() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open, w.body = false, nil
	w.command = time.Now().Add(handshakeTime)
	w.Conn.SetWriteDeadline(w.command)
}

// drain wakes a connection that waits for a command, so that it is told 421;
// one that is sending a body may finish it.
func (w *wire) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
	if w.body == nil {
		w.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}
