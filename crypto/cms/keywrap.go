package cms

import (
	stdcrypto "crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"

	"gatewayd/crypto/ber"
)

// wrapRSA encrypts a content key and returns the AlgorithmIdentifier with it.
//
// RSAES-PKCS1-v1_5 is deprecated for good reasons and still the only key
// transport that many peers read (gpgsm, NSS, older platforms); the caller
// chooses it by route.
func wrapRSA(public *rsa.PublicKey, key []byte, pkcs1 bool) (method, wrapped []byte, err error) {
	if pkcs1 {
		//lint:ignore SA1019 needed for peers without OAEP; reading is done without a padding oracle
		wrapped, err = rsa.EncryptPKCS1v15(rand.Reader, public, key)
		return ber.Wrap(ber.Sequence, oid(oidRSA), null()), wrapped, err
	}
	wrapped, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, public, key, nil)
	return oaepIdentifier(), wrapped, err
}

// oaepIdentifier names RSAES-OAEP with SHA-256 for both (RFC 4055 section 4.1).
func oaepIdentifier() []byte {
	hash := ber.Wrap(ber.Sequence, oid(oidSHA256), null())
	return ber.Wrap(ber.Sequence, oid(oidOAEP), ber.Wrap(ber.Sequence,
		ber.Wrap(ber.Context0, hash),
		ber.Wrap(ber.Context1, ber.Wrap(ber.Sequence, oid(oidMGF1), hash))))
}

// oaepParameters are RSAES-OAEP-params of RFC 4055 section 4.1. Absent fields
// mean SHA-1, MGF1 with SHA-1, empty label.
type oaepParameters struct {
	Hash  algorithm `asn1:"explicit,optional,tag:0"`
	MGF   algorithm `asn1:"explicit,optional,tag:1"`
	Label algorithm `asn1:"explicit,optional,tag:2"`
}

// unwrapRSA decrypts a content key of that many octets, and says how it was
// encrypted.
func unwrapRSA(key stdcrypto.Decrypter, method algorithm, wrapped []byte, size int) (plain []byte, name string, err error) {
	how, name, err := unwrapOptions(method, size)
	if err != nil {
		return nil, name, err
	}
	plain, err = key.Decrypt(rand.Reader, wrapped, how)
	if errors.Is(err, ErrKeyAway) {
		return nil, name, err
	}
	if err != nil || len(plain) != size {
		return nil, name, ErrDecrypt
	}
	return plain, name, nil
}

// unwrapOptions says how to decrypt a content key of that many octets.
func unwrapOptions(method algorithm, size int) (stdcrypto.DecrypterOpts, string, error) {
	switch {
	case method.Algorithm.Equal(oidRSA):
		// With a given length a broken key comes back as a random one: no
		// padding oracle (RFC 3218).
		//lint:ignore SA1019 needed for peers without OAEP
		return &rsa.PKCS1v15DecryptOptions{SessionKeyLen: size}, "RSAES-PKCS1-v1_5", nil
	case method.Algorithm.Equal(oidOAEP):
		o, err := oaepOptions(method.Parameters.FullBytes)
		if err != nil {
			return nil, "RSAES-OAEP", err
		}
		name := fmt.Sprintf("RSAES-OAEP, %v", o.Hash)
		if o.MGFHash != o.Hash {
			name += fmt.Sprintf(", MGF1 with %v", o.MGFHash)
		}
		return o, name, nil
	}
	return nil, "", fmt.Errorf("%w: key transport %v", ErrUnsupported, method.Algorithm)
}

func oaepOptions(der []byte) (*rsa.OAEPOptions, error) {
	var p oaepParameters
	if err := unmarshal(der, &p, "OAEP parameters"); err != nil {
		return nil, err
	}
	hash, err := hashOrSHA1(p.Hash)
	if err != nil {
		return nil, err
	}
	mask, err := maskHash(p.MGF)
	if err != nil {
		return nil, err
	}
	o := &rsa.OAEPOptions{Hash: hash, MGFHash: mask}
	if len(p.Label.Algorithm) == 0 {
		return o, nil
	}
	if !p.Label.Algorithm.Equal(oidPSpecified) {
		return nil, fmt.Errorf("%w: OAEP label", ErrUnsupported)
	}
	return o, unmarshal(p.Label.Parameters.FullBytes, &o.Label, "OAEP label")
}
