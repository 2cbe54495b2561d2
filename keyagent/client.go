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
	retryPause = time.Second      // between two tries to reach the agent
	maxIdle    = 16               // connections that wait for the next question
	maxAsking  = 64               // questions at once: fewer than the agent takes
)

// Client asks the agent behind a socket. It may be used by several goroutines.
type Client struct {
	path string
	turn chan struct{} // one for each question under way

	mu   sync.Mutex
	idle []net.Conn
}

// NewClient returns a client of the agent that listens at path. Nothing is asked
// yet.
func NewClient(path string) *Client {
	return &Client{path: path, turn: make(chan struct{}, maxAsking)}
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
		own, seen, err := c.Keys(ctx)
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
		for now := seen; now == seen && err == nil; {
			var a answer
			a, err = c.ask(ctx, request{Op: opWatch, Seen: seen})
			now = a.Seen
		}
	}
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
	begun, err := c.over(ctx, conn, q, take)
	if err != nil && kept && !begun && ctx.Err() == nil {
		c.forget()
		if conn, err = c.dial(ctx); err == nil {
			_, err = c.over(ctx, conn, q, take)
		}
	}
	if err != nil {
		return away(err)
	}
	return nil
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
