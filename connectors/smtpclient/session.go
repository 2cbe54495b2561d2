package smtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"gatewayd/connectors"
)

// session is one connection. While a Send has it, whoever ends that Send's
// context closes the connection under it, so that no step can outlast its
// caller; between two Sends the pool has it.
type session struct {
	ctx    context.Context
	o      *Options
	tls    *tls.Config
	raw    net.Conn // the TCP connection; closing it ends everything
	conn   net.Conn // raw, or TLS over it
	br     *bufio.Reader
	ext    map[string]string // EHLO keywords in upper case and their parameters
	secure bool
	stop   func() bool
	ending atomic.Bool // the end of the message may be leaving

	born     time.Time
	used     int       // transactions begun
	refusals int       // replies that refused something
	open     bool      // the peer may hold a transaction that has not ended: RSET comes first
	broken   bool      // nothing more can be said
	taken    bool      // the peer has accepted a command of this transaction
	stale    bool      // it broke before that
	avoid    extension // what the peer offers and stumbles over
	chunks   bool      // a chunk was accepted on this connection
	lead     int       // octets of this message that left as a chunk of their own

	since time.Time   // idle from then on
	timer *time.Timer // ends the idleness
}

// extension is a set of extensions whose use shows only when it fails.
type extension uint8

const (
	pipelining extension = 1 << iota // RFC 2920
	chunking                         // RFC 3030
)

func (c *Client) connect(ctx context.Context) (*session, error) {
	dialCtx, cancel := context.WithTimeout(ctx, c.o.Timeouts.Connect)
	defer cancel()
	conn, err := c.o.Dial(dialCtx, "tcp", c.o.Addr)
	if err != nil {
		return nil, &connectors.Error{Step: connectors.StepConnect, Err: connectors.LookupError(err)}
	}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok && c.o.Mode == PlainLoopback && !tcp.IP.IsLoopback() {
		conn.Close()
		return nil, connectors.Refuse(connectors.StepConnect, "5.7.10", "plain connection to another machine refused")
	}
	s := &session{o: &c.o, tls: c.tls, raw: conn, born: time.Now()}
	s.use(conn)
	s.attach(ctx)
	return s, nil
}

// use continues over conn with an empty reader: octets that came before are
// not part of what follows.
func (s *session) use(conn net.Conn) {
	s.conn = conn
	s.br = bufio.NewReaderSize(conn, maxReplyLine+2)
}

// attach lends the session to a Send.
func (s *session) attach(ctx context.Context) {
	s.ctx, s.taken, s.stale, s.lead = ctx, false, false, 0
	s.ending.Store(false)
	s.stop = context.AfterFunc(ctx, s.cut)
}

// cut is what the end of the context does: it closes the connection. Where the
// end of the message may be leaving it only ends the writing, and hurries the
// reading of the reply.
func (s *session) cut() {
	if !s.ending.Load() {
		s.raw.Close()
		return
	}
	_ = s.conn.SetWriteDeadline(time.Now())
	s.hurry()
}

// detach ends the loan, and reports whether the connection outlived it.
func (s *session) detach() bool {
	s.ctx = nil
	return s.stop()
}

// leave ends a session that got no further than its beginning: with a goodbye
// where the peer said no in due form.
func (s *session) leave(err error) {
	s.detach()
	if e, ok := errors.AsType[*connectors.Error](err); ok && e.Code != 0 && !s.broken {
		s.quit()
		return
	}
	s.raw.Close()
}

// quit says goodbye and closes. Every outcome is known already; whatever happens
// now changes nothing.
func (s *session) quit() {
	s.deadline(s.o.Timeouts.Quit)
	if _, err := s.conn.Write([]byte("QUIT\r\n")); err == nil {
		_, _ = readReply(s.br)
	}
	s.raw.Close()
}

func (s *session) deadline(d time.Duration) { _ = s.conn.SetDeadline(time.Now().Add(d)) }

// begin brings the connection to the point where MAIL may be said: banner,
// EHLO, TLS, AUTH.
func (s *session) begin() error {
	if s.o.Mode == ImplicitTLS {
		if err := s.handshake(); err != nil {
			return err
		}
	}
	s.deadline(s.o.Timeouts.Command)
	if _, err := s.reply(connectors.StepBanner, 220); err != nil {
		return err
	}
	if err := s.hello(); err != nil {
		return err
	}
	if s.o.Mode == StartTLS || s.o.Mode == Opportunistic {
		if err := s.startTLS(); err != nil {
			return err
		}
	}
	if s.o.Mode.verified() && !s.secure {
		return &connectors.Error{Step: connectors.StepTLS, Err: errors.New("connection is not secure")}
	}
	return s.auth()
}

func (s *session) hello() error {
	r, err := s.command(connectors.StepHello, s.o.Timeouts.Command, 250, "EHLO "+s.o.Hello)
	if err != nil {
		return err
	}
	s.ext = map[string]string{}
	for _, line := range r.Lines[1:] {
		word, params, _ := strings.Cut(line, " ")
		s.ext[strings.ToUpper(word)] = params
	}
	return nil
}

