// Package path decides whether a certificate stands under a trust anchor, by
// the whole of RFC 5280 section 6: signatures, validity, names, key usage, path
// length, name constraints of every form, and policies.
//
// crypto/x509 reads the certificates and checks each signature. Its Verify is
// not used, because it refuses what must be judged here instead: directory
// names as constraints and names that differ only in writing, which CAs for
// mail use; and signatures with SHA-1, which make a path weak and not unknown
// (mail is read again after years).
//
// The package has no anchors of its own and asks nobody: revocation is a
// question that the caller answers (Options.Revoked).
package path

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"time"

	"gatewayd/crypto/cms"
)

// Errors of Verify.
var (
	ErrNoAnchor    = errors.New("no trust anchor configured")
	ErrUnknown     = errors.New("no trust anchor stands above the certificate")
	ErrTime        = errors.New("a certificate has expired or is not yet valid")
	ErrIssuer      = errors.New("a certificate was issued by one that must not issue")
	ErrLength      = errors.New("the path is longer than a certificate in it allows")
	ErrUsage       = errors.New("a certificate is not made for this use")
	ErrCritical    = errors.New("a certificate has a critical extension that is not understood")
	ErrConstraints = errors.New("a name is outside of the constraints of an issuer")
	ErrPolicy      = errors.New("no acceptable policy holds for the whole path")
)

// Anchors are the certificates that are trusted, and those of CAs that are
// known. The zero Anchors trust nobody. They never change and may be shared.
type Anchors struct {
	roots   byName // stand above others
	trusted byName // by themselves only
	known   byName
	memory  *memory // shared by what Also returns
}

// byName finds certificates by the name of their subject.
type byName map[string][]step

func index(list []*x509.Certificate, mem *memory) byName {
	m := byName{}
	for _, c := range list {
		s := mem.step(c)
		m[s.name.key()] = append(m[s.name.key()], s)
	}
	return m
}

// New returns Anchors. What is trusted is so by itself only, such as a
// partner's certificate: it cannot vouch for others. known may hold anything;
// only CAs among them are kept.
func New(anchors, trusted, known []*x509.Certificate) *Anchors {
	return &Anchors{roots: index(anchors, nil), trusted: index(trusted, nil), known: index(issuers(known), nil), memory: newMemory()}
}

// Also returns the anchors with further certificates that are trusted by
// themselves, and further known ones.
func (a *Anchors) Also(trusted, known []*x509.Certificate) *Anchors {
	if a == nil {
		a = &Anchors{}
	}
	if len(trusted)+len(known) == 0 {
		return a
	}
	with := func(m byName, list []*x509.Certificate) byName {
		all := maps.Clone(m)
		for name, steps := range index(list, a.memory) {
			if all == nil {
				all = byName{}
			}
			all[name] = slices.Concat(all[name], steps)
		}
		return all
	}
	return &Anchors{roots: a.roots, trusted: with(a.trusted, trusted), known: with(a.known, issuers(known)), memory: a.memory}
}

// Certificate parses DER. What mail brings is mostly the same certificates: those of good
// paths are remembered, and shared with other callers, who must not change them.
func (a *Anchors) Certificate(der []byte) (*x509.Certificate, error) {
	if a == nil {
		return x509.ParseCertificate(der)
	}
	return a.memory.parse(der)
}

// issuers leaves out end entities: a partner's certificate is of no help.
func issuers(list []*x509.Certificate) []*x509.Certificate {
	var cas []*x509.Certificate
	for _, c := range list {
		if c.BasicConstraintsValid && c.IsCA {
			cas = append(cas, c)
		}
	}
	return cas
}

// Options say what is asked of a path: the inputs of RFC 5280 section 6.1.1.
type Options struct {
	At     time.Time           // every certificate must be good then
	Usage  x509.ExtKeyUsage    // that every certificate must allow; zero: any
	Others []*x509.Certificate // certificates that came along, of whatever worth

	Policies       []x509.OID // acceptable ones; none: any
	Explicit       bool       // one of them must hold, whether the path says so or not
	InhibitMapping bool       // no policy may stand for another
	InhibitAny     bool       // anyPolicy stands for none

	// Revoked is asked about every certificate of an otherwise good path but
	// the anchor, from the anchor down. An error ends that path. nil: nobody
	// is asked.
	Revoked func(c, issuer *x509.Certificate) error
}

