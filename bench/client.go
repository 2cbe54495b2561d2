package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"time"
)

// entrance is how mail comes into a system: its address, the envelope, and what
// the client must do before it may send.
type entrance struct {
	addr     string
	from, to string
	subject  string      // before the number of the message
	tls      *tls.Config // STARTTLS, with a client certificate where one is needed; nil: in the clear
	login    [2]string   // AUTH PLAIN
}

// patience bounds one exchange with a peer.
const patience = 2 * time.Minute

// client is one connection. It does not pipeline: the peers differ in what
// they make of it.
type client struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
}

// replyError is an answer that was not the hoped for one.
type replyError string

func (e replyError) Error() string { return string(e) }

// temporary reports whether the same may succeed a little later.
func (e replyError) temporary() bool { return strings.HasPrefix(string(e), "4") }

// dial connects and comes to the point where MAIL may be said.
func dial(e entrance) (*client, error) {
	conn, err := net.DialTimeout("tcp", e.addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn}
	if err := c.greet(e); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *client) use(conn net.Conn) {
	c.conn, c.r, c.w = conn, bufio.NewReaderSize(conn, 4<<10), bufio.NewWriterSize(conn, 64<<10)
}

func (c *client) greet(e entrance) error {
	c.use(c.conn)
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := c.reply('2'); err != nil {
		return err
	}
	if err := c.command('2', "EHLO bench.example"); err != nil {
		return err
	}
	if e.tls != nil {
		if err := c.command('2', "STARTTLS"); err != nil {
			return err
		}
		c.use(tls.Client(c.conn, e.tls))
		if err := c.command('2', "EHLO bench.example"); err != nil {
			return err
		}
	}
	if e.login[0] == "" {
		return nil
	}
	return c.command('2', "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+e.login[0]+"\x00"+e.login[1])))
}

// command says one line and waits for a reply of that class.
func (c *client) command(want byte, line string) error {
	c.w.WriteString(line + "\r\n")
	if err := c.w.Flush(); err != nil {
		return err
	}
	return c.reply(want)
}

func (c *client) reply(want byte) error {
	for {
		line, err := c.r.ReadSlice('\n')
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case err != nil:
			return err
		case len(line) < 3:
			return fmt.Errorf("short reply %q", line)
		case len(line) > 3 && line[3] == '-':
			continue
		case line[0] != want:
			return replyError(line)
		}
		return nil
	}
}

// letter is one message of the load.
type letter struct {
	number int64
	run    string // tells runs apart in Message-IDs
	body   []byte
}

// stampField carries when the client began, so that the sink can tell how long
// the way was.
const stampField = "X-Bench-Sent"

func (l letter) head(e entrance) string {
	return fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: %sbench %d\r\nDate: Mon, 23 Nov 2026 05:30:00 +0000\r\nMessage-ID: <%s.%d@bench.example>\r\n%s: %d\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n", e.from, e.to, e.subject, l.number, l.run, l.number, stampField, time.Now().UnixNano())
}

// begin says everything up to DATA.
func (c *client) begin(e entrance) error {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := c.command('2', "MAIL FROM:<"+e.from+">"); err != nil {
		return err
	}
	if err := c.command('2', "RCPT TO:<"+e.to+">"); err != nil {
		return err
	}
	return c.command('3', "DATA")
}

// write sends a message without its end.
func (c *client) write(e entrance, l letter) error {
	c.w.WriteString(l.head(e))
	c.w.Write(l.body)
	return c.w.Flush()
}

// send hands over one message; nil means that the peer has taken it.
func (c *client) send(e entrance, l letter) error {
	if err := c.begin(e); err != nil {
		return err
	}
	c.w.WriteString(l.head(e))
	c.w.Write(l.body)
	return c.command('2', ".")
}

// quit ends politely and does not care how.
func (c *client) quit() {
	if c.conn.SetDeadline(time.Now().Add(time.Second)) == nil {
		_ = c.command('2', "QUIT")
	}
	c.conn.Close()
}
