package openpgp

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/crypto/entity"
)

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
		put(t, home, "key", k.secret())
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
		put(t, dir, "content", []byte(asSigned(inside())))
		text, err := run("--faked-system-time 20261124T000000! --verify " + dir + "/sig " + dir + "/content")
		if err != nil || !strings.Contains(text, "Good signature") {
			t.Errorf("verify: %v\n%s", err, text)
		}
		if !bytes.Contains(out, []byte("micalg=pgp-sha")) {
			t.Errorf("micalg:\n%.900s", out)
		}
	}
}

// gpgClock lets GnuPG live at the time of the tests.
const gpgClock = "--faked-system-time 20261123T120000! "

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
		text, err := run(gpgClock + c.args + " -a -o " + dir + "/sealed " + dir + "/content")
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
		text, err := run(gpgClock + "-u " + w.amtRSA.Fingerprint + " " + c.args + " -a -o " + dir + "/sig " + dir + "/" + c.file)
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
	clearSigned(t, run, dir, with(keys...))
}

// clearSigned is the inline form of a signature (RFC 9580 section 7).
func clearSigned(t *testing.T, run func(string) (string, error), dir string, o entity.Options) {
	t.Helper()
	w := testWorld()
	put(t, dir, "text", []byte("Grüezi\r\n- dash\r\nFrom here\r\n"))
	if text, err := run(gpgClock + "-u " + w.amt.Fingerprint + " --clearsign -o " + dir + "/clear " + dir + "/text"); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	clear := "From: amt@bl.example\r\n\r\n" + strings.ReplaceAll(string(get(t, dir, "clear")), "\n", "\r\n")
	clear = strings.ReplaceAll(clear, "\r\r\n", "\r\n")
	op := open(t, []byte(clear), o)
	if op.Signature != entity.Good || !strings.Contains(content(t, op), "\r\n\r\nGrüezi\r\n- dash\r\n") {
		t.Errorf("clear-signed: %q, %q", op.Signature, content(t, op))
	}
	if op = open(t, []byte(strings.Replace(clear, "dash", "dish", 1)), o); op.Signature != entity.Broken {
		t.Errorf("clear-signed, changed: %q", op.Signature)
	}
	if op = open(t, []byte(clear+"\r\nforeign"), o); op.Signature != entity.PartlySeen || op.Content != nil {
		t.Errorf("clear-signed, foreign text behind: %q", op.Signature)
	}
	if op = open(t, []byte(strings.Replace(clear, "\r\n\r\n", "\r\n\r\nforeign\r\n", 1)), o); op.Signature != entity.PartlySeen {
		t.Errorf("clear-signed, foreign text before: %q", op.Signature)
	}
}
