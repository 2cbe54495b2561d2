package mail

import (
	"bufio"
	"encoding/base64"
	"errors"
	"io"
)

// newBase64Reader decodes base64 (RFC 2045 section 6.8): octets outside the
// alphabet are skipped, padding ends one run and another may follow.
func newBase64Reader(r io.Reader) io.Reader {
	return &base64Reader{r: bufio.NewReader(r)}
}

type base64Reader struct {
	r    *bufio.Reader
	quad []byte // gathered characters of the alphabet, fewer than four
	out  []byte // decoded, not yet taken
	buf  [3 * 1024]byte
	err  error
}

// Read implements io.Reader.
func (b *base64Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(b.out) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.fill()
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	return n, nil
}

// fill decodes the next stretch.
func (b *base64Reader) fill() {
	b.out = b.buf[:0]
	for len(b.out)+3 <= len(b.buf) {
		c, err := b.r.ReadByte()
		if err != nil {
			b.err = err
			if errors.Is(err, io.EOF) {
				b.flush()
			}
			return
		}
		switch {
		case c == '=':
			b.flush()
		case inAlphabet(c):
			if b.quad = append(b.quad, c); len(b.quad) == 4 {
				b.flush()
			}
		}
	}
}

// flush decodes what was gathered; a single left-over character holds no octet.
func (b *base64Reader) flush() {
	if len(b.quad) >= 2 {
		var dec [3]byte
		n, _ := base64.RawStdEncoding.Decode(dec[:], b.quad) // the alphabet was checked
		b.out = append(b.out, dec[:n]...)
	}
	b.quad = b.quad[:0]
}

func inAlphabet(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}

// newQPReader decodes quoted-printable (RFC 2045 section 6.7); what is no valid
// escape is kept as it stands.
func newQPReader(r io.Reader) io.Reader {
	return &qpReader{r: bufio.NewReaderSize(r, 4096)}
}

type qpReader struct {
	r   *bufio.Reader
	out []byte
	err error
}

// Read implements io.Reader.
func (q *qpReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(q.out) == 0 {
		if q.err != nil {
			return 0, q.err
		}
		var line []byte
		line, q.err = q.r.ReadSlice('\n')
		if errors.Is(q.err, bufio.ErrBufferFull) {
			// Do not cut an escape: leave its start for the next stretch.
			q.err = nil
			line = q.keepEscape(line)
		}
		q.out = decodeQP(line)
	}
	n := copy(p, q.out)
	q.out = q.out[n:]
	return n, nil
}

// keepEscape gives a begun escape or trailing space at the end of an overlong
// line back: it is read again with what follows.
func (q *qpReader) keepEscape(line []byte) []byte {
	line = append([]byte(nil), line...)
	for n := len(line); n > len(line)-2; n-- {
		if line[n-1] != '=' {
			continue
		}
		rest, err := q.r.Peek(2 - (len(line) - n))
		if err != nil && len(rest) == 0 {
			return line
		}
		if _, err := q.r.Discard(len(rest)); err != nil {
			return line
		}
		return append(line, rest...)
	}
	return line
}

// decodeQP decodes one line with its line end.
func decodeQP(line []byte) []byte {
	end := len(line)
	for end > 0 && (line[end-1] == '\n' || line[end-1] == '\r') {
		end--
	}
	eol := line[end:]
	if len(eol) > 0 { // trailing white space was added on the way
		for end > 0 && isSpace(line[end-1]) {
			end--
		}
		if end > 0 && line[end-1] == '=' { // soft line break
			end--
			eol = nil
		}
	}
	out := make([]byte, 0, len(line))
	for i := 0; i < end; i++ {
		if line[i] == '=' && i+2 < end {
			hi, ok1 := unhex(line[i+1])
			lo, ok2 := unhex(line[i+2])
			if ok1 && ok2 {
				out = append(out, hi<<4|lo)
				i += 2
				continue
			}
		}
		out = append(out, line[i])
	}
	return append(out, eol...)
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
