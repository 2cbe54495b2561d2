package smtp

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	gosmtp "github.com/emersion/go-smtp"
)

// maxCommand bounds a command line, in octets. RFC 5321 section 4.5.3.1.4 asks
// for 512, the extensions add some hundreds each (RFC 3461 section 4 the most),
// and PLAIN can need 1030 (RFC 4616 section 2).
const maxCommand = 4096

// conn is one connection as go-smtp sees it: above TLS, as wire is below. It
// hands the dialogue on line by line, so that go-smtp never holds an octet that
// it has not yet asked for. That lets the session read a body from here, in
// blocks, while go-smtp waits in its DATA command; afterwards go-smtp finds the
// end of an empty body. docs/smtp.md explains why.
//
// STARTTLS is done here, too: what follows it is a connection of its own to
// go-smtp, which so forgets everything it heard in the clear (RFC 3207 section
// 4.2).
type conn struct {
	*wire
	server *Server
	secure *tls.Conn // nil in the clear
	in     io.Reader // what the client says, decrypted

	space  []byte      // room for a command line
	unread []byte      // received and not yet handed on
	out    []byte      // what go-smtp is given next
	chunk  int64       // octets of a BDAT chunk still to come
	data   *dataReader // the body that go-smtp does not see

	helo     bool // the client greets with HELO
	response bool // the next line answers a challenge of AUTH
	mute     bool // the greeting of go-smtp is not wanted
	over     bool // STARTTLS was said: this connection has ended for go-smtp
}

func newConn(s *Server, w *wire, secure *tls.Conn) *conn {
	c := &conn{wire: w, server: s, secure: secure, in: w, space: make([]byte, maxCommand)}
	if secure != nil {
		c.in = secure
	}
	return c
}

// Read implements net.Conn for go-smtp.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.out) == 0 {
		if n, err := c.more(p); n > 0 || err != nil {
			return n, err
		}
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// more puts the next part of a chunk into p, or into c.out whatever else is
// next.
func (c *conn) more(p []byte) (int, error) {
	err := c.ended()
	switch {
	case err != nil && c.chunk > 0:
		return 0, c.cut(err)
	case err != nil:
		return 0, err
	case c.chunk > 0:
		n, err := c.receive(p[:min(int64(len(p)), c.chunk)])
		c.chunk -= int64(n)
		return n, err
	}
	return 0, c.next()
}

// receive brings octets from the client.
func (c *conn) receive(p []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	n, err := c.in.Read(p)
	return n, c.cut(err)
}

// cut makes the end of the connection an error where it cuts something short.
// go-smtp takes io.EOF in the middle of a chunk for the end of the chunk, and
// would have a cut message accepted.
func (c *conn) cut(err error) error {
	if (err == io.EOF || err == io.ErrUnexpectedEOF) && c.busy() {
		return &errBroken
	}
	return err
}

// putBack returns octets that were received too many.
func (c *conn) putBack(p []byte) {
	if len(p) > 0 {
		c.unread = append(bytes.Clone(p), c.unread...)
	}
}

// body begins the body that follows DATA. What the session leaves of it is
// skipped when go-smtp asks for its end.
func (c *conn) body(limit int64) io.Reader {
	c.data = &dataReader{conn: c, limit: limit}
	return c.data
}

// next prepares what go-smtp is given: the end of a body, or a command line.
func (c *conn) next() error {
	if c.data != nil {
		if err := c.data.skip(); err != nil {
			return err
		}
		c.data, c.out = nil, []byte(".\r\n")
		return nil
	}
	line, err := c.line()
	if err != nil {
		return err
	}
	c.out, err = c.command(line)
	return err
}

// line returns the next line with its end. One that is longer than maxCommand
// comes without its end, which go-smtp answers with 500 and the end of the
// connection. One that was not finished in time is never seen by go-smtp.
func (c *conn) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(c.unread, '\n'); i >= 0 && i < maxCommand {
			line := c.unread[:i+1]
			c.unread = c.unread[i+1:]
			return line, nil
		}
		if len(c.unread) >= maxCommand {
			return c.unread, nil
		}
		rest := copy(c.space, c.unread)
		c.unread = nil
		n, err := c.receive(c.space[rest:])
		if n == 0 && err != nil {
			return nil, err
		}
		c.unread = c.space[:rest+n]
	}
}

