package simulator

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"log/slog"
	netmail "net/mail"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

// incaSuffix may stand behind a recipient's domain and means: by IncaMail.
const incaSuffix = ".incamail.ch"

// noMUC before a recipient's address means: needs no code (PrivaSphere).
const noMUC = "psph_no_muc_"

func newServer(p *Platform) *gosmtp.Server {
	s := gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) {
		return &session{p: p, conn: c}, nil
	}))
	s.Domain = p.o.Hostname
	s.TLSConfig = p.o.TLS
	s.MaxMessageBytes = p.o.MaxSize
	s.MaxRecipients = 100
	s.MaxLineLength = 64 << 10 // BDAT read-ahead counts as a line
	s.ReadTimeout, s.WriteTimeout = 10*time.Minute, time.Minute
	s.EnableSMTPUTF8 = true
	s.ErrorLog = slog.NewLogLogger(p.o.Log.Handler(), slog.LevelDebug)
	return s
}

// session is one customer's connection.
type session struct {
	p       *Platform
	conn    *gosmtp.Conn
	account string // after AUTH
	from    string
	to      []string
}

func reply(code int, a, b, c int, text string) error {
	return &gosmtp.SMTPError{Code: code, EnhancedCode: gosmtp.EnhancedCode{a, b, c}, Message: text}
}

// AuthMechanisms implements gosmtp.AuthSession. IncaMail knows customers by
// their certificate only.
func (s *session) AuthMechanisms() []string {
	if s.p.o.Kind == IncaMail {
		return nil
	}
	return []string{sasl.Plain}
}

// Auth implements gosmtp.AuthSession.
func (s *session) Auth(mech string) (sasl.Server, error) {
	if s.p.o.Kind == IncaMail || mech != sasl.Plain {
		return nil, gosmtp.ErrAuthUnknownMechanism
	}
	return sasl.NewPlainServer(func(_, name, password string) error { return s.login(name, password) }), nil
}

func (s *session) login(name, password string) error {
	for _, c := range s.p.o.Customers {
		if c.Account != "" && c.Account == name &&
			subtle.ConstantTimeCompare([]byte(c.Password), []byte(password)) == 1 {
			s.account = name
			return nil
		}
	}
	return gosmtp.ErrAuthFailed
}

// Mail implements gosmtp.Session: TLS first, then the customer must be known.
func (s *session) Mail(from string, _ *gosmtp.MailOptions) error {
	if _, ok := s.conn.TLSConnectionState(); !ok {
		return reply(530, 5, 7, 0, "Must issue a STARTTLS command first")
	}
	c, ok := s.p.customer(from)
	if !ok || !s.entitled(c) {
		return reply(550, 5, 7, 1, "Sender domain is not registered for this client")
	}
	s.from = from
	return nil
}

// entitled reports whether this client may send as the customer.
func (s *session) entitled(c Customer) bool {
	if s.account != "" && s.account == c.Account {
		return true
	}
	state, _ := s.conn.TLSConnectionState()
	if c.Certificate == "" || len(state.VerifiedChains) == 0 {
		return false
	}
	leaf := state.PeerCertificates[0]
	return strings.EqualFold(leaf.Subject.CommonName, c.Certificate) ||
		slices.ContainsFunc(leaf.DNSNames, func(n string) bool { return strings.EqualFold(n, c.Certificate) })
}

// Rcpt implements gosmtp.Session.
func (s *session) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

// Data implements gosmtp.Session. A nil error means that the platform has the
// mail.
func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	f, healed := s.p.takeFault()
	switch {
	case f.Permanent:
		return reply(554, 5, 3, 0, "Simulated permanent failure")
	case f.Temporary > 0:
		return reply(451, 4, 3, 0, "Simulated temporary failure")
	}
	id := s.p.submit(s.from, s.to, raw)
	if f.HangAfterData {
		select {
		case <-healed:
		case <-s.p.ctx.Done():
		}
		_ = s.conn.Conn().Close()
	}
	return &gosmtp.SMTPError{Code: 250, EnhancedCode: gosmtp.EnhancedCode{2, 0, 0}, Message: "OK: queued as " + id}
}

// Reset implements gosmtp.Session.
func (s *session) Reset() { s.from, s.to = "", nil }

// Logout implements gosmtp.Session.
func (s *session) Logout() error { return nil }

// takeFault returns what is to go wrong with one mail, and counts it.
func (p *Platform) takeFault() (Faults, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.faults
	if !f.Permanent && p.faults.Temporary > 0 {
		p.faults.Temporary--
	}
	return f, p.healed
}

// submit records a mail and starts one message per recipient. It returns the
// first one's ID.
func (p *Platform) submit(from string, to []string, raw []byte) (id string) {
	p.do(func() {
		now := p.o.Clock.Now()
		p.received = append(p.received, Received{
			Number: len(p.received) + 1, From: from, To: slices.Clone(to), At: now, Raw: raw,
		})
		for _, addr := range to {
			e := p.newEntry(raw, now)
			e.Received, e.From, e.To = len(p.received), from, p.cleanRecipient(addr)
			if p.o.Kind == PrivaSphere && e.To != addr {
				e.Controls = append(e.Controls, noMUC)
			}
			p.add(e)
			if id == "" {
				id = e.ID
			}
		}
	})
	return id
}

// cleanRecipient strips what commands the platform from an address.
func (p *Platform) cleanRecipient(addr string) string {
	if p.o.Kind == PrivaSphere {
		return strings.TrimPrefix(addr, noMUC)
	}
	if n := len(addr) - len(incaSuffix); n > 0 && strings.EqualFold(addr[n:], incaSuffix) {
		return addr[:n]
	}
	return addr
}

// newEntry reads the header of a mail. A header that can't be read has no tag.
func (p *Platform) newEntry(raw []byte, now time.Time) *entry {
	head, body := splitHeader(raw)
	var h netmail.Header
	if m, err := netmail.ReadMessage(bytes.NewReader(append(slices.Clip(head), "\r\n\r\n"...))); err == nil {
		h = m.Header
	}
	r := readTags(p.o.Kind, p.o.Tags, h, p.faults.StripTag)
	return &entry{
		Message: Message{Class: r.class, Tag: r.tag, Subject: r.subject, Controls: r.controls, At: now},
		mode:    r.mode, digest: sha256.Sum256(body), size: len(raw), raw: raw,
	}
}
