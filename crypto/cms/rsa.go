package cms

import (
	stdcrypto "crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"

	"gatewayd/crypto/ber"
)

// isPSSKey reports whether the certificate's key is marked id-RSASSA-PSS (RFC
// 4055 section 1.2): for PSS signatures only.
func isPSSKey(c *x509.Certificate) bool {
	var spki struct {
		Algorithm algorithm
		Key       asn1.BitString
	}
	_, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &spki)
	return err == nil && spki.Algorithm.Algorithm.Equal(oidPSS)
}

// PublicKey returns the key of a certificate, also those that crypto/x509
// leaves out: id-RSASSA-PSS as *rsa.PublicKey, X25519 as *ecdh.PublicKey.
func PublicKey(c *x509.Certificate) (any, error) {
	if c.PublicKey != nil {
		return c.PublicKey, nil
	}
	var spki struct {
		Algorithm algorithm
		Key       asn1.BitString
	}
	if err := unmarshal(c.RawSubjectPublicKeyInfo, &spki, "public key"); err != nil {
		return nil, err
	}
	if spki.Algorithm.Algorithm.Equal(oidX25519) {
		return x509.ParsePKIXPublicKey(c.RawSubjectPublicKeyInfo)
	}
	if !spki.Algorithm.Algorithm.Equal(oidPSS) {
		return nil, fmt.Errorf("%w: public key %v", ErrUnsupported, spki.Algorithm.Algorithm)
	}
	var key struct {
		N *big.Int
		E int
	}
	if err := unmarshal(spki.Key.RightAlign(), &key, "public key"); err != nil {
		return nil, err
	}
	if key.N.Sign() <= 0 || key.N.BitLen() > maxRSABits || key.E < 3 || key.E&1 == 0 {
		return nil, fmt.Errorf("public key: %w", ber.ErrMalformed)
	}
	return &rsa.PublicKey{N: key.N, E: key.E}, nil
}

// pssParameters are RSASSA-PSS-params of RFC 4055 section 3.1. Absent fields
// mean SHA-1, MGF1 with SHA-1, 20.
type pssParameters struct {
	Hash    algorithm `asn1:"explicit,optional,tag:0"`
	MGF     algorithm `asn1:"explicit,optional,tag:1"`
	Salt    int       `asn1:"explicit,optional,tag:2,default:20"`
	Trailer int       `asn1:"explicit,optional,tag:3,default:1"`
}

func pssIdentifier(h stdcrypto.Hash) []byte {
	hash := ber.Wrap(ber.Sequence, oid(digestID(h)), null()) // parameters NULL: RFC 4055 section 2.1
	return ber.Wrap(ber.Sequence, oid(oidPSS), ber.Wrap(ber.Sequence,
		ber.Wrap(ber.Context0, hash),
		ber.Wrap(ber.Context1, ber.Wrap(ber.Sequence, oid(oidMGF1), hash)),
		ber.Wrap(ber.Context0+2, version(byte(h.Size())))))
}

// maskHash returns the hash of an MGF1 identifier; absent means SHA-1.
func maskHash(a algorithm) (stdcrypto.Hash, error) {
	if len(a.Algorithm) == 0 {
		return stdcrypto.SHA1, nil
	}
	if !a.Algorithm.Equal(oidMGF1) {
		return 0, fmt.Errorf("%w: mask generation %v", ErrUnsupported, a.Algorithm)
	}
	var hash algorithm
	if err := unmarshal(a.Parameters.FullBytes, &hash, "mask generation"); err != nil {
		return 0, err
	}
	return hashOf(hash.Algorithm)
}

// hashOrSHA1 returns the hash of an optional identifier.
func hashOrSHA1(a algorithm) (stdcrypto.Hash, error) {
	if len(a.Algorithm) == 0 {
		return stdcrypto.SHA1, nil
	}
	return hashOf(a.Algorithm)
}
