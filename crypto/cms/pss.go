package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/binary"
	"math/big"
)

// emsaPSS is EMSA-PSS-VERIFY of RFC 8017 section 9.1.2, for what crypto/rsa does
// not have: one digest for the content and another in the mask, against which
// RFC 4056 section 3 advises and which some write; and no salt at all.
func emsaPSS(k *rsa.PublicKey, signature, digest []byte, salt int, h, mask stdcrypto.Hash) error {
	s := new(big.Int).SetBytes(signature)
	if len(signature) != k.Size() || s.Cmp(k.N) >= 0 {
		return ErrSignature
	}
	bits := k.N.BitLen() - 1
	em := s.Exp(s, big.NewInt(int64(k.E)), k.N).FillBytes(make([]byte, k.Size()))
	if n := (bits + 7) / 8; n < len(em) { // the modulus is one bit longer than whole octets
		if em[0] != 0 {
			return ErrSignature
		}
		em = em[1:]
	}
	size := h.Size()
	ones := len(em) - size - salt - 2 // where the octet 1 stands in front of the salt
	if ones < 0 || em[len(em)-1] != 0xbc {
		return ErrSignature
	}
	db, sum := em[:len(em)-size-1], em[len(em)-size-1:len(em)-1]
	unused := 8*len(em) - bits
	if db[0]>>(8-unused) != 0 {
		return ErrSignature
	}
	subtle.XORBytes(db, db, mgf1(mask, sum, len(db)))
	db[0] &= 0xff >> unused
	if len(bytes.Trim(db[:ones], "\x00")) > 0 || db[ones] != 1 {
		return ErrSignature
	}
	again := h.New()
	again.Write(make([]byte, 8))
	again.Write(digest)
	again.Write(db[ones+1:])
	if subtle.ConstantTimeCompare(again.Sum(nil), sum) != 1 {
		return ErrSignature
	}
	return nil
}

// mgf1 returns n octets of the mask of RFC 8017 appendix B.2.1.
func mgf1(h stdcrypto.Hash, seed []byte, n int) []byte {
	var out []byte
	for i := uint32(0); len(out) < n; i++ {
		d := h.New()
		d.Write(seed)
		d.Write(binary.BigEndian.AppendUint32(nil, i))
		out = d.Sum(out)
	}
	return out[:n]
}
