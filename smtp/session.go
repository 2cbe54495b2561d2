package smtp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

// session is one client between EHLO and the end of the connection, or of its
// plain part: after STARTTLS a new one begins. go-smtp runs the commands one
// after the other, but a body sent by BDAT in a goroutine of its own, which may
// still be ending while the next transaction begins.
type session struct {
	server *Server
	smtp   *gosmtp.Conn
	conn   *conn
	remote string
	tls    string   // "TLS1.3 TLS_AES_128_GCM_SHA256"; "" in the clear
	names  []string // of the verified client certificate

	mu       sync.Mutex
	account  string
	open     *message.Submission // the transaction that MAIL began
	errors   int
	failures int // of AUTH
}

func (s *Server) newSession(g *gosmtp.Conn) (gosmtp.Session, error) {
	c := connOf(g)
	if c == nil {
		return nil, reply(errors.New("connection without limits"))
	}
	sess := &session{server: s, smtp: g, conn: c, remote: remoteIP(c)}
	if c.secure != nil {
		state := c.secure.ConnectionState()
		sess.tls = strings.ReplaceAll(tls.VersionName(state.Version), " ", "") + " " + tls.CipherSuiteName(state.CipherSuite)
		sess.certificate(state)
	}
	return sess, nil
}

// certificate takes a verified client certificate as login on the submission
// port, and as a fact for policy on the other.
func (s *session) certificate(state tls.ConnectionState) {
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if s.server.o.Kind == message.Inbound {
		usage = append(usage, x509.ExtKeyUsageServerAuth)
	}
	cert := verifiedPeer(state, s.server.tls.ClientCAs, s.server.o.Now(), usage...)
	if cert == nil {
		return
	}
	s.names = certificateNames(cert)
	if s.server.o.Kind == message.Outbound {
		if account, ok := s.server.auth.Certificate(cert); ok {
			s.account = account
		}
	}
}

// Mail implements gosmtp.Session.
func (s *session) Mail(from string, opts *gosmtp.MailOptions) error {
	return s.answer("mail", s.mail(from, opts))
}

func (s *session) mail(from string, opts *gosmtp.MailOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	submission := s.server.o.Kind == message.Outbound
	switch {
	case s.open != nil:
		return &errNested
	case submission && s.tls == "":
		return &errNeedTLS
	case submission && s.account == "":
		return &errNeedAuth
	case len(opts.EnvelopeID) > maxEnvID:
		return &errBadEnvID
	}
	sender, err := parsePath(from)
	switch {
	case err != nil:
		return &errBadSender
	case !sender.IsASCII() && !opts.UTF8:
		return &errNeedUTF8
	case submission && !s.server.auth.MayUse(s.account, sender):
		return &errNotYours
	}
	s.open = s.submission(sender, opts)
	s.conn.setOpen(true)
	return nil
}

func (s *session) submission(from message.Address, opts *gosmtp.MailOptions) *message.Submission {
	sub := &message.Submission{
		Door: s.server.o.Kind, From: from,
		Helo: helloName(s.smtp.Hostname()), RemoteAddr: s.remote, TLS: s.tls, PeerNames: s.names,
		EnvID: opts.EnvelopeID, Ret: string(opts.Return),
		UTF8: opts.UTF8, EightBit: opts.Body == gosmtp.Body8BitMIME,
	}
	if s.account != "" {
		sub.Account, sub.Authority = s.account, s.server.auth.Authority(s.account)
	}
	sub.Protocol = protocol(opts.UTF8, s.tls != "", s.account != "")
	if s.conn.helo && sub.Protocol == "ESMTP" {
		sub.Protocol = "SMTP"
	}
	return sub
}

// protocol returns the "with" keyword of the trace line (RFC 3848, RFC 6531
// section 3.7.3) after EHLO.
func protocol(utf8, tls, auth bool) string {
	name := "ESMTP"
	if utf8 {
		name = "UTF8SMTP"
	}
	if tls {
		name += "S"
	}
	if auth {
		name += "A"
	}
	return name
}

