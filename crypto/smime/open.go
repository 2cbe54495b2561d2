package smime

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"time"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/path"
	"gatewayd/mail/parts"
)

// Opener opens S/MIME layers for entity.Open.
type Opener struct {
	Keys         []cms.Recipient     // what we can decrypt with
	Anchors      *path.Anchors       // nil: every signer is Untrusted
	Certificates []*x509.Certificate // of signers that send none

	// Revoked is asked about each certificate of a good path. It answers with
	// entity.ErrRevoked, or with another error where it must know and cannot:
	// the signer is then Untrusted. nil: nobody is asked.
	Revoked func(c, issuer *x509.Certificate) error

	// Banned are the fingerprints of signers that we have taken out of use
	// ourselves, since when; may be nil.
	Banned map[string]time.Time
}

// Open implements entity.Opener. What a part is, its own octets say: the
// smime-type parameter is often missing and sometimes wrong.
func (o Opener) Open(e *entity.Entity, w entity.Work) *entity.Layer {
	if e.Root.Type == "multipart/signed" && isSignature(e.Protocol()) {
		return o.openDetached(e, w)
	}
	if !isMIME(e.Root) {
		return nil
	}
	switch cms.KindOf(e.Decoded(e.Root)) {
	case cms.Signed:
		return o.openOpaque(e, w)
	case cms.Sealed:
		return o.openSealed(e, w)
	case cms.Compressed:
		return o.openCompressed(e, w)
	}
	return &entity.Layer{Technique: entity.SMIME, Encryption: entity.Unreadable, Detail: "broken syntax, or an object outside our profile"}
}

func isSignature(protocol string) bool {
	p := strings.ToLower(protocol)
	return p == "application/pkcs7-signature" || p == "application/x-pkcs7-signature"
}

// isMIME reports whether the part is one of RFC 8551 section 3.2, or looks
// like one by its name (section 3.9).
func isMIME(p parts.Part) bool {
	switch p.Type {
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		return true
	case "application/octet-stream":
		return strings.HasSuffix(strings.ToLower(p.FileName), ".p7m")
	}
	return false
}

func (o Opener) limits(w entity.Work) ber.Limits {
	return ber.Limits{Size: w.Size + 4<<20} // certificates, recipients and the bones of the object beside the content
}

// openSealed decrypts (RFC 8551 sections 3.3 and 3.4).
func (o Opener) openSealed(e *entity.Entity, w entity.Work) *entity.Layer {
	l := &entity.Layer{Technique: entity.SMIME}
	out := w.Out()
	out.Expect(e.Root.Body.Len() / 4 * 3) // as base64
	opened, err := cms.Decrypt(out, e.Decoded(e.Root), o.Keys, o.limits(w))
	if opened.Cipher != "" {
		l.Algorithms = []string{opened.Cipher, opened.KeyEncryption}
	}
	switch {
	case err == nil:
		l.Encryption, l.Inner, l.Key = worth(opened), out.Whole(), Fingerprint(opened.Recipient)
	case errors.Is(err, cms.ErrKeyAway):
		w.Fail(err)
	case errors.Is(err, cms.ErrNoRecipient):
		l.Encryption, l.Detail = entity.NotForUs, "encrypted for certificates that we have no key of"
	case errors.Is(err, cms.ErrDecrypt):
		l.Encryption, l.Detail = entity.Damaged, "the content does not fit the key: damaged, or not meant for us"
	case errors.Is(err, cms.ErrUnsupported):
		l.Encryption, l.Detail = entity.Unreadable, "an algorithm outside our profile"
	default:
		l.Encryption, l.Detail = entity.Unreadable, "broken syntax"
	}
	return l
}

// worth says what the encryption of an opened object is worth.
func worth(opened cms.Opened) entity.Encryption {
	switch {
	case opened.Weak:
		return entity.WeakCipher
	case opened.Authenticated:
		return entity.Decrypted
	}
	return entity.Malleable
}

// openCompressed unpacks (RFC 8551 section 3.6).
func (o Opener) openCompressed(e *entity.Entity, w entity.Work) *entity.Layer {
	l := &entity.Layer{Technique: entity.SMIME, Encryption: entity.NotEncrypted, Compressed: true}
	out := w.Out()
	switch err := cms.Decompress(out, e.Decoded(e.Root), w.Size, o.limits(w)); {
	case err == nil:
		l.Inner = out.Whole()
	case errors.Is(err, cms.ErrBomb):
		l.Detail = "packed content that is too long"
	default:
		l.Detail = "packed content that cannot be read"
	}
	return l
}

