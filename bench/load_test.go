package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func openSink(t *testing.T, conf *tls.Config, want string) *sink {
	t.Helper()
	s, err := listen("127.0.0.1:0", conf, want)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func to(s *sink) entrance {
	return entrance{addr: s.l.Addr().String(), from: "amt@sender.example", to: "kunde@rcpt.example"}
}

// TestLoadIntoSink: what the clients count is what the sink counts, also over
// TLS, and nothing beyond the number asked for.
func TestLoadIntoSink(t *testing.T) {
	pair, pool := serverPair(t)
	for name, conf := range map[string]*tls.Config{"clear": nil, "tls": {RootCAs: pool, ServerName: "chasquid.example"}} {
		t.Run(name, func(t *testing.T) {
			s := openSink(t, &tls.Config{Certificates: []tls.Certificate{pair}}, "")
			s.speak()
			in := to(s)
			in.tls = conf
			got := load{entrance: in, sessions: 3, size: 4 << 10, count: 50, time: time.Minute}.run(context.Background())
			if got.ok != 50 || got.failed != 0 || s.n.Load() != 50 || len(got.took) != 50 || len(s.latencies()) != 50 {
				t.Errorf("%d accepted (%v), %d at the sink, %d and %d times", got.ok, got.errors, s.n.Load(), len(got.took), len(s.latencies()))
			}
			if n := s.conns.Load(); n < 3 || n > 6 {
				t.Errorf("%d connections for 50 messages of 3 sessions, %d each", n, perConnection)
			}
			first := s.first()
			if !bytes.Contains(first, []byte("Subject: bench ")) || !bytes.HasSuffix(first, body(4<<10)) {
				t.Errorf("the sink has another message:\n%.300s", first)
			}
			if got.perSecond() <= 0 || got.last.Before(got.first) {
				t.Errorf("rate %v from %v to %v", got.perSecond(), got.first, got.last)
			}
		})
	}
}

// serverPair is a certificate for a sink.
func serverPair(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	if err := selfSigned(dir); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	return pair, pool
}

// TestLoadEnds: by its time, and by its context.
func TestLoadEnds(t *testing.T) {
	s := openSink(t, nil, "")
	s.speak()
	got := load{entrance: to(s), sessions: 2, size: 100, time: 50 * time.Millisecond}.run(context.Background())
	if got.ok == 0 || got.ok != s.n.Load() {
		t.Errorf("%d accepted, %d at the sink", got.ok, s.n.Load())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if got := (load{entrance: to(s), sessions: 2, size: 100, time: time.Hour}).run(ctx); got.ok != 0 {
		t.Errorf("%d accepted after the end", got.ok)
	}
}

// scripted answers every command by a function.
func scripted(t *testing.T, answer func(verb string) string) entrance {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprint(c, "220 hello\r\n")
				for s := bufio.NewScanner(c); s.Scan(); {
					if reply := answer(verb(s.Bytes())); reply != "" {
						fmt.Fprint(c, reply+"\r\n")
					}
				}
			}()
		}
	}()
	return entrance{addr: l.Addr().String(), from: "a@sender.example", to: "b@rcpt.example"}
}

// TestTrouble: a temporary refusal is waited for, a permanent one ends the
// session after a while, and both are named.
func TestTrouble(t *testing.T) {
	var asked atomic.Int64
	busy := scripted(t, func(v string) string {
		if v == "MAIL" && asked.Add(1) <= 2*maxTrouble {
			return "452 4.3.2 too much mail at once"
		}
		return map[string]string{"DATA": "354 go", ".": "250 taken", "EHLO": "250-x\r\n250 y", "MAIL": "250 ok", "RCPT": "250 ok", "QUIT": "221 bye"}[v]
	})
	got := load{entrance: busy, sessions: 1, size: 200, count: 3 * maxTrouble, time: time.Minute}.run(context.Background())
	if got.ok != maxTrouble || got.failed != 2*maxTrouble || !strings.HasPrefix(got.trouble(), "452 4.3.2") {
		t.Errorf("%d accepted, %d failed: %q", got.ok, got.failed, got.trouble())
	}
	never := scripted(t, func(string) string { return "550 no" })
	got = load{entrance: never, sessions: 2, size: 200, time: time.Minute}.run(context.Background())
	if got.ok != 0 || got.failed != 2*maxTrouble || got.trouble() != "550 no" {
		t.Errorf("%d accepted, %d failed: %q", got.ok, got.failed, got.trouble())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	got = load{entrance: entrance{addr: l.Addr().String()}, sessions: 1, size: 200, time: time.Minute}.run(context.Background())
	if got.failed != maxTrouble || !strings.Contains(got.trouble(), "refused") {
		t.Errorf("nobody there: %d failed: %q", got.failed, got.trouble())
	}
}

func TestDialogue(t *testing.T) {
	var heard []string
	in := scripted(t, func(v string) string {
		heard = append(heard, v)
		return "250 ok"
	})
	in.login = [2]string{"name", "secret"}
	c, err := dial(in)
	if err != nil {
		t.Fatal(err)
	}
	c.quit()
	if strings.Join(heard[:2], " ") != "EHLO AUTH" {
		t.Errorf("heard %v", heard)
	}
	short := scripted(t, func(string) string { return "25" })
	if _, err := dial(short); err == nil || !strings.Contains(err.Error(), "short reply") {
		t.Errorf("short reply: %v", err)
	}
	var refusal replyError
	if _, err := dial(scripted(t, func(string) string { return "421 4.7.0 later" })); !errors.As(err, &refusal) || !refusal.temporary() {
		t.Errorf("421: %v", err)
	}
}

func TestBody(t *testing.T) {
	for _, size := range []int{1, 78, 4 << 10, 1 << 20} {
		text := body(size)
		if len(text) > max(size, 78) || len(text) < size-78 || !bytes.HasSuffix(text, []byte("\r\n")) {
			t.Errorf("%d octets asked for, %d made", size, len(text))
		}
		if bytes.Contains(text, []byte("\n.")) || text[0] == '.' || bytes.Count(text, []byte("\n")) != bytes.Count(text, []byte("\r\n")) {
			t.Errorf("a body of %d octets needs stuffing", size)
		}
	}
	if !bytes.Equal(body(4<<10), body(4<<10)) {
		t.Error("two runs have different bodies")
	}
}

// TestSilence: while the sink is silent it takes connections and says nothing;
// then everything that waited goes on.
func TestSilence(t *testing.T) {
	s := openSink(t, nil, "")
	c, err := net.Dial("tcp", s.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 100)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a silent sink says %d octets: %v", n, err)
	}
	s.speak()
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(line, "220") {
		t.Errorf("who waited hears %q, %v", line, err)
	}
	if !greets(s.l.Addr().String()) {
		t.Error("the sink does not greet")
	}
	s.close()
	if greets(s.l.Addr().String()) {
		t.Error("a closed sink greets")
	}
}

