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

	mu    sync.Mutex
	cache map[[32]byte]status
	lists map[[32]byte]list
	kept  map[[32]byte]Answer
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
	return &Revocation{fetch: fetch, mode: mode, now: now, cache: map[[32]byte]status{}, lists: map[[32]byte]list{}, kept: map[[32]byte]Answer{}}
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
		r.mu.Lock()
		s, ok := r.cache[key(c, issuer)]
		r.mu.Unlock()
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
	r.mu.Lock()
	s, ok := r.cache[k]
	r.mu.Unlock()
	if ok && now.Before(s.until) {
		if s.revoked.Equal(unknown()) {
			return s, ErrStatusUnknown
		}
		return s, nil
	}
	s, err := r.ask(ctx, c, issuer, now)
	if err != nil {
		if ctx.Err() == nil {
			r.remember(k, status{revoked: unknown(), until: now.Add(failedHold)})
		}
		return s, err
	}
	r.remember(k, s)
	return s, nil
}

// unknown marks that nobody could be asked.
func unknown() time.Time { return time.Unix(0, 0) }

func (r *Revocation) remember(k [32]byte, s status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for old := range r.cache {
		if len(r.cache) < maxStatuses {
			break
		}
		delete(r.cache, old)
	}
	r.cache[k] = s
}

func (r *Revocation) ask(ctx context.Context, c, issuer *x509.Certificate, now time.Time) (status, error) {
	if r.fetch == nil {
		return status{}, ErrStatusUnknown
	}
	var failures []error
	for _, where := range c.OCSPServer[:min(len(c.OCSPServer), maxResponder)] {
		s, err := r.byOCSP(ctx, where, c, issuer, now)
		if err == nil {
			return s, nil
		}
		failures = append(failures, err)
	}
	for _, where := range c.CRLDistributionPoints[:min(len(c.CRLDistributionPoints), maxResponder)] {
		l, err := r.list(ctx, where, issuer, now)
		if err == nil && (isIssuer(c) && l.cas || !isIssuer(c) && l.users) {
			return status{l.revoked[c.SerialNumber.String()], l.until}, nil
		}
		failures = append(failures, err)
	}
	return status{}, errors.Join(append(failures, ErrStatusUnknown)...)
}

func (r *Revocation) byOCSP(ctx context.Context, where string, c, issuer *x509.Certificate, now time.Time) (status, error) {
	question, err := ocsp.CreateRequest(c, issuer, nil)
	if err != nil {
		return status{}, fmt.Errorf("OCSP: %w", err)
	}
	text, err := r.fetch.Post(ctx, where, "application/ocsp-request", question)
	if err != nil {
		return status{}, fmt.Errorf("OCSP: %w", err)
	}
	return readOCSP(text, c, issuer, now)
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
	r.mu.Lock()
	l, ok := r.lists[k]
	r.mu.Unlock()
	if ok && now.Before(l.until) {
		return l, nil
	}
	text, err := r.fetch.Get(ctx, where)
	if err != nil {
		return list{}, fmt.Errorf("CRL: %w", err)
	}
	if l, err = readList(text, issuer, now); err != nil {
		return list{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for old := range r.lists {
		if len(r.lists) < maxLists {
			break
		}
		delete(r.lists, old)
	}
	r.lists[k] = l
	return l, nil
}

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
