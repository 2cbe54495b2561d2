package mail

import (
	"bytes"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ParseParams reads "value; name=value; …" (RFC 2045 section 5.1, RFC 2231)
// and takes what others write instead: missing quotes, raw 8-bit text, encoded
// words, doubled semicolons. Names come in lower case, values decoded to
// UTF-8; of a repeated name the first counts.
func ParseParams(s string) (value string, params map[string]string) {
	fields := splitParams(s)
	params = map[string]string{}
	segments := map[string][]segment{}
	for _, f := range fields[1:] {
		name, raw, ok := strings.Cut(f, "=")
		name = strings.ToLower(StripComments(name))
		if !ok || name == "" {
			continue
		}
		raw = paramValue(raw)
		if base, seg, ok := parseSegment(name, raw); ok {
			segments[base] = append(segments[base], seg)
		} else if _, have := params[name]; !have {
			params[name] = DecodeText(raw)
		}
	}
	for base, list := range segments { // RFC 2231 wins over a plain fallback
		params[base] = joinSegments(list)
	}
	return StripComments(fields[0]), params
}

// splitParams cuts at semicolons outside quoted strings and comments.
func splitParams(s string) []string {
	var fields []string
	start := 0
	for i := 0; i < len(s); {
		switch s[i] {
		case '"':
			i += quotedEnd(s[i:], '"')
		case '(':
			i += commentEnd(s[i:])
		case ';':
			fields = append(fields, s[start:i])
			i++
			start = i
		default:
			i++
		}
	}
	return append(fields, s[start:])
}

// paramValue returns the content of a quoted string, or the token as it is.
func paramValue(raw string) string {
	raw = strings.TrimSpace(raw)
	if strings.HasPrefix(raw, `"`) {
		raw = raw[1:quotedEnd(raw, '"')]
		return unescape(strings.TrimSuffix(raw, `"`))
	}
	return StripComments(raw)
}

// unescape removes the backslash before a quote or backslash only: others
// stand in paths of programs that do not know the quoting.
func unescape(s string) string {
	if strings.HasPrefix(s, `\\`) || !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(s)
}

// StripComments removes comments in parentheses (RFC 5322 section 3.2.2) and
// surrounding space from a structured value.
func StripComments(s string) string {
	if !strings.Contains(s, "(") {
		return strings.TrimSpace(s)
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] == '(' {
			i += commentEnd(s[i:])
			continue
		}
		b.WriteByte(s[i])
		i++
	}
	return strings.TrimSpace(b.String())
}

// segment is one piece of a parameter in the form of RFC 2231: name*0*=….
type segment struct {
	n       int
	encoded bool
	value   string
}

func parseSegment(name, value string) (base string, seg segment, ok bool) {
	base, rest, ok := strings.Cut(name, "*")
	if !ok || base == "" {
		return "", seg, false
	}
	seg.value = value
	if rest == "" { // name*=charset'lang'text
		seg.encoded = true
		return base, seg, true
	}
	rest, seg.encoded = strings.CutSuffix(rest, "*")
	n, err := strconv.Atoi(rest)
	if err != nil || n < 0 {
		return "", seg, false
	}
	seg.n = n
	return base, seg, true
}

// joinSegments puts the pieces of one parameter together. Charset and language
// stand in front of the first piece and count for all encoded ones.
func joinSegments(list []segment) string {
	sort.SliceStable(list, func(i, j int) bool { return list[i].n < list[j].n })
	charset := "utf-8"
	var raw bytes.Buffer
	for i, seg := range list {
		if i > 0 && seg.n == list[i-1].n {
			continue // repeated
		}
		v := seg.value
		if !seg.encoded {
			raw.WriteString(v)
			continue
		}
		if i == 0 {
			if parts := strings.SplitN(v, "'", 3); len(parts) == 3 {
				charset, v = parts[0], parts[2]
			}
		}
		raw.WriteString(percentDecode(v))
	}
	return oneLine(DecodeCharset(charset, raw.Bytes()))
}

func percentDecode(s string) string {
	if out, err := url.PathUnescape(s); err == nil {
		return out
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// maxFileName is the longest file name kept, in octets.
const maxFileName = 200

// SafeFileName makes a foreign file name safe to show and to store: no
// folders, no control or direction characters, no leading dots, bounded. The
// result may be "".
func SafeFileName(name string) string {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError, unicode.IsControl(r), unicode.Is(unicode.Cf, r), strings.ContainsRune(`<>:"|?*`, r):
			return -1
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, name)
	name = strings.TrimLeft(strings.TrimSpace(name), ". ")
	if len(name) > maxFileName {
		ext := ""
		if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= 10 {
			ext = name[i:]
		}
		name = strings.ToValidUTF8(name[:maxFileName-len(ext)], "") + ext
	}
	return strings.TrimSpace(name)
}
