package smime

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/path"
)

var update = flag.Bool("update", false, "rewrite testdata")

// fromP12 lets OpenSSL take key and certificate out of a PKCS #12 file.
func fromP12(t *testing.T, file, password string, more ...string) Identity {
	t.Helper()
	args := append([]string{"pkcs12", "-in", file, "-passin", "pass:" + password, "-nodes", "-clcerts"}, more...)
	out, err := exec.Command("openssl", args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return must(ParseIdentity(out, out))
}

// set is a corpus, or a part of one, with the keys and anchors that belong to
// it and the time at which they are good.
type set struct {
	name    string   // in the table of verdicts
	dir     string   // in the corpora
	skip    []string // endings of files that are no mails
	options func(t *testing.T, dir string) entity.Options
}

func sets() []set {
	notMail := []string{".p12", ".pem", ".md", ".txt", ".NOTE", ".asc", ".cer", ".crl", ".pri", ".crt", ".cnf", "ExContent.bin", "README"}
	tb := filepath.Join("smime-thunderbird", "mailnews", "test", "data")
	return []set{
		{"thunderbird", filepath.Join(tb, "smime"), notMail, thunderbird},
		{"thunderbird-manual", filepath.Join(tb, "smime-manual"), notMail, thunderbird},
		{"thunderbird-browser", filepath.Join("smime-thunderbird", "mail", "test", "browser", "smime", "data"), notMail, thunderbird},
		{"notmuch", filepath.Join("smime-pgp-notmuch", "test", "corpora"), notMail, notmuch},
		{"rfc4134", filepath.Join("rfc-smime-examples", "rfc4134"), notMail, rfc4134},
		{"bouncycastle", "cms-bouncycastle", []string{".md"}, nobody},
		{"openssl", filepath.Join("openssl-cms", "smime-eml"), notMail, nobody},
		{"content-type-oracle", "content-type-oracle", notMail, nobody},
	}
}

// thunderbird are the options of the corpus' Bob.
func thunderbird(t *testing.T, _ string) entity.Options {
	dir := corpus(t, "smime-thunderbird", "mailnews", "test", "data", "smime")
	var roots []*x509.Certificate
	roots = append(roots, must(ParseCertificates(get(t, dir, "TestCA.pem")))...)
	roots = append(roots, must(ParseCertificates(get(t, corpus(t, "smime-thunderbird", "mail", "test", "browser", "smime", "data"), "TestCA.pem")))...)
	o := Opener{Anchors: path.New(roots, nil, nil)}
	for _, name := range []string{"Bob.p12", "Fran.p12", "Fran-ec.p12"} {
		o.Keys = append(o.Keys, fromP12(t, filepath.Join(dir, name), "nss").recipient())
	}
	return entity.Options{Openers: []entity.Opener{o}, At: now}
}

// notmuch are the options of the Bob of RFC 9216's drafts.
func notmuch(t *testing.T, _ string) entity.Options {
	top := corpus(t, "smime-pgp-notmuch", "test")
	var roots []*x509.Certificate
	roots = append(roots, must(ParseCertificates(get(t, filepath.Join(top, "smime"), "ca.crt")))...)
	p12, _ := pem.Decode(get(t, filepath.Join(top, "smime"), "bob.p12"))
	dir := t.TempDir()
	put(t, dir, "bob.p12", p12.Bytes)
	bob := fromP12(t, filepath.Join(dir, "bob.p12"), "", "-legacy")
	return entity.Options{
		Openers: []entity.Opener{Opener{Keys: []cms.Recipient{bob.recipient()}, Anchors: path.New(roots, nil, nil)}},
		At:      time.Date(2021, 6, 1, 0, 0, 0, 0, time.UTC),
	}
}

// rfc4134 are the options of the Bob of RFC 4134. Its certificates have names
// without addresses.
func rfc4134(t *testing.T, dir string) entity.Options {
	var roots []*x509.Certificate
	roots = append(roots, must(x509.ParseCertificate(get(t, dir, "CarlRSASelf.cer"))))
	o := Opener{Anchors: path.New(roots, nil, nil), Certificates: []*x509.Certificate{must(x509.ParseCertificate(get(t, dir, "AliceRSASignByCarl.cer")))}}
	bob := Identity{Cert: must(x509.ParseCertificate(get(t, dir, "BobRSASignByCarl.cer")))}
	bob.Key = must(x509.ParsePKCS8PrivateKey(get(t, dir, "BobPrivRSAEncrypt.pri"))).(stdcrypto.Signer)
	o.Keys = []cms.Recipient{bob.recipient()}
	return entity.Options{Openers: []entity.Opener{o}, At: time.Date(2004, 6, 1, 0, 0, 0, 0, time.UTC)}
}

func nobody(*testing.T, string) entity.Options { return testWorld().by() }

// asMail puts a bare object into a mail.
func asMail(name string, raw []byte) []byte {
	block, _ := pem.Decode(raw)
	switch {
	case block != nil && block.Type == "CMS":
		raw = block.Bytes
	case !strings.HasSuffix(name, ".bin"):
		return raw
	}
	return []byte("From: somebody@example.com\r\nContent-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(raw))
}

// TestCorpora judges every mail of the shared corpora. The table is the
// expected verdict: what changes in it must be meant.
func TestCorpora(t *testing.T) {
	need(t, "openssl", "openssl")
	const golden = "testdata/corpora.tsv"
	var got bytes.Buffer
	got.WriteString("set\tfile\tencryption\tsignature\tlayers, outermost first\n")
	for _, s := range sets() {
		dir := corpus(t, s.dir)
		o := s.options(t, dir)
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || slices.ContainsFunc(s.skip, func(end string) bool { return strings.HasSuffix(path, end) }) {
				return err
			}
			raw := asMail(path, must(os.ReadFile(path)))
			op, err := entity.Open(bytes.NewReader(raw), int64(len(raw)), o)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return nil
			}
			fmt.Fprintf(&got, "%s\t%s\t%s\t%s\t%s\n", s.name, must(filepath.Rel(dir, path)), op.Encryption, op.Signature, layers(op))
			return op.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if *update {
		put(t, ".", golden, got.Bytes())
	}
	want := strings.Split(string(get(t, ".", golden)), "\n")
	for i, line := range strings.Split(got.String(), "\n") {
		if i >= len(want) || line != want[i] {
			t.Errorf("line %d:\n got %s\nwant %s", i+1, line, strings.Join(want[min(i, len(want)):min(i+1, len(want))], ""))
		}
	}
	if n := strings.Count(got.String(), "\n"); n < 150 {
		t.Errorf("only %d mails", n)
	}
}

// layers writes what was taken off.
func layers(op *entity.Opened) string {
	var words []string
	for _, l := range op.Layers {
		switch {
		case l.Compressed:
			words = append(words, "compressed")
		case l.Encryption != entity.NotEncrypted:
			words = append(words, strings.Join(append([]string{string(l.Encryption)}, l.Algorithms...), " "))
		}
		for _, s := range l.Signatures {
			words = append(words, strings.TrimSpace(fmt.Sprint("signed ", s.Verdict, " ", s.Algorithm, " ", s.Addresses)))
		}
	}
	return strings.Join(words, " > ")
}

func table(t *testing.T, dir, name string) [][]string {
	t.Helper()
	var rows [][]string
	for _, line := range strings.Split(strings.TrimSpace(string(get(t, dir, name))), "\n")[1:] {
		rows = append(rows, strings.Split(line, "\t"))
	}
	return rows
}

// TestThunderbirdVerdicts wants what Thunderbird would tell its user, row by
// row: encrypted, signed, signature good. What it does not count as a
// signature is one around the encryption only.
func TestThunderbirdVerdicts(t *testing.T) {
	need(t, "openssl", "openssl")
	top := corpus(t, "smime-thunderbird")
	dir := filepath.Join(top, "mailnews", "test", "data", "smime")
	o := thunderbird(t, dir)
	rows := table(t, top, "expected-thunderbird.tsv")
	for _, f := range rows {
		path := filepath.Join(dir, f[0])
		if name, ok := strings.CutPrefix(f[0], "../smime-interop/"); ok {
			path = filepath.Join("testdata", "thunderbird", name) // see ORIGIN.md there
		}
		op := open(t, must(os.ReadFile(path)), o)
		encrypted := op.Encryption == entity.Decrypted || op.Encryption == entity.Malleable || op.Encryption == entity.WeakCipher
		signed := op.Signature != entity.NotSigned && op.Signature != entity.Outside
		good := op.Signature == entity.Good
		got := fmt.Sprint(encrypted, signed, good)
		if want := strings.Join(f[1:4], " "); got != want && want != fmt.Sprint(encrypted, " ? -") {
			t.Errorf("%s: %s, Thunderbird says %s (%s, %s)", f[0], got, want, op.Encryption, op.Signature)
		}
		if word, ok := strings.CutPrefix(f[4], "check_text=gText"); ok && !strings.Contains(content(t, op), map[string]string{"AliceBob": "This is a test message from Alice to Bob.", "Fran": "This is a test message to Fran."}[word]) && encrypted {
			t.Errorf("%s: content %q", f[0], content(t, op))
		}
	}
	if len(rows) != 65 {
		t.Errorf("%d rows", len(rows))
	}
}

// TestThunderbirdArithmetic compares with what OpenSSL computes, layer by
// layer, where we open the layers.
func TestThunderbirdArithmetic(t *testing.T) {
	need(t, "openssl", "openssl")
	top := corpus(t, "smime-thunderbird")
	dir := filepath.Join(top, "mailnews", "test", "data", "smime")
	o := thunderbird(t, dir)
	seen := 0
	for _, f := range table(t, top, "expected-openssl.tsv") {
		if strings.Contains(f[2], "[") || strings.HasPrefix(f[0], "alice.env.dsig.") && strings.Contains(f[0], ".dave.") {
			continue // parts inside of others; layers that were cut out with other line ends before OpenSSL saw them
		}
		seen++
		op := open(t, get(t, dir, f[0]), o)
		var got, lenient []string // lenient with line ends, which OpenSSL is not everywhere
		add := func(word, other string) { got, lenient = append(got, word), append(lenient, other) }
		for _, l := range op.Layers {
			if l.Encryption != entity.NotEncrypted {
				add("enveloped(ok:bob.pem)", "enveloped(ok:bob.pem)")
			}
			for _, s := range l.Signatures {
				who := "signed(bad:)"
				if s.Verdict != entity.Broken && s.Verdict != entity.Untrusted {
					who = "signed(ok:" + s.Addresses[0].Key() + ")"
				}
				if add(who, who); s.LineEnds {
					lenient[len(lenient)-1] = "signed(bad:)"
				}
			}
		}
		want := strings.NewReplacer("signed-detached", "signed", "signed-opaque", "signed", ">plain", "").Replace(strings.ToLower(f[2]))
		if op.Encryption == entity.PartlyHidden {
			want = strings.TrimSuffix(want, ">enveloped(ok:bob.pem)")
		}
		if strings.Join(got, ">") != want && strings.Join(lenient, ">") != want {
			t.Errorf("%s:\n got %s\nwant %s", f[0], strings.Join(got, ">"), want)
		}
	}
	if seen < 60 {
		t.Errorf("only %d mails", seen)
	}
}

// TestRFC9216 lets the people of RFC 9216 write to each other: RSA and
// Ed25519, RSA and X25519.
func TestRFC9216(t *testing.T) {
	dir := corpus(t, "rfc-smime-examples", "rfc9216-pem")
	var roots []*x509.Certificate
	for _, name := range []string{"3.1_RSA-Certification-Authority-Root-Certificate.pem", "6.1_Ed25519-Certification-Authority-Root-Certificate.pem"} {
		roots = append(roots, must(ParseCertificates(get(t, dir, name)))...)
	}
	identity := func(cert, key string) Identity { return must(ParseIdentity(get(t, dir, cert), get(t, dir, key))) }
	signers, openers := map[string]Identity{}, map[string]Identity{}
	for i, who := range []string{"Alice", "Bob", "Carlos", "Dana"} {
		n := []int{4, 5, 7, 8}[i]
		signers[who] = identity(fmt.Sprintf("%d.1_%s-s-Signature-Verification-End-Entity-Certificate.pem", n, who), fmt.Sprintf("%d.2_%s-s-Signing-Private-Key-Material.pem", n, who))
		openers[who] = identity(fmt.Sprintf("%d.3_%s-s-Encryption-End-Entity-Certificate.pem", n, who), fmt.Sprintf("%d.4_%s-s-Decryption-Private-Key-Material.pem", n, who))
	}
	for from, signer := range signers {
		for to, opener := range openers {
			raw := strings.Replace(letter, "amt@bl.example", strings.ToLower(from)+"@smime.example", 1)
			out := protect(t, raw, Options{Signer: signer.Signer(), Recipients: []*x509.Certificate{opener.Cert}, Time: now})
			o := entity.Options{Openers: []entity.Opener{Opener{Keys: []cms.Recipient{opener.recipient()}, Anchors: path.New(roots, nil, nil)}}, At: now}
			if op := open(t, out, o); op.Encryption != entity.Decrypted || op.Signature != entity.Good || content(t, op) != inside() {
				t.Errorf("%s to %s: %q, %q %+v", from, to, op.Encryption, op.Signature, op.Layers)
			}
		}
	}
}
