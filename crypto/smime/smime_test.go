package smime

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"gatewayd/crypto/entity"
	"gatewayd/mail"
	"gatewayd/message"
)

const letter = "Received: from a by b; Mon, 23 Nov 2026 14:05:06 +0100\r\n" +
	"From: Bauinspektorat <amt@bl.example>\r\n" +
	"To: rsa@partner.example\r\n" +
	"Subject: =?utf-8?q?Verf=C3=BCgung?=\r\n" +
	"Date: Mon, 23 Nov 2026 14:05:06 +0100\r\n" +
	"Message-ID: <1@bl.example>\r\n" +
	"In-Reply-To: <0@partner.example>\r\n" +
	"References: <0@partner.example>\r\n" +
	"MIME-Version: 1.0\r\n" +
	"Content-Type: multipart/mixed;\r\n boundary=in\r\n" +
	"Content-Language: de-CH\r\n" +
	"\r\n" +
	"--in\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüezi  \r\n.\r\nFrom here\r\n" +
	"--in\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n--in--\r\n"

// inside is the entity of letter that is protected.
func inside() string {
	head, body, _ := strings.Cut(letter, "\r\n\r\n")
	return head[strings.Index(head, "Content-Type"):] + "\r\n\r\n" + body
}

// asSigned is text as it stands under an open signature: in seven bits.
func asSigned(s string) string {
	return strings.Replace(s, "Content-Transfer-Encoding: 8bit\r\n\r\nGrüezi  \r\n.\r\nFrom ", "Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BCezi =20\r\n=2E\r\n=46rom ", 1)
}

// checkForm wants CRLF only, lines of at most 998 octets, and the header rules.
func checkForm(t *testing.T, what string, out []byte) {
	t.Helper()
	if bytes.ContainsFunc(out, func(r rune) bool { return r > 127 }) {
		t.Errorf("%s: not in seven bits", what)
	}
	if bytes.Contains(bytes.ReplaceAll(out, []byte("\r\n"), nil), []byte("\n")) || bytes.Contains(bytes.ReplaceAll(out, []byte("\r\n"), nil), []byte("\r")) {
		t.Errorf("%s: bare CR or LF", what)
	}
	for _, line := range bytes.Split(out, []byte("\r\n")) {
		if len(line) > 998 {
			t.Errorf("%s: line of %d octets", what, len(line))
		}
	}
	head, _, _ := strings.Cut(string(out), "\r\n\r\n")
	before, _, _ := strings.Cut(letter, "MIME-Version")
	if !strings.HasPrefix(head, before) {
		t.Errorf("%s: outer fields changed:\n%s", what, head)
	}
	if strings.Contains(head, "Content-Language") || strings.Count(head, "Content-Type") != 1 || strings.Count(head, "MIME-Version") != 1 {
		t.Errorf("%s: Content- fields outside:\n%s", what, head)
	}
}

