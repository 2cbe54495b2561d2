package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
)

// ErrCorrupt is returned for sealed data that was damaged, cut or changed, or
// that another key sealed: authenticated encryption does not tell these apart.
var ErrCorrupt = errors.New("sealed data is damaged")

// SealRecord seals plain with a random nonce in front. aad is authenticated, not
// stored: it binds the record to its place, and OpenRecord needs the same. The
// result is Overhead octets longer than plain.
func SealRecord(aead cipher.AEAD, plain, aad []byte) []byte {
	out := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	rand.Read(out)
	return aead.Seal(out, out, plain, aad)
}

// Overhead is what SealRecord adds: a nonce of 12 octets and a tag of 16.
const Overhead = 12 + 16

// OpenRecord undoes SealRecord. It returns ErrCorrupt, and no plaintext, unless
// every bit is as it was sealed.
func OpenRecord(aead cipher.AEAD, sealed, aad []byte) ([]byte, error) {
	n := aead.NonceSize()
	if len(sealed) < n+aead.Overhead() {
		return nil, ErrCorrupt
	}
	plain, err := aead.Open(nil, sealed[:n], sealed[n:], aad)
	if err != nil {
		return nil, ErrCorrupt
	}
	return plain, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
