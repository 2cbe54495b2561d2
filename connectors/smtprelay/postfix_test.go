package smtprelay_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/connectors"
	"gatewayd/connectors/connectortest"
	"gatewayd/connectors/smtpclient"
	"gatewayd/connectors/smtprelay"
	"gatewayd/message"
)

// postfix is a real Postfix with a configuration of its own, on loopback; it
// requires TLS with a client certificate and delivers everything into mail/.
type postfix struct {
	addr string
	dir  string
}

const mainCf = `compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = %[1]s/mail.log
maillog_file_prefixes = %[1]s
myhostname = sink.example
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
alias_maps =
alias_database =
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_recipient_restrictions = permit_tls_clientcerts, reject_unauth_destination
relay_domains =
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = %[1]s/cert.pem
smtpd_tls_key_file = %[1]s/key.pem
smtpd_tls_CAfile = %[1]s/ca.pem
smtpd_tls_req_ccert = yes
virtual_mailbox_domains = example.ch
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_maps = static:box/
virtual_minimum_uid = 1
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
`

const masterCf = `%s inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`

func startPostfix(t *testing.T, ca *connectortest.CA) *postfix {
	t.Helper()
	if _, err := exec.LookPath("/usr/sbin/postfix"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("needs postfix: apt-get install postfix")
		}
		t.Skip("needs postfix: apt-get install postfix")
	}
	if os.Getuid() != 0 {
		t.Skip("postfix changes users: run as root")
	}
	p := &postfix{addr: freeAddr(t), dir: t.TempDir()}
	for dir := p.dir; strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755)) // Postfix's users walk through
	}
	for _, d := range []string{"etc", "spool", "data", "mail"} {
		must(t, os.Mkdir(filepath.Join(p.dir, d), 0o755))
	}
	p.run(t, "chown", "postfix", filepath.Join(p.dir, "data"))
	p.run(t, "chown", "65534:65534", filepath.Join(p.dir, "mail"))
	cert := ca.Issue("sink.example")
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	must(t, err)
	p.write(t, "cert.pem", encode("CERTIFICATE", cert.Certificate[0]))
	p.write(t, "key.pem", encode("PRIVATE KEY", key))
	p.write(t, "ca.pem", encode("CERTIFICATE", ca.Certificate().Raw))
	p.write(t, "etc/main.cf", fmt.Appendf(nil, mainCf, p.dir))
	p.write(t, "etc/master.cf", fmt.Appendf(nil, masterCf, p.addr))
	p.run(t, "/usr/sbin/postfix", "-c", filepath.Join(p.dir, "etc"), "start")
	t.Cleanup(func() {
		_ = exec.Command("/usr/sbin/postfix", "-c", filepath.Join(p.dir, "etc"), "stop").Run()
	})
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (p *postfix) write(t *testing.T, name string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(p.dir, name), data, 0o600))
}

func (p *postfix) run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// delivered waits for n messages and returns them, line ends as on the wire.
func (p *postfix) delivered(t *testing.T, n int) []string {
	t.Helper()
	for range 2400 {
		files, _ := filepath.Glob(filepath.Join(p.dir, "mail/box/new/*"))
		if len(files) < n {
			time.Sleep(25 * time.Millisecond)
			continue
		}
		var all []string
		for _, f := range files {
			raw, err := os.ReadFile(f)
			must(t, err)
			all = append(all, string(bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))))
		}
		return all
	}
	log, _ := os.ReadFile(filepath.Join(p.dir, "mail.log"))
	t.Fatalf("postfix did not deliver %d messages:\n%s", n, log)
	return nil
}

