package mail

import (
	"errors"
	netmail "net/mail"
	"net/netip"
	"strings"
	"time"

	"gatewayd/message"
)

// dateTime is the format of RFC 5322 section 3.3.
const dateTime = "Mon, 2 Jan 2006 15:04:05 -0700"

// ReceivedField returns the complete trace field of RFC 5321 section 4.4 for a
// message that host took over, folded, ending in CRLF. The id is the one of
// the 250 reply. The peer's name and address are told only for mail from
// outside: those of an authority's own clients are nobody's business. The
// recipient is never named (RFC 5321 section 7.2).
func ReceivedField(env message.Envelope, host string) string {
	var b strings.Builder
	b.WriteString("Received: ")
	if env.Direction == message.Inbound && (env.Helo != "" || env.RemoteAddr != "") {
		b.WriteString("from " + token(env.Helo) + addressLiteral(env.RemoteAddr) + "\r\n\t")
	}
	b.WriteString("by " + token(host) + " with " + token(env.Protocol) + " id " + env.ID.String())
	if env.TLS != "" {
		b.WriteString("\r\n\t(" + comment(env.TLS) + ")")
	}
	b.WriteString(";\r\n\t" + env.Received.UTC().Format(dateTime) + "\r\n")
	return b.String()
}

// token makes foreign text fit to stand as one word of a trace field.
func token(s string) string {
	s = strings.Map(func(r rune) rune {
		if r > ' ' && r <= '~' && !strings.ContainsRune(`()<>,;"\`, r) {
			return r
		}
		return -1
	}, s)
	if s == "" {
		return "unknown"
	}
	return s[:min(len(s), 255)]
}

// comment makes text fit to stand inside parentheses.
func comment(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`()\`, r) {
			return '_'
		}
		return r
	}, s)
	return s[:min(len(s), 120)]
}

func addressLiteral(remote string) string {
	ip, err := netip.ParseAddr(remote)
	if err != nil {
		return ""
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		return " ([IPv6:" + ip.String() + "])"
	}
	return " ([" + ip.String() + "])"
}

// MessageID returns the Message-ID under which the gateway writes a message of
// its own.
func MessageID(id message.ID, host string) string {
	return "<" + id.String() + "@" + token(host) + ">"
}

func formatDate(t time.Time) string { return t.UTC().Format(dateTime) }

// ParseDate reads a Date field value (RFC 5322 section 3.3), obsolete forms
// included.
func ParseDate(s string) (time.Time, error) {
	t, err := netmail.ParseDate(s)
	if err != nil {
		return time.Time{}, errors.New("not a date")
	}
	return t, nil
}
