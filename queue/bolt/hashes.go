package bolt

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"hash"
	"sync"

	"gatewayd/crypto/seal"
)

// maxNames bounds what is remembered of hashed names.
const maxNames = 1 << 16

// hashes makes the keyed hashes of the lookups and the MACs of values that name
// nobody. Keys stay in memory once they were read.
type hashes struct {
	keys *seal.Keyring

	mu    sync.Mutex
	macs  map[string]*keyed        // authority → its index key at work; "" is the gateway itself
	auths map[string][macLen]byte  // authority → its hash
	dests map[string][destLen]byte // destination → its hash
}

// keyed is an HMAC that is used again and again.
type keyed struct {
	mu sync.Mutex
	h  hash.Hash
}

func newHashes(keys *seal.Keyring) hashes {
	return hashes{keys: keys, macs: map[string]*keyed{}, auths: map[string][macLen]byte{}, dests: map[string][destLen]byte{}}
}

func (h *hashes) mac(authority string) (*keyed, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m, ok := h.macs[authority]; ok {
		return m, nil
	}
	k, err := h.keys.IndexKey(authority)
	if err != nil {
		return nil, fmt.Errorf("index key: %w", err)
	}
	m := &keyed{h: hmac.New(sha256.New, k)}
	h.macs[authority] = m
	return m, nil
}

// lookup returns the keyed hash under which an authority's value is found; the
// empty authority is the gateway itself. 128 bits: a chance hit would need 2^64
// values, and whoever reads compares the value itself.
func (h *hashes) lookup(authority, kind string, value []byte) (sum [macLen]byte, err error) {
	m, err := h.mac(authority)
	if err != nil {
		return sum, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.h.Reset()
	m.h.Write([]byte("gatewayd lookup " + kind + "\x00"))
	m.h.Write(value)
	var full [sha256.Size]byte
	copy(sum[:], m.h.Sum(full[:0]))
	return sum, nil
}

// authority returns the hash of an authority's name.
func (h *hashes) authority(name string) ([macLen]byte, error) {
	h.mu.Lock()
	sum, ok := h.auths[name]
	h.mu.Unlock()
	if ok {
		return sum, nil
	}
	sum, err := h.lookup(name, string(byAuthority), []byte(name))
	if err == nil {
		h.mu.Lock()
		if len(h.auths) > maxNames {
			clear(h.auths)
		}
		h.auths[name] = sum
		h.mu.Unlock()
	}
	return sum, err
}

// destination returns the hash of a destination's name. It is short: two with
// the same hash would only take turns together.
func (h *hashes) destination(name string) (sum [destLen]byte, err error) {
	h.mu.Lock()
	sum, ok := h.dests[name]
	h.mu.Unlock()
	if ok {
		return sum, nil
	}
	long, err := h.lookup("", "destination", []byte(name))
	if err != nil {
		return sum, err
	}
	copy(sum[:], long[:])
	h.mu.Lock()
	if len(h.dests) > maxNames {
		clear(h.dests)
	}
	h.dests[name] = sum
	h.mu.Unlock()
	return sum, nil
}

// protect appends a MAC to a value that names nobody.
func (h *hashes) protect(bucket string, key, value []byte) ([]byte, error) {
	mac, err := h.lookup("", "mac", append(append(bound(bucket, key, nil), 0), value...))
	if err != nil {
		return nil, err
	}
	return append(append([]byte(nil), value...), mac[:]...), nil
}

// verified returns the value that protect got.
func (h *hashes) verified(bucket string, key, stored []byte) ([]byte, error) {
	if len(stored) < macLen {
		return nil, fmt.Errorf("%s row: %w", bucket, errDamaged)
	}
	value := stored[: len(stored)-macLen : len(stored)-macLen]
	want, err := h.protect(bucket, key, value)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(want, stored) != 1 {
		return nil, fmt.Errorf("%s row: %w", bucket, errDamaged)
	}
	return value, nil
}

// logKey returns the log key of a day, made if need be.
func (s *Store) logKey(day string) (cipher.AEAD, error) {
	aead, err := s.o.Keys.AEAD(seal.Log, day)
	if err != nil {
		return nil, fmt.Errorf("log key of %s: %w", day, err)
	}
	return aead, nil
}
