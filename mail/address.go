package mail

import (
	"strings"

	"gatewayd/message"
)

// Addresses returns the mailboxes of an address field (From, To, Cc …), in
// order: display names, comments, groups and source routes are read over, what
// is no mailbox is left out (RFC 5322 section 3.4, with its obsolete forms).
func Addresses(field string) []message.Address {
	var list []message.Address
	for _, m := range mailboxes(field) {
		list = append(list, m.address)
	}
	return list
}

// HeaderFrom returns the author of a message: the first mailbox of its From
// field and the decoded display name. It is not ok when there is no mailbox,
// or more than one From field: then nobody can say which one the reader sees.
func HeaderFrom(h *Header) (address message.Address, display string, ok bool) {
	all := h.All("From")
	if len(all) != 1 {
		return message.Address{}, "", false
	}
	list := mailboxes(all[0])
	if len(list) == 0 {
		return message.Address{}, "", false
	}
	return list[0].address, DecodeText(list[0].display), true
}

// Mailbox is one entry of an address field.
type Mailbox struct {
	Name    string          // display name, decoded; "" if none
	Address message.Address // zero if what stands there is no address
}

// Mailboxes returns the entries of an address field, in order. An entry that
// is no address keeps its text as the name.
func Mailboxes(field string) []Mailbox {
	var list []Mailbox
	for _, m := range entries(field) {
		list = append(list, Mailbox{DecodeText(m.display), m.address})
	}
	return list
}

type mailbox struct {
	address message.Address
	display string
}

// mailboxes returns the entries that are addresses.
func mailboxes(field string) []mailbox {
	var list []mailbox
	for _, m := range entries(field) {
		if !m.address.IsNull() {
			list = append(list, m)
		}
	}
	return list
}

// entries cuts the field at its top-level commas, colons and semicolons.
func entries(field string) []mailbox {
	var list []mailbox
	var cur rawMailbox
	flush := func() {
		if m, ok := cur.read(); ok {
			list = append(list, m)
		}
		cur = rawMailbox{}
	}
	for s := field; s != ""; {
		switch s[0] {
		case '"':
			n := quotedEnd(s, '"')
			cur.add(s[:n])
			s = s[n:]
		case '(':
			n := commentEnd(s)
			cur.comment(s[:n])
			s = s[n:]
		case '<':
			n := angleEnd(s)
			if cur.hasAngle { // a comma is missing
				flush()
			}
			cur.angle, cur.hasAngle = strings.Trim(s[1:n], "<> \t"), true
			s = s[n:]
		case ',', ';':
			flush()
			s = s[1:]
		case ':': // the end of a group's name
			cur = rawMailbox{}
			s = s[1:]
		default:
			n := strings.IndexAny(s[1:], "\"(<,;:") + 1
			if n == 0 {
				n = len(s)
			}
			cur.add(s[:n])
			s = s[n:]
		}
	}
	flush()
	return list
}

// rawMailbox is one mailbox as it is gathered.
type rawMailbox struct {
	words, note, angle string
	hasAngle           bool
}

func (m *rawMailbox) add(s string) { m.words += s }

func (m *rawMailbox) comment(s string) {
	m.words += " "
	m.note = strings.Trim(s, "()")
}

func (m *rawMailbox) read() (mailbox, bool) {
	spec, display := strings.TrimSpace(m.words), m.note
	if m.hasAngle {
		spec, display = m.angle, unquote(strings.TrimSpace(m.words))
		if strings.HasPrefix(spec, "@") { // source route, RFC 5321 appendix C
			_, spec, _ = strings.Cut(spec, ":")
		}
	}
	a, err := message.ParseAddress(strings.Trim(spec, "> "))
	if i := strings.LastIndexAny(spec, " \t"); err != nil && i > 0 && !m.hasAngle && !strings.Contains(spec, `"`) { // Name user@host
		display = spec[:i]
		a, err = message.ParseAddress(spec[i+1:])
	}
	if err != nil || a.IsNull() {
		text := strings.Join(strings.Fields(m.words+" "+m.angle), " ")
		return mailbox{display: text}, text != ""
	}
	return mailbox{a, display}, true
}

// quotedEnd returns the length of the quoted string at the start of s; an
// unclosed one reaches to the end.
func quotedEnd(s string, quote byte) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case quote:
			return i + 1
		}
	}
	return len(s)
}

// commentEnd is quotedEnd for comments, which nest.
func commentEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// angleEnd is quotedEnd for <…>, in which a quoted local part may hold '>'.
func angleEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			i += quotedEnd(s[i:], '"') - 1
		case '>':
			return i + 1
		}
	}
	return len(s)
}

// unquote removes quotes and backslashes of quoted strings.
func unquote(s string) string {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
