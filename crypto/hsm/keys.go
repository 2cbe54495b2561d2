//go:build pkcs11 && cgo

package hsm

import (
	"bytes"
	"cmp"
	stdcrypto "crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/miekg/pkcs11"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/smime"
)

// mechanismEdDSA is CKM_EDDSA of PKCS #11 v3.0.
const mechanismEdDSA = 0x1057

// fit gives an identity those roles that the key fills, as a test of each shows.
func (k *key) fit(id *smime.Identity, public any) error {
	s := signer{k, public}
	signs, errSign := s.proves()
	opens, errOpen := false, error(nil)
	switch p := public.(type) {
	case *rsa.PublicKey:
		d := decrypter{s}
		if opens, errOpen = d.proves(p); opens {
			id.Key = d
		}
	case *ecdsa.PublicKey:
		point, err := p.ECDH()
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		e := exchanger{k, point}
		if opens, errOpen = e.proves(); opens {
			id.Agree = e
		}
	case ed25519.PublicKey:
	default:
		return errors.New("keys of this kind are not used on a token")
	}
	if signs && id.Key == nil {
		id.Key = s
	}
	switch away := errors.Join(errSign, errOpen); {
	case errors.Is(away, cms.ErrKeyAway):
		return away
	case !signs && !opens:
		return errors.New("the key on the token does not belong to the first certificate, or may do nothing")
	}
	return nil
}

// sign lets the token sign, or compute a MAC.
func (k *key) sign(m *pkcs11.Mechanism, data []byte) (sig []byte, err error) {
	err = k.use(func(h pkcs11.SessionHandle, o pkcs11.ObjectHandle) error {
		if err := k.store.driver.SignInit(h, []*pkcs11.Mechanism{m}, o); err != nil {
			return err
		}
		var err error
		sig, err = k.store.driver.Sign(h, data)
		return err
	})
	return sig, err
}

func (k *key) decrypt(m *pkcs11.Mechanism, sealed []byte) (plain []byte, err error) {
	err = k.use(func(h pkcs11.SessionHandle, o pkcs11.ObjectHandle) error {
		if err := k.store.driver.DecryptInit(h, []*pkcs11.Mechanism{m}, o); err != nil {
			return err
		}
		var err error
		plain, err = k.store.driver.Decrypt(h, sealed)
		return err
	})
	return plain, err
}

// prefixes of digests in RSASSA-PKCS1-v1_5 (RFC 8017 section 9.2).
func prefixes() map[stdcrypto.Hash][]byte {
	sha2 := func(n, size byte) []byte {
		return []byte{0x30, 17 + size, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, n, 5, 0, 4, size}
	}
	return map[stdcrypto.Hash][]byte{stdcrypto.SHA256: sha2(1, 32), stdcrypto.SHA384: sha2(2, 48), stdcrypto.SHA512: sha2(3, 64)}
}

// signer is a key that signs: a crypto.Signer.
type signer struct {
	*key
	public stdcrypto.PublicKey
}

// Public implements crypto.Signer.
func (s signer) Public() stdcrypto.PublicKey { return s.public }

// Sign implements crypto.Signer.
func (s signer) Sign(_ io.Reader, digest []byte, opts stdcrypto.SignerOpts) ([]byte, error) {
	h := opts.HashFunc()
	if h != 0 && len(digest) != h.Size() {
		return nil, errors.New("token: not a digest of that hash")
	}
	switch s.public.(type) {
	case *rsa.PublicKey:
		if _, pss := opts.(*rsa.PSSOptions); pss {
			m, ok := masks()[h]
			if !ok {
				return nil, errors.New("token: digest outside our profile")
			}
			return s.sign(pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_PSS, pkcs11.NewPSSParams(m[0], m[1], uint(h.Size()))), digest)
		}
		prefix := prefixes()[h]
		if prefix == nil {
			return nil, errors.New("token: digest outside our profile")
		}
		return s.sign(pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS, nil), append(prefix, digest...))
	case *ecdsa.PublicKey:
		sig, err := s.sign(pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil), digest)
		if err != nil {
			return nil, err
		}
		half := len(sig) / 2
		return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:])})
	}
	if h != 0 {
		return nil, errors.New("token: Ed25519 signs messages")
	}
	return s.sign(pkcs11.NewMechanism(mechanismEdDSA, nil), digest)
}

// proves reports whether the key signs for the public one.
func (s signer) proves() (bool, error) {
	text := []byte("gatewayd: does this key belong to its certificate?")
	sum := sha256.Sum256(text)
	if public, ok := s.public.(ed25519.PublicKey); ok {
		sig, err := s.Sign(nil, text, stdcrypto.Hash(0))
		return err == nil && ed25519.Verify(public, text, sig), err
	}
	sig, err := s.Sign(nil, sum[:], stdcrypto.SHA256)
	if err != nil {
		return false, err
	}
	switch p := s.public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(p, stdcrypto.SHA256, sum[:], sig) == nil, nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(p, sum[:], sig), nil
	}
	return false, nil
}

// masks are the mechanism of a digest, and of MGF1 with it.
func masks() map[stdcrypto.Hash][2]uint {
	return map[stdcrypto.Hash][2]uint{
		stdcrypto.SHA1:   {pkcs11.CKM_SHA_1, pkcs11.CKG_MGF1_SHA1},
		stdcrypto.SHA256: {pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256},
		stdcrypto.SHA384: {pkcs11.CKM_SHA384, pkcs11.CKG_MGF1_SHA384},
		stdcrypto.SHA512: {pkcs11.CKM_SHA512, pkcs11.CKG_MGF1_SHA512},
	}
}

// decrypter is an RSA key: a crypto.Decrypter as well.
type decrypter struct{ signer }

