package keys

import (
	"cmp"
	"crypto/x509"
	"slices"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
	"gatewayd/message"
)

// Wish asks for keys.
type Wish struct {
	To      message.Address
	At      time.Time
	Learned []Partner // keys of that address from elsewhere than the folder
	Order   []Source  // which source is preferred; nil: Sources
	// Revoked is asked about each certificate of a chain to an anchor: nil,
	// entity.ErrRevoked, or why that must be known and is not. nil: nobody is asked.
	Revoked func(c, issuer *x509.Certificate) error
}

// rank of a source in the order of preference; those that are not named come
// last.
func (w Wish) rank(s Source) int {
	order := w.Order
	if order == nil {
		order = Sources()
	}
	if i := slices.Index(order, s); i >= 0 {
		return i
	}
	return len(order)
}

// Reason says what became of one key in a selection.
type Reason struct {
	Source      Source
	File        string // in the key folder; may hold an address
	Technique   entity.Technique
	Fingerprint string
	Trust       Trust
	Until       time.Time // expiry; zero: never
	Err         error     // nil: it can be used; else one of entity's reasons or of ours
	Chosen      bool
}

// Selection is what can be used for a recipient, at most one of each kind.
type Selection struct {
	Certificate *x509.Certificate // nil: none for S/MIME
	Method      smime.Method      // how to use it
	OpenPGP     *openpgp.Key      // nil: none
	Reasons     []Reason          // every key that was looked at
}

// Select says with which keys mail to an address may be encrypted. Of several
// good ones that of the preferred source counts, one for the address itself
// before one for its domain, and then the one that is good for longest.
func (r *Ring) Select(w Wish) Selection {
	all := append(slices.Clone(r.partners[w.To.Key()]), w.Learned...)
	all = append(all, r.partners[domainKey(w.To.Domain)]...)
	s := Selection{}
	chosen := map[entity.Technique]int{}
	for i, p := range all {
		reason := Reason{Source: p.Source, File: p.File, Technique: p.Technique(), Fingerprint: p.Fingerprint(), Trust: p.Trust, Until: p.Until()}
		if reason.Err = r.usable(p, w.To, w); reason.Err == nil {
			if best, ok := chosen[p.Technique()]; !ok || w.better(p, all[best]) {
				chosen[p.Technique()] = i
			}
		}
		s.Reasons = append(s.Reasons, reason)
	}
	if i, ok := chosen[entity.SMIME]; ok {
		s.Reasons[i].Chosen, s.Certificate, s.Method = true, all[i].Cert, r.method(w, all[i], all)
	}
	if i, ok := chosen[entity.OpenPGP]; ok {
		s.Reasons[i].Chosen, s.OpenPGP = true, all[i].OpenPGP
	}
	return s
}

// method says how to encrypt for a recipient: as an administrator has written for
// him, or for his domain; else as the program has announced that signs by this very
// certificate, wherever we have that from (RFC 8551 section 2.7.1). Another program
// of his may read less.
func (r *Ring) method(w Wish, chosen Partner, all []Partner) smime.Method {
	for _, key := range []string{w.To.Key(), domainKey(w.To.Domain)} {
		if m, written := r.methods[key]; written {
			return m
		}
	}
	for _, p := range all {
		if p.Cert != nil && p.Cert.Equal(chosen.Cert) && p.Method != (smime.Method{}) {
			return p.Method
		}
	}
	return smime.Method{}
}

func (w Wish) better(a, b Partner) bool {
	number := func(yes bool) int {
		if yes {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(w.rank(a.Source), w.rank(b.Source)), number(a.Domain)-number(b.Domain), b.newness().Compare(a.newness())) < 0
}

// Signers is what an authority can sign with, at most one of each kind.
type Signers struct {
	SMIME   *cms.Signer  // nil: none
	OpenPGP *openpgp.Key // nil: none
	Reasons []Reason
	Err     error // the authority's keys are not known now: nothing may leave unsigned for want of one
}

// Signers says with which keys the authority may sign for that address at that
// time; for the null address whatever the authority has.
func (r *Ring) Signers(authority string, from message.Address, at time.Time) Signers {
	s := Signers{Err: r.away}
	cert, pgp := -1, -1
	for i, o := range r.own[authority] {
		reason := Reason{Source: Manual, File: o.File, Technique: entity.SMIME, Fingerprint: o.Fingerprint(), Trust: Direct, Until: o.Until()}
		switch {
		case r.ended(reason.Fingerprint, at):
			reason.Err = ErrEnded
		case o.SMIME != nil:
			if reason.Err = smime.CheckSigner(o.SMIME.Cert, from, at); reason.Err == nil && o.SMIME.Key != nil && (cert < 0 || o.SMIME.Cert.NotAfter.After(s.SMIME.Cert.NotAfter)) {
				s.SMIME, cert = o.SMIME.Signer(), i
			}
		default:
			if reason.Err = o.OpenPGP.CheckSigner(from, at); reason.Err == nil && (pgp < 0 || o.OpenPGP.Created.After(s.OpenPGP.Created)) {
				s.OpenPGP, pgp = o.OpenPGP, i
			}
		}
		if o.SMIME == nil {
			reason.Technique = entity.OpenPGP
		}
		s.Reasons = append(s.Reasons, reason)
	}
	for i := range s.Reasons {
		s.Reasons[i].Chosen = i == cert || i == pgp
	}
	if s.SMIME != nil && smime.CheckRecipient(s.SMIME.Cert, from, at) != nil {
		s.SMIME.Encryption = r.answers(authority, from, at)
	}
	return s
}

// answers is the certificate by which answers to that address are encrypted: the
// one that is good for longest. nil: none.
func (r *Ring) answers(authority string, from message.Address, at time.Time) (best *x509.Certificate) {
	for _, o := range r.own[authority] {
		if o.SMIME == nil || r.ended(o.Fingerprint(), at) || smime.CheckRecipient(o.SMIME.Cert, from, at) != nil {
			continue
		}
		if _, ok := o.SMIME.Recipient(); ok && (best == nil || o.SMIME.Cert.NotAfter.After(best.NotAfter)) {
			best = o.SMIME.Cert
		}
	}
	return best
}

// ended reports whether an own key signs no more.
func (r *Ring) ended(fingerprint string, at time.Time) bool {
	end := r.decided.Ends[fingerprint].Sign
	return r.revoked(fingerprint) || !end.IsZero() && !at.Before(end)
}
