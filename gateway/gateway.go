// Package gateway is the flow on one page: accept, decide, protect, send,
// record, forget. It is the only package that knows the others; it holds no
// state that is not in the vault or the ledger, except the short tail between
// the two.
//
// docs/flow.md tells the same story step by step, with what a crash at each
// step means.
package gateway

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatewayd/audit"
	"gatewayd/connectors"
	"gatewayd/crypto/entity"
	"gatewayd/directory"
	"gatewayd/gateway/cases"
	"gatewayd/gateway/forms"
	"gatewayd/gateway/keydesk"
	"gatewayd/gateway/notices"
	"gatewayd/gateway/proofs"
	"gatewayd/gateway/targets"
	"gatewayd/legal"
	"gatewayd/mail/footer"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/queue"
	"gatewayd/receipts"
	"gatewayd/retention"
	"gatewayd/vault"
)

// Authority is one authority as the flow needs it.
type Authority struct {
	ID        string // name in the configuration and in every record
	Name      string // for people
	UID       string // in the federal register of enterprises: CHE-123.456.789; may be empty
	Addresses []message.Address
	Platforms map[string]message.Address // its address on each platform
	Accounts  []string
	// ForwardOpened: what goes to its own server was opened before; the original is
	// attached.
	ForwardOpened bool
	Headers       entity.Headers    // what becomes of the header fields of what is encrypted or signed for it
	Tags          map[string]string // subject tags of verdicts about received mail: a word of entity.Word, or forms.TagEncrypted → "[…]"
}

// Platform is what the flow must know of a Zustellplattform beside its
// connector.
type Platform struct {
	State       policy.PlatformState // tags and size; whether it is recognised is asked day by day
	Recognised  Recognition
	Roots       *x509.CertPool // anchors of its seal; nil: its receipts never close a case
	ReceiptWait time.Duration  // after this time without an Abgabequittung: alarm
}

// Delivery holds the values of retry and return.
type Delivery struct {
	RetryFirst  time.Duration // wait after the first temporary failure; doubles with each further one
	RetryMax    time.Duration // longest wait between two attempts
	HoldReturn  time.Duration // a held mail goes back to its sender after this time
	Concurrency int           // parallel deliveries
	PerTarget   int           // parallel deliveries to one destination
	ReserveDisk int64         // octets that stay free: below, 452
}

// Options is everything the flow is wired with.
type Options struct {
	Hostname        string
	Data            string // data folder, for the epoch file
	ReferencePrefix string
	Authorities     []Authority
	Vault           *vault.Vault
	Store           queue.Store
	Audit           *audit.Log
	Policy          *policy.Policy
	Vocabulary      policy.Vocabulary
	Directory       func() *directory.Directory
	Keys            keydesk.Sources // for S/MIME and OpenPGP
	Scanner         forms.Scanner   // for malware; nil: nobody looks
	Connectors      map[string]connectors.Connector
	Platforms       map[string]Platform
	Footers         map[string]footer.Footer // that decisions name
	Recogniser      *receipts.Recogniser
	Windows         retention.Windows
	Agreements      []retention.Agreement // on what needs no word of the authority before it goes
	Legal           legal.Rules           // zero: legal.DefaultRules
	Evidence        cases.Sealing         // what seals evidence bundles
	Delivery        Delivery
	Now             func() time.Time
	Log             *slog.Logger
}

// Gateway is the running flow.
type Gateway struct {
	*keydesk.Desk // its keys, and the operator's questions about them

	o          Options
	cases      *cases.Cases
	forms      *forms.Forms
	notices    *notices.Notices
	proofs     *proofs.Proofs
	byAddress  map[string]*Authority // Address.Key → authority
	byAccount  map[string]*Authority
	byID       map[string]*Authority
	domains    map[string]*Authority // domain → first authority there, for postmaster
	tail       *tail
	wake       chan struct{} // there may be work: new items, or the clock moved
	indexed    chan struct{} // there may be records to index
	guard      func() error  // refuses mail while the clock is wrong; nil: nobody watches it
	inFlight   *targets.Targets
	opening    sync.RWMutex // held while attempts are opened; then ended says that none may be any more
	ended      bool
	doubt      atomic.Bool // a lease failed: the ledger may hold attempts that nobody makes
	pauseMu    sync.Mutex  // one change of what is paused at a time
	workers    sync.WaitGroup
	auditDown  atomic.Bool // the day files cannot be written: nothing is accepted, nothing leaves
	arrivals   arrivals
	came       atomic.Uint64 // messages that clients have brought: the sweep rests for them
	proven     proven
	keysMoved  chan struct{} // there may be keys for what waits
	agentAway  atomic.Bool   // the key agent was told to be out of reach
	least      time.Duration // tests in virtual time: no pause is shorter
	retryPause time.Duration // first pause after the ledger or the audit log has failed

	unstamped chan message.ItemKey // items with a seal that waits for a time stamp
}

