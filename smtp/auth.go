package smtp

import (
	"context"
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"github.com/emersion/go-sasl"

	"gatewayd/message"
)

// AuthMechanisms implements gosmtp.AuthSession. A password is taken under TLS
// only (RFC 4954 section 4).
func (s *session) AuthMechanisms() []string {
	if s.server.o.Kind != message.Outbound || s.tls == "" {
		return nil
	}
	return []string{sasl.Plain}
}

// Auth implements gosmtp.AuthSession.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	open, _ := s.transaction()
	switch {
	case s.server.o.Kind != message.Outbound:
		return nil, s.answer("auth", &errAuthNone)
	case s.tls == "":
		return nil, s.answer("auth", &errNeedTLS)
	case mechanism != sasl.Plain:
		return nil, s.answer("auth", &errAuthMech)
	case open != nil:
		return nil, s.answer("auth", &errTransaction) // RFC 4954 section 4
	}
	return plain{s, sasl.NewPlainServer(s.login)}, nil
}

// plain gives errors of the SASL exchange our replies.
type plain struct {
	session *session
	sasl.Server
}

// Next implements sasl.Server.
func (p plain) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = p.Server.Next(response)
	switch {
	case err == nil:
		return challenge, done, nil
	case !known(err):
		err = &errAuthSyntax
	}
	return nil, false, p.session.answer("auth", err)
}

// login checks a name and a password. Every failure looks the same: unknown
// name, wrong password, or an identity other than the name (nobody may act for
// somebody else).
func (s *session) login(identity, name, password string) error {
	from := networkOf(s.remote)
	wait, allowed := s.server.brake.ask(from, name)
	if !allowed {
		return &errAuthBusy
	}
	if !pause(s.server.ctx, wait) {
		return &errTimeout
	}
	account, ok := s.server.auth.Password(name, password)
	if !ok || account == "" || identity != "" && identity != name {
		s.server.brake.failed(from, name)
		return s.loginFailed()
	}
	s.server.brake.succeeded(from, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account = account
	return nil
}

func (s *session) loginFailed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures++; s.failures >= s.server.o.Limits.AuthFailures {
		return &errTooMany
	}
	return &errAuthFailed
}

// pause waits; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Figures of the brake.
const (
	freeFailures  = 5                // failures before the brake bites
	firstDelay    = time.Second      // doubles with each further failure
	maxDelayName  = 6 * time.Second  // so that a name is tried at most 10 times a minute
	maxDelayNet   = 36 * time.Second // so that an address tries at most 100 times an hour
	maxWait       = 10 * time.Second // a client that would wait longer is sent away
	failureMemory = time.Hour        // of quiet, after which failures are forgotten
	maxRemembered = 16384            // names and addresses
)

// brake slows the guessing of passwords down, by address and by name. Who has
// already logged in from an address is not slowed down by what others do there
// or to the name: strangers cannot lock an owner out.
type brake struct {
	now  func() time.Time
	mu   sync.Mutex
	seen map[[32]byte]*failures
	good map[[32]byte]struct{} // name and address that have logged in
}

type failures struct {
	count int
	last  time.Time
	next  time.Time // when the next try may begin
}

func newBrake(now func() time.Time) *brake {
	return &brake{now: now, seen: map[[32]byte]*failures{}, good: map[[32]byte]struct{}{}}
}

// bucket is one thing failures are counted for.
type bucket struct {
	key [32]byte
	max time.Duration
}

func pairKey(from netip.Prefix, name string) [32]byte {
	return sha256.Sum256([]byte("pair " + from.String() + " " + name))
}

// buckets lists what a try counts for.
func (b *brake) buckets(from netip.Prefix, name string) []bucket {
	pair := pairKey(from, name)
	if _, ok := b.good[pair]; ok {
		return []bucket{{pair, maxDelayName}}
	}
	return []bucket{
		{sha256.Sum256([]byte("net " + from.String())), maxDelayNet},
		{sha256.Sum256([]byte("name " + name)), maxDelayName},
	}
}

// ask says how long a try must wait, and books its place in the row; false if
// the row is too long.
func (b *brake) ask(from netip.Prefix, name string) (time.Duration, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	buckets := b.buckets(from, name)
	start := now
	for _, k := range buckets {
		if f := b.seen[k.key]; f != nil && now.Sub(f.last) < failureMemory && f.next.After(start) {
			start = f.next
		}
	}
	if start.Sub(now) > maxWait {
		return 0, false
	}
	for _, k := range buckets {
		if f := b.seen[k.key]; f != nil {
			f.next = start.Add(f.delay(k.max))
		}
	}
	return start.Sub(now), true
}

func (f *failures) delay(most time.Duration) time.Duration {
	over := f.count - freeFailures
	if over < 0 {
		return 0
	}
	return min(firstDelay<<min(over, 10), most)
}

func (b *brake) failed(from netip.Prefix, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for _, k := range b.buckets(from, name) {
		f := b.seen[k.key]
		if f == nil || now.Sub(f.last) >= failureMemory {
			makeRoom(b.seen)
			f = &failures{}
			b.seen[k.key] = f
		}
		f.count++
		f.last = now
		if next := now.Add(f.delay(k.max)); next.After(f.next) {
			f.next = next
		}
	}
}

func (b *brake) succeeded(from netip.Prefix, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	pair := pairKey(from, name)
	if _, ok := b.good[pair]; !ok {
		makeRoom(b.good)
	}
	b.good[pair] = struct{}{}
	delete(b.seen, pair)
}

// makeRoom forgets any one entry of a full map. Looking for the oldest would
// cost an attacker's every try a walk through all of them.
func makeRoom[V any](m map[[32]byte]V) {
	for k := range m {
		if len(m) < maxRemembered {
			return
		}
		delete(m, k)
	}
}
