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
	Document []byte              // signed PDF of a receipt
	Done     bool                // delivered or, when not Local, built
	Failed   string              // reply with which the gateway refused it for good
}

type outgoing struct {
	Sent
	brand     brand
	token     string
	build     func() (mail, document []byte, err error)
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
		if p.idle() {
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

func (p *Platform) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.o.Clock.Now()
	return !slices.ContainsFunc(p.outbox, func(o *outgoing) bool { return !o.notBefore.After(now) })
}

func (p *Platform) outgoing(e *entry, b brand, to string) *outgoing {
	o := &outgoing{brand: b, token: newToken()}
	o.Message, o.To, o.From = e.ID, to, b.returnPath(o.token)
	_, o.Local = p.customer(to)
	return o
}

func (p *Platform) queue(o *outgoing) {
	p.outbox = append(p.outbox, o)
	p.sent = append(p.sent, o)
}

// run is the deliverer: one goroutine, one connection at a time.
func (p *Platform) run() {
	defer close(p.done)
	timer := time.NewTicker(idlePause)
	defer timer.Stop()
	for {
		p.mu.Lock()
		p.catchUp()
		after := p.after
		p.after = nil
		p.mu.Unlock()
		for _, f := range after {
			f()
		}
		p.deliverReady()
		select {
		case <-p.ctx.Done():
			return
		case <-p.kick:
		case <-timer.C:
		}
	}
}

func (p *Platform) ready() []*outgoing {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, wall := p.o.Clock.Now(), time.Now()
	var r []*outgoing
	for _, o := range p.outbox {
		if !o.notBefore.After(now) && !o.next.After(wall) {
			r = append(r, o)
		}
	}
	return r
}

func (p *Platform) deliverReady() {
	var l link
	defer l.close()
	for _, o := range p.ready() {
		if p.ctx.Err() != nil {
			return
		}
		mail, doc, err := o.Mail, o.Document, error(nil)
		if mail == nil {
			mail, doc, err = o.build()
		}
		if err == nil && o.Local && p.o.Deliver.Addr != "" {
			err = l.send(p, o, mail)
		}
		p.settle(o, mail, doc, err)
	}
}

// settle notes what became of one attempt. A 5xx is for good, all else is
// tried again.
func (p *Platform) settle(o *outgoing, mail, doc []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o.Mail, o.Document = mail, doc
	if reply, ok := errors.AsType[*gosmtp.SMTPError](err); ok && reply.Code >= 500 {
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

// link is a connection to the gateway, opened when first needed.
type link struct {
	client *gosmtp.Client
	forget func() bool
}

func (l *link) open(p *Platform) error {
	if l.client != nil {
		return nil
	}
	d := net.Dialer{Timeout: netTimeout}
	conn, err := d.DialContext(p.ctx, "tcp", p.o.Deliver.Addr)
	if err != nil {
		return fmt.Errorf("connect to gateway: %w", err)
	}
	forget := context.AfterFunc(p.ctx, func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(netTimeout))
	tc := p.o.Deliver.TLS.Clone()
	if tc != nil && tc.ServerName == "" {
		tc.ServerName, _, _ = net.SplitHostPort(p.o.Deliver.Addr)
	}
	c, err := gosmtp.NewClientStartTLS(conn, tc)
	if err == nil {
		c.CommandTimeout, c.SubmissionTimeout = netTimeout, netTimeout
		err = c.Hello(p.o.Hostname)
	}
	if err != nil {
		forget()
		_ = conn.Close()
		return fmt.Errorf("greet gateway: %w", temporary(err))
	}
	l.client, l.forget = c, forget
	return nil
}

// temporary hides a reply's code: what the gateway says before MAIL is not
// about the mail.
func temporary(err error) error { return errors.New(err.Error()) }

func (l *link) send(p *Platform, o *outgoing, mail []byte) error {
	if err := l.open(p); err != nil {
		return err
	}
	err := l.client.SendMail(o.From, []string{o.To}, bytes.NewReader(mail))
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*gosmtp.SMTPError](err); !ok || l.client.Reset() != nil {
		l.close()
	}
	return err
}

func (l *link) close() {
	if l.client == nil {
		return
	}
	if err := l.client.Quit(); err != nil {
		_ = l.client.Close()
	}
	l.forget()
	l.client = nil
}
