package keys

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
	"gatewayd/mail"
)

const letterHead = "From: Amt <amt@bl.example>\r\nTo: bob@partner.example\r\nSubject: Steuererlass\r\n =?utf-8?q?M=C3=BCller?=\r\nDate: Mon, 23 Nov 2026 14:05:06 +0100\r\nMessage-ID: <1@bl.example>\r\nKeywords: geheim\r\nX-Other: y\r\nMIME-Version: 1.0\r\n"

const letterText = letterHead + "Content-Type: text/plain;\r\n charset=utf-8;\r\nContent-Language: de\r\n\r\nGuten Tag\r\n"

// correspondence protects mail from the office to Bob, and opens it as Bob.
type correspondence struct {
	office, bob       smime.Identity
	officePGP, bobPGP openpgp.Key
	bobPrivate        []byte
	readers           entity.Options
}

func newCorrespondence() correspondence {
	var c correspondence
	a, ak := certificate("amt@bl.example", now.AddDate(-1, 0, 0), now.AddDate(1, 0, 0), true)
	b, bk := certificate("bob@partner.example", now.AddDate(-1, 0, 0), now.AddDate(1, 0, 0), true)
	c.office, c.bob = must(smime.ParseIdentity(a, ak)), must(smime.ParseIdentity(b, bk))
	_, secret := pgpKey("amt@bl.example", now.AddDate(-1, 0, 0), 0)
	c.officePGP = must(openpgp.ParseKeys(secret))[0]
	_, c.bobPrivate = pgpKey("bob@partner.example", now.AddDate(-1, 0, 0), 0)
	c.bobPGP = must(openpgp.ParseKeys(c.bobPrivate))[0]
	var l loader
	l.ring = &Ring{own: map[string][]Own{"bob": {{SMIME: &c.bob}, {OpenPGP: &c.bobPGP}}}, roots: []anchor{{generalSet, "", c.office.Cert}}}
	l.ring.verifiers()
	c.readers = entity.Options{At: now, Openers: l.ring.Openers(Reader{Authority: "bob", At: now, Learned: []Partner{{OpenPGP: &c.officePGP, Trust: Direct}}})}
	return c
}

func (c correspondence) protect(t *testing.T, by entity.Technique, text string, how entity.Headers, encrypted bool) string {
	t.Helper()
	r := strings.NewReader(text)
	var p *entity.Protected
	var err error
	if by == entity.SMIME {
		o := smime.Options{Signer: c.office.Signer(), Headers: how, Time: now}
		if encrypted {
			o.Recipients = []*x509.Certificate{c.bob.Cert}
		}
		p, err = smime.Protect(r, r.Size(), o)
	} else {
		o := openpgp.Options{Signer: &c.officePGP, Headers: how, Time: now}
		if encrypted {
			o.Recipients = []openpgp.Key{c.bobPGP}
		}
		p, err = openpgp.Protect(r, r.Size(), o)
	}
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	must(p.WriteTo(&b))
	return b.String()
}

func (c correspondence) open(t *testing.T, text string) (op *entity.Opened, written string) {
	t.Helper()
	op, err := entity.Open(strings.NewReader(text), int64(len(text)), c.readers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { op.Close() })
	var b bytes.Buffer
	if op.Content != nil {
		must(op.WriteMessage(&b))
	}
	return op, b.String()
}

// TestHeadersThere: what is hidden outside comes back, what is copied is told to
// be signed, and the body keeps its octets.
func TestHeadersThere(t *testing.T) {
	c := newCorrespondence()
	for _, by := range []entity.Technique{entity.SMIME, entity.OpenPGP} {
		for _, how := range []entity.Headers{entity.HeadersOutside, entity.HeadersCopied, entity.HeadersHidden} {
			for _, encrypted := range []bool{false, true} {
				sent := c.protect(t, by, letterText, how, encrypted)
				head, _, _ := strings.Cut(sent, "\r\n\r\n")
				hidden := how == entity.HeadersHidden && encrypted
				if hidden != strings.Contains(head, "Subject: [...]\r\n") || hidden == strings.Contains(head, "Keywords:") || encrypted && strings.Contains(sent, "Guten Tag") {
					t.Errorf("%s %s %v:\n%s", by, how, encrypted, sent)
				}
				op, got := c.open(t, sent)
				want := letterText
				if how != entity.HeadersOutside {
					kind := `"clear"`
					if encrypted {
						kind = `"cipher"`
					}
					want = letterHead + "Content-Type: text/plain; charset=utf-8; hp=" + kind + "; protected-headers=\"v1\"\r\nContent-Language: de\r\n\r\nGuten Tag\r\n"
				}
				if hidden { // at the end of the others
					want = strings.Replace(want, "Keywords: geheim\r\n", "", 1)
					want = strings.Replace(want, "Content-Language: de\r\n", "Content-Language: de\r\nKeywords: geheim\r\n", 1)
				}
				if got != want || op.Signature != entity.Good {
					t.Errorf("%s %s %v: %s %s\n%s\nwant\n%s", by, how, encrypted, op.Signature, op.Encryption, got, want)
				}
				for _, f := range op.Fields {
					secret := hidden && (f.Name == "Subject" || f.Name == "Keywords")
					if !f.Signed || f.Encrypted != secret || f.Differs || !f.Shown {
						t.Errorf("%s %s %v: %+v", by, how, encrypted, f)
					}
				}
				if (len(op.Fields) == 6) != (how != entity.HeadersOutside) {
					t.Errorf("%s %s %v: %+v", by, how, encrypted, op.Fields)
				}
			}
		}
	}
}

