package openpgp

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/crypto/entity"
	"gatewayd/message"
)

const letter = "Received: from a by b; Mon, 23 Nov 2026 14:05:06 +0100\r\n" +
	"From: Bauinspektorat <amt@bl.example>\r\n" +
	"To: bob@partner.example\r\n" +
	"Subject: =?utf-8?q?Verf=C3=BCgung?=\r\n" +
	"Date: Mon, 23 Nov 2026 14:05:06 +0100\r\n" +
	"Message-ID: <1@bl.example>\r\n" +
	"MIME-Version: 1.0\r\n" +
	"Content-Type: multipart/mixed;\r\n boundary=in\r\n" +
	"\r\n" +
	"--in\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüezi  \r\n- dash\r\nFrom here\r\n" +
	"--in\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n--in--\r\n"

// inside is the entity of letter that is protected.
func inside() string { return letter[strings.Index(letter, "Content-Type"):] }

func checkForm(t *testing.T, what string, out []byte) {
	t.Helper()
	if bare := bytes.ReplaceAll(out, []byte("\r\n"), nil); bytes.ContainsAny(bare, "\r\n") {
		t.Errorf("%s: bare CR or LF", what)
	}
	for _, line := range bytes.Split(out, []byte("\r\n")) {
		if len(line) > 998 {
			t.Errorf("%s: line of %d octets", what, len(line))
		}
	}
	before, _, _ := strings.Cut(letter, "MIME-Version")
	if !strings.HasPrefix(string(out), before) {
		t.Errorf("%s: outer fields changed:\n%.500s", what, out)
	}
}

func TestRoundTrip(t *testing.T) {
	w := testWorld()
	for _, c := range []struct {
		name       string
		o          Options
		by         []Key
		encryption entity.Encryption
		signature  entity.Signing
	}{
		{"sign", Options{Signer: &w.amt}, publics(w.amt), entity.NotEncrypted, entity.Good},
		{"sign, RSA", Options{Signer: &w.amtRSA}, publics(w.amt, w.amtRSA), entity.NotEncrypted, entity.Good},
		{"sign, key unknown", Options{Signer: &w.amt}, publics(w.amtRSA), entity.NotEncrypted, entity.UnknownKey},
		{"both", Options{Signer: &w.amt, Recipients: publics(w.bob)}, []Key{w.amt.public(), w.bob}, entity.Decrypted, entity.Good},
		{"both, RSA", Options{Signer: &w.amtRSA, Recipients: publics(w.rsa), Class: message.Confidential}, []Key{w.amtRSA.public(), w.rsa}, entity.Decrypted, entity.Good},
		{"both, v6 (SEIPDv2)", Options{Signer: &w.amt, Recipients: publics(w.v6)}, []Key{w.amt.public(), w.v6}, entity.Decrypted, entity.Good},
		{"two recipients", Options{Signer: &w.amt, Recipients: publics(w.bob, w.rsa)}, []Key{w.amt.public(), w.rsa}, entity.Decrypted, entity.Good},
		{"private", Options{Signer: &w.amt, Recipients: publics(w.bob), Class: message.Private}, []Key{w.amt.public(), w.bob}, entity.Decrypted, entity.NotSigned},
		{"key unknown", Options{Signer: &w.mallory, Recipients: publics(w.bob)}, []Key{w.amt.public(), w.bob}, entity.Decrypted, entity.UnknownKey},
		{"somebody else's", Options{Signer: &w.rsa, Recipients: publics(w.bob)}, []Key{w.rsa.public(), w.bob}, entity.Decrypted, entity.WrongSender},
		{"not for us", Options{Signer: &w.amt, Recipients: publics(w.bob)}, []Key{w.amt.public(), w.rsa}, entity.NotForUs, entity.NotSigned},
		{"public key only", Options{Recipients: publics(w.bob)}, publics(w.bob), entity.NotForUs, entity.NotSigned},
	} {
		c.o.Time = now
		out := protect(t, letter, c.o)
		checkForm(t, c.name, out)
		if bytes.Contains(out, []byte("JVBERi0=")) != (len(c.o.Recipients) == 0) {
			t.Errorf("%s: plain text outside, or not where it should be", c.name)
		}
		op := open(t, out, with(c.by...))
		if op.Encryption != c.encryption || op.Signature != c.signature {
			t.Errorf("%s: %q, %q (%s) %+v", c.name, op.Encryption, op.Signature, op.Detail, op.Layers)
		}
		want := inside()
		if c.encryption == entity.NotForUs {
			want = ""
		}
		if got := content(t, op); got != want {
			t.Errorf("%s: inner entity:\n%q\nwant\n%q", c.name, got, want)
		}
		var whole bytes.Buffer
		if want == "" {
			continue
		}
		if _, err := op.WriteMessage(&whole); err != nil || whole.String() != letter {
			t.Errorf("%s: opened message: %v\n%s", c.name, err, whole.String())
		}
	}
}

