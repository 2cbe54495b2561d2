package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/config"
	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
	"gatewayd/message"
)

// The users of the two processes, and one who is neither.
const (
	gatewayUser = 10001
	agentUser   = 10002
	strangeUser = 10003
)

func asUser(uid uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
}

// agentRig is an installation in which a second process, of another user, has the
// private keys.
type agentRig struct {
	*rig
	place   string // the agent's folder
	socket  string
	program string // the agent's
	agent   *exec.Cmd
	output  *lockedBuffer
}

func newAgentRig(t *testing.T) *agentRig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("two users need root")
	}
	place := t.TempDir()
	a := &agentRig{place: place, socket: filepath.Join(place, "run", "agent.sock"), program: binary, output: &lockedBuffer{}}
	a.rig = newRig(t, func(text string) string {
		return text + fmt.Sprintf("\n[keys]\nagent = %q\n\n[keyagent]\nusers = [\"%d\"]\nuses = %q\n\n[delivery]\nretry_first = \"1s\"\nretry_max = \"1s\"\n", a.socket, gatewayUser, filepath.Join(place, "uses"))
	})
	open := func(dir string) {
		for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	open(filepath.Dir(binary))
	open(place)
	own(t, place, agentUser)
	own(t, a.dir, gatewayUser)
	own(t, filepath.Join(a.dir, "keyring", "own"), agentUser)
	open(filepath.Join(a.dir, "keyring"))
	if err := os.Chmod(filepath.Join(a.dir, "keyring", "own"), 0o700); err != nil {
		t.Fatal(err)
	}
	a.as = asUser(gatewayUser)
	t.Cleanup(func() {
		a.killAgent()
		if t.Failed() {
			t.Logf("log of the agent:\n%s", tailOf(a.output.String(), 4000))
		}
	})
	return a
}

// own gives a folder to a user.
func own(t *testing.T, dir string, uid int) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, uid, uid))
	}); err != nil {
		t.Fatal(err)
	}
}

