package smtpclient

import (
	"bytes"
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
// line ends, and changes nothing else.
type stuffer struct {
	w     io.Writer
	size  int64 // octets taken in
	eight bool  // an octet above 127 was seen
	mid   bool  // inside a line
	cr    bool  // the last octet was CR
}

// Write takes the next piece of the message.
func (s *stuffer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line = rest[:i+1]
		}
		if !s.regular(line) {
			return len(p) - len(rest), errIrregular
		}
		if err := s.line(line); err != nil {
			return len(p) - len(rest), err
		}
		rest = rest[len(line):]
	}
	return len(p), nil
}

// regular checks a piece that holds at most one LF, at its end.
func (s *stuffer) regular(line []byte) bool {
	last := len(line) - 1
	ended := line[last] == '\n'
	if s.cr && (!ended || last != 0) { // CR must be followed by LF
		return false
	}
	cr := bytes.IndexByte(line, '\r')
	switch {
	case bytes.IndexByte(line, 0) >= 0:
		return false
	case ended && last == 0:
		return s.cr
	case ended:
		return cr == last-1
	default:
		return cr < 0 || cr == last
	}
}

func (s *stuffer) line(line []byte) error {
	if !s.mid && line[0] == '.' {
		if _, err := s.w.Write([]byte{'.'}); err != nil {
			return err
		}
	}
	if _, err := s.w.Write(line); err != nil {
		return err
	}
	last := line[len(line)-1]
	s.size += int64(len(line))
	s.cr = last == '\r'
	s.mid = last != '\n'
	s.eight = s.eight || !isASCII(line)
	return nil
}

// finish ends the last line. The final dot is not its business.
func (s *stuffer) finish() error {
	if s.cr {
		return errIrregular
	}
	if !s.mid {
		return nil
	}
	s.mid = false
	s.size += 2
	_, err := s.w.Write([]byte("\r\n"))
	return err
}

func isASCII(p []byte) bool {
	for len(p) >= 8 {
		if (p[0]|p[1]|p[2]|p[3]|p[4]|p[5]|p[6]|p[7])&0x80 != 0 {
			return false
		}
		p = p[8:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
