package smime

import (
	"errors"
	"fmt"
	"strings"

	"gatewayd/crypto/cms"
)

// Method says how to encrypt for a recipient, and how to sign to him. The zero
// Method is what every program reads: AES-256-CBC, RSAES-PKCS1-v1_5 for RSA
// keys, and an open signature by PKCS #1 v1.5. Keys that agree (EC, X25519)
// have one way only.
type Method struct {
	GCM    bool // AES-256-GCM: nobody can change what is encrypted
	OAEP   bool // RSAES-OAEP with SHA-256
	PSS    bool // an RSA key signs by RSASSA-PSS
	Opaque bool // signed-data instead of multipart/signed: for ways that break open signatures
}

// Words of a Method in text.
const (
	wordGCM, wordCBC   = "AES-256-GCM", "AES-256-CBC"
	wordOAEP, wordV15  = "RSAES-OAEP", "RSAES-PKCS1-v1_5"
	wordPSS, wordPKCS1 = "RSASSA-PSS", "RSASSA-PKCS1-v1_5"
	wordOpaque         = "opaque"
	wordClear          = "clear"
)

// ErrMethod: text that names no method.
var ErrMethod = errors.New("unknown method")

// ParseMethod reads words divided by spaces; what is not named keeps its zero.
func ParseMethod(text string) (Method, error) {
	var m Method
	for _, word := range strings.Fields(text) {
		switch word {
		case wordGCM:
			m.GCM = true
		case wordOAEP:
			m.OAEP = true
		case wordPSS:
			m.PSS = true
		case wordOpaque:
			m.Opaque = true
		case wordCBC, wordV15, wordPKCS1, wordClear:
		default:
			return Method{}, fmt.Errorf("%w: known are %s", ErrMethod,
				strings.Join([]string{wordGCM, wordCBC, wordOAEP, wordV15, wordPSS, wordPKCS1, wordOpaque, wordClear}, ", "))
		}
	}
	return m, nil
}

// String names all that ParseMethod reads.
func (m Method) String() string {
	pick := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	return strings.Join([]string{pick(m.GCM, wordGCM, wordCBC), pick(m.OAEP, wordOAEP, wordV15), pick(m.PSS, wordPSS, wordPKCS1), pick(m.Opaque, wordOpaque, wordClear)}, " ")
}

// MethodFor returns the best method that a recipient's program can read, by the
// capabilities that it announced in a signature (entity.Signature). Whoever
// announces something that we do not know gets the zero Method.
func MethodFor(capabilities []byte) Method {
	c, err := cms.ParseCapabilities(capabilities)
	if err != nil {
		return Method{}
	}
	return Method{GCM: c.GCM, OAEP: c.OAEP}
}

func (m Method) cipher() cms.Cipher {
	if m.GCM {
		return cms.AES256GCM
	}
	return cms.AES256CBC
}
