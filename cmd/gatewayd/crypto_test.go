package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"gatewayd/config"
	"gatewayd/crypto/openpgp"
)

// inspected is what a program reads out of crypto inspect.
type inspected struct {
	Encryption, Signature, Covers string
	Opened                        bool
	Layers                        []struct {
		Technique, Kind, Form, Encryption string
		Algorithms                        []string
		Signatures                        []struct {
			Verdict, Signer, Algorithm string
			Addresses                  []string
		}
	}
	Message struct{ Subject string }
	Content struct {
		Text  string
		Parts []struct{ Type string }
	}
}

// inspect runs the verb.
func inspect(t *testing.T, args ...string) (inspected, string, int) {
	t.Helper()
	var out bytes.Buffer
	code := run(append([]string{"crypto", "inspect"}, args...), console{&out, &out})
	var found inspected
	if text := out.String(); strings.HasPrefix(text, "{") {
		if err := json.Unmarshal(out.Bytes(), &found); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, text)
		}
	}
	return found, out.String(), code
}

// golden are the mails with which crypto/smime is tested.
func golden(name string) string {
	return filepath.Join("..", "..", "crypto", "smime", "testdata", "golden", name)
}

func TestCryptoInspect(t *testing.T) {
	keys := []string{"--anchors", golden("root.crt"), "--key", golden("reader.key"), "--cert", golden("reader.crt"), "--at", "2026-11-23T14:00:00Z"}
	out := filepath.Join(t.TempDir(), "opened.eml")
	found, text, code := inspect(t, append(keys, "--json", "--out", out, golden("fine-triple.eml"))...)
	if code != 0 || found.Encryption != "decrypted" || found.Signature != "good" || found.Covers != "content" || !found.Opened || len(found.Layers) != 3 ||
		found.Layers[1].Algorithms[0] != "AES-256-CBC" || found.Layers[2].Signatures[0].Addresses[0] != "amt@bl.example" || !strings.Contains(found.Content.Text, "GEHEIM-4711") {
		t.Errorf("triple: exit %d\n%s", code, text)
	}
	opened, err := os.ReadFile(out)
	if err != nil || !strings.Contains(string(opened), "GEHEIM-4711") || !strings.HasPrefix(string(opened), "From: Bauamt") {
		t.Errorf("opened: %v\n%s", err, opened)
	}
	if _, text, code := inspect(t, append(keys, "--out", out, golden("fine-triple.eml"))...); code != exitFailed {
		t.Errorf("an existing file was written over: exit %d\n%s", code, text)
	}
	for file, want := range map[string]string{
		"spoof-name-display.eml": "wrong_sender", "spoof-econtent.eml": "broken", "efail-gcm-tag.eml": "damaged", "efail-for-another.eml": "not_for_us", "efail-direct-mixed.eml": "partial", "efail-deep.eml": "too large",
	} {
		out := filepath.Join(t.TempDir(), "opened.eml")
		_, text, code := inspect(t, append(keys, "--out", out, golden(file))...)
		_, err := os.Stat(out)
		if whole := want == "wrong_sender" || want == "broken" || want == "partial"; code != exitFailed || !strings.Contains(text, want) || (err == nil) != whole || strings.Contains(text, "GEHEIM") {
			t.Errorf("%s: exit %d, %v\n%s", file, code, err, text)
		}
	}
}

// TestCryptoInspectObject reads bare objects, DER and PEM.
func TestCryptoInspectObject(t *testing.T) {
	raw, err := os.ReadFile(golden("fine-opaque.eml"))
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(raw), "\r\n\r\n")
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\r\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"x.p7m": der, "x.pem": pem.EncodeToMemory(&pem.Block{Type: "CMS", Bytes: der})} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		found, text, code := inspect(t, "--anchors", golden("root.crt"), "--at", "2026-11-24", "--json", file)
		if code != exitFailed || found.Signature != "wrong_sender" || found.Layers[0].Form != "opaque" || found.Content.Parts[0].Type != "text/plain" { // nobody's name stands on it
			t.Errorf("%s: exit %d\n%s", name, code, text)
		}
	}
}