func TestRoundTrip(t *testing.T) {
	w := testWorld()
	for _, c := range []struct {
		name       string
		o          Options
		by         []Identity
		encryption entity.Encryption
		signature  entity.Signing
	}{
		{"sign, RSA", Options{Signer: w.amt.Signer()}, nil, entity.NotEncrypted, entity.Good},
		{"sign, EC", Options{Signer: w.amtEC.Signer()}, nil, entity.NotEncrypted, entity.Good},
		{"both, RSA", Options{Signer: w.amt.Signer(), Recipients: []*x509.Certificate{w.rsa.Cert}}, []Identity{w.ec, w.rsa}, entity.Decrypted, entity.Good},
		{"both, OAEP", Options{Signer: w.amtEC.Signer(), Recipients: []*x509.Certificate{w.rsa.Cert}, Method: Method{OAEP: true}}, []Identity{w.rsa}, entity.Decrypted, entity.Good},
		{"both, GCM", Options{Signer: w.amtEC.Signer(), Recipients: []*x509.Certificate{w.rsa.Cert}, Method: Method{GCM: true}}, []Identity{w.rsa}, entity.Decrypted, entity.Good},
		{"GCM", Options{Recipients: []*x509.Certificate{w.ec.Cert}, Method: Method{GCM: true}}, []Identity{w.ec}, entity.Decrypted, entity.NotSigned},
		{"PSS", Options{Signer: w.amt.Signer(), Method: Method{PSS: true}}, nil, entity.NotEncrypted, entity.Good},
		{"opaque", Options{Signer: w.amt.Signer(), Method: Method{Opaque: true}}, nil, entity.NotEncrypted, entity.Good},
		{"opaque, both", Options{Signer: w.amtEC.Signer(), Recipients: []*x509.Certificate{w.ec.Cert}, Method: Method{Opaque: true, GCM: true}}, []Identity{w.ec}, entity.Decrypted, entity.Good},
		{"both, EC", Options{Signer: w.amtEC.Signer(), Recipients: []*x509.Certificate{w.ec.Cert}, Class: message.Confidential}, []Identity{w.ec}, entity.Decrypted, entity.Good},
		{"two recipients", Options{Signer: w.amt.Signer(), Recipients: []*x509.Certificate{w.ec.Cert, w.rsa.Cert}}, []Identity{w.rsa}, entity.Decrypted, entity.Good},
		{"private", Options{Signer: w.amt.Signer(), Recipients: []*x509.Certificate{w.ec.Cert}, Class: message.Private}, []Identity{w.ec}, entity.Malleable, entity.NotSigned},
		{"expired since", Options{Time: now.AddDate(0, -2, 0), Signer: w.old.Signer(), Recipients: []*x509.Certificate{w.ec.Cert}}, []Identity{w.ec}, entity.Decrypted, entity.Expired},
		{"untrusted", Options{Signer: w.mallory.Signer(), Recipients: []*x509.Certificate{w.ec.Cert}}, []Identity{w.ec}, entity.Decrypted, entity.Untrusted},
		{"somebody else's", Options{Signer: w.rsa.Signer(), Recipients: []*x509.Certificate{w.ec.Cert}}, []Identity{w.ec}, entity.Decrypted, entity.WrongSender},
		{"not for us", Options{Signer: w.amt.Signer(), Recipients: []*x509.Certificate{w.ec.Cert}}, []Identity{w.rsa}, entity.NotForUs, entity.NotSigned},
	} {
		out := protect(t, letter, c.o)
		checkForm(t, c.name, out)
		if bytes.Contains(out, []byte("JVBERi0=")) != (len(c.o.Recipients) == 0 && !c.o.Method.Opaque) {
			t.Errorf("%s: plain text outside, or not where it should be", c.name)
		}
		op := open(t, out, w.by(c.by...))
		if op.Encryption != c.encryption || op.Signature != c.signature {
			t.Errorf("%s: %q, %q (%s)", c.name, op.Encryption, op.Signature, op.Detail)
		}
		want, opened := inside(), letter
		if len(c.o.Recipients) == 0 && !c.o.Method.Opaque {
			want, opened = asSigned(want), asSigned(opened)
		}
		if c.encryption == entity.NotForUs {
			want = ""
		}
		if got := content(t, op); got != want {
			t.Errorf("%s: inner entity:\n%q\nwant\n%q", c.name, got, want)
		}
		if want == "" {
			continue
		}
		var whole bytes.Buffer
		if _, err := op.WriteMessage(&whole, func(h *mail.Header) error { return h.Prepend("X-Verdict: yes") }); err != nil || whole.String() != "X-Verdict: yes\r\n"+opened {
			t.Errorf("%s: opened message: %v\n%s", c.name, err, whole.String())
		}
	}
}

