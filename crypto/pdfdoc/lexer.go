package pdfdoc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// kind of a token, ISO 32000-1, 7.2 and 7.3.
type kind int

const (
	kindEnd  kind = iota // end of the data
	kindOpen             // <<
	kindClose
	kindArray // [
	kindArrayEnd
	kindString // (…)
	kindHex    // <…>
	kindName   // /…
	kindWord   // number, true, obj, R …
)

// token is a piece of the data: b[start:end].
type token struct {
	kind       kind
	start, end int
}

// Bounds of values: arrays and dictionaries inside each other, octets of a
// literal string.
const (
	maxNesting = 64
	maxString  = 64 << 10
)

func isSpace(c byte) bool {
	return c == 0 || c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == ' '
}

func isDelimiter(c byte) bool { return bytes.IndexByte([]byte("()<>[]{}/%"), c) >= 0 }

// skipSpace passes white space and comments.
func skipSpace(b []byte, i int) int {
	for i < len(b) {
		switch {
		case isSpace(b[i]):
			i++
		case b[i] == '%':
			for i < len(b) && b[i] != '\n' && b[i] != '\r' {
				i++
			}
		default:
			return i
		}
	}
	return i
}

func malformed(what string, at int) error {
	return fmt.Errorf("%w: %s at octet %d", ErrMalformed, what, at)
}

// scan returns the token at or after i.
func scan(b []byte, i int) (token, error) {
	i = skipSpace(b, i)
	if i >= len(b) {
		return token{kindEnd, i, i}, nil
	}
	switch c := b[i]; {
	case c == '<' && i+1 < len(b) && b[i+1] == '<':
		return token{kindOpen, i, i + 2}, nil
	case c == '>' && i+1 < len(b) && b[i+1] == '>':
		return token{kindClose, i, i + 2}, nil
	case c == '[':
		return token{kindArray, i, i + 1}, nil
	case c == ']':
		return token{kindArrayEnd, i, i + 1}, nil
	case c == '<':
		n := bytes.IndexByte(b[i:], '>')
		if n < 0 {
			return token{}, malformed("string without end", i)
		}
		return token{kindHex, i, i + n + 1}, nil
	case c == '(':
		return scanString(b, i)
	case c == '/':
		return token{kindName, i, wordEnd(b, i+1)}, nil
	case isDelimiter(c):
		return token{}, malformed("stray delimiter", i)
	}
	return token{kindWord, i, wordEnd(b, i)}, nil
}

func wordEnd(b []byte, i int) int {
	for i < len(b) && !isSpace(b[i]) && !isDelimiter(b[i]) {
		i++
	}
	return i
}

// scanString finds the end of a literal string: balanced parentheses,
// backslash escapes (7.3.4.2).
func scanString(b []byte, start int) (token, error) {
	depth := 0
	for i := start; i < min(len(b), start+maxString); i++ {
		switch b[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return token{kindString, start, i + 1}, nil
			}
		}
	}
	return token{}, malformed("string without end", start)
}

// value returns where the value that begins at or after i starts and ends. A
// reference "12 0 R" is one value.
func value(b []byte, i int) (start, end int, err error) {
	depth := 0
	for first := true; ; first = false {
		t, err := scan(b, i)
		if err != nil {
			return 0, 0, err
		}
		if first {
			start = t.start
		}
		switch t.kind {
		case kindEnd:
			return 0, 0, malformed("value is missing", i)
		case kindOpen, kindArray:
			if depth++; depth > maxNesting {
				return 0, 0, malformed("nested too deep", i)
			}
		case kindClose, kindArrayEnd:
			if depth--; depth < 0 {
				return 0, 0, malformed("value is missing", i)
			}
		}
		i = t.end
		if depth == 0 {
			return start, referenceEnd(b, t), nil
		}
	}
}

// referenceEnd returns the end of "n g R" if t is its n, else the end of t.
func referenceEnd(b []byte, t token) int {
	if t.kind != kindWord || !isNumber(b[t.start:t.end]) {
		return t.end
	}
	gen, err := scan(b, t.end)
	if err != nil || gen.kind != kindWord || !isNumber(b[gen.start:gen.end]) {
		return t.end
	}
	r, err := scan(b, gen.end)
	if err != nil || r.kind != kindWord || string(b[r.start:r.end]) != "R" {
		return t.end
	}
	return r.end
}

func isNumber(b []byte) bool {
	if len(b) == 0 || len(b) > 10 {
		return false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// Number returns a non-negative integer of at most ten digits.
func Number(b []byte) (int64, bool) {
	if !isNumber(b) {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}

// NameOf decodes "/Na#6de" (7.3.5).
func NameOf(b []byte) string {
	if len(b) == 0 || b[0] != '/' {
		return ""
	}
	b = b[1:]
	if bytes.IndexByte(b, '#') < 0 {
		return string(b)
	}
	var out []byte
	for i := 0; i < len(b); i++ {
		if b[i] == '#' && i+2 < len(b) {
			if v, err := strconv.ParseUint(string(b[i+1:i+3]), 16, 8); err == nil {
				out = append(out, byte(v))
				i += 2
				continue
			}
		}
		out = append(out, b[i])
	}
	return string(out)
}

// Unescape decodes the inside of a literal string (7.3.4.2).
func Unescape(b []byte) []byte {
	var out []byte
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' || i+1 == len(b) {
			out = append(out, b[i])
			continue
		}
		i++
		switch c := b[i]; {
		case c >= '0' && c <= '7':
			v := 0
			n := 0
			for ; n < 3 && i+n < len(b) && b[i+n] >= '0' && b[i+n] <= '7'; n++ {
				v = v<<3 | int(b[i+n]-'0')
			}
			i += n - 1
			out = append(out, byte(v))
		case strings.IndexByte("nrtbf", c) >= 0:
			out = append(out, "\n\r\t\b\f"[strings.IndexByte("nrtbf", c)])
		case c != '\n' && c != '\r':
			out = append(out, c)
		}
	}
	return out
}

// NumberBefore reads the object number at the end of "… 12 0 ".
func NumberBefore(b []byte) string {
	fields := strings.FieldsFunc(string(b), func(r rune) bool { return r < '0' || r > '9' })
	if len(fields) < 2 {
		return ""
	}
	number, generation := fields[len(fields)-2], fields[len(fields)-1]
	rest := bytes.TrimRight(b, " \r\n\t")
	if !bytes.HasSuffix(rest, []byte(generation)) || len(rest) == len(b) {
		return ""
	}
	rest = bytes.TrimRight(bytes.TrimSuffix(rest, []byte(generation)), " \r\n\t")
	if !bytes.HasSuffix(rest, []byte(number)) {
		return ""
	}
	return number
}
