package syslog_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/audit/syslog"
	"gatewayd/crypto/seal"
	"gatewayd/message"
)

const patience = 2 * time.Minute

func await(t *testing.T, what string, there func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !there(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not come: %s", what)
		}
	}
}

// chain is a log that grows.
type chain struct {
	t    *testing.T
	keys *seal.Keyring
	log  *audit.Log
	dir  string
	out  []message.Link
	head message.Link
}

func newChain(t *testing.T) *chain {
	t.Helper()
	c := &chain{t: t, dir: t.TempDir()}
	var err error
	if c.keys, err = seal.Open(filepath.Join(c.dir, "keys"), make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	c.open()
	return c
}

func (c *chain) open() {
	c.t.Helper()
	var err error
	if c.log, err = audit.Open(filepath.Join(c.dir, "audit"), c.keys); err != nil {
		c.t.Fatal(err)
	}
}

// Pending and Forget make it the ledger of its log.
func (c *chain) Pending(context.Context, uint64, int) ([]message.Link, error) { return c.out, nil }

func (c *chain) Forget(context.Context, uint64) error {
	c.out = nil
	return nil
}

// grow writes some more lines.
func (c *chain) grow(n int) {
	c.t.Helper()
	const logDay = "2027-05-23"
	aead, err := c.keys.AEAD(seal.Log, logDay)
	if err != nil {
		c.t.Fatal(err)
	}
	for range n {
		at := time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC).Add(time.Duration(c.head.Seq) * time.Second)
		e := message.Event{Seq: c.head.Seq + 1, At: at, Kind: message.EventHanded, Authority: "bau", Data: map[string]string{"state": "handed", "reply": "250 for planted.person@example.ch"}}
		l := message.Link{Seq: e.Seq, At: at, Day: logDay, Prev: c.head.Hash}
		l.Sealed = seal.SealRecord(aead, e.AppendPacked(nil, nil), l.SealedTo())
		l.Hash = l.ChainHash()
		c.out, c.head = append(c.out, l), l
	}
	if _, err := c.log.Drain(context.Background(), c); err != nil {
		c.t.Fatal(err)
	}
}

// authority issues the certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.cert, a.key, a.pem, _ = issue(t, "Collector CA", nil)
	a.pool.AddCert(a.cert)
	return a
}

// issue makes a certificate for localhost, or, without an issuer, a root.
func issue(t *testing.T, name string, by *authority) (*x509.Certificate, *ecdsa.PrivateKey, []byte, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true, IsCA: by == nil, DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// collector is a strict receiver of RFC 5425.
type collector struct {
	t    *testing.T
	l    net.Listener
	mu   sync.Mutex
	got  []string
	open []net.Conn
}

func newCollector(t *testing.T, a *authority, addr string) *collector {
	t.Helper()
	_, _, cert, key := issue(t, "localhost", a)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{t: t}
	if c.l, err = tls.Listen("tcp", addr, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	go func() {
		for {
			conn, err := c.l.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.open = append(c.open, conn)
			c.mu.Unlock()
			go c.serve(conn)
		}
	}()
	return c
}

func (c *collector) close() {
	c.l.Close()
	c.drop()
}

// drop breaks all connections off, whatever is under way.
func (c *collector) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		conn.Close()
	}
}

func (c *collector) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		length, err := r.ReadString(' ')
		if err != nil {
			return
		}
		octets, err := strconv.Atoi(strings.TrimSuffix(length, " "))
		if err != nil || octets < 1 || octets > 8192 || length[0] == '0' {
			c.t.Errorf("a frame of %q octets", length)
			return
		}
		text := make([]byte, octets)
		if _, err := io.ReadFull(r, text); err != nil {
			return
		}
		c.mu.Lock()
		c.got = append(c.got, string(text))
		c.mu.Unlock()
	}
}

var linkIn = regexp.MustCompile(`^<110>1 \S+Z gateway\.bl\.example gatewayd - handed \[gatewayd@32473 link="(\d+)" hash="[0-9a-f]{64}" authority="bau"\]\[gatewaydData@32473 state="handed"\] handed$`)

