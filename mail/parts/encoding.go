package parts

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
)

// newBase64Reader decodes base64 (RFC 2045 section 6.8): octets outside the
// alphabet are skipped, padding ends the data, a cut end gives what is whole.
func newBase64Reader(r io.Reader) io.Reader { return &base64Reader{r: r} }

// base64Reader decodes block by block. Line ends are cut out in one go; what is
// not otherwise of the alphabet is looked at octet by octet.
type base64Reader struct {
	r     io.Reader
	raw   []byte // read
	seen  int    // octets, until enough is known
	clean []byte // characters, of which fewer than four are left over
	out   []byte // decoded, not yet given out
	space []byte // of which out is a part
	err   error  // what comes behind out
}

// How many octets are read at a time: a little first, for most parts are short.
const (
	firstBase64 = 2 << 10
	base64Block = 16 << 10
	shortBase64 = 64 << 10 // as long as this is, it counts as short
)

// fullLine is the longest line of RFC 2045 section 6.8 with its end.
const fullLine = 76 + 2

// Read implements io.Reader.
func (b *base64Reader) Read(p []byte) (int, error) {
	for len(b.out) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.grow()
		if len(p) < len(b.space) {
			b.out = b.block(b.space)
		} else if out := b.block(p); len(out) > 0 {
			return len(out), nil
		}
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	return n, nil
}

// grow makes room for the next block.
func (b *base64Reader) grow() {
	size := firstBase64
	if b.seen > shortBase64 {
		size = base64Block
	}
	if len(b.raw) == size {
		return
	}
	b.raw = make([]byte, size)
	b.clean = append(make([]byte, 0, size+4), b.clean...)
	b.space = make([]byte, base64.RawStdEncoding.DecodedLen(size+4))
}

// block reads and decodes into space.
func (b *base64Reader) block(space []byte) []byte {
	n, err := b.r.Read(b.raw)
	b.err, b.seen = err, min(b.seen+n, shortBase64+1)
	for rest := b.raw[:n]; len(rest) > 0; {
		if len(rest) >= fullLine && rest[fullLine-2] == '\r' && rest[fullLine-1] == '\n' && bytes.IndexByte(rest[:fullLine-2], '\n') < 0 {
			b.clean, rest = append(b.clean, rest[:fullLine-2]...), rest[fullLine:] // as nearly all are
			continue
		}
		line, more, _ := bytes.Cut(rest, []byte{'\n'})
		b.clean = append(b.clean, bytes.TrimSuffix(line, []byte{'\r'})...)
		rest = more
	}
	return b.decode(space)
}

// decode decodes whole groups; at the end of the data all there is.
func (b *base64Reader) decode(space []byte) []byte {
	if end := bytes.IndexByte(b.clean, '='); end >= 0 {
		b.clean, b.err = b.clean[:end], io.EOF
	}
	n, err := base64.RawStdEncoding.Decode(space, b.clean[:b.whole()])
	if err != nil || n != base64.RawStdEncoding.DecodedLen(b.whole()) { // a CR is read over without a word
		b.filter()
		n, err = base64.RawStdEncoding.Decode(space, b.clean[:b.whole()])
	}
	if err != nil && b.err == nil {
		b.err = err // cannot be: only the alphabet is left
	}
	b.clean = append(b.clean[:0], b.clean[b.whole():]...)
	return space[:n]
}

// whole is how many characters can be decoded: at the end also two or three,
// while a single one means nothing.
func (b *base64Reader) whole() int {
	n := len(b.clean)
	if b.err == nil || n%4 == 1 {
		return n - n%4
	}
	return n
}

// filter leaves the alphabet only.
func (b *base64Reader) filter() {
	kept := b.clean[:0]
	for _, c := range b.clean {
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' {
			kept = append(kept, c)
		}
	}
	b.clean = kept
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
