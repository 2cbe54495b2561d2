package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/keywrap"
)

// keyAgreement is a KeyAgreeRecipientInfo (RFC 5652 section 6.2.2) in the form
// of RFC 5753 section 3.1.1: ephemeral-static ECDH.
type keyAgreement struct {
	Version    int
	Originator asn1.RawValue // [0] EXPLICIT, of which this is the outside
	UKM        []byte        `asn1:"explicit,optional,tag:1"`
	Method     algorithm
	Keys       []agreedKey
}

// agreedKey is a RecipientEncryptedKey.
type agreedKey struct {
	Who     asn1.RawValue
	Wrapped []byte
}

// ephemeralKey is an OriginatorPublicKey; its algorithm may leave the curve
// out, because it is the recipient's.
type ephemeralKey struct {
	Algorithm algorithm
	Point     asn1.BitString
}

// sharedInfo is ECC-CMS-SharedInfo of RFC 5753 section 7.2.
type sharedInfo struct {
	Wrap     asn1.RawValue
	UKM      []byte `asn1:"explicit,optional,tag:0"`
	KeyBits4 []byte `asn1:"explicit,tag:2"`
}

// agreement is a scheme of key agreement: how the key that wraps is derived.
type agreement struct {
	hash stdcrypto.Hash
	hkdf bool // RFC 8418 section 2.2; else ANSI X9.63
}

// agreementOf returns the scheme of an object identifier: RFC 5753 section 7.1.4,
// RFC 8418 section 7. Standard and cofactor ECDH are the same on the curves
// that we know.
func agreementOf(id asn1.ObjectIdentifier) (a agreement, ok bool) {
	switch {
	case id.Equal(oidECDHSHA256): // what is written, and mostly read
		return agreement{hash: stdcrypto.SHA256}, true
	case id.Equal(oidHKDFSHA256):
		return agreement{hash: stdcrypto.SHA256, hkdf: true}, true
	}
	switch id.String() {
	case "1.3.133.16.840.63.0.2", "1.3.133.16.840.63.0.3":
		return agreement{hash: stdcrypto.SHA1}, true
	case "1.3.132.1.14.1":
		return agreement{hash: stdcrypto.SHA256}, true
	case "1.3.132.1.11.2", "1.3.132.1.14.2":
		return agreement{hash: stdcrypto.SHA384}, true
	case "1.3.132.1.11.3", "1.3.132.1.14.3":
		return agreement{hash: stdcrypto.SHA512}, true
	case "1.2.840.113549.1.9.16.3.20":
		return agreement{hash: stdcrypto.SHA384, hkdf: true}, true
	case "1.2.840.113549.1.9.16.3.21":
		return agreement{hash: stdcrypto.SHA512, hkdf: true}, true
	}
	return agreement{}, false
}

// wrapping is a cipher that wraps one key by another.
type wrapping struct {
	name   string
	size   int // of the key that wraps, in octets
	unwrap func(kek, wrapped []byte) ([]byte, error)
}

// wrappingOf returns the cipher of an object identifier: RFC 3565, RFC 3370.
func wrappingOf(id asn1.ObjectIdentifier) (w wrapping, ok bool) {
	if id.Equal(oidAES256Wrap) {
		return wrapping{"AES-256 wrap", 32, keywrap.UnwrapAES}, true
	}
	switch id.String() {
	case "2.16.840.1.101.3.4.1.5":
		return wrapping{"AES-128 wrap", 16, keywrap.UnwrapAES}, true
	case "2.16.840.1.101.3.4.1.25":
		return wrapping{"AES-192 wrap", 24, keywrap.UnwrapAES}, true
	case "1.2.840.113549.1.9.16.3.6":
		return wrapping{"Triple-DES wrap", 24, keywrap.UnwrapTripleDES}, true
	}
	return wrapping{}, false
}

// derive returns a key of that many octets out of the shared secret: by ANSI
// X9.63 (SEC 1 section 3.6.1) or by HKDF.
func (a agreement) derive(secret, wrapDER, ukm []byte, size int) ([]byte, error) {
	bits := binary.BigEndian.AppendUint32(nil, uint32(size)*8)
	info, err := asn1.Marshal(sharedInfo{Wrap: asn1.RawValue{FullBytes: wrapDER}, UKM: ukm, KeyBits4: bits})
	if err != nil {
		return nil, fmt.Errorf("key agreement: %w: %w", ber.ErrMalformed, err)
	}
	if a.hkdf {
		return hkdf.Key(a.hash.New, secret, ukm, string(info), size)
	}
	var out []byte
	for n := uint32(1); len(out) < size; n++ {
		d := a.hash.New()
		d.Write(secret)
		d.Write(binary.BigEndian.AppendUint32(nil, n))
		d.Write(info)
		out = d.Sum(out)
	}
	return out[:size], nil
}

