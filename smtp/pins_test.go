package smtp

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

// The tests here pin what go-smtp v0.25.1 does differently from the standard
// where this package cannot reach it. If one fails after an upgrade, that is
// probably good news: read its comment, and change the documentation too.

// TestPinDotCR: of a line that begins with ".\r", go-smtp drops both octets
// (RFC 5321 section 4.5.2 drops the dot only), so that the strict reader never
// sees the bare CR. The framing is not affected: one mail, one end. Cured
// upstream, the answer becomes 550 5.6.0.
func TestPinDotCR(t *testing.T) {
	d := open(t, message.Inbound, nil)
	c := d.client(t)
	c.begin()
	c.do("DATA", "354 ")
	c.send("Subject: x\r\n\r\n.\rfoo\r\n.\r\r\nend\r\n.\r\n")
	c.want("250 2.0.0 accepted as ")
	if got, want := d.intake.all()[0].body, "Subject: x\r\n\r\nfoo\r\n\r\nend\r\n"; got != want {
		t.Errorf("body %q, want %q", got, want)
	}
}

// TestPinPostmaster: RFC 5321 section 4.5.1 wants <postmaster> without a domain
// accepted; go-smtp's parser refuses it before we are asked. With a domain it
// works.
func TestPinPostmaster(t *testing.T) {
	d := open(t, message.Inbound, nil)
	c := d.client(t)
	c.want("220 ")
	c.do("EHLO client.example", "250-")
	c.do("MAIL FROM:<a@sender.example>", "250 ")
	c.do("RCPT TO:<postmaster>", "501 5.5.2 ")
	c.do("RCPT TO:<postmaster@bl.example>", "250 ")
}

// TestPinBdatReadAhead: go-smtp reads a chunk ahead while its line limit is on,
// so that with its default limit of 2000 octets "BDAT 5002" in one segment with
// its data is taken for a line that is too long. Our limit of 64 KiB is beyond
// what it reads ahead.
func TestPinBdatReadAhead(t *testing.T) {
	line := strings.Repeat("x", 5000) + "\r\n"
	send := "BDAT 5002\r\n" + line + "BDAT 5002 LAST\r\n" + line
	d := open(t, message.Inbound, nil)
	c := d.client(t)
	c.begin()
	c.send(send)
	c.want("250 ")
	c.want("250 2.0.0 accepted as ")

	d = open(t, message.Inbound, nil)
	d.server.smtp.MaxLineLength = 2000
	c = d.client(t)
	c.begin()
	go c.conn.Write([]byte(send))
	c.want("500 5.4.0 ")
}

// TestPinLongLine: a line of more than 64 KiB in DATA ends the connection,
// because go-smtp's line limit stays hit.
func TestPinLongLine(t *testing.T) {
	d := open(t, message.Inbound, nil)
	c := d.client(t)
	c.begin()
	c.do("DATA", "354 ")
	go c.conn.Write([]byte(strings.Repeat("x", maxLine+10) + "\r\n.\r\n"))
	c.want("554 5.6.0 the message has a line longer than 65536 octets")
	c.want("500 5.4.0 ")
	c.wantEOF()
	if n := len(d.intake.all()); n != 0 {
		t.Errorf("%d mails", n)
	}
}

// TestPinExactSize: a message of exactly SIZE octets is refused by DATA (it
// runs into the limit before it sees the end), and accepted by BDAT.
func TestPinExactSize(t *testing.T) {
	d := open(t, message.Inbound, func(o *Options) { o.Limits.MessageSize = 10 })
	c := d.client(t)
	c.begin()
	c.do("DATA", "354 ")
	c.send("12345678\r\n.\r\n")
	c.want("552 5.3.4 ")
	c.transaction()
	c.do("DATA", "354 ")
	c.send("1234567\r\n.\r\n")
	c.want("250 ")
	c.transaction()
	c.send("BDAT 10 LAST\r\n12345678\r\n")
	c.want("250 ")
}

// TestPinBareLFCommands: commands may end in a bare LF, and a command without
// any line end is executed when the time is over or the client is gone. Neither
// can accept a message: the connection takes no further octet.
func TestPinBareLFCommands(t *testing.T) {
	inBubble(t, message.Inbound, nil, func(t *testing.T, d *door) {
		c := d.client(t)
		c.want("220 ")
		c.send("EHLO client.example\nMAIL FROM:<a@sender.example>\n")
		c.want("250-")
		c.want("250 ")
		c.send("RCPT TO:<b@bl.example>\nDATA")
		c.want("250 ")
		start := time.Now()
		c.want("354 ")
		if took := time.Since(start); took != 5*time.Minute {
			t.Errorf("executed after %v", took)
		}
		c.want("451 4.4.2 ")
		c.wantEOF()
		synctest.Wait()
		if n := len(d.intake.all()); n != 0 {
			t.Errorf("%d mails", n)
		}
	})
}

// TestPinHandshakeFailure: after a failed handshake go-smtp says 550 in the
// clear and keeps the session. We close.
func TestPinHandshakeFailure(t *testing.T) {
	for _, garbage := range []string{
		"NOOP\r\nNOOP\r\n",                                  // no TLS at all
		"\x16\x03\x01\x00\x04\x01\x00\x00\x00",              // a ClientHello without content
		"\x15\x03\x01\x00\x02\x02\x28",                      // an alert
		"MAIL FROM:<a@b.example>\r\nRCPT TO:<b@bl.example>", // a session that goes on
	} {
		d := open(t, message.Inbound, nil)
		c := d.client(t)
		c.want("220 ")
		c.do("EHLO client.example", "250-")
		c.do("STARTTLS", "220 ")
		c.send(garbage)
		rest := make([]byte, 4096)
		n, err := c.r.Read(rest)
		for err == nil {
			if n > 0 && rest[0] >= '0' && rest[0] <= '9' {
				t.Fatalf("after %.10q the server goes on in the clear: %q", garbage, rest[:n])
			}
			n, err = c.r.Read(rest)
		}
	}
	// A client that does not trust the certificate ends the same way.
	d := open(t, message.Inbound, nil)
	c := d.client(t)
	c.want("220 ")
	c.do("EHLO client.example", "250-")
	c.do("STARTTLS", "220 ")
	if err := tls.Client(c.conn, &tls.Config{ServerName: "gateway.example"}).Handshake(); err == nil {
		t.Fatal("trusted")
	}
	if rest, err := io.ReadAll(c.r); err != nil && err != io.ErrClosedPipe || strings.Contains(string(rest), "Handshake error") {
		t.Errorf("rest %q, %v", rest, err)
	}
}

