package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"io"
	"slices"
	"time"

	"gatewayd/crypto/ber"
)

// Signer is who signs. Key must be the private key of Cert; Chain holds the
// certificates between it and its anchor, in any order.
type Signer struct {
	Cert  *x509.Certificate
	Chain []*x509.Certificate
	Key   stdcrypto.Signer

	// Encryption is the certificate by which answers are to be encrypted, where
	// that is not Cert: it is sent along and named (RFC 8551 section 2.5.3). nil: Cert.
	Encryption *x509.Certificate
}

// SignOptions say how to sign. The zero value uses the digest that fits the
// key, and tells neither time nor capabilities.
type SignOptions struct {
	Hash     stdcrypto.Hash // zero: SHA-256, or what the curve asks for
	PSS      bool           // RSA: PSS with a salt as long as the digest instead of PKCS #1 v1.5
	Time     time.Time      // signing-time attribute; zero: none (CAdES puts it elsewhere)
	Announce bool           // S/MIME capabilities: what this package can decrypt

	ContentType asn1.ObjectIdentifier // of what is signed; nil: id-data

	// Stamp returns a time stamp (RFC 3161 token) over the signature, which is laid
	// beside it (ETSI EN 319 122-1, level B-T); nil: none.
	Stamp func(signature []byte) (token []byte, err error)
}

func (o SignOptions) contentType() asn1.ObjectIdentifier {
	if o.ContentType == nil {
		return oidData
	}
	return o.ContentType
}

// version is that of the SignedData: RFC 5652 section 5.1.
func (o SignOptions) version() []byte {
	if o.contentType().Equal(oidData) {
		return version(1)
	}
	return version(3)
}

// Sign reads content to its end and returns the DER of a ContentInfo with a
// SignedData (RFC 5652 section 5) of one signer, without the content. Signed
// attributes always stand: content type, message digest, ESS
// signing-certificate-v2 (RFC 5035).
func Sign(content io.Reader, s Signer, o SignOptions) ([]byte, error) {
	info, scheme, _, err := signContent(content, s, o)
	if err != nil {
		return nil, err
	}
	signed := ber.Wrap(ber.Sequence, o.version(), ber.Wrap(ber.Set, digestAlgorithm(scheme.hash)),
		ber.Wrap(ber.Sequence, oid(o.contentType())), ber.Wrap(ber.Context0, certificates(s)), ber.Wrap(ber.Set, info))
	return ber.Wrap(ber.Sequence, oid(oidSignedData), ber.Wrap(ber.Context0, signed)), nil
}

// SignAround is Sign for an object that holds its content: the DER before and
// after the octets that were read. They need not lie in memory: the caller
// writes them in between once more.
func SignAround(content io.Reader, s Signer, o SignOptions) (before, after []byte, err error) {
	info, scheme, size, err := signContent(content, s, o)
	if err != nil {
		return nil, nil, err
	}
	ahead := slices.Concat(o.version(), ber.Wrap(ber.Set, digestAlgorithm(scheme.hash)))
	after = slices.Concat(ber.Wrap(ber.Context0, certificates(s)), ber.Wrap(ber.Set, info))
	kind, outer := oid(o.contentType()), oid(oidSignedData)
	encapsulated := int64(len(kind)) + full(full(size))
	signed := int64(len(ahead)) + full(encapsulated) + int64(len(after))
	before = append(ber.AppendHeader(nil, ber.Sequence, int64(len(outer))+full(full(signed))), outer...)
	before = append(ber.AppendHeader(ber.AppendHeader(before, ber.Context0, full(signed)), ber.Sequence, signed), ahead...)
	before = append(ber.AppendHeader(before, ber.Sequence, encapsulated), kind...)
	before = ber.AppendHeader(ber.AppendHeader(before, ber.Context0, full(size)), ber.OctetString, size)
	return before, after, nil
}