// agreeFor returns a KeyAgreeRecipientInfo: an ephemeral key on the recipient's
// curve, AES-256 key wrap, and dhSinglePass-stdDH-sha256kdf, or for X25519
// dhSinglePass-stdDH-hkdf-sha256 (RFC 8418 section 8).
func agreeFor(c *x509.Certificate, static *ecdh.PublicKey, key []byte) ([]byte, error) {
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageKeyAgreement == 0 {
		return nil, fmt.Errorf("%w: certificate is not made for encryption", ErrUnsupported)
	}
	ephemeral, err := static.Curve().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("ephemeral key: %w", err)
	}
	secret, err := ephemeral.ECDH(static)
	if err != nil {
		return nil, fmt.Errorf("key agreement: %w", err)
	}
	scheme, curve := oidECDHSHA256, oidECPublicKey
	if static.Curve() == ecdh.X25519() {
		scheme, curve = oidHKDFSHA256, oidX25519
	}
	wrapDER := ber.Wrap(ber.Sequence, oid(oidAES256Wrap))
	how, _ := agreementOf(scheme)
	kek, err := how.derive(secret, wrapDER, nil, 32)
	if err != nil {
		return nil, err
	}
	wrapped, err := keywrap.AES(kek, key)
	if err != nil {
		return nil, err
	}
	point := append([]byte{0}, ephemeral.PublicKey().Bytes()...) // no unused bits
	return ber.Wrap(ber.Context1,
		version(3),
		ber.Wrap(ber.Context0, ber.Wrap(ber.Context1,
			ber.Wrap(ber.Sequence, oid(curve)),
			ber.Wrap(asn1.TagBitString, point))),
		ber.Wrap(ber.Sequence, oid(scheme), wrapDER),
		ber.Wrap(ber.Sequence, ber.Wrap(ber.Sequence,
			ber.Wrap(ber.Sequence, c.RawIssuer, serial(c)),
			ber.Wrap(ber.OctetString, wrapped)))), nil
}

// readKeyAgreement returns nil if it is for none of the keys, or of a form
// outside RFC 5753: then it is not ours either.
func readKeyAgreement(r *ber.Reader, keys []Recipient) (*wrappedKey, error) {
	der, err := r.Element(maxPart)
	if err != nil {
		return nil, err
	}
	var a keyAgreement
	if rest, err := asn1.UnmarshalWithParams(der, &a, "tag:1"); err != nil || len(rest) > 0 {
		return nil, nil // a static-static or otherwise foreign form
	}
	for _, sealed := range a.Keys {
		for _, k := range keys {
			if k.Agree != nil && namesRecipient(sealed.Who.FullBytes, k.Cert) {
				unwrap := func(size int) ([]byte, string, error) { return a.unwrap(k, sealed.Wrapped, size) }
				return &wrappedKey{cert: k.Cert, unwrap: unwrap}, nil
			}
		}
	}
	return nil, nil
}

// namesRecipient reads a KeyAgreeRecipientIdentifier and compares it.
func namesRecipient(der []byte, c *x509.Certificate) bool {
	if bytes.HasPrefix(der, []byte{ber.Sequence}) {
		var id issuerAndSerial
		return unmarshal(der, &id, "identifier") == nil &&
			identifier{issuer: id.Issuer.FullBytes, serial: id.Serial.FullBytes}.names(c)
	}
	var id struct {
		KeyID []byte
		Date  asn1.RawValue `asn1:"optional"`
		Other asn1.RawValue `asn1:"optional"`
	}
	_, err := asn1.UnmarshalWithParams(der, &id, "tag:0")
	return err == nil && len(id.KeyID) > 0 && identifier{keyID: id.KeyID}.names(c)
}

// unwrap returns the content key, and how it was wrapped. Everything that
// depends on the secret is ErrDecrypt.
func (a keyAgreement) unwrap(k Recipient, wrapped []byte, size int) (key []byte, how string, err error) {
	scheme, ok := agreementOf(a.Method.Algorithm)
	if !ok {
		return nil, "", fmt.Errorf("%w: key agreement %v", ErrUnsupported, a.Method.Algorithm)
	}
	var id algorithm
	if err := unmarshal(a.Method.Parameters.FullBytes, &id, "key wrap"); err != nil {
		return nil, "", err
	}
	wrap, ok := wrappingOf(id.Algorithm)
	if !ok {
		return nil, "", fmt.Errorf("%w: key wrap %v", ErrUnsupported, id.Algorithm)
	}
	var from ephemeralKey
	if rest, err := asn1.UnmarshalWithParams(a.Originator.Bytes, &from, "tag:1"); err != nil || len(rest) > 0 {
		return nil, "", fmt.Errorf("%w: originator of a key agreement", ErrUnsupported)
	}
	how = fmt.Sprintf("ECDH %v, %v, %s", k.Agree.Curve(), scheme.hash, wrap.name)
	secret, err := agree(k.Agree, from.Point.RightAlign())
	if errors.Is(err, ErrKeyAway) {
		return nil, how, err
	}
	if err != nil {
		return nil, how, ErrDecrypt
	}
	kek, err := scheme.derive(secret, a.Method.Parameters.FullBytes, a.UKM, wrap.size)
	if err != nil {
		return nil, how, err
	}
	key, err = wrap.unwrap(kek, wrapped)
	if err != nil || len(key) != size {
		return nil, how, ErrDecrypt
	}
	return key, how, nil
}

func agree(key ecdh.KeyExchanger, point []byte) ([]byte, error) {
	public, err := key.Curve().NewPublicKey(point) // checks that the point lies on the curve
	if err != nil {
		return nil, err
	}
	return key.ECDH(public) // refuses what comes out as zero (RFC 8418 section 2)
}