// links returns the numbers of the lines that came.
func (c *collector) links() (all []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, text := range c.got {
		if strings.Contains(text, " checkpoint ") {
			continue
		}
		m := linkIn.FindStringSubmatch(text)
		if m == nil {
			c.t.Fatalf("not the message that was meant: %q", text)
		}
		n, _ := strconv.Atoi(m[1])
		all = append(all, n)
	}
	return all
}

// complete reports whether every line up to n came, in order but for repeats.
func complete(links []int, n int) bool {
	next := 1
	for _, l := range links {
		switch {
		case l == next:
			next++
		case l > next:
			return false
		}
	}
	return next == n+1
}

func options(t *testing.T, c *chain, a *authority, addr string) syslog.Options {
	return syslog.Options{
		Log: c.log, Addr: addr, TLS: &tls.Config{RootCAs: a.pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}, Host: "gateway.bl.example",
		Position: filepath.Join(c.dir, "syslog.json"), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Look: 5 * time.Millisecond, Settle: 20 * time.Millisecond, First: 5 * time.Millisecond, Longest: 50 * time.Millisecond,
	}
}

// start runs a forwarder; stop ends it and waits.
func start(t *testing.T, o syslog.Options) (stop func()) {
	t.Helper()
	f, err := syslog.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); f.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// TestForward: what is there and what comes is sent once, in order, without
// personal fields; after a restart it goes on; the signed checkpoint comes, too.
func TestForward(t *testing.T) {
	c, a := newChain(t), newAuthority(t)
	s := newCollector(t, a, "127.0.0.1:0")
	c.grow(50)
	if _, err := c.log.Checkpoint(time.Now()); err != nil {
		t.Fatal(err)
	}
	stop := start(t, options(t, c, a, s.l.Addr().String()))
	await(t, "50 lines", func() bool { return len(s.links()) == 50 })
	c.grow(30)
	await(t, "80 lines", func() bool { return len(s.links()) == 80 })
	stop()
	c.grow(20)
	stop = start(t, options(t, c, a, s.l.Addr().String()))
	await(t, "100 lines", func() bool { return len(s.links()) >= 100 })
	stop()
	if got := s.links(); !complete(got, 100) || len(got) != 100 {
		t.Errorf("a forwarder that ended in order repeats or omits: %v", got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.got, "\n")
	_, text, ok := strings.Cut(all, ` checkpoint [gatewayd@32473 link="50" hash="`)
	_, text, _ = strings.Cut(text, `"] `)
	text, _, _ = strings.Cut(text, "\n")
	if kept, err := audit.ParseCheckpoint([]byte(text), nil); !ok || err != nil || kept.Seq != 50 {
		t.Errorf("no checkpoint that holds: %v %q", err, text)
	}
	if strings.Contains(all, "planted.person") {
		t.Error("a personal field left the gateway")
	}
}

// TestCheckpointAgain: a checkpoint that was under way when the collector broke off
// comes again, though no line follows it.
func TestCheckpointAgain(t *testing.T) {
	c, a := newChain(t), newAuthority(t)
	s := newCollector(t, a, "127.0.0.1:0")
	c.grow(5)
	if _, err := c.log.Checkpoint(time.Now()); err != nil {
		t.Fatal(err)
	}
	start(t, options(t, c, a, s.l.Addr().String()))
	for n := range 3 {
		await(t, fmt.Sprintf("the checkpoint over connection %d", n+1), func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return strings.Count(strings.Join(s.got, "\n"), " checkpoint ") > n
		})
		s.drop()
	}
}

// TestForwardTrouble: a collector that breaks off again and again, is away, or is
// a stranger gets nothing lost and nothing it must not have.
func TestForwardTrouble(t *testing.T) {
	c, a := newChain(t), newAuthority(t)
	s := newCollector(t, a, "127.0.0.1:0")
	addr := s.l.Addr().String()
	c.grow(30)
	stop := start(t, options(t, c, a, addr))
	for i := range 10 {
		await(t, "the next lines", func() bool { return slices.Contains(s.links(), 30+10*i) })
		s.drop()
		c.grow(10)
	}
	await(t, "130 lines", func() bool { return slices.Contains(s.links(), 130) })
	if got := s.links(); !complete(got, 130) {
		t.Errorf("lines were lost or came out of order: %v", got)
	}
	s.close() // the collector is away
	c.grow(20)
	stranger := newCollector(t, newAuthority(t), addr)
	stop()
	o, said := options(t, c, a, addr), &noted{}
	o.Logger = slog.New(slog.NewTextHandler(said, nil))
	start(t, o)
	await(t, "the refusal of a stranger", func() bool { return strings.Contains(said.String(), "certificate") })
	if got := stranger.links(); len(got) > 0 {
		t.Errorf("a stranger got %d lines", len(got))
	}
	stranger.close()
	back := newCollector(t, a, addr)
	await(t, "150 lines", func() bool { return slices.Contains(back.links(), 150) })
	seen := append(s.links(), back.links()...)
	if !complete(seen, 150) {
		t.Errorf("lines were lost: %v", seen)
	}
}

