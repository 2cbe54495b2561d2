package openpgp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
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
	if opened(l) {
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
	packets, err := only(signature, tagSignature)
	if err != nil {
		return []entity.Signature{{Verdict: entity.Broken, Detail: "broken syntax"}}
	}
	var md *pgp.MessageDetails
	few := unflooded(func() {
		md, err = pgp.VerifyDetachedSignatureReader(newRing(o.Keys), content, bytes.NewReader(packets), config(w.At))
	})
	if !few || err == nil && len(md.SignatureCandidates) > maxSigners {
		return []entity.Signature{{Verdict: entity.Unchecked, Detail: tooMany}}
	}
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

// tooMany says that a limit of work was met.
const tooMany = "more signatures or recipients than we look at"

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
	var md *pgp.MessageDetails
	few := unflooded(func() { md, err = pgp.ReadMessage(ring.sessions.replaced(block.Body), ring, nil, how) })
	if !few || err == nil && len(md.SignatureCandidates) > maxSigners {
		return closed(entity.Unreadable, tooMany)
	}
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
		return closed(entity.NotForUs, ring.notForUs())
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
		if weak(md) {
			l.Encryption = entity.WeakCipher
		}
		content := cipherName(md.DecryptedWithAlgorithm) + "-" + ring.sessions.form
		if ring.sessions.form == "MDC" {
			content = cipherName(md.DecryptedWithAlgorithm) + " with MDC"
		}
		l.Algorithms = []string{content}
		if e := md.DecryptedWith.Entity; e != nil {
			l.Key = hex.EncodeToString(e.PrimaryKey.Fingerprint)
			l.Algorithms = append(l.Algorithms, algorithmOf(md.DecryptedWith.PublicKey))
		}
	}
	return l
}

// notForUs says for whom a message is that none of our keys has opened.
func (r *ring) notForUs() string {
	var ids []string
	for _, id := range r.unknown {
		if id != 0 {
			ids = append(ids, fmt.Sprintf("%016x", id))
		}
	}
	switch {
	case r.asked == 0:
		return "encrypted for a passphrase, or for keys of a form that we do not know"
	case len(ids) == 0:
		return "encrypted for keys that we do not have"
	}
	return "encrypted for keys that we do not have: " + strings.Join(ids, ", ")
}

// opened reports whether decrypt gave out the whole content.
func opened(l *entity.Layer) bool {
	return slices.Contains([]entity.Encryption{entity.Decrypted, entity.WeakCipher, entity.NotEncrypted}, l.Encryption)
}

// weak reports whether others may have read the message: blocks of 64 bits, or a
// short key.
func weak(md *pgp.MessageDetails) bool {
	if !slices.Contains([]packet.CipherFunction{packet.CipherAES128, packet.CipherAES192, packet.CipherAES256}, md.DecryptedWithAlgorithm) {
		return true
	}
	k := md.DecryptedWith.PublicKey
	if k == nil || !isRSA(k.PubKeyAlgo) && k.PubKeyAlgo != packet.PubKeyAlgoElGamal {
		return false
	}
	bits, err := k.BitLength()
	return err != nil || bits < config(time.Time{}).MinimumRSABits()
}
