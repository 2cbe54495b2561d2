package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/config"
	"gatewayd/message"
)

// program is a program of an authority that speaks to the HTTP API.
type program struct {
	t      *testing.T
	base   string
	token  string
	client *http.Client
}

func (p program) do(method, path, kind string, body []byte, header ...string) (int, []byte) {
	p.t.Helper()
	req, err := http.NewRequest(method, p.base+path, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	req.Header.Set("Gatewayd-Purpose", "operation")
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, out
}

// secretOf makes a token by the command and adds its line to the token file.
func (r *rig) secretOf(t *testing.T, name, authority string) string {
	t.Helper()
	out, code := r.run("token", "new", name, "--authority", authority, "--rights", "send,read,handover")
	_, secret, ok := strings.Cut(out, "(shown only now): ")
	_, line, ok2 := strings.Cut(out, "token file:  ")
	if code != 0 || !ok || !ok2 {
		t.Fatalf("token new: exit %d\n%s", code, out)
	}
	f, err := os.OpenFile(filepath.Join(r.dir, "tokens"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line); err != nil {
		t.Fatal(err)
	}
	return strings.SplitN(secret, "\n", 2)[0]
}

// TestAPI: a program sends a registered decision over HTTP, reads it at once,
// follows it to the receipt and fetches that byte for byte; another authority's
// program finds nothing of it.
func TestAPI(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	r := newRig(t, nil)
	mine, theirs := r.secretOf(t, "bau", "bauinspektorat"), r.secretOf(t, "steuer", "steuerverwaltung")
	replaceIn(t, r.file, "[listen]\n", "[api]\naddr = \""+addr+"\"\n\n[listen]\n")
	r.start()
	await(t, "the API's port", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	roots, err := rootsIn(filepath.Join(r.dir, config.SimulatorCA))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "gateway.bl.example", MinVersion: tls.VersionTLS12}}}
	me, other := program{t, "https://" + addr, mine, client}, program{t, "https://" + addr, theirs, client}
	raw := []byte("From: bauinspektorat@bl.example\r\nTo: buerger@example.ch\r\nSubject: Entscheid\r\nMessage-ID: <api-1@bl.example>\r\n\r\nVerfuegung\r\n")
	path := "/v1/messages?" + url.Values{"from": {"bauinspektorat@bl.example"}, "to": {"buerger@example.ch"}, "class": {"registered"}}.Encode()
	status, body := me.do(http.MethodPost, path, "message/rfc822", raw, "Idempotency-Key", "fall-17")
	var accepted struct{ ID message.ID }
	if status != http.StatusAccepted || json.Unmarshal(body, &accepted) != nil || accepted.ID.IsZero() {
		t.Fatalf("POST: %d\n%s", status, body)
	}
	one := "/v1/messages/" + accepted.ID.String()
	if status, body := me.do(http.MethodGet, one, "", nil); status != http.StatusOK || !bytes.Contains(body, []byte("buerger@example.ch")) {
		t.Errorf("GET right after 202: %d\n%s", status, body)
	}
	if status, body := me.do(http.MethodPost, path, "message/rfc822", raw, "Idempotency-Key", "fall-17"); status/100 != 2 || !bytes.Contains(body, []byte(accepted.ID.String())) {
		t.Errorf("the same key again: %d\n%s", status, body)
	}
	await(t, "the Abgabequittung", func() bool { return r.inCase(accepted.ID, message.CaseSubmitted) == 1 })
	receipt := r.trace(accepted.ID.String())[0].Receipts[0]
	status, pdf := me.do(http.MethodGet, one+"/receipts/1", "", nil)
	if status != http.StatusOK || !bytes.HasPrefix(pdf, []byte("%PDF-")) || digestHex(pdf) != receipt.Digest.String() {
		t.Errorf("receipt: %d, %d octets", status, len(pdf))
	}
	for _, path := range []string{one, one + "/receipts/1", "/v1/mailboxes/bauinspektorat/messages", "/v1/mailboxes/bauinspektorat/messages/" + accepted.ID.String()} {
		if status, body := other.do(http.MethodGet, path, "", nil); status != http.StatusNotFound {
			t.Errorf("another authority: GET %s: %d\n%s", path, status, body)
		}
	}
	if status, body := other.do(http.MethodPost, path, "message/rfc822", raw); status/100 == 2 {
		t.Errorf("another authority sends as us: %d\n%s", status, body)
	}
	if status, body := me.do(http.MethodGet, "/v1/mailboxes/bauinspektorat/messages/"+accepted.ID.String(), "", nil); status != http.StatusOK || !bytes.Equal(body, raw) {
		t.Errorf("the message itself: %d\n%s", status, body)
	}
	if n := len(r.sims.incamail.Received()); n != 1 {
		t.Errorf("the platform received it %d times, want once", n)
	}
	if strings.Contains(r.log.String(), mine) || strings.Contains(r.log.String(), "buerger@example.ch") {
		t.Error("the log names a secret or an address")
	}
	r.stop()
	r.clean(t)
}

// TestForward: what comes in for an authority goes to its own mail server, too,
// as it came.
func TestForward(t *testing.T) {
	r := newRig(t, nil)
	replaceIn(t, r.file, "members      = [\"sachbearbeitung\", ", "forward      = { to = \"smtp://"+strings.Replace(r.ports.Relay, "127.0.0.1", "localhost", 1)+"\", roots = \"ca.crt\" }\nmembers      = [\"sachbearbeitung\", ")
	r.start()
	secret := token()
	text := "From: wer@example.org\r\nSubject: Anfrage\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n\r\n" + secret + "\r\n"
	if err := r.stranger(text, "bauinspektorat@bl.example"); err != nil {
		t.Fatal(err)
	}
	await(t, "the copy at the authority's own server", func() bool { return len(r.sink.all()) == 1 })
	m := r.sink.all()[0]
	head, body := split(m.raw)
	if !strings.Contains(string(head), "\r\nX-Gatewayd-Verdict: unsigned; signature=none; encryption=unreadable") {
		t.Errorf("header %q", head)
	}
	if m.to != "bauinspektorat@bl.example" || string(body) != secret+"\r\n" {
		t.Errorf("to %s, body %q", m.to, body)
	}
	r.stop()
	r.clean(t)
}
