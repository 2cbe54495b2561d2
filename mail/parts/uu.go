package parts

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// newUUReader decodes uuencoded data (POSIX uuencode): from the line "begin"
// to the line "end". What is no such line is skipped.
func newUUReader(r io.Reader) io.Reader {
	return &uuReader{r: bufio.NewReader(r)}
}

type uuReader struct {
	r       *bufio.Reader
	begun   bool
	ended   bool
	ready   []byte // decoded, not yet taken
	decoded [64]byte
}

// Read implements io.Reader.
func (u *uuReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(u.ready) == 0 {
			if u.ended {
				return n, io.EOF
			}
			if err := u.next(); err != nil {
				return n, err
			}
		}
		k := copy(p[n:], u.ready)
		n, u.ready = n+k, u.ready[k:]
	}
	return n, nil
}

// next decodes one line.
func (u *uuReader) next() error {
	line, err := u.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil // no line of such data is that long
	case errors.Is(err, io.EOF):
		u.ended = true
	case err != nil:
		return err
	}
	line = bytes.TrimRight(line, "\r\n")
	switch {
	case !u.begun:
		u.begun = bytes.HasPrefix(line, []byte("begin "))
	case string(line) == "end":
		u.ended = true
	case len(line) > 0:
		u.ready = u.line(line)
	}
	return nil
}

// line decodes a line: its length, then four characters for three octets. A
// cut line gives what is whole.
func (u *uuReader) line(line []byte) []byte {
	want := int(line[0]-' ') & 63
	out := u.decoded[:0]
	for group := line[1:]; len(out) < want && len(group) > 0; group = group[min(4, len(group)):] {
		var v uint32
		for i := range 4 {
			v <<= 6
			if i < len(group) {
				v |= uint32(group[i]-' ') & 63
			}
		}
		out = append(out, byte(v>>16), byte(v>>8), byte(v))
	}
	return out[:min(want, len(out))]
}
