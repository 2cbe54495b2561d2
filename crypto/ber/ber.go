// Package ber reads the Basic Encoding Rules (ITU-T X.690) one element at a
// time and writes the Distinguished ones. It exists for crypto/cms: mail
// systems and platforms stream CMS objects with indefinite lengths and
// constructed strings, which encoding/asn1 refuses.
//
// The reader is a pull parser over an io.Reader: what it holds in memory does
// not grow with the input, and it never recurses on it. Depth, number of
// elements and size are limited. Tag numbers above 30 do not occur in CMS and
// are refused. The package knows syntax only; meaning is left to its callers
// and to encoding/asn1, which gets elements that were normalised to DER.
package ber

import "errors"

// Identifier octets (class, constructed bit and number) that CMS uses.
const (
	Integer     byte = 0x02
	OctetString byte = 0x04
	Null        byte = 0x05
	OID         byte = 0x06
	Sequence    byte = 0x30
	Set         byte = 0x31
	Constructed byte = 0x20 // the bit that says: content is elements
	Context0    byte = 0xa0 // [0], constructed
	Context1    byte = 0xa1 // [1], constructed
	Implicit0   byte = 0x80 // [0] IMPLICIT of a primitive type
)

// ErrMalformed is wrapped by every error about bytes that are no BER, or not
// the expected element.
var ErrMalformed = errors.New("malformed BER")

// ErrLimit is wrapped by every error about input that is deeper, longer or
// made of more elements than the limits allow.
var ErrLimit = errors.New("BER limit exceeded")

// Wrap returns a DER element with that identifier octet, the parts being its
// content.
func Wrap(id byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	out := AppendHeader(make([]byte, 0, n+10), id, int64(n))
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// AppendHeader appends identifier octet and length in the shortest form. A
// negative length appends the indefinite form; end-of-contents octets must
// then follow the content.
func AppendHeader(dst []byte, id byte, length int64) []byte {
	switch {
	case length < 0:
		return append(dst, id, 0x80)
	case length < 0x80:
		return append(dst, id, byte(length))
	}
	n := 1
	for v := length >> 8; v > 0; v >>= 8 {
		n++
	}
	dst = append(dst, id, 0x80|byte(n))
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, byte(length>>(8*i)))
	}
	return dst
}
