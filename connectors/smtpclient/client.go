package smtpclient

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatewayd/connectors"
	"gatewayd/message"
)

// Mode says how a connection is protected. The zero Mode is StartTLS.
type Mode string

// The modes. Verified means: chain to the configured roots, name, and pin where
// one is set.
const (
	StartTLS      Mode = "starttls"       // verified; without STARTTLS nothing is sent
	ImplicitTLS   Mode = "implicit"       // verified, from the first octet (RFC 8314)
	Opportunistic Mode = "opportunistic"  // encrypted if the peer can, not verified: ordinary mail to strangers only
	PlainLoopback Mode = "plain-loopback" // no TLS; only to 127.0.0.0/8 and ::1
)

// Login is an account at the next system.
type Login struct{ Name, Password string }

// String hides both fields: a Login printed by accident tells nothing.
func (Login) String() string { return "[login]" }

// GoString hides both fields.
func (Login) GoString() string { return "[login]" }

// Pin is the SHA-256 of a certificate's SubjectPublicKeyInfo.
type Pin [sha256.Size]byte

// PinOf returns the pin of a certificate.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// Timeouts bounds each step. A zero field takes the default, which is that of
// RFC 5321 section 4.5.3.2 where it names one.
type Timeouts struct {
	Connect time.Duration // TCP: 30 s
	TLS     time.Duration // handshake: 1 min
	Command time.Duration // banner, EHLO, AUTH, MAIL, RCPT: 5 min
	Data    time.Duration // reply to DATA: 2 min
	Block   time.Duration // each write of a piece of the message: 3 min
	Dot     time.Duration // reply to the final dot: 10 min
	Quit    time.Duration // the courtesy at the end: 2 s
	Whole   time.Duration // everything together: 1 h
}

func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&t.Connect, 30*time.Second)
	set(&t.TLS, time.Minute)
	set(&t.Command, 5*time.Minute)
	set(&t.Data, 2*time.Minute)
	set(&t.Block, 3*time.Minute)
	set(&t.Dot, 10*time.Minute)
	set(&t.Quit, 2*time.Second)
	set(&t.Whole, time.Hour)
	return t
}

// DialFunc opens a TCP connection; net.Dialer.DialContext is the usual one.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Options configures a Client.
type Options struct {
	Addr       string      // host:port
	ServerName string      // name the peer's certificate must carry; empty: the host of Addr
	Mode       Mode        // empty: StartTLS
	TLS        *tls.Config // roots (nil: the system's), client certificate; nil: defaults. Verification can't be switched off.
	Pins       []Pin       // if set, a certificate of the verified chain must match one of them, besides being valid
	Login      *Login      // nil: no AUTH; only over verified TLS
	Hello      string      // our name in EHLO, required
	Timeouts   Timeouts
	Dial       DialFunc // nil: net.Dialer
}

// Client sends one message in one SMTP transaction over one connection. It may
// be used by several goroutines at once.
type Client struct {
	o   Options
	tls *tls.Config
}

