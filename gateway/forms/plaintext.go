package forms

import (
	"bytes"
	"strings"

	"gatewayd/mail"
)

// MayBePlain reports whether a message is a single text as it stands, by its
// header: most mail is. Then only armour in the text itself can protect it.
func MayBePlain(head *mail.Header) bool {
	for _, typ := range head.All("Content-Type") {
		if typ = strings.ToLower(strings.TrimSpace(typ)); typ != "" && !strings.HasPrefix(typ, "text/") {
			return false
		}
	}
	for _, enc := range head.All("Content-Transfer-Encoding") {
		switch strings.ToLower(strings.TrimSpace(enc)) {
		case "", "7bit", "8bit", "binary":
		default:
			return false // armour may lie below
		}
	}
	return true
}

// Armour is how inline OpenPGP and PEM begin.
const Armour = "-----BEGIN "

// Seeker looks for a word in what is written to it.
type Seeker struct {
	Word  string
	Found bool
	tail  []byte // end of what was written, shorter than the word
}

// Write implements io.Writer; it never fails.
func (s *Seeker) Write(p []byte) (int, error) {
	if s.Found {
		return len(p), nil
	}
	keep := len(s.Word) - 1
	edge := append(s.tail, p[:min(len(p), keep)]...)
	s.Found = bytes.Contains(edge, []byte(s.Word)) || bytes.Contains(p, []byte(s.Word))
	if len(p) >= keep {
		edge = p
	}
	s.tail = append(s.tail[:0], edge[max(0, len(edge)-keep):]...)
	return len(p), nil
}
