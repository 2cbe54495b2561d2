package smtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"gatewayd/connectors"
	"gatewayd/message"
)

// session is one connection. It lives inside one Send; whoever ends ctx closes
// the connection under it, so that no step can outlast its caller.
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
}

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
	s := &session{ctx: ctx, o: &c.o, tls: c.tls, raw: conn}
	s.use(conn)
	s.stop = context.AfterFunc(ctx, func() { conn.Close() })
	return s, nil
}

// use continues over conn with an empty reader: octets that came before are
// not part of what follows.
func (s *session) use(conn net.Conn) {
	s.conn = conn
	s.br = bufio.NewReaderSize(conn, maxReplyLine+2)
}

func (s *session) close() {
	s.stop()
	s.raw.Close()
}

// quit says goodbye where the dialogue is in order; the outcome is known
// already and whatever happens now changes nothing.
func (s *session) quit(err error) {
	if e, ok := errors.AsType[*connectors.Error](err); ok && e.Code == 0 {
		return
	}
	s.deadline(s.o.Timeouts.Quit)
	if _, err := s.conn.Write([]byte("QUIT\r\n")); err == nil {
		_, _ = readReply(s.br)
	}
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

// transact says MAIL, RCPT, DATA and the message.
func (s *session) transact(m connectors.Mail, f shape) (connectors.Sent, error) {
	mail, rcpt, dsn, err := s.params(m, f)
	if err != nil {
		return connectors.Sent{}, err
	}
	if _, err := s.command(connectors.StepMail, s.o.Timeouts.Command, 250, mail); err != nil {
		return connectors.Sent{}, err
	}
	if _, err := s.command(connectors.StepRcpt, s.o.Timeouts.Command, 250, rcpt); err != nil {
		return connectors.Sent{}, err
	}
	if _, err := s.command(connectors.StepData, s.o.Timeouts.Data, 354, "DATA"); err != nil {
		return connectors.Sent{}, err
	}
	if err := s.data(m, f); err != nil {
		return connectors.Sent{}, err
	}
	r, err := s.dot()
	return connectors.Sent{Reply: r.Text(), DSN: dsn && err == nil}, err
}

// params composes the two commands from what the peer offers. What the message
// needs and the peer lacks is Permanent: no later attempt changes it.
func (s *session) params(m connectors.Mail, f shape) (mail, rcpt string, dsn bool, err error) {
	from, to, err := s.addresses(m, &f)
	if err != nil {
		return "", "", false, err
	}
	mail, rcpt = "MAIL FROM:<"+from+">", "RCPT TO:<"+to+">"
	if limit, ok := s.ext["SIZE"]; ok { // RFC 1870
		if n, err := strconv.ParseInt(limit, 10, 64); err == nil && n > 0 && f.size > n {
			return "", "", false, connectors.Refuse(connectors.StepMail, "5.3.4", "the message is larger than the next system takes")
		}
		mail += " SIZE=" + strconv.FormatInt(f.size, 10)
	}
	if f.utf8 {
		mail += " SMTPUTF8"
	}
	if f.eight {
		if _, ok := s.ext["8BITMIME"]; !ok {
			return "", "", false, connectors.Refuse(connectors.StepMail, "5.6.3", "the message holds 8-bit data and the next system takes none (8BITMIME)")
		}
		mail += " BODY=8BITMIME"
	}
	if _, ok := s.ext["DSN"]; ok && m.DSN != nil {
		mail, rcpt, dsn = mail+mailParams(*m.DSN), rcpt+rcptParams(*m.DSN), true
	}
	return mail, rcpt, dsn, nil
}

// addresses writes both addresses. Without SMTPUTF8 a domain of a country's own
// letters still travels as A-label (RFC 5891); a local part has no such form.
func (s *session) addresses(m connectors.Mail, f *shape) (from, to string, err error) {
	if _, ok := s.ext["SMTPUTF8"]; ok || !f.utf8 {
		return m.From.String(), m.To.String(), nil
	}
	refusal := connectors.Refuse(connectors.StepMail, "5.6.7", "the message needs SMTPUTF8 and the next system does not offer it")
	if m.UTF8 && !isASCII(m.Header) {
		return "", "", refusal
	}
	a, okFrom := asciiAddress(m.From)
	b, okTo := asciiAddress(m.To)
	if !okFrom || !okTo {
		return "", "", refusal
	}
	f.utf8 = false
	return a.String(), b.String(), nil
}

// asciiAddress writes the domain in A-labels.
func asciiAddress(a message.Address) (message.Address, bool) {
	if a.IsASCII() {
		return a, true
	}
	domain, err := idna.Lookup.ToASCII(a.Domain)
	if err != nil {
		return a, false
	}
	a.Domain = domain
	return a, a.IsASCII()
}

// data streams the message. It never says the final dot: when anything is wrong
// the connection is cut and the peer has only a part.
func (s *session) data(m connectors.Mail, f shape) error {
	w := &blockWriter{s: s}
	out := bufio.NewWriterSize(w, 32<<10)
	st := &stuffer{w: out}
	err := writeTo(st, m)
	if err == nil {
		err = out.Flush()
	}
	switch {
	case w.failed:
		return s.brokenData(err)
	case err != nil:
		return &connectors.Error{Step: connectors.StepData, Err: fmt.Errorf("read message: %w", err)}
	case st.size != f.size:
		return &connectors.Error{Step: connectors.StepData, Err: errors.New("message changed between two readings")}
	}
	return nil
}

// brokenData explains a failed write: a peer that refuses in the middle answers
// before it closes, and that answer counts.
func (s *session) brokenData(err error) error {
	if s.ctx.Err() == nil {
		s.deadline(s.o.Timeouts.Quit)
		if r, rerr := readReply(s.br); rerr == nil && r.class() >= 4 {
			return refused(connectors.StepData, r)
		}
	}
	return s.fail(connectors.StepData, err)
}

// blockWriter gives every write its own deadline: a peer that stops reading
// does not hold a worker for ever (RFC 5321 section 4.5.3.2.5).
type blockWriter struct {
	s      *session
	failed bool
}

func (w *blockWriter) Write(p []byte) (int, error) {
	w.s.deadline(w.s.o.Timeouts.Block)
	n, err := w.s.conn.Write(p)
	w.failed = w.failed || err != nil
	return n, err
}

// dot says the final dot. From its first octet on, only a whole reply tells
// whether the peer has the message.
func (s *session) dot() (Reply, error) {
	if s.ctx.Err() != nil { // still on this side of the dot
		return Reply{}, s.fail(connectors.StepData, s.ctx.Err())
	}
	s.deadline(s.o.Timeouts.Dot)
	_, err := s.conn.Write([]byte(".\r\n"))
	var r Reply
	if err == nil {
		r, err = readReply(s.br)
	}
	switch {
	case err != nil:
		return Reply{}, &connectors.Error{Kind: connectors.Unclear, Step: connectors.StepDot, Err: s.cause(err)}
	case r.class() == 2:
		return r, nil
	case r.class() == 3: // no answer to the end of data
		return Reply{}, &connectors.Error{Kind: connectors.Unclear, Step: connectors.StepDot, Err: fmt.Errorf("%w: code %d", errReply, r.Code)}
	}
	return Reply{}, refused(connectors.StepDot, r)
}

// command says one line and reads its reply.
func (s *session) command(step connectors.Step, timeout time.Duration, want int, line string) (Reply, error) {
	if strings.IndexFunc(line, isControl) >= 0 {
		return Reply{}, connectors.Refuse(step, "5.1.3", "a command would hold a control character")
	}
	s.deadline(timeout)
	if _, err := s.conn.Write([]byte(line + "\r\n")); err != nil {
		return Reply{}, s.fail(step, err)
	}
	return s.reply(step, want)
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
	return Reply{}, refused(step, r)
}

// fail makes a Temporary error.
func (s *session) fail(step connectors.Step, err error) *connectors.Error {
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
func refused(step connectors.Step, r Reply) *connectors.Error {
	e := &connectors.Error{Step: step, Code: r.Code, Enhanced: r.Enhanced, Text: r.Text()}
	switch r.Code {
	case 530, 534, 535, 538:
		return e
	}
	if r.class() == 5 && !linkOnly(step) {
		e.Kind = connectors.Permanent
	}
	return e
}

// linkOnly reports whether a failure at this step speaks about the link and not
// about the message. Whatever code the peer gives there, the message waits: a
// wrong password or an unwilling host must not bounce a decision.
func linkOnly(s connectors.Step) bool {
	switch s {
	case connectors.StepConnect, connectors.StepBanner, connectors.StepHello, connectors.StepStartTLS, connectors.StepTLS, connectors.StepAuth:
		return true
	}
	return false
}