// openOpaque takes the content out of a signed-data object (RFC 8551 section
// 3.5.2). It is given out whatever the signature is worth: it was never secret.
func (o Opener) openOpaque(e *entity.Entity, w entity.Work) *entity.Layer {
	out := w.Out()
	result, err := cms.Verify(e.Decoded(e.Root), nil, o.verifyOptions(w, out))
	if errors.Is(err, cms.ErrNotSigned) {
		return nil // certificates only, or something else in that wrapping
	}
	l := &entity.Layer{Technique: entity.SMIME, Encryption: entity.NotEncrypted}
	l.Signatures, l.Detail = o.judge(result, err, w.At)
	if result != nil {
		l.Inner = out.Whole()
	}
	return l
}

// openDetached checks a multipart/signed (RFC 8551 section 3.5.3).
func (o Opener) openDetached(e *entity.Entity, w entity.Work) *entity.Layer {
	return entity.Detached(entity.SMIME, e, func(content, signature io.Reader) []entity.Signature {
		result, err := cms.Verify(signature, content, o.verifyOptions(w, nil))
		list, _ := o.judge(result, err, w.At)
		return list
	})
}

func (o Opener) verifyOptions(w entity.Work, out io.Writer) cms.VerifyOptions {
	return cms.VerifyOptions{
		Trust: o.trust, Certificates: o.Certificates, At: w.At, Out: out, Limits: o.limits(w), Parse: o.Anchors.Certificate,
	}
}

// trust is the decision of RFC 8550: a path to an anchor, made for mail.
func (o Opener) trust(c *x509.Certificate, others []*x509.Certificate, at time.Time) ([]*x509.Certificate, bool, error) {
	p, err := o.Anchors.Verify(c, path.Options{At: at, Usage: x509.ExtKeyUsageEmailProtection, Others: others, Revoked: o.Revoked})
	return p.Certificates, p.Weak, err
}

// judge turns what crypto/cms found into verdicts.
func (o Opener) judge(result *cms.Result, err error, at time.Time) ([]entity.Signature, string) {
	if result == nil || len(result.Signatures) == 0 {
		verdict, detail := entity.Broken, "broken syntax"
		switch {
		case errors.Is(err, cms.ErrUnsupported):
			verdict, detail = entity.Unchecked, "a form of signature outside our profile"
		case errors.Is(err, cms.ErrNotSigned):
			detail = "a signature without a signer"
		case errors.Is(err, cms.ErrSignature):
			detail = "what it signs is not here, or stands here twice"
		}
		return []entity.Signature{{Verdict: verdict, Detail: detail}}, detail
	}
	var list []entity.Signature
	for _, s := range result.Signatures {
		v := entity.Signature{Time: s.SigningTime, Algorithm: s.Algorithm, Announced: s.Capabilities}
		if s.Cert != nil {
			v.Signer, v.KeyID, v.Addresses = path.Show(s.Cert.Subject), Fingerprint(s.Cert), Addresses(s.Cert)
		}
		v.Verdict, v.Detail = verdictOf(s, at)
		v.Certificates = bag(s, result.Certificates)
		for _, c := range result.Certificates {
			if s.Prefers(c) {
				v.Preferred = c.Raw
			}
		}
		if n := len(s.Chain); n > 0 && s.ChainErr == nil {
			v.Anchor = Fingerprint(s.Chain[n-1])
		}
		if _, banned := o.Banned[v.KeyID]; banned && v.Verdict != entity.Broken {
			v.Verdict, v.Detail = entity.Revoked, "the certificate is out of use by our own decision"
		}
		list = append(list, v)
	}
	return list, ""
}

// bag returns the signer's certificate and then the others of the object.
func bag(s cms.Signature, others []*x509.Certificate) [][]byte {
	var all [][]byte
	if s.Cert != nil {
		all = append(all, s.Cert.Raw)
	}
	for _, c := range others {
		if s.Cert == nil || !c.Equal(s.Cert) {
			all = append(all, c.Raw)
		}
	}
	return all
}

// maxAhead is how far a signer's clock may be ahead of ours.
const maxAhead = time.Hour

func verdictOf(s cms.Signature, at time.Time) (entity.Signing, string) {
	switch {
	case errors.Is(s.Err, cms.ErrNoSignerKey):
		return entity.UnknownKey, "the signer's certificate is missing"
	case errors.Is(s.Err, cms.ErrUnsupported):
		return entity.Unchecked, "an algorithm outside our profile"
	case s.Err != nil:
		return entity.Broken, "the signature does not fit the content"
	case s.Weak:
		return entity.Weak, "SHA-1, or a key that is too short"
	case errors.Is(s.ChainErr, entity.ErrRevoked):
		return entity.Revoked, s.ChainErr.Error()
	case errors.Is(s.ChainErr, path.ErrTime):
		return entity.Expired, s.ChainErr.Error()
	case s.ChainErr != nil:
		return entity.Untrusted, s.ChainErr.Error()
	case s.SigningTime.After(at.Add(maxAhead)):
		return entity.Expired, "signed in the future"
	}
	return entity.Good, ""
}

// Fingerprint returns the SHA-256 of a certificate in hexadecimal.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
