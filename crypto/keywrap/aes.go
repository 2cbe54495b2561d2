// Package keywrap wraps one symmetric key by another, as CMS needs it: AES key
// wrap (RFC 3394), and the way back out of Triple-DES key wrap (RFC 3217),
// which old senders still use for recipients with EC keys.
package keywrap

import (
	"bytes"
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// ErrUnwrap stands for every wrapped key that does not come out: no oracle.
var ErrUnwrap = errors.New("wrapped key does not fit")

// AES wraps a key of 16 octets or more by another (RFC 3394 section 2.2.1).
func AES(kek, key []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	out := append(initial(), key...)
	n := len(key) / 8
	var b [aes.BlockSize]byte
	for t := 1; t <= 6*n; t++ {
		r := out[8*((t-1)%n+1):][:8]
		copy(b[:8], out[:8])
		copy(b[8:], r)
		block.Encrypt(b[:], b[:])
		subtle.XORBytes(out[:8], b[:8], counter(t))
		copy(r, b[8:])
	}
	return out, nil
}

// UnwrapAES is the way back (section 2.2.2); the check value must come out.
func UnwrapAES(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	n := len(wrapped)/8 - 1
	if len(wrapped)%8 != 0 || n < 2 || n > maxBlocks {
		return nil, ErrUnwrap
	}
	out := bytes.Clone(wrapped)
	var b [aes.BlockSize]byte
	for t := 6 * n; t > 0; t-- {
		r := out[8*((t-1)%n+1):][:8]
		subtle.XORBytes(b[:8], out[:8], counter(t))
		copy(b[8:], r)
		block.Decrypt(b[:], b[:])
		copy(out[:8], b[:8])
		copy(r, b[8:])
	}
	if subtle.ConstantTimeCompare(out[:8], initial()) != 1 {
		return nil, ErrUnwrap
	}
	return out[8:], nil
}

// maxBlocks bounds a key to 512 bits: twice the longest content key.
const maxBlocks = 8

func counter(t int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(t)) }

// initial is the value of RFC 3394 section 2.2.3.1.
func initial() []byte { return bytes.Repeat([]byte{0xa6}, 8) }
