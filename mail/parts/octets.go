package parts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// octets looks at the encoded body of one leaf for what programs decode
// differently. It is a io.Writer; the whole body goes through it once.
type octets struct {
	encoding string

	found map[string]bool
	col   int  // octets in this line
	chars int  // base64 characters in this line
	total int  // base64 characters in all
	short bool // base64: a line that holds no whole groups came before
	pads  int  // base64: padding seen
	prev  byte
	hex   int // quoted-printable: octets since '='; -1 outside
}

func newOctets(encoding string) *octets {
	return &octets{encoding: encoding, found: map[string]bool{}, hex: -1}
}

// Write implements io.Writer.
func (o *octets) Write(p []byte) (int, error) {
	for _, c := range p {
		switch o.encoding {
		case "base64":
			o.base64(c)
		case "quoted-printable":
			o.quotedPrintable(c)
		case "7bit":
			if c >= 0x80 {
				o.found["8bit-in-7bit"] = true
			}
		}
		if c == '\n' {
			o.col = 0
		} else if o.col++; o.col == 1000 {
			o.found["long-line"] = true
		}
		o.prev = c
	}
	return len(p), nil
}

// base64 takes lines of whole groups, padding once at the end (RFC 2045
// section 6.8).
func (o *octets) base64(c byte) {
	switch {
	case c == '\n':
		o.short = o.short || o.chars%4 != 0
		o.chars = 0
	case c == '\r':
	case c == '=':
		o.pads++
		o.chars++
	case c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/':
		if o.pads > 0 {
			o.found["base64-after-end"] = true
		}
		if o.short {
			o.found["base64-lines"] = true
		}
		o.chars++
		o.total++
	default:
		o.found["base64-alphabet"] = true
	}
}

// quotedPrintable takes "=XX" and soft line breaks (RFC 2045 section 6.7).
func (o *octets) quotedPrintable(c byte) {
	switch {
	case c >= 0x80:
		o.found["8bit-in-quoted-printable"] = true
	case o.hex < 0:
		if c == '=' {
			o.hex = 0
		}
		return
	}
	_, isHex := unhex(c)
	switch {
	case o.hex == 0 && (c == '\n' || c == '\r'):
		o.hex = -1
	case o.hex >= 0 && isHex && c < 'a':
		if o.hex++; o.hex == 2 {
			o.hex = -1
		}
	case o.hex >= 0:
		o.found["quoted-printable-escape"] = true
		o.hex = -1
	}
}

// end adds what only the end of the body shows.
func (o *octets) end() map[string]bool {
	if o.encoding == "base64" {
		if want := (4 - o.total%4) % 4; o.pads != want || o.total%4 == 1 {
			o.found["base64-padding"] = true
		}
	}
	if o.encoding == "quoted-printable" && o.hex >= 0 && o.hex < 2 && o.col > 0 {
		o.found["quoted-printable-escape"] = true
	}
	return o.found
}

// lines looks at all octets of a message for NUL, CR without LF, and line ends
// of two kinds.
func lines(r io.ReaderAt, size int64) (map[string]bool, error) {
	found := map[string]bool{}
	var crlf, lf bool
	last := byte(0)
	buf := make([]byte, 64<<10)
	for off := int64(0); off < size; {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if n == 0 && err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read message: %w", err)
		}
		if n == 0 {
			break
		}
		off += int64(n)
		chunk := buf[:n]
		if bytes.IndexByte(chunk, 0) >= 0 {
			found["nul"] = true
		}
		for len(chunk) > 0 {
			i := bytes.IndexAny(chunk, "\r\n")
			if last == '\r' && i != 0 || i >= 0 && last == '\r' && chunk[i] == '\r' {
				found["bare-cr"] = true
			}
			if i < 0 {
				last = 0
				break
			}
			before := last
			if i > 0 {
				before = chunk[i-1]
			}
			if chunk[i] == '\n' {
				crlf, lf = crlf || before == '\r', lf || before != '\r'
			}
			last = chunk[i]
			chunk = chunk[i+1:]
		}
	}
	if crlf && lf {
		found["mixed-line-ends"] = true
	}
	return found, nil
}
