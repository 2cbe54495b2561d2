package openpgp

import (
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/crypto/entity"
)

// Opener opens OpenPGP layers for entity.Open.
type Opener struct {
	Keys   []Key                // ours with private keys, to decrypt; the senders', to verify
	Banned map[string]time.Time // fingerprints of keys that we have taken out of use, since when; may be nil
}

// Open implements entity.Opener.
func (o Opener) Open(e *entity.Entity, w entity.Work) *entity.Layer {
	protocol := strings.ToLower(e.Protocol())
	switch {
	case e.Root.Type == "multipart/encrypted" && protocol == "application/pgp-encrypted":
		return o.openEncrypted(e, w)
	case e.Root.Type == "multipart/signed" && protocol == "application/pgp-signature":
		return o.openDetached(e, w)
	case e.Root.Type == "text/plain" && e.Root.Body.Len() <= maxInline:
		return o.openInline(e, w)
	}
	return nil
}

// openEncrypted opens RFC 3156 section 4: the version, then the object.
func (o Opener) openEncrypted(e *entity.Entity, w entity.Work) *entity.Layer {
	if len(e.Children) != 2 || e.Children[0].Type != "application/pgp-encrypted" {
		return closed(entity.Unreadable, "multipart/encrypted without its two parts")
	}
	out := w.Out()
	l := o.decrypt(e.Decoded(e.Children[1]), out, w)
	if l.Encryption == entity.Decrypted || l.Encryption == entity.NotEncrypted {
		l.Inner = out.Whole()
	}
	return l
}

// openDetached checks RFC 3156 section 5.
func (o Opener) openDetached(e *entity.Entity, w entity.Work) *entity.Layer {
	return entity.Detached(entity.OpenPGP, e, func(content, signature io.Reader) []entity.Signature {
		block, err := armor.Decode(signature)
		if err != nil || block.Type != pgp.SignatureType {
			return []entity.Signature{{Verdict: entity.Broken, Detail: "no armored signature"}}
		}
		return o.verify(content, block.Body, w)
	})
}

func (o Opener) verify(content, signature io.Reader, w entity.Work) []entity.Signature {
	md, err := pgp.VerifyDetachedSignatureReader(newRing(o.Keys), content, signature, config(w.At))
	if err == nil {
		_, err = io.Copy(io.Discard, md.UnverifiedBody)
	}
	if err != nil {
		verdict, detail := entity.Broken, "broken syntax"
		if errors.Is(err, pgperrors.ErrUnknownIssuer) { // no signature packet that can be read
			verdict, detail = entity.Unchecked, "a form of signature that we do not know"
		}
		return []entity.Signature{{Verdict: verdict, Detail: detail}}
	}
	return o.judge(md, w.At)
}

func closed(v entity.Encryption, detail string) *entity.Layer {
	return &entity.Layer{Technique: entity.OpenPGP, Encryption: v, Detail: detail}
}

// errNoIntegrity is go-crypto's error for a message without integrity
// protection (RFC 9580 section 5.7).
const errNoIntegrity = pgperrors.UnsupportedError("message is not integrity protected")

// decrypt reads one armored message to its end into out. Its layer has no
// Inner yet.
func (o Opener) decrypt(sealed io.Reader, out io.Writer, w entity.Work) *entity.Layer {
	block, err := armor.Decode(sealed)
	if err != nil || block.Type != pgp.MessageType {
		return closed(entity.Unreadable, "no armored message")
	}
	how := config(w.At)
	limit := w.Size + 64<<10 // content, and the bones of the object around it
	how.MaxDecompressedMessageSize = &limit
	ring := newRing(o.Keys)
	md, err := pgp.ReadMessage(ring.sessions.replaced(block.Body), ring, nil, how)
	if err == nil {
		// To the end: only there integrity and signatures are known.
		_, err = io.Copy(out, md.UnverifiedBody)
	}
	if err != nil && ring.sessions.trouble != nil {
		w.Fail(ring.sessions.trouble)
		return closed(entity.Unreadable, "our own key cannot be used now")
	}
	var unsupported pgperrors.UnsupportedError
	switch {
	case errors.Is(err, pgperrors.ErrKeyIncorrect):
		return closed(entity.NotForUs, "encrypted for keys that we do not have")
	case errors.Is(err, errNoIntegrity):
		return closed(entity.NoIntegrity, "encrypted without protection against change; not opened")
	case errors.Is(err, pgperrors.ErrMessageTooLarge):
		return closed(entity.Unreadable, "grows beyond the limit when unpacked")
	case errors.As(err, &unsupported):
		return closed(entity.Unreadable, "an algorithm or form outside our profile")
	case err != nil:
		return closed(entity.Damaged, "changed, cut or broken")
	}
	l := &entity.Layer{Technique: entity.OpenPGP, Encryption: entity.NotEncrypted, Signatures: o.judge(md, w.At)}
	if md.IsEncrypted {
		l.Encryption = entity.Decrypted
		if e := md.DecryptedWith.Entity; e != nil {
			l.Key = hex.EncodeToString(e.PrimaryKey.Fingerprint)
		}
	}
	return l
}

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

func verdictOf(c *pgp.SignatureCandidate, at time.Time) (entity.Signing, string) {
	var bad pgperrors.SignatureError
	var unsupported pgperrors.UnsupportedError
	err := c.SignatureError
	switch {
	case err == nil:
		return keyNow(c, at)
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return entity.UnknownKey, "the signer's key is not known"
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return entity.Revoked, "the key is revoked"
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return entity.Expired, "the key had expired"
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		return entity.Expired, "the signature has expired"
	case errors.Is(err, pgperrors.ErrSignatureOlderThanKey):
		return entity.Expired, "signed before the key was made"
	case isWeak(err), errors.As(err, &bad) && strings.HasPrefix(string(bad), "insecure "):
		return entity.Weak, "an algorithm or key that can be forged"
	case errors.As(err, &unsupported):
		return entity.Unchecked, "an algorithm or form that we do not know"
	}
	return entity.Broken, "the signature does not fit the content"
}

// keyNow looks at the key as it is today: the time of signing is only claimed.
func keyNow(c *pgp.SignatureCandidate, at time.Time) (entity.Signing, string) {
	if c.CorrespondingSig == nil || c.SignedBy == nil || c.SignedByEntity == nil {
		return entity.Unchecked, "the signature is not complete"
	}
	if c.CorrespondingSig.CreationTime.After(at.Add(maxAhead)) {
		return entity.Expired, "signed in the future"
	}
	_, err := c.SignedByEntity.VerifyPrimaryKey(at, config(at))
	for i := range c.SignedByEntity.Subkeys {
		if s := &c.SignedByEntity.Subkeys[i]; err == nil && s.PublicKey.KeyId == c.SignedBy.PublicKey.KeyId {
			_, err = s.Verify(at, config(at))
		}
	}
	switch {
	case err == nil:
		return entity.Good, ""
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return entity.Revoked, "the key is revoked"
	}
	return entity.Expired, "the key has expired"
}
