package recode

import (
	"errors"
	"fmt"
	"io"
)

// QuotedPrintable returns a reader of what r holds, in quoted-printable (RFC 2045
// section 6.7), of which decoding gives every octet back: CRLF stays a line end, a bare
// CR or LF is encoded. So is what must not begin a line: a hyphen, which could make a
// boundary, a dot, and the F of "From ".
func QuotedPrintable(r io.Reader) io.Reader { return &quoted{r: r} }

type quoted struct {
	r    io.Reader
	raw  []byte
	out  []byte // not yet read
	line []byte // the newest one
	cr   bool   // the last octet was a CR, and nothing of it is in line
	err  error
}

// quotedLine is how long a line may be, with the "=" at its end.
const quotedLine = 76

// Read implements io.Reader.
func (q *quoted) Read(p []byte) (int, error) {
	for len(q.out) == 0 {
		if q.err != nil {
			return 0, q.err
		}
		if q.raw == nil {
			q.raw = make([]byte, 4<<10)
		}
		q.out = q.out[:0]
		n, err := q.r.Read(q.raw)
		for _, c := range q.raw[:n] {
			q.octet(c)
		}
		if q.err = err; errors.Is(err, io.EOF) {
			q.end()
		}
	}
	n := copy(p, q.out)
	q.out = q.out[n:]
	return n, nil
}

func (q *quoted) octet(c byte) {
	if q.cr {
		if q.cr = false; c == '\n' {
			q.noSpaceAtEnd()
			q.out = append(append(q.out, q.line...), "\r\n"...)
			q.line = q.line[:0]
			return
		}
		q.put("=0D")
	}
	switch {
	case c == '\r':
		q.cr = true
	case c == '=', c < ' ' && c != '\t', c > '~':
		q.put(escape(c))
	default:
		q.put(string(rune(c)))
	}
}

// put appends to the line, or to a next one behind a soft line break.
func (q *quoted) put(s string) {
	if len(q.line)+len(s) > quotedLine-1 {
		q.out = append(append(q.out, q.line...), "=\r\n"...)
		q.line = q.line[:0]
	}
	if len(q.line) == 0 && (s == "-" || s == "." || s == "F") {
		s = escape(s[0])
	}
	q.line = append(q.line, s...)
}

// noSpaceAtEnd encodes white space that ends a line, where the way may lose it.
func (q *quoted) noSpaceAtEnd() {
	if n := len(q.line); n > 0 && (q.line[n-1] == ' ' || q.line[n-1] == '\t') {
		c := q.line[n-1]
		q.line = q.line[:n-1]
		q.put(escape(c))
	}
}

func (q *quoted) end() {
	if q.cr {
		q.put("=0D")
	}
	q.noSpaceAtEnd()
	q.out = append(q.out, q.line...)
	q.line = nil
}

func escape(c byte) string { return fmt.Sprintf("=%02X", c) }
