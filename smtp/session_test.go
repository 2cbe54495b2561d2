package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

func TestReply(t *testing.T) {
	refusal := &message.Refusal{Code: 550, Enhanced: "5.7.1", Text: "no"}
	cases := []struct {
		err  error
		want string
	}{
		{errors.New("open ledger: secret"), "451 4.3.0 temporary trouble here; please try again later"},
		{context.DeadlineExceeded, "451 4.3.0 temporary trouble here; please try again later"},
		{refusal, "550 5.7.1 no"},
		{fmt.Errorf("accept: %w", fmt.Errorf("policy: %w", refusal)), "550 5.7.1 no"},
		{errors.Join(errors.New("x"), refusal), "550 5.7.1 no"},
		{&message.Refusal{Code: 250, Text: "not a refusal"}, "451 4.3.0 temporary trouble here; please try again later"},
		{&message.Refusal{Code: 452, Enhanced: "5.3.1", Text: "class does not fit"}, "452 4.0.0 class does not fit"},
		{&message.Refusal{Code: 552, Enhanced: "nonsense", Text: "two\r\nlines \u00fc"}, "552 5.0.0 two??lines ?"},
		{&message.Refusal{Code: 550, Enhanced: "5.1.1", Text: strings.Repeat("x", 1000)}, "550 5.1.1 " + strings.Repeat("x", maxReplyText)},
		{fmt.Errorf("read body: %w", gosmtp.ErrDataTooLarge), "552 5.3.4 Maximum message size exceeded"},
		{&gosmtp.SMTPError{Code: 250, Message: "fine"}, "451 4.3.0 temporary trouble here; please try again later"},
	}
	for _, tc := range cases {
		e := reply(tc.err)
		got := fmt.Sprintf("%d %d.%d.%d %s", e.Code, e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2], e.Message)
		if got != tc.want {
			t.Errorf("%v: %q, want %q", tc.err, got, tc.want)
		}
	}
}

// TestAccept: what the intake says is what the client is told; 250 only for a
// body that was read to its end.
func TestAccept(t *testing.T) {
	cases := []struct {
		name          string
		before, after error
		want          string
	}{
		{"fine", nil, nil, "250 2.0.0 accepted as "},
		{"refused before the body", &message.Refusal{Code: 552, Enhanced: "5.2.2", Text: "full"}, nil, "552 5.2.2 full"},
		{"refused after the body", nil, fmt.Errorf("policy: %w", &message.Refusal{Code: 550, Enhanced: "5.7.0", Text: "no"}), "550 5.7.0 no"},
		{"trouble before", errors.New("disk"), nil, "451 4.3.0 "},
		{"trouble after", nil, errors.New("disk"), "451 4.3.0 "},
	}
	for _, tc := range cases {
		for _, bdat := range []bool{false, true} {
			d := open(t, message.Inbound, nil)
			d.intake.accept = func(io.Reader) error { return tc.before }
			d.intake.after = func() error { return tc.after }
			c := d.client(t)
			c.begin()
			body := strings.Repeat("line\r\n", 5000)
			if bdat {
				c.send(fmt.Sprintf("BDAT %d LAST\r\n", len(body)) + body)
			} else {
				c.do("DATA", "354 ")
				c.send(body + ".\r\n")
			}
			c.want(tc.want)
			c.do("NOOP", "250 ") // the rest of the body was skipped
		}
	}
}

type carelessIntake struct{ stubIntake }

func (*carelessIntake) Accept(context.Context, message.Submission, io.Reader) (message.ID, error) {
	return message.ID{}, nil
}

// TestCarelessIntake: an intake that did not read the body did not store it.
func TestCarelessIntake(t *testing.T) {
	d := open(t, message.Inbound, nil)
	d.server.in = &carelessIntake{}
	c := d.client(t)
	c.begin()
	c.do("DATA", "354 ")
	c.send("x: y\r\n.\r\n")
	c.want("451 4.3.0 ")
}

