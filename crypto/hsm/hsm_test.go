package hsm

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"reflect"
	"strings"
	"testing"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestURI reads what RFC 7512 section 3 shows, and refuses what does not belong here.
func TestURI(t *testing.T) {
	for text, want := range map[string]uri{
		"pkcs11:object=seal": {object: "seal"},
		"pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;serial=91;id=%01%ba%dc;type=private": {
			token: "The Software PKCS#11 Softtoken", manufacturer: "Snake Oil, Inc.", model: "1.0", serial: "91", id: []byte{1, 0xba, 0xdc}, kind: "private",
		},
	} {
		if got, err := parseURI(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "pkcs11:", "seal", "PKCS11:object=seal", "pkcs11:token=x", "pkcs11:object=seal?pin-value=1234", "pkcs11:object=seal?module-path=/evil.so", "pkcs11:object=a;object=b",
		"pkcs11:object=%zz", "pkcs11:object=", "pkcs11:slot-id=1;object=x", "pkcs11:object=" + strings.Repeat("x", 1024),
	} {
		if got, err := parseURI(text); err == nil || strings.Contains(err.Error(), "1234") {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// TestOAEP: the padding is taken off as crypto/rsa does it, and nothing else.
func TestOAEP(t *testing.T) {
	k := must(rsa.GenerateKey(rand.Reader, 2048))
	raw := func(sealed []byte) []byte {
		return new(big.Int).Exp(new(big.Int).SetBytes(sealed), k.D, k.N).FillBytes(make([]byte, k.Size()))
	}
	for _, h := range []stdcrypto.Hash{stdcrypto.SHA1, stdcrypto.SHA256, stdcrypto.SHA384, stdcrypto.SHA512} {
		for _, mask := range []stdcrypto.Hash{0, stdcrypto.SHA1, stdcrypto.SHA256} {
			for _, want := range [][]byte{{}, {1}, {0, 0, 1, 7}, bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{1}, 126)} {
				o := &rsa.OAEPOptions{Hash: h, MGFHash: mask, Label: []byte("label")}
				block := raw(must(rsa.EncryptOAEPWithOptions(rand.Reader, &k.PublicKey, want, o)))
				if got, err := openOAEP(block, o); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%v, %v: %x, %v", h, mask, got, err)
				}
				for i := range block {
					broken := bytes.Clone(block)
					broken[i] ^= 1
					if got, err := openOAEP(broken, o); err != rsa.ErrDecryption {
						t.Fatalf("%v, %v: octet %d changed, and opened as %x", h, mask, i, got)
					}
				}
				if _, err := openOAEP(block, &rsa.OAEPOptions{Hash: h, MGFHash: mask}); err != rsa.ErrDecryption {
					t.Errorf("another label: %v", err)
				}
			}
		}
	}
	for _, block := range [][]byte{nil, {0}, make([]byte, 65), make([]byte, 256)} {
		if _, err := openOAEP(block, &rsa.OAEPOptions{Hash: stdcrypto.SHA256}); err != rsa.ErrDecryption {
			t.Errorf("%d zeros: %v", len(block), err)
		}
	}
}