func (a *agentRig) startAgent() {
	a.t.Helper()
	a.agent = exec.Command(a.program, "keyagent", "-c", a.file)
	a.agent.Stdout, a.agent.Stderr, a.agent.SysProcAttr = a.output, a.output, asUser(agentUser)
	if err := a.agent.Start(); err != nil {
		a.t.Fatal(err)
	}
	await(a.t, "the agent listens", func() bool {
		c, err := net.Dial("unix", a.socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (a *agentRig) killAgent() {
	if a.agent != nil {
		a.agent.Process.Kill()
		a.agent.Wait()
		a.agent = nil
	}
}

// item returns the first item of a message.
func (a *agentRig) item(id message.ID) message.Item {
	a.t.Helper()
	return a.trace(id.String())[0].Items[0]
}

func (a *agentRig) becomes(id message.ID, s message.State) {
	a.t.Helper()
	await(a.t, "the message is "+string(s), func() bool { return a.item(id).State == s })
}

// confidential submits a letter that must leave encrypted.
func (a *agentRig) confidential(to string) message.ID {
	a.t.Helper()
	dialogue, err := a.swaks("--to", to, "--header", "Subject: Baugesuch", "--add-header", "Sensitivity: Company-Confidential", "--body", "geheim")
	if err != nil {
		a.t.Fatalf("%v\n%s", err, dialogue)
	}
	return idIn(a.t, dialogue)
}

// left returns what left for an address.
func (a *agentRig) left(to string) [][]byte {
	var all [][]byte
	for _, m := range a.sink.all() {
		if m.to == to {
			all = append(all, m.raw)
		}
	}
	return all
}

// sealed fails unless everything that left for the partners is signed and encrypted.
func (a *agentRig) sealed(n int) {
	a.t.Helper()
	for to, args := range map[string][]string{
		"treuhand@example.net": {"--key", filepath.Join(a.dir, config.PartnerSMIME+".key"), "--cert", filepath.Join(a.dir, config.PartnerSMIME+".crt"), "--anchors", filepath.Join(a.dir, "ca.crt")},
		"verein@example.net":   {"--pgp-key", filepath.Join(a.dir, config.PartnerOpenPGP), "--pgp-key", filepath.Join(a.dir, "keyring/own/bauinspektorat/sign.asc")},
	} {
		mails := a.left(to)
		if len(mails) != n {
			a.t.Errorf("%s: %d mails, want %d", to, len(mails), n)
		}
		for _, raw := range mails {
			found, text, _ := inspect(a.t, append(args, "--json", a.temp("mail.eml", raw))...)
			if bytes.Contains(raw, []byte("geheim")) || found.Encryption != "decrypted" && found.Encryption != "malleable" || found.Signature != "good" {
				a.t.Errorf("%s: %s %s\n%s", to, found.Encryption, found.Signature, text)
			}
		}
	}
}

// fromPartner is a mail that the association has signed, and encrypted for the
// authority.
func (a *agentRig) fromPartner() string {
	a.t.Helper()
	read := func(name string) openpgp.Key {
		data, err := os.ReadFile(filepath.Join(a.dir, name))
		if err != nil {
			a.t.Fatal(err)
		}
		list, err := openpgp.ParseKeys(data)
		if err != nil {
			a.t.Fatal(err)
		}
		return list[0]
	}
	partner, ours := read(config.PartnerOpenPGP), read("keyring/own/bauinspektorat/sign.asc")
	text := "From: verein@example.net\r\nTo: bauinspektorat@bl.example\r\nSubject: Antwort\r\nDate: " + time.Now().Format(time.RFC1123Z) + "\r\n\r\nvertraulich\r\n"
	p, err := openpgp.Protect(strings.NewReader(text), int64(len(text)), openpgp.Options{Signer: &partner, Recipients: []openpgp.Key{ours}, Time: time.Now()})
	if err != nil {
		a.t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		a.t.Fatal(err)
	}
	return b.String()
}

// cannotRead fails if a user can read a file.
func cannotRead(t *testing.T, uid uint32, path string) {
	t.Helper()
	cmd := exec.Command("cat", path)
	cmd.SysProcAttr = asUser(uid)
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("Permission denied")) {
		t.Errorf("user %d, %s: %v, %d octets", uid, path, err, len(out))
	}
}

// TestKeyAgent: the process that reads strangers' mail cannot read private keys. While
// the one that has them is away, what needs them waits; nothing leaves unsigned or
// unencrypted; afterwards all goes on by itself.
func TestKeyAgent(t *testing.T) {
	a := newAgentRig(t)
	a.startAgent()
	a.start()

	for _, to := range []string{"treuhand@example.net", "verein@example.net"} {
		a.becomes(a.confidential(to), message.Done)
	}
	a.sealed(1)

	// As the users of the SMTP process, and of nobody.
	private := 0
	for _, file := range keys.Readable(a.cfg.Keyring) { // root can
		private++
		cannotRead(t, gatewayUser, filepath.Join(a.cfg.Keyring, file))
		cannotRead(t, strangeUser, filepath.Join(a.cfg.Keyring, file))
	}
	if private < 2 {
		t.Errorf("%d private files", private)
	}
	for _, file := range []string{"mem", "environ", "maps"} {
		cannotRead(t, gatewayUser, fmt.Sprintf("/proc/%d/%s", a.agent.Process.Pid, file))
	}
	status := func(uid uint32) (string, error) {
		cmd := exec.Command(binary, "keyagent", "status", "-c", a.file)
		cmd.SysProcAttr = asUser(uid)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := status(strangeUser); err == nil || strings.Contains(out, "openpgp") {
		t.Errorf("a stranger is answered:\n%s", out)
	}
	if out, err := status(gatewayUser); err != nil || !strings.Contains(out, "2 keys") {
		t.Errorf("%v\n%s", err, out)
	}

	// Killed: mail to partners waits, and so does mail from them; the rest goes on.
	a.killAgent()
	await(t, "the gateway knows", func() bool { return strings.Contains(a.log.String(), "out of reach") })
	waiting := []message.ID{a.confidential("treuhand@example.net"), a.confidential("verein@example.net")}
	if err := a.stranger(a.fromPartner(), "bauinspektorat@bl.example"); err != nil {
		t.Fatal(err)
	}
	var inbound message.ID
	await(t, "the mail that came in waits", func() bool {
		for _, s := range a.trace("bauinspektorat@bl.example") {
			if s.Envelope.Direction == message.Inbound {
				inbound = s.Envelope.ID
				return s.Items[0].State == message.Waiting && strings.Contains(s.Items[0].Reply, "out of reach")
			}
		}
		return false
	})
	a.kill()
	a.start() // a new gateway without an agent takes mail, too
	waiting = append(waiting, a.confidential("treuhand@example.net"), a.confidential("verein@example.net"))
	plain, err := a.swaks("--to", "wer@example.org", "--header", "Subject: x")
	if err != nil {
		t.Fatalf("%v\n%s", err, plain)
	}
	a.becomes(idIn(t, plain), message.Done)
	for _, id := range waiting {
		if s := a.item(id).State; s != message.Waiting {
			t.Errorf("%s is %s", id, s)
		}
	}
	a.sealed(1)

	a.startAgent()
	for _, id := range append(waiting, inbound) {
		a.becomes(id, message.Done)
	}
	a.sealed(3)
	for _, e := range a.trace(inbound.String())[0].Events {
		if e.Kind == message.EventMailbox && (e.Data["encryption"] != "decrypted" || e.Data["signature"] != "good") {
			t.Errorf("%v", e.Data)
		}
	}
}

// TestKeyAgentKeys: an administrator's key is in the agent's hands, and used, at once;
// what the agent did is written down; it refuses what would undo its purpose.
func TestKeyAgentKeys(t *testing.T) {
	a := newAgentRig(t)
	a.startAgent()
	a.start()
	ca := newTestCA(t)
	cert, key := ca.mail(t, "bauinspektorat@bl.example")
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	both := a.temp("both.pem", append(certPEM(cert), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...))
	fp := smime.Fingerprint(cert)
	if out, code := a.run("keys", "import", "--authority", "bauinspektorat", both); code != 0 {
		t.Fatalf("%s", out)
	}
	file := filepath.Join(a.cfg.Keyring, "own/bauinspektorat", fp[:16]+".key")
	cannotRead(t, gatewayUser, file)
	if out, code := a.run("keys", "list", "--authority", "bauinspektorat"); code != 0 || !strings.Contains(out, fp) {
		t.Errorf("the gateway does not know the new key:\n%s", out)
	}
	a.becomes(a.confidential("treuhand@example.net"), message.Done)

	// A faulty file: the old keys stay; an agent does not start with a part of them.
	faulty := filepath.Join(a.cfg.Keyring, "own/bauinspektorat/faulty.asc")
	if err := os.WriteFile(faulty, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.agent.Process.Signal(syscall.SIGHUP)
	await(t, "the agent says no", func() bool { return strings.Contains(a.output.String(), "old keys stay") })
	a.becomes(a.confidential("treuhand@example.net"), message.Done)
	second := exec.Command(binary, "keyagent", "-c", a.file)
	if out, err := second.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("cannot be read")) {
		t.Errorf("%v\n%s", err, out)
	}
	if err := os.Remove(faulty); err != nil {
		t.Fatal(err)
	}
	second = exec.Command(binary, "keyagent", "-c", a.file)
	if out, err := second.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("in use")) {
		t.Errorf("%v\n%s", err, out)
	}

	a.agent.Process.Signal(syscall.SIGTERM)
	if err := a.agent.Wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	a.agent = nil
	out, code := a.run("keyagent", "verify", "--json")
	var uses struct {
		Uses int
		By   map[string]int
		Last string
	}
	if err := json.Unmarshal([]byte(out), &uses); err != nil || code != 0 || uses.By["sign"] < 2 || len(uses.Last) != 64 {
		t.Errorf("%v\n%s", err, out)
	}
	a.stop()

	// A gateway that can read the keys does not serve.
	a.as = nil // root
	serve := exec.Command(binary, "serve", "-c", a.file)
	if out, err := serve.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("can be read by the gateway")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestKeyAgentSeal: the key of the evidence seal lies with the agent, too. A bundle
// that it seals is accepted; while it is away none is made; a key that it has not got
// seals nothing.
func TestKeyAgentSeal(t *testing.T) {
	a := newAgentRig(t)
	replaceIn(t, a.file, `seal      = { cert = "seal.crt", key = "seal.key" }`, `seal = { cert = "seal.crt", agent = true }`)
	folder := filepath.Join(a.dir, "keyring/own/gateway")
	if err := errors.Join(os.Mkdir(folder, 0o700), os.Link(filepath.Join(a.dir, "seal.crt"), filepath.Join(folder, "seal.crt")), os.Rename(filepath.Join(a.dir, "seal.key"), filepath.Join(folder, "seal.key"))); err != nil {
		t.Fatal(err)
	}
	own(t, folder, agentUser)
	own(t, filepath.Join(a.dir, "seal.crt"), gatewayUser)
	stamps, err := newTSA(a.dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", a.ports.TSA)
	if err != nil {
		t.Fatal(err)
	}
	go stamps.Serve(l)
	defer stamps.Close()
	a.startAgent()
	a.start()
	cannotRead(t, gatewayUser, filepath.Join(folder, "seal.key"))

	dialogue, err := a.swaks("--to", "buerger@example.ch", "--header", "Subject: [einschreiben] Entscheid", "--body", "Entscheid")
	if err != nil {
		t.Fatalf("%v\n%s", err, dialogue)
	}
	id := idIn(t, dialogue)
	await(t, "the Abgabequittung", func() bool { return a.item(id).Case == message.CaseSubmitted })
	var anchors []byte
	for _, name := range []string{"ca.crt", "anchors.crt"} {
		text, err := os.ReadFile(filepath.Join(a.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		anchors = append(anchors, text...)
	}
	path := filepath.Join(t.TempDir(), "one.zip")
	if out, code := a.run("evidence", "export", id.String(), "--out", path); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	code, r := judgeBundle(t, path, "--anchors", a.temp("anchors.pem", anchors), "--signer", `Gateway BL \(Entwicklung\)`)
	if code != 0 || r.Signer == nil {
		t.Fatalf("exit %d, %+v", code, r.Problems)
	}
	if out, code := a.run("keyagent", "verify", "--json"); code != 0 || !strings.Contains(out, `"sign": 1`) {
		t.Errorf("the use is not written down: exit %d\n%s", code, out)
	}

	refused := func(says string) {
		t.Helper()
		other := filepath.Join(t.TempDir(), "other.zip")
		out, code := a.run("evidence", "export", id.String(), "--out", other)
		if _, err := os.Stat(other); code == 0 || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(out, says) {
			t.Errorf("exit %d, want %q: %v\n%s", code, says, err, out)
		}
	}
	a.killAgent()
	refused("out of reach")
	for _, name := range []string{"seal.key", "seal.crt"} {
		if err := os.Remove(filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	a.startAgent()
	refused("no such key")
}
