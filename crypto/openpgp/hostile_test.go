package openpgp

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/crypto/entity"
	"gatewayd/message"
)

// TestTampered: a changed octet gives nothing, or what was sent.
func TestTampered(t *testing.T) {
	w := testWorld()
	for _, to := range []Key{w.bob, w.v6} {
		out := protect(t, letter, Options{Signer: &w.amt, Recipients: publics(to), Time: now})
		block, err := armor.Decode(bytes.NewReader(armored(out, "MESSAGE")))
		if err != nil {
			t.Fatal(err)
		}
		packets := must(io.ReadAll(block.Body))
		for i := 0; i < len(packets); i += 5 {
			bad := slices.Clone(packets)
			bad[i] ^= 0x10
			op := open(t, mimeSealed(armorText(t, bad)), with(w.amt.public(), to))
			if op.Encryption == entity.Decrypted || op.Signature == entity.Good || content(t, op) != "" {
				t.Fatalf("octet %d: %q, %q, %q", i, op.Encryption, op.Signature, content(t, op))
			}
		}
		for _, n := range []int{0, 1, len(packets) / 2, len(packets) - 30, len(packets) - 1} {
			op := open(t, mimeSealed(armorText(t, packets[:n])), with(w.amt.public(), to))
			if op.Encryption == entity.Decrypted || content(t, op) != "" {
				t.Fatalf("cut to %d: %q", n, op.Encryption)
			}
		}
	}
}

