package cms

import (
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"fmt"
)

// maxRSABits bounds the work that a stranger's key can ask for.
const maxRSABits = 8192

func affordable(key any) bool {
	k, ok := key.(*rsa.PublicKey)
	return !ok || k.N.BitLen() <= maxRSABits
}

// methodName returns the name of a signature algorithm, for people.
func methodName(key any, info signerInfo, h stdcrypto.Hash) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if info.method.Algorithm.Equal(oidPSS) {
			return fmt.Sprintf("RSASSA-PSS, %v", h)
		}
		return fmt.Sprintf("RSASSA-PKCS1-v1_5, %v", h)
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ECDSA %s, %v", k.Curve.Params().Name, h)
	case ed25519.PublicKey:
		return fmt.Sprintf("Ed25519, %v", h)
	}
	return ""
}

// checkSignature checks info's signature over its attributes, or over the
// content where it has none. h and digest are those of the content.
func checkSignature(key any, info signerInfo, h stdcrypto.Hash, digest []byte) error {
	if info.attributes != nil {
		sum := h.New()
		sum.Write(info.attributes)
		digest = sum.Sum(nil)
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		return checkRSA(k, info, h, digest)
	case *ecdsa.PublicKey:
		return checkECDSA(k, info, h, digest)
	case ed25519.PublicKey:
		return checkEd25519(k, info)
	}
	return fmt.Errorf("%w: key of the signer", ErrUnsupported)
}

// sameHash refuses a signature algorithm that names another digest than
// digestAlgorithm (RFC 5754 section 3).
func sameHash(named asn1.ObjectIdentifier, table map[string]stdcrypto.Hash, h stdcrypto.Hash) error {
	got, ok := table[named.String()]
	if !ok {
		return fmt.Errorf("%w: signature algorithm %v", ErrUnsupported, named)
	}
	if got != 0 && got != h {
		return fmt.Errorf("%w: two different digests", ErrSignature)
	}
	return nil
}

func checkRSA(k *rsa.PublicKey, info signerInfo, h stdcrypto.Hash, digest []byte) error {
	if info.method.Algorithm.Equal(oidPSS) {
		return checkPSS(k, info, h, digest)
	}
	err := sameHash(info.method.Algorithm, map[string]stdcrypto.Hash{
		oidRSA.String(): 0, oidSHA1RSA.String(): stdcrypto.SHA1, oidSHA256RSA.String(): stdcrypto.SHA256,
		oidSHA384RSA.String(): stdcrypto.SHA384, oidSHA512RSA.String(): stdcrypto.SHA512,
	}, h)
	if err != nil {
		return err
	}
	if err := rsa.VerifyPKCS1v15(k, h, digest, info.signature); err != nil {
		return ErrSignature
	}
	return nil
}

func checkPSS(k *rsa.PublicKey, info signerInfo, h stdcrypto.Hash, digest []byte) error {
	var p pssParameters
	if err := unmarshal(info.method.Parameters.FullBytes, &p, "PSS parameters"); err != nil {
		return err
	}
	named, err := hashOrSHA1(p.Hash)
	if err != nil {
		return err
	}
	mask, err := maskHash(p.MGF)
	if err != nil {
		return err
	}
	switch {
	case named != h: // RFC 4056 section 3
		return fmt.Errorf("%w: two different digests", ErrSignature)
	case p.Trailer != 1 || p.Salt < 0:
		return fmt.Errorf("%w: PSS parameters", ErrUnsupported)
	case mask != h || p.Salt == 0: // zero is "any" for crypto/rsa
		return emsaPSS(k, info.signature, digest, p.Salt, h, mask)
	}
	if err := rsa.VerifyPSS(k, h, digest, info.signature, &rsa.PSSOptions{SaltLength: p.Salt}); err != nil {
		return ErrSignature
	}
	return nil
}

func checkECDSA(k *ecdsa.PublicKey, info signerInfo, h stdcrypto.Hash, digest []byte) error {
	err := sameHash(info.method.Algorithm, map[string]stdcrypto.Hash{
		oidECPublicKey.String(): 0, oidSHA1ECDSA.String(): stdcrypto.SHA1, oidSHA256ECDSA.String(): stdcrypto.SHA256,
		oidSHA384ECDSA.String(): stdcrypto.SHA384, oidSHA512ECDSA.String(): stdcrypto.SHA512,
	}, h)
	if err != nil {
		return err
	}
	switch k.Curve {
	case elliptic.P256(), elliptic.P384(), elliptic.P521():
	default:
		return fmt.Errorf("%w: curve of the signer", ErrUnsupported)
	}
	if !ecdsa.VerifyASN1(k, digest, info.signature) {
		return ErrSignature
	}
	return nil
}

// checkEd25519 follows RFC 8419 section 3: attributes are signed as they are.
// The content is digested by SHA-512; other digests of our profile are read, as
// some write them.
func checkEd25519(k ed25519.PublicKey, info signerInfo) error {
	switch {
	case !info.method.Algorithm.Equal(oidEd25519):
		return fmt.Errorf("%w: signature algorithm %v", ErrUnsupported, info.method.Algorithm)
	case info.attributes == nil:
		return fmt.Errorf("%w: Ed25519 without attributes", ErrUnsupported)
	case !ed25519.Verify(k, info.attributes, info.signature):
		return ErrSignature
	}
	return nil
}
