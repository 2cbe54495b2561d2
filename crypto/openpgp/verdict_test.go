package openpgp

import (
	"bytes"
	stdcrypto "crypto"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/crypto/entity"
)

// signedThen is when the signatures of the table were made, and between is later:
// what a key suffers then comes after them.
var (
	signedThen = now.Add(-30 * time.Minute)
	between    = now.Add(-10 * time.Minute)
	longAgo    = now.AddDate(-1, 0, 0)
)

func atTime(at time.Time, c packet.Config) *packet.Config {
	c.Time = func() time.Time { return at }
	return &c
}

// withSubkey is a key that signs with a subkey made by that configuration.
func withSubkey(c packet.Config) *pgp.Entity {
	e := must(pgp.NewEntity("Test", "", "amt@bl.example", atTime(longAgo, packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})))
	c.Algorithm = packet.PubKeyAlgoEdDSA
	if err := e.AddSigningSubkey(atTime(longAgo, c)); err != nil {
		panic(err)
	}
	return e
}

// rebind signs a subkey's binding anew, after a change.
func rebind(e *pgp.Entity, i int, at time.Time) {
	b := e.Subkeys[i].Bindings[0].Packet
	if err := b.SignKey(e.Subkeys[i].PublicKey, e.PrivateKey, atTime(at, packet.Config{})); err != nil {
		panic(err)
	}
}

// certify signs the user IDs anew.
func certify(e *pgp.Entity, at time.Time) {
	for name, id := range e.Identities {
		s := id.SelfCertifications[0].Packet
		s.CreationTime = at
		if err := s.SignUserId(name, e.PrimaryKey, e.PrivateKey, atTime(at, packet.Config{})); err != nil {
			panic(err)
		}
	}
}

