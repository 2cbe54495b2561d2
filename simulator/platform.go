package simulator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

// window is how long a registered mail waits for its recipient (VEUE Art. 11;
// both platforms' help pages: 7 days).
const window = 7 * 24 * time.Hour

// Customer is an authority with a contract: a domain connected to the platform.
type Customer struct {
	Domain      string // of its MAIL FROM; mail for it is delivered to the gateway
	Certificate string // CN or DNS SAN of the client certificate; "" for none
	Account     string // PrivaSphere only: AUTH name; "" for none
	Password    string
}

// Delivery is the gateway's port for inbound mail. STARTTLS is required of it.
type Delivery struct {
	Addr string                                                            // host:port; "" delivers nothing: mails are only recorded
	TLS  *tls.Config                                                       // roots, server name, the platform's client certificate
	Dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil: net.Dialer
}

// Options make a Platform. Kind, TLS, Seal and Clock are required.
type Options struct {
	Kind      Kind
	Hostname  string         // in greetings; default "localhost"
	TLS       *tls.Config    // with the server certificate
	ClientCAs *x509.CertPool // whose client certificates are believed
	Customers []Customer
	Seal      Certificate // RSA; signs receipts and archive copies
	Deliver   Delivery
	Clock     Clock
	Tags      map[message.Class]string // subject tags; nil: as published
	MaxSize   int64                    // octets; 0: 30 MB (IncaMail), 20 MB (PrivaSphere)
	Idle      time.Duration            // how often due work is looked for by itself; 0: 100 ms
	Log       *slog.Logger             // nil: none. Gets no addresses and no subjects
}

// Platform is one simulated Zustellplattform. It is safe for concurrent use.
type Platform struct {
	o      Options
	brand  brand
	rogue  func() (Certificate, error) // a seal under a foreign CA, for the fault wrong-seal
	server *gosmtp.Server
	ctx    context.Context
	stop   context.CancelFunc
	done   chan struct{} // closed when the deliverer has ended
	kick   chan struct{} // wakes the deliverer

	mu       sync.Mutex
	peer     *Platform
	profiles map[string]Profile
	faults   Faults
	healed   chan struct{} // closed at the next change of faults: hanging sessions end
	received []Received
	entries  []*entry
	waiting  map[string]*entry // of entries: those for which the 7 days run
	outbox   []*outgoing       // not yet delivered
	sent     []*outgoing       // everything that was ever to be sent
	after    []func()          // to be done when mu is free
}

// Received is one mail that the platform accepted, byte for byte.
type Received struct {
	Number int       `json:"number"` // from 1
	From   string    `json:"from"`
	To     []string  `json:"to"` // as in RCPT TO
	At     time.Time `json:"at"`
	Raw    []byte    `json:"-"`
}

// New returns a platform whose deliverer runs: Close ends it. It takes mail once
// Serve is called.
func New(o Options) (*Platform, error) {
	if o.Kind != IncaMail && o.Kind != PrivaSphere {
		return nil, fmt.Errorf("unknown platform %q", o.Kind)
	}
	if o.TLS == nil || o.Clock == nil || o.Seal.Leaf == nil {
		return nil, errors.New("simulator needs TLS, Clock and Seal")
	}
	o.setDefaults()
	b := brandOf(o.Kind)
	p := &Platform{
		o: o, brand: b, rogue: sync.OnceValues(func() (Certificate, error) { return foreignSeal(b) }),
		done: make(chan struct{}), kick: make(chan struct{}, 1), healed: make(chan struct{}),
		profiles: map[string]Profile{}, waiting: map[string]*entry{},
	}
	p.server = newServer(p)
	p.ctx, p.stop = context.WithCancel(context.Background())
	go p.run()
	return p, nil
}

