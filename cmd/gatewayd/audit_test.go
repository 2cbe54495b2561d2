package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/config"
	"gatewayd/gateway/personfile"
	"gatewayd/message"
)

// TestAuditCommands: the log is listed, exported and proven line by line over the
// running gateway's socket; each reading needs a purpose and stands in the log.
func TestAuditCommands(t *testing.T) {
	s := newStage(t, nil)
	id := s.decide("[einschreiben] Entscheid", "nachbar@example.ch")
	s.until(id, "the Abgabequittung", inCase(message.CaseSubmitted))
	s.pass(26 * time.Hour)
	if out, code := s.command("retention", "run"); code != 0 {
		t.Fatalf("retention run: exit %d\n%s", code, out)
	}
	for _, verb := range []string{"list", "export", "prove 1"} {
		if out, code := s.command(append([]string{"audit"}, strings.Fields(verb)...)...); code != exitUsage || !strings.Contains(out, "--purpose") {
			t.Errorf("audit %s without a purpose: exit %d\n%s", verb, code, out)
		}
	}
	out, code := s.command("audit", "list", "--message", id.String(), "--purpose", "audit", "--json")
	var list []audit.Entry
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) < 3 || list[0].Kind != message.EventAccepted {
		t.Fatalf("audit list: exit %d, %v\n%s", code, err, out)
	}
	if out, code := s.command("audit", "list", "--limit", "2", "--purpose", "audit"); code != 0 || !strings.Contains(out, "more: --after") || strings.Count(out, "\n") != 4 {
		t.Errorf("audit list: exit %d\n%s", code, out)
	}
	if out, code := s.command("audit", "list", "--kind", "curiosity", "--purpose", "audit"); code != exitFailed || !strings.Contains(out, "no kind of event") {
		t.Errorf("a kind that is none: exit %d\n%s", code, out)
	}
	dir := t.TempDir()
	for format, want := range map[string]string{"jsonl": `"kind":"accepted"`, "csv": ",accepted,bauinspektorat," + id.String(), "syslog": "- accepted [gatewayd@32473 link="} {
		path := filepath.Join(dir, "log."+format)
		if out, code := s.command("audit", "export", "--format", format, "-o", path, "--no-personal", "--purpose", "audit"); code != 0 || out != "" {
			t.Errorf("export %s: exit %d\n%s", format, code, out)
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), want) || strings.Contains(string(text), "nachbar@example.ch") {
			t.Errorf("export %s: %v\n%s", format, err, tailOf(string(text), 2000))
		}
		if _, code := s.command("audit", "export", "--format", format, "-o", path, "--purpose", "audit"); code != exitFailed {
			t.Errorf("a file was overwritten: exit %d", code)
		}
	}
	if out, code := s.command("audit", "export", "--until", "2000-01-01", "--purpose", "audit"); code != 0 || out != "" {
		t.Errorf("an empty export: exit %d\n%s", code, out)
	}
	if out, code := s.command("audit", "export", "--purpose", "audit"); code != 0 || !strings.Contains(out, "nachbar@example.ch") {
		t.Errorf("export: exit %d\n%s", code, out)
	}
	s.proves(list[0], dir)
	out, code = s.command("audit", "list", "--kind", "read", "--purpose", "protection", "--json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 {
		t.Fatal(err, out)
	}
	doors := map[string]int{}
	for _, e := range list {
		doors[e.Data["door"]]++
		if !strings.HasPrefix(e.Data["by"], "administrator ") || e.Data["purpose"] != "audit" && e.Data["purpose"] != "operation" {
			t.Errorf("noted: %v", e.Data)
		}
	}
	if doors["audit list"] != 2 || doors["audit export, begun"] != 5 || doors["audit export"] != 5 || doors["audit prove"] != 1 {
		t.Errorf("noted: %v", doors)
	}
}

