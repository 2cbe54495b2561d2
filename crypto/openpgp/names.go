package openpgp

import (
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// algorithmOf names the kind of a key for a person: "RSA-3072", "ECDSA P-256",
// "Ed25519".
func algorithmOf(k *packet.PublicKey) string {
	curve := ""
	if c, err := k.Curve(); err == nil {
		curve = curveName(c)
	}
	switch k.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly, packet.PubKeyAlgoRSAEncryptOnly:
		return "RSA" + bitsOf(k)
	case packet.PubKeyAlgoDSA:
		return "DSA" + bitsOf(k)
	case packet.PubKeyAlgoElGamal:
		return "ElGamal" + bitsOf(k)
	case packet.PubKeyAlgoECDSA:
		return "ECDSA " + curve
	case packet.PubKeyAlgoEdDSA:
		return map[string]string{"Curve25519": "Ed25519", "Curve448": "Ed448"}[curve]
	case packet.PubKeyAlgoECDH:
		if name := map[string]string{"Curve25519": "X25519", "Curve448": "X448"}[curve]; name != "" {
			return name
		}
		return "ECDH " + curve
	}
	if name := map[packet.PublicKeyAlgorithm]string{
		packet.PubKeyAlgoX25519: "X25519", packet.PubKeyAlgoX448: "X448", packet.PubKeyAlgoEd25519: "Ed25519", packet.PubKeyAlgoEd448: "Ed448",
		packet.PubKeyAlgoMlkem768X25519: "ML-KEM-768+X25519", packet.PubKeyAlgoMlkem1024X448: "ML-KEM-1024+X448",
		packet.PubKeyAlgoMldsa65Ed25519: "ML-DSA-65+Ed25519", packet.PubKeyAlgoMldsa87Ed448: "ML-DSA-87+Ed448",
	}[k.PubKeyAlgo]; name != "" {
		return name
	}
	return fmt.Sprintf("algorithm %d", k.PubKeyAlgo)
}

func bitsOf(k *packet.PublicKey) string {
	bits, err := k.BitLength()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("-%d", bits)
}

func curveName(c packet.Curve) string {
	if len(c) == 4 && c[0] == 'P' { // P256
		return "P-" + string(c[1:])
	}
	return string(c)
}

// cipherName names a content cipher (RFC 9580 section 9.3).
func cipherName(c packet.CipherFunction) string {
	if name := map[packet.CipherFunction]string{
		packet.Cipher3DES: "Triple-DES", packet.CipherCAST5: "CAST5", packet.CipherAES128: "AES-128", packet.CipherAES192: "AES-192", packet.CipherAES256: "AES-256",
	}[c]; name != "" {
		return name
	}
	return fmt.Sprintf("cipher %d", c)
}
