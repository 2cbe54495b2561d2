package smtp

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

// Intake takes messages in. Both methods are called from many sessions at once.
type Intake interface {
	// Willing answers what the envelope alone can answer about one recipient:
	// nil, a *message.Refusal for the client, or any other error (451). s.To
	// holds the recipients already taken in this transaction.
	Willing(ctx context.Context, s message.Submission, to message.Address) error
	// Accept reads the body to its end and makes the message durable. Only
	// when it returns nil the client is told 250. A read error of the body
	// must come back as an error.
	Accept(ctx context.Context, s message.Submission, body io.Reader) (message.ID, error)
}

// Authenticator knows the accounts. Password must do the same work for unknown
// names as for known ones.
type Authenticator interface {
	Password(name, password string) (account string, ok bool)
	Certificate(cert *x509.Certificate) (account string, ok bool) // cert is verified
	Authority(account string) string
	MayUse(account string, from message.Address) bool // the null path included
}

// Limits bound what one client can take from the server. A zero value means
// the default.
type Limits struct {
	MessageSize      int64         // octets; default 50 MB; said as SIZE
	Recipients       int           // per message; default 100; then 452
	Connections      int           // of this door; default 500; then 421
	ConnectionsPerIP int           // default 100; IPv6 by /64
	Errors           int           // permanent refusals in one session; default 20; then 421
	AuthFailures     int           // in one session; default 3; then 421
	Idle             time.Duration // silence; default 5 min (RFC 5321 section 4.5.3.2.7)
	Data             time.Duration // one whole body; default 10 min
	MinRate          int64         // octets per second of a body, counted after 30 s of waiting; default 256
	Drain            time.Duration // how long Shutdown waits for open bodies; default 10 s
}

// Options describe one door.
type Options struct {
	Hostname    string            // our name in the greeting
	Kind        message.Direction // Outbound: submission. Inbound: port 25.
	TLS         *tls.Config       // certificate; ClientCAs: whose client certificates count. Required for submission.
	ImplicitTLS bool              // TLS from the first octet (RFC 8314)
	Limits      Limits
	Log         *slog.Logger     // nil: nothing is logged
	Now         func() time.Time // for certificates and the login brake; nil: time.Now
}

// Server is one door. It can serve several listeners.
type Server struct {
	o       Options
	in      Intake
	auth    Authenticator
	clear   *gosmtp.Server // serves connections without TLS
	secure  *gosmtp.Server // serves those that are under TLS, by STARTTLS or from the start
	secured *handover      // from one to the other
	tls     *tls.Config
	brake   *brake
	ctx     context.Context // ends when Shutdown gives up waiting
	cancel  context.CancelFunc

	once     sync.Once // begins to serve secured
	mu       sync.Mutex
	wires    map[*wire]struct{}
	perIP    map[netip.Prefix]int
	draining bool
}

