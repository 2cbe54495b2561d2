package openpgp

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/sha256"
	"encoding"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/crypto/entity"
)

// elsewhere is a keeper in another place: it knows the key, and can be out of
// reach.
type elsewhere struct {
	key           Key
	down          error
	opened, signs int
}

func (e *elsewhere) OpenSessionKey(part string, packet []byte) (SessionKey, error) {
	if e.opened++; e.down != nil {
		return SessionKey{}, e.down
	}
	return e.key.OpenSessionKey(part, slices.Clone(packet))
}

func (e *elsewhere) Sign(part string, u Unsigned) ([]byte, error) {
	if e.signs++; e.down != nil {
		return nil, e.down
	}
	return e.key.Sign(part, u)
}

// held puts the private parts elsewhere.
func held(k Key) (Key, *elsewhere) {
	e := &elsewhere{key: k}
	return must(Held(must(k.Packets()), k.Parts(), e)), e
}

// kinds are keys of every algorithm that we use.
func kinds() map[string]Key {
	made := func(c packet.Config) Key {
		c.Time = config(now.AddDate(-1, 0, 0)).Time
		return newEntity("amt@bl.example", &c, nil)
	}
	w := testWorld()
	return map[string]Key{
		"RSA": w.amtRSA, "EdDSA, Curve25519": w.amt, "v6": w.v6,
		"P-256":              made(packet.Config{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256}),
		"P-384":              made(packet.Config{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP384}),
		"P-521":              made(packet.Config{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP521}),
		"v4 Ed25519, X25519": made(packet.Config{Algorithm: packet.PubKeyAlgoEd25519}),
		"Ed448, X448":        made(packet.Config{Algorithm: packet.PubKeyAlgoEd448, V6Keys: true}),
		"brainpoolP256r1":    made(packet.Config{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveBrainpoolP256}),
	}
}

// TestHeld: keys of every algorithm sign and decrypt although their private parts
// are elsewhere, once each.
func TestHeld(t *testing.T) {
	for name, k := range kinds() {
		h, e := held(k)
		from := strings.Replace(letter, "amt@bl.example", k.Addresses[0].String(), 1)
		for what, o := range map[string]Options{
			"sign": {Signer: &h}, "both": {Signer: &h, Recipients: publics(k)}, "encrypt": {Recipients: publics(k)},
			"local signer": {Signer: &k, Recipients: publics(k)},
		} {
			o.Time = now
			e.opened, e.signs = 0, 0
			out := protect(t, from, o)
			op := open(t, out, with(h))
			wantE, wantS, inner := entity.Decrypted, entity.Good, inside()
			if o.Recipients == nil {
				wantE, inner = entity.NotEncrypted, asSigned(inner)
			}
			if o.Signer == nil {
				wantS = entity.NotSigned
			}
			if op.Encryption != wantE || op.Signature != wantS || content(t, op) != inner {
				t.Errorf("%s, %s: %s, %s %+v", name, what, op.Encryption, op.Signature, op.Layers)
			}
			if e.opened > 1 || e.signs > 1 || e.opened == 0 && o.Recipients != nil || e.signs == 0 && o.Signer == &h {
				t.Errorf("%s, %s: asked %d and %d times", name, what, e.opened, e.signs)
			}
		}
	}
}

