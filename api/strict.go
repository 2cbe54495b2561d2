package api

import (
	"fmt"
	"io"

	"gatewayd/message"
)

// strict passes a message on, unchanged, as long as every line ends in CRLF,
// none is too long and there is no NUL: the same rule as at the SMTP door,
// because what is not regular the next system would read differently from us
// (RFC 5321 section 2.3.8). Once it has failed it stays failed.
type strict struct {
	r    io.Reader
	left int64 // octets that may still come
	read int64
	line int  // octets of the present line
	last byte // the octet before
	err  error
}

// maxLine is the longest line in octets, as at the SMTP door.
const maxLine = 64 << 10

func newStrict(r io.Reader, size int64) *strict { return &strict{r: r, left: size, last: '\n'} }

// Read implements io.Reader. Refusals are *message.Refusal.
func (s *strict) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if s.err = s.check(p[:n]); s.err != nil {
		return 0, s.err
	}
	switch {
	case err == io.EOF && s.read == 0:
		err = irregular("no octet at all", 0)
	case err == io.EOF && s.last != '\n':
		err = irregular("last line without CRLF", s.read)
	}
	s.err = err
	return n, err
}

func (s *strict) check(p []byte) error {
	if s.left -= int64(len(p)); s.left < 0 {
		return &message.Refusal{Code: 552, Enhanced: "5.3.4", Text: "the message is larger than this gateway takes"}
	}
	for _, c := range p {
		switch {
		case c == 0:
			return irregular("NUL character", s.read)
		case c == '\n' && s.last != '\r':
			return irregular("line feed without carriage return (bare LF)", s.read)
		case c != '\n' && s.last == '\r':
			return irregular("carriage return without line feed (bare CR)", s.read-1)
		case c == '\n':
			s.line = 0
		case s.line == maxLine:
			return irregular(fmt.Sprintf("line longer than %d octets", maxLine), s.read)
		default:
			s.line++
		}
		s.last = c
		s.read++
	}
	return nil
}

func irregular(what string, at int64) error {
	return &message.Refusal{Code: 550, Enhanced: "5.6.0", Text: fmt.Sprintf("the message has a %s at octet %d; every line must end in CRLF", what, at+1)}
}