// TestHeadersChanged: whoever changes a field on the way is found; what stands
// inside is shown, but for an author that the signature does not know.
func TestHeadersChanged(t *testing.T) {
	c := newCorrespondence()
	for name, change := range map[string]struct {
		from, to string
		line     string // differs
		shown    string
	}{
		"subject":        {"Subject: [...]", "Subject: Rechnung", "subject", "Subject: Steuererlass\r\n =?utf-8?q?M=C3=BCller?=\r\n"},
		"folded anew":    {"To: bob@partner.example", "To:\r\n bob@partner.example", "", "To: bob@partner.example\r\n"},
		"recipient":      {"To: bob@partner.example", "To: eve@partner.example", "to", "To: bob@partner.example\r\n"},
		"answer":         {"To: bob", "Reply-To: eve@partner.example\r\nTo: bob", "reply-to", ""},
		"author":         {"From: Amt <amt@bl.example>", "From: Eve <eve@partner.example>", "from", "From: Eve <eve@partner.example>\r\n"},
		"author's name":  {"From: Amt <amt@bl.example>", "From: Gericht <amt@bl.example>", "from", "From: Amt <amt@bl.example>\r\n"},
		"second subject": {"Subject: [...]", "Subject: [...]\r\nSubject: x", "subject", "Subject: Steuererlass\r\n =?utf-8?q?M=C3=BCller?=\r\n"},
		"other field":    {"X-Other: y", "X-Other: z", "", "X-Other: z\r\n"},
	} {
		for _, by := range []entity.Technique{entity.SMIME, entity.OpenPGP} {
			sent := c.protect(t, by, letterText, entity.HeadersHidden, true)
			changed := strings.Replace(sent, change.from, change.to, 1)
			op, got := c.open(t, changed)
			s := op.Summary()
			if changed == sent || strings.Join(s.Differs, ",") != change.line || !strings.Contains(got, change.shown) {
				t.Errorf("%s, %s: differs %q, shown\n%s", name, by, s.Differs, got)
			}
			if strings.Contains(got, "eve@") != (name == "author") || strings.Contains(got, "Rechnung") || strings.Count(got, "\nSubject:") != 1 {
				t.Errorf("%s, %s: shown\n%s", name, by, got)
			}
			if good := op.Signature == entity.Good; good == (name == "author") {
				t.Errorf("%s, %s: signature %s", name, by, op.Signature)
			}
			if line := s.Line(); strings.Contains(line, "differs=") != (change.line != "") || !strings.Contains(line, "hidden=subject,keywords") {
				t.Errorf("%s, %s: %s", name, by, line)
			}
		}
	}
}

// TestTwoAuthors: a signature by the outer author over the letter of another one
// is nobody's word for him.
func TestTwoAuthors(t *testing.T) {
	c := newCorrespondence()
	text := "From: gericht@bl.example\r\nContent-Type: text/plain\r\n\r\nUrteil\r\n"
	p := must(smime.Protect(strings.NewReader(text), int64(len(text)), smime.Options{Signer: c.office.Signer(), Headers: entity.HeadersCopied, Time: now}))
	var b bytes.Buffer
	must(p.WriteTo(&b))
	op, _ := c.open(t, strings.Replace(b.String(), "From: gericht", "From: amt", 1))
	if s := op.Summary(); op.Signature != entity.WrongSender || s.Word != entity.WordUntrusted || strings.Join(s.Differs, "") != "from" {
		t.Errorf("%s %+v", op.Signature, s)
	}
}

