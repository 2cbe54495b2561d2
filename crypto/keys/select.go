package keys

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/path"
	"gatewayd/crypto/smime"
	"gatewayd/message"
)

// Reason says what became of one key in a selection.
type Reason struct {
	File        string // in the key folder; may hold an address
	Technique   entity.Technique
	Fingerprint string
	Err         error // nil: it can be used; else one of entity's reasons
	Chosen      bool
}

// Selection is what can be used for a recipient, at most one of each kind.
type Selection struct {
	Certificate *x509.Certificate // nil: none for S/MIME
	Method      smime.Method      // how to use it
	OpenPGP     *openpgp.Key      // nil: none
	Reasons     []Reason          // every key that was looked at
}

// Select says with which keys mail to that address may be encrypted at that
// time. Of several good ones that counts which is good for longest.
func (r *Ring) Select(to message.Address, at time.Time) Selection {
	s := Selection{Method: r.methods[to.Key()]}
	cert, pgp := -1, -1
	for i, p := range r.partners[to.Key()] {
		reason := Reason{File: p.file, Technique: entity.SMIME}
		if p.cert != nil {
			reason.Fingerprint = fingerprint(p.cert)
			if reason.Err = smime.CheckRecipient(p.cert, to, at); reason.Err == nil && (cert < 0 || p.cert.NotAfter.After(s.Certificate.NotAfter)) {
				s.Certificate, cert = p.cert, i
			}
		} else {
			reason.Technique, reason.Fingerprint = entity.OpenPGP, p.pgp.Fingerprint
			if reason.Err = p.pgp.CheckRecipient(to, at); reason.Err == nil && (pgp < 0 || p.pgp.Created.After(s.OpenPGP.Created)) {
				s.OpenPGP, pgp = p.pgp, i
			}
		}
		s.Reasons = append(s.Reasons, reason)
	}
	for i := range s.Reasons {
		s.Reasons[i].Chosen = i == cert || i == pgp
	}
	return s
}

// Signers is what an authority can sign with, at most one of each kind.
type Signers struct {
	SMIME   *cms.Signer  // nil: none
	OpenPGP *openpgp.Key // nil: none
	Reasons []Reason
}

// Signers says with which keys the authority may sign for that address at that
// time; for the null address whatever the authority has.
func (r *Ring) Signers(authority string, from message.Address, at time.Time) Signers {
	var s Signers
	cert, pgp := -1, -1
	for i, o := range r.own[authority] {
		reason := Reason{File: o.file, Technique: entity.SMIME}
		if o.smime != nil {
			reason.Fingerprint = fingerprint(o.smime.Cert)
			if reason.Err = smime.CheckSigner(o.smime.Cert, from, at); reason.Err == nil && o.smime.Key != nil && (cert < 0 || o.smime.Cert.NotAfter.After(s.SMIME.Cert.NotAfter)) {
				s.SMIME, cert = o.smime.Signer(), i
			}
		} else {
			reason.Technique, reason.Fingerprint = entity.OpenPGP, o.pgp.Fingerprint
			if reason.Err = o.pgp.CheckSigner(from, at); reason.Err == nil && (pgp < 0 || o.pgp.Created.After(s.OpenPGP.Created)) {
				s.OpenPGP, pgp = o.pgp, i
			}
		}
		s.Reasons = append(s.Reasons, reason)
	}
	for i := range s.Reasons {
		s.Reasons[i].Chosen = i == cert || i == pgp
	}
	return s
}

// Openers returns what opens mail to the authority: its private keys, expired
// ones too (old mail must stay readable), and everybody's keys to verify. The
// keys of other authorities are not in it.
func (r *Ring) Openers(authority string) []entity.Opener {
	s := smime.Opener{Anchors: r.anchors, Certificates: r.certificates}
	var p openpgp.Opener
	for _, o := range r.own[authority] {
		if o.pgp != nil {
			p.Keys = append(p.Keys, *o.pgp)
		} else if k, ok := o.smime.Recipient(); ok {
			s.Keys = append(s.Keys, k)
		}
	}
	p.Keys = append(p.Keys, r.pgp...)
	return []entity.Opener{s, p}
}

// verifiers gathers what everybody's signatures are checked with. A partner's
// certificate is trusted by itself.
func (r *Ring) verifiers() {
	var trusted []*x509.Certificate
	seen := map[string]bool{}
	for _, a := range slices.Sorted(maps.Keys(r.partners)) {
		for _, x := range r.partners[a] {
			switch {
			case x.pgp != nil && !seen[x.pgp.Fingerprint]:
				seen[x.pgp.Fingerprint] = true
				r.pgp = append(r.pgp, *x.pgp)
			case x.cert != nil && !seen[fingerprint(x.cert)]:
				seen[fingerprint(x.cert)] = true
				r.certificates = append(r.certificates, x.cert)
				if !x.cert.IsCA {
					trusted = append(trusted, x.cert)
				}
			}
		}
	}
	r.anchors = path.New(r.roots, trusted, r.certificates)
}

// Expiring is a key that ends soon.
type Expiring struct {
	File  string
	Until time.Time
}

// Expiring lists the certificates, own and partners', that end before that
// time, the next one first.
func (r *Ring) Expiring(before time.Time) []Expiring {
	until := map[string]time.Time{}
	for _, list := range r.partners {
		for _, p := range list {
			if p.cert != nil {
				until[p.file] = p.cert.NotAfter
			}
		}
	}
	for _, list := range r.own {
		for _, o := range list {
			if o.smime != nil {
				until[o.file] = o.smime.Cert.NotAfter
			}
		}
	}
	var ends []Expiring
	for file, t := range until {
		if t.Before(before) {
			ends = append(ends, Expiring{file, t})
		}
	}
	slices.SortFunc(ends, func(a, b Expiring) int { return cmp.Or(a.Until.Compare(b.Until), strings.Compare(a.File, b.File)) })
	return ends
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
