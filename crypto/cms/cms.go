// Package cms reads and writes the Cryptographic Message Syntax (RFC 5652):
// SignedData for signatures of mail and PDF, EnvelopedData and
// AuthEnvelopedData for encrypted mail.
// It is written for crypto/smime, crypto/pdfsig and crypto/tsp.
//
// It is a profile, not the whole of CMS. Signatures: RSA (PKCS #1 v1.5, PSS),
// ECDSA on P-256, P-384 and P-521, Ed25519, with SHA-256, SHA-384 or SHA-512;
// SHA-1 is read and flagged, never written. Encryption: RSA recipients (PKCS #1
// v1.5, OAEP) and recipients who agree on a key (ECDH on P-256, P-384, P-521,
// RFC 5753; X25519, RFC 8418) with AES-CBC or AES-GCM (RFC 5083, RFC 5084);
// Triple-DES is read and flagged, never written. CompressedData (RFC 3274) is
// read. Input may be BER with indefinite lengths; it streams, so that memory
// does not grow with the content.
//
// Private keys are used through crypto.Signer, crypto.Decrypter and
// ecdh.KeyExchanger only. The package has no clock, no key store and no trust
// of its own: without anchors from the caller no chain is good.
package cms

import (
	stdcrypto "crypto"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math"

	"gatewayd/crypto/ber"

	// The hash functions behind stdcrypto.Hash.
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
)

// Errors that callers branch on.
var (
	ErrContent     = errors.New("content was changed")         // with ErrSignature: it is not what was signed
	ErrSignature   = errors.New("signature does not fit")      // content, attributes or key do not match the signature
	ErrUnsupported = errors.New("unsupported CMS")             // well formed, but an algorithm or form outside our profile
	ErrNotSigned   = errors.New("not a signed CMS")            // some other content type, or a SignedData without signer
	ErrNotSealed   = errors.New("not an encrypted CMS")        // some other content type
	ErrNoRecipient = errors.New("encrypted for somebody else") // none of the keys is a recipient
	ErrDecrypt     = errors.New("decryption failed")           // one error for every cause: no oracle
	ErrKeyAway     = errors.New("private key is out of reach") // a Decrypter or KeyExchanger could not answer; nobody knows yet
	ErrNoAnchor    = errors.New("no trust anchor configured")
	ErrNoSignerKey = errors.New("certificate of the signer is missing")
)

// Object identifiers of RFC 5652, 5035, 5754, 4056, 8017, 8419, 5753, 3565 and the AES arc.
var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidEnveloped  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 3}

	oidCompressed    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 9}
	oidZlib          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 3, 8}
	oidAuthEnveloped = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 23}

	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidKeyPreference = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 11}
	oidCapabilities  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 15}
	oidSigningCert   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}
	oidStamp         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 14} // signature-time-stamp
	oidSigningCertV2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}

	oidSHA1   = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}

	oidRSA         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidOAEP        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 7}
	oidMGF1        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
	oidPSpecified  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 9}
	oidPSS         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidSHA1RSA     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5}
	oidSHA256RSA   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	oidSHA384RSA   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}
	oidSHA512RSA   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}
	oidECPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidSHA1ECDSA   = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
	oidSHA256ECDSA = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidSHA384ECDSA = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
	oidSHA512ECDSA = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}
	oidEd25519     = asn1.ObjectIdentifier{1, 3, 101, 112}

	oidECDHSHA256 = asn1.ObjectIdentifier{1, 3, 132, 1, 11, 1}                // dhSinglePass-stdDH-sha256kdf-scheme
	oidHKDFSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 3, 19} // dhSinglePass-stdDH-hkdf-sha256-scheme
	oidX25519     = asn1.ObjectIdentifier{1, 3, 101, 110}
	oidAES256Wrap = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 45} // id-aes256-wrap

	oidAES128CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}
	oidAES192CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}
	oidAES256CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	oidAES128GCM = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 6}
	oidAES192GCM = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 26}
	oidAES256GCM = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 46}
	oidTripleDES = asn1.ObjectIdentifier{1, 2, 840, 113549, 3, 7}
)

