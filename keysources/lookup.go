package keysources

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/keys"
	"gatewayd/crypto/smime"
	"gatewayd/keybook"
	"gatewayd/message"
)

// Source is a place where keys are published.
type Source interface {
	Name() keys.Source
	// Find returns what is published for an address; nothing is no error. What
	// has a Trust set keeps it.
	Find(ctx context.Context, a message.Address) ([]keybook.Entry, error)
}

// Asked is a source with what the administrator says about it.
type Asked struct {
	Source
	Vouches bool     // it answers for what it publishes; else an anchor must, or an administrator
	Domains []string // only addresses of these domains and those below them; nil: all
}

func (s Asked) serves(a message.Address) bool {
	return s.Domains == nil || slices.ContainsFunc(s.Domains, func(d string) bool {
		return strings.EqualFold(a.Domain, d) || strings.HasSuffix(strings.ToLower(a.Domain), "."+strings.ToLower(d))
	})
}

// trust is what a found key begins with.
func (s Asked) trust(e keybook.Entry) keys.Trust {
	switch {
	case e.Trust != "":
		return e.Trust
	case s.Vouches:
		return keys.Direct
	case e.Cert != nil:
		return keys.Anchored
	}
	return keys.Waiting
}

// Attempt is what one source said about one address.
type Attempt struct {
	Source  keys.Source
	Found   int               // keys that stand for the address
	Learned []keybook.Outcome // what became of them
	Err     string            // why it could not be asked; without the address
}

// Options configure a Lookup. Zero durations and numbers get the defaults named.
type Options struct {
	Sources []Asked // in the order in which they are asked; the first that has a key ends it
	Book    *keybook.Book
	Arrived func(a message.Address, got []Attempt) // is called when a lookup in the background is over; may be nil
	Now     func() time.Time
	Log     *slog.Logger

	NotFound  time.Duration // not asked again after nothing was found: 1 h
	Found     time.Duration // … after something was found: 24 h
	Failed    time.Duration // … after trouble: 5 min
	Parallel  int           // lookups at once: 4
	PerMinute int           // lookups: 120
	Waiting   int           // lookups that may wait: 1,000
}

// Lookup asks the sources, in the background or at once. It remembers what it
// asked, so that many messages to one address make one question.
type Lookup struct {
	o    Options
	todo chan message.Address

	mu      sync.Mutex
	until   map[string]time.Time // Address.Key → not asked again before
	flying  map[string]bool
	minute  time.Time
	started int
}

// maxRemembered bounds the memory of what was asked.
const maxRemembered = 50_000

// New returns a Lookup; Run works.
func New(o Options) *Lookup {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&o.NotFound, time.Hour)
	set(&o.Found, 24*time.Hour)
	set(&o.Failed, 5*time.Minute)
	for n, to := range map[*int]int{&o.Parallel: 4, &o.PerMinute: 120, &o.Waiting: 1000} {
		if *n <= 0 {
			*n = to
		}
	}
	return &Lookup{o: o, todo: make(chan message.Address, o.Waiting), until: map[string]time.Time{}, flying: map[string]bool{}}
}

// Asks reports whether Want would bring an answer now.
func (l *Lookup) Asks(a message.Address) bool {
	if !slices.ContainsFunc(l.o.Sources, func(s Asked) bool { return s.serves(a) }) || strings.HasPrefix(a.Domain, "[") {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flying[a.Key()] || !l.o.Now().Before(l.until[a.Key()]) && l.room()
}

// room reports whether one more lookup may begin; who waits is asked about again
// later.
func (l *Lookup) room() bool {
	if now := l.o.Now(); now.Sub(l.minute) >= time.Minute || now.Before(l.minute) {
		l.minute, l.started = now, 0
	}
	return l.started < l.o.PerMinute && len(l.todo) < cap(l.todo)
}

// Want asks for an address in the background, unless it was asked lately. It
// reports whether an answer is on its way.
func (l *Lookup) Want(a message.Address) bool {
	if !l.Asks(a) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flying[a.Key()] {
		return true
	}
	select {
	case l.todo <- a:
		l.flying[a.Key()] = true
		l.started++
		return true
	default:
		return false
	}
}

// Run answers what is wanted until ctx ends.
func (l *Lookup) Run(ctx context.Context) {
	var workers sync.WaitGroup
	for range l.o.Parallel {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case a := <-l.todo:
					got := l.Find(ctx, a)
					if l.o.Arrived != nil && ctx.Err() == nil {
						l.o.Arrived(a, got)
					}
				}
			}
		})
	}
	workers.Wait()
}

