package openpgp

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/crypto/entity"
)

// judge turns what go-crypto found into verdicts.
func (o Opener) judge(md *pgp.MessageDetails, at time.Time) []entity.Signature {
	var list []entity.Signature
	for _, c := range md.SignatureCandidates {
		s := entity.Signature{}
		if c.CorrespondingSig != nil {
			s.Time = c.CorrespondingSig.CreationTime
		}
		if e := c.SignedByEntity; e != nil {
			if k, err := newKey(e); err == nil {
				s.KeyID, s.Addresses = k.Fingerprint, k.Addresses
				s.Signer = strings.Join(k.UserIDs, ", ")
			}
			if p := partOf(e, c.IssuerKeyId); p.public != nil {
				s.Algorithm = algorithmOf(p.public) + ", " + c.HashAlgorithm.String()
			}
		}
		s.Verdict, s.Detail = verdictOf(c, at)
		if _, out := o.Banned[s.KeyID]; out && s.Verdict != entity.Broken {
			s.Verdict, s.Detail = entity.Revoked, "the key is out of use by our own decision"
		}
		list = append(list, s)
	}
	return list
}

// maxAhead is how far a signer's clock may be ahead of ours.
const maxAhead = time.Hour

// verdictOf judges a signature: first whether it fits, then what its key is worth.
func verdictOf(c *pgp.SignatureCandidate, at time.Time) (entity.Signing, string) {
	sig := c.CorrespondingSig
	if c.SignedByEntity == nil && (c.SignatureError == nil || errors.Is(c.SignatureError, pgperrors.ErrUnknownIssuer)) {
		return entity.UnknownKey, "the signer's key is not known: " + issuerOf(c)
	}
	if v, why := arithmetic(c); v != entity.Good {
		return v, why
	}
	p := partOf(c.SignedByEntity, c.IssuerKeyId)
	if v, why := p.worth(sig.CreationTime, at); v != entity.Good {
		return v, why
	}
	switch {
	case sig.CreationTime.Before(p.public.CreationTime):
		return entity.Expired, "signed before the key was made"
	case sig.CreationTime.After(at.Add(maxAhead)):
		return entity.Expired, "signed in the future"
	case sig.SigExpired(later(at, sig.CreationTime)):
		return entity.Expired, "the signature has expired"
	}
	return entity.Good, ""
}

