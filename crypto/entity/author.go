package entity

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"gatewayd/mail"
	"gatewayd/message"
)

// author is whom the reader of a message takes for its writer.
type author struct {
	addresses []message.Address // all of them must be the signer's
	trick     string            // why nobody can say who that is; "" if all is plain
	date      time.Time         // of the Date field; zero: none
}

// maxRedated is how much later than its signature a message may be dated.
const maxRedated = time.Hour

// authorOf reads the header of the outer message, which no signature covers.
// wanted, if not null, is the author whatever stands there.
func authorOf(h *mail.Header, wanted message.Address) author {
	a := author{}
	if dates := h.All("Date"); len(dates) == 1 {
		a.date, _ = mail.ParseDate(dates[0]) // one that cannot be read says nothing
	}
	if !wanted.IsNull() {
		a.addresses = []message.Address{wanted}
		return a
	}
	fields := h.All("From")
	if len(fields) != 1 {
		a.trick = "not exactly one From field"
		return a
	}
	a.trick = "no author"
	for _, m := range mail.Mailboxes(fields[0]) {
		a.addresses = append(a.addresses, m.Address)
		a.trick = ""
	}
	text := mail.DecodeText(fields[0])
	switch {
	case slices.ContainsFunc(a.addresses, message.Address.IsNull):
		a.trick = "text in the From field that is no address"
	case strings.ContainsFunc(fields[0], invisible) || strings.ContainsFunc(text, invisible):
		a.trick = "invisible characters in the From field"
	case a.shows(text):
		a.trick = "the From field looks like another address"
	}
	return a
}

// invisible reports characters that turn the direction of what follows or hide
// in a name. Those that scripts need for joining letters are not among them.
func invisible(r rune) bool {
	return r != '\t' && unicode.IsControl(r) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 ||
		strings.ContainsRune("\u00ad\u200b\u2060\ufeff", r)
}

// shows reports whether the field holds an address that is none of the
// author's, in a display name or a comment: a reader may see nothing else.
func (a author) shows(field string) bool {
	for _, other := range []string{"\uff20", "\ufe6b", " @", "@ "} { // of which the last may follow from those before
		field = strings.ReplaceAll(field, other, "@")
	}
	for _, word := range strings.FieldsFunc(field, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`<>()[]",;:`, r) }) {
		other, err := message.ParseAddress(strings.Trim(word, ".'"))
		if err == nil && !other.IsNull() && strings.Contains(other.Domain, ".") && !contains(a.addresses, other) {
			return true
		}
	}
	return false
}

// judge takes the good word back from signatures that are not the author's, or
// older than the message they stand in.
func (a author) judge(l *Layer) {
	for i := range l.Signatures {
		s := &l.Signatures[i]
		switch {
		case s.Verdict != Good:
		case a.trick != "":
			s.Verdict, s.Detail = WrongSender, a.trick
		case !a.vouchedBy(s.Addresses):
			s.Verdict = WrongSender
		case !s.Time.IsZero() && a.date.After(s.Time.Add(maxRedated)):
			s.Verdict, s.Detail = Redated, "signed long before the date of the message"
		}
	}
}

func (a author) vouchedBy(signer []message.Address) bool {
	for _, x := range a.addresses {
		if !contains(signer, x) {
			return false
		}
	}
	return len(a.addresses) > 0
}

func contains(list []message.Address, a message.Address) bool {
	for _, x := range list {
		if !a.IsNull() && x.Key() == a.Key() {
			return true
		}
	}
	return false
}
