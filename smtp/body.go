package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

const (
	maxReceived   = 30       // trace fields beyond which a message is going round in circles (RFC 5321 section 6.3)
	maxTraceBytes = 64 << 10 // how far into the message trace fields are counted
	maxLine       = 64 << 10 // octets in one line, with its end; RFC 5321 promises 1000, real mail has more
)

// bodyReader passes a message body on, unchanged, as long as every line ends in
// CRLF and there is no NUL. Anything else is refused (RFC 5321 section 2.3.8):
// it is what SMTP smuggling is made of, and the next system would read it
// differently from us. It also counts Received fields to find mail loops, and
// remembers how the body ended.
//
// It keeps nothing of the body. Once it has failed it stays failed.
type bodyReader struct {
	r        io.Reader
	trace    traceCounter
	read     int64 // octets passed on
	line     int   // octets of the line that has not ended yet
	cr       bool  // the last octet was CR
	complete bool  // the end was reached and everything was regular
	err      error // why it ended, io.EOF included
	reset    bool  // the client gave the transfer up
}

func newBodyReader(r io.Reader) *bodyReader {
	return &bodyReader{r: r, trace: traceCounter{lineStart: true}}
}

// Read implements io.Reader. Refusals are *message.Refusal.
func (b *bodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.r.Read(p)
	if bad := b.check(p[:n]); bad != nil {
		b.err = bad
		return 0, bad
	}
	b.read += int64(n)
	if err == nil {
		return n, nil
	}
	b.err = b.end(err)
	return n, b.err
}

func (b *bodyReader) end(err error) error {
	switch {
	case errors.Is(err, gosmtp.ErrDataReset):
		b.reset = true
	case err == io.EOF && b.cr:
		return irregular("carriage return without line feed (bare CR)", b.read-1)
	case err == io.EOF:
		b.complete = true
		return io.EOF
	case known(err):
		return err // go-smtp's own: too large, too slow
	}
	return &errAborted
}

// check looks at the next octets of the body.
func (b *bodyReader) check(p []byte) error {
	if i := bytes.IndexByte(p, 0); i >= 0 {
		return irregular("NUL character", b.read+int64(i))
	}
	if err := b.checkLineEnds(p); err != nil {
		return err
	}
	if b.trace.count(p); b.trace.found > maxReceived {
		return &message.Refusal{Code: 554, Enhanced: "5.4.6", Text: "mail loop: more than 30 Received fields"}
	}
	return nil
}

// checkLineEnds goes from LF to LF: each must follow a CR, and no other CR may
// stand between them.
func (b *bodyReader) checkLineEnds(p []byte) error {
	at := b.read
	for len(p) > 0 {
		if b.cr && p[0] != '\n' {
			return irregular("carriage return without line feed (bare CR)", at-1)
		}
		line, ended := p, false
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line, ended = p[:i+1], true
		}
		text := line
		switch {
		case ended && len(line) == 1 && !b.cr, ended && len(line) > 1 && line[len(line)-2] != '\r':
			return irregular("line feed without carriage return (bare LF)", at+int64(len(line))-1)
		case ended:
			text = line[:max(0, len(line)-2)]
		case line[len(line)-1] == '\r':
			text = line[:len(line)-1]
		}
		if i := bytes.IndexByte(text, '\r'); i >= 0 {
			return irregular("carriage return without line feed (bare CR)", at+int64(i))
		}
		if b.line += len(line); b.line > maxLine {
			return &message.Refusal{Code: 554, Enhanced: "5.6.0", Text: fmt.Sprintf("the message has a line longer than %d octets", maxLine)}
		}
		if ended {
			b.line = 0
		}
		b.cr = !ended && line[len(line)-1] == '\r'
		at += int64(len(line))
		p = p[len(line):]
	}
	return nil
}

func irregular(what string, at int64) error {
	return &message.Refusal{
		Code: 550, Enhanced: "5.6.0",
		Text: fmt.Sprintf("the message has a %s at octet %d; every line must end in CRLF (RFC 5321 2.3.8); please correct the sending program", what, at+1),
	}
}

// traceCounter counts the Received fields of a header section as it streams by.
type traceCounter struct {
	found     int
	seen      int64
	lineStart bool // the next octet begins a line
	matched   int  // octets of "received" matched on this line; -1: another field
	done      bool // the header section is over, or the limit is reached
}

const traceName = "received"

func (t *traceCounter) count(p []byte) {
	for _, c := range p {
		if t.done {
			return
		}
		t.octet(c)
	}
}

func (t *traceCounter) octet(c byte) {
	t.seen++
	switch {
	case t.seen > maxTraceBytes, t.lineStart && c == '\r':
		t.done = true // a line that begins with CR is the blank line: every CR is followed by LF
	case c == '\n':
		t.lineStart, t.matched = true, 0
	case t.matched == len(traceName):
		switch c {
		case ':':
			t.found++
			t.matched = -1
		case ' ', '\t': // obsolete syntax, RFC 5322 section 4.5
		default:
			t.matched = -1
		}
		t.lineStart = false
	case t.matched >= 0 && c|0x20 == traceName[t.matched]:
		t.matched++
		t.lineStart = false
	default:
		t.matched, t.lineStart = -1, false
	}
}
