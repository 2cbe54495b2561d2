package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// unpacked finds a program below bench/out/peers, where unpack puts what cannot
// be installed beside Postfix, or else on the machine.
func (l *lab) unpacked(peer, path string) (string, error) {
	found, err := program(filepath.Base(path), filepath.Join(l.out, "peers", peer, path))
	if err != nil {
		return "", fmt.Errorf("%w: make bench-peers", err)
	}
	return found, nil
}

// needUser checks what a peer needs to change users.
func needUser(name string) error {
	if os.Getuid() != 0 {
		return errors.New("it changes users: run as root")
	}
	_, err := user.Lookup(name)
	return err
}

// offline is put in front of a peer that would ask the DNS: where it runs,
// resolv.conf names a closed port, so that it hears at once that there is none.
const offline = `mount --bind "$0" /etc/resolv.conf && exec "$@"`

// begin starts a peer that stays in the foreground.
func begin(ctx context.Context, s setup, r *running, name string, args ...string) (*running, error) {
	resolver, err := s.filled("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
	if err != nil {
		return nil, err
	}
	before := s.wrap
	if os.Getuid() == 0 {
		before = append(slices.Clone(s.wrap), "unshare", "-m", "sh", "-c", offline, resolver)
	}
	if r.process, err = spawn(s.dir, before, name, args...); err != nil {
		return nil, err
	}
	if err := r.answers(ctx, r.addr); err != nil {
		r.kill()
		return nil, err
	}
	return r, nil
}

func (s setup) strangers() entrance {
	return entrance{addr: s.lab.addr(portPeer), from: "amt@sender.example", to: "kunde@rcpt.example"}
}

// filled replaces words in capitals in a configuration file and writes it.
func (s setup) filled(name, text string, more ...string) (string, error) {
	words := append([]string{"DIR", s.dir, "PORT", strconv.Itoa(s.lab.base + portPeer), "SINK", strconv.Itoa(s.lab.base + portSink)}, more...)
	file := filepath.Join(s.dir, name)
	return file, os.WriteFile(file, []byte(strings.NewReplacer(words...).Replace(text)), 0o644)
}

// Exim.

func aboutExim(l *lab) (string, error) {
	exim, err := l.unpacked("exim", "usr/sbin/exim4")
	if err = errors.Join(err, needUser("Debian-exim")); err != nil {
		return "", err
	}
	return lineWith("Exim version", exim, "-C", "/dev/null", "-bV")
}

const eximConf = `exim_path = EXIM
exim_user = Debian-exim
exim_group = Debian-exim
deliver_drop_privilege = true
spool_directory = DIR/spool
log_file_path = DIR/logs/%s
pid_file_path = DIR/spool/pid
primary_hostname = exim.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = PORT
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 300
smtp_accept_max_per_connection = 1000
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 300
message_size_limit = 100M
split_spool_directory = true
remote_max_parallel = 20
queue_run_max = 20
queue_only = PARK
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
all:
  driver = manualroute
  transport = out
  route_list = * 127.0.0.1 byname
  self = send
begin transports
out:
  driver = smtp
  port = SINK
  allow_localhost
  hosts_try_fastopen =
begin retry
* * F,2h,5m
`

// startExim delivers each message at once, in a process of its own, as Exim does
// by itself.
func startExim(ctx context.Context, s setup) (*running, error) {
	exim, err := s.lab.unpacked("exim", "usr/sbin/exim4")
	if err != nil {
		return nil, err
	}
	conf, err := s.filled("exim.conf", eximConf, "EXIM", exim, "PARK", strconv.FormatBool(s.mode == accepting))
	owner, err2 := user.Lookup("Debian-exim")
	if err = errors.Join(err, err2); err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	for _, d := range []string{"spool", "logs"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(s.dir, d), 0o750), os.Chown(filepath.Join(s.dir, d), uid, gid))
	}
	if err != nil {
		return nil, err
	}
	r := &running{entrance: s.strangers(), spool: filepath.Join(s.dir, "spool")}
	return begin(ctx, s, r, exim, "-C", conf, "-bdf", "-q5m")
}

// OpenSMTPD.

// opensmtpdSpool is compiled in.
const opensmtpdSpool = "/var/spool/smtpd"

func aboutOpenSMTPD(l *lab) (string, error) {
	smtpd, err := l.unpacked("opensmtpd", "usr/sbin/smtpd")
	if err = errors.Join(err, needUser("opensmtpd")); err != nil {
		return "", err
	}
	return firstLine(smtpd, "-h")
}

// opensmtpdConf takes the brakes off: with the stock settings it pauses for five
// seconds after every hundred messages to one host.
const opensmtpdConf = `queue ttl 1h
mta limit conn-delay-host 0 conn-delay-source 0 conn-delay-connector 0 conn-delay-relay 0 conn-delay-domain 0 conn-delay-route 0 max-conn-per-host 50 max-conn-per-route 50 max-conn-per-source 50 max-conn-per-connector 50 max-conn-per-relay 50 max-conn-per-domain 50 session-mail-max 1000
smtp limit max-mails 1000
smtp max-message-size 100M
listen on 127.0.0.1 port PORT hostname opensmtpd.example
action "out" relay host smtp://127.0.0.1:SINK
match from any for any action "out"
`