// issuerOf names the key that a signature claims to be from.
func issuerOf(c *pgp.SignatureCandidate) string {
	if len(c.IssuerFingerprint) > 0 {
		return hex.EncodeToString(c.IssuerFingerprint)
	}
	return fmt.Sprintf("%016x", c.IssuerKeyId)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// arithmetic reports whether the signature fits the content. go-crypto looks at
// the key first, and at the arithmetic only for a key that it likes: then we do
// it, for a key that has expired is another thing than a content that was changed.
func arithmetic(c *pgp.SignatureCandidate) (entity.Signing, string) {
	const changed = "the signature does not fit the content"
	var unsupported pgperrors.UnsupportedError
	var bad pgperrors.SignatureError
	var structure pgperrors.StructuralError
	err := c.SignatureError
	switch {
	case errors.As(err, &unsupported):
		return entity.Unchecked, "an algorithm or form that we do not know"
	case errors.As(err, &structure) && strings.HasPrefix(string(structure), "number of ops"), c.CorrespondingSig == nil:
		return entity.Broken, "a signature is missing, or has a form that we do not know"
	case c.SignedBy == nil && errors.As(err, &structure) && strings.HasSuffix(string(structure), "expected ops data"):
		return entity.Broken, "the packets of the signature contradict each other"
	case c.SignedByEntity == nil:
		return entity.Broken, changed
	case errors.As(err, &bad) && strings.HasPrefix(string(bad), "insecure "):
		return entity.Weak, "a digest that can be forged: " + c.HashAlgorithm.String()
	case errors.As(err, &bad) && strings.HasPrefix(string(bad), "unknown critical notation"):
		return entity.Unchecked, "the signer demands that we understand a remark that we do not know"
	case errors.As(err, &bad) && strings.HasPrefix(string(bad), "intended recipients"):
		return entity.Broken, "signed for other recipients: somebody has encrypted it anew"
	case c.SignedBy != nil && err != nil && !isOfKey(err):
		return entity.Broken, changed
	case c.SignedBy != nil:
		return entity.Good, "" // go-crypto has computed it
	}
	p := partOf(c.SignedByEntity, c.IssuerKeyId)
	if p.public == nil {
		return entity.Broken, changed
	}
	if c.Hash == nil || p.public.VerifySignature(c.Hash, c.CorrespondingSig) != nil {
		if bits, err := p.public.BitLength(); err == nil && bits < 1024 && isRSA(p.public.PubKeyAlgo) {
			return entity.Weak, "a key that can be forged: " + algorithmOf(p.public) // crypto/rsa does not compute with it
		}
		return entity.Broken, changed
	}
	if config(time.Time{}).RejectMessageHashAlgorithm(c.HashAlgorithm) {
		return entity.Weak, "a digest that can be forged: " + c.HashAlgorithm.String()
	}
	return entity.Good, ""
}

// isOfKey reports whether an error is about time and key, of a signature that fits.
func isOfKey(err error) bool {
	return errors.Is(err, pgperrors.ErrKeyExpired) || errors.Is(err, pgperrors.ErrKeyRevoked) ||
		errors.Is(err, pgperrors.ErrSignatureExpired) || errors.Is(err, pgperrors.ErrSignatureOlderThanKey)
}

// part is the primary key or a subkey of a key.
type part struct {
	of     *pgp.Entity
	public *packet.PublicKey // nil: no such part
	sub    *pgp.Subkey       // nil: the primary key
}

func partOf(e *pgp.Entity, id uint64) part {
	if e.PrimaryKey.KeyId == id {
		return part{e, e.PrimaryKey, nil}
	}
	for i := range e.Subkeys {
		if s := &e.Subkeys[i]; s.PublicKey.KeyId == id {
			return part{e, s.PublicKey, s}
		}
	}
	return part{of: e}
}

// worth judges the key today, for the time of signing is only claimed: an owner
// may have lost it since. One exception, as in RFC 9580 section 5.2.3.31: who has only
// replaced or retired his key stands by what it signed before.
func (p part) worth(signed, at time.Time) (entity.Signing, string) {
	how := config(at)
	if p.revoked(signed) {
		return entity.Revoked, "the key is revoked"
	}
	for _, k := range []*packet.PublicKey{p.of.PrimaryKey, p.public} {
		if v, why := profile(k); v != entity.Good {
			return v, why
		}
	}
	self, err := p.of.PrimarySelfSignature(at, how)
	if err != nil {
		return p.unbound(at)
	}
	direct, _ := p.of.LatestValidDirectSignature(at, how) // of version 4 it may be missing
	if expired(p.of.PrimaryKey, self, at) || direct != nil && expired(p.of.PrimaryKey, direct, at) {
		return entity.Expired, "the key has expired"
	}
	if p.sub != nil {
		if self, err = p.sub.LatestValidBindingSignature(at, how); err != nil {
			return p.unbound(at)
		}
		if expired(p.public, self, at) {
			return entity.Expired, "the subkey has expired"
		}
	}
	if !self.FlagsValid || !self.FlagSign {
		return entity.Broken, "by a key that is not made for signing"
	}
	return entity.Good, ""
}

// revoked reports whether the key was revoked at that time; where it may be lost,
// or no reason is given, at any time.
func (p part) revoked(at time.Time) bool {
	if p.of.Revoked(at) || p.sub == nil {
		return p.of.Revoked(at)
	}
	binding, _ := p.sub.LatestValidBindingSignature(at, config(at)) // a later one lifts a revocation that is not final
	return p.sub.Revoked(binding, at)
}

// expired reports whether the key that the self-signature is about is over.
func expired(k *packet.PublicKey, self *packet.Signature, at time.Time) bool {
	return k.KeyExpired(self, later(at, k.CreationTime)) || self.SigExpired(later(at, self.CreationTime))
}

// unbound says why no self-signature of the key holds at that time.
func (p part) unbound(at time.Time) (entity.Signing, string) {
	weak, over := false, false
	look := func(list []*packet.VerifiableSignature) {
		for _, s := range list {
			weak = weak || config(at).RejectHashAlgorithm(s.Packet.Hash)
			over = over || s.Packet.SigExpired(at)
		}
	}
	if p.sub != nil {
		look(p.sub.Bindings)
	}
	look(p.of.DirectSignatures)
	for _, id := range p.of.Identities {
		look(id.SelfCertifications)
	}
	switch {
	case weak:
		return entity.Weak, "the key vouches for itself by a digest that can be forged"
	case over:
		return entity.Expired, "what the key says about itself has expired"
	case p.sub != nil:
		return entity.Broken, "the subkey that signed does not belong to the key: one of the two has not signed that it does"
	}
	return entity.Broken, "no signature of the key about itself holds"
}

// profile reports whether we take signatures by keys of that kind.
func profile(k *packet.PublicKey) (entity.Signing, string) {
	how := config(time.Time{})
	if how.RejectPublicKeyAlgorithm(k.PubKeyAlgo) || !k.PubKeyAlgo.CanSign() {
		return entity.Unchecked, "outside of our profile: " + algorithmOf(k)
	}
	if isRSA(k.PubKeyAlgo) {
		if bits, err := k.BitLength(); err != nil || bits < how.MinimumRSABits() {
			return entity.Weak, "a key that can be forged: " + algorithmOf(k)
		}
		return entity.Good, ""
	}
	if curve, err := k.Curve(); err == nil && how.RejectCurve(curve) {
		return entity.Unchecked, "outside of our profile: " + algorithmOf(k)
	}
	return entity.Good, ""
}

func isRSA(a packet.PublicKeyAlgorithm) bool {
	return slices.Contains([]packet.PublicKeyAlgorithm{packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly, packet.PubKeyAlgoRSAEncryptOnly}, a)
}
