package cms

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatewayd/crypto/ber"
)

func TestAgreement(t *testing.T) {
	w := testWorld()
	ids := []identity{w.p256, w.keys["p384"], w.keys["p521"], w.x25519, w.bob}
	var all []*x509.Certificate
	for _, id := range ids {
		all = append(all, id.cert)
	}
	stranger := identity{cert: w.p256.cert, key: w.keys["p384"].key} // the key does not fit the certificate
	for _, size := range []int64{int64(len(text)), -1} {
		sealed := seal(t, []byte(text), size, EncryptOptions{Recipients: all})
		for _, id := range ids {
			got, opened, err := unseal(sealed, w.mallory.recipient(), id.recipient())
			if err != nil || got != text || !opened.Recipient.Equal(id.cert) {
				t.Errorf("%s: %q, %+v, %v", id.cert.Subject.CommonName, got, opened, err)
			}
		}
		if got, _, err := unseal(sealed, stranger.recipient()); !errors.Is(err, ErrDecrypt) || strings.Contains(got, text[:8]) {
			t.Errorf("wrong key: %q, %v", got, err)
		}
	}
	sealed := seal(t, []byte(text), int64(len(text)), EncryptOptions{Recipients: []*x509.Certificate{w.p256.cert}})
	checkDER(t, "EC alone", sealed)
	if !bytes.Contains(sealed[:32], version(2)) {
		t.Error("version is not 2 (RFC 5652 section 6.1)")
	}
	for i := range sealed { // whatever is changed, nothing worse than an error
		bad := slices.Clone(sealed)
		bad[i] ^= 0x40
		if got, _, err := unseal(bad, w.p256.recipient()); err == nil && len(got) > len(text)+16 {
			t.Errorf("octet %d: %d octets", i, len(got))
		}
	}
}

// TestOpenSSLAgrees: elliptic curves with OpenSSL, both ways.
func TestOpenSSLAgrees(t *testing.T) {
	need(t, "openssl", "openssl")
	w := testWorld()
	ids := map[string]identity{"p256": w.p256, "p384": w.keys["p384"], "p521": w.keys["p521"], "bob": w.bob}
	dir := files(t, ids)
	plain := bytes.Repeat([]byte(text), 2000)
	put(t, dir, "content", plain)
	for _, size := range []int64{int64(len(plain)), -1} {
		put(t, dir, "sealed", seal(t, plain, size, EncryptOptions{Recipients: []*x509.Certificate{
			w.bob.cert, w.p256.cert, w.keys["p384"].cert, w.keys["p521"].cert,
		}}))
		for who := range ids {
			out, err := openssl(t, dir, "cms -decrypt -binary -inform DER -in sealed -out got -recip "+who+".pem -inkey "+who+".key")
			if err != nil || !bytes.Equal(get(t, dir, "got"), plain) {
				t.Errorf("%s, size %d: %v\n%s", who, size, err, out)
			}
		}
	}
	for _, who := range []string{"p256", "p384", "p521"} {
		for _, opts := range []string{
			"", " -stream", " -keyid", " -keyopt ecdh_kdf_md:sha256", " -keyopt ecdh_kdf_md:sha384 -aes128-wrap",
			" -keyopt ecdh_kdf_md:sha512 -aes256-wrap", " -keyopt ecdh_cofactor_mode:1 -keyopt ecdh_kdf_md:sha256 -aes192-wrap",
		} {
			with := "aes256"
			if opts == "" {
				with = "des3" // wrapped by Triple-DES too
			}
			args := fmt.Sprintf("cms -encrypt -binary -in content -outform DER -out sealed -%s -recip bob.pem -recip %s.pem%s", with, who, opts)
			if out, err := openssl(t, dir, args); err != nil {
				t.Fatalf("%s: %v\n%s", args, err, out)
			}
			for _, id := range []string{who, "bob"} {
				got, o, err := unseal(get(t, dir, "sealed"), ids[id].recipient())
				if err != nil || got != string(plain) || o.Weak != (with == "des3") {
					t.Errorf("%s as %s: %d octets, %+v, %v", args, id, len(got), o, err)
				}
			}
		}
	}
}