// proves makes the proof of a line, checks it without the gateway, and forges it.
func (s *stage) proves(e audit.Entry, dir string) {
	s.t.Helper()
	path := filepath.Join(dir, "proof.json")
	if out, code := s.command("audit", "prove", fmt.Sprint(e.Seq), "-o", path, "--purpose", "audit"); code != 0 {
		s.t.Fatalf("audit prove: exit %d\n%s", code, out)
	}
	if out, code := s.command("audit", "prove", "9999999", "--purpose", "audit"); code != exitFailed || !strings.Contains(out, "no such line") {
		s.t.Errorf("audit prove of nothing: exit %d\n%s", code, out)
	}
	out, code := s.command("audit", "verify", "--json")
	var report audit.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 {
		s.t.Fatal(err, out)
	}
	verify := func(words ...string) (string, int) {
		var text strings.Builder
		code := run(append([]string{"audit", "verify", "-c", "/nowhere", "--proof"}, words...), console{&text, &text})
		return text.String(), code
	}
	if out, code := verify(path, "--public-key", report.PublicKey); code != 0 || !strings.Contains(out, "proven: ") || !strings.Contains(out, "accepted") {
		s.t.Errorf("the proof: exit %d\n%s", code, out)
	}
	if out, code := verify(path); code != exitFailed || !strings.Contains(out, "agrees with itself, which proves nothing") {
		s.t.Errorf("the proof without a key: exit %d\n%s", code, out)
	}
	if out, code := verify(path, "--public-key", strings.Repeat("00", 32), "--json"); code != exitFailed || !strings.Contains(out, `"holds": false`) {
		s.t.Errorf("the proof with a foreign key: exit %d\n%s", code, out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	forged := strings.Replace(string(text), "bauinspektorat@", "steueramt@", 1)
	if err := os.WriteFile(path, []byte(forged), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if out, code := verify(path, "--public-key", report.PublicKey); code != exitFailed || !strings.Contains(out, "not proven: the event") {
		s.t.Errorf("a forged proof: exit %d\n%s", code, out)
	}
}

// TestPersonShow: the file of one person, readable and as JSON.
func TestPersonShow(t *testing.T) {
	s := newStage(t, nil)
	id := s.decide("[einschreiben] Entscheid", "nachbar@example.ch", "buerger@example.ch")
	s.until(id, "the Abgabequittung", inCase(message.CaseSubmitted))
	for lang, want := range map[string]string{"de": "Auskunft über nachbar@example.ch", "en": "What is held about nachbar@example.ch"} {
		out, code := s.command("person", "show", "nachbar@example.ch", "--lang", lang, "--purpose", "access")
		if code != 0 || !strings.Contains(out, want) || !strings.Contains(out, id.String()) || !strings.Contains(out, "abgabequittung") || strings.Contains(out, "buerger@") {
			t.Errorf("person show: exit %d\n%s", code, out)
		}
	}
	path := filepath.Join(t.TempDir(), "auskunft.json")
	if out, code := s.command("person", "show", "nachbar@example.ch", "--authority", "bauinspektorat", "-o", path, "--purpose", "access"); code != 0 {
		t.Fatalf("person show: exit %d\n%s", code, out)
	}
	var file personfile.File
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &file) != nil || len(file.Messages) != 1 || len(file.Messages[0].Cases) != 1 || len(file.Events) == 0 {
		t.Errorf("%v\n%s", err, text)
	}
	cert, key := keyPair(t)
	for _, c := range [][]string{{"person", "show", "nachbar@example.ch", "--authority", "bauinspektorat"}, {"audit", "export"}, {"evidence", "export", id.String() + "/1"}} {
		sealed := filepath.Join(t.TempDir(), "sealed.p7m")
		out := map[bool]string{true: "--out", false: "-o"}[c[0] == "evidence"]
		if out, code := s.command(append(c, "--purpose", "access", "--to", cert, out, sealed)...); code != 0 {
			t.Errorf("%v: exit %d\n%s", c, code, out)
			continue
		}
		if text := opened(t, sealed, cert, key); !bytes.Contains(text, []byte(`"nachbar@example.ch"`)) && !bytes.HasPrefix(text, []byte("PK")) {
			t.Errorf("%v: %.200q", c, text)
		}
	}
	if out, code := s.command("person", "show", "niemand", "--purpose", "access"); code != exitFailed || !strings.Contains(out, "not a mail address") {
		t.Errorf("no address: exit %d\n%s", code, out)
	}
	if out, code := s.command("person", "show", "nachbar@example.ch"); code != exitUsage || !strings.Contains(out, "--purpose") {
		t.Errorf("without a purpose: exit %d\n%s", code, out)
	}
}

// TestSyslogSent: the running program sends its log to the configured collector,
// names nobody there, and keeps its place over a restart.
func TestSyslogSent(t *testing.T) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(text string) string {
		return text + fmt.Sprintf("\n[audit]\nsyslog = { to = \"tls://%s\", ca = %q, server_name = \"gateway.bl.example\" }\n", plain.Addr(), config.SimulatorCA)
	})
	pair, err := tls.LoadX509KeyPair(filepath.Join(r.dir, "gateway.crt"), filepath.Join(r.dir, "gateway.key"))
	if err != nil {
		t.Fatal(err)
	}
	got := &lockedBuffer{}
	l := tls.NewListener(plain, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(got, conn)
			}()
		}
	}()
	r.start()
	if err := r.stranger("Subject: fremd\r\n\r\ngeheim\r\n", "bauinspektorat@bl.example"); err != nil {
		t.Fatal(err)
	}
	await(t, "the line of the mailbox", func() bool { return strings.Contains(got.String(), "gatewayd - mailbox [gatewayd@32473 link=") })
	if text := got.String(); strings.Contains(text, "wer@example.org") || strings.Contains(text, "bauinspektorat@") || strings.Contains(text, "geheim") {
		t.Errorf("a person is named:\n%s", text)
	}
	r.stop()
	if _, err := os.Stat(filepath.Join(r.cfg.Data, "syslog.json")); err != nil {
		t.Errorf("no position: %v", err)
	}
}