// TestHeldAway: a keeper that cannot answer is trouble of our own, and no verdict
// about the mail; one that says no is.
func TestHeldAway(t *testing.T) {
	w := testWorld()
	h, e := held(w.bob)
	sealed := protect(t, letter, Options{Signer: &w.amt, Recipients: publics(w.bob, w.rsa), Time: now})
	away := errors.New("out of reach")
	e.down = away
	if _, err := entity.Open(bytes.NewReader(sealed), int64(len(sealed)), with(h)); !errors.Is(err, away) {
		t.Errorf("open: %v", err)
	}
	if op := open(t, sealed, with(h, w.rsa)); op.Encryption != entity.Decrypted {
		t.Errorf("another key is there: %s", op.Encryption)
	}
	for _, o := range []Options{{Signer: &h, Time: now}, {Signer: &h, Recipients: publics(w.rsa), Time: now}} {
		if _, err := Protect(strings.NewReader(letter), int64(len(letter)), o); !errors.Is(err, away) {
			t.Errorf("protect: %v", err)
		}
	}
	e.down = ErrSessionKey
	if op := open(t, sealed, with(h)); op.Encryption != entity.NotForUs {
		t.Errorf("it does not open: %s", op.Encryption)
	}
}

// TestHeldOnly: a key is asked only for what its keeper has.
func TestHeldOnly(t *testing.T) {
	w := testWorld()
	_, e := held(w.bob)
	none := must(Held(must(w.bob.Packets()), nil, e))
	sealed := protect(t, letter, Options{Recipients: publics(w.bob), Time: now})
	if op := open(t, sealed, with(none)); op.Encryption != entity.NotForUs || e.opened != 0 || none.Private {
		t.Errorf("%s, asked %d times", op.Encryption, e.opened)
	}
	if err := none.CheckSigner(addr("bob@partner.example"), now); !errors.Is(err, entity.ErrWrongUse) {
		t.Errorf("signer: %v", err)
	}
	if _, err := none.Sign(w.bob.Parts()[0], Unsigned{}); err == nil || e.signs != 0 {
		t.Error("signs by a part that is not there")
	}
	if _, err := none.OpenSessionKey(w.bob.Parts()[0], nil); err == nil {
		t.Error("opens by a part that is not there")
	}
	for name, data := range map[string][]byte{"private": w.bob.secret(), "two": append(must(w.bob.Packets()), must(w.rsa.Packets())...), "junk": []byte("x")} {
		if _, err := Held(data, nil, e); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestKeeperRefuses: what is no session key for the part, or no document.
func TestKeeperRefuses(t *testing.T) {
	w := testWorld()
	part := w.bob.Parts()[1]
	h := sha256.New()
	state := must(h.(encoding.BinaryMarshaler).MarshalBinary())
	for name, raw := range map[string][]byte{
		"nothing": nil, "junk": []byte("junk"), "a literal": {0xcb, 6, 'b', 0, 0, 0, 0, 0}, "cut": {0xc1, 20, 3}, "the key itself": w.bob.raw,
	} {
		if _, err := w.bob.OpenSessionKey(part, raw); !errors.Is(err, ErrSessionKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.bob.OpenSessionKey("00", nil); err == nil || errors.Is(err, ErrSessionKey) {
		t.Errorf("unknown part: %v", err)
	}
	for name, u := range map[string]Unsigned{
		"no digest":     {State: state},
		"SHA-1":         {Hash: stdcrypto.SHA1, State: state},
		"other state":   {Hash: stdcrypto.SHA512, State: state},
		"no state":      {Hash: stdcrypto.SHA256},
		"salt too long": {Hash: stdcrypto.SHA256, State: state, Salt: make([]byte, 99)},
	} {
		k := w.bob
		if name == "salt too long" {
			k = w.v6
		}
		if sig, err := k.Sign(k.Parts()[0], u); err == nil {
			t.Errorf("%s: %x", name, sig)
		}
	}
}

// packetsOf returns the packets of an encrypted message.
func packetsOf(t testing.TB, mail []byte) []byte {
	t.Helper()
	block, err := armor.Decode(bytes.NewReader(armored(mail, "MESSAGE")))
	if err != nil {
		t.Fatal(err)
	}
	return must(io.ReadAll(block.Body))
}

// TestHiddenFlood: a stranger cannot make us work without end by naming nobody as
// the recipient of very many session keys.
func TestHiddenFlood(t *testing.T) {
	w := testWorld()
	h, e := held(w.bob)
	var foreign bytes.Buffer // for a key of the same kind that is not ours
	other := must(w.mallory.entity()).Subkeys[0].PublicKey
	if err := packet.SerializeEncryptedKeyAEADwithHiddenOption(&foreign, other, packet.CipherAES256, false, make([]byte, 32), true, nil); err != nil {
		t.Fatal(err)
	}
	sealed := packetsOf(t, protect(t, letter, Options{Recipients: publics(w.bob), Time: now}))
	for n, want := range map[int]entity.Encryption{10: entity.Decrypted, 1000: entity.NotForUs} {
		e.opened = 0
		op := open(t, mimeSealed(armorText(t, append(bytes.Repeat(foreign.Bytes(), n), sealed...))), with(h))
		if op.Encryption != want || e.opened != min(n+1, maxTries) {
			t.Errorf("%d in front: %s, asked %d times", n, op.Encryption, e.opened)
		}
	}
}

// TestNestedEncryption: what is encrypted inside of what is encrypted is not
// opened, whoever keeps the key.
func TestNestedEncryption(t *testing.T) {
	w := testWorld()
	h, _ := held(w.bob)
	inner := packetsOf(t, protect(t, letter, Options{Recipients: publics(w.bob), Time: now}))
	key := bytes.Repeat([]byte{7}, 32)
	var out bytes.Buffer
	sub := must(w.bob.entity()).Subkeys[0].PublicKey
	if err := packet.SerializeEncryptedKey(&out, sub, packet.CipherAES256, key, nil); err != nil {
		t.Fatal(err)
	}
	body := must(packet.SerializeSymmetricallyEncrypted(&out, packet.CipherAES256, false, packet.CipherSuite{}, key, nil))
	must(body.Write(inner))
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	if op := open(t, mimeSealed(armorText(t, out.Bytes())), with(h)); op.Encryption == entity.Decrypted || op.Content != nil {
		t.Errorf("%s", op.Encryption)
	}
}

// FuzzReplaced: where no key is ours nothing changes; where one is, every packet
// behind those in front stays as it is.
func FuzzReplaced(f *testing.F) {
	w := testWorld()
	for _, to := range [][]Key{publics(w.bob), publics(w.rsa, w.bob), publics(w.v6)} {
		f.Add(packetsOf(f, protect(f, letter, Options{Recipients: to, Time: now})))
	}
	f.Add([]byte{0xc1, 255, 0, 0, 0, 9, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add([]byte{0x84, 10, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xca, 3, 'P', 'G', 'P', 0xd2, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s sessions
		if got := must(io.ReadAll(s.replaced(bytes.NewReader(raw)))); !bytes.Equal(got, raw) || len(s.originals) > 0 {
			t.Fatalf("changed: %x\nto %x", raw, got)
		}
		s.keys = []Key{w.bob, w.v6}
		got := must(io.ReadAll(s.replaced(bytes.NewReader(raw))))
		for _, o := range s.originals {
			if !bytes.Contains(raw, o.raw) || len(o.raw) > maxKeyPacket+6 {
				t.Fatalf("original %x of %x", o.raw, raw)
			}
		}
		if len(s.originals) > maxOriginals || !bytes.HasSuffix(raw, tail(got)) {
			t.Fatalf("%x\nbecame %x", raw, got)
		}
		ring := newRing(s.keys)
		if md, err := pgp.ReadMessage(ring.sessions.replaced(bytes.NewReader(raw)), ring, nil, config(now)); err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(md.UnverifiedBody, 1<<20))
		}
	})
}

// tail returns what stands behind the packets in front.
func tail(raw []byte) []byte {
	for {
		tag, body, size := header(raw)
		if tag != tagSessionKey && tag != tagPassphrase && tag != tagMarker || size > maxKeyPacket || body+size > len(raw) {
			return raw
		}
		raw = raw[body+size:]
	}
}