// TestSinkTells protected mail from mail that is not, and takes stuffing off.
func TestSinkTells(t *testing.T) {
	s := openSink(t, nil, "pkcs7-mime")
	s.speak()
	for _, head := range []string{"Content-Type: application/pkcs7-mime\n", "Content-Type: text/plain\n"} {
		if err := bring(to(s), head+"X: y\n\n.stuffed pkcs7-mime\n"); err != nil {
			t.Fatal(err)
		}
	}
	if s.n.Load() != 1 || s.odd.Load() != 1 || len(s.latencies()) != 0 {
		t.Errorf("%d protected, %d not, %d stamps", s.n.Load(), s.odd.Load(), len(s.latencies()))
	}
	if !bytes.HasSuffix(s.first(), []byte("\r\n\r\n.stuffed pkcs7-mime\r\n")) {
		t.Errorf("sample %q", s.first())
	}
	if !drained(context.Background(), s, 2, time.Second) || drained(context.Background(), s, 3, time.Millisecond) {
		t.Error("drained does not count")
	}
}

func TestStamp(t *testing.T) {
	l := letter{number: 7, run: "r"}
	at := stampIn([]byte(l.head(entrance{from: "a@b.example", to: "c@d.example", subject: "[vertraulich] "})))
	if time.Since(at) > time.Minute || time.Since(at) < 0 {
		t.Errorf("stamp %v", at)
	}
	for _, head := range []string{"", "Subject: x\r\n", "\n" + stampField + ": soon\r\n"} {
		if at := stampIn([]byte(head)); !at.IsZero() {
			t.Errorf("%q has the stamp %v", head, at)
		}
	}
}

func TestQuantile(t *testing.T) {
	if quantile([]int{}, .5) != 0 || quantile([]int{9, 1, 5}, .5) != 5 || quantile([]int{2, 1}, .99) != 1 {
		t.Error("quantile")
	}
	if middleOf([]float64{4, 1, 2, 3}) != 2.5 || middleOf(nil) != 0 {
		t.Error("middleOf")
	}
}

// TestFilter: OpenSSL opens what the filter of W4 makes, for every kind of key.
func TestFilter(t *testing.T) {
	if _, err := program("openssl"); err != nil {
		t.Skip("needs openssl: apt-get install openssl")
	}
	for _, kind := range []string{"rsa-2048", "p-256"} {
		t.Run(kind, func(t *testing.T) {
			keys, err := newKeys(kind)
			if err != nil {
				t.Fatal(err)
			}
			s := openSink(t, nil, "pkcs7-mime")
			s.speak()
			dir := t.TempDir()
			if err := keys.filterFolder(dir, s.l.Addr().String()); err != nil {
				t.Fatal(err)
			}
			l := letter{number: 1, run: "r", body: []byte("Inhalt\r\n")}
			in := to(s)
			if err := filter(dir, in.from, in.to, strings.NewReader(l.head(in)+string(l.body))); err != nil {
				t.Fatal(err)
			}
			if s.n.Load() != 1 || len(s.latencies()) != 1 || bytes.Contains(s.first(), []byte("Inhalt")) {
				t.Fatalf("%d protected, %d not:\n%s", s.n.Load(), s.odd.Load(), s.first())
			}
			if err := keys.opens(t.TempDir(), s.first()); err != nil {
				t.Error(err)
			}
			others, err := newKeys(kind)
			if err != nil {
				t.Fatal(err)
			}
			if err := others.opens(t.TempDir(), s.first()); err == nil {
				t.Error("other keys open it, too")
			}
			if rate := keys.signatureRate(10 * time.Millisecond); rate <= 0 {
				t.Errorf("%v signatures per second", rate)
			}
		})
	}
	if _, err := newKeys("rsa-1"); err == nil {
		t.Error("a key of an unknown kind")
	}
}

func TestSplitHeader(t *testing.T) {
	outer, inner := splitHeader([]byte("Received: a\r\n b\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=us-ascii\r\nSubject: x\r\n\r\nHallo\r\n\r\nnoch\r\n"))
	if outer != "Received: a\n b\nSubject: x\n" || inner != "MIME-Version: 1.0\nContent-Type: text/plain;\n charset=us-ascii\n\nHallo\n\nnoch\n" {
		t.Errorf("outer %q\ninner %q", outer, inner)
	}
}

func TestKeyRing(t *testing.T) {
	keys, err := newKeys("p-256")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := keys.ring(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"own/bauinspektorat/sign.crt", "own/bauinspektorat/sign.key", "partners/" + partner + ".crt"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}
