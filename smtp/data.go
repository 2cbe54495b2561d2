package smtp

import (
	"bytes"
	"io"

	gosmtp "github.com/emersion/go-smtp"
)

// dataReader reads the body that follows DATA up to its end, and takes the
// doubled dots out (RFC 5321 section 4.5.2). The end is CRLF.CRLF and nothing
// else (section 4.1.1.4); what is irregular inside a line it leaves to
// bodyReader. It works on blocks, in the reader's own memory.
type dataReader struct {
	conn   *conn
	limit  int64 // octets that a message may have
	passed int64 // octets handed on
	place  place
	cr     bool  // the text so far ends in a CR that an LF would make a line end
	err    error // why nothing more is handed on
}

// place says where in a body its next octet stands.
type place int

const (
	lineStart  place = iota
	afterDot         // behind a dot that begins a line
	afterDotCR       // behind a dot and CR that begin a line
	inLine
	behindEnd
)

// Read implements io.Reader.
func (d *dataReader) Read(p []byte) (int, error) {
	for d.err == nil && d.place != behindEnd {
		n, err := d.step(p)
		switch {
		case d.err != nil:
		case err != nil:
			d.err = err
		case d.passed+int64(n) > d.limit:
			d.err = gosmtp.ErrDataTooLarge
		case n > 0 || len(p) == 0:
			d.passed += int64(n)
			return n, nil
		}
	}
	if d.err != nil {
		return 0, d.err
	}
	return 0, io.EOF
}

// skip reads on to the end of the body, for a session that wants no more of it.
func (d *dataReader) skip() error {
	if d.place == behindEnd {
		return nil
	}
	scratch := make([]byte, 16<<10)
	for d.place != behindEnd {
		if _, err := d.step(scratch); err != nil {
			return err
		}
	}
	return nil
}

// step fills p from the connection and leaves in it what belongs to the
// message.
func (d *dataReader) step(p []byte) (int, error) {
	received, err := d.conn.receive(p)
	switch {
	case received > 0:
	case err == io.EOF:
		return 0, io.ErrUnexpectedEOF // the end of the connection is not the end of the body
	default:
		return 0, err
	}
	n, used := d.unstuff(p[:received])
	d.conn.putBack(p[used:received])
	return n, nil
}

// unstuff takes the dots out of the next block and moves the rest together. It
// returns how much is left, and how much of the block it used: not all if the
// end stood in it, or something irregular that only it can see.
func (d *dataReader) unstuff(p []byte) (n, used int) {
	kept := 0 // up to here everything has been moved
	for used < len(p) && d.place != behindEnd {
		switch at := used; d.place {
		case lineStart:
			if d.place = inLine; p[at] == '.' {
				n += copy(p[n:], p[kept:at])
				d.place, used, kept = afterDot, at+1, at+1
			}
		case afterDot:
			if d.place = inLine; p[at] == '\r' {
				d.place, used, kept = afterDotCR, at+1, at+1
			}
		case afterDotCR:
			if p[at] != '\n' {
				d.place, d.cr = inLine, true
				d.refuse(n)
				return n, used
			}
			d.place, used, kept = behindEnd, at+1, at+1
		case inLine:
			used += d.line(p[at:])
		}
	}
	return n + copy(p[n:], p[kept:used]), used
}

// line goes to the end of a line, or of the block. As go-smtp counts, of
// several CR before the LF each second one stands for itself.
func (d *dataReader) line(p []byte) int {
	i := bytes.IndexByte(p, '\n')
	text := p
	if i >= 0 {
		text = p[:i]
	}
	crs := 0
	for crs < len(text) && text[len(text)-1-crs] == '\r' {
		crs++
	}
	if crs == len(text) && d.cr {
		crs++
	}
	d.cr = crs%2 == 1
	if i < 0 {
		return len(p)
	}
	if d.cr {
		d.place, d.cr = lineStart, false
	}
	return i + 1
}

func (d *dataReader) refuse(n int) {
	if d.err == nil {
		d.err = irregular("carriage return without line feed (bare CR)", d.passed+int64(n))
	}
}
