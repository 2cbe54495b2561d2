package keywrap

import (
	"crypto/cipher"
	"crypto/des"
	"crypto/sha1"
	"crypto/subtle"
	"slices"
)

// UnwrapTripleDES takes a Triple-DES key out of its wrapping by another (RFC
// 3217 section 3.2). Nothing here wraps that way.
func UnwrapTripleDES(kek, wrapped []byte) ([]byte, error) {
	block, err := des.NewTripleDESCipher(kek)
	if err != nil {
		return nil, err
	}
	if len(wrapped) != 40 {
		return nil, ErrUnwrap
	}
	iv := []byte{0x4a, 0xdd, 0xa2, 0x2c, 0x79, 0xe8, 0x21, 0x05}
	out := make([]byte, len(wrapped))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(out, wrapped)
	slices.Reverse(out)
	cipher.NewCBCDecrypter(block, out[:8]).CryptBlocks(out[8:], out[8:])
	key, check := out[8:32], out[32:]
	sum := sha1.Sum(key)
	if subtle.ConstantTimeCompare(sum[:8], check) != 1 {
		return nil, ErrUnwrap
	}
	return key, nil
}