// TestX25519BySteps opens what we encrypt with OpenSSL's primitives, step by
// step as RFC 8418 has it: no program here reads the whole.
func TestX25519BySteps(t *testing.T) {
	need(t, "openssl", "openssl")
	w := testWorld()
	dir := files(t, map[string]identity{"x25519": w.x25519})
	sealed := seal(t, []byte(text), int64(len(text)), EncryptOptions{Recipients: []*x509.Certificate{w.x25519.cert}})
	at := bytes.Index(sealed, append(oid(oidX25519), 3, 33, 0))
	point := sealed[at+8 : at+8+32]
	at = bytes.Index(sealed, []byte{ber.OctetString, 40})
	put(t, dir, "wrapped", sealed[at+2:at+2+40])
	size := (len(text)/16 + 1) * 16
	put(t, dir, "sealed", sealed[len(sealed)-size:])
	at = bytes.LastIndex(sealed[:len(sealed)-size], []byte{ber.OctetString, 16})
	iv := hex.EncodeToString(sealed[at+2 : at+18])
	put(t, dir, "peer.der", append([]byte{0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00}, point...))
	step := func(line string) {
		t.Helper()
		if out, err := openssl(t, dir, line); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	step("pkeyutl -derive -inkey x25519.key -peerkey peer.der -out secret")
	const info = "3015300b060960864801650304012da206040400000100" // AES-256 wrap, 256 bits
	step("kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt hexkey:" + hex.EncodeToString(get(t, dir, "secret")) + " -kdfopt hexinfo:" + info + " -binary -out kek HKDF")
	step("enc -d -id-aes256-wrap -iv A6A6A6A6A6A6A6A6 -K " + hex.EncodeToString(get(t, dir, "kek")) + " -in wrapped -out key")
	step("enc -d -aes-256-cbc -iv " + iv + " -K " + hex.EncodeToString(get(t, dir, "key")) + " -in sealed -out got")
	if got := string(get(t, dir, "got")); got != text {
		t.Errorf("%q", got)
	}
}

// TestAgreementBroken: forms that we do not know are others'; what we know
// and cannot do is said; what depends on the secret is one error.
func TestAgreementBroken(t *testing.T) {
	w := testWorld()
	public := must(w.p256.cert.PublicKey.(*ecdsa.PublicKey).ECDH())
	info := must(agreeFor(w.p256.cert, public, make([]byte, 32)))
	var good keyAgreement
	if _, err := asn1.UnmarshalWithParams(info, &good, "tag:1"); err != nil {
		t.Fatal(err)
	}
	me := w.p256.recipient()
	for _, c := range []struct {
		name   string
		change func(*keyAgreement)
		want   error
	}{
		{"good", func(*keyAgreement) {}, nil},
		{"scheme", func(a *keyAgreement) { a.Method.Algorithm = oidData }, ErrUnsupported},
		{"wrap", func(a *keyAgreement) {
			a.Method.Parameters.FullBytes = ber.Wrap(ber.Sequence, oid(oidAES256CBC))
		}, ErrUnsupported},
		{"no wrap", func(a *keyAgreement) { a.Method.Parameters.FullBytes = nil }, ber.ErrMalformed},
		{"user keying material", func(a *keyAgreement) { a.UKM = []byte("other") }, ErrDecrypt},
		{"other digest", func(a *keyAgreement) { a.Method.Algorithm = asn1.ObjectIdentifier{1, 3, 132, 1, 11, 3} }, ErrDecrypt},
		{"originator by name", func(a *keyAgreement) { a.Originator.Bytes = ber.Wrap(ber.Sequence, null()) }, ErrUnsupported},
		{"point off the curve", func(a *keyAgreement) {
			a.Originator.Bytes = bytes.Clone(a.Originator.Bytes)
			a.Originator.Bytes[len(a.Originator.Bytes)-1] ^= 1
		}, ErrDecrypt},
	} {
		a := good
		c.change(&a)
		if _, _, err := a.unwrap(me, a.Keys[0].Wrapped, 32); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, _, err := good.unwrap(me, good.Keys[0].Wrapped, 16); !errors.Is(err, ErrDecrypt) {
		t.Errorf("wrong length: %v", err)
	}
	if namesRecipient([]byte{ber.Sequence, 0}, w.p256.cert) || namesRecipient(nil, w.p256.cert) {
		t.Error("nobody's name is ours")
	}
}
