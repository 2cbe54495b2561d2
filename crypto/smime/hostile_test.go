package smime

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/path"
)

// cut returns header and decoded body of a base64 message of ours.
func cut(t testing.TB, raw []byte) (head string, der []byte) {
	t.Helper()
	head, body, _ := strings.Cut(string(raw), "\r\n\r\n")
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\r\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return head + "\r\n\r\n", der
}

func join(head string, der []byte) []byte {
	var b bytes.Buffer
	b.WriteString(head)
	w := entity.NewBase64(&b)
	_, _ = w.Write(der)
	_ = w.Close()
	return b.Bytes()
}

// attach returns an object with its content inside.
func attach(by Identity, content string) []byte {
	before, after, err := cms.SignAround(strings.NewReader(content), *by.Signer(), cms.SignOptions{Time: now})
	if err != nil {
		panic(err)
	}
	return slices.Concat(before, []byte(content), after)
}

// TestTampered: whatever is changed in a message that was signed and then
// encrypted, no changed content is ever given out as decrypted or as good, and
// none at all when the signature inside is seen broken.
func TestTampered(t *testing.T) {
	w := testWorld()
	sealed := protect(t, letter, Options{Signer: w.amtEC.Signer(), Recipients: []*x509.Certificate{w.ec.Cert}, Time: now})
	head, der := cut(t, sealed)
	held := 0
	for i := 0; i < len(der); i += 3 {
		bad := slices.Clone(der)
		bad[i] ^= 0x10
		raw := join(head, bad)
		op := open(t, raw, w.by(w.ec))
		got := content(t, op)
		switch {
		case got == inside(): // in a place that says nothing, such as the boundary's preamble
		case op.Encryption == entity.Decrypted || op.Signature == entity.Good:
			t.Fatalf("octet %d: %q, %q for %q", i, op.Encryption, op.Signature, got)
		case op.Signature == entity.Broken && op.Content != nil:
			t.Fatalf("octet %d: content in spite of a broken signature: %q", i, got)
		case op.Signature == entity.Broken:
			held++
			if _, err := op.WriteMessage(io.Discard); err == nil {
				t.Fatalf("octet %d: written", i)
			}
			for _, l := range op.Layers {
				if l.Inner != nil {
					t.Fatalf("octet %d: a layer still has its content", i)
				}
			}
		}
	}
	if held < 20 {
		t.Errorf("only %d changes met the signature", held)
	}
}

// TestWrongKey: the certificate of ours with somebody else's key.
func TestWrongKey(t *testing.T) {
	w := testWorld()
	for _, c := range []struct{ to, key Identity }{{w.rsa, w.amt}, {w.ec, w.amtEC}} {
		sealed := protect(t, letter, Options{Signer: w.amt.Signer(), Recipients: []*x509.Certificate{c.to.Cert}, Time: now})
		op := open(t, sealed, w.by(Identity{Cert: c.to.Cert, Key: c.key.Key}))
		if op.Encryption != entity.Damaged || op.Content != nil {
			t.Errorf("%q, %q", op.Encryption, content(t, op))
		}
	}
}

// TestPartlyEncrypted is the first form of EFAIL: foreign HTML around the
// cipher text.
func TestPartlyEncrypted(t *testing.T) {
	w := testWorld()
	sealed := string(protect(t, letter, Options{Recipients: []*x509.Certificate{w.rsa.Cert}}))
	part := sealed[strings.Index(sealed, "Content-Type"):]
	wrap := func(kind string) []byte {
		return []byte("From: amt@bl.example\r\nContent-Type: multipart/" + kind + "; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<img src=\"http://e.example/\r\n--b\r\n" +
			part + "--b\r\nContent-Type: text/html\r\n\r\n\">\r\n--b--\r\n")
	}
	op := open(t, wrap("mixed"), w.by(w.rsa))
	if op.Encryption != entity.PartlyHidden || len(op.Layers) != 0 || strings.Contains(content(t, op), "Grüezi") {
		t.Errorf("%q, %+v", op.Encryption, op.Layers)
	}
	signed := string(protect(t, letter, Options{Signer: w.amt.Signer(), Time: now}))
	part = signed[strings.Index(signed, "Content-Type"):]
	if op = open(t, wrap("mixed"), w.by(w.rsa)); op.Signature != entity.PartlySeen || len(op.Layers) != 0 {
		t.Errorf("%q, %+v", op.Signature, op.Layers)
	}
	forwarded := "From: amt@bl.example\r\nContent-Type: message/rfc822\r\n\r\n" + signed
	if op = open(t, []byte(forwarded), w.by(w.rsa)); op.Signature != entity.NotSigned {
		t.Errorf("attached message: %q", op.Signature)
	}
	third := strings.Replace(signed, "Content-Type: application/pkcs7-signature", "Content-Type: text/html\r\n\r\nforeign\r\n"+
		signed[strings.LastIndex(signed[:strings.Index(signed, "Content-Type: application/pkcs7-signature")], "\r\n--")+2:strings.Index(signed, "Content-Type: application/pkcs7-signature")]+
		"Content-Type: application/pkcs7-signature", 1)
	if op = open(t, []byte(third), w.by(w.rsa)); op.Signature != entity.Broken {
		t.Errorf("multipart/signed of three parts: %q", op.Signature)
	}
}

