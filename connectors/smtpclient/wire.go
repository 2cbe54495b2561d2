package smtpclient

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// errIrregular is returned for octets that have no place in SMTP data: CR
// without LF, LF without CR, NUL. Next hops disagree on what they mean, and
// some of them take such a line end for the end of the message (SMTP
// smuggling); RFC 5321 section 2.3.8 forbids them.
var errIrregular = errors.New("message holds a bare CR, a bare LF or a NUL octet")

// stuffer writes a message as SMTP data: it doubles a dot at the start of a
// line (RFC 5321 section 4.5.2), adds a missing final CRLF, refuses irregular
// line ends, and changes nothing else. Nothing of a piece is written before the
// whole piece was looked at.
type stuffer struct {
	w     io.Writer
	plain bool  // for BDAT: dots stay single
	limit int64 // refuses to take in more octets than that; 0: any number
	size  int64 // octets taken in
	eight bool  // an octet above 127 was seen
	mid   bool  // inside a line
	cr    bool  // the last octet was CR
}

// Write takes the next piece of the message.
func (s *stuffer) Write(p []byte) (int, error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case s.limit > 0 && s.size+int64(len(p)) > s.limit:
		return 0, errChanged
	case !s.regular(p):
		return 0, errIrregular
	}
	s.size += int64(len(p))
	s.eight = s.eight || !isASCII(p)
	if err := s.write(p); err != nil {
		return 0, err
	}
	last := p[len(p)-1]
	s.mid, s.cr = last != '\n', last == '\r'
	return len(p), nil
}

// regular reports whether every CR of the piece stands before a LF, every LF
// behind a CR, and no NUL anywhere. A CR at the end waits for the next piece.
func (s *stuffer) regular(p []byte) bool {
	if s.cr && p[0] != '\n' || bytes.IndexByte(p, 0) >= 0 {
		return false
	}
	crs := bytes.Count(p, []byte{'\r'})
	if p[len(p)-1] == '\r' {
		crs--
	}
	at := 0
	if p[0] == '\n' {
		if !s.cr {
			return false
		}
		at = 1
	}
	for {
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			return crs == 0
		}
		if i == 0 || p[at+i-1] != '\r' {
			return false
		}
		crs--
		at += i + 1
	}
}

// write doubles the dots that begin a line and leaves the rest in one piece.
func (s *stuffer) write(p []byte) error {
	if s.plain {
		_, err := s.w.Write(p)
		return err
	}
	if !s.mid && p[0] == '.' {
		if _, err := s.w.Write(p[:1]); err != nil {
			return err
		}
	}
	for {
		i := bytes.Index(p, []byte("\n."))
		if i < 0 {
			_, err := s.w.Write(p)
			return err
		}
		if _, err := s.w.Write(p[:i+2]); err != nil {
			return err
		}
		p = p[i+1:]
	}
}

// finish ends the last line. The end of the message is not its business.
func (s *stuffer) finish() error {
	switch {
	case s.cr:
		return errIrregular
	case !s.mid:
		return nil
	case s.limit > 0 && s.size+2 > s.limit:
		return errChanged
	}
	s.mid = false
	s.size += 2
	_, err := s.w.Write([]byte("\r\n"))
	return err
}

func isASCII(p []byte) bool {
	const high = 0x8080808080808080
	for len(p) >= 32 {
		if (binary.NativeEndian.Uint64(p)|binary.NativeEndian.Uint64(p[8:])|binary.NativeEndian.Uint64(p[16:])|binary.NativeEndian.Uint64(p[24:]))&high != 0 {
			return false
		}
		p = p[32:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
