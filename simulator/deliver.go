package simulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

// Pauses between two attempts of one mail, on the real clock.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
	idlePause  = 100 * time.Millisecond // how often due work is looked for by itself
	netTimeout = 30 * time.Second
)

// Sent is one mail that the platform writes or passes on, to either side.
// Mail for people outside of the customers' domains goes nowhere: it is built
// and kept, as if they had it.
type Sent struct {
	Message  string              // ID of the message it is about
	From, To string              // envelope
	Kind     message.ReceiptKind // "" for content
	Local    bool                // for the gateway
	Mail     []byte              // nil until built
	Done     bool                // delivered or, when not Local, built
	Failed   string              // why it was given up: the gateway's 5xx reply
}

type outgoing struct {
	Sent
	token     string
	build     func() ([]byte, error)
	notBefore time.Time // platform's clock
	next      time.Time // real clock
	pause     time.Duration
}

// Sent returns every mail that the platform had to send, in order.
func (p *Platform) Sent() []Sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Sent, len(p.sent))
	for i, o := range p.sent {
		all[i] = o.Sent
	}
	return all
}

// Flush waits until everything that is due has been done and delivered or
// refused for good. It returns ctx's error if that is not reached.
func (p *Platform) Flush(ctx context.Context) error {
	for {
		p.Tick()
		if len(p.ready(true)) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("flush: %w", ctx.Err())
		case <-p.ctx.Done():
			return errors.New("flush: platform is closed")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (p *Platform) outgoing(e *entry, b brand, k message.ReceiptKind, to string) *outgoing {
	o := &outgoing{token: newToken()}
	o.Message, o.Kind, o.To, o.From = e.ID, k, to, b.returnPath(o.token)
	_, o.Local = p.customer(to)
	return o
}

func (p *Platform) queue(o *outgoing) {
	p.outbox = append(p.outbox, o)
	p.sent = append(p.sent, o)
	p.wake()
}

func (p *Platform) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// run is the deliverer: one goroutine, one connection at a time.
func (p *Platform) run() {
	defer close(p.done)
	timer := time.NewTicker(p.o.Idle)
	defer timer.Stop()
	for {
		p.do(p.catchUp)
		p.deliverReady()
		select {
		case <-p.ctx.Done():
			return
		case <-p.kick:
		case <-timer.C:
		}
	}
}

// ready lists what is to be delivered now, with or without what pauses after a
// failed attempt.
func (p *Platform) ready(pausing bool) []*outgoing {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, wall := p.o.Clock.Now(), time.Now()
	var r []*outgoing
	for _, o := range p.outbox {
		if !o.notBefore.After(now) && (pausing || !o.next.After(wall)) {
			r = append(r, o)
		}
	}
	return r
}

func (p *Platform) deliverReady() {
	for _, o := range p.ready(false) {
		if p.ctx.Err() != nil {
			return
		}
		mail, err := o.Mail, error(nil)
		if mail == nil {
			mail, err = o.build()
		}
		if err == nil && o.Local && p.o.Deliver.Addr != "" {
			err = p.send(o, mail)
		}
		p.settle(o, mail, err)
	}
}

// settle notes what became of one attempt. A 5xx is for good, and so is what
// can't be built; all else is tried again.
func (p *Platform) settle(o *outgoing, mail []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o.Mail, o.build = mail, nil
	if mail == nil {
		o.Failed = "not built: " + err.Error()
		p.o.Log.Error("mail can't be built", "message", o.Message, "kind", o.Kind, "err", err)
	} else if reply, ok := errors.AsType[*gosmtp.SMTPError](err); ok && reply.Code >= 500 {
		o.Failed = reply.Error()
		p.o.Log.Warn("gateway refused mail", "message", o.Message, "kind", o.Kind, "code", reply.Code)
	} else if err != nil {
		o.pause = min(max(2*o.pause, firstPause), lastPause)
		o.next = time.Now().Add(o.pause)
		p.o.Log.Info("mail waits", "message", o.Message, "kind", o.Kind, "pause", o.pause)
		return
	}
	o.Done = err == nil
	p.outbox = slices.DeleteFunc(p.outbox, func(x *outgoing) bool { return x == o })
}

// send hands one mail to the gateway, over TLS or not at all.
func (p *Platform) send(o *outgoing, mail []byte) error {
	conn, err := p.o.Deliver.Dial(p.ctx, "tcp", p.o.Deliver.Addr)
	if err != nil {
		return fmt.Errorf("connect to gateway: %w", err)
	}
	forget := context.AfterFunc(p.ctx, func() { _ = conn.Close() })
	defer forget()
	_ = conn.SetDeadline(time.Now().Add(netTimeout)) // for the greeting; later the client's own times count
	tc := p.o.Deliver.TLS.Clone()
	if tc != nil && tc.ServerName == "" {
		tc.ServerName, _, _ = net.SplitHostPort(p.o.Deliver.Addr)
	}
	c, err := gosmtp.NewClientStartTLS(conn, tc)
	if err == nil {
		defer c.Close()
		c.CommandTimeout, c.SubmissionTimeout = netTimeout, netTimeout
		err = c.Hello(p.o.Hostname)
	}
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("greet gateway: %s", err) // a code said here is not about the mail: it is tried again
	}
	if err := c.SendMail(o.From, []string{o.To}, bytes.NewReader(mail)); err != nil {
		return err
	}
	_ = c.Quit() // the gateway has the mail
	return nil
}
