package receipts

import (
	"bytes"
	"compress/zlib"
	"io"
	"strings"
	"unicode/utf16"

	"golang.org/x/text/encoding/charmap"
)

// Bounds of the text extractor.
const (
	maxStreams   = 512
	maxInflated  = 2 << 20 // octets of one stream
	maxAllText   = 8 << 20 // octets of all streams together
	maxExtracted = 1 << 20 // octets of text
	maxDict      = 4096    // octets looked at before "stream"
)

// pdfText returns the text of a PDF document line by line: the strings that
// its content streams show, read as WinAnsi (or UTF-16 with a mark). It is no
// PDF reader: it finds streams by their keywords, knows no fonts, and stops at
// its bounds. What it cannot read is left out; on receipts that leaves facts
// missing, never wrong, because a seal covers every octet it looks at.
func pdfText(pdf []byte) string {
	e := &extractor{}
	budget := maxAllText
	rest := pdf
	for n := 0; n < maxStreams && budget > 0; n++ {
		dict, data, after, ok := nextStream(rest)
		if !ok {
			break
		}
		rest = after
		content := decodeStream(dict, data, min(budget, maxInflated))
		budget -= len(content)
		if bytes.Contains(content, []byte("BT")) {
			e.run(content)
		}
	}
	return e.text()
}

// nextStream finds the next stream object: the octets before it that hold its
// dictionary, its data, and what follows.
func nextStream(pdf []byte) (dict, data, after []byte, ok bool) {
	for from := 0; ; {
		i := bytes.Index(pdf[from:], []byte("stream"))
		if i < 0 {
			return nil, nil, nil, false
		}
		i += from
		from = i + len("stream")
		body := pdf[from:]
		switch {
		case bytes.HasSuffix(pdf[:i], []byte("end")):
			continue
		case bytes.HasPrefix(body, []byte("\r\n")):
			body = body[2:]
		case bytes.HasPrefix(body, []byte("\n")):
			body = body[1:]
		default:
			continue
		}
		dict = pdf[max(0, i-maxDict):i]
		if j := bytes.LastIndex(dict, []byte("obj")); j >= 0 {
			dict = dict[j:]
		}
		end := bytes.Index(body, []byte("endstream"))
		if end < 0 {
			return nil, nil, nil, false
		}
		return dict, body[:end], body[end+len("endstream"):], true
	}
}

// decodeStream undoes FlateDecode, at most limit octets. Pictures, fonts and
// other filters hold no text for us.
func decodeStream(dict, data []byte, limit int) []byte {
	for _, other := range []string{"/Image", "/FontFile", "/ObjStm", "/XRef", "/DCTDecode", "/LZWDecode", "/ASCII85Decode", "/ASCIIHexDecode", "/RunLengthDecode", "/Crypt", "/Length1"} {
		if bytes.Contains(dict, []byte(other)) {
			return nil
		}
	}
	if !bytes.Contains(dict, []byte("/FlateDecode")) {
		return data[:min(len(data), limit)]
	}
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	defer z.Close()
	out, _ := io.ReadAll(io.LimitReader(z, int64(limit))) // a cut stream: what came so far
	return out
}

// extractor runs content streams and gathers what they show.
type extractor struct {
	out      strings.Builder
	operands []operand
}

// operand is a number or name (text), or a string (shown).
type operand struct {
	text  string
	shown string
	isStr bool
}

// maxOperands bounds what one operator may take.
const maxOperands = 1024

func (e *extractor) text() string { return e.out.String() }

func (e *extractor) newline() {
	if s := e.out.String(); s != "" && s[len(s)-1] != '\n' {
		e.out.WriteByte('\n')
	}
}

// run reads one content stream (ISO 32000-1 section 7.8.2).
func (e *extractor) run(c []byte) {
	e.operands = e.operands[:0]
	for len(c) > 0 && e.out.Len() < maxExtracted {
		switch ch := c[0]; {
		case isWhite(ch) || ch == '[' || ch == ']' || ch == '{' || ch == '}' || ch == ')':
			c = c[1:]
		case ch == '%':
			c = c[lineEnd(c):]
		case ch == '(':
			s, n := literal(c)
			e.push(operand{shown: decodeString(s), isStr: true})
			c = c[n:]
		case ch == '<' && (len(c) < 2 || c[1] != '<'):
			s, n := hexString(c)
			e.push(operand{shown: decodeString(s), isStr: true})
			c = c[n:]
		case ch == '<' || ch == '>':
			c = c[1:]
		default:
			n := 1
			for n < len(c) && !isWhite(c[n]) && !isDelimiter(c[n]) {
				n++
			}
			word := string(c[:n])
			c = c[n:]
			if word == "ID" { // inline picture: raw octets up to EI
				c = afterInline(c)
				continue
			}
			e.word(word)
		}
	}
	e.newline()
}

func (e *extractor) push(o operand) {
	if len(e.operands) < maxOperands {
		e.operands = append(e.operands, o)
	}
}

