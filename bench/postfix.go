package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func aboutPostfix(*lab) (string, error) {
	if _, err := program("postfix"); err != nil {
		return "", err
	}
	if os.Getuid() != 0 {
		return "", errors.New("it changes users: run as root")
	}
	conf, err := program("postconf")
	if err != nil {
		return "", err
	}
	return firstLine(conf, "-d", "mail_version")
}

// postfixMain is a Postfix with folders of its own, as fast as its manual has
// it: no DNS, no brakes for one client, 50 deliveries at once. in_flow_delay
// would slow down the clients on purpose.
const postfixMain = `compatibility_level = 3.6
queue_directory = DIR/spool
data_directory = DIR/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = DIR/log
maillog_file_prefixes = DIR
myhostname = gateway.bl.example
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:SINK
disable_dns_lookups = yes
smtpd_peername_lookup = no
message_size_limit = 104857600
default_process_limit = 250
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_recipient_restrictions = permit_mynetworks, reject
in_flow_delay = 0
smtp_destination_concurrency_limit = 50
qmgr_message_active_limit = 20000
`

// postfixPark lets accepted mail lie.
const postfixPark = "smtpd_client_restrictions = check_client_access static:HOLD\n"

// postfixTLS does on both sides what gatewayd does: TLS for the clients, and
// verified TLS to the sink.
const postfixTLS = `smtpd_tls_security_level = may
smtpd_tls_chain_files = DIR/etc/tls.pem
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = relay.example
smtp_tls_CAfile = DIR/etc/ca.crt
`

const postfixMaster = `127.0.0.1:PORT inet n - n - - smtpd FILTER
127.0.0.1:AGAIN inet n - n - - smtpd -o content_filter= -o smtpd_tls_security_level=none
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
protect unix - n n - PROCS pipe flags=q user=nobody argv=BENCH filter DIR/filter ${sender} ${recipient}
`

// filterProcesses run at once in W4.
const filterProcesses = 4

func startPostfix(ctx context.Context, s setup) (*running, error) {
	postfix, err := program("postfix")
	if err != nil {
		return nil, err
	}
	owner, err := user.Lookup("postfix")
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(owner.Uid)
	for _, d := range []string{"etc", "spool", "data", "filter"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(s.dir, d), 0o755))
	}
	if err = errors.Join(err, os.Chown(filepath.Join(s.dir, "data"), uid, -1)); err != nil {
		return nil, err
	}
	r := &running{spool: filepath.Join(s.dir, "spool"), entrance: entrance{addr: s.lab.addr(portPeer), from: "bauinspektorat@bl.example", to: "kunde@rcpt.example"}}
	conf, filter := postfixMain, ""
	switch s.mode {
	case accepting:
		conf += postfixPark
	case parking:
		conf += postfixPark + postfixTLS
	case securing:
		conf, filter, r.to = conf+postfixTLS, "-o content_filter=protect:dummy", partner
		if err := s.keys.filterFolder(filepath.Join(s.dir, "filter"), s.lab.addr(portPeerAgain)); err != nil {
			return nil, err
		}
	case delivering:
		conf += postfixTLS
	}
	if s.mode != accepting {
		r.tls = s.lab.clientTLS
	}
	self, err := s.lab.self()
	if err != nil {
		return nil, err
	}
	fill := strings.NewReplacer("DIR", s.dir, "SINK", strconv.Itoa(s.lab.base+portSink), "PORT", strconv.Itoa(s.lab.base+portPeer), "AGAIN", strconv.Itoa(s.lab.base+portPeerAgain),
		"FILTER", filter, "PROCS", strconv.Itoa(filterProcesses), "BENCH", self)
	for name, text := range map[string]string{"main.cf": fill.Replace(conf), "master.cf": fill.Replace(postfixMaster)} {
		err = errors.Join(err, os.WriteFile(filepath.Join(s.dir, "etc", name), []byte(text), 0o644))
	}
	if err = errors.Join(err, join(filepath.Join(s.dir, "etc/tls.pem"), s.lab.file("gateway.key"), s.lab.file("gateway.crt")),
		join(filepath.Join(s.dir, "etc/ca.crt"), s.lab.file("ca.crt"))); err != nil {
		return nil, err
	}
	if r.process, err = spawn(s.dir, s.wrap, postfix, "-c", filepath.Join(s.dir, "etc"), "start-fg"); err != nil {
		return nil, err
	}
	if err := r.answers(ctx, r.addr); err != nil {
		r.kill()
		return nil, err
	}
	return r, nil
}

// join writes some files into one.
func join(to string, from ...string) error {
	var all []byte
	for _, name := range from {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		all = append(all, text...)
	}
	return os.WriteFile(to, all, 0o600)
}

// self is this program where every user can run it.
func (l *lab) self() (string, error) {
	path := filepath.Join(l.dir, "bench")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(exe)
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, text, 0o755) //nolint:gosec // others run it
}

// filter is what Postfix calls for every message in W4: openssl signs, a second
// openssl encrypts, and the result goes back by SMTP. Header fields about the
// message stay outside, those about its content go inside. It is what the usual
// filter scripts do, with pipes for temporary files and without a shell.
func filter(dir, from, to string, in io.Reader) error {
	raw, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	outer, inner := splitHeader(raw)
	again, err := os.ReadFile(filepath.Join(dir, "again"))
	if err != nil {
		return err
	}
	sign := exec.Command("openssl", "cms", "-sign", "-md", "sha256", "-signer", filepath.Join(dir, "own.crt"), "-inkey", filepath.Join(dir, "own.key"))
	encrypt := exec.Command("openssl", "cms", "-encrypt", "-aes-256-gcm", filepath.Join(dir, "partner.crt"))
	sign.Stdin = strings.NewReader(inner)
	var sealed, trouble strings.Builder
	encrypt.Stdout, sign.Stderr, encrypt.Stderr = &sealed, &trouble, &trouble
	if encrypt.Stdin, err = sign.StdoutPipe(); err != nil {
		return err
	}
	if err := errors.Join(sign.Start(), encrypt.Start()); err != nil {
		return err
	}
	if err := errors.Join(encrypt.Wait(), sign.Wait()); err != nil {
		return fmt.Errorf("%w: %.200s", err, trouble.String())
	}
	return bring(entrance{addr: string(again), from: from, to: to}, outer+sealed.String())
}

// bring hands a finished message over.
func bring(e entrance, text string) error {
	c, err := dial(e)
	if err != nil {
		return err
	}
	defer c.quit()
	if err := c.begin(e); err != nil {
		return err
	}
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, ".") {
			line = "." + line
		}
		c.w.WriteString(line + "\r\n")
	}
	return c.command('2', ".")
}

// splitHeader divides the fields of a message; inner is a whole MIME part.
func splitHeader(raw []byte) (outer, inner string) {
	text := strings.ReplaceAll(string(raw), "\r\n", "\n")
	head, body, _ := strings.Cut(text, "\n\n")
	toOuter := true
	for line := range strings.Lines(head + "\n") {
		if line[0] != ' ' && line[0] != '\t' {
			name, _, _ := strings.Cut(strings.ToLower(line), ":")
			toOuter = !strings.HasPrefix(name, "content-") && name != "mime-version"
		}
		if toOuter {
			outer += line
		} else {
			inner += line
		}
	}
	return outer, inner + "\n" + body
}
