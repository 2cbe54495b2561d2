package message

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Address is a mailbox in an RFC 5321 envelope. The zero Address is the null
// reverse-path "<>".
type Address struct {
	Local  string // local part, unquoted, case kept
	Domain string // lower case; U-labels or A-labels as received
}

// Limits of RFC 5321 section 4.5.3.1, in octets.
const (
	maxLocal  = 64
	maxDomain = 255
)

// ErrBadAddress is returned for text that is no RFC 5321 mailbox.
var ErrBadAddress = errors.New("not a mail address")

// ParseAddress reads a bare RFC 5321 mailbox: local@domain, the local part
// possibly quoted. Angle brackets, source routes, display names and comments
// are refused: whoever has them strips them first. Empty text is the null path.
func ParseAddress(s string) (Address, error) {
	if s == "" {
		return Address{}, nil
	}
	if !utf8.ValidString(s) || len(s) > maxLocal*2+maxDomain+3 {
		return Address{}, ErrBadAddress
	}
	local, rest, ok := cutLocal(s)
	if !ok || local == "" || len(local) > maxLocal {
		return Address{}, ErrBadAddress
	}
	domain := strings.ToLower(rest)
	if !validDomain(domain) {
		return Address{}, ErrBadAddress
	}
	return Address{Local: local, Domain: domain}, nil
}

func cutLocal(s string) (local, domain string, ok bool) {
	if s[0] != '"' {
		i := strings.IndexByte(s, '@')
		if i <= 0 || !isDotAtom(s[:i]) {
			return "", "", false
		}
		return s[:i], s[i+1:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if i+1 >= len(s) || s[i+1] != '@' {
				return "", "", false
			}
			return b.String(), s[i+2:], true
		case c == '\\':
			i++
			if i >= len(s) || s[i] < 32 || s[i] == 127 {
				return "", "", false
			}
			b.WriteByte(s[i])
		case c < 32 || c == 127:
			return "", "", false
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

func isDotAtom(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c == 127 || strings.IndexByte(`()<>[]:;@\,"`, c) >= 0 {
			return false
		}
	}
	return true
}

func validDomain(d string) bool {
	if d == "" || len(d) > maxDomain {
		return false
	}
	if d[0] == '[' { // address literal, RFC 5321 section 4.1.3
		return d[len(d)-1] == ']' && len(d) > 2 && !strings.ContainsAny(d[1:len(d)-1], "[]\\ \t\r\n")
	}
	for _, label := range strings.Split(d, ".") {
		if label == "" || len(label) > 63*2 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if r < utf8.RuneSelf && r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') {
				return false
			}
		}
	}
	return true
}

// String returns the address as it stands in MAIL FROM and RCPT TO, without
// angle brackets, the local part quoted where RFC 5321 requires it. The null
// path is "".
func (a Address) String() string {
	if a.IsNull() {
		return ""
	}
	if isDotAtom(a.Local) {
		return a.Local + "@" + a.Domain
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(a.Local) {
		if c := a.Local[i]; c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(a.Local[i])
	}
	b.WriteString(`"@`)
	b.WriteString(a.Domain)
	return b.String()
}

// Key returns the form in which addresses are compared: all lower case. RFC
// 5321 leaves the case of the local part to its domain; no mail system in use
// tells two people apart by it, and an authority would call that a fault.
func (a Address) Key() string { return strings.ToLower(a.String()) }

// IsNull reports whether this is the null reverse-path.
func (a Address) IsNull() bool { return a.Local == "" && a.Domain == "" }

// IsASCII reports whether the address can travel without SMTPUTF8 (RFC 6531).
func (a Address) IsASCII() bool {
	for i := range len(a.Local) {
		if a.Local[i] >= utf8.RuneSelf {
			return false
		}
	}
	for i := range len(a.Domain) {
		if a.Domain[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// MarshalText implements encoding.TextMarshaler.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Address) UnmarshalText(b []byte) error {
	v, err := ParseAddress(string(b))
	if err != nil {
		return err
	}
	*a = v
	return nil
}
