package keyagent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/keys"
)

// How a Client treats its agent.
const (
	askTime    = 30 * time.Second // longest time for one answer: a token may be slow
	pulse      = 2 * time.Second  // between two questions whether the agent works, while it is followed
	patience   = 4 * time.Second  // longest time for the answer: an agent that is stopped or hangs is out of reach
	retryPause = time.Second      // between two tries to reach the agent
	maxIdle    = 16               // connections that wait for the next question
	maxAsking  = 64               // questions at once: fewer than the agent takes
)

// Client asks the agent behind a socket. It may be used by several goroutines.
type Client struct {
	path string
	turn chan struct{} // one for each question under way

	pulse, patience time.Duration

	mu   sync.Mutex
	idle []net.Conn
	hung error                 // the agent that is followed does not answer; nil: it does
	busy map[net.Conn]struct{} // connections with a question under way, but those that look whether it works
}

// errHung: the agent takes connections and answers nothing.
var errHung = errors.New("it does not answer")

// NewClient returns a client of the agent that listens at path. Nothing is asked
// yet.
func NewClient(path string) *Client {
	return &Client{path: path, turn: make(chan struct{}, maxAsking), pulse: pulse, patience: patience, busy: map[net.Conn]struct{}{}}
}

// away marks an error as one that says nothing about the mail.
func away(err error) error { return fmt.Errorf("key agent: %w: %w", cms.ErrKeyAway, err) }

// Keys returns the keys of the agent: their public halves, with what asks the agent
// where the private ones are needed. seen names them: after each change they have another
// name.
func (c *Client) Keys(ctx context.Context) (own []keys.Own, seen uint64, err error) {
	err = c.converse(ctx, request{Op: opList}, func(a answer) (bool, error) {
		if a.Key == nil {
			seen = a.Seen
			return false, nil
		}
		o, err := c.own(*a.Key)
		if err == nil && len(own) == maxKeys {
			err = errFrame
		}
		own = append(own, o)
		return true, err
	})
	return own, seen, err
}

// Master returns the gateway's master key, 32 octets, where the agent has it.
func (c *Client) Master(ctx context.Context) ([]byte, error) {
	a, err := c.ask(ctx, request{Op: opMaster})
	switch {
	case err != nil:
		return nil, err
	case a.Fault != "" || len(a.Data) != 32:
		return nil, fmt.Errorf("key agent: not a master key: %s", a.Text)
	}
	return a.Data, nil
}

// Reload lets the agent read its keys again.
func (c *Client) Reload(ctx context.Context) error {
	_, err := c.ask(ctx, request{Op: opReload})
	return err
}

// Follow calls changed with the keys as they are, and again whenever they have
// changed; with an error once the agent is out of reach. It returns when ctx ends.
func (c *Client) Follow(ctx context.Context, changed func([]keys.Own, error)) {
	lost := false
	for ctx.Err() == nil {
		own, seen, err := c.current(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil || !lost {
			changed(own, err)
		}
		if lost = err != nil; lost {
			pause(ctx, retryPause)
			continue
		}
		c.watch(ctx, seen)
	}
}

// current is Keys of an agent that works, within the time of a pulse.
func (c *Client) current(ctx context.Context) ([]keys.Own, uint64, error) {
	if err := c.ping(ctx); err != nil {
		return nil, 0, err
	}
	return c.Keys(ctx)
}

// watch returns when the keys may be others than seen, or the agent is out of reach.
// The answer to a watch may be long in coming; whether the agent works is asked beside
// it.
func (c *Client) watch(ctx context.Context, seen uint64) {
	ctx, stop := context.WithCancel(ctx)
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		for ctx.Err() == nil {
			if pause(ctx, c.pulse); ctx.Err() == nil && c.ping(ctx) != nil {
				stop()
			}
		}
	}()
	for now := seen; now == seen && ctx.Err() == nil; {
		a, err := c.ask(ctx, request{Op: opWatch, Seen: seen})
		if err != nil {
			break
		}
		now = a.Seen
	}
	stop()
	<-beating
}

