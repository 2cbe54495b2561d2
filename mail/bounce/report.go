package bounce

import (
	"strings"
	"time"

	"gatewayd/mail"
	"gatewayd/message"
)

// Report is what a delivery report says.
type Report struct {
	EnvID        string       `json:"envelope_id,omitempty"`   // Original-Envelope-Id
	ReportingMTA string       `json:"reporting_mta,omitempty"` // who says it
	Structured   bool         `json:"structured"`              // read from fields (RFC 3464), not from free text
	Recipients   []Recipient  `json:"recipients"`
	Original     *mail.Header `json:"-"` // header section of the message it is about; nil if it brings none
}

// Actions of RFC 3464 section 2.3.3.
const (
	Failed    = "failed"
	Delayed   = "delayed"
	Delivered = "delivered"
	Relayed   = "relayed"
	Expanded  = "expanded"
)

// Recipient is what the report says about one recipient.
type Recipient struct {
	Address    message.Address `json:"address"`           // as the reporter wrote it; zero if unreadable
	Original   message.Address `json:"original,omitzero"` // as the sender wrote it; zero if not told
	Action     string          `json:"action"`            // Failed …
	Status     string          `json:"status"`            // RFC 3463, "5.1.1"; the class only ("5.0.0") where nothing better is told
	Reply      int             `json:"reply,omitempty"`   // SMTP reply code; 0 if not told
	Permanent  bool            `json:"permanent"`         // the cause is permanent: trying again will not help
	Reason     Reason          `json:"reason"`
	RemoteMTA  string          `json:"remote_mta,omitempty"`
	Diagnostic string          `json:"diagnostic,omitempty"` // one line
	At         time.Time       `json:"at,omitzero"`
}

// Bounds of a report. What is beyond them is not read.
const (
	maxRecipients = 1000
	maxText       = 64 << 10 // of free text, octets
	maxDiagnostic = 1000     // octets
	maxBlock      = 4 << 10  // free text about one recipient, octets
)

// Read reads a report out of the sections of a message (parts.Sections). It is
// none (false) if nothing in it says what became of a message: ordinary mail,
// read receipts (RFC 8098), complaints (RFC 5965) and auto-replies (RFC 3834).
func Read(sections []mail.Section) (Report, bool) {
	if len(sections) == 0 || otherReport(sections) {
		return Report{}, false
	}
	if !plausible(sections) {
		return Report{}, false
	}
	m := newMaterial(sections)
	rep := Report{Original: m.original}
	if rep.readFields(m) || rep.readNotification(m) || rep.readFreeText(m) {
		return rep, true
	}
	return Report{}, false
}

// plausible tells, before any text is looked at, whether a message may be a
// report: most mail is not, and should not cost more than that.
func plausible(sections []mail.Section) bool {
	for _, s := range sections {
		if !s.Inside && isStatus(s.Type) {
			return true
		}
	}
	head := sections[0].Header
	return head.Get("X-Failed-Recipients") != "" || senderWeight(head) > 0 || strings.HasPrefix(strings.TrimSpace(sections[0].Text), "{")
}

func isStatus(typ string) bool {
	return typ == "message/delivery-status" || typ == "message/global-delivery-status"
}

// otherReport tells the machine-written messages that are about something else.
func otherReport(sections []mail.Section) bool {
	for _, s := range sections {
		if !s.Inside && (s.Type == "message/feedback-report" || s.Type == "message/disposition-notification") {
			return true
		}
	}
	_, params := mail.ParseParams(sections[0].Header.Get("Content-Type"))
	switch strings.ToLower(params["report-type"]) {
	case "feedback-report", "disposition-notification":
		return true
	}
	return false
}

// maxProse bounds the free text that is searched, in octets: reporters say at the
// top what they have to say, and every pattern costs time.
const maxProse = 64 << 10

// material is a message, sorted for reading.
type material struct {
	head     *mail.Header
	fields   []string // delivery status sections
	text     string   // what the reporter wrote
	original *mail.Header
	returned bool // a copy of the message, or its header, comes with it
	sender   map[string]bool
}

func newMaterial(sections []mail.Section) *material {
	m := &material{head: sections[0].Header}
	var plain, html strings.Builder
	for _, s := range sections {
		switch {
		case s.Inside:
		case isStatus(s.Type):
			m.fields = append(m.fields, s.Text)
		case s.Type == "message/rfc822", s.Type == "message/global", s.Type == "text/rfc822-headers", s.Type == "message/global-headers":
			if m.returned = true; m.original == nil {
				m.original = header(s.Text)
			}
		case s.Type == "text/html":
			html.WriteString(s.Text + "\n")
		case strings.HasPrefix(s.Type, "text/"):
			plain.WriteString(s.Text + "\n")
		}
	}
	m.text = plain.String()
	if strings.TrimSpace(m.text) == "" {
		m.text = stripTags(html.String())
	}
	m.text = tidy(m.text)
	var rest string
	m.text, rest = cutOriginal(m.text)
	if h := header(rest); rest != "" && isWrapped(h) {
		m.text, rest = cutOriginal(m.text + rest[min(h.Len(), len(rest)):])
	}
	if rest != "" {
		m.returned = true
		if m.original == nil {
			m.original = header(rest)
		}
	}
	m.text = m.text[:min(len(m.text), maxProse)]
	m.sender = m.senders()
	return m
}

// isWrapped tells whether the message below is itself a report, which somebody
// passes on: no report is ever sent about a report.
func isWrapped(h *mail.Header) bool {
	return h != nil && daemonName.MatchString(h.Get("From"))
}

// senders returns the addresses that are hardly the failed recipient: those of
// who gets the report and of who writes it.
func (m *material) senders() map[string]bool {
	set := map[string]bool{}
	for _, h := range []*mail.Header{m.head, m.original} {
		if h == nil {
			continue
		}
		names := []string{"From", "Return-Path", "Sender", "Reply-To"}
		if h == m.head {
			names = append(names, "To")
		}
		for _, name := range names {
			for _, a := range mail.Addresses(h.Get(name)) {
				set[a.Key()] = true
			}
		}
	}
	return set
}