// TestPanic: a fault behind the door costs one connection, not the server.
func TestPanic(t *testing.T) {
	for _, bdat := range []bool{false, true} {
		d := open(t, message.Inbound, nil)
		d.intake.accept = func(io.Reader) error { panic("fault") }
		c := d.client(t)
		c.begin()
		if bdat {
			c.send("BDAT 4 LAST\r\nab\r\n")
		} else {
			c.do("DATA", "354 ")
		}
		c.want("421 ")
		c.wantEOF()
		d.client(t).want("220 ")
	}
}

// TestSubmissionFields: everything that the dialogue says reaches the intake.
func TestSubmissionFields(t *testing.T) {
	d := open(t, message.Outbound, nil)
	c := d.client(t)
	c.login(d)
	c.do("MAIL FROM:<amt@bl.example> SMTPUTF8 BODY=8BITMIME RET=FULL ENVID=a+2Bb", "250 ")
	c.do("RCPT TO:<ö@bl.example> NOTIFY=NEVER ORCPT=utf-8;o\\x{F6}@bl.example", "250 ")
	c.do("RCPT TO:<c@bl.example> NOTIFY=DELAY,FAILURE ORCPT=rfc822;C+2Bd@bl.example", "250 ")
	c.do("DATA", "354 ")
	c.send("x: y\r\n.\r\n")
	c.want("250 2.0.0 accepted as ")
	s := d.intake.all()[0].sub
	want := message.Submission{
		Door: message.Outbound, Account: "bau", Authority: "bauinspektorat", From: message.Address{Local: "amt", Domain: "bl.example"},
		Helo: "client.example", TLS: s.TLS, Protocol: "UTF8SMTPSA", EnvID: "a+b", Ret: "FULL", UTF8: true, EightBit: true,
		To: []message.Recipient{
			{Address: message.Address{Local: "ö", Domain: "bl.example"}, Notify: []string{"NEVER"}, ORcpt: "utf-8;oö@bl.example"},
			{Address: message.Address{Local: "c", Domain: "bl.example"}, Notify: []string{"DELAY", "FAILURE"}, ORcpt: "rfc822;C+d@bl.example"},
		},
	}
	if fmt.Sprintf("%+v", s) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
	if !strings.HasPrefix(s.TLS, "TLS1.3 TLS_") {
		t.Errorf("TLS %q", s.TLS)
	}
}

func TestBadParameters(t *testing.T) {
	d := open(t, message.Inbound, func(o *Options) { o.Limits.Errors = 100 })
	c := d.client(t)
	c.want("220 ")
	c.do("EHLO evil\x01name", "250-")
	c.do("MAIL FROM:<a@b.example> ENVID="+strings.Repeat("x", 101), "501 5.5.4 ")
	c.do("MAIL FROM:<a@b.example>", "250 ")
	c.do("RCPT TO:<b@bl.example> ORCPT=rfc822;"+strings.Repeat("x", 500), "501 5.5.4 ")
	c.do("RCPT TO:<b@bl.example> ORCPT=utf-8;\\x{2028}@x", "501 5.5.4 ")
	c.do("RCPT TO:<b@bl.example> NOTIFY=NEVER,DELAY", "501 ")
	c.do("RCPT TO:<b@bl.example>", "250 ")
	c.do("DATA", "354 ")
	c.send("x: y\r\n.\r\n")
	c.want("250 ")
	if helo := d.intake.all()[0].sub.Helo; helo != "" {
		t.Errorf("HELO name %q came through", helo)
	}
}

// TestBdatReset: a transfer that is given up by RSET leaves nothing behind for
// the next transaction.
func TestBdatReset(t *testing.T) {
	d := open(t, message.Inbound, nil)
	c := d.client(t)
	c.want("220 ")
	c.do("EHLO client.example", "250-")
	for range 200 {
		c.transaction()
		c.send("BDAT 3\r\nab\rRSET\r\n")
		c.want("250 ")
		c.want("250 ")
	}
	c.transaction()
	c.send("BDAT 3 LAST\r\n\xff\r\n")
	c.want("250 2.0.0 accepted as ")
	if mails := d.intake.all(); len(mails) != 1 || mails[0].body != "\xff\r\n" || len(mails[0].sub.To) != 1 {
		t.Errorf("mails %+v", mails)
	}
}