// noted is a log that a test reads while it is written.
type noted struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *noted) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(p)
}

func (n *noted) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.String()
}

// TestPosition: one that does not read is an error, one from after a restore has
// everything sent again.
func TestPosition(t *testing.T) {
	c, a := newChain(t), newAuthority(t)
	s := newCollector(t, a, "127.0.0.1:0")
	o := options(t, c, a, s.l.Addr().String())
	if err := os.WriteFile(o.Position, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := syslog.New(o); err == nil || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("a position that does not read: %v", err)
	}
	if err := os.WriteFile(o.Position, []byte(`{"link":99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c.grow(5)
	start(t, o)
	await(t, "5 lines", func() bool { return complete(s.links(), 5) })
}

// TestRsyslog sends to the real rsyslogd over TLS, which is killed in between.
func TestRsyslog(t *testing.T) {
	program, err := exec.LookPath("rsyslogd")
	if err != nil {
		if program = "/usr/sbin/rsyslogd"; !exists(program) || !hasGnuTLS() {
			if os.Getenv("CI") != "" {
				t.Fatal("needs rsyslogd: apt-get install rsyslog rsyslog-gnutls")
			}
			t.Skip("needs rsyslogd: apt-get install rsyslog rsyslog-gnutls")
		}
	}
	c, a, dir := newChain(t), newAuthority(t), t.TempDir()
	_, _, cert, key := issue(t, "localhost", a)
	for name, text := range map[string][]byte{"ca.pem": a.pem, "cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	out := filepath.Join(dir, "out.log")
	conf := fmt.Sprintf(`global(workDirectory=%q defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile=%q defaultNetstreamDriverCertFile=%q defaultNetstreamDriverKeyFile=%q)
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
input(type="imtcp" address="127.0.0.1" port=%q)
template(name="whole" type="string" string="%%syslogfacility-text%%|%%syslogseverity-text%%|%%hostname%%|%%app-name%%|%%msgid%%|%%structured-data%%|%%msg%%\n")
action(type="omfile" file=%q template="whole")
`, dir, filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), port, out)
	if err := os.WriteFile(filepath.Join(dir, "rsyslog.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	run := func() *exec.Cmd {
		cmd := exec.Command(program, "-n", "-f", filepath.Join(dir, "rsyslog.conf"), "-i", filepath.Join(dir, "pid"))
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	c.grow(200)
	start(t, options(t, c, a, addr))
	inFile := regexp.MustCompile(`(?m)^(?:local5|audit|log audit|security)[^|]*\|info\|gateway\.bl\.example\|gatewayd\|handed\|\[gatewayd@32473 link="(\d+)" hash="[0-9a-f]{64}" authority="bau"\]\[gatewaydData@32473 state="handed"\]\| ?handed$`)
	links := func() (all []int) {
		text, err := os.ReadFile(out)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for _, m := range inFile.FindAllStringSubmatch(string(text), -1) {
			n, _ := strconv.Atoi(m[1])
			all = append(all, n)
		}
		return all
	}
	cmd := run()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(out)
			t.Logf("rsyslogd: %s\nfile: %.3000s", said.String(), text)
		}
	})
	await(t, "200 lines", func() bool { return complete(links(), 200) })
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	c.grow(100)
	cmd = run()
	await(t, "300 lines", func() bool { return complete(links(), 300) })
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// hasGnuTLS reports whether rsyslogd's driver for TLS lies where Debian puts it.
func hasGnuTLS() bool {
	found, err := filepath.Glob("/usr/lib/*/rsyslog/lmnsd_gtls.so")
	return err == nil && len(found) > 0
}
