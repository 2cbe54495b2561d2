package openpgp

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatewayd/crypto/entity"
)

// thunderbirdKeys are Alice with her private key, and the public keys of the
// others, as in Thunderbird's tests.
func thunderbirdKeys(t testing.TB, dir string) []Key {
	t.Helper()
	var keys []Key
	for _, name := range []string{
		"alice@openpgp.example-0xf231550c4f47e38e-secret.asc",
		"bob@openpgp.example-0xfbfcc82a015e7330-pub.asc",
		"carol@example.com-0x3099ff1238852b9f-pub.asc",
	} {
		list, err := ParseKeys(get(t, dir, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		keys = append(keys, list...)
	}
	return keys
}

// TestThunderbird: what the mails of Thunderbird's tests are, as their names
// say: encryption, signature. S/MIME layers are not opened here.
func TestThunderbird(t *testing.T) {
	top := corpus(t, "openpgp-thunderbird", "mail", "test", "browser", "openpgp", "data")
	o := entity.Options{
		Openers: []entity.Opener{Opener{Keys: thunderbirdKeys(t, filepath.Join(top, "keys"))}},
		At:      time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC),
	}
	for name, want := range map[string]string{
		"alice-broken-exchange.eml":                                                     "none none",
		"alice-signed.eml":                                                              "none good",
		"alice-utf.eml":                                                                 "none good",
		"bob-enc-html-nbsp.eml":                                                         "none none",
		"bob-enc-inline-nbsp-qp.eml":                                                    "decrypted none",
		"bob-to-alice-signed-damaged-signature.eml":                                     "none broken",
		"dual-signed-uncommon-content-type.eml":                                         "none partial",
		"enc-to-carol@pgp.icu-revoked.eml":                                              "not_for_us none",
		"encrypted-and-signed-alice-to-bob-nonascii.eml":                                "decrypted good",
		"encrypted-to-alice-as-hidden-recipient.eml":                                    "decrypted none",
		"eve-duplicate.eml":                                                             "none none",
		"forwarded-eml-signed-by-alice.eml":                                             "none none",
		"fwd-signed.eml":                                                                "none none",
		"fwd-unsigned-encrypted.eml":                                                    "none none",
		"inline-signed-latin1.eml":                                                      "none unknown_key",
		"inline-signed-utf8.eml":                                                        "none unknown_key",
		"inner-smime-sig-in-pgp-encrypted.eml":                                          "decrypted partial",
		"multiple-signatures.eml":                                                       "none none",
		"openpgp__stripped_sig.eml":                                                     "none broken",
		"outer-pgp-sig-inner-pgp-enc-sig.eml":                                           "decrypted good",
		"outer-pgp-sig-inner-pgp-enc-with-mixed.eml":                                    "partial broken",
		"outer-pgp-sig-inner-pgp-enc.eml":                                               "decrypted outside",
		"outer-smime-bad-sig-inner-pgp-enc-sig-with-mixed.eml":                          "partial partial",
		"outer-smime-bad-sig-inner-pgp-enc-sig.eml":                                     "partial partial",
		"outer-smime-bad-sig-inner-pgp-enc.eml":                                         "partial partial",
		"partial-encrypt-for-alice-html.eml":                                            "none none",
		"partial-encrypt-for-alice-plaintext.eml":                                       "partial none",
		"partial-encrypt-for-carol-html.eml":                                            "none none",
		"partial-encrypt-for-carol-plaintext.eml":                                       "partial none",
		"signed-by-0x3099ff1238852b9f-encrypted-to-0xf231550c4f47e38e-with-key.eml":     "decrypted good",
		"signed-by-0x3099ff1238852b9f-encrypted-to-0xf231550c4f47e38e.eml":              "decrypted good",
		"signed-by-0x3099ff1238852b9f-to-0xf231550c4f47e38e-unencrypted-with-key.eml":   "none good",
		"signed-by-0x3099ff1238852b9f-to-0xf231550c4f47e38e-unencrypted.eml":            "none good",
		"signed-by-0xfbfcc82a015e7330-encrypted-to-0xf231550c4f47e38e-multi-from.eml":   "decrypted wrong_sender",
		"signed-by-0xfbfcc82a015e7330-encrypted-to-0xf231550c4f47e38e-with-key.eml":     "decrypted good",
		"signed-by-0xfbfcc82a015e7330-encrypted-to-0xf231550c4f47e38e.eml":              "decrypted good",
		"signed-by-0xfbfcc82a015e7330-to-0xf231550c4f47e38e-unencrypted-in-mixed.eml":   "none partial",
		"signed-by-0xfbfcc82a015e7330-to-0xf231550c4f47e38e-unencrypted-with-key.eml":   "none good",
		"signed-by-0xfbfcc82a015e7330-to-0xf231550c4f47e38e-unencrypted.eml":            "none good",
		"signed-encrypted-autocrypt-gossip.eml":                                         "decrypted good",
		"signed-inline-indented.eml":                                                    "none good",
		"signed-mismatch-email-date.eml":                                                "none good",
		"signed-with-mailman-footer.eml":                                                "none partial",
		"sigspoof-git-commit.eml":                                                       "unreadable none",
		"unob-signed-by-0x3099ff1238852b9f-to-0xf231550c4f47e38e.eml":                   "none none",
		"unrelated-and-fake-keys-attached.eml":                                          "none none",
		"unsigned-encrypted-to-0xf231550c4f47e38e-from-0x3099ff1238852b9f-with-key.eml": "decrypted none",
		"unsigned-encrypted-to-0xf231550c4f47e38e-from-0x3099ff1238852b9f.eml":          "decrypted none",
		"unsigned-encrypted-to-0xf231550c4f47e38e-from-0xfbfcc82a015e7330-with-key.eml": "decrypted none",
		"unsigned-encrypted-to-0xf231550c4f47e38e-from-0xfbfcc82a015e7330.eml":          "decrypted none",
		"unsigned-unencrypted-0x3099ff1238852b9f-autocrypt.eml":                         "none none",
		"unsigned-unencrypted-from-bob-to-alice.eml":                                    "none none",
		"unsigned-unencrypted-key-0x1f10171bfb881b1c-attached.eml":                      "none none",
	} {
		op := open(t, get(t, filepath.Join(top, "eml"), name), o)
		if got := string(op.Encryption) + " " + string(op.Signature); got != want {
			t.Errorf("%s: %s, want %s (%s)", name, got, want, op.Detail)
		}
		if closed := op.Encryption == entity.NotForUs || op.Encryption == entity.Unreadable || len(op.Layers) > 0 && op.Encryption == entity.PartlyHidden; !closed && op.Content == nil {
			t.Errorf("%s: no content", name)
		}
	}
}

// TestKeysOfThunderbird: each of its keys is read or refused, never more.
func TestKeysOfThunderbird(t *testing.T) {
	dir := corpus(t, "openpgp-thunderbird", "mail", "test", "browser", "openpgp", "data", "keys")
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	read := 0
	for _, name := range names {
		keys, err := ParseKeys(get(t, dir, filepath.Base(name)))
		if err != nil {
			continue
		}
		read++
		for _, k := range keys {
			for _, a := range append(k.Addresses, addr("x@y.example")) {
				_, _ = k.CheckRecipient(a, now), k.CheckSigner(a, now)
			}
			if len(k.UserIDs) == 0 && len(k.Addresses) > 0 {
				t.Errorf("%s: %+v", name, k)
			}
		}
	}
	if read < 25 {
		t.Errorf("only %d of %d files", read, len(names))
	}
	if _, err := ParseKeys(get(t, dir, "alice@openpgp.example-0xf231550c4f47e38e-secret-with-pp.asc")); err == nil {
		t.Error("locked key is read")
	}
}

// TestNotmuch reads the mails of notmuch's tests with its published key.
func TestNotmuch(t *testing.T) {
	top := corpus(t, "smime-pgp-notmuch", "test")
	keys, err := ParseKeys(get(t, top, "openpgp4-secret-key.asc"))
	if err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(top, "corpora", "protected-headers", "*"))
	more, _ := filepath.Glob(filepath.Join(top, "corpora", "crypto", "*"))
	seen := map[entity.Encryption]int{}
	for _, name := range append(names, more...) {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		op := open(t, raw, entity.Options{Openers: []entity.Opener{Opener{Keys: keys}}, At: now})
		seen[op.Encryption]++
		if op.Encryption == entity.Decrypted && len(content(t, op)) == 0 {
			t.Errorf("%s: empty", name)
		}
		if os.Getenv("DUMP") != "" {
			t.Log(filepath.Base(name), op.Encryption, op.Signature, op.Detail)
		}
	}
	if seen[entity.Decrypted] < 10 {
		t.Errorf("%v", seen)
	}
}
