package smtpclient

import (
	"slices"
	"sync"
	"time"
)

// PoolOptions bounds what a Pool keeps. A zero field takes its default.
type PoolOptions struct {
	PerDestination int           // idle connections to one destination under one identity: 10
	Total          int           // idle connections: 100
	Idle           time.Duration // how long a connection may wait for the next message: 10 s
	Age            time.Duration // after which a connection takes no further message: 5 min, so that names and certificates are looked at again
	Messages       int           // over one connection: 100; fewer where the peer says so (RFC 9422)
}

// maxRefusals is how many refusals a connection may see; a refused recipient is
// two with PIPELINING. Servers make a client wait, or close, after some errors in
// one session (Postfix: smtpd_soft_error_limit, 10); the next message must not
// suffer for the last ones.
const maxRefusals = 8

// memory is how long it is kept in mind that a peer stumbles over an extension
// that it offers, and of how many.
const (
	maxMemory = 1000
	memory    = time.Hour
)

// Pool keeps connections that are in order for the next message to the same
// destination under the same identity (key). It runs nothing of its own: each
// idle connection has a timer. It may be used by several goroutines at once; a
// nil Pool keeps nothing.
type Pool struct {
	o PoolOptions

	mu      sync.Mutex
	idle    map[key][]*session // the one that waits longest first
	total   int
	closed  bool
	leaving sync.WaitGroup // connections that say goodbye
	poor    map[key]distrust
}

// distrust is what a peer should not be offered, whatever it announces.
type distrust struct {
	what  extension
	until time.Time
}

// NewPool makes an empty pool.
func NewPool(o PoolOptions) *Pool {
	n := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	d := func(v *time.Duration, def time.Duration) {
		if *v <= 0 {
			*v = def
		}
	}
	n(&o.PerDestination, 10)
	n(&o.Total, max(100, o.PerDestination))
	n(&o.Messages, 100)
	d(&o.Idle, 10*time.Second)
	d(&o.Age, 5*time.Minute)
	return &Pool{o: o, idle: map[key][]*session{}, poor: map[key]distrust{}}
}

// take returns a kept connection on which nothing has happened since, the
// youngest first, or nil.
func (p *Pool) take(k key) *session {
	for {
		s := p.pop(k)
		if s == nil || s.quiet() {
			return s
		}
		s.raw.Close()
	}
}

func (p *Pool) pop(k key) *session {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[k]
	if len(list) == 0 {
		return nil
	}
	s := list[len(list)-1]
	p.remove(k, len(list)-1)
	return s
}

// put keeps a connection, or lets it or a longer idle one go. It reports false
// when the caller must end the connection itself.
func (p *Pool) put(k key, s *session) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return false
	case s.used >= s.mayCarry(p.o.Messages) || s.refusals >= maxRefusals || time.Since(s.born) >= p.o.Age:
		p.dismiss(s)
		return true
	}
	s.since = time.Now()
	s.timer = time.AfterFunc(p.o.Idle, func() { p.expire(k, s) })
	p.idle[k] = append(p.idle[k], s)
	p.total++
	if len(p.idle[k]) > p.o.PerDestination {
		p.drop(k, 0)
	}
	if p.total > p.o.Total {
		p.drop(p.longest(), 0)
	}
	return true
}

// longest finds the destination of the connection that waits longest.
func (p *Pool) longest() (k key) {
	var since time.Time
	for at, list := range p.idle {
		if since.IsZero() || list[0].since.Before(since) {
			k, since = at, list[0].since
		}
	}
	return k
}

// expire ends a connection that nobody wanted. Between the timer and the lock
// somebody may have taken it, and even brought it back.
func (p *Pool) expire(k key, s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.idle[k], s); i >= 0 && time.Since(s.since) >= p.o.Idle {
		p.drop(k, i)
	}
}

// drop takes a connection out and says goodbye over it.
func (p *Pool) drop(k key, i int) {
	s := p.idle[k][i]
	p.remove(k, i)
	p.dismiss(s)
}

func (p *Pool) remove(k key, i int) {
	p.idle[k][i].timer.Stop()
	p.idle[k] = slices.Delete(p.idle[k], i, i+1)
	if len(p.idle[k]) == 0 {
		delete(p.idle, k)
	}
	p.total--
}

// dismiss says goodbye without making anybody wait; Close waits for it.
func (p *Pool) dismiss(s *session) { p.leaving.Go(s.quit) }

// Close ends every idle connection and waits for the goodbyes, each at most
// Timeouts.Quit. Connections in use end with their message, and none is kept
// from then on.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	for k := range p.idle {
		for len(p.idle[k]) > 0 {
			p.drop(k, 0)
		}
	}
	p.mu.Unlock()
	p.leaving.Wait()
	return nil
}

// avoid keeps in mind what this peer stumbles over. Another way of saying the
// same is all that it costs to be wrong about that.
func (p *Pool) avoid(k key, what extension) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for at := range p.poor {
		if len(p.poor) < maxMemory {
			break
		}
		delete(p.poor, at)
	}
	p.poor[k] = distrust{what, time.Now().Add(memory)}
}

// avoided tells what this peer stumbles over.
func (p *Pool) avoided(k key) extension {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := p.poor[k]; time.Now().Before(d.until) {
		return d.what
	}
	return 0
}
