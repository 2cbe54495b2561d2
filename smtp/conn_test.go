package smtp

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"gatewayd/message"
)

// wants reads replies and compares their beginnings.
func (c *client) wants(prefixes ...string) {
	c.t.Helper()
	for _, p := range prefixes {
		c.want(p)
	}
}

// TestOneSegment: a whole session in one packet, or octet by octet, with and
// without TLS. DATA does not wait for 354, and commands follow each body.
func TestOneSegment(t *testing.T) {
	const transaction = "MAIL FROM:<a@sender.example>\r\nRCPT TO:<b@bl.example>\r\n"
	text := transaction + "DATA\r\nSubject: 1\r\n\r\n..x\r\n.\r\n" +
		transaction + "BDAT 6\r\nx: 2\r\nBDAT 5 LAST\r\n\n.\r\n." +
		transaction + "DATA\r\nSubject: 3\n\r\n.\r\n" +
		transaction + "DATA\r\n.\r\n" +
		"DATA\r\nNOOP\r\n" +
		transaction + "DATA\r\n" + strings.Repeat("0123456789abcde\r\n", 600) + ".\r\nQUIT\r\n"
	codes := []string{
		"250 ", "250 ", "354 ", "250 2.0.0 accepted", "250 ", "250 ", "250 ", "550 5.6.0 ", "250 ", "250 ", "354 ", "550 5.6.0 ",
		"250 ", "250 ", "354 ", "250 2.0.0 accepted", "502 ", "250 ", "250 ", "250 ", "354 ", "250 2.0.0 accepted", "221 ",
	}
	for _, secure := range []bool{false, true} {
		for _, step := range []int{1 << 20, 4096, 4095, 61, 1} {
			d := open(t, message.Inbound, nil)
			c := d.client(t)
			c.want("220 ")
			c.do("EHLO client.example", "250-")
			if secure {
				c.do("STARTTLS", "220 ")
				c.startTLS(d.trust())
				c.do("EHLO client.example", "250-")
			}
			go func() {
				for rest := text; rest != ""; {
					io.WriteString(c.conn, rest[:min(step, len(rest))])
					rest = rest[min(step, len(rest)):]
				}
			}()
			c.wants(codes...)
			mails := d.intake.all()
			if len(mails) != 3 || mails[0].body != "Subject: 1\r\n\r\n.x\r\n" || mails[1].body != "" || len(mails[2].body) != 600*17 {
				t.Errorf("TLS %v, steps of %d: %d mails", secure, step, len(mails))
			}
		}
	}
}

// TestStartTLS: what STARTTLS ends, and what it does not let through.
func TestStartTLS(t *testing.T) {
	cases := []struct {
		name   string
		before []string // line, reply
		behind string   // sent in the clear together with STARTTLS
	}{
		{"lower case", nil, ""},
		{"with a parameter first", []string{"STARTTLS now", "500 5.5.2 ", "STARTTLSx", "500 5.5.2 "}, ""},
		{"within a transaction", []string{"MAIL FROM:<a@sender.example>", "250 ", "RCPT TO:<b@bl.example>", "250 "}, ""},
		{"within a transfer", []string{"MAIL FROM:<a@sender.example>", "250 ", "RCPT TO:<b@bl.example>", "250 ", "BDAT 4\r\nab", "250 "}, ""},
		{"injected commands", nil, "EHLO evil.example\r\nMAIL FROM:<evil@sender.example>\r\n"},
	}
	for _, tc := range cases {
		d := open(t, message.Inbound, nil)
		c := d.client(t)
		c.want("220 ")
		c.do("EHLO client.example", "250-")
		for i := 0; i < len(tc.before); i += 2 {
			c.do(tc.before[i], tc.before[i+1])
		}
		c.send("starttls \r\n" + tc.behind)
		c.want("220 2.0.0 ")
		c.startTLS(d.trust())
		d.server.mu.Lock()
		for w := range d.server.wires {
			if w.busy() {
				t.Errorf("%s: the transaction in the clear is still open", tc.name)
			}
		}
		d.server.mu.Unlock()
		c.do("MAIL FROM:<a@sender.example>", "502 ") // the very first reply: no greeting, no EHLO yet
		if got := c.do("EHLO client.example", "250-"); strings.Contains(got, "STARTTLS") {
			t.Errorf("%s: under TLS the server offers STARTTLS: %s", tc.name, got)
		}
		c.do("DATA", "502 ")
		c.do("STARTTLS", "502 ")
		c.transaction()
		c.do("DATA", "354 ")
		c.send("x: y\r\n.\r\n")
		c.want("250 2.0.0 accepted as ")
		if mails := d.intake.all(); len(mails) != 1 || mails[0].sub.Helo != "client.example" || len(mails[0].sub.To) != 1 {
			t.Errorf("%s: mails %+v", tc.name, mails)
		}
		if n := d.count(); n != 1 {
			t.Errorf("%s: %d connections counted, want 1", tc.name, n)
		}
		c.do("QUIT", "221 ")
		c.wantEOF()
	}
}

