package parts

import (
	"bufio"
	"encoding/base64"
	"errors"
	"io"
)

// newBase64Reader decodes base64 (RFC 2045 section 6.8): octets outside the
// alphabet are skipped, padding ends the data, a cut end gives what is whole.
func newBase64Reader(r io.Reader) io.Reader {
	return &lenient{base64.NewDecoder(base64.RawStdEncoding, &alphabetReader{bufio.NewReader(r)})}
}

// alphabetReader passes the characters of base64 on, up to the padding.
type alphabetReader struct{ r *bufio.Reader }

// Read implements io.Reader.
func (a *alphabetReader) Read(p []byte) (n int, err error) {
	for n == 0 && len(p) > 0 {
		if _, err := a.r.Peek(1); err != nil {
			return 0, err
		}
		ready, _ := a.r.Peek(min(a.r.Buffered(), len(p))) // all of it is there
		for i, c := range ready {
			if c == '=' {
				a.r.Reset(eof{})
				return n, io.EOF
			}
			if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' {
				p[n] = ready[i]
				n++
			}
		}
		if _, err := a.r.Discard(len(ready)); err != nil {
			return n, err
		}
	}
	return n, nil
}

type eof struct{}

// Read implements io.Reader.
func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// lenient takes a left-over character at the end of the data for its end.
type lenient struct{ r io.Reader }

// Read implements io.Reader.
func (e *lenient) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	var corrupt base64.CorruptInputError
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &corrupt) {
		err = io.EOF
	}
	return n, err
}

// newQPReader decodes quoted-printable (RFC 2045 section 6.7): white space at
// the end of a line falls away, what is no valid escape stays as it is.
func newQPReader(r io.Reader) io.Reader {
	return &qpReader{r: bufio.NewReader(r)}
}

type qpReader struct {
	r     *bufio.Reader
	ready []byte // decoded, not yet taken
}

// Read implements io.Reader.
func (q *qpReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(q.ready) == 0 {
			if err = q.next(); err != nil {
				return n, err
			}
		}
		k := copy(p[n:], q.ready)
		n, q.ready = n+k, q.ready[k:]
	}
	return n, nil
}

// next decodes one octet or escape, or passes a run of white space on.
func (q *qpReader) next() error {
	c, err := q.r.ReadByte()
	if err != nil {
		return err
	}
	if !isSpace(c) && c != '=' {
		q.ready = append(q.ready[:0], c)
		return nil
	}
	if rest, _ := q.r.Peek(2); c == '=' && len(rest) == 2 {
		hi, ok1 := unhex(rest[0])
		lo, ok2 := unhex(rest[1])
		if ok1 && ok2 {
			q.ready = append(q.ready[:0], hi<<4|lo)
			_, err = q.r.Discard(2)
			return err
		}
	}
	return q.space(c)
}

// maxTrailing bounds the white space looked over at the end of a line.
const maxTrailing = 1024

// space passes c and the white space behind it on, or drops both where they
// end a line; a '=' there takes the line end with it.
func (q *qpReader) space(c byte) error {
	q.ready = append(q.ready[:0], c)
	for len(q.ready) < maxTrailing {
		next, err := q.r.Peek(1)
		if err != nil || !isSpace(next[0]) {
			break
		}
		q.ready = append(q.ready, next[0])
		_, _ = q.r.Discard(1) // it was peeked at
	}
	eol, _ := q.r.Peek(2)
	n := 0
	switch {
	case len(eol) > 0 && eol[0] == '\n':
		n = 1
	case string(eol) == "\r\n":
		n = 2
	default:
		return nil
	}
	q.ready = q.ready[:0]
	if c == '=' {
		_, err := q.r.Discard(n)
		return err
	}
	return nil
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }
