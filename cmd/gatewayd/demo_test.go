package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runDemo runs `gatewayd demo --once --json` and returns its events.
func runDemo(t *testing.T, args ...string) []line {
	t.Helper()
	begin := time.Now()
	cmd := exec.Command(binary, append([]string{"demo", "--once", "--json"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("demo: %v\n%s\n%s", err, stderr.String(), tailOf(string(out), 3000))
	}
	if took := time.Since(begin); took > 2*time.Minute {
		t.Errorf("the demo took %s, want far less than two minutes (30 s on a quiet machine)", took)
	}
	var lines []line
	s := bufio.NewScanner(bytes.NewReader(out))
	for s.Scan() {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatalf("not one JSON object per line: %q", s.Text())
		}
		lines = append(lines, l)
	}
	return lines
}

// TestDemo: the story is whole, and a visitor can check by himself what was
// left behind, with other people's tools.
func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	lines := runDemo(t, "--keep", dir)
	verified := map[string]int{}
	held := false
	for _, l := range lines {
		if l.Receipt != nil {
			if !l.Receipt.Verified {
				t.Errorf("receipt %s for %s is not verified", l.Receipt.Kind, l.Recipient)
			}
			verified[l.Recipient]++
		}
		held = held || l.Event == "held" && l.Class == "confidential" && l.State == "held"
		if l.At.IsZero() || l.Message == "" || l.Event == "" {
			t.Errorf("incomplete line %+v", l)
		}
	}
	for _, to := range []string{"buerger@example.ch", "firma@example.ch", "nachbar@example.ch"} {
		if verified[to] < 2 {
			t.Errorf("%s: %d verified receipts, want at least two", to, verified[to])
		}
	}
	if !held {
		t.Error("the confidential message was not held")
	}
	checkKept(t, dir)
}

func checkKept(t *testing.T, dir string) {
	t.Helper()
	pdfs, _ := filepath.Glob(filepath.Join(dir, "receipt-*.pdf"))
	if len(pdfs) < 6 {
		t.Errorf("%d receipts (*.pdf) kept, want six", len(pdfs))
	}
	for _, pdf := range pdfs {
		out, err := exec.Command(need(t, "pdfsig", "poppler-utils"), pdf).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Signature is Valid") || !strings.Contains(string(out), "Total document signed") {
			t.Errorf("pdfsig %s: %v\n%s", pdf, err, out)
		}
		inspect, err := exec.Command(binary, "receipts", "inspect", pdf, "--anchors", filepath.Join(dir, "anchors.pem"), "--json").CombinedOutput()
		if err != nil || !strings.Contains(string(inspect), `"verdict": "verified"`) {
			t.Errorf("receipts inspect %s: %v\n%s", pdf, err, inspect)
		}
	}
	checkSealed(t, dir)
	mails, _ := filepath.Glob(filepath.Join(dir, "received-[ip]*.eml"))
	if len(mails) != 3 {
		t.Errorf("%d mails kept, want three", len(mails))
	}
	_, want := split(sampleDecision)
	for _, m := range mails {
		raw, err := os.ReadFile(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, body := split(raw); !bytes.Equal(body, want) {
			t.Errorf("%s: the body differs from the decision", m)
		}
	}
	for _, args := range [][]string{{"queue", "check"}, {"audit", "verify"}} {
		out, err := exec.Command(binary, append(args, "-c", filepath.Join(dir, "gatewayd.toml"))...).CombinedOutput()
		if err != nil {
			t.Errorf("%v on what was kept: %v\n%s", args, err, out)
		}
	}
}

// checkSealed opens what the gateway encrypted with OpenSSL and GnuPG, as the
// recipients would.
func checkSealed(t *testing.T, dir string) {
	t.Helper()
	const secret = "Diese Zeilen verlassen das Haus nur verschluesselt."
	files, _ := filepath.Glob(filepath.Join(dir, "received-encrypted-*.eml"))
	if len(files) != 2 {
		t.Fatalf("%d encrypted mails kept, want two", len(files))
	}
	opened := map[string]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("%s can be read by everybody", file)
		}
		var out []byte
		if bytes.Contains(raw, []byte("application/pkcs7-mime")) {
			opened["smime"] = true
			out = openSMIME(t, dir, file)
		} else {
			opened["openpgp"] = true
			out = openPGP(t, dir, file)
		}
		if !bytes.Contains(out, []byte(secret)) {
			t.Errorf("%s: what was opened lacks the text:\n%s", file, out)
		}
	}
	if len(opened) != 2 {
		t.Errorf("opened %v, want one of each kind", opened)
	}
}

func openSMIME(t *testing.T, dir, file string) []byte {
	t.Helper()
	openssl := need(t, "openssl", "openssl")
	inner, err := exec.Command(openssl, "cms", "-decrypt", "-in", file, "-inform", "SMIME", "-recip", filepath.Join(dir, "sim/treuhand.crt"), "-inkey", filepath.Join(dir, "sim/treuhand.key")).Output()
	if err != nil {
		t.Fatalf("openssl cms -decrypt: %v", err)
	}
	verify := exec.Command(openssl, "cms", "-verify", "-inform", "SMIME", "-CAfile", filepath.Join(dir, "ca.crt"))
	verify.Stdin = bytes.NewReader(inner)
	out, err := verify.Output()
	if err != nil {
		t.Fatalf("openssl cms -verify: %v\n%s", err, inner)
	}
	return out
}

func openPGP(t *testing.T, dir, file string) []byte {
	t.Helper()
	gpg, home := need(t, "gpg", "gnupg"), t.TempDir()
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command(gpg, append([]string{"--homedir", home, "--batch", "--quiet", "--trust-model", "always"}, args...)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("gpg %v: %v\n%s", args, err, stderr.String())
		}
		return append(out, stderr.Bytes()...)
	}
	t.Cleanup(func() { _ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() })
	run("--import", filepath.Join(dir, "sim/verein.asc"))
	run("--import", filepath.Join(dir, "keyring/own/bauinspektorat/sign.asc"))
	out := run("--status-fd", "2", "--decrypt", file)
	if !bytes.Contains(out, []byte("GOODSIG")) {
		t.Errorf("gpg finds no good signature:\n%s", out)
	}
	return out
}

// TestDemoOwnMessage sends a visitor's own file, which says nothing about its
// class.
func TestDemoOwnMessage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mine.eml")
	if err := os.WriteFile(file, []byte("From: bauinspektorat@bl.example\nTo: buerger@example.ch\nSubject: Mein Entscheid\n\nZeile\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if lines := runDemo(t, "--message", file); len(lines) < 20 {
		t.Errorf("only %d events", len(lines))
	}
}

// TestHelp: every command has a help text, and a wrong command line is exit 2.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"route", "explain", "--help"}, {"queue", "list", "--help"}, {"demo", "--help"}} {
		var out bytes.Buffer
		if code := run(args, console{&out, &out}); code != 0 || !strings.Contains(out.String(), "Usage: gatewayd") {
			t.Errorf("%v: exit %d\n%s", args, code, out.String())
		}
	}
	for _, args := range [][]string{{"queue"}, {"nonsense"}, {"route", "explain"}, {"queue", "list", "--foo"}} {
		var out bytes.Buffer
		if code := run(args, console{&out, &out}); code != exitUsage {
			t.Errorf("%v: exit %d, want %d\n%s", args, code, exitUsage, out.String())
		}
	}
}
