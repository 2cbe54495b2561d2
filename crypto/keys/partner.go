package keys

import (
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/path"
	"gatewayd/crypto/smime"
	"gatewayd/message"
)

// Source says where a partner's key comes from.
type Source string

// The sources.
const (
	Manual Source = "manual" // the key folder
	Mail   Source = "mail"   // harvested from mail that came in
	LDAP   Source = "ldap"
	WKD    Source = "wkd"
	HKPS   Source = "hkps"
	DANE   Source = "dane" // SMIMEA and OPENPGPKEY records
)

// Sources lists every source in the order that is used where none is
// configured.
func Sources() []Source { return []Source{Manual, Mail, LDAP, WKD, HKPS, DANE} }

// Trust says on what the use of a partner's key rests.
type Trust string

// The kinds of trust.
const (
	Direct   Trust = "direct"   // its source answers for it: the key folder, the domain itself
	Anchored Trust = "anchored" // a certificate: good as long as one of our anchors stands above it
	Approved Trust = "approved" // by an administrator
	Waiting  Trust = "waiting"  // for an administrator
)

// Reasons why a key cannot be used, beside those of entity.
var (
	ErrWaiting = errors.New("waits for an administrator's approval")
	ErrEnded   = errors.New("out of use by an administrator's decision")
)

// Partner is one key of somebody to whom we write, with what is known of it.
type Partner struct {
	Source  Source
	File    string // of the key folder; may hold an address
	Trust   Trust
	Domain  bool                // stands for every address of its domain
	Cert    *x509.Certificate   // or OpenPGP
	Chain   []*x509.Certificate // what came along, for building a chain
	OpenPGP *openpgp.Key
	Method  smime.Method // by what the partner's program announced
}

// Technique returns what the key is for.
func (p Partner) Technique() entity.Technique {
	if p.Cert != nil {
		return entity.SMIME
	}
	return entity.OpenPGP
}

// Fingerprint returns the key's name in hexadecimal: SHA-256 of the
// certificate, or the OpenPGP fingerprint.
func (p Partner) Fingerprint() string {
	if p.Cert != nil {
		return smime.Fingerprint(p.Cert)
	}
	return p.OpenPGP.Fingerprint
}

// Until returns when the key expires; zero: never.
func (p Partner) Until() time.Time {
	if p.Cert != nil {
		return p.Cert.NotAfter
	}
	return p.OpenPGP.Expires
}

// newness orders good keys: the certificate that is good for longest, the
// OpenPGP key that was made last.
func (p Partner) newness() time.Time {
	if p.Cert != nil {
		return p.Cert.NotAfter
	}
	return p.OpenPGP.Created
}

// Decisions are what administrators have decided about keys, beside what lies
// in the folder. The zero Decisions change nothing.
type Decisions struct {
	Roots   []*x509.Certificate  // approved trust anchors
	Revoked map[string]time.Time // fingerprint → since: never used again, and its signatures are called revoked
	Ends    map[string]End       // fingerprint of an own key
}

// End says when an own key goes out of use; a zero time: never.
type End struct {
	Sign    time.Time // from then on it signs nothing
	Decrypt time.Time // from then on it opens nothing
}

// With returns the ring as those decisions leave it.
func (r *Ring) With(d Decisions) *Ring {
	with := *r
	with.decided = Decisions{Revoked: maps.Clone(d.Revoked), Ends: maps.Clone(d.Ends)}
	with.roots = slices.Clone(r.roots)
	for _, c := range d.Roots {
		with.roots = append(with.roots, anchor{approvedSet, "", c})
	}
	with.verifiers()
	return &with
}

// revoked reports whether an administrator has taken a key, or any certificate
// above it, out of use.
func (r *Ring) revoked(fingerprints ...string) bool {
	for _, f := range fingerprints {
		if _, yes := r.decided.Revoked[f]; yes {
			return true
		}
	}
	return false
}

// Sets of anchors: those of the folder itself, those that administrators have
// approved. Further ones are folders below roots.
const (
	generalSet  = "general"
	approvedSet = "approved"
)

// anchor is a trust anchor with the name of its set.
type anchor struct {
	set, file string
	cert      *x509.Certificate
}

// AnchorSet names the set of the anchor with that fingerprint; "" if it is none
// of ours. A partner's own certificate is no anchor.
func (r *Ring) AnchorSet(fingerprint string) string {
	for _, a := range r.roots {
		if smime.Fingerprint(a.cert) == fingerprint {
			return a.set
		}
	}
	return ""
}

// verifiers gathers what everybody's signatures are checked with. A partner's
// certificate in the folder is trusted by itself.
func (r *Ring) verifiers() {
	r.certificates, r.pgp = nil, nil
	var roots, trusted []*x509.Certificate
	for _, a := range r.roots {
		if !r.revoked(smime.Fingerprint(a.cert)) {
			roots = append(roots, a.cert)
		}
	}
	seen := map[string]bool{}
	for _, a := range slices.Sorted(maps.Keys(r.partners)) {
		for _, p := range r.partners[a] {
			f := p.Fingerprint()
			if seen[f] {
				continue
			}
			seen[f] = true
			if p.OpenPGP != nil {
				r.pgp = append(r.pgp, *p.OpenPGP)
				continue
			}
			r.certificates = append(append(r.certificates, p.Cert), p.Chain...)
			if !p.Cert.IsCA {
				trusted = append(trusted, p.Cert)
			}
		}
	}
	r.anchors = path.New(roots, trusted, r.certificates)
}

// Chain returns the chain from a certificate for mail to one of our anchors, or
// an error of path or Wish.Revoked.
func (r *Ring) Chain(c *x509.Certificate, others []*x509.Certificate, w Wish) ([]*x509.Certificate, error) {
	p, err := r.anchors.Verify(c, path.Options{At: w.At, Usage: x509.ExtKeyUsageEmailProtection, Others: others, Revoked: r.asked(w.Revoked)})
	if err == nil && p.Weak {
		err = entity.ErrWeakKey
	}
	return p.Certificates, err
}

// asked puts administrators' decisions before the word of the issuers.
func (r *Ring) asked(ask func(c, issuer *x509.Certificate) error) func(c, issuer *x509.Certificate) error {
	return func(c, issuer *x509.Certificate) error {
		switch {
		case r.revoked(smime.Fingerprint(c)):
			return ErrEnded
		case ask == nil:
			return nil
		}
		return ask(c, issuer)
	}
}

// usable reports why mail to an address may not be encrypted by a partner's
// key.
func (r *Ring) usable(p Partner, to message.Address, w Wish) error {
	if p.Domain {
		to = message.Address{} // who put it into the folder says for whom it stands
	}
	var err error
	if p.Cert != nil {
		err = smime.CheckRecipient(p.Cert, to, w.At)
	} else {
		err = p.OpenPGP.CheckRecipient(to, w.At)
	}
	switch {
	case err != nil:
		return err
	case r.revoked(p.Fingerprint()):
		return ErrEnded
	case p.Trust == Waiting:
		return ErrWaiting
	case p.Cert == nil || p.Trust != Anchored:
		return nil
	}
	_, err = r.Chain(p.Cert, p.Chain, w)
	return err
}
