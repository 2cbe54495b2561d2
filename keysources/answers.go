package keysources

import (
	"context"
	"crypto/x509"
	"errors"
	"time"
)

// Answer is what an issuer said about a certificate, as it came: it is kept
// beside what the certificate has signed, because issuers answer about a
// certificate for some years only.
type Answer struct {
	Kind    string // "ocsp" (RFC 6960) or "crl" (RFC 5280 section 5)
	Of      *x509.Certificate
	Data    []byte    // DER
	At      time.Time // when it was fetched
	Revoked time.Time // zero: not revoked
	until   time.Time
}

// maxKept bounds the answers in memory.
const maxKept = 64

// Answers asks about every certificate of a chain but its anchor, and returns
// what was answered. An error tells of whom nobody could be asked; the others
// are there all the same. In mode off nobody is asked.
func (r *Revocation) Answers(ctx context.Context, chain []*x509.Certificate) ([]Answer, error) {
	if r.mode == Off || r.mode == "" {
		return nil, nil
	}
	var list []Answer
	var errs []error
	for i := range len(chain) - 1 {
		a, err := r.answer(ctx, chain[i], chain[i+1])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, a)
	}
	return list, errors.Join(errs...)
}

func (r *Revocation) answer(ctx context.Context, c, issuer *x509.Certificate) (Answer, error) {
	k, now := key(c, issuer), r.now()
	a, ok := r.kept.get(k)
	switch {
	case ok && now.Before(a.until) && a.Data != nil:
		return a, nil
	case ok && now.Before(a.until):
		return a, ErrStatusUnknown
	}
	a, err := r.fetchAnswer(ctx, c, issuer, now)
	if err != nil {
		a = Answer{until: now.Add(failedHold)}
	}
	if err != nil && ctx.Err() != nil {
		return a, err
	}
	r.kept.put(k, a)
	return a, err
}

func (r *Revocation) fetchAnswer(ctx context.Context, c, issuer *x509.Certificate, now time.Time) (Answer, error) {
	if r.fetch == nil {
		return Answer{}, ErrStatusUnknown
	}
	for _, where := range c.OCSPServer[:min(len(c.OCSPServer), maxResponder)] {
		if text, s, err := r.byOCSP(ctx, where, c, issuer, now); err == nil {
			return Answer{Kind: "ocsp", Of: c, Data: text, At: now, Revoked: s.revoked, until: s.until}, nil
		}
	}
	for _, where := range c.CRLDistributionPoints[:min(len(c.CRLDistributionPoints), maxResponder)] {
		if text, l, err := r.byList(ctx, where, issuer, now); err == nil && l.about(c) {
			return Answer{Kind: "crl", Of: c, Data: text, At: now, Revoked: l.revoked[c.SerialNumber.String()], until: l.until}, nil
		}
	}
	return Answer{}, ErrStatusUnknown
}
