// Package gcm is AES-GCM (NIST SP 800-38D) over content that comes in pieces.
// crypto/cipher has it in one piece only, and a mail of 50 MB would lie in
// memory whole. It is written for crypto/cms, where the additional data come
// behind the content they belong to (RFC 5083 section 2.1).
//
// What Open has deciphered is worth nothing before Tag is compared: whoever
// uses this package keeps it back until then.
package gcm

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"math"
)

// TagSize is the length of the whole tag, in octets.
const TagSize = 16

// ErrNonce: a nonce without octets.
var ErrNonce = errors.New("GCM nonce is empty")

// Stream enciphers or deciphers one content under one nonce.
type Stream struct {
	block   cipher.Block
	hash    ghash
	first   [aes.BlockSize]byte // J0, the counter block of the tag
	stream  cipher.Stream
	blocks  uint64 // of key stream before the 32-bit counter starts again
	used    int    // octets of the key stream's newest block that are used up
	content uint64 // octets
	pending []byte // content that does not fill a block yet
}

// New makes a Stream ready. key has 16, 24 or 32 octets, nonce any number.
func New(key, nonce []byte) (*Stream, error) {
	if len(nonce) == 0 {
		return nil, ErrNonce
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	s := &Stream{block: block}
	if s.hash, err = newGHASH(block); err != nil {
		return nil, err
	}
	if len(nonce) == 12 {
		copy(s.first[:], nonce)
		s.first[15] = 1
	} else { // section 7.1, step 2
		h := s.hash
		h.add(padded(nonce))
		s.first = h.close(0, uint64(len(nonce))).octets()
	}
	s.restart(binary.BigEndian.Uint32(s.first[12:]))
	return s, nil
}

// restart begins the key stream behind a value of the 32-bit counter, which
// starts again at 0 while the other octets stay (section 6.2).
func (s *Stream) restart(after uint32) {
	next := s.first
	binary.BigEndian.PutUint32(next[12:], after+1)
	s.stream = cipher.NewCTR(s.block, next[:])
	s.blocks = math.MaxUint32 - uint64(after+1) + 1
}

// Seal enciphers the next piece in place.
func (s *Stream) Seal(piece []byte) {
	s.xor(piece)
	s.authenticate(piece)
}

// Open deciphers the next piece in place.
func (s *Stream) Open(piece []byte) {
	s.authenticate(piece)
	s.xor(piece)
}

func (s *Stream) xor(p []byte) {
	for uint64(len(p)) > s.blocks*aes.BlockSize-uint64(s.used) {
		n := s.blocks*aes.BlockSize - uint64(s.used)
		s.stream.XORKeyStream(p[:n], p[:n])
		p, s.used = p[n:], 0
		s.restart(math.MaxUint32)
	}
	s.stream.XORKeyStream(p, p)
	s.blocks -= uint64(s.used+len(p)) / aes.BlockSize
	s.used = (s.used + len(p)) % aes.BlockSize
}

// authenticate adds cipher text to the hash, block by block.
func (s *Stream) authenticate(p []byte) {
	s.content += uint64(len(p))
	if len(s.pending) > 0 {
		n := min(aes.BlockSize-len(s.pending), len(p))
		s.pending = append(s.pending, p[:n]...)
		p = p[n:]
		if len(s.pending) < aes.BlockSize {
			return
		}
		s.hash.add(s.pending)
		s.pending = s.pending[:0]
	}
	whole := len(p) - len(p)%aes.BlockSize
	s.hash.add(p[:whole])
	s.pending = append(s.pending, p[whole:]...)
}

// Tag returns the tag over all pieces and the additional data. The Stream must
// not be used afterwards.
func (s *Stream) Tag(additional []byte) [TagSize]byte {
	if len(s.pending) > 0 {
		s.hash.add(padded(s.pending))
	}
	// The hash is linear: the additional data, which belong before the content,
	// are hashed apart and moved ahead of it by a power of the hash key.
	ahead := s.hash
	ahead.sum = element{}
	ahead.add(padded(additional))
	blocks := (s.content + aes.BlockSize - 1) / aes.BlockSize
	s.hash.sum = s.hash.sum.plus(ahead.sum.times(s.hash.key.power(blocks)))
	tag := s.hash.close(uint64(len(additional)), s.content).octets()
	var mask [aes.BlockSize]byte
	s.block.Encrypt(mask[:], s.first[:])
	subtle.XORBytes(tag[:], tag[:], mask[:])
	return tag
}

// Equal compares a received tag, which may be cut to 12 octets or more
// (RFC 5084 section 3.2), in constant time.
func Equal(tag [TagSize]byte, received []byte) bool {
	return len(received) >= 12 && len(received) <= TagSize &&
		subtle.ConstantTimeCompare(tag[:len(received)], received) == 1
}

// padded fills up with zeros to whole blocks.
func padded(p []byte) []byte {
	return append(p[:len(p):len(p)], make([]byte, -len(p)&(aes.BlockSize-1))...)
}
