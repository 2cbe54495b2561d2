package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/message"
)

// TestMailbox: a citizen writes by S/MIME (made by OpenSSL); the authority
// lists it, reads it opened, and exports it; another authority finds nothing.
func TestMailbox(t *testing.T) {
	openssl := need(t, "openssl", "openssl")
	r := newRig(t, nil)
	r.start()
	secret := token()
	plain := filepath.Join(t.TempDir(), "plain.txt")
	if err := os.WriteFile(plain, []byte("Content-Type: text/plain\r\n\r\n"+secret+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sign := exec.Command(openssl, "cms", "-sign", "-in", plain, "-signer", filepath.Join(r.dir, "sim/treuhand.crt"), "-inkey", filepath.Join(r.dir, "sim/treuhand.key"))
	signed, err := sign.Output()
	if err != nil {
		t.Fatal(err)
	}
	encrypt := exec.Command(openssl, "cms", "-encrypt", "-aes256", "-from", "treuhand@example.net", "-to", "bauinspektorat@bl.example", "-subject", "Akten", filepath.Join(r.dir, "keyring/own/bauinspektorat/sign.crt"))
	encrypt.Stdin = strings.NewReader(string(signed))
	sealed, err := encrypt.Output()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(strings.ReplaceAll(string(sealed), "\r\n", "\n"), "\n", "\r\n")
	if err := r.stranger(text, "bauinspektorat@bl.example"); err != nil {
		t.Fatal(err)
	}
	list := func(authority string) []message.Story {
		out, code := r.run("mailbox", "list", "--authority", authority, "--direction", "in", "--json", "--purpose", "operation")
		if code != 0 {
			t.Fatalf("mailbox list: exit %d\n%s", code, out)
		}
		var page struct{ Messages []message.Story }
		if err := json.Unmarshal([]byte(out), &page); err != nil {
			t.Fatal(err)
		}
		return page.Messages
	}
	await(t, "the mail in the mailbox", func() bool {
		m := list("bauinspektorat")
		return len(m) == 1 && m[0].Items[0].State == message.Done
	})
	id := list("bauinspektorat")[0].Envelope.ID.String()
	if out, code := r.run("mailbox", "show", "--authority", "bauinspektorat", id, "--purpose", "operation"); code != 0 || strings.Contains(out, secret) {
		t.Errorf("show: exit %d; what is stored must stay as it came:\n%s", code, tailOf(out, 500))
	}
	out, code := r.run("mailbox", "show", "--authority", "bauinspektorat", id, "--open", "--purpose", "operation")
	if code != 0 || !strings.Contains(out, secret) || !strings.HasPrefix(out, "X-Gatewayd-Verdict: valid; signature=good;") || !strings.Contains(out, "encryption=decrypted") {
		t.Errorf("show --open: exit %d\n%s", code, tailOf(out, 2000))
	}
	dir := filepath.Join(t.TempDir(), "export")
	if out, code := r.run("mailbox", "export", "--authority", "bauinspektorat", id, "--dir", dir, "--purpose", "operation"); code != 0 {
		t.Errorf("export: exit %d\n%s", code, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "message.eml"))
	if err != nil || string(got) != text {
		t.Errorf("exported message: %v, %d octets, want the %d that came", err, len(got), len(text))
	}
	if len(list("steuerverwaltung")) != 0 {
		t.Error("another authority lists it")
	}
	if out, code := r.run("mailbox", "show", "--authority", "steuerverwaltung", id, "--purpose", "operation"); code != exitFailed {
		t.Errorf("another authority reads it: exit %d\n%s", code, out)
	}
	if text, code := r.run("message", "trace", id, "--purpose", "operation"); code != 0 || !strings.Contains(text, "signature=good") {
		t.Errorf("the story does not tell the verdict: exit %d\n%s", code, text)
	}
}
