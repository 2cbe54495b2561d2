package openpgp

import (
	"errors"
	"io"
	"slices"
)

// go-crypto parses every packet that it meets, and a private key costs up to a
// second (RSA with 16,384 bits: it is computed whether it is one). What comes from
// strangers is therefore looked through first, and only what is wanted is parsed.

const (
	tagSignature = 2
	tagPrivate   = 5
	tagPublic    = 6
	tagPrivate2  = 7 // of a subkey
	tagUserID    = 13
	tagPublic2   = 14 // of a subkey
	tagPicture   = 17
)

// maxPackets bounds what is read of a signature or of keys, in octets.
const maxPackets = 4 << 20

var (
	errPackets = errors.New("not OpenPGP packets, or too long")
	errPrivate = errors.New("a private key where a public one is expected")
)

// only returns the packets with those tags, up to the first octet that begins no
// packet of a definite length: then with errPackets.
func only(r io.Reader, tags ...int) ([]byte, error) {
	all, err := io.ReadAll(io.LimitReader(r, maxPackets+1))
	if err != nil {
		return nil, err
	}
	var kept []byte
	for rest := all; len(rest) > 0; {
		tag, body, size := header(rest[:min(len(rest), 6)])
		if tag == 0 || body+size > len(rest) || len(all) > maxPackets {
			return kept, errPackets
		}
		if slices.Contains(tags, tag) {
			kept = append(kept, rest[:body+size]...)
		}
		rest = rest[body+size:]
	}
	return kept, nil
}