// TestBrokenTransfer: a body whose end never came is not accepted, wherever and
// however the connection breaks.
func TestBrokenTransfer(t *testing.T) {
	breaks := []struct {
		name string
		tls  uint16
		do   func(*client, net.Conn)
	}{
		{"plain", 0, func(_ *client, raw net.Conn) { raw.Close() }},
		{"TLS 1.3, without close_notify", tls.VersionTLS13, func(_ *client, raw net.Conn) { raw.Close() }},
		{"TLS 1.3, with close_notify", tls.VersionTLS13, func(c *client, _ net.Conn) { c.conn.Close() }},
		{"TLS 1.3, half closed", tls.VersionTLS13, func(c *client, _ net.Conn) { c.conn.(*tls.Conn).CloseWrite() }},
		{"TLS 1.2, with close_notify", tls.VersionTLS12, func(c *client, _ net.Conn) { c.conn.Close() }},
		{"TLS 1.2, half closed", tls.VersionTLS12, func(c *client, _ net.Conn) { c.conn.(*tls.Conn).CloseWrite() }},
	}
	texts := []string{"DATA\r\nx: y\r\n", "DATA\r\nx: y\r\n.\r", "BDAT 10 LAST\r\nx: y\r\n", "BDAT 6 LAST\r\n", "BDAT 6\r\nx: y\r\n", "BDAT 0\r\n"}
	for _, how := range breaks {
		for _, text := range texts {
			d := open(t, message.Inbound, nil)
			c := d.client(t)
			raw := c.conn
			c.want("220 ")
			c.do("EHLO client.example", "250-")
			if how.tls != 0 {
				c.do("STARTTLS", "220 ")
				config := d.trust()
				config.MaxVersion = how.tls
				c.startTLS(config)
				c.do("EHLO client.example", "250-")
			}
			c.transaction()
			c.send(text)
			how.do(c, raw)
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			d.server.Shutdown(ctx)
			cancel()
			if n := len(d.intake.all()); n != 0 {
				t.Errorf("%s, %q: %d mails", how.name, text, n)
			}
		}
	}
}

// TestSmallLastRecord: a TLS record that looks like an alert from outside is
// none, and the session goes on; also when commands follow in the same flight.
func TestSmallLastRecord(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		d := open(t, message.Inbound, nil)
		config := d.trust()
		config.MaxVersion = version
		c, err := d.hello(t, config)
		if err != nil {
			t.Fatal(err)
		}
		c.do("EHLO client.example", "250-")
		c.transaction()
		c.send("BDAT 6 LAST\r\nx: y")
		c.send("\r\n") // a record of its own
		c.want("250 2.0.0 accepted as ")
		c.transaction()
		body := "x: " + strings.Repeat("y", 20000) + "\r\n"
		c.send(fmt.Sprintf("BDAT %d LAST\r\n%sNOOP\r\nVRFY x\r\n", len(body), body))
		c.want("250 2.0.0 accepted as ")
		c.want("250 ")
		c.want("252 ")
	}
}

func TestConnectionLimits(t *testing.T) {
	d := open(t, message.Inbound, func(o *Options) { o.Limits.Connections, o.Limits.ConnectionsPerIP = 5, 3 })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go d.server.Serve(l)
	connect := func(want string) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := &client{t: t, conn: newEager(conn)}
		c.r = newReader(c.conn)
		c.want(want)
		return conn
	}
	first := connect("220 ")
	connect("220 ")
	connect("220 ")
	connect("421 4.7.0 gateway.example too many connections")
	d.client(t).want("220 ") // another network
	d.client(t).want("220 ")
	d.client(t).want("421 4.7.0 ")
	first.Close()
	deadline := time.Now().Add(time.Minute)
	for d.count() > 4 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	connect("220 ")
}

func (d *door) count() int {
	d.server.mu.Lock()
	defer d.server.mu.Unlock()
	return len(d.server.wires)
}