// New checks the wiring. It reads and writes nothing; Run does.
func New(o Options) (*Gateway, error) {
	if err := o.Windows.Validate(); err != nil {
		return nil, err
	}
	if o.Legal == (legal.Rules{}) {
		o.Legal = legal.DefaultRules()
	}
	g := &Gateway{
		o: o, tail: newTail(), wake: make(chan struct{}, 1), indexed: make(chan struct{}, 1), keysMoved: make(chan struct{}, 1), unstamped: make(chan message.ItemKey, 64),
		byAddress: map[string]*Authority{}, byAccount: map[string]*Authority{}, byID: map[string]*Authority{}, domains: map[string]*Authority{},
		inFlight: targets.New(max(1, o.Delivery.PerTarget)), retryPause: 200 * time.Millisecond,
	}
	g.Desk = keydesk.New(keydesk.Options{
		Sources: o.Keys, Ledger: o.Store, Local: func(a message.Address) bool { return g.local(a) != nil }, Arrived: g.KeysArrived, Now: o.Now, Log: o.Log,
	})
	g.forms = forms.New(forms.Options{Host: o.Hostname, Data: o.Data, Vault: o.Vault, Keys: g.Desk, Scanner: o.Scanner, Manner: g.manner, Footers: o.Footers, Now: o.Now, Log: o.Log})
	g.notices = notices.New(notices.Options{Host: o.Hostname, Windows: o.Windows, Vault: o.Vault, Header: g.forms.Header, Forward: g.forward})
	g.proofs = proofs.New(proofs.Options{Recogniser: o.Recogniser, Vault: o.Vault, Roots: g.roots(), Revocation: revocation(o.Keys)})
	g.cases = cases.New(cases.Options{Ledger: o.Store, Directory: o.Directory, Rules: o.Legal, Wait: g.receiptWait, Now: o.Now, Unstamped: g.stampSoon})
	for i := range o.Authorities {
		a := &o.Authorities[i]
		g.byID[a.ID] = a
		for _, addr := range a.Addresses {
			if other, taken := g.byAddress[addr.Key()]; taken {
				return nil, fmt.Errorf("authority %s: one of its addresses belongs to %s", a.ID, other.ID)
			}
			g.byAddress[addr.Key()] = a
			if _, ok := g.domains[addr.Domain]; !ok {
				g.domains[addr.Domain] = a
			}
		}
		for _, account := range a.Accounts {
			if other, taken := g.byAccount[account]; taken {
				return nil, fmt.Errorf("authority %s: account %s belongs to %s", a.ID, account, other.ID)
			}
			g.byAccount[account] = a
		}
	}
	if _, ok := g.domains[o.Hostname]; !ok && len(o.Authorities) > 0 {
		g.domains[o.Hostname] = &o.Authorities[0] // for <postmaster> without a domain (RFC 5321 section 4.5.1)
	}
	return g, nil
}

// Run recovers what a crash left and then works until ctx ends: it indexes
// what was accepted, delivers what is due, and writes the audit day files. It
// returns when every open attempt is recorded. ready is closed as soon as mail
// may be accepted.
func (g *Gateway) Run(ctx context.Context, ready chan<- struct{}) error {
	if err := g.readPaused(); err != nil {
		return err
	}
	if err := g.recover(ctx); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if ready != nil {
		close(ready)
	}
	var loops sync.WaitGroup
	loops.Go(func() { g.deliverLoop(ctx) })
	loops.Go(func() { g.attendLoop(ctx) })
	loops.Go(func() { g.auditLoop(ctx) })
	loops.Go(func() { g.keyLoop(ctx) })
	loops.Go(func() { g.stampLoop(ctx) })
	if g.o.Keys.Lookup != nil {
		loops.Go(func() { g.o.Keys.Lookup.Run(ctx) })
	}
	// Indexing goes on until the last worker has finished: what was accepted
	// while we drain must not be lost from sight.
	indexCtx, stopIndex := context.WithCancel(context.WithoutCancel(ctx))
	var index sync.WaitGroup
	index.Go(func() { g.indexLoop(indexCtx, ctx) })
	<-ctx.Done()
	loops.Wait()
	g.opening.Lock()
	g.ended = true
	g.opening.Unlock()
	g.workers.Wait()
	stopIndex()
	index.Wait()
	if _, err := g.indexOnce(context.WithoutCancel(ctx), ctx); err != nil {
		g.o.Log.Warn("accepted mail stays in the vault until the next start", "error", err)
	}
	_, err := g.o.Audit.Drain(context.WithoutCancel(ctx), g.o.Store)
	return err
}

// Wake tells the loops that something is due, e.g. because an injected clock
// was moved.
func (g *Gateway) Wake() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// Authority returns the authority of an account, or "".
func (g *Gateway) Authority(account string) string {
	if a := g.byAccount[account]; a != nil {
		return a.ID
	}
	return ""
}

// MayUse reports whether the account may send from the address: it must be one
// of its authority's (Benutzungsreglement BL § 10 Abs. 3), or of an authority
// that has made it a delegate today.
func (g *Gateway) MayUse(account string, from message.Address) bool {
	a := g.byAddress[from.Key()]
	return a != nil && (g.byAccount[account] == a || g.o.Directory().AccountActs(account, a.ID, g.now()))
}

// revocation is who is asked about the certificates of seals; nil: nobody.
func revocation(k keydesk.Sources) proofs.Revocation {
	if k.Revocation == nil {
		return nil
	}
	return k.Revocation
}

func (g *Gateway) now() time.Time { return g.o.Now().UTC() }

// pause waits for d or until ctx ends or somebody wakes us.
func (g *Gateway) pause(ctx context.Context, c <-chan struct{}, d time.Duration) {
	waitFor(ctx, c, max(d, g.least))
}

// waitFor waits that long, or until there is something on c, or ctx ends.
func waitFor(ctx context.Context, c <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-c:
	case <-t.C:
	}
}