func TestCryptoInspectPGP(t *testing.T) {
	dir := t.TempDir()
	if err := config.WriteDevelopment(dir, config.LoopbackPorts(12000)); err != nil {
		t.Fatal(err)
	}
	private := filepath.Join(dir, config.PartnerOpenPGP)
	data, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := openpgp.ParseKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	letter := "From: verein@example.net\r\nSubject: s\r\nContent-Type: text/plain\r\n\r\nhallo\r\n"
	p, err := openpgp.Protect(strings.NewReader(letter), int64(len(letter)), openpgp.Options{Signer: &keys[0], Recipients: keys, Time: time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "mail.eml")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	found, text, code := inspect(t, "--pgp-key", private, "--at", "2026-11-24", "--json", file)
	if code != 0 || found.Encryption != "decrypted" || found.Signature != "good" || found.Layers[0].Technique != "openpgp" || found.Content.Text != "hallo\r\n" {
		t.Errorf("exit %d\n%s", code, text)
	}
	if _, text, code := inspect(t, "--at", "2026-11-24", file); code != exitFailed || !strings.Contains(text, "not_for_us") || !strings.Contains(text, "hint: give the recipient's private key with --pgp-key") {
		t.Errorf("without key: exit %d\n%s", code, text)
	}
	// What an admin wants to read: which key, whose, by what.
	if _, text, code := inspect(t, "--pgp-key", private, "--at", "2026-11-24", file); code != 0 || strings.Count(text, "key "+keys[0].Fingerprint) != 2 || !strings.Contains(text, keys[0].UserIDs[0]) || !strings.Contains(text, "AES-128 with MDC, RSA-2048, key ") || !strings.Contains(text, "RSA-2048, SHA-256") {
		t.Errorf("exit %d\n%s", code, text)
	}
	// The object by itself, armored and binary; other armored things say what they are.
	block, err := armor.Decode(bytes.NewReader(b.Bytes()[bytes.Index(b.Bytes(), []byte("-----BEGIN PGP")):]))
	if err != nil {
		t.Fatal(err)
	}
	binary, err := io.ReadAll(block.Body)
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{"binary.gpg": binary, "armored.asc": b.Bytes()[bytes.Index(b.Bytes(), []byte("-----BEGIN PGP")):bytes.LastIndex(b.Bytes(), []byte("\r\n--"))]} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if found, text, code := inspect(t, "--pgp-key", private, "--at", "2026-11-24", "--json", file); found.Encryption != "decrypted" || len(found.Layers[0].Signatures) != 1 {
			t.Errorf("%s: exit %d\n%s", name, code, text)
		}
	}
	if _, text, code := inspect(t, private); code == 0 || !strings.Contains(text, "a key, no message: name it with --pgp-key") {
		t.Errorf("a key: exit %d\n%s", code, text)
	}
}

func TestCryptoInspectBadInput(t *testing.T) {
	mail := golden("fine-clear.eml")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--at", "tomorrow", mail}, "neither a day"},
		{[]string{"--key", golden("reader.key"), mail}, "--cert"},
		{[]string{"--key", golden("reader.key"), "--cert", golden("amt.crt"), mail}, "does not belong"},
		{[]string{"--key", mail, "--cert", golden("amt.crt"), mail}, "private key"},
		{[]string{"--anchors", mail, mail}, "certificate"},
		{[]string{"--pgp-key", mail, mail}, "OpenPGP key"},
		{[]string{golden("nothing.eml")}, "nothing.eml"},
	} {
		if _, text, code := inspect(t, c.args...); code == 0 || !strings.Contains(text, c.want) || strings.Contains(text, "panic") {
			t.Errorf("%v: exit %d\n%s", c.args, code, text)
		}
	}
}
