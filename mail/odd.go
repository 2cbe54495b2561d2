package mail

import (
	"encoding/base64"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// What OddParams and OddWords report: the ways in which mail programs come to
// different readings of the same octets.
const (
	OddComment   = "comment"               // a comment where some programs see text
	OddSyntax    = "syntax"                // not of the grammar: quotes, space, semicolons, special characters
	OddEscape    = "escape"                // a backslash, kept by some and removed by others
	OddTwice     = "parameter-twice"       // some take the first, others the last
	OddQuoted    = "semicolon-in-quotes"   // cut there by programs that do not know quotes
	OddSplit     = "parameter-split"       // RFC 2231 pieces, joined by some programs only
	OddCharset   = "charset"               // unknown or dangerous character set
	OddWord      = "encoded-word"          // broken, or where it has no place
	OddWordField = "encoded-word-in-param" // RFC 2047 forbids it; many decode it
)

const (
	tokenForm  = "[!#$&'*+.0-9A-Z^_`a-z{|}~%-]+"
	quotedForm = `"[^"\\]*"`
)

var strictParams = regexp.MustCompile(`^\s*` + tokenForm + `(/` + tokenForm + `)?(\s*;\s*` + tokenForm + `=(` + tokenForm + `|` + quotedForm + `))*\s*;?\s*$`)

// OddParams names what is odd about a value of the form that ParseParams
// reads; nil if every program should read the same.
func OddParams(value string) []string {
	var odd []string
	add := func(yes bool, kind string) {
		if yes {
			odd = append(odd, kind)
		}
	}
	add(StripComments(outsideQuotes(value)) != strings.TrimSpace(outsideQuotes(value)), OddComment)
	add(strings.Contains(value, `\`), OddEscape)
	add(!strictParams.MatchString(strings.ReplaceAll(value, `\`, "")), OddSyntax)
	add(strings.Contains(value, "=?"), OddWordField)
	add(strings.Count(value, ";") >= len(splitParams(value)), OddQuoted)
	names := map[string]bool{}
	var twice, split, charset bool
	for _, f := range splitParams(value)[1:] {
		name, raw, _ := strings.Cut(f, "=")
		name = strings.ToLower(StripComments(name))
		twice = twice || name != "" && names[name]
		names[name] = true
		raw = paramValue(raw)
		split = split || strings.Contains(strings.TrimSuffix(name, "*"), "*") || strings.HasPrefix(raw, "'") && !strings.HasSuffix(name, "*")
		if strings.HasSuffix(name, "*") {
			cs, _, ok := strings.Cut(raw, "'")
			charset = charset || ok && cs != "" && !SafeCharset(cs)
		}
	}
	add(twice, OddTwice)
	add(split, OddSplit)
	add(charset, OddCharset)
	return odd
}

// outsideQuotes replaces quoted strings by quotes.
func outsideQuotes(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] == '"' {
			i += quotedEnd(s[i:], '"')
			b.WriteString(`""`)
			continue
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

// SafeCharset tells whether a character set is known and keeps ASCII readable
// as ASCII, or is one of the stateful East Asian sets that mail is written in.
func SafeCharset(name string) bool {
	name, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(name)), "*")
	if name == "" || strings.HasPrefix(name, "utf-16") || strings.HasPrefix(name, "utf-32") || strings.HasPrefix(name, "utf-7") || strings.HasPrefix(name, "ucs-") {
		return false
	}
	if name == "iso-2022-jp" || name == "hz-gb-2312" || name == "iso-2022-kr" {
		return true
	}
	r, err := anyCharset(name, strings.NewReader("aZ09<>"))
	if err != nil {
		return false
	}
	text, err := io.ReadAll(r)
	if err != nil || string(text) != "aZ09<>" {
		return false
	}
	r, err = anyCharset(name, strings.NewReader("\xa4\xa4"))
	if err != nil {
		return false
	}
	text, _ = io.ReadAll(r) // half a character is no error of ours
	return name == "us-ascii" || name == "utf-8" || !strings.ContainsRune(string(text), utf8.RuneError)
}

var encodedWord = regexp.MustCompile(`=\?([^?\s]*)\?([^?\s]*)\?([^?\s]*)\?=`)

// OddWords tells whether the encoded words of a value (RFC 2047) are written
// such that programs decode them differently: unknown charset or encoding,
// broken base64, white space inside, no space around, a word in quotes.
func OddWords(value string) bool {
	if !strings.Contains(value, "=?") {
		return false
	}
	rest := encodedWord.ReplaceAllString(value, "")
	if strings.Contains(rest, "=?") || strings.Contains(rest, "?=") {
		return true
	}
	for _, at := range encodedWord.FindAllStringSubmatchIndex(value, -1) {
		if at[0] > 0 && !strings.ContainsRune(" \t(\"", rune(value[at[0]-1])) || at[1] < len(value) && !strings.ContainsRune(" \t)\",<", rune(value[at[1]])) {
			return true
		}
		charset, encoding, text := value[at[2]:at[3]], value[at[4]:at[5]], value[at[6]:at[7]]
		if !SafeCharset(charset) {
			return true
		}
		switch strings.ToLower(encoding) {
		case "q":
		case "b":
			if _, err := base64.StdEncoding.DecodeString(text); err != nil {
				return true
			}
		default:
			return true
		}
	}
	return wordInQuotes(value)
}

// wordInQuotes tells whether a quoted string holds an encoded word.
func wordInQuotes(value string) bool {
	for i := strings.IndexByte(value, '"'); i >= 0; {
		n := quotedEnd(value[i:], '"')
		if strings.Contains(value[i:i+n], "=?") {
			return true
		}
		next := strings.IndexByte(value[i+n:], '"')
		if next < 0 {
			return false
		}
		i += n + next
	}
	return false
}
