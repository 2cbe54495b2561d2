package smtp

import (
	"strings"
	"unicode/utf8"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

// Limits of RFC 3461 sections 4.2 and 4.4, in octets.
const (
	maxEnvID = 100
	maxORcpt = 500
)

// parsePath reads an address as go-smtp hands it over: a source route already
// dropped and the local part already unquoted, so that "a b"@y comes as a b@y.
// A local part with an at sign is refused, because after the unquoting it
// cannot be told from the malformed a@b@c.
func parsePath(s string) (message.Address, error) {
	if s == "" {
		return message.Address{}, nil
	}
	i := strings.LastIndexByte(s, '@')
	if i <= 0 || strings.IndexByte(s[:i], '@') >= 0 {
		return message.Address{}, message.ErrBadAddress
	}
	quoted := message.Address{Local: s[:i], Domain: s[i+1:]}
	return message.ParseAddress(quoted.String())
}

// recipient builds one recipient from RCPT TO and its DSN parameters
// (RFC 3461 sections 4.1 and 4.2).
func recipient(to string, utf8Asked bool, opts *gosmtp.RcptOptions) (message.Recipient, error) {
	a, err := parsePath(to)
	switch {
	case err != nil || a.IsNull():
		return message.Recipient{}, &errBadRcpt
	case !a.IsASCII() && !utf8Asked:
		return message.Recipient{}, &errNeedUTF8
	}
	r := message.Recipient{Address: a}
	if opts == nil {
		return r, nil
	}
	for _, n := range opts.Notify {
		r.Notify = append(r.Notify, string(n))
	}
	if opts.OriginalRecipient == "" {
		return r, nil
	}
	r.ORcpt = strings.ToLower(string(opts.OriginalRecipientType)) + ";" + opts.OriginalRecipient
	if len(r.ORcpt) > maxORcpt || !printable(r.ORcpt) {
		return message.Recipient{}, &errBadORcpt
	}
	return r, nil
}

// printable reports whether s is valid UTF-8 without control characters.
func printable(s string) bool {
	for _, r := range s {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return false
		}
	}
	return utf8.ValidString(s)
}

// helloName returns the client's name from EHLO if it may stand in a trace
// line: letters, digits, dots, hyphens, underscores, or an address literal
// (RFC 5321 section 4.1.3). Anything else is left out.
func helloName(s string) string {
	if len(s) > 255 {
		return ""
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && strings.IndexByte(".-_:[]", c) < 0 {
			return ""
		}
	}
	return s
}