func armorText(t testing.TB, packets []byte) string {
	t.Helper()
	var b bytes.Buffer
	a, err := armor.Encode(entity.CRLF(&b), pgp.MessageType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write(packets); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestCompressionBomb: what grows beyond the limit is given up in time.
func TestCompressionBomb(t *testing.T) {
	w := testWorld()
	how := config(now)
	how.DefaultCompressionAlgo = packet.CompressionZLIB
	how.CompressionConfig = &packet.CompressionConfig{Level: 9}
	e := must(w.bob.entity())
	for _, sig := range e.Identities { // the key must say that it takes zlib
		for _, s := range sig.SelfCertifications {
			s.Packet.PreferredCompression = []uint8{uint8(packet.CompressionZLIB)}
		}
	}
	var b bytes.Buffer
	a := must(armor.Encode(&b, pgp.MessageType, nil))
	plain := must(pgp.EncryptWithParams(a, []*pgp.Entity{e}, nil, &pgp.EncryptParams{Config: how}))
	zeros := make([]byte, 1<<20)
	for range 8 {
		must(plain.Write(zeros))
	}
	if err := errors.Join(plain.Close(), a.Close()); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 1<<17 {
		t.Fatalf("no bomb: %d octets", b.Len())
	}
	o := with(w.bob)
	o.Limits.Size = 1 << 20
	raw := mimeSealed(b.String())
	_, err := entity.Open(bytes.NewReader(raw), int64(len(raw)), o)
	if !errors.Is(err, entity.ErrTooLarge) {
		t.Errorf("bomb: %v", err)
	}
}

// TestBigMessage: memory does not grow with the message.
func TestBigMessage(t *testing.T) {
	w := testWorld()
	raw := filepath.Join(t.TempDir(), "raw")
	put(t, filepath.Dir(raw), "raw", []byte("From: amt@bl.example\r\nContent-Type: text/plain\r\n\r\n"+strings.Repeat(strings.Repeat("x", 76)+"\r\n", 5<<20/78)))
	f := must(os.Open(raw))
	defer func() { _ = f.Close() }()
	size := must(f.Stat()).Size()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p, err := Protect(f, size, Options{Signer: &w.amt, Recipients: publics(w.bob), Time: now})
	if err != nil {
		t.Fatal(err)
	}
	sealed := must(os.Create(filepath.Join(t.TempDir(), "sealed")))
	defer func() { _ = sealed.Close() }()
	n := must(p.WriteTo(sealed))
	o := with(w.amt.public(), w.bob)
	o.Spool = func(limit int64) entity.Spool { return entity.NewSpool(t.TempDir(), limit) }
	op, err := entity.Open(sealed, n, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = op.Close() }()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if op.Signature != entity.Good || op.Content.Size != size-int64(len("From: amt@bl.example\r\n")) {
		t.Errorf("%s, %d octets", op.Signature, op.Content.Size)
	}
	if after.HeapAlloc > before.HeapAlloc+2<<20 {
		t.Errorf("heap grew from %d to %d octets", before.HeapAlloc, after.HeapAlloc)
	}
}

// FuzzOpen wants no panic, and Good only for what was signed.
func FuzzOpen(f *testing.F) {
	top := corpus(f, "openpgp-thunderbird", "mail", "test", "browser", "openpgp", "data")
	keys := thunderbirdKeys(f, filepath.Join(top, "keys"))
	good := map[string]bool{}
	o := with(keys...)
	o.Limits.Size = 1 << 20
	names, _ := filepath.Glob(filepath.Join(top, "eml", "*.eml"))
	for _, name := range names {
		raw := get(f, filepath.Dir(name), filepath.Base(name))
		if len(raw) < 8<<10 {
			f.Add(raw)
		}
		if op := open(f, raw, o); op.Signature == entity.Good {
			good[content(f, op)] = true
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var op *entity.Opened
		var err error
		bounded(t, len(raw), func() { op, err = entity.Open(bytes.NewReader(raw), int64(len(raw)), o) })
		if err != nil {
			return
		}
		defer func() { _ = op.Close() }()
		if op.Signature == entity.Good && !op.Layers[len(op.Layers)-1].Signatures[0].LineEnds && !good[content(t, op)] {
			t.Errorf("good: %q", content(t, op))
		}
		if op.Content != nil {
			_, _ = op.WriteMessage(io.Discard)
		}
	})
}

// FuzzParseKeys wants no panic from a key file, nor from its use.
func FuzzParseKeys(f *testing.F) {
	dir := corpus(f, "openpgp-thunderbird", "mail", "test", "browser", "openpgp", "data", "keys")
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, name := range names {
		f.Add(get(f, dir, filepath.Base(name)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var keys []Key
		bounded(t, len(data), func() { keys, _ = ParseKeys(data) })
		public, err := ParsePublic(data)
		for _, k := range public {
			if err != nil || k.Private || len(public) > len(keys) {
				t.Errorf("%v: %d of %d keys, private: %v", err, len(public), len(keys), k.Private)
			}
		}
		for _, k := range keys {
			_, _ = k.CheckRecipient(addr("a@b.example"), now), k.CheckSigner(message.Address{}, now)
		}
	})
}

// TestForeignUserID: a user ID that the key has not signed stands for nothing.
func TestForeignUserID(t *testing.T) {
	w := testWorld()
	e := must(w.bob.entity())
	for _, id := range e.Identities {
		stolen := *id
		stolen.UserId = packet.NewUserId("Victim", "", "victim@partner.example")
		stolen.Name = stolen.UserId.Id
		e.Identities[stolen.Name] = &stolen
		break
	}
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b.Bytes(), []byte("victim@partner.example")) {
		t.Fatal("no second user ID")
	}
	k := must(ParseKeys(b.Bytes()))[0]
	if len(k.UserIDs) != 1 || len(k.Addresses) != 1 || !errors.Is(k.CheckRecipient(addr("victim@partner.example"), now), entity.ErrWrongAddress) {
		t.Errorf("%v %v", k.UserIDs, k.Addresses)
	}
	if err := k.CheckRecipient(addr("bob@partner.example"), now); err != nil {
		t.Errorf("the key's own: %v", err)
	}
}

// TestManyUserIDs: a key with more than maxUserIDs is not read.
func TestManyUserIDs(t *testing.T) {
	e := must(testWorld().bob.entity())
	for i := range maxUserIDs + 1 {
		id := packet.NewUserId(strings.Repeat("x", i+1), "", "")
		e.Identities[id.Id] = &pgp.Identity{Name: id.Id, UserId: id}
	}
	if _, err := newKey(e); err == nil {
		t.Error("it is read")
	}
}

// TestFlood: the number of signatures and recipients in a message bounds the work.
func TestFlood(t *testing.T) {
	w := testWorld()
	one := must(armor.Decode(strings.NewReader(detached(t, w.amt.whole(), packet.Config{}))))
	sig := must(io.ReadAll(one.Body))
	for n, want := range map[int]entity.Signing{1: entity.Good, maxSigners: entity.Good, maxSigners + 1: entity.Unchecked, maxAsked + 1: entity.Unchecked} {
		text := strings.ReplaceAll(armorText(t, bytes.Repeat(sig, n)), "PGP MESSAGE", "PGP SIGNATURE")
		op := open(t, mimeSigned(strings.TrimSuffix(inside(), "\r\n"), text), with(w.amt.public()))
		if op.Signature != want {
			t.Errorf("%d signatures: %s, %+v", n, op.Signature, op.Layers[0].Signatures[0])
		}
	}
	var b bytes.Buffer
	z := must(packet.SerializeCompressed(nopCloser{&b}, packet.CompressionZIP, nil))
	ops := &packet.OnePassSignature{Version: 3, SigType: packet.SigTypeBinary, Hash: config(now).Hash(), PubKeyAlgo: packet.PubKeyAlgoEdDSA, KeyId: w.amt.ids[0]}
	for range 200_000 {
		if err := ops.Serialize(z); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if op := open(t, mimeSealed(armorText(t, b.Bytes())), with(w.amt.public())); op.Encryption != entity.Unreadable || op.Detail != tooMany {
		t.Errorf("%d octets of signers: %s, %s", b.Len(), op.Encryption, op.Detail)
	}
	if keys, err := ParsePublic(w.amt.secret()); !errors.Is(err, errPrivate) {
		t.Errorf("private key: %v, %v", keys, err)
	}
	// Private keys among signatures are not computed.
	secret := w.amtRSA.secret()
	if got := must(only(bytes.NewReader(secret), tagSignature)); len(got) == 0 || len(got) > len(secret)/2 {
		t.Errorf("%d octets of signatures in %d", len(got), len(secret))
	}
	if private := must(only(bytes.NewReader(secret), tagPrivate, tagPrivate2)); len(must(only(bytes.NewReader(private), tagSignature))) > 0 || len(private) == 0 {
		t.Errorf("%d octets of private keys", len(private))
	}
	// Blocks that never end, and the key behind them: read once.
	armored := string(must(w.amt.Public()))
	if keys, err := ParseKeys([]byte(strings.Repeat("-----BEGIN PGP X-----\n", 20_000) + armored)); err == nil && len(keys) > 1 {
		t.Errorf("%d keys", len(keys))
	}
	if keys, err := ParseKeys([]byte("two keys:\n" + armored + "and\n" + armored)); err != nil || len(keys) != 2 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// bounded runs what hostile input makes us do, and wants that it takes no more memory
// than a multiple of the input and of the limit for content (1 MiB).
func bounded(t *testing.T, input int, work func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	work()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20+uint64(input)*1000 {
		t.Errorf("%d octets allocated for %d", got, input)
	}
}
