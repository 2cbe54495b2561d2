package smtpclient

import (
	"fmt"
	"strings"

	"gatewayd/connectors"
)

// mailParams writes RET and ENVID (RFC 3461 sections 4.3 and 4.4).
func mailParams(d connectors.DSN) string {
	var s string
	if ret := strings.ToUpper(d.Ret); ret == "FULL" || ret == "HDRS" {
		s += " RET=" + ret
	}
	if d.EnvID != "" && len(d.EnvID) <= 100 && printableASCII(d.EnvID) {
		s += " ENVID=" + xtext(d.EnvID)
	}
	return s
}

// rcptParams writes NOTIFY and ORCPT (RFC 3461 sections 4.1 and 4.2). An ORCPT
// outside US-ASCII would need the form of RFC 6533 and is left out.
func rcptParams(d connectors.DSN) string {
	var s string
	if n := notify(d.Notify); n != "" {
		s += " NOTIFY=" + n
	}
	kind, addr, ok := strings.Cut(d.ORcpt, ";")
	if ok && kind != "" && plainWord(kind) && addr != "" && len(d.ORcpt) <= 500 && printableASCII(addr) {
		s += " ORCPT=" + kind + ";" + xtext(addr)
	}
	return s
}

// notify keeps the known words; NEVER stands alone.
func notify(words []string) string {
	var keep []string
	for _, w := range words {
		switch w = strings.ToUpper(w); w {
		case "NEVER":
			return w
		case "SUCCESS", "FAILURE", "DELAY":
			keep = append(keep, w)
		}
	}
	return strings.Join(keep, ",")
}

// xtext encodes a value (RFC 3461 section 4).
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func printableASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