// startTLS upgrades the connection (RFC 3207). An EHLO reply from which
// STARTTLS was removed ends the session here: not one octet of the message or
// its addresses has been said.
func (s *session) startTLS() error {
	if _, ok := s.ext["STARTTLS"]; !ok {
		if s.o.Mode == Opportunistic {
			return nil
		}
		return &connectors.Error{Step: connectors.StepStartTLS, Err: errors.New("the peer offers no STARTTLS")}
	}
	if _, err := s.command(connectors.StepStartTLS, s.o.Timeouts.Command, 220, "STARTTLS"); err != nil {
		return err
	}
	if s.br.Buffered() > 0 { // injected in clear, meant to be read as said under TLS
		return &connectors.Error{Step: connectors.StepStartTLS, Err: errors.New("the peer sent octets behind its reply to STARTTLS")}
	}
	if err := s.handshake(); err != nil {
		return err
	}
	return s.hello()
}

func (s *session) handshake() error {
	s.deadline(s.o.Timeouts.TLS)
	conn := tls.Client(s.raw, s.tls)
	if err := conn.HandshakeContext(s.ctx); err != nil {
		return s.fail(connectors.StepTLS, err)
	}
	s.secure = true
	s.use(conn)
	return nil
}

// auth logs in with PLAIN (RFC 4616) or LOGIN. What the peer says here is not
// kept: it may repeat what it was told.
func (s *session) auth() error {
	if s.o.Login == nil {
		return nil
	}
	mechs := strings.Fields(strings.ToUpper(s.ext["AUTH"]))
	b64 := base64.StdEncoding.EncodeToString
	name, password := []byte(s.o.Login.Name), []byte(s.o.Login.Password)
	var says []string
	switch {
	case slices.Contains(mechs, "PLAIN"):
		says = []string{"AUTH PLAIN " + b64([]byte("\x00"+s.o.Login.Name+"\x00"+s.o.Login.Password))}
	case slices.Contains(mechs, "LOGIN"):
		says = []string{"AUTH LOGIN", b64(name), b64(password)}
	default:
		return &connectors.Error{Step: connectors.StepAuth, Err: errors.New("the peer offers neither AUTH PLAIN nor AUTH LOGIN")}
	}
	for i, say := range says {
		want := 334
		if i == len(says)-1 {
			want = 235
		}
		if _, err := s.command(connectors.StepAuth, s.o.Timeouts.Command, want, say); err != nil {
			if e, ok := errors.AsType[*connectors.Error](err); ok {
				e.Text = ""
			}
			return err
		}
	}
	return nil
}

// command is one line and what its reply must be.
type command struct {
	step    connectors.Step
	line    string
	want    int
	timeout time.Duration
	octets  []byte // behind the line (BDAT)
}

// command says one line and reads its reply.
func (s *session) command(step connectors.Step, timeout time.Duration, want int, line string) (Reply, error) {
	c := command{step: step, line: line, want: want, timeout: timeout}
	if err := s.say(c); err != nil {
		return Reply{}, err
	}
	return s.reply(step, want)
}

// say writes commands in one piece; the deadline is that of the first.
func (s *session) say(cs ...command) error {
	var b []byte
	for _, c := range cs {
		if strings.IndexFunc(c.line, isControl) >= 0 {
			return connectors.Refuse(c.step, "5.1.3", "a command would hold a control character")
		}
		b = append(append(append(b, c.line...), "\r\n"...), c.octets...)
	}
	s.deadline(cs[0].timeout)
	if _, err := s.conn.Write(b); err != nil {
		return s.fail(cs[0].step, err)
	}
	return nil
}

// reply reads a reply and compares it: 2xx stands for 250 in general (251 is
// success too, RFC 5321 section 3.4), the other codes are exact.
func (s *session) reply(step connectors.Step, want int) (Reply, error) {
	r, err := readReply(s.br)
	if err != nil {
		return Reply{}, s.fail(step, err)
	}
	if r.Code == want || (want == 250 && r.class() == 2) {
		return r, nil
	}
	return Reply{}, s.refused(step, r)
}

// fail makes a Temporary error of a dialogue that can't go on.
func (s *session) fail(step connectors.Step, err error) *connectors.Error {
	s.broken = true
	return &connectors.Error{Step: step, Err: s.cause(err)}
}

// cause prefers the end of the context to the closed connection that follows
// from it.
func (s *session) cause(err error) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return err
}

// refused makes the error of a reply: 5xx about the message is Permanent,
// everything else Temporary. Replies about the link, and those that ask for
// authentication or TLS (RFC 4954 section 6), are a matter of configuration.
// After 421 the peer closes (RFC 5321 section 3.8), and after a reply that is no
// answer to the command nobody knows what the next one will be about.
func (s *session) refused(step connectors.Step, r Reply) *connectors.Error {
	e := &connectors.Error{Step: step, Code: r.Code, Enhanced: r.Enhanced, Text: r.Text()}
	s.refusals++
	s.broken = s.broken || r.Code == 421 || r.class() < 4
	switch r.Code {
	case 530, 534, 535, 538:
		return e
	}
	if r.class() == 5 && !step.OfLink() {
		e.Kind = connectors.Permanent
	}
	return e
}

// mayCarry is how many messages the connection may carry: what we grant, or
// what the peer does (LIMITS MAILMAX, RFC 9422 section 4.1).
func (s *session) mayCarry(grant int) int {
	for pair := range strings.FieldsSeq(s.ext["LIMITS"]) {
		value, ok := strings.CutPrefix(pair, "MAILMAX=")
		if n, err := strconv.Atoi(value); ok && err == nil && n > 0 {
			grant = min(grant, n)
		}
	}
	return grant
}