// ping asks whether the agent works. While it does not answer, whoever waits for it
// waits no more, and who asks hears so at once.
func (c *Client) ping(ctx context.Context) error {
	asking, stop := context.WithTimeout(ctx, c.patience)
	defer stop()
	conn, err := c.dial(asking)
	if err == nil {
		_, err = c.over(asking, conn, request{Op: opPing}, func(answer) (bool, error) { return false, nil })
	}
	switch {
	case err == nil:
		c.mark(nil)
		return nil
	case asking.Err() != nil && ctx.Err() == nil:
		err = errHung
		c.mark(err)
	default: // it is not there, which whoever asks finds out himself
		c.mark(nil)
	}
	return away(err)
}

// mark notes whether the agent answers. When it does not, its connections end.
func (c *Client) mark(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hung = err; err == nil {
		return
	}
	for conn := range c.busy {
		conn.Close()
	}
	for _, conn := range c.idle {
		conn.Close()
	}
	c.idle = nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// ask asks one question. Whatever goes wrong, and whatever the agent does not
// want to say now, is cms.ErrKeyAway.
func (c *Client) ask(ctx context.Context, q request) (got answer, err error) {
	err = c.converse(ctx, q, func(a answer) (bool, error) {
		got = a
		return false, nil
	})
	if err != nil {
		return answer{}, err
	}
	switch got.Fault {
	case "", faultUnopened, faultBad:
		return got, nil
	}
	return answer{}, away(errors.New(got.Text))
}

// converse asks one question and gives each frame of the answer to take, which says
// whether there is more. A connection that was kept may have ended meanwhile: then
// it is asked once more over a new one.
func (c *Client) converse(ctx context.Context, q request, take func(answer) (more bool, err error)) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return away(ctx.Err())
	}
	conn, kept, err := c.connection(ctx)
	if err != nil {
		return away(err)
	}
	begun, err := c.noted(ctx, conn, q, take)
	if err != nil && kept && !begun && ctx.Err() == nil && !errors.Is(err, errHung) {
		c.forget()
		if conn, err = c.dial(ctx); err == nil {
			_, err = c.noted(ctx, conn, q, take)
		}
	}
	if err != nil {
		return away(err)
	}
	return nil
}

// noted is over with a connection that ends when the agent turns out to hang.
func (c *Client) noted(ctx context.Context, conn net.Conn, q request, take func(answer) (bool, error)) (begun bool, err error) {
	c.mu.Lock()
	hung := c.hung
	if hung == nil {
		c.busy[conn] = struct{}{}
	}
	c.mu.Unlock()
	if hung != nil {
		conn.Close()
		return false, hung
	}
	begun, err = c.over(ctx, conn, q, take)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, conn)
	if err != nil && c.hung != nil {
		err = c.hung
	}
	return begun, err
}

// over uses one connection, and keeps it when all went well. begun: something of the
// answer has come.
func (c *Client) over(ctx context.Context, conn net.Conn, q request, take func(answer) (bool, error)) (begun bool, err error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		if stop() && err == nil {
			c.keep(conn)
		} else {
			conn.Close()
		}
	}()
	_ = conn.SetDeadline(time.Now().Add(askTime))
	if err := writeFrame(conn, q, maxRequest); err != nil {
		return false, err
	}
	for more := true; more; begun = true {
		var a answer
		if err := readFrame(conn, &a, maxAnswer); err != nil {
			return begun, err
		}
		if more, err = take(a); err != nil {
			return true, err
		}
	}
	return true, nil
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: askTime}
	return d.DialContext(ctx, "unix", c.path)
}

func (c *Client) connection(ctx context.Context) (conn net.Conn, kept bool, err error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		conn, c.idle = c.idle[n-1], c.idle[:n-1]
	}
	c.mu.Unlock()
	if conn != nil {
		return conn, true, nil
	}
	conn, err = c.dial(ctx)
	return conn, false, err
}

func (c *Client) keep(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) < maxIdle {
		c.idle = append(c.idle, conn)
		return
	}
	conn.Close()
}

// forget closes the connections that wait: the agent is another one.
func (c *Client) forget() {
	c.mu.Lock()
	idle := c.idle
	c.idle = nil
	c.mu.Unlock()
	for _, conn := range idle {
		conn.Close()
	}
}

// Close ends the connections that wait.
func (c *Client) Close() error {
	c.forget()
	return nil
}
