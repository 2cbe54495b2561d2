package smime

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
)

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

// layers writes what was seen in the notation of the corpus.
func layers(op *entity.Opened) string {
	var b strings.Builder
	for _, l := range op.Layers {
		switch {
		case l.Encryption == entity.Malleable || l.Encryption == entity.Decrypted:
			b.WriteString("enveloped(ok:Bob.pem)>")
		case l.Encryption != entity.NotEncrypted:
			fmt.Fprintf(&b, "enveloped(%s)>", l.Encryption)
		}
		for _, s := range l.Signatures {
			who := "BAD:"
			if s.Verdict != entity.Broken && s.Verdict != entity.Untrusted && s.Verdict != entity.Expired && len(s.Addresses) > 0 {
				who = "ok:" + s.Addresses[0].String()
			}
			b.WriteString("signed(" + who + ")>")
		}
	}
	return strings.ToLower(b.String())
}

// thunderbird returns the options of the corpus' Bob.
func thunderbird(t *testing.T, dir string) entity.Options {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(get(t, dir, "TestCA.pem"))
	bob := fromP12(t, filepath.Join(dir, "Bob.p12"), "nss")
	return entity.Options{
		Openers: []entity.Opener{Opener{Keys: []cms.Recipient{bob.recipient()}, Roots: roots}},
		At:      time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC),
	}
}

// TestThunderbird: the arithmetic of OpenSSL, layer by layer, and of the
// verdicts of Thunderbird whatever is not our own choice.
func TestThunderbird(t *testing.T) {
	need(t, "openssl", "openssl")
	top := corpus(t, "smime-thunderbird")
	dir := filepath.Join(top, "mailnews", "test", "data", "smime")
	o := thunderbird(t, dir)
	seen := 0
	for _, f := range table(t, top, "expected-openssl.tsv") {
		if strings.HasPrefix(f[0], "..") {
			continue
		}
		seen++
		op := open(t, get(t, dir, f[0]), o)
		want := strings.NewReplacer("signed-detached", "signed", "signed-opaque", "signed", "plain", "").Replace(f[2])
		got := layers(op)
		if held := strings.HasSuffix(want, "(BAD:)>enveloped(ok:Bob.pem)>"); got != strings.ToLower(want) && !held {
			t.Errorf("%s:\n got %s\nwant %s", f[0], got, strings.ToLower(want))
		}
	}
	if seen < 60 {
		t.Errorf("only %d mails", seen)
	}
}

func table(t *testing.T, dir, name string) [][]string {
	t.Helper()
	var rows [][]string
	for _, line := range strings.Split(strings.TrimSpace(string(get(t, dir, name))), "\n")[1:] {
		rows = append(rows, strings.Split(line, "\t"))
	}
	return rows
}

// TestThunderbirdVerdicts compares what a reader would be told. Ours differ on
// purpose: a signature around the encryption counts as Outside; both of two
// signers count; a Date header far from the time of signing is not compared.
func TestThunderbirdVerdicts(t *testing.T) {
	need(t, "openssl", "openssl")
	top := corpus(t, "smime-thunderbird")
	dir := filepath.Join(top, "mailnews", "test", "data", "smime")
	o := thunderbird(t, dir)
	seen := 0
	for _, f := range table(t, top, "expected-thunderbird.tsv") {
		raw, err := os.ReadFile(filepath.Join(dir, f[0]))
		if err != nil {
			continue
		}
		seen++
		op := open(t, raw, o)
		twice := strings.Contains(f[4], "dave=1")
		opened := op.Encryption == entity.Decrypted || op.Encryption == entity.Malleable
		if opened != (f[1] == "true") && !twice {
			t.Errorf("%s: encryption %q, Thunderbird %s", f[0], op.Encryption, f[1])
		}
		if signed := op.Signature != entity.NotSigned && op.Signature != entity.Outside; signed != (f[2] == "true") && !twice {
			t.Errorf("%s: signature %q, Thunderbird %s", f[0], op.Signature, f[2])
		}
		good := op.Signature == entity.Good
		switch {
		case f[3] == "true" && !good && op.Signature != entity.Outside:
			t.Errorf("%s: signature %q, Thunderbird calls it good", f[0], op.Signature)
		case f[3] == "false" && good && !twice && !strings.Contains(f[0], "future"):
			t.Errorf("%s: signature good, not for Thunderbird", f[0])
		}
	}
	if seen < 55 {
		t.Errorf("only %d mails", seen)
	}
}

// TestNotmuch reads the S/MIME mails of notmuch's tests (keys of RFC 9216's
// drafts), TestRFC4134 those of its time: dead algorithms are told as such.
func TestNotmuch(t *testing.T) {
	need(t, "openssl", "openssl")
	top := corpus(t, "smime-pgp-notmuch", "test")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(get(t, filepath.Join(top, "smime"), "ca.crt"))
	p12, _ := pem.Decode(get(t, filepath.Join(top, "smime"), "bob.p12"))
	dir := t.TempDir()
	put(t, dir, "bob.p12", p12.Bytes)
	bob := fromP12(t, filepath.Join(dir, "bob.p12"), "", "-legacy")
	o := entity.Options{
		Openers: []entity.Opener{Opener{Keys: []cms.Recipient{bob.recipient()}, Roots: roots}},
		At:      time.Date(2021, 6, 1, 0, 0, 0, 0, time.UTC),
	}
	for name, want := range map[string]string{
		"smime-enc+legacy-disp.eml":      "unreadable none", // Triple-DES, as the next two
		"smime-multipart-signed.eml":     "none good",
		"smime-onepart-signed.eml":       "none good",
		"smime-sign+enc+legacy-disp.eml": "unreadable none",
		"smime-sign+enc.eml":             "unreadable none",
	} {
		op := open(t, get(t, filepath.Join(top, "corpora", "protected-headers"), name), o)
		if got := string(op.Encryption) + " " + string(op.Signature); got != want {
			t.Errorf("%s: %s, want %s %+v", name, got, want, op.Layers)
		}
	}
}

func TestRFC4134(t *testing.T) {
	dir := corpus(t, "rfc-smime-examples", "rfc4134")
	for name, want := range map[string]string{
		"4.8.eml": "none unchecked",  // DSA
		"4.9.eml": "none unchecked",  // DSA
		"5.3.eml": "not_for_us none", // Triple-DES
	} {
		op := open(t, get(t, dir, name), testWorld().by())
		if got := string(op.Encryption) + " " + string(op.Signature); got != want {
			t.Errorf("%s: %s, want %s %+v", name, got, want, op.Layers)
		}
	}
}