// algorithm is AlgorithmIdentifier of RFC 5280 section 4.1.1.2.
type algorithm struct {
	Algorithm  asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

// issuerAndSerial names a certificate, RFC 5652 section 10.2.4.
type issuerAndSerial struct {
	Issuer asn1.RawValue
	Serial asn1.RawValue // compared as octets; no use is made of the number
}

// Sizes of parts that are held in memory. Content is not among them.
const (
	maxPart  = 1 << 20 // certificates of one object, one SignerInfo
	maxSmall = 64 << 10
	maxItems = 256 // signers, recipients, certificates, digests
)

// digest is a digest and its identifier.
type digest struct {
	hash stdcrypto.Hash
	id   asn1.ObjectIdentifier
}

func digests() [4]digest {
	return [...]digest{{stdcrypto.SHA256, oidSHA256}, {stdcrypto.SHA512, oidSHA512}, {stdcrypto.SHA384, oidSHA384}, {stdcrypto.SHA1, oidSHA1}}
}

// digestID returns the identifier of a digest; nil for one outside our profile.
func digestID(h stdcrypto.Hash) asn1.ObjectIdentifier {
	for _, d := range digests() {
		if d.hash == h {
			return d.id
		}
	}
	return nil
}

func hashOf(oid asn1.ObjectIdentifier) (stdcrypto.Hash, error) {
	for _, d := range digests() {
		if d.id.Equal(oid) {
			return d.hash, nil
		}
	}
	return 0, fmt.Errorf("%w: digest %v", ErrUnsupported, oid)
}

// oid returns the DER of an object identifier (X.690 section 8.19).
func oid(o asn1.ObjectIdentifier) []byte {
	content := make([]byte, 0, 12)
	for i, n := range o {
		switch i {
		case 0:
			continue
		case 1:
			n += 40 * o[0]
		}
		groups := 1
		for v := n >> 7; v > 0; v >>= 7 {
			groups++
		}
		for g := groups - 1; g >= 0; g-- {
			c := byte(n>>(7*g)) & 0x7f
			if g > 0 {
				c |= 0x80
			}
			content = append(content, c)
		}
	}
	return ber.Wrap(ber.OID, content)
}

// version returns the DER of a small INTEGER.
func version(n byte) []byte { return []byte{ber.Integer, 1, n} }

// next consumes one element and reads it into a T by encoding/asn1.
func next[T any](r *ber.Reader, what string, max int) (T, error) {
	var v T
	der, err := r.Element(max)
	if err != nil {
		return v, fmt.Errorf("%s: %w", what, err)
	}
	return v, unmarshal(der, &v, what)
}

// unmarshal reads DER that must hold v and nothing else.
func unmarshal(der []byte, v any, what string) error {
	rest, err := asn1.Unmarshal(der, v)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", what, ber.ErrMalformed, err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("%s: %w: data behind it", what, ber.ErrMalformed)
	}
	return nil
}

// open goes into ContentInfo (RFC 5652 section 3) and its content, and returns
// of which type that is.
func open(r *ber.Reader) (asn1.ObjectIdentifier, error) {
	if err := r.Enter(ber.Sequence); err != nil {
		return nil, fmt.Errorf("content info: %w", err)
	}
	kind, err := next[asn1.ObjectIdentifier](r, "content type", maxSmall)
	if err != nil {
		return nil, err
	}
	if err := r.Enter(ber.Context0); err != nil {
		return nil, fmt.Errorf("content info: %w", err)
	}
	return kind, nil
}

// Kind is a type of content that this package reads.
type Kind int

// The kinds.
const (
	Unknown    Kind = iota
	Signed          // SignedData
	Sealed          // EnvelopedData, AuthEnvelopedData
	Compressed      // CompressedData
)

// KindOf looks at the beginning of a ContentInfo.
func KindOf(r io.Reader) Kind {
	kind, err := open(ber.NewReader(r, ber.Limits{Size: math.MaxInt64}))
	switch {
	case err != nil:
		return Unknown
	case kind.Equal(oidSignedData):
		return Signed
	case kind.Equal(oidEnveloped), kind.Equal(oidAuthEnveloped):
		return Sealed
	case kind.Equal(oidCompressed):
		return Compressed
	}
	return Unknown
}

// shut leaves what open went into and checks that nothing follows.
func shut(r *ber.Reader) error {
	for range 2 {
		if err := r.Leave(); err != nil {
			return fmt.Errorf("content info: %w", err)
		}
	}
	return r.End()
}

// copyAll is io.Copy that never asks src to write itself: src is foreign. An
// error of dst stays what it is.
func copyAll(dst io.Writer, src io.Reader) (n int64, err error) {
	err = eachChunk(src, func(chunk []byte, _ bool) error {
		m, err := dst.Write(chunk)
		n += int64(m)
		return err
	})
	return n, err
}

// fill reads until buf is full or r at its end. Unlike io.ReadFull it cannot
// take a source that broke off (io.ErrUnexpectedEOF) for one that ended.
func fill(r io.Reader, buf []byte) (n int, end bool, err error) {
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if errors.Is(err, io.EOF) {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}