// TestNestedBomb: layer in layer in layer ends with an error, soon.
func TestNestedBomb(t *testing.T) {
	w := testWorld()
	raw := []byte(letter)
	for range 20 {
		raw = protect(t, string(raw), Options{Recipients: []*x509.Certificate{w.ec.Cert}})
	}
	start := time.Now()
	if _, err := entity.Open(bytes.NewReader(raw), int64(len(raw)), w.by(w.ec)); !errors.Is(err, entity.ErrTooLarge) {
		t.Errorf("20 layers: %v", err)
	}
	o := w.by(w.ec)
	o.Limits.Layers = 20
	if op := open(t, raw, o); len(op.Layers) != 20 || !strings.HasSuffix(content(t, op), inside()[200:]) {
		t.Errorf("%d layers", len(op.Layers))
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %v", took)
	}
	o.Limits.Size = 100
	if _, err := entity.Open(bytes.NewReader(raw), int64(len(raw)), o); !errors.Is(err, entity.ErrTooLarge) {
		t.Errorf("content over the limit: %v", err)
	}
	deep := []byte("Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	op := open(t, join(string(deep), bytes.Repeat([]byte{0x30, 0x80}, 1<<20)), w.by(w.ec))
	if op.Encryption != entity.Unreadable {
		t.Errorf("nested BER: %q", op.Encryption)
	}
}

// failing is a source or spool that breaks.
type failing struct {
	io.ReaderAt
	err error
}

func (f failing) Write([]byte) (int, error) { return 0, f.err }
func (f failing) Close() error              { return nil }
func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off > 4096 || f.ReaderAt == nil {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(p[:min(len(p), 4096)], off)
}

// TestOwnTrouble: a full disk or a broken vault is no verdict about the mail.
func TestOwnTrouble(t *testing.T) {
	w := testWorld()
	boom := errors.New("boom")
	raw := protect(t, letter+strings.Repeat("x\r\n", 1<<16), Options{Signer: w.amt.Signer(), Recipients: []*x509.Certificate{w.rsa.Cert}, Time: now})
	o := w.by(w.rsa)
	o.Spool = func(int64) entity.Spool { return failing{err: boom} }
	if _, err := entity.Open(bytes.NewReader(raw), int64(len(raw)), o); !errors.Is(err, boom) {
		t.Errorf("spool: %v", err)
	}
	if _, err := entity.Open(failing{bytes.NewReader(raw), boom}, int64(len(raw)), w.by(w.rsa)); !errors.Is(err, boom) {
		t.Errorf("source: %v", err)
	}
}

// TestRevoked: whoever knows about revocation is asked, and heard.
func TestRevoked(t *testing.T) {
	w := testWorld()
	raw := protect(t, letter, Options{Signer: w.amt.Signer(), Recipients: []*x509.Certificate{w.ec.Cert}})
	for answer, want := range map[error]entity.Signing{nil: entity.Good, entity.ErrRevoked: entity.Revoked, errors.New("no answer"): entity.Untrusted} {
		asked := 0
		o := w.by(w.ec)
		opener := o.Openers[0].(Opener)
		opener.Revoked = func(c, issuer *x509.Certificate) error {
			if asked++; !c.Equal(w.amt.Cert) || !issuer.Equal(w.root.Cert) {
				t.Errorf("asked about %s by %s", c.Subject, issuer.Subject)
			}
			return answer
		}
		o.Openers = []entity.Opener{opener}
		if op := open(t, raw, o); op.Signature != want || asked != 1 || op.Content == nil {
			t.Errorf("%v: %q, asked %d times", answer, op.Signature, asked)
		}
	}
}

// TestForms reads the forms of RFC 8551 that others write.
func TestForms(t *testing.T) {
	w := testWorld()
	opaque := attach(w.amt, inside())
	_, sealed := cut(t, protect(t, letter, Options{Recipients: []*x509.Certificate{w.rsa.Cert}}))
	certs := must(cms.Sign(strings.NewReader(""), *w.amt.Signer(), cms.SignOptions{Time: now}))
	for _, c := range []struct {
		name, kind string
		der        []byte
		encryption entity.Encryption
		signature  entity.Signing
	}{
		{"opaque", "application/pkcs7-mime; smime-type=signed-data", opaque, entity.NotEncrypted, entity.Good},
		{"opaque, upper case", "Application/X-PKCS7-MIME; SMIME-Type=Signed-Data", opaque, entity.NotEncrypted, entity.Good},
		{"opaque without type", "application/pkcs7-mime; name=smime.p7m", opaque, entity.NotEncrypted, entity.Good},
		{"by its name", "application/octet-stream; name=SMIME.P7M", opaque, entity.NotEncrypted, entity.Good},
		{"sealed by its name", "application/octet-stream; name=smime.p7m", sealed, entity.Malleable, entity.NotSigned},
		{"another name", "application/octet-stream; name=a.bin", sealed, entity.NotEncrypted, entity.NotSigned},
		{"wrong type", "application/pkcs7-mime; smime-type=enveloped-data", opaque, entity.NotEncrypted, entity.Good},
		{"another wrong type", "application/pkcs7-mime; smime-type=signed-data", sealed, entity.Malleable, entity.NotSigned},
		{"signature without content", "application/pkcs7-mime; smime-type=signed-data", certs, entity.NotEncrypted, entity.Broken},
		{"nothing", "application/pkcs7-mime", nil, entity.Unreadable, entity.NotSigned},
	} {
		raw := join("From: amt@bl.example\r\nContent-Type: "+c.kind+"\r\nContent-Transfer-Encoding: base64\r\n\r\n", c.der)
		op := open(t, raw, w.by(w.rsa))
		if op.Encryption != c.encryption || op.Signature != c.signature {
			t.Errorf("%s: %q, %q %+v", c.name, op.Encryption, op.Signature, op.Layers)
		}
	}
	cutOpaque := join("From: amt@bl.example\r\nContent-Type: application/pkcs7-mime; smime-type=signed-data\r\nContent-Transfer-Encoding: base64\r\n\r\n", opaque[:len(opaque)-5])
	if op := open(t, cutOpaque, w.by()); op.Signature != entity.Broken || op.Content != nil {
		t.Errorf("cut: %q, %v", op.Signature, op.Content)
	}
	twoFroms := strings.Replace(string(protect(t, letter, Options{Signer: w.amt.Signer(), Time: now})), "From:", "From: x@y.example\r\nFrom:", 1)
	if op := open(t, []byte(twoFroms), w.by()); op.Signature != entity.WrongSender {
		t.Errorf("two From fields: %q", op.Signature)
	}
	o := w.by()
	o.From = addr("AMT@bl.example")
	if op := open(t, []byte(twoFroms), o); op.Signature != entity.Good {
		t.Errorf("sender told by the caller: %q", op.Signature)
	}
	future := protect(t, letter, Options{Signer: w.amt.Signer(), Time: now.Add(48 * time.Hour)})
	if op := open(t, future, w.by()); op.Signature != entity.Expired {
		t.Errorf("signed the day after tomorrow: %q", op.Signature)
	}
	if op := open(t, []byte(letter), w.by()); op.Signature != entity.NotSigned || op.Encryption != entity.NotEncrypted || content(t, op) != letter {
		t.Errorf("plain: %q, %q", op.Signature, op.Encryption)
	}
}

// FuzzOpen wants no panic, and Good only for what was signed.
func FuzzOpen(f *testing.F) {
	id := fixed()
	anchors := path.New([]*x509.Certificate{id.Cert}, nil, nil)
	o := entity.Options{
		Openers: []entity.Opener{Opener{Anchors: anchors, Keys: []cms.Recipient{published(f)}}},
		From:    addr("fuzz@bl.example"), At: now, Limits: entity.Limits{Size: 1 << 20},
	}
	text := "Content-Type: text/plain\r\n\r\nhello\r\n"
	seed := func(o Options) []byte {
		o.Time = now
		return protect(f, text, o)
	}
	f.Add(seed(Options{Signer: id.Signer()}))
	f.Add(seed(Options{Signer: id.Signer(), Recipients: []*x509.Certificate{published(f).Cert}}))
	opaque := attach(id, text)
	f.Add(join("Content-Type: application/pkcs7-mime; smime-type=signed-data\r\nContent-Transfer-Encoding: base64\r\n\r\n", opaque))
	f.Fuzz(func(t *testing.T, raw []byte) {
		op, err := entity.Open(bytes.NewReader(raw), int64(len(raw)), o)
		if err != nil {
			return
		}
		defer func() { _ = op.Close() }()
		if op.Signature == entity.Good && content(t, op) != text {
			t.Errorf("good: %q", content(t, op))
		}
		if op.Content != nil {
			_, _ = op.WriteMessage(io.Discard)
		}
	})
}
