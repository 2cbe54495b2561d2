//go:build !pkcs11 || !cgo

package hsm

import (
	"crypto/x509"
	"errors"

	"gatewayd/crypto/smime"
)

// Built reports whether this program can use tokens.
const Built = false

// ErrNotBuilt: this program cannot use tokens.
var ErrNotBuilt = errors.New("this program was built without PKCS #11: make build-pkcs11 makes one with it, for the key agent")

// Store is a driver with its tokens.
type Store struct{}

// Open always fails with ErrNotBuilt.
func Open(Options) (*Store, error) { return nil, ErrNotBuilt }

// Identity always fails with ErrNotBuilt.
func (*Store) Identity(string, []*x509.Certificate) (smime.Identity, error) {
	return smime.Identity{}, ErrNotBuilt
}

// Derive always fails with ErrNotBuilt.
func (*Store) Derive(string, string) ([]byte, error) { return nil, ErrNotBuilt }

// Close does nothing.
func (*Store) Close() error { return nil }