// New prepares a door. auth may be nil on the inbound port, where nobody logs
// in.
func New(o Options, in Intake, auth Authenticator) (*Server, error) {
	o.Limits = withDefaults(o.Limits)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	config, err := serverTLS(o)
	switch {
	case err != nil:
		return nil, err
	case o.Hostname == "" || helloName(o.Hostname) == "":
		return nil, fmt.Errorf("smtp door: %q is no host name", o.Hostname)
	case in == nil:
		return nil, errors.New("smtp door: no intake")
	case o.Kind == message.Outbound && auth == nil:
		return nil, errors.New("smtp door: submission needs an authenticator")
	case o.Kind != message.Outbound && o.Kind != message.Inbound:
		return nil, fmt.Errorf("smtp door: unknown kind %q", o.Kind)
	}
	s := &Server{o: o, in: in, auth: auth, tls: config, brake: newBrake(o.Now), wires: map[*wire]struct{}{}, perIP: map[netip.Prefix]int{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.clear, s.secure, s.secured = s.newSMTP(), s.newSMTP(), newHandover()
	s.clear.TLSConfig = config        // offers STARTTLS; conn does it
	s.secure.AllowInsecureAuth = true // go-smtp does not see the TLS above it
	return s, nil
}

func withDefaults(l Limits) Limits {
	return Limits{
		MessageSize:      cmp.Or(max(l.MessageSize, 0), 50_000_000),
		Recipients:       cmp.Or(max(l.Recipients, 0), 100),
		Connections:      cmp.Or(max(l.Connections, 0), 500),
		ConnectionsPerIP: cmp.Or(max(l.ConnectionsPerIP, 0), 100),
		Errors:           cmp.Or(max(l.Errors, 0), 20),
		AuthFailures:     cmp.Or(max(l.AuthFailures, 0), 3),
		Idle:             cmp.Or(max(l.Idle, 0), 5*time.Minute),
		Data:             cmp.Or(max(l.Data, 0), 10*time.Minute),
		MinRate:          cmp.Or(max(l.MinRate, 0), 256),
		Drain:            cmp.Or(max(l.Drain, 0), 10*time.Second),
	}
}

func (s *Server) newSMTP() *gosmtp.Server {
	g := gosmtp.NewServer(gosmtp.BackendFunc(s.newSession))
	g.Domain = s.o.Hostname
	g.MaxRecipients = s.o.Limits.Recipients
	g.MaxMessageBytes = s.o.Limits.MessageSize
	g.MaxLineLength = maxCommand - 1 // what conn cannot give it whole is too long
	g.ReadTimeout = s.o.Limits.Idle
	g.WriteTimeout = s.o.Limits.Idle
	g.EnableSMTPUTF8 = true
	g.EnableDSN = true
	g.ErrorLog = libraryLog{s.o.Log}
	return g
}

// serverTLS tightens the caller's configuration: TLS 1.2 with forward secrecy
// and AEAD, or 1.3; no tickets, so that no session outlives its client
// certificate. A client certificate is asked for, never demanded: strangers'
// mail servers present all kinds, and one that does not verify counts as none.
func serverTLS(o Options) (*tls.Config, error) {
	if o.TLS == nil {
		if o.Kind == message.Outbound || o.ImplicitTLS {
			return nil, errors.New("smtp door: submission and implicit TLS need a TLS certificate")
		}
		return nil, nil //nolint:nilnil // port 25 may do without
	}
	if o.TLS.GetConfigForClient != nil {
		return nil, errors.New("smtp door: GetConfigForClient would bypass the limits on TLS; use GetCertificate")
	}
	c := o.TLS.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.CipherSuites = []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
	c.SessionTicketsDisabled = true
	if c.ClientCAs != nil && c.ClientAuth == tls.NoClientCert {
		c.ClientAuth = tls.RequestClientCert
	}
	return c, nil
}

// Serve accepts connections on l until Shutdown; then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	stopped := s.draining
	s.mu.Unlock()
	if stopped {
		return l.Close()
	}
	if s.o.ImplicitTLS {
		return s.secure.Serve(&listener{Listener: l, server: s})
	}
	s.once.Do(func() { go s.secure.Serve(s.secured) })
	return s.clear.Serve(&listener{Listener: l, server: s})
}

// Shutdown stops the door: no new connections, 421 to those that wait for a
// command, and up to Limits.Drain (or until ctx ends) for bodies that are on
// their way. What is then still open is cut off; its client was told nothing
// and tries again. It returns an error only if it had to cut.
func (s *Server) Shutdown(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, s.o.Limits.Drain)
	defer stop()
	for _, w := range s.stopAdmitting() {
		w.drain()
	}
	defer s.cancel()
	err := cmp.Or(stopServing(ctx, s.clear), stopServing(ctx, s.secure))
	s.secured.Close() // also if nobody has begun to serve it yet
	if err == nil {
		return nil
	}
	left := s.stopAdmitting()
	for _, w := range left {
		w.Close()
	}
	return fmt.Errorf("smtp door: %d connections cut off at shutdown: %w", len(left), err)
}

func stopServing(ctx context.Context, g *gosmtp.Server) error {
	if err := g.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, gosmtp.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) stopAdmitting() []*wire {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	open := make([]*wire, 0, len(s.wires))
	for w := range s.wires {
		open = append(open, w)
	}
	return open
}

// libraryLog takes what go-smtp has to say: connections that broke (of no
// interest) and panics (of much).
type libraryLog struct{ log *slog.Logger }

// Printf implements gosmtp.Logger.
func (l libraryLog) Printf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if len(format) >= 5 && format[:5] == "panic" {
		l.log.Error("smtp session panicked", "detail", text)
		return
	}
	l.log.Debug("smtp connection ended", "detail", text)
}

// Println implements gosmtp.Logger.
func (l libraryLog) Println(v ...any) { l.Printf("%s", fmt.Sprintln(v...)) }

// verifiedPeer returns the client's certificate if it leads to one of the
// configured roots, else nil. Certificate authorities stop issuing for client
// authentication, so platforms may present a server's.
func verifiedPeer(state tls.ConnectionState, roots *x509.CertPool, now time.Time, usage ...x509.ExtKeyUsage) *x509.Certificate {
	if len(state.PeerCertificates) == 0 || roots == nil {
		return nil
	}
	leaf := state.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: usage}); err != nil {
		return nil
	}
	return leaf
}

// certificateNames lists the names a certificate stands for.
func certificateNames(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	if cn := c.Subject.CommonName; cn != "" && !slices.Contains(names, cn) && printable(cn) {
		names = append(names, cn)
	}
	return names
}
