package keysources

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"

	"gatewayd/crypto/entity"
)

// Mode says what happens when nobody can be asked whether a certificate is
// revoked.
type Mode string

// The modes.
const (
	Off  Mode = "off"  // nobody is asked
	Soft Mode = "soft" // it counts as good
	Hard Mode = "hard" // it counts as not good
)

// ErrStatusUnknown: whether a certificate is revoked could not be learned.
var ErrStatusUnknown = errors.New("whether the certificate is revoked could not be learned")

// Revocation asks issuers whether certificates are revoked: by OCSP (RFC 6960),
// or else by their lists (RFC 5280 section 5), and remembers the answers as long
// as they hold.
type Revocation struct {
	fetch *Fetcher
	mode  Mode
	now   func() time.Time

	cache memory[status]
	lists memory[list]
	kept  memory[Answer]
}

// memory keeps what was answered, up to a bound: then something else goes.
type memory[V any] struct {
	mu   sync.Mutex
	most int
	of   map[[32]byte]V
}

func newMemory[V any](most int) memory[V] { return memory[V]{most: most, of: map[[32]byte]V{}} }

func (m *memory[V]) get(k [32]byte) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.of[k]
	return v, ok
}

func (m *memory[V]) put(k [32]byte, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for old := range m.of {
		if len(m.of) < m.most {
			break
		}
		delete(m.of, old)
	}
	m.of[k] = v
}

// status of one certificate.
type status struct {
	revoked time.Time // zero: good
	until   time.Time
}

// list is a CRL, as serial numbers.
type list struct {
	revoked    map[string]time.Time
	until      time.Time
	users, cas bool // it is about these
}

// Bounds of the memory, and of how long an answer holds.
const (
	maxStatuses  = 20_000
	maxLists     = 64
	maxList      = 16 << 20 // octets of a CRL
	maxHold      = 24 * time.Hour
	failedHold   = 5 * time.Minute
	clockSkew    = 5 * time.Minute
	maxResponder = 2 // places of one certificate that are asked
)

// NewRevocation returns a Revocation; fetch may use plain HTTP: the answers are
// signed. nil fetch: only what is remembered.
func NewRevocation(fetch *Fetcher, mode Mode, now func() time.Time) *Revocation {
	return &Revocation{fetch: fetch, mode: mode, now: now, cache: newMemory[status](maxStatuses), lists: newMemory[list](maxLists), kept: newMemory[Answer](maxKept)}
}

// Asker returns the question for crypto/smime and crypto/keys: nil for a
// certificate that was not revoked at that time, entity.ErrRevoked, and in hard
// mode ErrStatusUnknown where nobody knows.
func (r *Revocation) Asker(ctx context.Context, at time.Time) func(c, issuer *x509.Certificate) error {
	return func(c, issuer *x509.Certificate) error {
		if r.mode == Off || r.mode == "" {
			return nil
		}
		s, err := r.status(ctx, c, issuer)
		switch {
		case err == nil && !s.revoked.IsZero() && !s.revoked.After(at):
			return entity.ErrRevoked
		case err != nil && r.mode == Hard:
			return ErrStatusUnknown
		}
		return nil
	}
}

// Remembered returns the same question, answered out of the memory only: who is
// not known to be revoked is good.
func (r *Revocation) Remembered(at time.Time) func(c, issuer *x509.Certificate) error {
	return func(c, issuer *x509.Certificate) error {
		s, ok := r.cache.get(key(c, issuer))
		if ok && !s.revoked.IsZero() && !s.revoked.Equal(unknown()) && !s.revoked.After(at) {
			return entity.ErrRevoked
		}
		return nil
	}
}

func key(c, issuer *x509.Certificate) [32]byte {
	return sha256.Sum256(slices.Concat(c.Raw, issuer.RawSubjectPublicKeyInfo))
}

func (r *Revocation) status(ctx context.Context, c, issuer *x509.Certificate) (status, error) {
	k, now := key(c, issuer), r.now()
	s, ok := r.cache.get(k)
	if ok && now.Before(s.until) {
		if s.revoked.Equal(unknown()) {
			return s, ErrStatusUnknown
		}
		return s, nil
	}
	s, err := r.ask(ctx, c, issuer, now)
	if err != nil {
		if ctx.Err() == nil {
			r.cache.put(k, status{revoked: unknown(), until: now.Add(failedHold)})
		}
		return s, err
	}
	r.cache.put(k, s)
	return s, nil
}

// unknown marks that nobody could be asked.
func unknown() time.Time { return time.Unix(0, 0) }

func (r *Revocation) ask(ctx context.Context, c, issuer *x509.Certificate, now time.Time) (status, error) {
	if r.fetch == nil {
		return status{}, ErrStatusUnknown
	}
	var failures []error
	for _, where := range c.OCSPServer[:min(len(c.OCSPServer), maxResponder)] {
		_, s, err := r.byOCSP(ctx, where, c, issuer, now)
		if err == nil {
			return s, nil
		}
		failures = append(failures, err)
	}
	for _, where := range c.CRLDistributionPoints[:min(len(c.CRLDistributionPoints), maxResponder)] {
		l, err := r.list(ctx, where, issuer, now)
		if err == nil && l.about(c) {
			return status{l.revoked[c.SerialNumber.String()], l.until}, nil
		}
		failures = append(failures, err)
	}
	return status{}, errors.Join(append(failures, ErrStatusUnknown)...)
}