// Path leads from a certificate to an anchor, both included.
type Path struct {
	Certificates []*x509.Certificate
	Weak         bool // a signature with SHA-1 or an RSA key of fewer than 2048 bits stands in it
}

// Bounds of the search.
const (
	maxOthers = 256
	maxDepth  = 12
	maxChecks = 100 // signatures
)

// Verify returns the first good path that it finds. The error is the one that
// ended the path which came furthest.
func (a *Anchors) Verify(c *x509.Certificate, o Options) (Path, error) {
	if a == nil || len(a.roots)+len(a.trusted) == 0 {
		return Path{}, ErrNoAnchor
	}
	came := issuers(o.Others[:min(len(o.Others), maxOthers)])
	s := search{anchors: a, came: index(came, a.memory), o: o, err: ErrUnknown}
	leaf := a.memory.step(c)
	for _, root := range slices.Concat(a.roots[leaf.name.key()], a.trusted[leaf.name.key()]) {
		if bytes.Equal(root.cert.Raw, c.Raw) && s.good(chain{leaf}) {
			return s.found, nil
		}
	}
	if s.from(chain{leaf}) {
		return s.found, nil
	}
	return Path{}, s.err
}

// search looks for a path, depth first.
type search struct {
	anchors *Anchors
	came    byName // with the certificate
	o       Options
	checks  int
	found   Path
	err     error
}

// from goes on above the last step of c.
func (s *search) from(c chain) bool {
	last := c[len(c)-1]
	above := last.issuer.key()
	for _, root := range s.anchors.roots[above] {
		if s.issued(root, last) && s.good(append(c[:len(c):len(c)], root)) {
			return true
		}
	}
	if len(c) == maxDepth {
		return false
	}
	for _, next := range slices.Concat(s.came[above], s.anchors.known[above]) {
		if !c.has(next) && s.issued(next, last) && s.from(append(c[:len(c):len(c)], next)) {
			return true
		}
	}
	return false
}

// issued reports whether by's key signed c, in which its name stands.
func (s *search) issued(by, c step) bool {
	if s.checks >= maxChecks || !affordable(by.cert) {
		return false
	}
	s.checks++
	return s.anchors.memory.once(by.cert, c.cert, func() bool { return signed(by.cert, c.cert) })
}

// signed reports whether issuer's key has signed c.
func signed(issuer, c *x509.Certificate) bool {
	if issuer.PublicKey == nil { // an id-RSASSA-PSS key, which crypto/x509 leaves out
		key, err := cms.PublicKey(issuer)
		if _, ok := key.(*rsa.PublicKey); err != nil || !ok {
			return false
		}
		known := *issuer
		known.PublicKey, issuer = key, &known
	}
	return issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// affordable bounds the work that a stranger's key can ask for.
func affordable(c *x509.Certificate) bool {
	k, ok := c.PublicKey.(*rsa.PublicKey)
	return !ok || k.N.BitLen() <= 8192
}

// good judges a path that reaches an anchor.
func (s *search) good(c chain) bool {
	if err := c.check(s.o); err != nil {
		s.err = err
		return false
	}
	for i := len(c) - 2; i >= 0 && s.o.Revoked != nil; i-- {
		if err := s.o.Revoked(c[i].cert, c[i+1].cert); err != nil {
			s.err = err
			return false
		}
	}
	s.found = c.path()
	s.anchors.memory.keep(c)
	return true
}

// step is a certificate with its names in a form in which they compare.
type step struct {
	cert         *x509.Certificate
	name, issuer name
}

// selfIssued certificates are what a CA gives itself when it changes keys.
func (s step) selfIssued() bool { return s.name.equal(s.issuer) }

// chain leads from the end entity, at 0, up to the anchor, at its end.
type chain []step

func (c chain) has(s step) bool {
	for _, x := range c {
		if bytes.Equal(x.cert.RawSubjectPublicKeyInfo, s.cert.RawSubjectPublicKeyInfo) && x.name.equal(s.name) {
			return true
		}
	}
	return false
}

func (c chain) path() Path {
	var p Path
	for i, s := range c {
		p.Certificates = append(p.Certificates, s.cert)
		sha1 := s.cert.SignatureAlgorithm == x509.SHA1WithRSA || s.cert.SignatureAlgorithm == x509.ECDSAWithSHA1
		key, ok := s.cert.PublicKey.(*rsa.PublicKey)
		p.Weak = p.Weak || sha1 && i < len(c)-1 || ok && key.N.BitLen() < 2048
	}
	return p
}