// TestHeadersKept: whose program has protected the message itself, keeps it.
func TestHeadersKept(t *testing.T) {
	c := newCorrespondence()
	for _, kind := range []string{
		"text/plain; hp=\"cipher\"", "text/plain; protected-headers=v1", "multipart/signed; protocol=\"application/pgp-signature\"; boundary=b", "application/pkcs7-mime; smime-type=signed-data",
	} {
		text := letterHead + "Content-Type: " + kind + "\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"
		sent := c.protect(t, entity.OpenPGP, text, entity.HeadersHidden, true)
		if !strings.Contains(sent, "Subject: Steuererlass") {
			t.Errorf("%s:\n%s", kind, sent)
		}
	}
	for _, kind := range []string{"text/plain\r\nContent-Type: text/html", "text/plain; charset=\"x"} {
		text := letterHead + "Content-Type: " + kind + "\r\n\r\nx\r\n"
		_, err := smime.Protect(strings.NewReader(text), int64(len(text)), smime.Options{Recipients: []*x509.Certificate{c.bob.Cert}, Headers: entity.HeadersHidden, Time: now})
		if err == nil {
			t.Errorf("%s: taken", kind)
		}
	}
	text := "From: amt@bl.example\r\nSubject: x\r\n\r\nno MIME\r\n"
	if _, got := c.open(t, c.protect(t, entity.SMIME, text, entity.HeadersHidden, true)); !strings.Contains(got, "Subject: x\r\n") || !strings.HasSuffix(got, "\r\n\r\nno MIME\r\n") {
		t.Errorf("%s", got)
	}
}

// TestHeadersForOthers: OpenSSL and GnuPG open what left, and find the fields;
// notmuch, a mail program that knows the forerunner, shows the subject.
func TestHeadersForOthers(t *testing.T) {
	c := newCorrespondence()
	dir, err := os.MkdirTemp("", "hp") // short: the agent's socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", dir, "--kill", "all").Run()
		_ = os.RemoveAll(dir)
	})
	inside := func(name string, out []byte, err error) {
		h, _ := mail.ReadHeader(bufio.NewReader(bytes.NewReader(out)), 1<<20)
		if err != nil || h == nil || h.Text("Subject") != "Steuererlass Müller" || !strings.Contains(string(out), "HP-Outer: Subject: [...]\r\n") || !strings.HasSuffix(strings.TrimSpace(string(out)), "Guten Tag") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	// S/MIME without a signature around the text, so that OpenSSL shows it at once.
	p := must(smime.Protect(strings.NewReader(letterText), int64(len(letterText)), smime.Options{Recipients: []*x509.Certificate{c.bob.Cert}, Headers: entity.HeadersHidden, Time: now}))
	var b bytes.Buffer
	must(p.WriteTo(&b))
	cert, key := filepath.Join(dir, "bob.crt"), filepath.Join(dir, "bob.key")
	certPEM, keyPEM := pemOf(c.bob)
	put(t, dir, "bob.crt", certPEM, 0o600)
	put(t, dir, "bob.key", keyPEM, 0o600)
	if _, err := exec.LookPath("openssl"); err == nil {
		cmd := exec.Command("openssl", "cms", "-decrypt", "-recip", cert, "-inkey", key)
		cmd.Stdin = bytes.NewReader(b.Bytes())
		out, err := cmd.Output()
		inside("OpenSSL", out, err)
	}
	if _, err := exec.LookPath("gpg"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs gpg: apt-get install gnupg")
		}
		t.Skip("needs gpg: apt-get install gnupg")
	}
	sent := c.protect(t, entity.OpenPGP, letterText, entity.HeadersHidden, true)
	put(t, dir, "bob.asc", c.bobPrivate, 0o600)
	run := func(in string, name string, args ...string) ([]byte, error) {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "GNUPGHOME="+dir, "NOTMUCH_CONFIG="+filepath.Join(dir, "config"))
		cmd.Stdin = strings.NewReader(in)
		return cmd.Output()
	}
	if out, err := run("", "gpg", "--batch", "--import", filepath.Join(dir, "bob.asc")); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	armor := sent[strings.Index(sent, "-----BEGIN PGP"):]
	out, err := run(armor, "gpg", "--batch", "--faked-system-time", now.Format("20060102T150405!"), "--trust-model", "always", "-d")
	if len(out) > 0 {
		err = nil // the signer's key is not there
	}
	inside("GnuPG", out, err)
	if _, err := exec.LookPath("notmuch"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs notmuch: apt-get install notmuch")
		}
		t.Skip("needs notmuch: apt-get install notmuch")
	}
	put(t, dir, "mail/cur/1", []byte(sent), 0o600)
	put(t, dir, "config", []byte("[database]\npath="+filepath.Join(dir, "mail")+"\n[user]\nname=Bob\nprimary_email=bob@partner.example\n"), 0o600)
	if out, err := run("", "notmuch", "new"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	out, err = run("", "notmuch", "show", "--format=json", "--decrypt=true", "*")
	if err != nil || !json.Valid(out) || !bytes.Contains(out, []byte("Steuererlass Müller")) || !bytes.Contains(out, []byte("Guten Tag")) {
		t.Errorf("notmuch: %v\n%s", err, out)
	}
}

func pemOf(id smime.Identity) (cert, key []byte) {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.Cert.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(id.Key))})
}