// TestPostfix hands mail to a real Postfix: verified TLS with a client
// certificate, and what it delivers is what was sent, octet for octet.
func TestPostfix(t *testing.T) {
	ca := connectortest.NewCA(t)
	p := startPostfix(t, ca)
	tlsConfig := connectortest.Trust(ca)
	tlsConfig.Certificates = append(tlsConfig.Certificates, ca.Issue("gateway.bl.example"))
	link := smtpclient.Options{Addr: p.addr, ServerName: "sink.example", TLS: tlsConfig, Hello: "gateway.bl.example"}

	dots := "first\r\n.\r\n..\r\n.\r\nMAIL FROM:<a@evil.test>\r\n\r\n" + strings.Repeat(strings.Repeat(".", 70)+"\r\n", 2000)
	for i, body := range []string{connectortest.BodyPart, dots} {
		h := connectortest.With(message.Normal, connectortest.Header("Brief")+body)
		res, err := toSmarthost(t, link).Submit(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		if res.RemoteID == "" || !strings.Contains(res.Reply, "queued as "+res.RemoteID) {
			t.Errorf("result %+v has no queue id", res)
		}
		want := h.Received + "\r\n" + strings.Replace(connectortest.Header("Brief"), "Bcc: heimlich@example.ch\r\n", "", 1) + body
		want = strings.Replace(want, "Return-Path: <x@bl.example>\r\n", "", 1) // Postfix takes it off, as RFC 5321 section 4.4 says
		found := 0
		for _, got := range p.delivered(t, i+1) {
			if strings.HasSuffix(got, want) {
				found++
			}
		}
		if found != 1 {
			t.Errorf("message %d was delivered unchanged %d times, want 1", i, found)
		}
	}

	link.TLS = connectortest.Trust(connectortest.NewCA(t))
	if _, err := toSmarthost(t, link).Submit(t.Context(), connectortest.Letter(message.Normal)); err == nil || connectors.KindOf(err) != connectors.Temporary {
		t.Errorf("an unknown root: error %v, want a temporary one", err)
	}
	link.TLS = tlsConfig
	h := connectortest.Letter(message.Normal)
	h.To.Domain = "elsewhere.example"
	if _, err := newRelay(t, smtprelay.Options{Link: link}).Submit(t.Context(), h); err == nil || connectors.KindOf(err) != connectors.Permanent {
		t.Errorf("relaying denied: error %v, want a permanent one", err)
	}
}

// TestPostfixManyMessages: a hundred messages, some of them long, go to a real
// Postfix over few connections, by PIPELINING and BDAT, and every one arrives
// once and unchanged.
func TestPostfixManyMessages(t *testing.T) {
	const messages, workers = 100, 4
	ca := connectortest.NewCA(t)
	p := startPostfix(t, ca)
	tlsConfig := connectortest.Trust(ca)
	tlsConfig.Certificates = append(tlsConfig.Certificates, ca.Issue("gateway.bl.example"))
	pool := smtpclient.NewPool(smtpclient.PoolOptions{Idle: time.Hour})
	c := toSmarthost(t, smtpclient.Options{Addr: p.addr, ServerName: "sink.example", TLS: tlsConfig, Hello: "gateway.bl.example", Pool: pool})
	want := map[string]bool{}
	work := make(chan connectors.Handover, messages)
	for i := range messages {
		body := fmt.Sprintf("Nummer %d\r\n.\r\n..\r\n", i)
		if i%10 == 0 {
			body += strings.Repeat(".eine Zeile, die mit einem Punkt beginnt\r\n", 4000)
		}
		want[body] = true
		work <- connectortest.With(message.Normal, connectortest.Header("Brief")+body)
	}
	close(work)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for h := range work {
				if _, err := c.Submit(t.Context(), h); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	pool.Close()
	for _, got := range p.delivered(t, messages) {
		body := string(connectortest.BodyOf(t, []byte(got)))
		if !want[body] {
			t.Errorf("came changed or twice: %.40q", body)
		}
		delete(want, body)
	}
	p.wantFew(t, workers)
}

// wantFew reads in Postfix's log how many connections there were, and that some
// of them carried BDAT.
func (p *postfix) wantFew(t *testing.T, most int) {
	t.Helper()
	var log string
	for range 2400 {
		raw, err := os.ReadFile(filepath.Join(p.dir, "mail.log"))
		must(t, err)
		if log = string(raw); strings.Count(log, ": connect from") == strings.Count(log, ": disconnect from") {
			break
		}
		time.Sleep(25 * time.Millisecond)
	}
	n := strings.Count(log, ": connect from")
	if n == 0 || n > most {
		t.Errorf("%d connections, want 1 to %d:\n%s", n, most, log)
	}
	if !strings.Contains(log, " bdat=") || strings.Contains(log, " rset=") {
		t.Errorf("BDAT was not used, or RSET was:\n%s", log)
	}
}