// TestKeyVerdicts: what becomes of a key after it has signed.
func TestKeyVerdicts(t *testing.T) {
	w := testWorld()
	then := now.AddDate(-1, 0, 1)
	for _, c := range []struct {
		name   string
		signer Key
		at     time.Time
		want   entity.Signing
	}{
		{"good then, expired now", w.old, then, entity.Expired},
		{"tomorrow", w.amt, now.AddDate(0, 0, 1), entity.Expired},
		{"good then and now", w.amt, then, entity.Good},
	} {
		out := protect(t, letter, Options{Signer: &c.signer, Time: c.at})
		op := open(t, out, with(c.signer.public()))
		if op.Signature != c.want {
			t.Errorf("%s: %q %+v", c.name, op.Signature, op.Layers)
		}
	}
	// Signed before its owner revoked the key.
	e := must(w.amt.entity())
	if err := e.Revoke(packet.KeyCompromised, "", config(now)); err != nil {
		t.Fatal(err)
	}
	gone := must(newKey(e)).public()
	out := protect(t, letter, Options{Signer: &w.amt, Recipients: publics(w.bob), Time: then})
	if op := open(t, out, with(gone, w.bob)); op.Signature != entity.Revoked || op.Content == nil {
		t.Errorf("revoked later: %q", op.Signature)
	}
	for _, c := range []struct {
		name              string
		key               Key
		a                 string
		at                time.Time
		recipient, signer error
	}{
		{"good", w.amt, "AMT@bl.example", now, nil, nil},
		{"v6", w.v6, "v6@partner.example", now, nil, nil},
		{"other address", w.amt, "x@bl.example", now, entity.ErrWrongAddress, entity.ErrWrongAddress},
		{"expired", w.old, "amt@bl.example", now, entity.ErrExpired, entity.ErrExpired},
		{"still good", w.old, "amt@bl.example", then, nil, nil},
		{"not yet", w.amt, "amt@bl.example", now.AddDate(-2, 0, 0), entity.ErrNotYetValid, entity.ErrNotYetValid},
		{"revoked", w.revoked, "amt@bl.example", now, entity.ErrRevoked, entity.ErrRevoked},
		{"public", w.amt.public(), "amt@bl.example", now, nil, entity.ErrWrongUse},
	} {
		if err := c.key.CheckRecipient(addr(c.a), c.at); !errors.Is(err, c.recipient) {
			t.Errorf("%s: recipient: %v, want %v", c.name, err, c.recipient)
		}
		if err := c.key.CheckSigner(addr(c.a), c.at); !errors.Is(err, c.signer) {
			t.Errorf("%s: signer: %v, want %v", c.name, err, c.signer)
		}
	}
	if err := w.amt.CheckSigner(message.Address{}, now); err != nil {
		t.Errorf("any address: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	w := testWorld()
	public := w.amt.public()
	for _, c := range []struct {
		name, raw string
		o         Options
		want      error
	}{
		{"nothing", letter, Options{}, ErrNothingToDo},
		{"private, to be signed", letter, Options{Class: message.Private, Signer: &w.amt}, ErrNothingToDo},
		{"confidential, in the open", letter, Options{Class: message.Confidential, Signer: &w.amt}, ErrUnprotected},
		{"bare LF", "A: b\r\n\r\nx\ny", Options{Signer: &w.amt, Recipients: publics(w.bob)}, entity.ErrIrregular},
		{"expired recipient", letter, Options{Recipients: publics(w.old)}, entity.ErrExpired},
		{"one of two revoked", letter, Options{Recipients: publics(w.bob, w.revoked)}, entity.ErrRevoked},
		{"expired signer", letter, Options{Signer: &w.old}, entity.ErrExpired},
		{"public signer", letter, Options{Signer: &public}, entity.ErrWrongUse},
	} {
		c.o.Time = now
		if _, err := Protect(strings.NewReader(c.raw), int64(len(c.raw)), c.o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := Protect(strings.NewReader(letter), int64(len(letter)), Options{Recipients: publics(w.bob)}); !errors.Is(err, entity.ErrNoTime) {
		t.Errorf("no time: %v", err)
	}
	p, err := Protect(strings.NewReader(letter), int64(len(letter)), Options{Recipients: publics(w.bob), Time: now})
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	if _, err := p.WriteTo(full{boom}); !errors.Is(err, boom) {
		t.Errorf("full disk: %v", err)
	}
}

type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

// gpg is a home of its own with the keys given.
func gpg(t *testing.T, keys ...Key) func(args string) (string, error) {
	t.Helper()
	need(t, "gpg", "gnupg")
	home, err := os.MkdirTemp("", "gpg") // short: the agent's socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd := exec.Command("gpgconf", "--homedir", home, "--kill", "all")
		_ = cmd.Run()
		_ = os.RemoveAll(home)
	})
	run := func(args string) (string, error) {
		all := append([]string{"--homedir", home, "--batch", "--yes", "--trust-model", "always", "--pinentry-mode", "loopback", "--passphrase", ""}, strings.Fields(args)...)
		out, err := exec.Command("gpg", all...).CombinedOutput()
		return string(out), err
	}
	for _, k := range keys {
		put(t, home, "key", k.raw)
		if out, err := run("--import " + filepath.Join(home, "key")); err != nil {
			t.Fatalf("import: %v\n%s", err, out)
		}
	}
	return run
}

// armored cuts the armored block out of a message.
func armored(raw []byte, kind string) []byte {
	a := bytes.Index(raw, []byte("-----BEGIN PGP "+kind))
	end := []byte("-----END PGP " + kind + "-----")
	b := bytes.Index(raw, end)
	return raw[a : b+len(end)]
}

// TestGpgReads asks GnuPG about what we write.
func TestGpgReads(t *testing.T) {
	w := testWorld()
	run := gpg(t, w.amt.public(), w.amtRSA.public(), w.bob, w.rsa)
	dir := t.TempDir()
	for _, signer := range []Key{w.amt, w.amtRSA} {
		for _, to := range []Key{w.bob, w.rsa} {
			out := protect(t, letter, Options{Signer: &signer, Recipients: publics(to), Time: now})
			put(t, dir, "sealed", armored(out, "MESSAGE"))
			text, err := run("--faked-system-time 20261124T000000! -v -o " + dir + "/content -d " + dir + "/sealed")
			if err != nil || !strings.Contains(text, "Good signature") || string(get(t, dir, "content")) != inside() {
				t.Errorf("decrypt: %v\n%s", err, text)
			}
			if strings.Contains(text, "WARNING: message was not integrity protected") {
				t.Errorf("no integrity protection:\n%s", text)
			}
		}
		out := protect(t, letter, Options{Signer: &signer, Time: now})
		put(t, dir, "sig", armored(out, "SIGNATURE"))
		put(t, dir, "content", []byte(inside()))
		text, err := run("--faked-system-time 20261124T000000! --verify " + dir + "/sig " + dir + "/content")
		if err != nil || !strings.Contains(text, "Good signature") {
			t.Errorf("verify: %v\n%s", err, text)
		}
		if !bytes.Contains(out, []byte("micalg=pgp-sha")) {
			t.Errorf("micalg:\n%.900s", out)
		}
	}
}

func mimeSealed(block string) []byte {
	return []byte("From: amt@bl.example\r\nContent-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n" +
		block + "\r\n--b--\r\n")
}

func mimeSigned(body, sig string) []byte {
	return []byte("From: amt@bl.example\r\nContent-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=b\r\n\r\n" +
		"--b\r\n" + body + "\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n" + sig + "\r\n--b--\r\n")
}

// TestOpensGpg reads what GnuPG writes.
func TestOpensGpg(t *testing.T) {
	w := testWorld()
	run := gpg(t, w.amt, w.amtRSA, w.bob.public(), w.rsa.public())
	dir := t.TempDir()
	body := strings.TrimSuffix(inside(), "\r\n")
	put(t, dir, "content", []byte(body))
	put(t, dir, "lf", []byte(strings.ReplaceAll(body, "\r\n", "\n")))
	keys := []Key{w.amt.public(), w.amtRSA.public(), w.bob, w.rsa}
	const clock = "--faked-system-time 20261123T120000! "
	for _, c := range []struct {
		name, args string
		encryption entity.Encryption
		signature  entity.Signing
	}{
		{"both", "-u " + w.amt.Fingerprint + " -r bob@partner.example -se", entity.Decrypted, entity.Good},
		{"both, RSA", "-u " + w.amtRSA.Fingerprint + " -r rsa@partner.example -se", entity.Decrypted, entity.Good},
		{"encrypt only", "-r bob@partner.example -e", entity.Decrypted, entity.NotSigned},
		{"hidden recipient", "-u " + w.amt.Fingerprint + " -R bob@partner.example -se", entity.Decrypted, entity.Good},
		{"zlib", "--compress-algo zlib -z 9 -u " + w.amt.Fingerprint + " -r bob@partner.example -se", entity.Decrypted, entity.Good},
		{"no MDC", "--rfc2440 --cipher-algo AES256 -r bob@partner.example -e", entity.NoIntegrity, entity.NotSigned},
		{"symmetric", "--passphrase x -c", entity.NotForUs, entity.NotSigned},
		{"to another", "-r amt@bl.example -e", entity.NotForUs, entity.NotSigned},
		{"signed, not encrypted", "-u " + w.amt.Fingerprint + " -s", entity.NotEncrypted, entity.Good},
	} {
		text, err := run(clock + c.args + " -a -o " + dir + "/sealed " + dir + "/content")
		if err != nil {
			t.Fatalf("%s: %v\n%s", c.name, err, text)
		}
		op := open(t, mimeSealed(string(get(t, dir, "sealed"))), with(keys...))
		if op.Encryption != c.encryption || op.Signature != c.signature {
			t.Errorf("%s: %q, %q %+v", c.name, op.Encryption, op.Signature, op.Layers)
		}
		if got := content(t, op); c.encryption == entity.Decrypted && got != body || c.encryption == entity.NoIntegrity && got != "" {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	for _, c := range []struct {
		name, args, file string
		signature        entity.Signing
	}{
		{"binary", "-b", "content", entity.Good},
		{"text", "--textmode -b", "content", entity.Good},
		{"SHA-1", "--digest-algo SHA1 -b", "content", entity.Weak},
		{"canonical signed, LF sent", "-b", "content", entity.Good},
		{"broken", "-b", "lf", entity.Broken},
	} {
		text, err := run(clock + "-u " + w.amtRSA.Fingerprint + " " + c.args + " -a -o " + dir + "/sig " + dir + "/" + c.file)
		if err != nil {
			t.Fatalf("%s: %v\n%s", c.name, err, text)
		}
		sent := body
		if strings.Contains(c.name, "LF sent") {
			sent = strings.ReplaceAll(body, "\r\n", "\n")
		}
		op := open(t, mimeSigned(sent, string(get(t, dir, "sig"))), with(keys...))
		if op.Signature != c.signature || op.Layers[0].Signatures[0].LineEnds != (sent != body) {
			t.Errorf("%s: %q %+v", c.name, op.Signature, op.Layers)
		}
	}
	put(t, dir, "text", []byte("Grüezi\r\n- dash\r\nFrom here\r\n"))
	if text, err := run(clock + "-u " + w.amt.Fingerprint + " --clearsign -o " + dir + "/clear " + dir + "/text"); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	clear := "From: amt@bl.example\r\n\r\n" + strings.ReplaceAll(string(get(t, dir, "clear")), "\n", "\r\n")
	clear = strings.ReplaceAll(clear, "\r\r\n", "\r\n")
	op := open(t, []byte(clear), with(keys...))
	if op.Signature != entity.Good || !strings.Contains(content(t, op), "\r\n\r\nGrüezi\r\n- dash\r\n") {
		t.Errorf("clear-signed: %q, %q", op.Signature, content(t, op))
	}
	if op = open(t, []byte(strings.Replace(clear, "dash", "dish", 1)), with(keys...)); op.Signature != entity.Broken {
		t.Errorf("clear-signed, changed: %q", op.Signature)
	}
	if op = open(t, []byte(clear+"\r\nforeign"), with(keys...)); op.Signature != entity.PartlySeen || op.Content != nil {
		t.Errorf("clear-signed, foreign text behind: %q", op.Signature)
	}
	if op = open(t, []byte(strings.Replace(clear, "\r\n\r\n", "\r\n\r\nforeign\r\n", 1)), with(keys...)); op.Signature != entity.PartlySeen {
		t.Errorf("clear-signed, foreign text before: %q", op.Signature)
	}
}

// TestInline opens a block that is all of a text, and no other.
func TestInline(t *testing.T) {
	w := testWorld()
	block := string(armored(protect(t, letter, Options{Signer: &w.amt, Recipients: publics(w.bob), Time: now}), "MESSAGE"))
	head := "From: amt@bl.example\r\nContent-Type: text/plain\r\n\r\n"
	for _, c := range []struct {
		name, text string
		want       entity.Encryption
	}{
		{"alone", block, entity.Decrypted},
		{"with space", "\r\n \r\n" + block + "\r\n\r\n", entity.Decrypted},
		{"text before", "hello\r\n" + block, entity.PartlyHidden},
		{"text behind", block + "\r\nhello", entity.PartlyHidden},
		{"two blocks", block + "\r\n" + block, entity.PartlyHidden},
		{"quoted", "> -----BEGIN PGP MESSAGE-----", entity.PartlyHidden},
		{"no block", "hello", entity.NotEncrypted},
		{"too long", block + strings.Repeat("\r\n", maxInline/2), entity.NotEncrypted},
	} {
		op := open(t, []byte(head+c.text), with(w.amt.public(), w.bob))
		if op.Encryption != c.want {
			t.Errorf("%s: %q", c.name, op.Encryption)
		}
		if c.want == entity.Decrypted && content(t, op) != inlineHeader+inside() {
			t.Errorf("%s: %q", c.name, content(t, op))
		}
	}
}

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
	for range 64 {
		must(plain.Write(zeros))
	}
	if err := errors.Join(plain.Close(), a.Close()); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 1<<20 {
		t.Fatalf("no bomb: %d octets", b.Len())
	}
	o := with(w.bob)
	o.Limits.Size = 4 << 20
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
	put(t, filepath.Dir(raw), "raw", []byte("From: amt@bl.example\r\nContent-Type: text/plain\r\n\r\n"+strings.Repeat(strings.Repeat("x", 76)+"\r\n", 32<<20/78)))
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
	if after.HeapAlloc > before.HeapAlloc+8<<20 {
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
		op, err := entity.Open(bytes.NewReader(raw), int64(len(raw)), o)
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
		keys, err := ParseKeys(data)
		if err != nil {
			return
		}
		for _, k := range keys {
			_, _ = k.CheckRecipient(addr("a@b.example"), now), k.CheckSigner(message.Address{}, now)
		}
	})
}
