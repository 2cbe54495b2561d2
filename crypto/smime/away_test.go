package smime

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ecdh"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"testing"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
)

// elsewhere are keys in another place, which answer with an error.
type elsewhere struct {
	stdcrypto.Signer
	ecdh.KeyExchanger
	err error
}

func (e elsewhere) Public() stdcrypto.PublicKey { return e.Signer.Public() }

func (e elsewhere) Decrypt(io.Reader, []byte, stdcrypto.DecrypterOpts) ([]byte, error) {
	return nil, e.err
}

func (e elsewhere) ECDH(*ecdh.PublicKey) ([]byte, error) { return nil, e.err }

// TestKeyAway: a key that is out of reach is trouble of our own; every other error
// of a key is a verdict about the mail.
func TestKeyAway(t *testing.T) {
	w := testWorld()
	for name, id := range map[string]Identity{"RSA": w.rsa, "EC": w.ec} {
		for _, oaep := range []bool{false, true} {
			sealed := protect(t, letter, Options{Signer: w.amt.Signer(), Recipients: []*x509.Certificate{id.Cert}, Method: Method{OAEP: oaep}, Time: now})
			for _, err := range []error{fmt.Errorf("locked: %w", cms.ErrKeyAway), rsa.ErrDecryption} {
				away := Identity{Cert: id.Cert, Key: elsewhere{Signer: id.Key, err: err}}
				if name == "EC" {
					away.Agree = elsewhere{KeyExchanger: id.recipient().Agree, err: err}
				}
				o := entity.Options{Openers: []entity.Opener{Opener{Keys: []cms.Recipient{away.recipient()}, Anchors: w.anchors}}, At: now}
				op, got := entity.Open(bytes.NewReader(sealed), int64(len(sealed)), o)
				switch {
				case errors.Is(err, cms.ErrKeyAway) && !errors.Is(got, cms.ErrKeyAway):
					t.Errorf("%s: %v, want that the key is away", name, got)
				case !errors.Is(err, cms.ErrKeyAway) && (got != nil || op.Encryption != entity.Damaged || op.Content != nil):
					t.Errorf("%s: %v, want a verdict", name, got)
				}
				if op != nil {
					_ = op.Close()
				}
			}
		}
	}
}