// TestMethod: words and back; the best that was announced, and no more.
func TestMethod(t *testing.T) {
	for _, m := range []Method{{}, {GCM: true}, {OAEP: true}, {PSS: true, Opaque: true}, {true, true, true, true}} {
		if got, err := ParseMethod(m.String()); err != nil || got != m {
			t.Errorf("%v: %v, %v", m, got, err)
		}
	}
	if m, err := ParseMethod(" AES-256-GCM\n"); err != nil || m != (Method{GCM: true}) {
		t.Errorf("%v, %v", m, err)
	}
	if _, err := ParseMethod("ROT13"); !errors.Is(err, ErrMethod) {
		t.Errorf("%v", err)
	}
	w := testWorld()
	op := open(t, protect(t, letter, Options{Signer: w.amt.Signer()}), w.by())
	if got := MethodFor(op.Layers[0].Signatures[0].Announced); got != (Method{GCM: true, OAEP: true}) {
		t.Errorf("our own announcement: %v", got)
	}
	if got := MethodFor([]byte("nonsense")); got != (Method{}) {
		t.Errorf("nonsense: %v", got)
	}
}

func TestRefusals(t *testing.T) {
	w := testWorld()
	to := []*x509.Certificate{w.ec.Cert}
	boom := errors.New("boom")
	for _, c := range []struct {
		name, raw string
		o         Options
		want      error
	}{
		{"nothing", letter, Options{}, ErrNothingToDo},
		{"private, to be signed", letter, Options{Class: message.Private, Signer: w.amt.Signer()}, ErrNothingToDo},
		{"confidential, in the open", letter, Options{Class: message.Confidential, Signer: w.amt.Signer()}, ErrUnprotected},
		{"registered, in the open", letter, Options{Class: message.Registered, Signer: w.amt.Signer()}, ErrUnprotected},
		{"no time", letter, Options{Recipients: to}, entity.ErrNoTime},
		{"expired signer", letter, Options{Signer: w.old.Signer()}, entity.ErrExpired},
		{"expired recipient", letter, Options{Recipients: []*x509.Certificate{w.ec.Cert, w.old.Cert}}, entity.ErrExpired},
		{"recipient that only signs", letter, Options{Recipients: []*x509.Certificate{fixed().Cert}}, entity.ErrWeakKey},
		{"bare LF", "A: b\r\n\r\nx\ny", Options{Signer: w.amt.Signer(), Recipients: to}, entity.ErrIrregular},
		{"bare CR", "A: b\r\n\r\nx\ry", Options{Signer: w.amt.Signer()}, entity.ErrIrregular},
		{"CR at the end", "A: b\r\n\r\nx\r", Options{Signer: w.amt.Signer()}, entity.ErrIrregular},
		{"NUL", "A: b\r\n\r\nx\x00y", Options{Signer: w.amt.Signer()}, entity.ErrIrregular},
		{"long line", "A: b\r\n\r\n" + strings.Repeat("x", 999), Options{Signer: w.amt.Signer()}, entity.ErrIrregular},
		{"long word in the header", "A: " + strings.Repeat("x", 999) + "\r\n\r\n", Options{Recipients: to}, entity.ErrIrregular},
		{"NUL in the header", "A: \x00\r\n\r\n", Options{Recipients: to}, entity.ErrIrregular},
		{"endless header", strings.Repeat("A: b\r\n", 1<<18), Options{Recipients: to}, mail.ErrHeaderTooLong},
	} {
		if c.want != entity.ErrNoTime {
			c.o.Time = now
		}
		if _, err := Protect(strings.NewReader(c.raw), int64(len(c.raw)), c.o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	p, err := Protect(strings.NewReader(letter), int64(len(letter)), Options{Signer: w.amt.Signer(), Recipients: to, Time: now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteTo(full{boom}); !errors.Is(err, boom) {
		t.Errorf("full disk: %v", err)
	}
	other := Identity{Cert: w.amt.Cert, Key: w.rsa.Key}
	if _, err := Protect(strings.NewReader(letter), int64(len(letter)), Options{Signer: other.Signer(), Time: now}); err == nil {
		t.Error("key of another certificate")
	}
	if open, err := Protect(strings.NewReader(letter), int64(len(letter)), Options{Signer: w.amt.Signer(), Time: now}); err != nil || open.EightBit || !open.Recoded || p.Recoded {
		t.Errorf("8-bit text: open %+v, encrypted %+v, %v", open, p, err)
	}
}

type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

// TestOddMessages: what is odd in the stored message but allowed by design.
func TestOddMessages(t *testing.T) {
	w := testWorld()
	for _, c := range []struct{ name, raw, inner string }{
		{"no Content-Type", "From: a@b.example\r\n\r\ntext", "\r\ntext"},
		{"no body", "From: a@b.example\r\n\r\n", "\r\n"},
		{"no blank line", "From: a@b.example\r\nContent-Type: text/x", "Content-Type: text/x\r\n\r\n"},
		{"no header", "\r\ntext\r\n", "\r\ntext\r\n"},
		{"junk in the header", "From: a@b.example\r\njunk\r\nContent-Type: text/x\r\n\r\ny", "Content-Type: text/x\r\n\r\ny"},
		{"long header line", "From: a@b.example\r\nTo: " + strings.Repeat("x y ", 400) + "\r\nContent-Type: text/x\r\n\r\ny", "Content-Type: text/x\r\n\r\ny"},
	} {
		out := protect(t, c.raw, Options{Signer: w.amt.Signer(), Recipients: []*x509.Certificate{w.rsa.Cert}, Time: now})
		for _, line := range bytes.Split(out, []byte("\r\n")) {
			if len(line) > 998 {
				t.Errorf("%s: line of %d octets", c.name, len(line))
			}
		}
		op := open(t, out, w.by(w.rsa))
		if got := content(t, op); got != c.inner || op.Signature != entity.WrongSender {
			t.Errorf("%s: %q, %s; want %q", c.name, got, op.Signature, c.inner)
		}
	}
}

// TestOpenSSLReads asks OpenSSL about what we write.
func TestOpenSSLReads(t *testing.T) {
	need(t, "openssl", "openssl")
	w := testWorld()
	dir := w.files(t)
	for _, signer := range []Identity{w.amt, w.amtEC} {
		put(t, dir, "signed.eml", protect(t, letter, Options{Signer: signer.Signer(), Time: now}))
		for _, tool := range []string{"cms", "smime"} {
			out, err := run(t, dir, "openssl "+tool+" -verify -in signed.eml -CAfile root.pem -out content -attime "+fmt.Sprint(now.Unix()))
			if err != nil || string(get(t, dir, "content")) != asSigned(inside()) {
				t.Errorf("%s -verify: %v\n%s", tool, err, out)
			}
		}
		for _, who := range []string{"rsa", "ec"} {
			for _, pkcs1 := range []bool{false, true} {
				to := map[string]Identity{"rsa": w.rsa, "ec": w.ec}[who]
				o := Options{Signer: signer.Signer(), Time: now, Recipients: []*x509.Certificate{to.Cert}, Method: Method{OAEP: !pkcs1, Opaque: pkcs1}}
				put(t, dir, "sealed.eml", protect(t, letter, o))
				out, err := run(t, dir, "openssl cms -decrypt -in sealed.eml -recip "+who+".pem -inkey "+who+".key -out signed.eml")
				if err != nil {
					t.Fatalf("%s, PKCS #1 %v: %v\n%s", who, pkcs1, err, out)
				}
				out, err = run(t, dir, "openssl cms -verify -in signed.eml -CAfile root.pem -out content -attime "+fmt.Sprint(now.Unix()))
				if err != nil || string(get(t, dir, "content")) != inside() {
					t.Errorf("%s, PKCS #1 %v: verify: %v\n%s", who, pkcs1, err, out)
				}
			}
		}
	}
}

// TestOpensOpenSSL reads what OpenSSL writes, in the usual nestings.
func TestOpensOpenSSL(t *testing.T) {
	need(t, "openssl", "openssl")
	w := testWorld()
	dir := w.files(t)
	put(t, dir, "inner", []byte(inside()))
	who := " -signer amt.pem -inkey amt.key"
	head := " -from amt@bl.example -to rsa@partner.example -subject s"
	for _, c := range []struct {
		steps      []string
		encryption entity.Encryption
		signature  entity.Signing
	}{
		{[]string{"cms -sign" + who}, entity.NotEncrypted, entity.Good},
		{[]string{"smime -sign" + who}, entity.NotEncrypted, entity.Good},
		{[]string{"cms -sign -nodetach" + who}, entity.NotEncrypted, entity.Good},
		{[]string{"cms -sign -nodetach -stream" + who}, entity.NotEncrypted, entity.Good},
		{[]string{"cms -sign -nocerts" + who}, entity.NotEncrypted, entity.UnknownKey},
		{[]string{"cms -sign -md sha1" + who}, entity.NotEncrypted, entity.Weak},
		{[]string{"cms -encrypt -aes256 rsa.pem"}, entity.Malleable, entity.NotSigned},
		{[]string{"cms -encrypt -aes256 -stream ec.pem"}, entity.Malleable, entity.NotSigned},
		{[]string{"cms -encrypt -des3 rsa.pem"}, entity.WeakCipher, entity.NotSigned},
		{[]string{"cms -sign" + who, "cms -encrypt -des3 -stream ec.pem"}, entity.WeakCipher, entity.Good},
		{[]string{"cms -encrypt -aes-256-gcm rsa.pem"}, entity.Decrypted, entity.NotSigned},
		{[]string{"cms -encrypt -aes-128-gcm -stream ec.pem"}, entity.Decrypted, entity.NotSigned},
		{[]string{"cms -sign -nodetach" + who, "cms -encrypt -aes-256-gcm ec.pem", "cms -sign" + who}, entity.Decrypted, entity.Good},
		{[]string{"cms -encrypt -aes256 amt.pem"}, entity.NotForUs, entity.NotSigned},
		{[]string{"smime -sign" + who, "cms -encrypt -aes256 ec.pem"}, entity.Decrypted, entity.Good},
		{[]string{"cms -sign -nodetach" + who, "cms -encrypt -aes128 rsa.pem"}, entity.Decrypted, entity.Good},
		{[]string{"cms -encrypt -aes256 rsa.pem", "cms -sign" + who}, entity.Malleable, entity.Outside},
		{[]string{"cms -encrypt -aes256 rsa.pem", "cms -sign -nodetach" + who}, entity.Malleable, entity.Outside},
		{[]string{"cms -sign" + who, "cms -encrypt -aes256 rsa.pem", "cms -sign" + who}, entity.Decrypted, entity.Good},
		{[]string{"cms -sign -nodetach" + who, "cms -sign" + who}, entity.NotEncrypted, entity.Good},
	} {
		name := strings.Join(c.steps, ", then ")
		in := "inner"
		for i, step := range c.steps {
			verb, rest, _ := strings.Cut(step, " -")
			out := fmt.Sprintf("step%d", i)
			if i == len(c.steps)-1 {
				rest = strings.Replace(rest, "encrypt", "encrypt"+head, 1)
				rest = strings.Replace(rest, "sign ", "sign"+head+" ", 1)
			}
			if text, err := run(t, dir, "openssl "+verb+" -"+strings.Replace(rest, " ", " -in "+in+" -out "+out+" ", 1)); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			in = out
		}
		raw := bytes.ReplaceAll(bytes.ReplaceAll(get(t, dir, in), []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
		o := w.by(w.rsa, w.ec)
		o.At = w.amt.Cert.NotAfter.AddDate(0, -1, 0) // OpenSSL signs with the real time
		op := open(t, raw, o)
		if op.Encryption != c.encryption || op.Signature != c.signature {
			t.Errorf("%s: %q, %q %+v", name, op.Encryption, op.Signature, op.Layers)
		}
		canonical := func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }
		if got := content(t, op); op.Content != nil && strings.TrimSpace(canonical(got)) != strings.TrimSpace(canonical(inside())) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestGpgsmReads is the third implementation; it knows RSA with PKCS #1 only.
func TestGpgsmReads(t *testing.T) {
	need(t, "gpgsm", "gpgsm")
	need(t, "openssl", "openssl")
	w := testWorld()
	dir, home := w.files(t), t.TempDir()
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GNUPGHOME", home)
	t.Cleanup(func() { _, _ = run(t, home, "gpgconf --kill all") })
	put(t, home, "gpgsm.conf", []byte("disable-crl-checks\n"))
	put(t, home, "gpg-agent.conf", []byte("allow-loopback-pinentry\n"))
	if out, err := run(t, dir, "openssl pkcs12 -export -legacy -in rsa.pem -inkey rsa.key -out rsa.p12 -passout pass:x"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	put(t, dir, "pw", []byte("x\n"))
	sh := func(line string) (string, error) {
		put(t, dir, "script", []byte(line))
		return run(t, dir, "sh script")
	}
	if out, err := sh("echo x | gpgsm --batch --pinentry-mode loopback --passphrase-fd 0 --import rsa.p12"); err != nil {
		t.Skipf("gpgsm does not import here: %v\n%s", err, out)
	}
	put(t, dir, "sealed.eml", protect(t, letter, Options{Recipients: []*x509.Certificate{w.rsa.Cert}}))
	out, err := sh("sed '1,/^\r$/d' sealed.eml | gpgsm --batch --pinentry-mode loopback --passphrase-fd 3 --assume-base64 --decrypt 3<pw >content")
	if err != nil || string(get(t, dir, "content")) != inside() {
		t.Errorf("gpgsm: %v\n%s", err, out)
	}
}

// TestBigMessage: memory does not grow with the message.
func TestBigMessage(t *testing.T) {
	w := testWorld()
	const lines = 32 << 20 / 78
	head := "From: amt@bl.example\r\nContent-Type: text/plain\r\n\r\n"
	raw := filepath.Join(t.TempDir(), "raw")
	f, err := os.Create(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteString(head + strings.Repeat(strings.Repeat("x", 76)+"\r\n", lines)); err != nil {
		t.Fatal(err)
	}
	size := must(f.Seek(0, io.SeekEnd))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p, err := Protect(f, size, Options{Signer: w.amt.Signer(), Recipients: []*x509.Certificate{w.rsa.Cert}, Time: now})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := os.Create(filepath.Join(t.TempDir(), "sealed"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sealed.Close() }()
	n, err := p.WriteTo(sealed)
	if err != nil {
		t.Fatal(err)
	}
	o := w.by(w.rsa)
	dir := t.TempDir()
	o.Spool = func(limit int64) entity.Spool { return entity.NewSpool(dir, limit) }
	op, err := entity.Open(sealed, n, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = op.Close() }()
	runtime.ReadMemStats(&after)
	if op.Signature != entity.Good || op.Content.Size != size-int64(len("From: amt@bl.example\r\n")) {
		t.Errorf("%s, %d octets", op.Signature, op.Content.Size)
	}
	if got := after.TotalAlloc - before.TotalAlloc; int64(got) > size*4 {
		t.Errorf("%d octets allocated for %d of content", got, size)
	}
	if got := after.HeapAlloc; got > before.HeapAlloc+16<<20 {
		t.Errorf("heap grew from %d to %d octets", before.HeapAlloc, got)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the spool folder: %v, %v", left, err)
	}
}