// command looks at a line and decides what go-smtp gets in its place. An empty
// line is answered 500.
func (c *conn) command(line []byte) ([]byte, error) {
	if c.response {
		c.response = false
		return line, nil
	}
	refused := []byte("\r\n")
	text, regular := bytes.CutSuffix(line, []byte("\r\n"))
	switch {
	case len(line) >= maxCommand:
		return line, nil
	case !regular, bytes.ContainsAny(text, "\r\x00"):
		return refused, nil // RFC 5321 section 2.3.8
	}
	switch verb := strings.ToUpper(string(text[:min(len(text), 4)])); verb {
	case "HELO", "EHLO":
		c.helo = verb == "HELO"
	case "BDAT":
		c.chunk = chunkSize(string(text))
	case "RCPT":
		return c.postmaster(line), nil
	case "STAR":
		if c.secure == nil && c.server.tls != nil {
			if !strings.EqualFold(strings.TrimSpace(string(text)), "STARTTLS") {
				return refused, nil // it has no parameters
			}
			return nil, c.startTLS()
		}
	}
	return line, nil
}

// chunkSize reads a BDAT command as go-smtp does, which takes that many octets
// behind it, whatever its answer; 0 if go-smtp finds it malformed.
func chunkSize(text string) int64 {
	if len(text) < 5 || text[4] != ' ' {
		return 0
	}
	args := strings.Fields(text[5:])
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && !strings.EqualFold(args[1], "LAST") {
		return 0
	}
	size, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return 0
	}
	return int64(size)
}

// postmaster gives the one address without a domain (RFC 5321 section 4.1.1.3)
// the domain that it means: ours. go-smtp would refuse it.
func (c *conn) postmaster(line []byte) []byte {
	before, rest, _ := bytes.Cut(line, []byte("<"))
	path, after, found := bytes.Cut(rest, []byte(">"))
	if !found || !bytes.EqualFold(path, []byte("postmaster")) {
		return line
	}
	return slices.Concat(before, []byte("<"), path, []byte("@"+c.server.o.Hostname+">"), after)
}

// startTLS answers STARTTLS, and hands the connection under TLS to go-smtp as
// a new one; this one ends for go-smtp. What the client sent behind the command
// is dropped. If the handshake fails the connection is closed.
func (c *conn) startTLS() error {
	c.over = true
	c.wire.beginTLS()
	if _, err := c.wire.Write([]byte("220 2.0.0 Ready to start TLS\r\n")); err != nil {
		c.wire.Close()
		return io.EOF
	}
	secure := tls.Server(c.wire, c.server.tls)
	if err := secure.Handshake(); err != nil {
		c.server.o.Log.Debug("smtp TLS handshake failed", "remote", remoteIP(c), "error", err)
		c.wire.Close()
		return io.EOF
	}
	upper := newConn(c.server, c.wire, secure)
	upper.mute = true
	if !c.server.secured.hand(upper) {
		upper.Close()
	}
	return io.EOF
}

// Write implements net.Conn for go-smtp, which writes whole lines.
func (c *conn) Write(p []byte) (int, error) {
	switch {
	case c.over:
		return 0, net.ErrClosed
	case c.mute:
		c.mute = false
		return len(p), nil
	}
	c.response = bytes.HasPrefix(p, []byte("334 "))
	if c.secure != nil {
		return c.secure.Write(p)
	}
	return c.wire.Write(p)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	switch {
	case c.over:
		return nil
	case c.secure != nil:
		return c.secure.Close()
	}
	return c.wire.Close()
}

// connOf returns what lies below a connection of go-smtp.
func connOf(g *gosmtp.Conn) *conn {
	c, _ := g.Conn().(*conn)
	return c
}
