package simulator

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	netmail "net/mail"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

const (
	authority = "bauinspektorat@bl.example"
	citizen   = "buerger@example.ch"
	body      = "Sehr geehrte Damen und Herren\r\n\r\nBeilage: Verf\xc3\xbcgung\r\n"
)

// start is on the day before the clocks go back.
var start = time.Date(2026, 10, 24, 10, 0, 0, 0, time.UTC)

// pki is made once: RSA keys are slow to find.
type pki struct {
	ca                       *CA
	server, client, stranger Certificate
	inca, psph               Certificate
}

var testPKI = sync.OnceValues(func() (pki, error) {
	ca, err := NewCA("Test CA")
	if err != nil {
		return pki{}, err
	}
	p := pki{ca: ca}
	for _, step := range []func() error{
		func() (err error) { p.server, err = ca.Server("localhost", "127.0.0.1"); return err },
		func() (err error) { p.client, err = ca.Client("gateway.bl.example"); return err },
		func() (err error) { p.stranger, err = ca.Client("other.example"); return err },
		func() (err error) { p.inca, err = ca.Seal("IncaMail Siegel", "swisspost@im.post.ch"); return err },
		func() (err error) {
			p.psph, err = ca.Seal("PrivaSphere Siegel", "securemessaging@privasphere.com")
			return err
		},
	} {
		if err := step(); err != nil {
			return pki{}, err
		}
	}
	return p, nil
})

// world is both platforms and the sink that plays the gateway.
type world struct {
	t          *testing.T
	pki        pki
	clock      *VirtualClock
	inca, psph *Platform
	addr       map[*Platform]string
	sink       *sink
}

func newWorld(t *testing.T) *world {
	t.Helper()
	p, err := testPKI()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, pki: p, clock: NewVirtualClock(start), addr: map[*Platform]string{}}
	w.sink = newSink(t, p)
	w.inca = w.platform(Options{Kind: IncaMail, Seal: p.inca})
	w.psph = w.platform(Options{
		Kind: PrivaSphere, Seal: p.psph,
		Tags: map[message.Class]string{message.Registered: "<egov> ", message.Confidential: "<c> "},
	})
	w.inca.Peer(w.psph)
	return w
}

func (w *world) platform(o Options) *Platform {
	w.t.Helper()
	o.TLS = &tls.Config{Certificates: []tls.Certificate{w.pki.server.TLS()}}
	o.ClientCAs = w.pki.ca.Pool()
	o.Clock = w.clock
	o.Deliver = Delivery{Addr: w.sink.addr, TLS: &tls.Config{RootCAs: w.pki.ca.Pool()}}
	o.Customers = []Customer{{Domain: "bl.example", Certificate: "gateway.bl.example", Account: "bl", Password: "secret"}}
	p, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	l := listen(w.t)
	go func() { _ = p.Serve(l) }()
	w.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			w.t.Errorf("close platform: %v", err)
		}
	})
	w.addr[p] = l.Addr().String()
	return p
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// dial returns a client that has done STARTTLS with the certificate.
func (w *world) dial(p *Platform, certs ...Certificate) *gosmtp.Client {
	w.t.Helper()
	tc := &tls.Config{RootCAs: w.pki.ca.Pool(), ServerName: "localhost"}
	for _, c := range certs {
		tc.Certificates = append(tc.Certificates, c.TLS())
	}
	c, err := gosmtp.DialStartTLS(w.addr[p], tc)
	if err != nil {
		w.t.Fatal(err)
	}
	c.CommandTimeout, c.SubmissionTimeout = time.Minute, time.Minute
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

func mail(from, to, subject string) string {
	return "From: <" + from + ">\r\nTo: <" + to + ">\r\nSubject: " + subject +
		"\r\nMessage-ID: <1@bl.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + body
}

// submit sends a registered mail as the authority would.
func (w *world) submit(p *Platform, to, subject string) error {
	w.t.Helper()
	c := w.dial(p, w.pki.client)
	if err := c.Mail(authority, nil); err != nil {
		return err
	}
	if err := c.Rcpt(to, nil); err != nil {
		return err
	}
	d, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(d, mail(authority, to, subject)); err != nil {
		return err
	}
	return d.Close()
}

func (w *world) mustSubmit(p *Platform, to, subject string) {
	w.t.Helper()
	if err := w.submit(p, to, subject); err != nil {
		w.t.Fatalf("submit: %v", err)
	}
	w.flush()
}

func (w *world) flush() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, p := range []*Platform{w.inca, w.psph} {
		if err := p.Flush(ctx); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) advance(d time.Duration) {
	w.t.Helper()
	if err := w.inca.Advance(d); err != nil {
		w.t.Fatal(err)
	}
	w.flush()
}

func (w *world) profile(p *Platform, addr, profile string) {
	w.t.Helper()
	prof, err := ParseProfile(profile)
	if err != nil {
		w.t.Fatal(err)
	}
	p.SetRecipient(addr, prof)
}

func (w *world) fault(p *Platform, names ...string) {
	w.t.Helper()
	f, err := ParseFaults(names)
	if err == nil {
		err = p.SetFaults(f)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// state is the state of the platform's only message.
func (w *world) state(p *Platform) State {
	w.t.Helper()
	m := p.Messages()
	if len(m) != 1 {
		w.t.Fatalf("%d messages, want 1", len(m))
	}
	return m[0].State
}

// sink plays the gateway: it records what the platforms deliver.
type sink struct {
	addr     string
	server   *gosmtp.Server
	listener net.Listener
	pki      pki
	mu       sync.Mutex
	got      []delivery
	refuse   []error // answers to the next final dots
}

type delivery struct {
	from, to string
	raw      []byte
}

func newSink(t *testing.T, p pki) *sink {
	t.Helper()
	s := &sink{pki: p}
	l := listen(t)
	s.addr = l.Addr().String()
	s.serve(l)
	t.Cleanup(func() { _ = s.server.Close() })
	return s
}

func (s *sink) serve(l net.Listener) {
	s.listener = l
	s.server = gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) {
		return &sinkSession{s: s, c: c}, nil
	}))
	s.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{s.pki.server.TLS()}}
	s.server.EnableSMTPUTF8 = true
	go func() { _ = s.server.Serve(l) }()
}