// TestStartTLSAtShutdown: a connection that is between the clear and TLS when
// the server stops is closed, and nobody waits for it.
func TestStartTLSAtShutdown(t *testing.T) {
	inBubble(t, message.Inbound, nil, func(t *testing.T, d *door) {
		early, late := d.client(t), d.client(t)
		for _, c := range []*client{early, late} {
			c.want("220 ")
			c.do("EHLO client.example", "250-")
			c.do("STARTTLS", "220 ")
		}
		early.startTLS(d.trust())
		synctest.Wait()
		if err := d.server.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		early.want("421 ")
		early.wantEOF()
		late.wantEOF()
		if n := d.count(); n != 0 {
			t.Errorf("%d connections left", n)
		}
	})
}

// TestHandover: who comes too late is told so, and so is who waits for him.
func TestHandover(t *testing.T) {
	d := open(t, message.Inbound, nil)
	never, err := New(Options{Hostname: "x.example", Kind: message.Inbound}, d.intake, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := never.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if never.secured.hand(nil) {
		t.Error("a connection was handed to nobody")
	}
	if c, err := never.secured.Accept(); err == nil {
		t.Errorf("accepted %v", c)
	}
}

// TestCutChunk: the end of the connection is never the end of a chunk, however
// it comes.
func TestCutChunk(t *testing.T) {
	for _, dead := range []error{nil, io.EOF} {
		for _, end := range []error{io.EOF, io.ErrUnexpectedEOF} {
			c := dataConn(iotest.ErrReader(end))
			c.open, c.dead, c.chunk = true, dead, 5
			if n, err := c.Read(make([]byte, 10)); n != 0 || err != &errBroken {
				t.Errorf("%v, %v: %d, %v", dead, end, n, err)
			}
			c = dataConn(iotest.ErrReader(end))
			c.dead = dead
			if n, err := c.Read(make([]byte, 10)); n != 0 || err != end && err != dead {
				t.Errorf("between commands, %v, %v: %d, %v", dead, end, n, err)
			}
		}
	}
}

// TestAuthResponse: a line that answers a challenge is no command, whatever it
// looks like.
func TestAuthResponse(t *testing.T) {
	d := open(t, message.Outbound, nil)
	c := d.client(t)
	c.want("220 ")
	c.do("EHLO client.example", "250-")
	c.do("STARTTLS", "220 ")
	c.startTLS(d.trust())
	c.do("EHLO client.example", "250-")
	for _, line := range []string{"BDAT 30", "RCPT TO:<postmaster>", "a\rb\x00", "HELO x"} {
		c.do("AUTH PLAIN", "334 ")
		c.do(line, "454 4.7.0 Invalid base64")
		c.do("NOOP", "250 ")
	}
	c.do("AUTH PLAIN", "334 ")
	c.do("*", "501 ")
	c.do("AUTH PLAIN "+plainResponse("", "bau", "geheim"), "235 ")
}

// TestChunkWithoutTransaction: the octets behind a refused BDAT are no commands
// and are not looked at.
func TestChunkWithoutTransaction(t *testing.T) {
	chunk := "NOOP\nSTARTTLS\r\nRCPT TO:<postmaster>\r\n\x00\r"
	d := open(t, message.Inbound, nil)
	c := d.client(t)
	c.want("220 ")
	for range 2 {
		c.do(fmt.Sprintf("BDAT %d\r\n%sNOOP", len(chunk), chunk), "502 ")
		c.want("250 ")
		c.do(fmt.Sprintf("bdat  %d  last \r\n%sNOOP", len(chunk), chunk), "502 ")
		c.want("250 ")
		c.do("EHLO client.example", "250-")
	}
	for _, malformed := range []string{"BDAT", "BDAT x", "BDAT -4", "BDAT 4 FIRST", "BDAT 4 LAST x", "BDAT 4294967296"} {
		c.do(malformed+"\r\nNOOP", "501 ")
		c.want("250 ")
	}
}

// TestLastReply: after the reply that ends a session no command is executed,
// even if it had come with the one before.
func TestLastReply(t *testing.T) {
	d := open(t, message.Inbound, func(o *Options) { o.Limits.Errors = 2 })
	c := d.client(t)
	c.want("220 ")
	c.do("EHLO client.example", "250-")
	c.send("MAIL FROM:<a@sender.example>\r\n" + strings.Repeat("RCPT TO:<unknown@bl.example>\r\n", 5) + "RCPT TO:<b@bl.example>\r\nBDAT 4 LAST\r\na\r\n\r\n")
	c.wants("250 ", "550 ", "550 ", "421 4.7.0 ")
	c.wantEOF()
	if n := len(d.intake.all()); n != 0 {
		t.Errorf("%d mails", n)
	}
}

// TestLongCommand: a line of 4096 octets or more ends the session, a shorter
// one does not, however it arrives.
func TestLongCommand(t *testing.T) {
	for _, tc := range []struct {
		octets int
		want   string
	}{{maxCommand - 1, "252 "}, {maxCommand, "500 5.4.0 "}, {maxCommand + 1, "500 5.4.0 "}, {3 * maxCommand, "500 5.4.0 "}} {
		for _, step := range []int{1 << 20, 1000} {
			d := open(t, message.Inbound, nil)
			c := d.client(t)
			c.want("220 ")
			go func() {
				for rest := "NOOP\r\nVRFY " + strings.Repeat("x", tc.octets-7) + "\r\nNOOP\r\n"; rest != ""; rest = rest[min(step, len(rest)):] {
					io.WriteString(c.conn, rest[:min(step, len(rest))])
				}
			}()
			c.wants("250 ", tc.want)
			if tc.want == "252 " {
				c.want("250 ")
			} else {
				c.wantEOF()
			}
		}
	}
}

// FuzzDialogue sends any octets as a whole session. Nothing breaks, and what is
// accepted is regular.
func FuzzDialogue(f *testing.F) {
	f.Add([]byte("MAIL FROM:<a@sender.example>\r\nRCPT TO:<postmaster>\r\nDATA\r\nx: y\r\n\r\n..\r\n.\r\nQUIT\r\n"), uint16(9))
	f.Add([]byte("HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@bl.example>\r\nBDAT 5\r\na\r\nb\rBDAT 1 LAST\r\n\nRSET\r\n"), uint16(500))
	f.Add([]byte("STARTTLS\r\n\x16\x03\x01\x00\x04\x01\x00\x00\x00"), uint16(1))
	f.Add([]byte("BDAT 10\r\n\n\r\n\x00STARTTLS\r\nAUTH PLAIN\r\nNOOP\n\r\n"), uint16(4))
	d := open(f, message.Inbound, nil)
	f.Fuzz(func(t *testing.T, text []byte, step uint16) {
		before := len(d.intake.all())
		c := d.client(t)
		c.want("220 ")
		c.do("EHLO client.example", "250-")
		n := max(int(step)+1, len(text)/100)
		for ; len(text) > 0; text = text[min(n, len(text)):] {
			if _, err := c.conn.Write(text[:min(n, len(text))]); err != nil {
				break
			}
		}
		c.conn.Close()
		for _, m := range d.intake.all()[before:] {
			if !regular([]byte(m.body)) || len(m.sub.To) == 0 {
				t.Errorf("accepted %+v", m)
			}
		}
	})
}

// TestMemoryOfSessions holds many unfinished bodies at once: what a session
// costs does not depend on what it has sent.
func TestMemoryOfSessions(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory of its own")
	}
	const sessions = 50
	body := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 13_000) // 1 MB
	for _, way := range []string{"DATA", "BDAT", "DATA under TLS", "BDAT under TLS"} {
		d := open(t, message.Inbound, nil)
		d.server.in = &nullIntake{}
		addr := d.listen(t)
		clients := make([]*client, sessions)
		before := inUse()
		for i := range clients {
			clients[i] = dial(t, addr)
			if strings.HasSuffix(way, "TLS") {
				clients[i].do("STARTTLS", "220 ")
				clients[i].startTLS(d.trust())
				clients[i].do("EHLO client.example", "250-")
			}
			clients[i].transaction()
		}
		idle := inUse()
		for _, c := range clients {
			if strings.HasPrefix(way, "DATA") {
				c.do("DATA", "354 ")
			} else {
				c.send("BDAT 50000000 LAST\r\n")
			}
			c.send(body)
		}
		each := (int64(inUse()) - int64(idle)) / sessions
		t.Logf("%s: idle %d KiB, for a body %d KiB more (the client's part included)", way, (int64(idle)-int64(before))/sessions>>10, each>>10)
		if each > 256<<10 {
			t.Errorf("%s: an unfinished body costs %d KiB", way, each>>10)
		}
	}
}

// inUse returns the octets of heap and stacks after a collection.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// dial connects over TCP and says EHLO.
func dial(t testing.TB, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client{t: t, conn: conn, r: newReader(conn)}
	c.want("220 ")
	c.do("EHLO client.example", "250-")
	return c
}