// Rcpt implements gosmtp.Session.
func (s *session) Rcpt(to string, opts *gosmtp.RcptOptions) error {
	return s.answer("rcpt", s.rcpt(to, opts))
}

func (s *session) rcpt(to string, opts *gosmtp.RcptOptions) error {
	_, sub := s.transaction()
	if sub == nil {
		return &errNoMail
	}
	r, err := recipient(to, sub.UTF8, opts)
	if err != nil {
		return err
	}
	if err := s.server.in.Willing(s.server.ctx, *sub, r.Address); err != nil {
		return err
	}
	same := func(other message.Recipient) bool { return other.Address.Key() == r.Address.Key() }
	if slices.ContainsFunc(sub.To, same) {
		return nil // named twice, sent once
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open.To = append(s.open.To, r)
	return nil
}

// transaction returns what identifies the open transaction, and a copy that
// does not change; nil if there is none.
func (s *session) transaction() (open, sub *message.Submission) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return nil, nil
	}
	sub = new(message.Submission)
	*sub = *s.open
	sub.To = slices.Clone(s.open.To)
	return s.open, sub
}

func (s *session) isOpen(tx *message.Submission) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return tx != nil && s.open == tx
}

// Data implements gosmtp.Session, for DATA and BDAT. A chunk of BDAT comes
// through go-smtp, a body of DATA past it (conn). What is left unread is skipped
// up to the end of the body, and the session goes on.
func (s *session) Data(r io.Reader) error {
	_, chunked := r.(*io.PipeReader)
	if !chunked { // before anything else: it also keeps the body from being taken for commands
		r = s.conn.body(s.server.o.Limits.MessageSize)
	}
	open, sub := s.transaction()
	if sub == nil || len(sub.To) == 0 {
		return s.answer("data", &errNoMail)
	}
	clock := s.conn.beginBody()
	defer s.conn.endBody(clock)
	body := newBodyReader(r)
	id, err := s.server.in.Accept(s.server.ctx, *sub, body)
	switch {
	case chunked && (body.reset || !s.isOpen(open)):
		// The client has given this transfer up and may be in the next one.
		// go-smtp would put our answer into the place where that one waits for
		// its own (TestPinStaleResult); so this goroutine must not return.
		runtime.Goexit()
	case body.err != nil && body.err != io.EOF:
		err = body.err // the reason, whatever became of it on the way
	case err == nil && !body.complete:
		err = errors.New("intake accepted a body that it did not read to its end")
	}
	if err != nil {
		return s.answer("data", err)
	}
	s.server.o.Log.Info("message accepted", "id", id, "door", s.server.o.Kind, "account", sub.Account,
		"remote", s.remote, "tls", s.tls, "size", body.read, "recipients", len(sub.To))
	return &gosmtp.SMTPError{Code: 250, EnhancedCode: gosmtp.EnhancedCode{2, 0, 0}, Message: "accepted as " + id.String()}
}

// answer turns the outcome of a command into its reply, and ends the session
// after too many refusals.
func (s *session) answer(command string, err error) error {
	if err == nil {
		return nil
	}
	e := reply(err)
	if known(err) {
		s.server.o.Log.Info("smtp refused", "command", command, "code", e.Code, "text", e.Message, "remote", s.remote)
	} else {
		s.server.o.Log.Error("smtp command failed", "command", command, "error", err, "remote", s.remote)
	}
	if e.Code == 421 || e.Code >= 500 && s.oneErrorMore() {
		s.conn.hangUp()
		if e.Code != 421 {
			return reply(&errTooMany)
		}
	}
	return e
}

func (s *session) oneErrorMore() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors++
	return s.errors > s.server.o.Limits.Errors
}

// Reset implements gosmtp.Session.
func (s *session) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = nil
	s.conn.setOpen(false)
}

// Logout implements gosmtp.Session.
func (s *session) Logout() error { return nil }