// TestPinLibraryWouldGoOn shows the fault that wire cures, so that a cure
// upstream is noticed.
func TestPinLibraryWouldGoOn(t *testing.T) {
	s := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) { return nil, &errTimeout }))
	d := newAuthority(t)
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{d.issue(t, "x")}}
	s.Domain = "x"
	s.ErrorLog = libraryLog{slog.New(slog.DiscardHandler)}
	l := newPipeListener()
	go s.Serve(l)
	defer s.Close()
	c := (&door{pipe: l}).client(t)
	c.want("220 ")
	c.do("STARTTLS", "220 ")
	c.send("NOOP\r\nNOOP\r\n")
	c.want("550 5.0.0 Handshake error")
	c.do("NOOP", "250 ")
}

// TestPinHelo: HELO and EHLO look the same to a backend, so that the trace line
// says ESMTP for both.
func TestPinHelo(t *testing.T) {
	d := open(t, message.Inbound, nil)
	c := d.client(t)
	c.want("220 ")
	c.do("HELO client.example", "250 ")
	c.transaction()
	c.do("DATA", "354 ")
	c.send("x: y\r\n.\r\n")
	c.want("250 ")
	if got := d.intake.all()[0].sub.Protocol; got != "ESMTP" {
		t.Errorf("protocol %q", got)
	}
}

// truncatedSession accepts what a chunk brings.
type truncatedSession struct {
	gosmtp.Session
	got chan string
}

func (truncatedSession) Reset()                                 {}
func (truncatedSession) Logout() error                          { return nil }
func (truncatedSession) Mail(string, *gosmtp.MailOptions) error { return nil }
func (truncatedSession) Rcpt(string, *gosmtp.RcptOptions) error { return nil }
func (s truncatedSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.got <- fmt.Sprintf("%q %v", b, err)
	return err
}

// TestPinTruncatedChunk shows why wire and session watch for the end of the
// connection: go-smtp takes a connection that ends in the middle of the last
// chunk for the end of the message, and hands a cut message to the backend
// without an error. Cured upstream, wire.settle, recordTracker and
// session.cut can go.
func TestPinTruncatedChunk(t *testing.T) {
	s := truncatedSession{got: make(chan string, 1)}
	server := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) { return s, nil }))
	server.ErrorLog = libraryLog{slog.New(slog.DiscardHandler)}
	l := newPipeListener()
	go server.Serve(l)
	defer server.Close()
	c := (&door{pipe: l}).client(t)
	c.begin()
	c.send("BDAT 1000 LAST\r\nSubject: cut\r\n")
	c.conn.Close()
	if got, want := <-s.got, `"Subject: cut\r\n" <nil>`; got != want {
		t.Errorf("backend got %s, want %s", got, want)
	}
}

// slowSession takes its time to give up a transfer.
type slowSession struct {
	truncatedSession
	gaveUp chan bool
}

func (s slowSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		<-s.gaveUp
		return &gosmtp.SMTPError{Code: 554, Message: "answer to the first transfer"}
	}
	s.gaveUp <- true
	<-s.got
	return &gosmtp.SMTPError{Code: 250, Message: fmt.Sprintf("answer to the second transfer: %q", b)}
}

// TestPinStaleResult shows why session.Data does not return from a transfer
// that was given up: go-smtp hands its late answer to the next transfer, whose
// client is told 554 for a message that was accepted.
func TestPinStaleResult(t *testing.T) {
	if raceEnabled {
		t.Skip("what is shown here is a data race in go-smtp")
	}
	s := slowSession{truncatedSession{got: make(chan string)}, make(chan bool)}
	server := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) { return s, nil }))
	server.ErrorLog = libraryLog{slog.New(slog.DiscardHandler)}
	l := newPipeListener()
	go server.Serve(l)
	defer server.Close()
	c := (&door{pipe: l}).client(t)
	c.begin()
	c.send("BDAT 3\r\nab\r")
	c.want("250 ")
	c.do("RSET", "250 ")
	c.transaction()
	c.send("BDAT 4 LAST\r\nab\r\n")
	c.want("554 5.0.0 answer to the first transfer")
	s.got <- ""
}

// TestNoStaleResult: the same through the door: each transfer has its own
// answer.
func TestNoStaleResult(t *testing.T) {
	inBubble(t, message.Inbound, nil, func(t *testing.T, d *door) {
		d.intake.accept = func(body io.Reader) error {
			if _, err := io.ReadFull(body, make([]byte, 4)); err != nil {
				time.Sleep(time.Second)
				return err
			}
			time.Sleep(2 * time.Second)
			return nil
		}
		c := d.client(t)
		c.begin()
		c.send("BDAT 3\r\nab\r")
		c.want("250 ")
		c.do("RSET", "250 ")
		c.transaction()
		c.send("BDAT 4 LAST\r\nab\r\n")
		c.want("250 2.0.0 accepted as ")
		c.do("QUIT", "221 ")
	})
}
