package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
)

// wrapAES wraps a key by another with AES key wrap (RFC 3394 section 2.2.1).
func wrapAES(kek, key []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	out := append(wrapIV(), key...)
	n := len(key) / 8
	var b [aes.BlockSize]byte
	for t := 1; t <= 6*n; t++ {
		r := out[8*((t-1)%n+1):][:8]
		copy(b[:8], out[:8])
		copy(b[8:], r)
		block.Encrypt(b[:], b[:])
		subtle.XORBytes(out[:8], b[:8], counter64(t))
		copy(r, b[8:])
	}
	return out, nil
}

// unwrapAES is the way back (section 2.2.2); the check value must come out.
func unwrapAES(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	n := len(wrapped)/8 - 1
	if len(wrapped)%8 != 0 || n < 2 || n > 8 {
		return nil, ErrDecrypt
	}
	out := bytes.Clone(wrapped)
	var b [aes.BlockSize]byte
	for t := 6 * n; t > 0; t-- {
		r := out[8*((t-1)%n+1):][:8]
		subtle.XORBytes(b[:8], out[:8], counter64(t))
		copy(b[8:], r)
		block.Decrypt(b[:], b[:])
		copy(out[:8], b[:8])
		copy(r, b[8:])
	}
	if subtle.ConstantTimeCompare(out[:8], wrapIV()) != 1 {
		return nil, ErrDecrypt
	}
	return out[8:], nil
}

func counter64(t int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(t)) }

// wrapIV is the initial value of RFC 3394 section 2.2.3.1.
func wrapIV() []byte { return bytes.Repeat([]byte{0xa6}, 8) }
