package path

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
)

// Bounds of a memory: entries of each kind, and octets of a certificate in it.
// Together at most a few MiB.
const (
	maxRemembered = 512
	maxCertOctets = 8 << 10
)

// memory keeps what depends on octets alone: certificates that were taken apart,
// and which key has signed which certificate. Nothing in it gets old: time, use and
// revocation are judged anew for every path. When it is full it begins anew.
// Certificates are kept of good paths only: one that a stranger has built may take
// seventy times its length once it is parsed. A nil memory keeps nothing.
type memory struct {
	mu     sync.Mutex
	steps  map[[sha256.Size]byte]step
	signed map[[2 * sha256.Size]byte]struct{}
}

func newMemory() *memory {
	return &memory{steps: map[[sha256.Size]byte]step{}, signed: map[[2 * sha256.Size]byte]struct{}{}}
}

// parse returns the certificate; what is kept is not parsed again.
func (m *memory) parse(der []byte) (*x509.Certificate, error) {
	if s, ok := m.recall(der); ok {
		return s.cert, nil
	}
	return x509.ParseCertificate(der)
}

// step returns a certificate with its names.
func (m *memory) step(c *x509.Certificate) step {
	if s, ok := m.recall(c.Raw); ok {
		return s
	}
	return step{c, parseName(c.RawSubject), parseName(c.RawIssuer)}
}

func (m *memory) recall(der []byte) (step, bool) {
	if m == nil || len(der) > maxCertOctets {
		return step{}, false
	}
	sum := sha256.Sum256(der)
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.steps[sum]
	return s, ok
}

// keep notes the certificates of a good path.
func (m *memory) keep(c chain) {
	if m == nil {
		return
	}
	for _, s := range c {
		if len(s.cert.Raw) > maxCertOctets {
			continue
		}
		sum := sha256.Sum256(s.cert.Raw)
		m.mu.Lock()
		if len(m.steps) >= maxRemembered {
			clear(m.steps)
		}
		m.steps[sum] = s
		m.mu.Unlock()
	}
}

// pair names issuer's key and what it may have signed: the whole certificate, with
// the signature and its algorithm.
func pair(issuer, c *x509.Certificate) (k [2 * sha256.Size]byte) {
	key, cert := sha256.Sum256(issuer.RawSubjectPublicKeyInfo), sha256.Sum256(c.Raw)
	copy(k[:], key[:])
	copy(k[sha256.Size:], cert[:])
	return k
}

// once returns what check says; a signature that fits is checked once.
func (m *memory) once(issuer, c *x509.Certificate, check func() bool) bool {
	if m == nil {
		return check()
	}
	k := pair(issuer, c)
	m.mu.Lock()
	_, ok := m.signed[k]
	m.mu.Unlock()
	if ok {
		return true
	}
	if !check() {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.signed) >= maxRemembered {
		clear(m.signed)
	}
	m.signed[k] = struct{}{}
	return true
}