// New checks the options; all mistakes are reported together.
func New(o Options) (*Client, error) {
	host, port, err := net.SplitHostPort(o.Addr)
	var errs []error
	if err != nil || host == "" || !plainWord(host) || !isPort(port) {
		errs = append(errs, errors.New("smarthost: host:port expected"))
	}
	if o.Hello == "" || !plainWord(o.Hello) {
		errs = append(errs, errors.New("hello name: a host name expected"))
	}
	if o.Mode == "" {
		o.Mode = StartTLS
	}
	if o.ServerName == "" {
		o.ServerName = host
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	o.Timeouts = o.Timeouts.withDefaults()
	errs = append(errs, checkMode(o), checkLogin(o))
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("smtp client: %w", err)
	}
	o.Pins = slices.Clone(o.Pins)
	return &Client{o: o, tls: tlsConfig(o)}, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func checkMode(o Options) error {
	switch o.Mode {
	case StartTLS, ImplicitTLS, Opportunistic:
	case PlainLoopback:
		if !isLoopback(o.Addr) {
			return errors.New("mode plain-loopback: the address is not a loopback address")
		}
	default:
		return fmt.Errorf("mode %q: use starttls, implicit, opportunistic or plain-loopback", o.Mode)
	}
	if o.TLS != nil && o.TLS.InsecureSkipVerify {
		return errors.New("tls: verification may not be switched off")
	}
	if len(o.Pins) > 0 && !o.Mode.verified() {
		return errors.New("pins: only with verified TLS")
	}
	return nil
}

func checkLogin(o Options) error {
	switch {
	case o.Login == nil:
		return nil
	case !o.Mode.verified():
		return errors.New("login: only over verified TLS")
	case o.Login.Name == "" || strings.ContainsRune(o.Login.Name+o.Login.Password, 0):
		return errors.New("login: empty name, or a NUL in name or password")
	}
	return nil
}

func (m Mode) verified() bool { return m == StartTLS || m == ImplicitTLS }

// isLoopback reports whether host:port names this machine by number or as
// "localhost".
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// tlsConfig makes the configuration of a connection: at least TLS 1.2, and in
// verified modes a pin check that also runs when a session is resumed.
func tlsConfig(o Options) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		cfg = o.TLS.Clone()
		cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	}
	cfg.ServerName = o.ServerName
	if o.Mode == Opportunistic {
		// Encryption against the listener on the line; policy allows this mode
		// for ordinary mail only, which would otherwise go in clear.
		cfg.InsecureSkipVerify = true
		return cfg
	}
	if len(o.Pins) > 0 {
		inner := cfg.VerifyConnection
		cfg.VerifyConnection = func(s tls.ConnectionState) error {
			if !pinned(s.VerifiedChains, o.Pins) {
				return errors.New("no certificate of the chain matches a pin")
			}
			if inner != nil {
				return inner(s)
			}
			return nil
		}
	}
	return cfg
}

func pinned(chains [][]*x509.Certificate, pins []Pin) bool {
	for _, chain := range chains {
		for _, cert := range chain {
			if slices.Contains(pins, PinOf(cert)) {
				return true
			}
		}
	}
	return false
}

// Send hands the message over in one transaction. A nil error means a 2xx reply
// to the final dot. Errors are *Error: before the final dot Temporary or
// Permanent, from the final dot on Unclear unless the peer answered. The end of
// ctx cuts the connection at once, in whatever step.
func (c *Client) Send(ctx context.Context, m connectors.Mail) (connectors.Sent, error) {
	shape, err := inspect(m)
	if err != nil {
		return connectors.Sent{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeouts.Whole)
	defer cancel()
	s, err := c.connect(ctx)
	if err != nil {
		return connectors.Sent{}, err
	}
	defer s.close()
	if err := s.begin(); err != nil {
		return connectors.Sent{}, err
	}
	sent, err := s.transact(m, shape)
	s.quit(err)
	return sent, err
}

// shape is what must be known of a message before MAIL FROM.
type shape struct {
	size  int64 // octets on the wire without dot-stuffing (RFC 1870 section 5)
	eight bool  // needs 8BITMIME (RFC 6152)
	utf8  bool  // needs SMTPUTF8 (RFC 6531)
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
	count := &stuffer{w: io.Discard}
	if err := writeTo(count, m); err != nil {
		if errors.Is(err, errIrregular) {
			return shape{}, connectors.Refuse(connectors.StepMessage, "5.6.0", errIrregular.Error())
		}
		return shape{}, &connectors.Error{Step: connectors.StepMessage, Err: fmt.Errorf("read message: %w", err)}
	}
	utf8 := !m.From.IsASCII() || !m.To.IsASCII() || (m.UTF8 && !isASCII(m.Header))
	return shape{size: count.size, eight: count.eight, utf8: utf8}, nil
}

// writeTo writes header and body part and ends the last line.
func writeTo(s *stuffer, m connectors.Mail) error {
	if _, err := m.Body.Seek(m.Start, io.SeekStart); err != nil {
		return err
	}
	if _, err := s.Write(m.Header); err != nil {
		return err
	}
	if _, err := io.CopyBuffer(s, onlyReader{m.Body}, make([]byte, 32<<10)); err != nil {
		return err
	}
	return s.finish()
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
