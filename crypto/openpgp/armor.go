package openpgp

import (
	"encoding/base64"
	"io"
)

// armorWriter writes ASCII armor (RFC 9580 section 6.2) with the line ends of mail.
// go-crypto's takes more than half of the time of encrypting for its checksum,
// bit by bit, and writes it where it must not stand.
type armorWriter struct {
	w     io.Writer
	kind  string
	table *[256]uint32 // of the checksum; nil: none
	sum   uint32
	line  []byte // less than a line
	out   []byte
	err   error
}

const armorLine = 48 // octets, 64 characters

// newArmor begins a block. The checksum is for old programs only: it must not stand
// on what only those read who need none, version 6 and AEAD (section 6.1.1).
func newArmor(w io.Writer, kind string, checksum bool) *armorWriter {
	a := &armorWriter{w: w, kind: kind, sum: 0xb704ce}
	if checksum {
		a.table = crc24()
	}
	a.write([]byte("-----BEGIN " + kind + "-----\r\n\r\n"))
	return a
}

// crc24 is the checksum's table (section 6.1).
func crc24() *[256]uint32 {
	var t [256]uint32
	for i := range t {
		c := uint32(i) << 16
		for range 8 {
			if c <<= 1; c&0x1000000 != 0 {
				c ^= 0x1864cfb
			}
		}
		t[i] = c
	}
	return &t
}

func (a *armorWriter) write(p []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(p)
	}
}

// Write implements io.Writer.
func (a *armorWriter) Write(p []byte) (int, error) {
	if a.table != nil {
		for _, c := range p {
			a.sum = a.sum<<8&0xffffff ^ a.table[byte(a.sum>>16)^c]
		}
	}
	size := len(p)
	if len(a.line) > 0 {
		n := min(armorLine-len(a.line), len(p))
		a.line, p = append(a.line, p[:n]...), p[n:]
		if len(a.line) == armorLine {
			a.lines(a.line)
			a.line = a.line[:0]
		}
	}
	whole := len(p) / armorLine * armorLine
	a.lines(p[:whole])
	a.line = append(a.line, p[whole:]...)
	return size, a.err
}

// lines writes whole lines, and a last shorter one.
func (a *armorWriter) lines(p []byte) {
	for len(p) > 0 {
		n := min(len(p), armorLine)
		a.out = append(base64.StdEncoding.AppendEncode(a.out, p[:n]), '\r', '\n')
		if p = p[n:]; len(p) == 0 || len(a.out) > 32<<10 {
			a.write(a.out)
			a.out = a.out[:0]
		}
	}
}

// Close ends the block; the last line has no line end.
func (a *armorWriter) Close() error {
	a.lines(a.line)
	if a.table != nil {
		a.write([]byte("=" + base64.StdEncoding.EncodeToString([]byte{byte(a.sum >> 16), byte(a.sum >> 8), byte(a.sum)}) + "\r\n"))
	}
	a.write([]byte("-----END " + a.kind + "-----"))
	return a.err
}
