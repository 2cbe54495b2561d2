package pdfsig

import (
	"bytes"
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf16"

	"gatewayd/crypto/pdfdoc"
)

// found is a signature dictionary in the file.
type found struct {
	dict     pdfdoc.Dict
	contents pdfdoc.Entry // /Contents, with its place in the file
}

// Bounds of the search.
const (
	maxEffort = 256     // tries to find the beginning of a dictionary, in one document
	maxTries  = 16      // the same, for one /ByteRange
	maxDict   = 1 << 20 // octets of a signature dictionary
)

// search looks for signature dictionaries.
type search struct {
	pdf    []byte
	effort int
	list   []found
}

// findSignatures looks for signature dictionaries by their /ByteRange, not by
// way of the cross-reference table: whoever can write that table could hide
// one from us. A signature that covers the whole file is one wherever it
// stands. It reports false if it gave up before the end.
func findSignatures(pdf []byte) ([]found, bool) {
	s := search{pdf: pdf}
	marker := []byte("/ByteRange")
	last := -1
	for i := 0; ; {
		n := bytes.Index(pdf[i:], marker)
		if n < 0 {
			return s.list, true
		}
		at := i + n
		i = at + len(marker)
		start, d := s.enclosing(at)
		if s.effort > maxEffort || len(s.list) == maxSignatures {
			return s.list, false
		}
		if c := d.Find("Contents"); c != nil && start != last {
			s.list = append(s.list, found{d, *c})
			last = start
		}
	}
}

// enclosing returns the dictionary that has /ByteRange at the given place, and
// where it begins; nil if there is none. It tries the openings before that
// place from the nearest on: those of inner dictionaries are closed before it.
func (s *search) enclosing(at int) (int, pdfdoc.Dict) {
	floor := max(0, at-maxDict)
	for end, tries := at, 0; tries < maxTries; tries++ {
		s.effort++
		n := bytes.LastIndex(s.pdf[floor:end], []byte("<<"))
		if n < 0 {
			break
		}
		start := floor + n
		d, stop, err := pdfdoc.ParseDict(s.pdf[:min(len(s.pdf), start+maxDict)], start)
		if err == nil && stop > at {
			if d.Find("ByteRange") == nil {
				d = nil
			}
			return start, d
		}
		end = start
	}
	return -1, nil
}

// readText decodes a text string (7.9.2.2) that stands as a literal or in
// hexadecimal digits; what cannot be read is left out.
func readText(raw []byte) string {
	if len(raw) < 2 || len(raw) > maxText {
		return ""
	}
	var b []byte
	switch raw[0] {
	case '(':
		b = pdfdoc.Unescape(raw[1 : len(raw)-1])
	case '<':
		digits := bytes.Join(bytes.Fields(raw[1:len(raw)-1]), nil)
		b = make([]byte, hex.DecodedLen(len(digits)))
		if _, err := hex.Decode(b, digits); err != nil {
			return ""
		}
	}
	if len(b) >= 2 && b[0] == 0xfe && b[1] == 0xff {
		var units []uint16
		for i := 2; i+1 < len(b); i += 2 {
			units = append(units, uint16(b[i])<<8|uint16(b[i+1]))
		}
		return string(utf16.Decode(units))
	}
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(rune(c)) // PDFDocEncoding is Latin-1 but for a few signs
	}
	return s.String()
}

const maxText = 4096

// readTime reads a date (7.9.4); zero if there is none.
func readTime(raw []byte) time.Time {
	s := strings.ReplaceAll(readText(raw), "'", "")
	for _, layout := range []string{"D:20060102150405-0700", "D:20060102150405Z0700", "D:20060102150405Z0000", "D:20060102150405"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}
