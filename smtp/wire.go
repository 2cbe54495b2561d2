package smtp

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"
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
	greeted  bool
	promised bool // we said 220 to STARTTLS: only TLS records may follow
	held     bool // reads answer at once that there is nothing
	records  recordTracker
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

// wireOf finds the wire below a connection of go-smtp.
func wireOf(c *gosmtp.Conn) *wire {
	conn := c.Conn()
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	w, _ := conn.(*wire)
	return w
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
	if w.dead != nil {
		return w.dead
	}
	if w.held {
		return os.ErrDeadlineExceeded
	}
	if w.draining && w.body == nil {
		return w.expire()
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

// settle books what a read brought. Inside a transaction the end of the
// connection is an error, not io.EOF: go-smtp takes io.EOF in the middle of a
// chunk for the end of the chunk, and would have a cut message accepted.
func (w *wire) settle(p []byte, took time.Duration, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records.see(p)
	if w.body != nil {
		w.body.waited += took
		w.body.octets += int64(len(p))
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return w.expire()
	case err == io.EOF && (w.open || w.body != nil):
		return &errBroken
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

// Write implements net.Conn. After 220 to STARTTLS it lets only TLS records
// out: when the handshake fails go-smtp would go on in the clear, and the
// connection is closed instead (RFC 3207 section 4.1 leaves it to us).
func (w *wire) Write(p []byte) (int, error) {
	if w.plainAfterPromise(p) {
		w.Close()
		return 0, net.ErrClosed
	}
	return w.Conn.Write(p)
}

// plainAfterPromise tells replies from TLS records by their first octet: a
// digit is no TLS content type. 220 is said twice in the clear: as greeting,
// and to STARTTLS.
func (w *wire) plainAfterPromise(p []byte) bool {
	if len(p) == 0 || p[0] < '0' || p[0] > '9' {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.promised {
		return true
	}
	if string(p[:min(3, len(p))]) == "220" {
		w.promised, w.greeted = w.greeted, true
		if w.promised {
			w.command = time.Now().Add(handshakeTime)
			w.records = recordTracker{} // what the peer sends from here on is TLS
		}
	}
	return false
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

// closedByTLS reports whether the peer has ended TLS (close_notify). That end
// is invisible to wire, and go-smtp takes it for the end of the chunk that was
// being sent. t may be asked only while nobody else reads from it; spoilt is
// true if asking has swallowed an octet of what follows.
func (w *wire) closedByTLS(t *tls.Conn) (closed, spoilt bool) {
	if !w.hold(t.ConnectionState().Version) {
		return false, false
	}
	defer w.unhold()
	n, err := t.Read(make([]byte, 1))
	return n == 0 && !errors.Is(err, os.ErrDeadlineExceeded), n > 0
}

// hold stops reading if the last record may have been an alert, and says
// whether it did.
func (w *wire) hold(version uint16) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = w.records.mayBeAlert(version)
	return w.held
}

func (w *wire) unhold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = false
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
