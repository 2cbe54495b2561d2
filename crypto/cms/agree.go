package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"fmt"

	"gatewayd/crypto/ber"
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

// agreementHash returns the digest of the key derivation of an ECDH scheme.
// Standard and cofactor ECDH are the same on the curves that we know.
func agreementHash(scheme asn1.ObjectIdentifier) (stdcrypto.Hash, error) {
	h, ok := map[string]stdcrypto.Hash{
		"1.3.133.16.840.63.0.2": stdcrypto.SHA1, "1.3.133.16.840.63.0.3": stdcrypto.SHA1,
		oidECDHSHA256.String(): stdcrypto.SHA256, "1.3.132.1.14.1": stdcrypto.SHA256,
		"1.3.132.1.11.2": stdcrypto.SHA384, "1.3.132.1.14.2": stdcrypto.SHA384,
		"1.3.132.1.11.3": stdcrypto.SHA512, "1.3.132.1.14.3": stdcrypto.SHA512,
	}[scheme.String()]
	if !ok {
		return 0, fmt.Errorf("%w: key agreement %v", ErrUnsupported, scheme)
	}
	return h, nil
}

// wrapKeySize returns the key length of an AES key wrap, in octets.
func wrapKeySize(der []byte) (int, error) {
	var a algorithm
	if err := unmarshal(der, &a, "key wrap"); err != nil {
		return 0, err
	}
	size, ok := map[string]int{
		"2.16.840.1.101.3.4.1.5": 16, "2.16.840.1.101.3.4.1.25": 24, oidAES256Wrap.String(): 32,
	}[a.Algorithm.String()]
	if !ok {
		return 0, fmt.Errorf("%w: key wrap %v", ErrUnsupported, a.Algorithm)
	}
	return size, nil
}

// deriveKey is the key derivation of ANSI X9.63 (SEC 1 section 3.6.1) over the
// shared secret.
func deriveKey(h stdcrypto.Hash, secret, wrapDER, ukm []byte, size int) ([]byte, error) {
	bits := binary.BigEndian.AppendUint32(nil, uint32(size)*8)
	info, err := asn1.Marshal(sharedInfo{Wrap: asn1.RawValue{FullBytes: wrapDER}, UKM: ukm, KeyBits4: bits})
	if err != nil {
		return nil, fmt.Errorf("key agreement: %w: %w", ber.ErrMalformed, err)
	}
	var out []byte
	for n := uint32(1); len(out) < size; n++ {
		d := h.New()
		d.Write(secret)
		d.Write(binary.BigEndian.AppendUint32(nil, n))
		d.Write(info)
		out = d.Sum(out)
	}
	return out[:size], nil
}

// agreeFor returns a KeyAgreeRecipientInfo: an ephemeral key on the
// recipient's curve, dhSinglePass-stdDH-sha256kdf, AES-256 key wrap.
func agreeFor(c *x509.Certificate, public *ecdsa.PublicKey, key []byte) ([]byte, error) {
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageKeyAgreement == 0 {
		return nil, fmt.Errorf("%w: certificate is not made for encryption", ErrUnsupported)
	}
	static, err := public.ECDH()
	if err != nil {
		return nil, fmt.Errorf("%w: curve of the recipient", ErrUnsupported)
	}
	ephemeral, err := static.Curve().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("ephemeral key: %w", err)
	}
	secret, err := ephemeral.ECDH(static)
	if err != nil {
		return nil, fmt.Errorf("key agreement: %w", err)
	}
	wrapDER := ber.Wrap(ber.Sequence, oid(oidAES256Wrap))
	kek, err := deriveKey(stdcrypto.SHA256, secret, wrapDER, nil, 32)
	if err != nil {
		return nil, err
	}
	wrapped, err := wrapAES(kek, key)
	if err != nil {
		return nil, err
	}
	point := append([]byte{0}, ephemeral.PublicKey().Bytes()...) // no unused bits
	return ber.Wrap(ber.Context1,
		version(3),
		ber.Wrap(ber.Context0, ber.Wrap(ber.Context1,
			ber.Wrap(ber.Sequence, oid(oidECPublicKey)),
			ber.Wrap(asn1.TagBitString, point))),
		ber.Wrap(ber.Sequence, oid(oidECDHSHA256), wrapDER),
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
				unwrap := func(size int) ([]byte, error) { return a.unwrap(k, sealed.Wrapped, size) }
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

// unwrap returns the content key. Everything that depends on the secret is
// ErrDecrypt.
func (a keyAgreement) unwrap(k Recipient, wrapped []byte, size int) ([]byte, error) {
	h, err := agreementHash(a.Method.Algorithm)
	if err != nil {
		return nil, err
	}
	wrapDER := a.Method.Parameters.FullBytes
	kekSize, err := wrapKeySize(wrapDER)
	if err != nil {
		return nil, err
	}
	var from ephemeralKey
	if rest, err := asn1.UnmarshalWithParams(a.Originator.Bytes, &from, "tag:1"); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: originator of a key agreement", ErrUnsupported)
	}
	secret, err := agree(k.Agree, from.Point.RightAlign())
	if err != nil {
		return nil, ErrDecrypt
	}
	kek, err := deriveKey(h, secret, wrapDER, a.UKM, kekSize)
	if err != nil {
		return nil, err
	}
	key, err := unwrapAES(kek, wrapped)
	if err != nil || len(key) != size {
		return nil, ErrDecrypt
	}
	return key, nil
}

func agree(key ecdh.KeyExchanger, point []byte) ([]byte, error) {
	public, err := key.Curve().NewPublicKey(point) // checks that the point lies on the curve
	if err != nil {
		return nil, err
	}
	return key.ECDH(public)
}
