package smtpclient

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits on what a peer may say. RFC 5321 section 4.5.3.1.5 gives 512 octets a
// line; some systems write longer ones.
const (
	maxReplyLine  = 2048
	maxReplyLines = 128
	maxReplyText  = 500 // octets of text kept
)

// errReply is returned for bytes that are no SMTP reply.
var errReply = errors.New("malformed reply")

// Reply is one SMTP reply (RFC 5321 section 4.2).
type Reply struct {
	Code     int
	Enhanced string   // RFC 3463 status, where the text begins with one of the code's class
	Lines    []string // text of each line, without the enhanced status, printable
}

// Text returns the lines as one, bounded.
func (r Reply) Text() string {
	s := strings.Join(r.Lines, " ")
	if len(s) <= maxReplyText {
		return s
	}
	s = s[:maxReplyText]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

// class returns the first digit.
func (r Reply) class() int { return r.Code / 100 }

// readReply reads one reply, of any number of lines with one code. Lines may
// end in LF alone: what matters here is never to wait for a line that was sent.
func readReply(br *bufio.Reader) (Reply, error) {
	var r Reply
	for range maxReplyLines {
		line, err := readLine(br)
		if err != nil {
			return Reply{}, err
		}
		code, more, text, err := parseReplyLine(line)
		if err != nil {
			return Reply{}, err
		}
		if r.Code != 0 && r.Code != code {
			return Reply{}, fmt.Errorf("%w: code changes inside", errReply)
		}
		r.Code = code
		status, text := cutEnhanced(code, text)
		if r.Enhanced == "" {
			r.Enhanced = status
		}
		r.Lines = append(r.Lines, printable(text))
		if !more {
			return r, nil
		}
	}
	return Reply{}, fmt.Errorf("%w: more than %d lines", errReply, maxReplyLines)
}

func readLine(br *bufio.Reader) (string, error) {
	line, err := br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(line) > maxReplyLine {
		return "", fmt.Errorf("%w: line longer than %d octets", errReply, maxReplyLine)
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// parseReplyLine reads code, separator and text: "250-text", "250 text", "250".
func parseReplyLine(line string) (code int, more bool, text string, err error) {
	if len(line) < 3 {
		return 0, false, "", fmt.Errorf("%w: short line", errReply)
	}
	for i := range 3 {
		d := line[i]
		if d < '0' || d > '9' {
			return 0, false, "", fmt.Errorf("%w: no code", errReply)
		}
		code = code*10 + int(d-'0')
	}
	if code < 200 || code > 599 {
		return 0, false, "", fmt.Errorf("%w: code %d", errReply, code)
	}
	if len(line) == 3 {
		return code, false, "", nil
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, "", fmt.Errorf("%w: no separator", errReply)
	}
	return code, line[3] == '-', line[4:], nil
}

// cutEnhanced takes an RFC 3463 status off the text, if its class is the
// code's.
func cutEnhanced(code int, text string) (status, rest string) {
	word, rest, _ := strings.Cut(text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || int(parts[0][0]-'0') != code/100 {
		return "", text
	}
	for _, p := range parts[1:] {
		if p == "" || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return "", text
		}
	}
	return word, rest
}

// printable replaces everything that could move a cursor or break a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || (r >= 0x80 && r < 0xa0) || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, s)
}