// Find asks now, whatever was asked before, and tells what each source said.
func (l *Lookup) Find(ctx context.Context, a message.Address) []Attempt {
	var all []Attempt
	wait := l.o.NotFound
	for _, s := range l.o.Sources {
		if !s.serves(a) {
			continue
		}
		got, usable := l.ask(ctx, s, a)
		all = append(all, got)
		switch {
		case usable:
			wait = l.o.Found
		case got.Err != "" && wait == l.o.NotFound:
			wait = l.o.Failed
		}
		if usable {
			break
		}
	}
	l.remember(a, wait)
	return all
}

func (l *Lookup) remember(a message.Address, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Now()
	delete(l.flying, a.Key())
	for k := range l.until { // any of them: it is asked again, no more
		if len(l.until) < maxRemembered {
			break
		}
		delete(l.until, k)
	}
	l.until[a.Key()] = now.Add(wait)
}

// ask asks one source and keeps what is of use. usable: with it mail can be
// encrypted, or could if somebody approved it.
func (l *Lookup) ask(ctx context.Context, s Asked, a message.Address) (got Attempt, usable bool) {
	got.Source = s.Name()
	found, err := s.Find(ctx, a)
	if err != nil {
		got.Err = err.Error()
		l.o.Log.Debug("a source of keys could not be asked", "source", string(got.Source), "error", err)
		return got, false
	}
	now := l.o.Now()
	for _, e := range found {
		e.Source, e.Trust = s.Name(), s.trust(e)
		p, err := e.Partner()
		if err != nil {
			continue
		}
		switch err := check(p, a, now); {
		case err == nil:
			got.Found++
		case errors.Is(err, entity.ErrRevoked) && e.OpenPGP != nil: // a revocation of what we have must be learned
		default:
			continue
		}
		outcome, err := l.o.Book.Learn(a, e, now)
		if err != nil {
			l.o.Log.Error("key book cannot keep a key", "error", err)
			got.Err = "what was found could not be kept"
			continue
		}
		usable = usable || outcome != keybook.Conflict
		got.Learned = append(got.Learned, outcome)
	}
	return got, usable && got.Found > 0
}

func check(p keys.Partner, a message.Address, now time.Time) error {
	if p.Cert != nil {
		return smime.CheckRecipient(p.Cert, a, now)
	}
	return p.OpenPGP.CheckRecipient(a, now)
}

// fromBag takes the end entity's certificate out of a PKCS #7 object (RFC 2798
// section 2.8: its content may be missing); the others are its chain. Whoever
// signed it, if anybody, the certificates speak for themselves.
func fromBag(der []byte) (keybook.Entry, bool) {
	how := cms.VerifyOptions{Limits: ber.Limits{Size: maxAnswer}}
	result, _ := cms.Verify(bytes.NewReader(der), nil, how)
	if result == nil {
		result, _ = cms.Verify(bytes.NewReader(der), bytes.NewReader(nil), how)
	}
	if result == nil {
		return keybook.Entry{}, false
	}
	var e keybook.Entry
	for _, c := range result.Certificates {
		if e.Cert == nil && !isIssuer(c) {
			e.Cert = c.Raw
			continue
		}
		if len(e.Chain) < maxFound {
			e.Chain = append(e.Chain, c.Raw)
		}
	}
	return e, e.Cert != nil
}

func isIssuer(c *x509.Certificate) bool { return c.BasicConstraintsValid && c.IsCA }