// signContent digests the content and returns the SignerInfo over it.
func signContent(content io.Reader, s Signer, o SignOptions) (info []byte, how scheme, size int64, err error) {
	if how, err = schemeFor(s, o); err != nil {
		return nil, how, 0, err
	}
	digest := how.hash.New()
	if size, err = copyAll(digest, content); err != nil {
		return nil, how, 0, fmt.Errorf("read content to sign: %w", err)
	}
	attributes := signedAttributes(s, digest.Sum(nil), o)
	signature, err := how.sign(s.Key, ber.Wrap(ber.Set, attributes))
	if err != nil {
		return nil, how, 0, fmt.Errorf("sign: %w", err)
	}
	var beside []byte
	if o.Stamp != nil {
		token, err := o.Stamp(signature)
		if err != nil {
			return nil, how, 0, fmt.Errorf("time stamp: %w", err)
		}
		beside = ber.Wrap(ber.Context1, attribute(oidStamp, token))
	}
	return ber.Wrap(ber.Sequence, signerHead(s.Cert, how, attributes, signature), beside), how, size, nil
}

// signerHead is a SignerInfo (RFC 5652 section 5.3) as far as the signature;
// attributes are the content of the SET.
func signerHead(c *x509.Certificate, how scheme, attributes, signature []byte) []byte {
	return slices.Concat(version(1), ber.Wrap(ber.Sequence, c.RawIssuer, serial(c)), digestAlgorithm(how.hash), ber.Wrap(ber.Context0, attributes),
		how.identifier, ber.Wrap(ber.OctetString, signature))
}

// scheme is a signature algorithm made ready.
type scheme struct {
	hash       stdcrypto.Hash
	opts       stdcrypto.SignerOpts
	identifier []byte // DER of the AlgorithmIdentifier
}

func schemeFor(s Signer, o SignOptions) (scheme, error) {
	if s.Cert == nil || s.Key == nil {
		return scheme{}, fmt.Errorf("signer: certificate or key is missing")
	}
	public, err := PublicKey(s.Cert)
	if err != nil {
		return scheme{}, fmt.Errorf("signer: %w", err)
	}
	if k, ok := public.(interface {
		Equal(stdcrypto.PublicKey) bool
	}); !ok || !k.Equal(s.Key.Public()) {
		return scheme{}, fmt.Errorf("signer: key does not belong to the certificate")
	}
	return schemeBy(s.Cert, public, o)
}

// schemeBy is how the key of a certificate signs.
func schemeBy(c *x509.Certificate, public stdcrypto.PublicKey, o SignOptions) (scheme, error) {
	h := o.Hash
	if h == 0 {
		h = defaultHash(public)
	}
	if h != stdcrypto.SHA256 && h != stdcrypto.SHA384 && h != stdcrypto.SHA512 {
		return scheme{}, fmt.Errorf("%w: signing with %v", ErrUnsupported, h)
	}
	switch public.(type) {
	case *rsa.PublicKey:
		if o.PSS || isPSSKey(c) {
			return scheme{h, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}, pssIdentifier(h)}, nil
		}
		return scheme{h, h, ber.Wrap(ber.Sequence, oid(oidRSA), null())}, nil // RFC 3370 section 3.2
	case *ecdsa.PublicKey:
		return scheme{h, h, ber.Wrap(ber.Sequence, oid(ecdsaWith(h)))}, nil // RFC 5753 section 2.1.1
	case ed25519.PublicKey:
		return scheme{stdcrypto.SHA512, stdcrypto.Hash(0), ber.Wrap(ber.Sequence, oid(oidEd25519))}, nil // RFC 8419
	}
	return scheme{}, fmt.Errorf("%w: key of the signer", ErrUnsupported)
}

func defaultHash(public any) stdcrypto.Hash {
	if k, ok := public.(*ecdsa.PublicKey); ok {
		switch bits := k.Curve.Params().BitSize; {
		case bits > 384:
			return stdcrypto.SHA512
		case bits > 256:
			return stdcrypto.SHA384
		}
	}
	return stdcrypto.SHA256
}

func ecdsaWith(h stdcrypto.Hash) asn1.ObjectIdentifier {
	switch h {
	case stdcrypto.SHA384:
		return oidSHA384ECDSA
	case stdcrypto.SHA512:
		return oidSHA512ECDSA
	}
	return oidSHA256ECDSA
}