func TestNetworkOf(t *testing.T) {
	cases := [][2]string{
		{"192.0.2.1", "192.0.2.1/32"},
		{"2001:db8:1:2:3::4", "2001:db8:1:2::/64"},
		{"", "invalid Prefix"},
		{"nonsense", "invalid Prefix"},
	}
	for _, tc := range cases {
		if got := networkOf(tc[0]).String(); got != tc[1] {
			t.Errorf("networkOf(%q) = %s, want %s", tc[0], got, tc[1])
		}
	}
}

// TestLogHasNoAddresses: the log names codes, accounts and IP addresses, never
// whom the mail is for.
func TestLogHasNoAddresses(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	d := open(t, message.Outbound, func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	c := d.client(t)
	c.login(d)
	c.do("MAIL FROM:<planted@other.example>", "550 ")
	c.do("MAIL FROM:<planted@bl.example>", "250 ")
	c.do("RCPT TO:<unknown@planted.example>", "550 ")
	c.do("RCPT TO:<trouble@planted.example>", "451 ")
	c.do("RCPT TO:<b@planted.example>", "250 ")
	c.do("DATA", "354 ")
	c.send("Subject: planted\r\n\r\n.\r\n")
	c.want("250 ")
	c.do("QUIT", "221 ")
	c.wantEOF()
	mu.Lock()
	defer mu.Unlock()
	if text := log.String(); strings.Contains(text, "planted") || !strings.Contains(text, "message accepted") || !strings.Contains(text, "secret detail") {
		t.Errorf("log:\n%s", text)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// TestManyAtOnce: sessions do not mix.
func TestManyAtOnce(t *testing.T) {
	d := open(t, message.Inbound, nil)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			c := d.client(t)
			c.want("220 ")
			c.do("EHLO client.example", "250-")
			for j := range 10 {
				c.do(fmt.Sprintf("MAIL FROM:<s%d-%d@sender.example>", i, j), "250 ")
				c.do(fmt.Sprintf("RCPT TO:<r%d-%d@bl.example>", i, j), "250 ")
				body := fmt.Sprintf("token: %d-%d\r\n", i, j)
				if j%2 == 0 {
					c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body))
				} else {
					c.do("DATA", "354 ")
					c.send(body + ".\r\n")
				}
				c.want("250 2.0.0 ")
			}
		})
	}
	wg.Wait()
	mails := d.intake.all()
	if len(mails) != 200 {
		t.Fatalf("%d mails, want 200", len(mails))
	}
	for _, m := range mails {
		token := strings.TrimPrefix(m.sub.From.Local, "s")
		if m.sub.To[0].Address.Local != "r"+token || m.body != "token: "+token+"\r\n" {
			t.Errorf("mixed up: %+v", m)
		}
	}
}

func FuzzRecipient(f *testing.F) {
	for _, s := range []string{"a@b.ch", "a b@c.ch", "a@b@c.ch", "\"@x", "ä@ö.ch", "a@[192.0.2.1]", "a\r\n@b.ch", "postmaster"} {
		f.Add(s, "RFC822", s, true)
	}
	f.Fuzz(func(t *testing.T, to, kind, orcpt string, utf8 bool) {
		r, err := recipient(to, utf8, &gosmtp.RcptOptions{OriginalRecipientType: gosmtp.DSNAddressType(kind), OriginalRecipient: orcpt})
		if err != nil {
			if !slices.Contains([]error{&errBadRcpt, &errNeedUTF8, &errBadORcpt}, err) {
				t.Errorf("%q: %v", to, err)
			}
			return
		}
		a := r.Address
		again, err := message.ParseAddress(a.String())
		switch {
		case err != nil || again != a || a.IsNull():
			t.Errorf("%q became %q, which is no address (%v)", to, a, err)
		case !utf8 && !a.IsASCII():
			t.Errorf("%q without SMTPUTF8", to)
		case !strings.EqualFold(a.Local+"@"+a.Domain, to):
			t.Errorf("%q became %q", to, a)
		case strings.ContainsAny(a.String()+r.ORcpt, "\r\n\x00") || strings.Contains(a.Local, "@"):
			t.Errorf("%q became %q, %q", to, a, r.ORcpt)
		}
	})
}
