package smtpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"gatewayd/connectors"
	"gatewayd/message"
)

// inMemory is the size up to which a message, header included, is read once and
// kept; a longer one is read a second time while it leaves.
const inMemory = 64 << 10

// blockSize is how much of a longer message one write brings.
const blockSize = 64 << 10

// Send hands the message over in one transaction. A nil error means a 2xx reply
// to the end of the message. Errors are *connectors.Error: Temporary or
// Permanent, and Unclear exactly when the end of the message may have left and
// no reply came. The end of ctx cuts the connection at once, in whatever step;
// only a message whose end has left still waits for its reply, for
// Timeouts.Grace.
//
// A kept connection can be dead without our knowing. One that turns out to be so
// before the peer accepted anything of this transaction is replaced, once, by a
// fresh one: the message has not been tried yet.
func (c *Client) Send(ctx context.Context, m connectors.Mail) (connectors.Sent, error) {
	f, err := inspect(m)
	if err != nil {
		return connectors.Sent{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeouts.Whole)
	defer cancel()
	if s := c.o.Pool.take(c.key); s != nil {
		s.o = &c.o
		s.attach(ctx)
		sent, stale, err := c.sendBy(s, m, f)
		if !stale || ctx.Err() != nil {
			return sent, err
		}
	}
	s, err := c.connect(ctx)
	if err != nil {
		return connectors.Sent{}, err
	}
	if err := s.begin(); err != nil {
		s.leave(err)
		return connectors.Sent{}, err
	}
	sent, _, err := c.sendBy(s, m, f)
	return sent, err
}

// sendBy uses the connection and decides what becomes of it; the session is not
// ours afterwards. It was stale if it broke before the peer accepted anything.
func (c *Client) sendBy(s *session, m connectors.Mail, f shape) (sent connectors.Sent, stale bool, err error) {
	known := c.o.Pool.avoided(c.key)
	s.avoid |= known
	sent, err = s.transact(m, f)
	if s.avoid != known {
		c.o.Pool.avoid(c.key, s.avoid)
	}
	stale = s.stale
	switch {
	case !s.detach() || s.broken:
		s.raw.Close()
	case !c.o.Pool.put(c.key, s):
		s.quit()
	}
	return sent, stale, err
}

// shape is what must be known of a message before MAIL FROM.
type shape struct {
	size  int64  // octets on the wire without dot-stuffing (RFC 1870 section 5)
	eight bool   // needs 8BITMIME (RFC 6152)
	utf8  bool   // needs SMTPUTF8 (RFC 6531)
	wire  []byte // a short message as DATA takes it, without the final dot; nil: read it again
}

// inspect reads the message once from end to end: irregular line ends and
// unreadable bodies are found before the peer hears of the message.
func inspect(m connectors.Mail) (shape, error) {
	for _, a := range []message.Address{m.From, m.To} {
		if !sendable(a) {
			return shape{}, connectors.Refuse(connectors.StepMessage, "5.1.3", "an address can't be written in SMTP")
		}
	}
	if m.To.IsNull() {
		return shape{}, connectors.Refuse(connectors.StepMessage, "5.1.3", "there is no recipient")
	}
	st, wire, err := readThrough(m)
	if err != nil {
		if errors.Is(err, errIrregular) {
			return shape{}, connectors.Refuse(connectors.StepMessage, "5.6.0", errIrregular.Error())
		}
		return shape{}, &connectors.Error{Step: connectors.StepMessage, Err: fmt.Errorf("read message: %w", err)}
	}
	utf8 := !m.From.IsASCII() || !m.To.IsASCII() || (m.UTF8 && !isASCII(m.Header))
	return shape{size: st.size, eight: st.eight, utf8: utf8, wire: wire}, nil
}

// readThrough measures the message, and keeps one that is short. A reader that
// brings more than it announced is not read on.
func readThrough(m connectors.Mail) (*stuffer, []byte, error) {
	end, err := m.Body.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, nil, err
	}
	size := max(end-m.Start, 0) + int64(len(m.Header))
	if size > inMemory {
		st := &stuffer{w: io.Discard}
		return st, nil, writeTo(st, m, make([]byte, blockSize))
	}
	short := &octets{b: make([]byte, 0, size+size/32+16)}
	st := &stuffer{w: short, limit: size + 2}
	err = writeTo(st, m, make([]byte, min(size+1, 8<<10)))
	return st, short.b, err
}

// octets collects what is written.
type octets struct{ b []byte }

func (o *octets) Write(p []byte) (int, error) {
	o.b = append(o.b, p...)
	return len(p), nil
}

// writeTo reads the body part from its start and writes header, body part and
// the end of the last line, in pieces of buf's size.
func writeTo(st *stuffer, m connectors.Mail, buf []byte) error {
	if _, err := m.Body.Seek(m.Start, io.SeekStart); err != nil {
		return err
	}
	if _, err := st.Write(m.Header); err != nil {
		return err
	}
	if _, err := io.CopyBuffer(st, onlyReader{m.Body}, buf); err != nil {
		return err
	}
	return st.finish()
}

// onlyReader hides WriteTo and the like, so that pieces stay small.
type onlyReader struct{ io.Reader }

// sendable reports whether the address survives its own writing and holds
// nothing that could end the command or the brackets around it.
func sendable(a message.Address) bool {
	back, err := message.ParseAddress(a.String())
	if err != nil || back.Local != a.Local || !strings.EqualFold(back.Domain, a.Domain) {
		return false
	}
	return !strings.ContainsAny(a.Domain, "<> ") && strings.IndexFunc(a.String(), isControl) < 0
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// plainWord reports whether s is printable US-ASCII without blanks or brackets.
func plainWord(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '<' || r == '>' }) < 0
}