func (s scheme) sign(key stdcrypto.Signer, message []byte) ([]byte, error) {
	if s.opts.HashFunc() == 0 {
		return key.Sign(rand.Reader, message, s.opts)
	}
	h := s.hash.New()
	h.Write(message)
	return key.Sign(rand.Reader, h.Sum(nil), s.opts)
}

// signedAttributes returns the sorted content of the SET (RFC 5652 section
// 11; DER, X.690 section 11.6).
func signedAttributes(s Signer, digest []byte, o SignOptions) []byte {
	hash := sha256.Sum256(s.Cert.Raw) // the default hash of ESSCertIDv2, so it is not named
	essCert := ber.Wrap(ber.Sequence, ber.Wrap(ber.OctetString, hash[:]))
	set := [][]byte{
		attribute(oidContentType, oid(o.contentType())),
		attribute(oidMessageDigest, ber.Wrap(ber.OctetString, digest)),
		attribute(oidSigningCertV2, ber.Wrap(ber.Sequence, ber.Wrap(ber.Sequence, essCert))),
	}
	if !o.Time.IsZero() {
		set = append(set, attribute(oidSigningTime, utcOrGeneralized(o.Time)))
	}
	if o.Announce {
		set = append(set, attribute(oidCapabilities, ownCapabilities()))
	}
	if c := s.Encryption; c != nil {
		set = append(set, attribute(oidKeyPreference, ber.Wrap(ber.Context0, c.RawIssuer, serial(c)))) // issuerAndSerialNumber
	}
	slices.SortFunc(set, bytes.Compare)
	return slices.Concat(set...)
}

func attribute(id asn1.ObjectIdentifier, value []byte) []byte {
	return ber.Wrap(ber.Sequence, oid(id), ber.Wrap(ber.Set, value))
}

// utcOrGeneralized follows RFC 5652 section 11.3: UTCTime up to 2049.
func utcOrGeneralized(at time.Time) []byte {
	at = at.UTC()
	if y := at.Year(); y >= 1950 && y < 2050 {
		return ber.Wrap(asn1.TagUTCTime, []byte(at.Format("060102150405Z")))
	}
	return ber.Wrap(asn1.TagGeneralizedTime, []byte(at.Format("20060102150405Z")))
}

// certificates returns the sorted content of the SET of certificates.
func certificates(s Signer) []byte {
	set := [][]byte{s.Cert.Raw}
	more := s.Chain
	if s.Encryption != nil {
		more = append([]*x509.Certificate{s.Encryption}, more...)
	}
	for _, c := range more {
		if !slices.ContainsFunc(set, func(raw []byte) bool { return bytes.Equal(raw, c.Raw) }) {
			set = append(set, c.Raw)
		}
	}
	slices.SortFunc(set, bytes.Compare)
	return slices.Concat(set...)
}

// serial returns the DER of a certificate's serial number (X.690 section 8.3).
func serial(c *x509.Certificate) []byte {
	if n := c.SerialNumber; n.Sign() <= 0 {
		der, err := asn1.Marshal(n)
		if err != nil {
			return nil // cannot be: the certificate was parsed
		}
		return der
	}
	content := c.SerialNumber.Bytes()
	if content[0]&0x80 != 0 {
		return ber.Wrap(ber.Integer, []byte{0}, content)
	}
	return ber.Wrap(ber.Integer, content)
}

func digestAlgorithm(h stdcrypto.Hash) []byte {
	return ber.Wrap(ber.Sequence, oid(digestID(h))) // no parameters: RFC 5754 section 2
}

func null() []byte { return []byte{ber.Null, 0} }

// Prefers reports whether the signer names that certificate as the one by which he
// wants to be answered (RFC 8551 section 2.5.3), by issuer and serial number or by
// its key's identifier.
func (s Signature) Prefers(c *x509.Certificate) bool {
	byKey := ber.Wrap(0x82, c.SubjectKeyId) // [2], primitive
	return len(s.preference) > 0 && (bytes.Equal(s.preference, ber.Wrap(ber.Context0, c.RawIssuer, serial(c))) ||
		len(c.SubjectKeyId) > 0 && bytes.Equal(s.preference, byKey))
}
