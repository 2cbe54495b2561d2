package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
	"gatewayd/simulator"
)

func token() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// letter writes a mail with a PDF part and returns its path, whole and body.
func letter(t *testing.T, subject, body string) (path string, raw []byte) {
	t.Helper()
	pdf, err := os.ReadFile("sample/entscheid.eml")
	if err != nil {
		t.Fatal(err)
	}
	raw = fmt.Appendf(nil, "From: Bauinspektorat <bauinspektorat@bl.example>\r\nTo: buerger@example.ch\r\nSubject: %s\r\nDate: Mon, 23 Nov 2026 10:00:00 +0100\r\n"+
		"Message-ID: <%s@bl.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\nX-Odd:  spacing \t kept\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\n%s\r\n.\r\n..punkte\r\n"+
		"--x\r\nContent-Type: application/pdf; name=verfuegung.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n--x--\r\n", subject, token(), body, wrapped(pdf[:3000]))
	path = filepath.Join(t.TempDir(), "letter.eml")
	// swaks ends the data with a line end of its own.
	if err := os.WriteFile(path, bytes.TrimSuffix(raw, []byte("\r\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, raw
}

func wrapped(b []byte) string {
	text := base64.StdEncoding.EncodeToString(b)
	var lines []string
	for ; len(text) > 76; text = text[76:] {
		lines = append(lines, text[:76])
	}
	return strings.Join(append(lines, text), "\r\n")
}

// TestDecision is the main job with real programs: swaks submits a decision
// with a PDF to the running binary; it reaches both platforms; their receipts
// come back, are verified and matched, and the story can be read.
func TestDecision(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	secret := token()
	path, raw := letter(t, "[einschreiben] Baubewilligung "+secret[:8], "Inhalt "+secret)
	out, err := r.swaks("--to", "buerger@example.ch,firma@example.ch", "--data", "@"+path)
	if err != nil {
		t.Fatalf("swaks: %v\n%s", err, out)
	}
	id := idIn(t, out)
	await(t, "two Abgabequittungen", func() bool { return r.inCase(id, message.CaseSubmitted) == 2 })
	r.checkLeft(t, "incamail", r.sims.incamail.Received(), "<r> ", "buerger@example.ch", raw)
	r.checkLeft(t, "privasphere", r.sims.privasphere.Received(), "<egov> ", "firma@example.ch", raw)
	for _, p := range []*simulator.Platform{r.sims.incamail, r.sims.privasphere} {
		for _, m := range p.Messages() {
			if err := p.Accept(m.ID); err != nil {
				t.Error(err)
			}
		}
	}
	await(t, "two Abholquittungen", func() bool { return r.inCase(id, message.CaseCollected) == 2 })
	for _, s := range r.trace(id.String()) {
		if len(s.Receipts) < 4 {
			t.Errorf("%d receipts, want at least two for each recipient", len(s.Receipts))
		}
		for _, rec := range s.Receipts {
			if rec.Verdict != message.Verified || rec.MatchedBy == "" {
				t.Errorf("receipt %s of %s: %s (%s), matched by %q", rec.Kind, rec.Platform, rec.Verdict, rec.Detail, rec.MatchedBy)
			}
		}
	}
	for _, question := range []string{"buerger@example.ch", r.trace(id.String())[0].Items[0].Reference, r.trace(id.String())[0].Envelope.MessageID} {
		if got := r.trace(question); len(got) != 1 || got[0].Envelope.ID != id {
			t.Errorf("message trace %q finds %d stories, want the one", question, len(got))
		}
	}
	text, code := r.run("message", "trace", id.String(), "--purpose", "operation")
	if code != 0 || !strings.Contains(text, "abholquittung") {
		t.Errorf("message trace: exit %d\n%s", code, text)
	}
	if took := r.stop(); took > 30*time.Second {
		t.Errorf("SIGTERM took %s", took)
	}
	r.clean(t)
	r.noPlaintext(t, secret, "buerger@example.ch", "verfuegung.pdf", "Baubewilligung")
}

// checkLeft: exactly one mail, with the expected tag, a reference, the
// recipient, and a body identical to what was sent.
func (r *rig) checkLeft(t *testing.T, name string, got []simulator.Received, tag, to string, sent []byte) {
	t.Helper()
	if len(got) != 1 {
		t.Fatalf("%s received %d mails, want 1", name, len(got))
	}
	head, body := split(got[0].Raw)
	_, want := split(sent)
	if !bytes.Equal(body, want) {
		t.Errorf("%s: the body differs from what was sent (%d and %d octets)", name, len(body), len(want))
	}
	subject := regexp.MustCompile(`(?m)^Subject: ` + regexp.QuoteMeta(tag) + `\[BL-[0-9A-Z]{8}\] Baubewilligung`)
	if !subject.Match(head) {
		t.Errorf("%s: subject is not %q and a reference:\n%s", name, tag, head)
	}
	if n := bytes.Count(bytes.ToLower(head), []byte("\nsubject:")); n != 1 {
		t.Errorf("%s: %d subjects", name, n)
	}
	if len(got[0].To) != 1 || got[0].To[0] != to {
		t.Errorf("%s: recipients %q, want %q", name, got[0].To, to)
	}
	if !bytes.Contains(head, []byte("X-Odd:  spacing \t kept\r\n")) {
		t.Errorf("%s: an untouched header field was changed", name)
	}
}

func (r *rig) inCase(id message.ID, c message.CaseState) int {
	n := 0
	for _, s := range r.trace(id.String()) {
		for _, item := range s.Items {
			if item.Case == c {
				n++
			}
		}
	}
	return n
}

// clean runs both verifications of a stopped installation.
func (r *rig) clean(t *testing.T) {
	t.Helper()
	if out, code := r.run("queue", "check"); code != 0 {
		t.Errorf("queue check: exit %d\n%s", code, out)
	}
	if out, code := r.run("audit", "verify"); code != 0 {
		t.Errorf("audit verify: exit %d\n%s", code, out)
	}
}

// noPlaintext greps the whole data folder and the operational log.
func (r *rig) noPlaintext(t *testing.T, planted ...string) {
	t.Helper()
	files := 0
	err := filepath.Walk(filepath.Join(r.dir, "data"), func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, p := range planted {
			for _, form := range []string{p, base64.StdEncoding.EncodeToString([]byte(p))[:len(p)*4/3-2], hex.EncodeToString([]byte(p))} {
				if bytes.Contains(text, []byte(form)) {
					t.Errorf("%s contains %q", path, p)
				}
			}
		}
		return nil
	})
	if err != nil || files < 4 {
		t.Errorf("%d files read: %v", files, err)
	}
	for _, p := range planted {
		if strings.Contains(r.log.String(), p) {
			t.Errorf("the operational log contains %q", p)
		}
	}
}

// TestConfidentialWithoutKey: no byte leaves, the message is held and the
// sender told; after its limit it goes back.
func TestConfidentialWithoutKey(t *testing.T) {
	r := newRig(t, func(s string) string { return s + "\n[delivery]\nhold_return = \"2s\"\n" })
	r.start()
	path, _ := letter(t, "[vertraulich] Akten", "geheim")
	out, err := r.swaks("--to", "niemand@example.net", "--data", "@"+path)
	if err != nil {
		t.Fatalf("swaks: %v\n%s", err, out)
	}
	id := idIn(t, out)
	state := func() message.State { return r.trace(id.String())[0].Items[0].State }
	await(t, "held", func() bool { return state() == message.Held })
	await(t, "returned after its limit", func() bool { return state() == message.Refused })
	notices := 0
	for _, e := range r.trace(id.String())[0].Events {
		if e.Kind == message.EventNotice {
			notices++
		}
	}
	if notices != 2 {
		t.Errorf("the sender was told %d times, want twice: held, returned", notices)
	}
	if n := len(r.sink.all()) + len(r.sims.incamail.Received()) + len(r.sims.privasphere.Received()); n != 0 {
		t.Errorf("%d mails left", n)
	}
}

// TestRefusals: what must not be accepted is refused at once, with words that
// help, and nothing is stored.
func TestRefusals(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	in := func(args ...string) string {
		out, _ := exec.Command(need(t, "swaks", "swaks"), append([]string{"--server", r.ports.Inbound, "--helo", "stranger.example"}, args...)...).CombinedOutput()
		return string(out)
	}
	tests := []struct {
		name, out, want string
	}{
		{"relay for a stranger", in("--from", "x@example.org", "--to", "y@example.net"), "550 5.7.1"},
		{"unknown mailbox", in("--from", "x@example.org", "--to", "niemand@bl.example"), "550 5.1.1"},
		{"two authorities in one transaction", in("--from", "x@example.org", "--to", "bauinspektorat@bl.example,steuerverwaltung@bl.example"), "452 4.5.3"},
	}
	for _, tt := range tests {
		if !strings.Contains(tt.out, tt.want) {
			t.Errorf("%s: no %q in\n%s", tt.name, tt.want, tt.out)
		}
	}
	foreign, err := r.swaks("--from", "steuerverwaltung@bl.example", "--to", "buerger@example.ch")
	if err == nil || !strings.Contains(foreign, "550 5.7.1") {
		t.Errorf("another authority's sender address: %v\n%s", err, foreign)
	}
	control, err := r.swaks("--to", "buerger@example.ch", "--header", "Subject: dump4DebugT0f!l3: hallo")
	if err == nil || !strings.Contains(control, "550 5.7.1") {
		t.Errorf("a platform's debug keyword in the subject: %v\n%s", err, control)
	}
	out, _ := r.run("queue", "list", "--json")
	if strings.Contains(out, `"key"`) && !strings.Contains(out, "bauinspektorat@bl.example") {
		t.Errorf("something was stored:\n%s", out)
	}
}