// Decrypt implements crypto.Decrypter, as crypto/rsa does it: with PKCS #1 v1.5, for
// which the length must be given, what does not fit comes out as a random key.
func (d decrypter) Decrypt(random io.Reader, sealed []byte, opts stdcrypto.DecrypterOpts) ([]byte, error) {
	public := d.public.(*rsa.PublicKey)
	size := public.Size()
	if len(sealed) > size || new(big.Int).SetBytes(sealed).Cmp(public.N) >= 0 {
		return nil, rsa.ErrDecryption // no cipher text of that key, as anybody can see
	}
	switch o := opts.(type) {
	//lint:ignore SA1019 needed for peers without OAEP; there is no padding oracle with a given length
	case *rsa.PKCS1v15DecryptOptions:
		if o.SessionKeyLen > 0 && o.SessionKeyLen <= size-11 {
			return d.v15(random, append(make([]byte, size-len(sealed)), sealed...), o.SessionKeyLen)
		}
	case *rsa.OAEPOptions:
		if len(sealed) == size {
			return d.oaep(sealed, size, o)
		}
	}
	return nil, rsa.ErrDecryption
}

func (d decrypter) v15(random io.Reader, sealed []byte, size int) ([]byte, error) {
	key := make([]byte, size)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, err
	}
	plain, err := d.decrypt(pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS, nil), sealed)
	if errors.Is(err, cms.ErrKeyAway) {
		return nil, err
	}
	good := subtle.ConstantTimeEq(int32(len(plain)), int32(size))
	if err != nil {
		good = 0
	}
	fits := make([]byte, size)
	copy(fits, plain)
	subtle.ConstantTimeCopy(good, key, fits)
	return key, nil
}

// oaep lets the token take off the padding, or does it where the token does not know
// that digest, or may not heed the label.
func (d decrypter) oaep(sealed []byte, size int, o *rsa.OAEPOptions) ([]byte, error) {
	hash, known := masks()[o.Hash]
	mask, also := masks()[cmp.Or(o.MGFHash, o.Hash)]
	if !known || !also {
		return nil, rsa.ErrDecryption
	}
	if len(o.Label) == 0 {
		plain, err := d.decrypt(pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_OAEP, pkcs11.NewOAEPParams(hash[0], mask[1], pkcs11.CKZ_DATA_SPECIFIED, nil)), sealed)
		switch {
		case err == nil, errors.Is(err, cms.ErrKeyAway):
			return plain, err
		case !knowsNot(err):
			return nil, rsa.ErrDecryption
		}
	}
	block, err := d.decrypt(pkcs11.NewMechanism(pkcs11.CKM_RSA_X_509, nil), sealed)
	switch {
	case errors.Is(err, cms.ErrKeyAway):
		return nil, err
	case err != nil || len(block) > size:
		return nil, rsa.ErrDecryption
	}
	return openOAEP(append(make([]byte, size-len(block)), block...), o)
}

// knowsNot reports whether a token does not know a mechanism or its parameters.
func knowsNot(err error) bool {
	for _, code := range []pkcs11.Error{pkcs11.CKR_ARGUMENTS_BAD, pkcs11.CKR_MECHANISM_PARAM_INVALID, pkcs11.CKR_MECHANISM_INVALID} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// proves reports whether the key opens what is encrypted by the public one.
func (d decrypter) proves(p *rsa.PublicKey) (bool, error) {
	want := []byte("gatewayd: is it mine?")
	sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, p, want, nil)
	if err != nil {
		return false, err
	}
	got, err := d.Decrypt(rand.Reader, sealed, &rsa.OAEPOptions{Hash: stdcrypto.SHA256})
	return err == nil && bytes.Equal(got, want), err
}

// exchanger is an EC key that agrees on secrets: an ecdh.KeyExchanger.
type exchanger struct {
	*key
	point *ecdh.PublicKey
}

// PublicKey implements ecdh.KeyExchanger.
func (e exchanger) PublicKey() *ecdh.PublicKey { return e.point }

// Curve implements ecdh.KeyExchanger.
func (e exchanger) Curve() ecdh.Curve { return e.point.Curve() }

// ECDH implements ecdh.KeyExchanger.
func (e exchanger) ECDH(theirs *ecdh.PublicKey) (secret []byte, err error) {
	if theirs.Curve() != e.Curve() {
		return nil, errors.New("token: another curve")
	}
	point := theirs.Bytes()
	size := len(point) / 2
	m := pkcs11.NewMechanism(pkcs11.CKM_ECDH1_DERIVE, pkcs11.NewECDH1DeriveParams(pkcs11.CKD_NULL, nil, point))
	template := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, size),
	}
	d := e.store.driver
	err = e.use(func(h pkcs11.SessionHandle, o pkcs11.ObjectHandle) error {
		made, err := d.DeriveKey(h, []*pkcs11.Mechanism{m}, o, template)
		if err != nil {
			return err
		}
		value, err := d.GetAttributeValue(h, made, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)})
		if err = errors.Join(err, d.DestroyObject(h, made)); err == nil {
			secret = value[0].Value
		}
		return err
	})
	if err == nil && len(secret) != size {
		return nil, fmt.Errorf("token: a shared secret of %d octets", len(secret))
	}
	return secret, err
}

// proves reports whether the key agrees for the public one.
func (e exchanger) proves() (bool, error) {
	other, err := e.Curve().GenerateKey(rand.Reader)
	if err != nil {
		return false, err
	}
	want, err := other.ECDH(e.point)
	if err != nil {
		return false, err
	}
	got, err := e.ECDH(other.PublicKey())
	return err == nil && bytes.Equal(got, want), err
}
