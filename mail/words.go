package mail

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
	"golang.org/x/text/encoding/charmap"
)

// DecodeText decodes the encoded words of an unfolded field value (RFC 2047).
// It never fails: of a word in an unknown charset the ASCII part is kept, so
// that whoever searches the text for dangerous strings sees them. The result
// is valid UTF-8 in one line, without control characters.
func DecodeText(value string) string {
	d := mime.WordDecoder{CharsetReader: anyCharset}
	text, err := d.DecodeHeader(toUTF8(encodedWord.ReplaceAllStringFunc(value, asciiWord)))
	if err != nil {
		text = value
	}
	return oneLine(toUTF8(text))
}

// asciiWord writes the raw 8-bit octets of a Q word as the escapes they should be.
func asciiWord(word string) string {
	if parts := strings.Split(word, "?"); len(parts) < 3 || !strings.EqualFold(parts[2], "q") {
		return word
	}
	var b strings.Builder
	for i := range len(word) {
		if c := word[i]; c < utf8.RuneSelf {
			b.WriteByte(c)
		} else {
			b.WriteString(hexOctet(c))
		}
	}
	return b.String()
}

// anyCharset converts to UTF-8. What it does not know it reads as ASCII.
func anyCharset(name string, r io.Reader) (io.Reader, error) {
	name, _, _ = strings.Cut(strings.ToLower(name), "*") // RFC 2231 section 5: language after the star
	if other, ok := codePage(name); ok {
		name = other
	}
	if name == "utf-8" {
		return r, nil
	}
	if name == "utf-7" || name == "unicode-1-1-utf-7" {
		raw, err := io.ReadAll(r)
		return strings.NewReader(decodeUTF7(string(raw))), err
	}
	if c, err := charset.Reader(name, r); err == nil {
		return c, nil
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return strings.NewReader(asciiOnly(raw)), nil
}

// codePage gives the registered name of a code page of Windows.
func codePage(name string) (string, bool) {
	number, ok := strings.CutPrefix(strings.ReplaceAll(name, "-", ""), "cp")
	switch {
	case !ok:
		return "", false
	case number == "932":
		return "windows-31j", true
	case number == "936":
		return "gbk", true
	case number == "949":
		return "euc-kr", true
	case number == "950":
		return "big5", true
	case len(number) == 4 && strings.HasPrefix(number, "125"):
		return "windows-" + number, true
	}
	return "", false
}

// DecodeCharset converts text of a named charset to UTF-8. It never fails: an
// unknown name leaves the ASCII part, no name means UTF-8 or else windows-1252.
func DecodeCharset(name string, raw []byte) string {
	switch name = strings.ToLower(name); name {
	case "", "utf-8", "us-ascii":
		return toUTF8(string(raw))
	}
	r, err := anyCharset(name, bytes.NewReader(raw))
	if err != nil {
		return toUTF8(string(raw))
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return toUTF8(string(raw))
	}
	return string(text)
}

func asciiOnly(raw []byte) string {
	var b strings.Builder
	for _, c := range raw {
		if c < utf8.RuneSelf {
			b.WriteByte(c)
		} else {
			b.WriteRune(utf8.RuneError)
		}
	}
	return b.String()
}

// toUTF8 reads raw 8-bit text: as UTF-8 if it is, else as windows-1252.
func toUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	text, err := charmap.Windows1252.NewDecoder().String(s)
	if err != nil {
		return asciiOnly([]byte(s))
	}
	return text
}

// oneLine turns control characters into spaces.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// EncodeSubject writes a Subject value: the pure ASCII tag first, one space,
// then rest, of which only the words that need it become encoded words (RFC
// 2047). The platforms read their tag only when it stands open at the very
// start. An empty tag leaves rest alone. The result is ASCII without line
// ends; Header.Replace folds it.
func EncodeSubject(tag, rest string) string {
	tag = strings.TrimSpace(tag)
	rest = EncodeText(rest)
	if tag == "" || rest == "" {
		return tag + rest
	}
	return tag + " " + rest
}

// EncodeText writes unstructured text for a header field as EncodeSubject does.
func EncodeText(text string) string {
	text = strings.Trim(oneLine(toUTF8(text)), " ")
	if text == "" {
		return ""
	}
	words := spacedWords(text)
	var b strings.Builder
	for i := 0; i < len(words); {
		if !needsEncoding(words[i]) {
			b.WriteString(words[i])
			i++
			continue
		}
		first := i
		for i++; i < len(words) && needsEncoding(words[i]); i++ {
		}
		run := strings.Join(words[first:i], "")
		word := strings.TrimLeft(run, " ")
		if len(run)-len(word) > maxPlainWord { // a gap that no line can hold
			word = run[1:]
		}
		b.WriteString(run[:len(run)-len(word)])
		writeEncoded(&b, word)
	}
	return b.String()
}

// maxPlainWord is the longest word that is written as it is; a longer one
// could not be folded.
const maxPlainWord = 400

func needsEncoding(word string) bool {
	if len(word) > maxPlainWord || strings.Contains(word, "=?") {
		return true
	}
	for i := range len(word) {
		if c := word[i]; c >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// maxEncodedWord is the length limit of RFC 2047 section 2.
const maxEncodedWord = 75

// writeEncoded writes text as UTF-8 encoded words in the Q encoding, cut
// between characters, separated by one space (which is not part of the text).
func writeEncoded(b *strings.Builder, text string) {
	const open, end = "=?UTF-8?Q?", "?="
	b.WriteString(open)
	room := maxEncodedWord - len(open) - len(end)
	for _, r := range text {
		q := encodeQ(r)
		if len(q) > room {
			b.WriteString(end + " " + open)
			room = maxEncodedWord - len(open) - len(end)
		}
		b.WriteString(q)
		room -= len(q)
	}
	b.WriteString(end)
}

// encodeQ writes one character in the Q encoding (RFC 2047 section 4.2), with
// the small alphabet that is safe in every field.
func encodeQ(r rune) string {
	switch {
	case r == ' ':
		return "_"
	case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', strings.ContainsRune("!*+-/", r):
		return string(r)
	}
	var out string
	for _, c := range []byte(string(r)) {
		out += hexOctet(c)
	}
	return out
}

func hexOctet(c byte) string {
	const hex = "0123456789ABCDEF"
	return string([]byte{'=', hex[c>>4], hex[c&15]})
}

// shifted is a run of modified base64 in UTF-7.
var shifted = regexp.MustCompile(`\+([A-Za-z0-9+/]*)-?`)

// decodeUTF7 reads the UTF-7 of old mail programs (RFC 2152). What is broken
// stays as it is.
func decodeUTF7(s string) string {
	return shifted.ReplaceAllStringFunc(s, func(run string) string {
		text := strings.TrimSuffix(run[1:], "-")
		if text == "" {
			return "+"
		}
		raw, err := base64.RawStdEncoding.DecodeString(text)
		if err != nil {
			return run
		}
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
		}
		return string(utf16.Decode(units))
	})
}
