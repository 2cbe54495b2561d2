package mail

import (
	"errors"
	"mime/quotedprintable"
	"strings"
	"time"

	"gatewayd/message"
)

// Text is one statement in both languages in which the gateway writes.
type Text struct{ DE, EN string }

// IsZero reports whether nothing is said.
func (t Text) IsZero() bool { return t == Text{} }

// Letter is what every message has that the gateway writes itself. Whoever
// gives the same values gets the same octets.
type Letter struct {
	ID        message.ID      // of this message: its Message-ID is made of it
	Host      string          // our name
	From      message.Address // zero: postmaster at Host
	To        message.Address
	Date      time.Time
	InReplyTo string     // Message-ID of the message it is about, with brackets; "" if unknown
	About     message.ID // our id of the message it is about; zero: none
}

var errNoRecipient = errors.New("compose: no recipient")

// head writes the header fields up to the content fields. auto is the value of
// Auto-Submitted (RFC 3834 section 5).
func (l Letter) head(subject Text, auto string) (*Header, error) {
	if l.To.IsNull() {
		return nil, errNoRecipient
	}
	from := l.From
	if from.IsNull() {
		from = message.Address{Local: "postmaster", Domain: token(l.Host)}
	}
	title := subject.DE + " / " + subject.EN
	if !l.About.IsZero() {
		title += " (" + l.About.String() + ")"
	}
	h := &Header{end: []byte("\r\n")}
	fields := [][2]string{
		{"From", "gatewayd <" + from.String() + ">"},
		{"To", "<" + l.To.String() + ">"},
		{"Subject", EncodeText(title)},
		{"Date", formatDate(l.Date)},
		{"Message-ID", MessageID(l.ID, l.Host)},
	}
	if id := safeMessageID(l.InReplyTo); id != "" {
		fields = append(fields, [2]string{"In-Reply-To", id}, [2]string{"References", id})
	}
	fields = append(fields, [2]string{"Auto-Submitted", auto}, [2]string{"MIME-Version", "1.0"})
	for _, f := range fields {
		if err := h.Replace(f[0], f[1]); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// safeMessageID returns a foreign Message-ID only if it is a plain one.
func safeMessageID(id string) string {
	if len(id) > 250 || len(id) < 3 || id[0] != '<' || id[len(id)-1] != '>' || !validName(strings.ReplaceAll(id, ":", "")) {
		return ""
	}
	return id
}

// paragraphs writes the text of one language: what happened, why, what to do.
func paragraphs(parts ...string) string {
	var kept []string
	for _, p := range parts {
		if p = strings.TrimSpace(oneLine(toUTF8(p))); p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "\r\n\r\n") + "\r\n"
}

// separator stands between the two languages.
const separator = "\r\n----\r\n\r\n"

func quotedPrintable(text string) string {
	var b strings.Builder
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(text)) // a strings.Builder does not fail
	_ = w.Close()
	return b.String()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
