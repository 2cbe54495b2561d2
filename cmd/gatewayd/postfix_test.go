package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/config"
	"gatewayd/message"
)

// mainCF is a Postfix with a configuration of its own, on loopback.
const mainCF = `compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = %[1]s/mail.log
maillog_file_prefixes = %[1]s
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
alias_maps =
alias_database =
disable_dns_lookups = yes
smtpd_peername_lookup = no
`

const masterCF = `%s inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
smtp unix - - n - - smtp
relay unix - - n - - smtp
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`

// startPostfix runs a Postfix at addr and returns its folder.
func startPostfix(t *testing.T, addr, extra string, files map[string]string) string {
	t.Helper()
	postfix := need(t, "postfix", "postfix")
	if os.Getuid() != 0 {
		t.Skip("postfix changes users: run as root")
	}
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"etc", "spool", "data", "mail"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, from := range files {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"main.cf": fmt.Sprintf(mainCF, dir) + strings.ReplaceAll(extra, "DIR", dir), "master.cf": fmt.Sprintf(masterCF, addr)} {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	do := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	do("chown", "postfix", filepath.Join(dir, "data"))
	do("chown", "65534:65534", filepath.Join(dir, "mail"))
	do(postfix, "-c", filepath.Join(dir, "etc"), "start")
	t.Cleanup(func() {
		_ = exec.Command(postfix, "-c", filepath.Join(dir, "etc"), "stop").Run()
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(dir, "mail.log"))
			t.Logf("%s:\n%s", dir, tailOf(string(text), 3000))
		}
	})
	return dir
}

// TestPostfixBothSides: an authority's real Postfix submits to us with a client
// certificate, and a real Postfix takes ordinary mail from us over verified
// TLS. The body is the same at both ends.
func TestPostfixBothSides(t *testing.T) {
	r := newRig(t, nil)
	addr := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	mine, theirs := addr(), addr()
	next := startPostfix(t, theirs, `myhostname = relay.example
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = DIR/tls.crt
smtpd_tls_key_file = DIR/tls.key
smtpd_recipient_restrictions = reject_unauth_destination
virtual_mailbox_domains = example.org
virtual_mailbox_base = DIR/mail
virtual_mailbox_maps = static:box/
virtual_minimum_uid = 1
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
`, map[string]string{"tls.crt": filepath.Join(r.dir, config.RelayServer+".crt"), "tls.key": filepath.Join(r.dir, config.RelayServer+".key")})
	host, port, _ := net.SplitHostPort(r.ports.Submission)
	startPostfix(t, mine, fmt.Sprintf(`myhostname = mail.bl.example
mynetworks = 127.0.0.0/8
relayhost = [%s]:%s
smtp_tls_security_level = verify
smtp_tls_verify_cert_match = gateway.bl.example
smtp_tls_CAfile = DIR/ca.crt
smtp_tls_cert_file = DIR/client.crt
smtp_tls_key_file = DIR/client.key
`, host, port), map[string]string{"ca.crt": filepath.Join(r.dir, config.SimulatorCA), "client.crt": filepath.Join(r.dir, "client.crt"), "client.key": filepath.Join(r.dir, "client.key")})
	replaceIn(t, r.file, `"`+r.ports.Relay+`"`, `"`+theirs+`"`)
	r.start()
	secret := token()
	path, raw := letter(t, "Auskunft", "Inhalt "+secret)
	out, err := exec.Command(need(t, "swaks", "swaks"), "--server", mine, "--from", "bauinspektorat@bl.example", "--to", "kunde@example.org", "--data", "@"+path).CombinedOutput()
	if err != nil {
		t.Fatalf("swaks to the authority's Postfix: %v\n%s", err, out)
	}
	var got []byte
	await(t, "the mail in the next Postfix's mailbox", func() bool {
		files, _ := filepath.Glob(filepath.Join(next, "mail/box/new/*"))
		if len(files) == 0 {
			return false
		}
		got, err = os.ReadFile(files[0])
		return err == nil
	})
	_, want := split(raw)
	body := got[bytes.Index(got, []byte("\n\n"))+2:]
	if !bytes.Equal(bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n")), want) {
		t.Errorf("the body changed: %d octets, want %d", len(body), len(want))
	}
	for _, s := range r.trace("kunde@example.org") {
		if s.Envelope.Account != "fachapplikation-bau" || s.Items[0].State != message.Done || !strings.HasPrefix(s.Envelope.TLS, "TLS1.") {
			t.Errorf("account %q, state %s, TLS %q", s.Envelope.Account, s.Items[0].State, s.Envelope.TLS)
		}
		if !bytes.Contains(got, []byte(s.Envelope.ID.String())) {
			t.Error("the Received field does not name the id")
		}
	}
}
