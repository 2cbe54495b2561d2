package keys

import (
	"cmp"
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
)

// Reader says with what mail to an authority is opened.
type Reader struct {
	Authority string
	At        time.Time // today: keys whose end is over are left out
	Learned   []Partner // keys of the sender from elsewhere than the folder
	Revoked   func(c, issuer *x509.Certificate) error
}

// Openers returns what opens mail to the authority: its private keys, expired
// ones too (old mail must stay readable), and everybody's keys to verify. The
// keys of other authorities are not in it. While own keys are not known, entity.Open
// fails with that error on mail that may be for one of them.
func (r *Ring) Openers(w Reader) []entity.Opener {
	s := smime.Opener{Revoked: r.asked(w.Revoked), Banned: r.decided.Revoked, Certificates: r.certificates}
	p := openpgp.Opener{Banned: r.decided.Revoked}
	for _, o := range r.own[w.Authority] {
		if end := r.decided.Ends[o.Fingerprint()].Decrypt; !end.IsZero() && !w.At.Before(end) {
			continue
		}
		if o.OpenPGP != nil {
			p.Keys = append(p.Keys, *o.OpenPGP)
		} else if k, ok := o.SMIME.Recipient(); ok {
			s.Keys = append(s.Keys, k)
		}
	}
	p.Keys = append(p.Keys, r.pgp...)
	var trusted, known []*x509.Certificate
	for _, x := range w.Learned {
		switch {
		case x.OpenPGP != nil && x.Trust != Waiting:
			p.Keys = append(p.Keys, *x.OpenPGP)
		case x.Cert != nil:
			known = append(append(known, x.Cert), x.Chain...)
			if !x.Cert.IsCA && (x.Trust == Direct || x.Trust == Approved) {
				trusted = append(trusted, x.Cert) // by itself; it cannot vouch for others
			}
		}
	}
	s.Anchors = r.anchors.Also(trusted, known)
	s.Certificates = append(s.Certificates[:len(s.Certificates):len(s.Certificates)], known...)
	if r.away != nil {
		return []entity.Opener{away{s, r.away}, away{p, r.away}}
	}
	return []entity.Opener{s, p}
}

// Listed is one key of the folder.
type Listed struct {
	Authority string // of an own key; else ""
	Address   string // of a partner's, or "@" and its domain; else ""
	Reason           // Err stays nil
	Addresses []string
	End       End // of an own key
	Cert      *x509.Certificate
	OpenPGP   *openpgp.Key
	Anchor    string // set of a trust anchor; else ""
}

// List returns every key of the folder, and the approved anchors.
func (r *Ring) List() []Listed {
	var all []Listed
	for _, authority := range slices.Sorted(maps.Keys(r.own)) {
		for _, o := range r.own[authority] {
			l := Listed{Authority: authority, OpenPGP: o.OpenPGP, End: r.decided.Ends[o.Fingerprint()]}
			l.Reason = Reason{Source: Manual, File: o.File, Technique: entity.OpenPGP, Fingerprint: o.Fingerprint(), Trust: Direct, Until: o.Until()}
			if o.SMIME != nil {
				l.Technique, l.Cert = entity.SMIME, o.SMIME.Cert
			}
			all = append(all, l)
		}
	}
	all = append(all, r.listPartners()...)
	for _, a := range r.roots {
		all = append(all, Listed{Anchor: a.set, Cert: a.cert, Reason: Reason{
			Source: Manual, File: a.file, Technique: entity.SMIME, Fingerprint: smime.Fingerprint(a.cert), Trust: Direct, Until: a.cert.NotAfter,
		}})
	}
	for i := range all {
		all[i].Addresses = AddressesOf(all[i].Cert, all[i].OpenPGP)
		if r.revoked(all[i].Fingerprint) {
			all[i].Err = ErrEnded
		}
	}
	return all
}

// listPartners lists each key of a file once, under that reading of the file's
// name for which it stands.
func (r *Ring) listPartners() []Listed {
	var all []Listed
	at := map[[2]string]int{}
	for _, a := range slices.Sorted(maps.Keys(r.partners)) {
		for _, p := range r.partners[a] {
			l := Listed{Address: a, Cert: p.Cert, OpenPGP: p.OpenPGP, Reason: Reason{
				Source: p.Source, File: p.File, Technique: p.Technique(), Fingerprint: p.Fingerprint(), Trust: p.Trust, Until: p.Until(),
			}}
			i, seen := at[[2]string{l.File, l.Fingerprint}]
			switch {
			case !seen:
				at[[2]string{l.File, l.Fingerprint}] = len(all)
				all = append(all, l)
			case !slices.ContainsFunc(AddressesOf(p.Cert, p.OpenPGP), func(own string) bool { return strings.EqualFold(own, all[i].Address) }):
				all[i] = l
			}
		}
	}
	return all
}

// AddressesOf lists the addresses for which a certificate or key stands.
func AddressesOf(c *x509.Certificate, k *openpgp.Key) []string {
	var texts []string
	if c != nil {
		for _, a := range smime.Addresses(c) {
			texts = append(texts, a.String())
		}
	}
	if k != nil {
		for _, a := range k.Addresses {
			texts = append(texts, a.String())
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// Expiring lists what of List ends before that time, the next one first.
// Keys that an administrator has ended are left out.
func (r *Ring) Expiring(before time.Time) []Listed {
	var ends []Listed
	for _, l := range r.List() {
		if l.Err == nil && !l.Until.IsZero() && l.Until.Before(before) && l.End.Sign.IsZero() {
			ends = append(ends, l)
		}
	}
	slices.SortFunc(ends, func(a, b Listed) int { return cmp.Or(a.Until.Compare(b.Until), strings.Compare(a.File, b.File)) })
	return ends
}
