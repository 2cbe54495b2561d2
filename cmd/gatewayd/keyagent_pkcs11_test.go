//go:build pkcs11 && cgo

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gatewayd/config"
	"gatewayd/message"
)

// TestKeyAgentPKCS11: the authority's key and the secret behind the master key lie on a
// token (SoftHSM2), which the agent uses; the gateway is the static program without
// PKCS #11. The master key is changed from the file to the token; nothing is lost.
func TestKeyAgentPKCS11(t *testing.T) {
	util, tool := need(t, "softhsm2-util", "softhsm2"), need(t, "pkcs11-tool", "opensc")
	const driver = "/usr/lib/softhsm/libsofthsm2.so"
	a := newAgentRig(t)
	a.program = filepath.Join(filepath.Dir(binary), "gatewayd-pkcs11")
	for _, args := range [][]string{{"go", "build", "-tags", "pkcs11", "-o", a.program, "."}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	tokens, own11 := filepath.Join(a.place, "tokens"), filepath.Join(a.dir, "keyring/own/bauinspektorat/sign")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(a.place, "softhsm2.conf"), "directories.tokendir = "+tokens+"\nlog.level = ERROR\n")
	write(filepath.Join(a.place, "pin"), "1234\n")
	t.Setenv("SOFTHSM2_CONF", filepath.Join(a.place, "softhsm2.conf"))
	for _, args := range [][]string{
		{util, "--init-token", "--free", "--label", "gatewayd", "--so-pin", "87654321", "--pin", "1234"},
		{util, "--import", own11 + ".key", "--token", "gatewayd", "--label", "seal", "--id", "01", "--pin", "1234"},
		{tool, "--module", driver, "--token-label", "gatewayd", "--login", "--pin", "1234", "--keygen", "--key-type", "generic:32", "--label", "master", "--sensitive"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	if err := os.Remove(own11 + ".key"); err != nil {
		t.Fatal(err)
	}
	write(own11+".p11", "pkcs11:token=gatewayd;object=seal\n")
	replaceIn(t, a.file, "[keyagent]\n", "[keyagent]\nmaster = \"pkcs11:token=gatewayd;object=master\"\n")
	replaceIn(t, a.file, "\n[delivery]", "\n[keyagent.pkcs11]\nmodule = \""+driver+"\"\npin = { file = \""+filepath.Join(a.place, "pin")+"\" }\n\n[delivery]")
	own(t, a.place, agentUser)
	own(t, filepath.Join(a.dir, "keyring", "own"), agentUser)

	static := exec.Command(binary, "keyagent", "-c", a.file)
	static.SysProcAttr = asUser(agentUser)
	if out, err := static.CombinedOutput(); err == nil || !strings.Contains(string(out), "built without PKCS #11") {
		t.Errorf("%v\n%s", err, out)
	}
	a.startAgent()
	a.start()
	first := a.confidential("treuhand@example.net")
	a.becomes(first, message.Done)

	// The master key: from the file to the token.
	rotate := func(want string, as *syscall.SysProcAttr) {
		t.Helper()
		cmd := exec.Command(binary, "masterkey", "rotate", "--agent", "-c", a.file)
		cmd.SysProcAttr = as
		if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), want) {
			t.Fatalf("want %q:\n%s", want, out)
		}
	}
	rotate("stop the gateway", a.as)
	a.stop()
	rotate("run this as that user", nil)
	rotate("keys are wrapped by the new master key", a.as)
	replaceIn(t, a.file, `{ file = "master.key" }`, "{ agent = true }")
	if err := os.Remove(filepath.Join(a.dir, "master.key")); err != nil {
		t.Fatal(err)
	}
	a.start()
	if s := a.item(first); s.State != message.Done {
		t.Errorf("what was sealed before is %s", s.State)
	}
	a.becomes(a.confidential("treuhand@example.net"), message.Done)
	for _, raw := range a.left("treuhand@example.net") {
		found, text, _ := inspect(t, "--key", filepath.Join(a.dir, config.PartnerSMIME+".key"), "--cert", filepath.Join(a.dir, config.PartnerSMIME+".crt"), "--anchors", filepath.Join(a.dir, "ca.crt"), "--json", a.temp("mail.eml", raw))
		if found.Signature != "good" || found.Encryption == "none" {
			t.Errorf("%s", text)
		}
	}
	a.stop()

	// A wrong PIN is said once.
	a.killAgent()
	write(filepath.Join(a.place, "pin"), "4321\n")
	wrong := exec.Command(a.program, "keyagent", "-c", a.file)
	wrong.SysProcAttr = asUser(agentUser)
	if out, err := wrong.CombinedOutput(); wrong.ProcessState.ExitCode() != exitUsage || strings.Contains(string(out), "4321") {
		t.Errorf("a wrong PIN: %v\n%s", err, out)
	}
}