// TestSignatureVerdicts: what a signature that fits is worth, by what has become of
// its key.
func TestSignatureVerdicts(t *testing.T) {
	week := packet.Config{KeyLifetimeSecs: 7 * 24 * 3600}
	hour := packet.Config{KeyLifetimeSecs: uint32(between.Sub(longAgo) / time.Second)}
	plain := func() *pgp.Entity { return testWorld().amt.whole() }
	sub := func() *pgp.Entity { return withSubkey(packet.Config{}) }
	revoke := func(r packet.ReasonForRevocation, at time.Time) func(*pgp.Entity) error {
		return func(e *pgp.Entity) error { return e.Revoke(r, "", atTime(at, packet.Config{})) }
	}
	revokeSub := func(r packet.ReasonForRevocation, at time.Time) func(*pgp.Entity) error {
		return func(e *pgp.Entity) error { return e.Subkeys[1].Revoke(r, "", atTime(at, packet.Config{})) }
	}
	for _, c := range []struct {
		name   string
		key    func() *pgp.Entity
		change func(*pgp.Entity) error // after the signature was made; nil: none
		want   entity.Signing
		detail string
	}{
		{"good", plain, nil, entity.Good, ""},
		{"good, by a subkey", sub, nil, entity.Good, ""},
		{"compromised before", plain, revoke(packet.KeyCompromised, longAgo), entity.Revoked, "is revoked"},
		{"compromised later", plain, revoke(packet.KeyCompromised, between), entity.Revoked, "is revoked"},
		{"revoked later without reason", plain, revoke(packet.NoReason, between), entity.Revoked, "is revoked"},
		{"superseded before", plain, revoke(packet.KeySuperseded, longAgo), entity.Revoked, "is revoked"},
		{"superseded later", plain, revoke(packet.KeySuperseded, between), entity.Good, ""},
		{"retired before", plain, revoke(packet.KeyRetired, signedThen), entity.Revoked, "is revoked"},
		{"retired later", plain, revoke(packet.KeyRetired, between), entity.Good, ""},
		{"subkey compromised later", sub, revokeSub(packet.KeyCompromised, between), entity.Revoked, "is revoked"},
		{"subkey superseded before", sub, revokeSub(packet.KeySuperseded, longAgo), entity.Revoked, "is revoked"},
		{"subkey superseded later", sub, revokeSub(packet.KeySuperseded, between), entity.Good, ""},
		{"key of the subkey compromised", sub, revoke(packet.KeyCompromised, between), entity.Revoked, "is revoked"},
		{"expired since", func() *pgp.Entity { return testWorldKey(hour) }, nil, entity.Expired, "the key has expired"},
		{"subkey expired since", func() *pgp.Entity { return withSubkey(hour) }, nil, entity.Expired, "the subkey has expired"},
		{"prolonged since", func() *pgp.Entity { return testWorldKey(hour) }, func(e *pgp.Entity) error {
			for _, id := range e.Identities {
				id.SelfCertifications[0].Packet.KeyLifetimeSecs = nil
			}
			certify(e, between)
			return nil
		}, entity.Good, ""},
		{"subkey made for a week", sub, func(e *pgp.Entity) error {
			e.Subkeys[1].Bindings[0].Packet.KeyLifetimeSecs = &week.KeyLifetimeSecs
			rebind(e, 1, longAgo)
			return nil
		}, entity.Expired, "the subkey has expired"},
		{"subkey without back signature", sub, func(e *pgp.Entity) error {
			e.Subkeys[1].Bindings[0].Packet.EmbeddedSignature = nil
			rebind(e, 1, longAgo)
			return nil
		}, entity.Broken, "does not belong to the key"},
		{"subkey of somebody else", sub, func(e *pgp.Entity) error {
			mallory := testWorld().mallory.whole()
			mallory.Subkeys = append(mallory.Subkeys, e.Subkeys[1])
			*e = *mallory
			return nil
		}, entity.Broken, "does not belong to the key"},
		{"subkey not for signing", sub, func(e *pgp.Entity) error {
			b := e.Subkeys[1].Bindings[0].Packet
			b.FlagSign, b.FlagAuthenticate = false, true
			rebind(e, 1, longAgo)
			return nil
		}, entity.Broken, "not made for signing"},
		{"RSA-1024", func() *pgp.Entity {
			return must(pgp.NewEntity("Test", "", "amt@bl.example", atTime(longAgo, packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024})))
		}, nil, entity.Weak, "can be forged: RSA-1024"},
	} {
		e := c.key()
		raw := []byte(mimeSigned(strings.TrimSuffix(inside(), "\r\n"), detached(t, e, packet.Config{})))
		if c.change != nil {
			if err := c.change(e); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		k := must(newKey(e)).public()
		op := open(t, raw, with(k))
		got := op.Layers[0].Signatures[0]
		if got.Verdict != c.want || !strings.Contains(got.Detail, c.detail) || got.KeyID != k.Fingerprint {
			t.Errorf("%s: %s, %q, want %s, %q", c.name, got.Verdict, got.Detail, c.want, c.detail)
		}
		// What is changed is broken, whatever the key is worth.
		bad := bytes.Replace(raw, []byte("- dash"), []byte("- dish"), 1)
		if op = open(t, bad, with(k)); op.Signature != entity.Broken {
			t.Errorf("%s, changed: %s", c.name, op.Signature)
		}
		if op = open(t, raw, with()); op.Signature != entity.UnknownKey {
			t.Errorf("%s, nobody's key: %s", c.name, op.Signature)
		}
	}
}

// testWorldKey is a key that signs itself.
func testWorldKey(c packet.Config) *pgp.Entity {
	c.Algorithm = packet.PubKeyAlgoEdDSA
	return must(pgp.NewEntity("Test", "", "amt@bl.example", atTime(longAgo, c)))
}