func (o *Options) setDefaults() {
	if o.Hostname == "" {
		o.Hostname = "localhost"
	}
	if o.Tags == nil {
		o.Tags = defaultTags(o.Kind)
	}
	if o.MaxSize == 0 && o.Kind == IncaMail {
		o.MaxSize = 30e6
	}
	if o.MaxSize == 0 {
		o.MaxSize = 20e6
	}
	if o.Idle == 0 {
		o.Idle = idlePause
	}
	if o.Deliver.Dial == nil {
		o.Deliver.Dial = (&net.Dialer{Timeout: netTimeout}).DialContext
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.TLS = o.TLS.Clone()
	o.TLS.MinVersion = max(o.TLS.MinVersion, tls.VersionTLS12)
	if o.ClientCAs != nil {
		o.TLS.ClientCAs, o.TLS.ClientAuth = o.ClientCAs, tls.VerifyClientCertIfGiven
	}
}

// Serve takes mail from l until Close; then it returns nil.
func (p *Platform) Serve(l net.Listener) error {
	forget := context.AfterFunc(p.ctx, func() { _ = l.Close() }) // the server may be closed before it knows l
	defer forget()
	if err := p.server.Serve(l); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Close ends listeners, sessions and deliveries. What was not delivered is lost.
func (p *Platform) Close() error {
	p.stop()
	err := p.server.Close()
	<-p.done
	if errors.Is(err, gosmtp.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Peer makes two platforms know each other, both ways: recipients with the
// profile other-platform are served by the peer, and the fault foreign-receipt
// borrows its form and its seal. Call it before the platforms are in use.
func (p *Platform) Peer(other *Platform) {
	p.do(func() { p.peer = other })
	other.do(func() { other.peer = p })
}

// SetRecipient says what sort of recipient an address is. Addresses that were
// never set are Unregistered, those of a customer's domain AutoAccept.
func (p *Platform) SetRecipient(addr string, prof Profile) {
	p.do(func() { p.profiles[strings.ToLower(addr)] = prof })
}

// SetFaults replaces what goes wrong. Receipts held back by reorder go out, and
// sessions hanging after DATA are cut.
func (p *Platform) SetFaults(f Faults) error {
	err := errors.New("fault foreign-receipt: no peer")
	p.do(func() {
		if f.ForeignReceipt && p.peer == nil {
			return
		}
		err, p.faults = nil, f
		close(p.healed)
		p.healed = make(chan struct{})
		for _, e := range p.entries {
			p.release(e)
		}
	})
	return err
}

// Faults returns what goes wrong now.
func (p *Platform) Faults() Faults {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults
}

// Advance moves the clock, which must be able to (VirtualClock), and does what
// became due, here and at the peer.
func (p *Platform) Advance(d time.Duration) error {
	c, ok := p.o.Clock.(interface{ Advance(time.Duration) })
	if !ok {
		return errors.New("this clock can't be advanced")
	}
	c.Advance(d)
	p.Tick()
	p.mu.Lock()
	peer := p.peer
	p.mu.Unlock()
	if peer != nil {
		peer.Tick()
	}
	return nil
}

// Received returns every mail that was accepted, in order.
func (p *Platform) Received() []Received {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Received(nil), p.received...)
}

// do runs f under the lock, then what f left to be said to the peer.
func (p *Platform) do(f func()) {
	p.mu.Lock()
	f()
	after := p.after
	p.after = nil
	p.mu.Unlock()
	for _, g := range after {
		g()
	}
}

func (p *Platform) profile(addr string) Profile {
	if prof, ok := p.profiles[strings.ToLower(addr)]; ok {
		return prof
	}
	if _, ok := p.customer(addr); ok {
		return Profile{Kind: AutoAccept}
	}
	return Profile{Kind: Unregistered}
}

// customer returns whose domain an address lies in.
func (p *Platform) customer(addr string) (Customer, bool) {
	domain := addr[strings.LastIndexByte(addr, '@')+1:]
	for _, c := range p.o.Customers {
		if domain != "" && strings.EqualFold(c.Domain, domain) {
			return c, true
		}
	}
	return Customer{}, false
}