// byOCSP asks one responder, and returns what it has said as well.
func (r *Revocation) byOCSP(ctx context.Context, where string, c, issuer *x509.Certificate, now time.Time) (text []byte, s status, err error) {
	question, err := ocsp.CreateRequest(c, issuer, nil)
	if err == nil {
		text, err = r.fetch.Post(ctx, where, "application/ocsp-request", question)
	}
	if err != nil {
		return nil, status{}, fmt.Errorf("OCSP: %w", err)
	}
	s, err = readOCSP(text, c, issuer, now)
	return text, s, err
}

// readOCSP checks an answer about a certificate.
func readOCSP(text []byte, c, issuer *x509.Certificate, now time.Time) (status, error) {
	answer, err := ocsp.ParseResponseForCert(text, c, issuer)
	if err != nil {
		return status{}, fmt.Errorf("OCSP: %w", err)
	}
	if err := mayAnswer(answer, issuer, now); err != nil {
		return status{}, err
	}
	s := status{until: holds(now, answer.NextUpdate)}
	switch answer.Status {
	case ocsp.Revoked:
		s.revoked = answer.RevokedAt
	case ocsp.Good:
	default:
		return status{}, errors.New("OCSP: the responder does not know the certificate")
	}
	return s, nil
}

// mayAnswer checks what the library leaves out: a delegated responder must be
// made for that (RFC 6960 section 4.2.2.2), and the answer must be of now.
func mayAnswer(answer *ocsp.Response, issuer *x509.Certificate, now time.Time) error {
	if d := answer.Certificate; d != nil && !d.Equal(issuer) {
		if !slices.Contains(d.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) || now.Before(d.NotBefore) || now.After(d.NotAfter) {
			return errors.New("OCSP: signed by somebody who may not")
		}
	}
	if answer.ThisUpdate.After(now.Add(clockSkew)) || !answer.NextUpdate.IsZero() && answer.NextUpdate.Add(clockSkew).Before(now) {
		return errors.New("OCSP: the answer is not of now")
	}
	if answer.NextUpdate.IsZero() && answer.ThisUpdate.Add(maxHold).Before(now) {
		return errors.New("OCSP: the answer is old")
	}
	return nil
}

// holds bounds how long an answer is used.
func holds(now, next time.Time) time.Time {
	latest := now.Add(maxHold)
	if next.IsZero() {
		return now.Add(time.Hour)
	}
	if next.Before(latest) {
		return next
	}
	return latest
}

func (r *Revocation) list(ctx context.Context, where string, issuer *x509.Certificate, now time.Time) (list, error) {
	u, err := url.Parse(where)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return list{}, errScheme
	}
	k := sha256.Sum256(append([]byte(where+"\x00"), issuer.RawSubjectPublicKeyInfo...))
	if l, ok := r.lists.get(k); ok && now.Before(l.until) {
		return l, nil
	}
	_, l, err := r.byList(ctx, where, issuer, now)
	if err != nil {
		return list{}, err
	}
	r.lists.put(k, l)
	return l, nil
}

// byList fetches a list, and returns it as it came as well.
func (r *Revocation) byList(ctx context.Context, where string, issuer *x509.Certificate, now time.Time) (text []byte, l list, err error) {
	if text, err = r.fetch.Get(ctx, where); err != nil {
		return nil, list{}, fmt.Errorf("CRL: %w", err)
	}
	l, err = readList(text, issuer, now)
	return text, l, err
}

// about reports whether a list is complete for certificates like this one.
func (l list) about(c *x509.Certificate) bool { return isIssuer(c) && l.cas || !isIssuer(c) && l.users }

// readList reads a complete list of that issuer. One for a part of the
// certificates, or by somebody else, is not understood here.
func readList(text []byte, issuer *x509.Certificate, now time.Time) (list, error) {
	crl, err := x509.ParseRevocationList(text)
	if err != nil {
		return list{}, fmt.Errorf("CRL: %w", err)
	}
	if !bytes.Equal(crl.RawIssuer, issuer.RawSubject) || crl.CheckSignatureFrom(issuer) != nil {
		return list{}, errors.New("CRL: not signed by the issuer")
	}
	if crl.ThisUpdate.After(now.Add(clockSkew)) || !crl.NextUpdate.IsZero() && crl.NextUpdate.Add(clockSkew).Before(now) {
		return list{}, errors.New("CRL: not of now")
	}
	l := list{revoked: map[string]time.Time{}, until: holds(now, crl.NextUpdate), users: true, cas: true}
	for _, e := range crl.Extensions {
		if e.Critical && (!e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 28}) || !l.covers(e.Value)) {
			return list{}, errors.New("CRL: for some reasons or somebody else's certificates only")
		}
	}
	for _, e := range crl.RevokedCertificateEntries {
		l.revoked[e.SerialNumber.String()] = e.RevocationTime
	}
	return l, nil
}

// covers reads an issuing distribution point (RFC 5280 section 5.2.5), and
// reports whether the list is complete for users or for CAs.
func (l *list) covers(der []byte) bool {
	var idp struct {
		Point        asn1.RawValue `asn1:"optional,tag:0"`
		OnlyUser     bool          `asn1:"optional,tag:1"`
		OnlyCA       bool          `asn1:"optional,tag:2"`
		SomeReasons  asn1.RawValue `asn1:"optional,tag:3"`
		Indirect     bool          `asn1:"optional,tag:4"`
		OnlyAttrCert bool          `asn1:"optional,tag:5"`
	}
	rest, err := asn1.Unmarshal(der, &idp)
	l.users, l.cas = !idp.OnlyCA, !idp.OnlyUser
	return err == nil && len(rest) == 0 && len(idp.SomeReasons.FullBytes) == 0 && !idp.Indirect && !idp.OnlyAttrCert
}
