package gcm

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"math/bits"
)

// element is one of GF(2^128) in the order of bits of SP 800-38D section 6.3:
// the most significant bit of hi is the coefficient of x^0.
type element struct{ hi, lo uint64 }

func toElement(b []byte) element {
	return element{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (e element) octets() (b [aes.BlockSize]byte) {
	binary.BigEndian.PutUint64(b[:], e.hi)
	binary.BigEndian.PutUint64(b[8:], e.lo)
	return b
}

func (e element) plus(o element) element { return element{e.hi ^ o.hi, e.lo ^ o.lo} }

// times multiplies bit by bit (section 6.3, algorithm 1) without branching on
// secrets. It is slow, and needed once a piece.
func (e element) times(o element) element {
	var z element
	for i := range 128 {
		word := e.hi
		if i > 63 {
			word = e.lo
		}
		take := -(word >> (63 - i%64) & 1)
		z.hi ^= o.hi & take
		z.lo ^= o.lo & take
		reduce := -(o.lo & 1)
		o.lo = o.lo>>1 | o.hi<<63
		o.hi = o.hi>>1 ^ reduce&(0xe1<<56)
	}
	return z
}

// power returns e multiplied by itself; n is not secret.
func (e element) power(n uint64) element {
	out := element{hi: 1 << 63} // one
	for i := bits.Len64(n) - 1; i >= 0; i-- {
		out = out.times(out)
		if n>>i&1 == 1 {
			out = out.times(e)
		}
	}
	return out
}

// ghash is the function of section 6.4 over blocks that come by and by.
//
// The processor's instructions for it are behind crypto/cipher only. There,
// the tag of additional data without content is (GHASH(data) + length) * key +
// mask, from which the state behind one block more follows: what is added and
// multiplied by key in that last step is the length instead of that block, and
// the difference of the two is corrected here. So all blocks but one of a piece
// go the fast way.
type ghash struct {
	sum  element
	key  element
	aead cipher.AEAD
	mask element // of a tag under the nonce of zeros
}

func newGHASH(block cipher.Block) (ghash, error) {
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return ghash{}, err
	}
	g := ghash{aead: aead}
	var b [aes.BlockSize]byte
	block.Encrypt(b[:], b[:])
	g.key = toElement(b[:])
	b = [aes.BlockSize]byte{15: 1}
	block.Encrypt(b[:], b[:])
	g.mask = toElement(b[:])
	return g, nil
}

// add hashes whole blocks. The first one is changed meanwhile.
func (g *ghash) add(blocks []byte) {
	if len(blocks) == 0 {
		return
	}
	last := len(blocks) - aes.BlockSize
	end := toElement(blocks[last:])
	if last == 0 {
		g.sum = g.sum.plus(end).times(g.key)
		return
	}
	state := g.sum.octets()
	subtle.XORBytes(blocks[:aes.BlockSize], blocks, state[:])
	var nonce [12]byte
	var out [TagSize]byte
	tag := g.aead.Seal(out[:0], nonce[:], nil, blocks[:last])
	subtle.XORBytes(blocks[:aes.BlockSize], blocks, state[:])
	length := element{hi: uint64(last) * 8}
	g.sum = toElement(tag).plus(g.mask).plus(length.plus(end).times(g.key))
}

// close adds the block of lengths, given in octets, and returns the sum.
func (g *ghash) close(additional, content uint64) element {
	return g.sum.plus(element{additional * 8, content * 8}).times(g.key)
}
