package openpgp

import (
	"slices"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"gatewayd/crypto/entity"
)

// TestRFC9580 reads the test vectors of RFC 9580 appendix A. Its key stands for no
// address, so nobody's name stands on the signatures.
func TestRFC9580(t *testing.T) {
	key := must(ParseKeys(get(t, "testdata/rfc9580", "a4-key.asc")))[0]
	if key.Version != 6 || key.Fingerprint != "cb186c4f0609a697e4d52dfa6c722b0c1f1e27c18a56708f6525ec27bad9acc9" {
		t.Errorf("version %d, %s", key.Version, key.Fingerprint)
	}
	groceries := "What we need from the grocery store:\r\n\r\n- tofu\r\n- vegetables\r\n- noodles\r\n"
	for _, c := range []struct {
		file, content string
		encryption    entity.Encryption
		signature     entity.Signing
		algorithm     string
	}{
		{"a6-clear.asc", groceries, entity.NotEncrypted, entity.WrongSender, "Ed25519, SHA-512"},
		{"a7-signed.asc", strings.ReplaceAll(groceries, "\r\n", "\n"), entity.NotEncrypted, entity.WrongSender, "Ed25519, SHA-512"},
		{"a8-encrypted.asc", "Hello, world!", entity.Decrypted, entity.NotSigned, "AES-128-OCB, X25519"},
	} {
		text := strings.ReplaceAll(string(get(t, "testdata/rfc9580", c.file)), "\n", "\r\n")
		op := open(t, []byte("From: a@b.example\r\n\r\n"+text), with(key))
		if op.Encryption != c.encryption || op.Signature != c.signature || content(t, op) != inlineHeader+c.content {
			t.Errorf("%s: %s, %s, %q, %+v", c.file, op.Encryption, op.Signature, content(t, op), op.Layers)
		}
		got := strings.Join(op.Layers[0].Algorithms, ", ")
		if len(op.Layers[0].Signatures) > 0 {
			got += op.Layers[0].Signatures[0].Algorithm
		}
		if got != c.algorithm {
			t.Errorf("%s: %s", c.file, got)
		}
	}
}

// TestAEADWhereAnnounced: AEAD for those who all announce it (SEIPD version 2), MDC
// otherwise; never nothing.
func TestAEADWhereAnnounced(t *testing.T) {
	w := testWorld()
	announce := func(v6 bool, mode packet.AEADMode) Key {
		c := atTime(longAgo, packet.Config{V6Keys: v6, Algorithm: packet.PubKeyAlgoEdDSA, DefaultCipher: packet.CipherAES256, AEADConfig: &packet.AEADConfig{DefaultMode: mode}})
		if v6 {
			c.Algorithm = packet.PubKeyAlgoEd25519
		}
		return newEntity("c@partner.example", c, nil)
	}
	mdc := newEntity("c@partner.example", atTime(longAgo, packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, DefaultCipher: packet.CipherAES256}), nil)
	v4, v6, gcm := announce(false, packet.AEADModeOCB), announce(true, packet.AEADModeOCB), announce(true, packet.AEADModeGCM)
	for _, c := range []struct {
		to   []Key
		want string
	}{
		{[]Key{mdc}, "AES-256 with MDC"},
		{[]Key{w.bob}, "AES-128 with MDC"}, // it announces nothing better
		{[]Key{v4}, "AES-256-OCB"},
		{[]Key{v6}, "AES-256-OCB"},
		{[]Key{gcm}, "AES-256-GCM"},
		{[]Key{v4, v6}, "AES-256-OCB"},
		{[]Key{v6, gcm}, "AES-256-OCB"},
		{[]Key{v6, mdc}, "AES-256 with MDC"},
		{[]Key{mdc, v4}, "AES-256 with MDC"},
	} {
		for _, signer := range []Key{w.amt, v6} {
			out := protect(t, letter, Options{Signer: &signer, Recipients: publics(c.to...), Time: now})
			for _, by := range c.to {
				op := open(t, out, with(by, signer.public()))
				if op.Encryption != entity.Decrypted || !slices.Contains([]entity.Signing{entity.Good, entity.WrongSender}, op.Signature) || content(t, op) != inside() {
					t.Errorf("%s: %s, %s", c.want, op.Encryption, op.Signature)
				}
				if got := op.Layers[0].Algorithms[0]; got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
			}
		}
	}
}
