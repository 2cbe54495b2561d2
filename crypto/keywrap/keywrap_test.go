package keywrap

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// TestVectors are RFC 3394 sections 4.1, 4.3, 4.5 and 4.6.
func TestVectors(t *testing.T) {
	for _, c := range []struct{ kek, key, want string }{
		{"000102030405060708090A0B0C0D0E0F", "00112233445566778899AABBCCDDEEFF", "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5"},
		{"000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "00112233445566778899AABBCCDDEEFF", "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7"},
		{"000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "00112233445566778899AABBCCDDEEFF0001020304050607", "A8F9BC1612C68B3FF6E6F4FBE30E71E4769C8B80A32CB8958CD5D17D6B254DA1"},
		{"000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F", "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"},
	} {
		kek, key := unhex(c.kek), unhex(c.key)
		wrapped, err := AES(kek, key)
		if got := strings.ToUpper(hex.EncodeToString(wrapped)); err != nil || got != c.want {
			t.Errorf("wrap: %s, %v; want %s", got, err, c.want)
		}
		if got, err := UnwrapAES(kek, wrapped); err != nil || !bytes.Equal(got, key) {
			t.Errorf("unwrap: %x, %v", got, err)
		}
		everyOctet(t, wrapped, func(bad []byte) error { _, err := UnwrapAES(kek, bad); return err })
	}
	for _, n := range []int{0, 8, 16, 23, 25, 80} {
		if _, err := UnwrapAES(make([]byte, 16), make([]byte, n)); !errors.Is(err, ErrUnwrap) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
	if _, err := UnwrapAES(make([]byte, 5), make([]byte, 24)); err == nil {
		t.Error("key of 5 octets")
	}
	if _, err := AES(make([]byte, 5), make([]byte, 24)); err == nil {
		t.Error("key of 5 octets")
	}
}

// TestTripleDES is RFC 3217 section 3.3.
func TestTripleDES(t *testing.T) {
	kek := unhex("255e0d1c07b646dfb3134cc843ba8aa71f025b7c0838251f")
	key := unhex("2923bf85e06dd6ae529149f1f1bae9eab3a7da3d860d3e98")
	wrapped := unhex("690107618ef092b3b48ca1796b234ae9fa33ebb4159604037db5d6a84eb3aac2768c632775a467d4")
	if got, err := UnwrapTripleDES(kek, wrapped); err != nil || !bytes.Equal(got, key) {
		t.Errorf("unwrap: %x, %v", got, err)
	}
	everyOctet(t, wrapped, func(bad []byte) error { _, err := UnwrapTripleDES(kek, bad); return err })
	for _, n := range []int{0, 8, 32, 39, 41, 48} {
		if _, err := UnwrapTripleDES(kek, make([]byte, n)); !errors.Is(err, ErrUnwrap) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
	if _, err := UnwrapTripleDES(kek[:16], wrapped); err == nil {
		t.Error("key of 16 octets")
	}
}

func everyOctet(t *testing.T, wrapped []byte, unwrap func([]byte) error) {
	t.Helper()
	for i := range wrapped {
		bad := bytes.Clone(wrapped)
		bad[i] ^= 2 // not the parity bit
		if err := unwrap(bad); !errors.Is(err, ErrUnwrap) {
			t.Errorf("octet %d changed: %v", i, err)
		}
	}
}
