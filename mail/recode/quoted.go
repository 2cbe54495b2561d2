package recode

import (
	"errors"
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
	all  []byte // of which out is a part
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
		q.out = q.all[:0]
		n, err := q.r.Read(q.raw)
		for _, c := range q.raw[:n] {
			q.octet(c)
		}
		if q.err = err; errors.Is(err, io.EOF) {
			q.end()
		}
		q.all = q.out
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
		q.escape('\r')
	}
	switch {
	case c == '\r':
		q.cr = true
	case c == '=', c < ' ' && c != '\t', c > '~':
		q.escape(c)
	default:
		q.plain(c)
	}
}

// plain appends an octet as it is, where it may begin a line.
func (q *quoted) plain(c byte) {
	q.room(1)
	if len(q.line) == 0 && (c == '-' || c == '.' || c == 'F') {
		q.escape(c)
		return
	}
	q.line = append(q.line, c)
}

func (q *quoted) escape(c byte) {
	const digits = "0123456789ABCDEF"
	q.room(3)
	q.line = append(q.line, '=', digits[c>>4], digits[c&15])
}

// room begins a next line, behind a soft line break, where so much has none in this.
func (q *quoted) room(n int) {
	if len(q.line)+n > quotedLine-1 {
		q.out = append(append(q.out, q.line...), "=\r\n"...)
		q.line = q.line[:0]
	}
}

// noSpaceAtEnd encodes white space that ends a line, where the way may lose it.
func (q *quoted) noSpaceAtEnd() {
	if n := len(q.line); n > 0 && (q.line[n-1] == ' ' || q.line[n-1] == '\t') {
		c := q.line[n-1]
		q.line = q.line[:n-1]
		q.escape(c)
	}
}

func (q *quoted) end() {
	if q.cr {
		q.escape('\r')
	}
	q.noSpaceAtEnd()
	q.out = append(q.out, q.line...)
	q.line = nil
}
