package smime

import (
	stdcrypto "crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/message"
)

// Identity is a certificate with its private key. It says nothing about where
// the key lives: any crypto.Signer or ecdh.KeyExchanger will do.
type Identity struct {
	Cert  *x509.Certificate
	Chain []*x509.Certificate // between Cert and its anchor
	Key   stdcrypto.Signer    // nil for a key that only agrees
	Agree ecdh.KeyExchanger   // X25519, or an EC key that lies elsewhere; nil for every other key
}

// Signer returns the identity in the role of a signer; nil for a key that
// cannot.
func (i Identity) Signer() *cms.Signer {
	if i.Key == nil {
		return nil
	}
	return &cms.Signer{Cert: i.Cert, Chain: i.Chain, Key: i.Key}
}

// Private returns the private key, as crypto/x509 knows it.
func (i Identity) Private() stdcrypto.PrivateKey {
	if i.Agree != nil {
		return i.Agree
	}
	return i.Key
}

// Recipient returns the identity in the role of who decrypts; ok is false for
// a key that cannot.
func (i Identity) Recipient() (r cms.Recipient, ok bool) {
	r.Cert = i.Cert
	if i.Agree != nil {
		r.Agree = i.Agree
		return r, true
	}
	switch k := i.Key.(type) {
	case *ecdsa.PrivateKey:
		agree, err := k.ECDH()
		if err != nil {
			return r, false
		}
		r.Agree = agree
		return r, true
	case stdcrypto.Decrypter:
		r.Key = k
		return r, true
	}
	return r, false
}

// ParseCertificates reads one or more certificates, PEM or one in DER.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	if block, _ := pem.Decode(data); block == nil {
		c, err := x509.ParseCertificate(data)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		return []*x509.Certificate{c}, nil
	}
	var list []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(list)+1, err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errors.New("certificate: no PEM block CERTIFICATE")
	}
	return list, nil
}

// ParseIdentity reads a certificate with its chain and the private key of its
// first certificate: PEM, the key in PKCS #8, or in the older forms of RSA and
// EC keys, never encrypted.
func ParseIdentity(certs, key []byte) (Identity, error) {
	list, err := ParseCertificates(certs)
	if err != nil {
		return Identity{}, err
	}
	private, err := parseKey(key)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Cert: list[0], Chain: list[1:]}
	var own stdcrypto.PublicKey
	switch k := private.(type) {
	case stdcrypto.Signer:
		id.Key, own = k, k.Public()
	case *ecdh.PrivateKey:
		id.Agree, own = k, k.PublicKey()
	default:
		return Identity{}, errors.New("private key: of an unknown kind")
	}
	theirs, err := cms.PublicKey(list[0])
	if err != nil {
		return Identity{}, fmt.Errorf("certificate: %w", err)
	}
	public, ok := own.(interface {
		Equal(stdcrypto.PublicKey) bool
	})
	if !ok || !public.Equal(theirs) {
		return Identity{}, errors.New("private key: does not belong to the first certificate")
	}
	return id, nil
}

// parseKey never puts anything of the file into an error.
func parseKey(data []byte) (stdcrypto.PrivateKey, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("private key: is encrypted; convert it with openssl pkcs8 and protect the file instead")
		default: // "EC PARAMETERS", certificates in the same file
			continue
		}
		if err != nil {
			return nil, errors.New("private key: not readable")
		}
		return key, nil
	}
	return nil, errors.New("private key: no PEM block PRIVATE KEY")
}

// Addresses returns the mail addresses for which a certificate stands: RFC
// 5280 rfc822Name, and the older emailAddress in the subject (RFC 8550 section
// 3 wants both read).
func Addresses(c *x509.Certificate) []message.Address {
	texts := append([]string(nil), c.EmailAddresses...)
	for _, n := range c.Subject.Names {
		if s, ok := n.Value.(string); ok && n.Type.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}) {
			texts = append(texts, s)
		}
	}
	var list []message.Address
	for _, t := range texts {
		if a, err := message.ParseAddress(t); err == nil && !a.IsNull() {
			list = append(list, a)
		}
	}
	return list
}

// CheckRecipient reports whether mail to that address may be encrypted by the
// certificate at that time; the error is one of entity's reasons. A null
// address is not compared. It does not build a chain:
// who puts a certificate into the configuration trusts it.
func CheckRecipient(c *x509.Certificate, to message.Address, at time.Time) error {
	usage := x509.KeyUsageKeyEncipherment
	key, err := cms.PublicKey(c)
	if err != nil {
		return entity.ErrWeakKey
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return entity.ErrWeakKey
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P224() {
			return entity.ErrWeakKey
		}
		usage = x509.KeyUsageKeyAgreement
	case *ecdh.PublicKey:
		usage = x509.KeyUsageKeyAgreement
	default:
		return entity.ErrWeakKey
	}
	return check(c, usage, to, at)
}

// CheckSigner reports whether the certificate may sign for that address at that
// time. A null address is not compared: an authority's seal may stand for many.
func CheckSigner(c *x509.Certificate, from message.Address, at time.Time) error {
	key, err := cms.PublicKey(c)
	if err != nil {
		return entity.ErrWeakKey
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return entity.ErrWeakKey
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	case *ecdh.PublicKey:
		return entity.ErrWrongUse
	default:
		return entity.ErrWeakKey
	}
	return check(c, x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment, from, at)
}

func check(c *x509.Certificate, usage x509.KeyUsage, a message.Address, at time.Time) error {
	switch {
	case at.Before(c.NotBefore):
		return entity.ErrNotYetValid
	case at.After(c.NotAfter):
		return entity.ErrExpired
	case c.KeyUsage != 0 && c.KeyUsage&usage == 0 || !forMail(c):
		return entity.ErrWrongUse
	case a.IsNull():
		return nil
	}
	for _, own := range Addresses(c) {
		if own.Key() == a.Key() {
			return nil
		}
	}
	return entity.ErrWrongAddress
}

// forMail looks at the extended key usage (RFC 8550 section 4.4.4).
func forMail(c *x509.Certificate) bool {
	if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	for _, u := range c.ExtKeyUsage {
		if u == x509.ExtKeyUsageEmailProtection || u == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}
