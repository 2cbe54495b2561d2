package openpgp

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

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

// asSigned is text as it stands under an open signature: in seven bits.
func asSigned(s string) string {
	return strings.Replace(s, "Content-Transfer-Encoding: 8bit\r\n\r\nGrüezi  \r\n- dash\r\nFrom ", "Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BCezi =20\r\n=2D dash\r\n=46rom ", 1)
}

func checkForm(t *testing.T, what string, out []byte) {
	t.Helper()
	if bytes.ContainsFunc(out, func(r rune) bool { return r > 127 }) {
		t.Errorf("%s: not in seven bits", what)
	}
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
		want, opened := inside(), letter
		if len(c.o.Recipients) == 0 {
			want, opened = asSigned(want), asSigned(opened)
		}
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
		if _, err := op.WriteMessage(&whole); err != nil || whole.String() != opened {
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
		{"good then and now", w.amt, now, entity.Good},
		{"signed a year before its date", w.amt, then, entity.Redated},
	} {
		out := protect(t, letter, Options{Signer: &c.signer, Time: c.at})
		op := open(t, out, with(c.signer.public()))
		if op.Signature != c.want {
			t.Errorf("%s: %q %+v", c.name, op.Signature, op.Layers)
		}
	}
	// Signed before its owner revoked the key.
	e := w.amt.whole()
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