func (s *sink) all() []delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]delivery(nil), s.got...)
}

type sinkSession struct {
	s *sink
	c *gosmtp.Conn
	d delivery
}

func (s *sinkSession) Mail(from string, _ *gosmtp.MailOptions) error {
	if _, ok := s.c.TLSConnectionState(); !ok {
		return reply(530, 5, 7, 0, "TLS first")
	}
	s.d = delivery{from: from}
	return nil
}

func (s *sinkSession) Rcpt(to string, _ *gosmtp.RcptOptions) error { s.d.to = to; return nil }
func (s *sinkSession) Reset()                                      {}
func (s *sinkSession) Logout() error                               { return nil }

func (s *sinkSession) Data(r io.Reader) (err error) {
	if s.d.raw, err = io.ReadAll(r); err != nil {
		return err
	}
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	if len(s.s.refuse) > 0 {
		err, s.s.refuse = s.s.refuse[0], s.s.refuse[1:]
		return err
	}
	s.s.got = append(s.s.got, s.d)
	return nil
}

// parsed is a delivered mail taken apart.
type parsed struct {
	header netmail.Header
	text   string
	files  map[string][]byte
}

func parse(t *testing.T, raw []byte) parsed {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("delivered mail: %v", err)
	}
	p := parsed{header: m.Header, files: map[string][]byte{}}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatalf("content type: %v", err)
	}
	if !strings.HasPrefix(kind, "multipart/") {
		p.text = decode(t, m.Header.Get("Content-Transfer-Encoding"), m.Body)
		return p
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		part, err := r.NextRawPart()
		if err == io.EOF {
			return p
		}
		if err != nil {
			t.Fatalf("part: %v", err)
		}
		data := decode(t, part.Header.Get("Content-Transfer-Encoding"), part)
		if name := fileName(part.Header); name != "" {
			p.files[name] = []byte(data)
		} else {
			p.text += data
		}
	}
}

func fileName(h textproto.MIMEHeader) string {
	_, params, _ := mime.ParseMediaType(h.Get("Content-Disposition"))
	return params["filename"]
}

func decode(t *testing.T, encoding string, r io.Reader) string {
	t.Helper()
	if encoding == "base64" {
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("decode part: %v", err)
	}
	return string(b)
}

func (p parsed) subject() string {
	s, err := new(mime.WordDecoder).DecodeHeader(p.header.Get("Subject"))
	if err != nil {
		return "undecodable: " + err.Error()
	}
	return s
}

// subjects lists the subjects of what the gateway got, to the authority.
func (w *world) subjects() []string {
	w.t.Helper()
	var all []string
	for _, d := range w.sink.all() {
		if d.to != authority {
			w.t.Errorf("delivered to %q", d.to)
		}
		p := parse(w.t, d.raw)
		if p.header.Get("X-Sim") != "1" {
			w.t.Errorf("mail %q is not marked", p.subject())
		}
		all = append(all, p.subject())
	}
	return all
}

// documents lists the PDFs that the gateway got, in order.
func (w *world) documents() [][]byte {
	w.t.Helper()
	var all [][]byte
	for _, d := range w.sink.all() {
		for name, data := range parse(w.t, d.raw).files {
			if strings.HasSuffix(name, ".pdf") {
				all = append(all, data)
			}
		}
	}
	return all
}

// tool returns the path of a program of a Debian package.
func tool(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		text := fmt.Sprintf("needs %s: apt-get install %s", name, pkg)
		if os.Getenv("CI") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	return path
}

// pdfsig runs poppler's pdfsig on a document.
func pdfsigSays(t *testing.T, doc []byte) string {
	t.Helper()
	cmd := exec.Command(tool(t, "pdfsig", "poppler-utils"), "-nocert", writeFile(t, "r.pdf", doc))
	out, _ := cmd.CombinedOutput() // its exit code speaks about trust as well
	return string(out)
}

func pdfText(t *testing.T, doc []byte) string {
	t.Helper()
	out, err := exec.Command(tool(t, "pdftotext", "poppler-utils"), "-layout", writeFile(t, "r.pdf", doc), "-").CombinedOutput()
	if err != nil {
		t.Fatalf("pdftotext: %v: %s", err, out)
	}
	return string(out)
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// has reports an error for each text that is missing.
func has(t *testing.T, what, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s lacks %q:\n%s", what, w, text)
		}
	}
}