// word takes an operand or carries out an operator.
func (e *extractor) word(w string) {
	if c := w[0]; c == '/' || c == '+' || c == '-' || c == '.' || c >= '0' && c <= '9' {
		e.push(operand{text: w})
		return
	}
	switch w {
	case "Tj", "TJ":
		e.show()
	case "'", `"`:
		e.newline()
		e.show()
	case "Td", "TD":
		if n := len(e.operands); n > 0 && isZero(e.operands[n-1].text) {
			e.gap()
		} else {
			e.newline()
		}
	case "Tm", "T*", "BT", "ET":
		e.newline()
	}
	e.operands = e.operands[:0]
}

// wideGap is the shift inside TJ, in thousandths of the text size, from which
// on a space was meant.
const wideGap = -250

func (e *extractor) show() {
	for _, o := range e.operands {
		switch {
		case o.isStr:
			e.out.WriteString(o.shown)
		case smallerThan(o.text, wideGap):
			e.gap()
		}
	}
}

func (e *extractor) gap() {
	if s := e.out.String(); s != "" && s[len(s)-1] != ' ' && s[len(s)-1] != '\n' {
		e.out.WriteByte(' ')
	}
}

func isZero(number string) bool { return number != "" && strings.Trim(number, "+-0.") == "" }

// smallerThan compares without caring for fractions.
func smallerThan(number string, limit int) bool {
	digits, ok := strings.CutPrefix(number, "-")
	if !ok {
		return false
	}
	digits, _, _ = strings.Cut(digits, ".")
	n := 0
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' || n > 1e6 {
			return false
		}
		n = n*10 + int(digits[i]-'0')
	}
	return -n < limit
}

func isWhite(c byte) bool {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\f' || c == 0
}

func isDelimiter(c byte) bool { return strings.IndexByte("()<>[]{}/%", c) >= 0 }

func lineEnd(c []byte) int {
	if i := bytes.IndexAny(c, "\r\n"); i >= 0 {
		return i
	}
	return len(c)
}

func afterInline(c []byte) []byte {
	for i := 0; i+3 < len(c); i++ {
		if isWhite(c[i]) && c[i+1] == 'E' && c[i+2] == 'I' && isWhite(c[i+3]) {
			return c[i+3:]
		}
	}
	return nil
}

// literal reads a string in parentheses (ISO 32000-1 section 7.3.4.2) and
// returns how many octets it took.
func literal(c []byte) (s []byte, n int) {
	depth := 0
	for i := 0; i < len(c); i++ {
		switch ch := c[i]; ch {
		case '(':
			if depth++; depth > 1 {
				s = append(s, ch)
			}
		case ')':
			if depth--; depth == 0 {
				return s, i + 1
			}
			s = append(s, ch)
		case '\\':
			var taken int
			s, taken = escape(s, c[i+1:])
			i += taken
		default:
			s = append(s, ch)
		}
	}
	return s, len(c)
}

// escape reads what follows a backslash.
func escape(s, c []byte) (out []byte, taken int) {
	if len(c) == 0 {
		return s, 0
	}
	switch ch := c[0]; {
	case ch >= '0' && ch <= '7':
		v := 0
		for taken < 3 && taken < len(c) && c[taken] >= '0' && c[taken] <= '7' {
			v = v*8 + int(c[taken]-'0')
			taken++
		}
		return append(s, byte(v)), taken
	case ch == '\r' && len(c) > 1 && c[1] == '\n':
		return s, 2
	case ch == '\r' || ch == '\n':
		return s, 1
	default:
		if i := strings.IndexByte("nrtbf", ch); i >= 0 {
			ch = "\n\r\t\b\f"[i]
		}
		return append(s, ch), 1
	}
}

// hexString reads <48656C6C6F>.
func hexString(c []byte) (s []byte, n int) {
	var digits []byte
	for n = 1; n < len(c) && c[n] != '>'; n++ {
		if v := strings.IndexByte("0123456789abcdefABCDEF", c[n]); v >= 16 {
			digits = append(digits, byte(v-6))
		} else if v >= 0 {
			digits = append(digits, byte(v))
		}
	}
	if len(digits)%2 == 1 {
		digits = append(digits, 0)
	}
	for i := 0; i < len(digits); i += 2 {
		s = append(s, digits[i]<<4|digits[i+1])
	}
	return s, min(n+1, len(c))
}

// decodeString reads the octets as UTF-16 with a mark, else as WinAnsi. A line
// break inside a string must not look like a line of its own.
func decodeString(s []byte) string {
	var text string
	if bytes.HasPrefix(s, []byte{0xFE, 0xFF}) {
		units := make([]uint16, 0, len(s)/2)
		for i := 2; i+1 < len(s); i += 2 {
			units = append(units, uint16(s[i])<<8|uint16(s[i+1]))
		}
		text = string(utf16.Decode(units))
	} else {
		var b strings.Builder
		for _, c := range s {
			b.WriteRune(charmap.Windows1252.DecodeByte(c))
		}
		text = b.String()
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