// detached signs the letter's entity as somebody who looks at nothing.
func detached(t *testing.T, e *pgp.Entity, c packet.Config) string {
	t.Helper()
	priv := e.PrivateKey
	if len(e.Subkeys) > 1 {
		priv = e.Subkeys[1].PrivateKey
	}
	sig := &packet.Signature{Version: priv.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: priv.PubKeyAlgo, Hash: c.Hash(), CreationTime: signedThen, IssuerKeyId: &priv.KeyId}
	h := c.Hash().New()
	h.Write([]byte(strings.TrimSuffix(inside(), "\r\n")))
	if err := sig.Sign(h, priv, atTime(signedThen, c)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	a := must(armor.Encode(&b, pgp.SignatureType, nil))
	if err := errors.Join(sig.Serialize(a), a.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestSHA1SelfSignature: a key may vouch for itself by SHA-1, for nobody else can have
// made that. By MD5 it may not: eddsa-2012-md5 among RNP's keys.
func TestSHA1SelfSignature(t *testing.T) {
	run := gpg(t)
	dir := t.TempDir()
	put(t, dir, "content", []byte(inside()))
	const who = "sha1@bl.example"
	key, err := run(gpgClock + "--cert-digest-algo SHA1 --quick-gen-key " + who + " rsa2048 sign never")
	sig, err2 := run(gpgClock + "--digest-algo SHA256 -u " + who + " -a -o " + dir + "/sig -b " + dir + "/content")
	pub, err3 := run(gpgClock + "-o " + dir + "/key --export " + who)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatalf("%v\n%s%s%s", err, key, sig, pub)
	}
	keys := must(ParseKeys(get(t, dir, "key")))
	raw := bytes.Replace(mimeSigned(inside(), string(get(t, dir, "sig"))), []byte("amt@bl.example"), []byte(who), 1)
	op := open(t, raw, with(keys...))
	if s := op.Layers[0].Signatures[0]; s.Verdict != entity.Good {
		t.Errorf("%s, %q", s.Verdict, s.Detail)
	}
	for _, id := range must(keys[0].entity()).Identities {
		if h := id.SelfCertifications[0].Packet.Hash; h != stdcrypto.SHA1 {
			t.Errorf("digest %v", h)
		}
	}
}

// TestNeverWithoutIntegrity: what was encrypted with protection against change is not
// opened as if it had none, nor by another form of it.
func TestNeverWithoutIntegrity(t *testing.T) {
	w := testWorld()
	for _, to := range []Key{w.bob, w.v6} {
		block, err := armor.Decode(bytes.NewReader(armored(protect(t, letter, Options{Recipients: publics(to), Time: now}), "MESSAGE")))
		if err != nil {
			t.Fatal(err)
		}
		packets := must(io.ReadAll(block.Body))
		_, body, size := header(packets)
		at := body + size                                                         // of the encrypted data
		if packets[at] != 0xc0|18 || packets[at+3] != uint8(1+(to.Version-4)/2) { // a length of two octets
			t.Fatalf("% x", packets[at:at+4])
		}
		for name, c := range map[string]struct {
			change func([]byte)
			want   []entity.Encryption
		}{
			"SED instead of SEIPD (EFAIL)": {func(p []byte) { p[at] = 0xc0 | 9 }, []entity.Encryption{entity.NoIntegrity}},
			"the other version":            {func(p []byte) { p[at+3] ^= 3 }, []entity.Encryption{entity.Damaged, entity.Unreadable, entity.NotForUs}},
			"a third version":              {func(p []byte) { p[at+3] = 3 }, []entity.Encryption{entity.Damaged, entity.Unreadable, entity.NotForUs}},
		} {
			bad := slices.Clone(packets)
			c.change(bad)
			op := open(t, mimeSealed(armorText(t, bad)), with(to))
			if !slices.Contains(c.want, op.Encryption) || op.Content != nil {
				t.Errorf("%s: %s, %s", name, op.Encryption, op.Detail)
			}
		}
	}
}

// TestVersion3: keys of version 3 are refused: their fingerprint can be forged.
func TestVersion3(t *testing.T) {
	v3 := append([]byte{0x99, 0, 20, 3, 0x60, 0, 0, 0, 0, 0, 1, 0, 64}, bytes.Repeat([]byte{0xff}, 10)...)
	if keys, err := ParseKeys(v3); err == nil {
		t.Errorf("%v", keys)
	}
}
