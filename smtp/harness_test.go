package smtp

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/message"
)

// mail is what the stub intake accepted.
type mail struct {
	sub  message.Submission
	body string
}

// stubIntake keeps what it accepts, and can be told to fail.
type stubIntake struct {
	mu      sync.Mutex
	mails   []mail
	willing func(message.Address) error
	accept  func(io.Reader) error // called before the body is read
	after   func() error          // called after
}

func (s *stubIntake) Willing(_ context.Context, _ message.Submission, to message.Address) error {
	if s.willing != nil {
		return s.willing(to)
	}
	switch to.Local {
	case "unknown":
		return fmt.Errorf("recipient: %w", &message.Refusal{Code: 550, Enhanced: "5.1.1", Text: "no such recipient here"})
	case "trouble":
		return errors.New("secret detail of the ledger")
	}
	return nil
}

func (s *stubIntake) Accept(_ context.Context, sub message.Submission, body io.Reader) (message.ID, error) {
	if s.accept != nil {
		if err := s.accept(body); err != nil {
			return message.ID{}, err
		}
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return message.ID{}, fmt.Errorf("read body: %w", err)
	}
	if s.after != nil {
		if err := s.after(); err != nil {
			return message.ID{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, mail{sub, string(b)})
	return message.NewID(time.Unix(1795000000, 0)), nil
}

func (s *stubIntake) all() []mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]mail(nil), s.mails...)
}

// stubAuth knows one account, bau, with the password geheim.
type stubAuth struct {
	mu    sync.Mutex
	tries int
}

func (a *stubAuth) Password(name, password string) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tries++
	return name, name == "bau" && password == "geheim"
}

func (a *stubAuth) Certificate(c *x509.Certificate) (string, bool) {
	return "maschine", c.Subject.CommonName == "machine.example"
}

func (a *stubAuth) Authority(account string) string {
	return map[string]string{"bau": "bauinspektorat", "maschine": "bauinspektorat"}[account]
}

func (a *stubAuth) MayUse(_ string, from message.Address) bool {
	return from.IsNull() || from.Domain == "bl.example" || from.Domain == "bäl.example"
}

// authority issues certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().AddDate(-30, 0, 0), NotAfter: time.Now().AddDate(30, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool}
}

func (a *authority) issue(t testing.TB, name string, usage ...x509.ExtKeyUsage) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, ExtKeyUsage: usage,
		NotBefore: time.Now().AddDate(-30, 0, 0), NotAfter: time.Now().AddDate(30, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// pipeListener hands out in-memory connections: every write of the client is
// one read of the server, and the time of a synctest bubble applies.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return newEager(client)
}

// eager reads ahead without limit, as the buffers of a TCP connection do: the
// server can answer while the client is still writing.
type eager struct {
	net.Conn
	mu   sync.Mutex
	more *sync.Cond
	buf  []byte
	err  error
}

func newEager(c net.Conn) *eager {
	e := &eager{Conn: c}
	e.more = sync.NewCond(&e.mu)
	go e.pump()
	return e
}

func (e *eager) pump() {
	p := make([]byte, 32<<10)
	for {
		n, err := e.Conn.Read(p)
		e.mu.Lock()
		e.buf, e.err = append(e.buf, p[:n]...), err
		e.more.Broadcast()
		e.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (e *eager) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.buf) == 0 && e.err == nil {
		e.more.Wait()
	}
	if len(e.buf) == 0 {
		return 0, e.err
	}
	n := copy(p, e.buf)
	e.buf = e.buf[n:]
	return n, nil
}

// door is a running server with a stub behind it.
type door struct {
	server *Server
	intake *stubIntake
	auth   *stubAuth
	pipe   *pipeListener
	ca     *authority
}

// open starts a door; change may adjust the options.
func open(t testing.TB, kind message.Direction, change func(*Options)) *door {
	t.Helper()
	d := &door{intake: &stubIntake{}, auth: &stubAuth{}, pipe: newPipeListener(), ca: newAuthority(t)}
	cert := d.ca.issue(t, "gateway.example", x509.ExtKeyUsageServerAuth)
	o := Options{Hostname: "gateway.example", Kind: kind, TLS: &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: d.ca.pool}}
	if change != nil {
		change(&o)
	}
	var err error
	if d.server, err = New(o, d.intake, d.auth); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.server.Serve(d.pipe) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		d.server.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return d
}

// client is a raw SMTP client: it repairs nothing.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func (d *door) client(t testing.TB) *client {
	t.Helper()
	c := &client{t: t, conn: d.pipe.dial()}
	c.r = newReader(c.conn)
	t.Cleanup(func() { c.conn.Close() })
	return c
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.t.Fatalf("send %.40q: %v", s, err)
	}
}

// reply reads one reply, all its lines joined by "|".
func (c *client) reply() (string, error) {
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(lines, "|"), err
		}
		line = strings.TrimSuffix(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "|"), nil
		}
	}
}

// want reads one reply and compares its beginning.
func (c *client) want(prefix string) string {
	c.t.Helper()
	got, err := c.reply()
	if err != nil {
		c.t.Fatalf("want %q, got %q and %v", prefix, got, err)
	}
	if !strings.HasPrefix(got, prefix) {
		c.t.Fatalf("want %q, got %q", prefix, got)
	}
	return got
}

func (c *client) do(line, prefix string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.want(prefix)
}

func (c *client) wantEOF() {
	c.t.Helper()
	if got, err := c.reply(); err == nil {
		c.t.Fatalf("want end of connection, got %q", got)
	}
}

func (c *client) startTLS(config *tls.Config) {
	c.t.Helper()
	t := tls.Client(c.conn, config)
	if err := t.Handshake(); err != nil {
		c.t.Fatalf("handshake: %v", err)
	}
	c.startOn(t)
}

func (c *client) startOn(conn net.Conn) { c.conn, c.r = conn, newReader(conn) }

func newReader(conn net.Conn) *bufio.Reader { return bufio.NewReader(conn) }

func (d *door) trust() *tls.Config {
	return &tls.Config{RootCAs: d.ca.pool, ServerName: "gateway.example"}
}

// begin greets and opens a transaction on the inbound port.
func (c *client) begin() {
	c.t.Helper()
	c.want("220 ")
	c.do("EHLO client.example", "250-")
	c.transaction()
}

func (c *client) transaction() {
	c.t.Helper()
	c.do("MAIL FROM:<a@sender.example>", "250 ")
	c.do("RCPT TO:<b@bl.example>", "250 ")
}

// login greets, starts TLS and signs in on the submission port.
func (c *client) login(d *door) {
	c.t.Helper()
	c.want("220 ")
	c.do("EHLO client.example", "250-")
	c.do("STARTTLS", "220 ")
	c.startTLS(d.trust())
	c.do("EHLO client.example", "250-")
	c.do("AUTH PLAIN "+plainResponse("", "bau", "geheim"), "235 ")
}