func startOpenSMTPD(ctx context.Context, s setup) (*running, error) {
	smtpd, err := s.lab.unpacked("opensmtpd", "usr/sbin/smtpd")
	if err != nil {
		return nil, err
	}
	control, err := s.lab.unpacked("opensmtpd", "usr/sbin/smtpctl")
	if err != nil {
		return nil, err
	}
	conf, err := s.filled("smtpd.conf", opensmtpdConf)
	if err = errors.Join(err, emptySpool(opensmtpdSpool)); err != nil {
		return nil, err
	}
	r, err := begin(ctx, s, &running{entrance: s.strangers(), spool: opensmtpdSpool}, smtpd, "-d", "-f", conf)
	if err == nil && s.mode == accepting {
		if out, err := exec.CommandContext(ctx, control, "pause", "mta").CombinedOutput(); err != nil {
			r.kill()
			return nil, fmt.Errorf("smtpctl: %w: %s", err, out)
		}
	}
	return r, err
}

// emptySpool removes the messages of an earlier run; nothing but a benchmark may
// use this folder, because bench unpack has made it.
func emptySpool(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, spoolMark)); err != nil {
		return fmt.Errorf("%s is not ours: %w", dir, err)
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == spoolMark {
			return err
		}
		return os.Remove(path)
	})
}

// chasquid.

func aboutChasquid(l *lab) (string, error) {
	chasquid, err := l.unpacked("chasquid", "usr/bin/chasquid")
	if err != nil {
		return "", err
	}
	return firstLine(chasquid, "-version")
}

const chasquidConf = `hostname: "chasquid.example"
max_data_size_mb: 100
smtp_address: "127.0.0.1:PORT"
mail_delivery_agent_bin: "/bin/true"
data_dir: "DIR/data"
mail_log_path: "<stderr>"
`

// startChasquid delivers to /bin/true meanwhile: it has no way to park mail, and
// no way to a next host without DNS.
func startChasquid(ctx context.Context, s setup) (*running, error) {
	chasquid, err := s.lab.unpacked("chasquid", "usr/bin/chasquid")
	if err != nil {
		return nil, err
	}
	certs := filepath.Join(s.dir, "certs", "chasquid.example")
	err = errors.Join(os.MkdirAll(certs, 0o755), os.MkdirAll(filepath.Join(s.dir, "domains", "rcpt.example"), 0o755), os.Mkdir(filepath.Join(s.dir, "data"), 0o755),
		selfSigned(certs), os.WriteFile(filepath.Join(s.dir, "domains", "rcpt.example", "aliases"), []byte("kunde: anderer@rcpt.example\nanderer: |/bin/true\n"), 0o644))
	if err != nil {
		return nil, err
	}
	if _, err := s.filled("chasquid.conf", chasquidConf); err != nil {
		return nil, err
	}
	return begin(ctx, s, &running{entrance: s.strangers(), spool: filepath.Join(s.dir, "data")}, chasquid, "-config_dir="+s.dir)
}

func selfSigned(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{SerialNumber: serial(), DNSNames: []string{"chasquid.example"}, NotAfter: time.Now().AddDate(0, 1, 0)}
	cert, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "fullchain.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644),
		os.WriteFile(filepath.Join(dir, "privkey.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
	)
}

// maddy and mox: only where they are installed.

func aboutMaddy(*lab) (string, error) {
	maddy, err := program("maddy")
	if err != nil {
		return "", err
	}
	return firstLine(maddy, "version")
}

const maddyConf = `state_dir DIR/state
runtime_dir DIR/runtime
hostname maddy.example
tls off
log stderr
target.smtp out {
  targets tcp://127.0.0.1:SINK
  starttls no
}
target.queue q {
  target &out
  location DIR/state/q
  max_parallelism 50
}
smtp tcp://127.0.0.1:PORT {
  max_message_size 100M
  limits {
    all concurrency 1000
  }
  default_source {
    default_destination {
      deliver_to &q
    }
  }
}
`

// startMaddy parks by a next host that refuses connections: it tries again after
// a quarter of an hour.
func startMaddy(ctx context.Context, s setup) (*running, error) {
	maddy, err := program("maddy")
	if err != nil {
		return nil, err
	}
	conf, err := s.filled("maddy.conf", maddyConf)
	if err = errors.Join(err, os.Mkdir(filepath.Join(s.dir, "state"), 0o755), os.Mkdir(filepath.Join(s.dir, "runtime"), 0o755)); err != nil {
		return nil, err
	}
	return begin(ctx, s, &running{entrance: s.strangers(), spool: filepath.Join(s.dir, "state")}, maddy, "-config", conf, "run")
}

func aboutMox(*lab) (string, error) {
	mox, err := program("mox")
	if err != nil {
		return "", err
	}
	return firstLine(mox, "version")
}

// startMox runs its own set-up for trying it out, and holds what is queued. Its
// built-in limits refuse more than some dozen connections from one address.
func startMox(ctx context.Context, s setup) (*running, error) {
	mox, err := program("mox")
	if err != nil {
		return nil, err
	}
	home := filepath.Join(s.dir, "mox")
	if out, err := exec.CommandContext(ctx, mox, "localserve", "-dir", home, "-ip", "127.0.0.1", "-initonly").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mox: %w: %s", err, out)
	}
	file := filepath.Join(home, "mox.conf")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	conf := strings.NewReplacer("Port: 1025", fmt.Sprint("Port: ", s.lab.base+portPeerAgain), "Port: 1587", fmt.Sprint("Port: ", s.lab.base+portPeer)).Replace(string(text))
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	in := s.strangers()
	in.from, in.login = "mox@localhost", [2]string{"mox@localhost", "moxmoxmox"}
	r, err := begin(ctx, s, &running{entrance: in, spool: filepath.Join(home, "data")}, mox, "localserve", "-dir", home)
	if err != nil {
		return nil, err
	}
	hold := exec.CommandContext(ctx, mox, "-config", file, "queue", "holdrules", "add")
	if out, err := hold.CombinedOutput(); err != nil {
		r.kill()
		return nil, fmt.Errorf("mox: %w: %s", err, out)
	}
	return r, nil
}
