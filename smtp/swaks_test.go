package smtp

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
)

// swaks finds the program: a real client that nobody here wrote.
func swaks(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("swaks")
	if err != nil {
		const need = "needs swaks: apt-get install swaks"
		if os.Getenv("CI") != "" {
			t.Fatal(need)
		}
		t.Skip(need)
	}
	return path
}

func (d *door) listen(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go d.server.Serve(l)
	return l.Addr().String()
}

func writePEM(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSwaks(t *testing.T) {
	program := swaks(t)
	token := make([]byte, 8)
	rand.Read(token)
	text := "Subject: swaks\n\n.a dot\nToken " + hex.EncodeToString(token) + "\n"
	submission := open(t, message.Outbound, nil)
	implicit := open(t, message.Outbound, func(o *Options) { o.ImplicitTLS = true })
	inbound := open(t, message.Inbound, nil)
	machine := submission.ca.issue(t, "machine.example", x509.ExtKeyUsageClientAuth)
	key, err := x509.MarshalPKCS8PrivateKey(machine.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate := []string{"--tls-cert", writePEM(t, "cert.pem", "CERTIFICATE", machine.Certificate[0]), "--tls-key", writePEM(t, "key.pem", "PRIVATE KEY", key)}
	cases := []struct {
		name  string
		d     *door
		args  []string
		ok    bool
		says  string
		proto string
	}{
		{"STARTTLS and password", submission, []string{"-tls", "-a", "PLAIN", "-au", "bau", "-ap", "geheim"}, true, "250 2.0.0 accepted as ", "ESMTPSA"},
		{"implicit TLS and password", implicit, []string{"-tlsc", "-a", "PLAIN", "-au", "bau", "-ap", "geheim"}, true, "250 2.0.0 accepted as ", "ESMTPSA"},
		{"client certificate", submission, append([]string{"-tls"}, certificate...), true, "250 2.0.0 accepted as ", "ESMTPSA"},
		{"wrong password", submission, []string{"-tls", "-a", "PLAIN", "-au", "bau", "-ap", "falsch"}, false, "535 5.7.8 authentication failed", ""},
		{"no login", submission, []string{"-tls"}, false, "530 5.7.0 authentication required", ""},
		{"no TLS", submission, nil, false, "530 5.7.0 must issue a STARTTLS command first", ""},
		{"port 25", inbound, nil, true, "250 2.0.0 accepted as ", "ESMTP"},
		{"port 25 with TLS, pipelined", inbound, []string{"-tls", "--pipeline"}, true, "250 2.0.0 accepted as ", "ESMTPS"},
	}
	for _, tc := range cases {
		before := len(tc.d.intake.all())
		args := append([]string{"--server", tc.d.listen(t), "--from", "amt@bl.example", "--to", "buerger@example.ch", "--data", text, "--helo", "client.example"}, tc.args...)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
		cancel()
		if (err == nil) != tc.ok || !strings.Contains(string(out), tc.says) {
			t.Errorf("%s: %v, want %q\n%s", tc.name, err, tc.says, out)
			continue
		}
		mails := tc.d.intake.all()[before:]
		if !tc.ok {
			if len(mails) != 0 {
				t.Errorf("%s: accepted", tc.name)
			}
			continue
		}
		if len(mails) != 1 || !strings.HasPrefix(mails[0].body, strings.ReplaceAll(text, "\n", "\r\n")) {
			t.Errorf("%s: mails %+v", tc.name, mails)
			continue
		}
		if s := mails[0].sub; s.Protocol != tc.proto || s.RemoteAddr != "127.0.0.1" || s.Helo != "client.example" {
			t.Errorf("%s: submission %+v", tc.name, s)
		}
	}
}
