package smtpclient

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
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
	Grace   time.Duration // how long the end of the context still waits for the reply to the final dot: 2 s
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
	set(&t.Grace, 2*time.Second)
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
	Pool       *Pool    // keeps connections for the next message; nil: each message has its own
}

// Client sends to one peer, one message for one recipient in each transaction.
// It may be used by several goroutines at once; each has a connection of its
// own.
type Client struct {
	o   Options
	tls *tls.Config
	key key
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
	return &Client{o: o, tls: tlsConfig(o), key: keyOf(o)}, nil
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
