package parts

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gatewayd/mail"
	"gatewayd/message"
)

// Report is what a delivery status notification says (RFC 3464). It comes from
// strangers and proves nothing.
type Report struct {
	EnvID        string // Original-Envelope-Id; "" if none
	ReportingMTA string
	Recipients   []ReportRecipient
	Original     *mail.Header // header section of the message it is about; nil if it brings none
}

// ReportRecipient is what the report says about one recipient.
type ReportRecipient struct {
	Final      message.Address // zero if unreadable
	Original   message.Address // as the sender wrote it; zero if not told
	Action     string          // lower case: "failed", "delayed", "delivered", "relayed", "expanded"
	Status     string          // "5.1.1"; "" if unreadable
	RemoteMTA  string
	Diagnostic string // one line
	At         time.Time
}

// Bounds of a report.
const (
	maxStatusPart       = 1 << 20
	maxReportRecipients = 1000
)

// ReadDSN reads a report out of a message of size octets. It is not one (false)
// when there is no message/delivery-status part with at least one recipient
// group. Errors are those of reading.
func ReadDSN(r io.ReaderAt, size int64) (Report, bool, error) {
	tree, err := Read(r, size, Limits{})
	if err != nil {
		return Report{}, false, err
	}
	var rep Report
	found := false
	for i := range tree.Parts {
		p := &tree.Parts[i]
		switch p.Type {
		case "message/delivery-status", "message/global-delivery-status":
			if found {
				continue
			}
			if err := rep.readStatus(p.Decode(r)); err != nil {
				return Report{}, false, err
			}
			found = len(rep.Recipients) > 0
		case "text/rfc822-headers", "message/global-headers", "message/rfc822", "message/global":
			if !found || rep.Original != nil {
				continue
			}
			h, err := mail.ReadHeader(bufio.NewReader(io.LimitReader(p.Decode(r), maxStatusPart)), maxStatusPart)
			if err != nil {
				return Report{}, false, fmt.Errorf("read returned header: %w", err)
			}
			rep.Original = h
		}
	}
	return rep, found, nil
}

// readStatus reads the groups of fields: the first about the message, each
// further one about a recipient.
func (rep *Report) readStatus(r io.Reader) error {
	br := bufio.NewReader(io.LimitReader(r, maxStatusPart))
	for len(rep.Recipients) < maxReportRecipients {
		h, err := mail.ReadHeader(br, maxStatusPart)
		if err != nil {
			return fmt.Errorf("read delivery status: %w", err)
		}
		if h.Len() > 2 {
			rep.group(h)
		}
		if _, err := br.Peek(1); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read delivery status: %w", err)
		}
	}
	return nil
}

func (rep *Report) group(h *mail.Header) {
	if id := h.Get("Original-Envelope-Id"); id != "" {
		rep.EnvID = id
	}
	if mta := h.Get("Reporting-MTA"); mta != "" {
		rep.ReportingMTA = untyped(mta)
	}
	final, action := h.Get("Final-Recipient"), h.Get("Action")
	if final == "" && action == "" {
		return
	}
	status, _, _ := strings.Cut(mail.StripComments(h.Get("Status")), " ")
	if !mail.IsStatus(status) {
		status = ""
	}
	at, _ := mail.ParseDate(h.Get("Last-Attempt-Date")) // zero if unreadable
	rep.Recipients = append(rep.Recipients, ReportRecipient{
		Final: typed(final), Original: typed(h.Get("Original-Recipient")),
		Action: strings.ToLower(mail.StripComments(action)), Status: status,
		RemoteMTA: untyped(h.Get("Remote-MTA")), Diagnostic: mail.DecodeText(untyped(h.Get("Diagnostic-Code"))), At: at,
	})
}

// untyped removes the "type;" in front of a value.
func untyped(s string) string {
	if _, rest, ok := strings.Cut(s, ";"); ok {
		return strings.TrimSpace(rest)
	}
	return strings.TrimSpace(s)
}

// typed reads "rfc822; user@host"; zero if it is no address.
func typed(s string) message.Address {
	kind, _, _ := strings.Cut(s, ";")
	text := untyped(s)
	if strings.EqualFold(strings.TrimSpace(kind), "utf-8") {
		text = unescapeUTF8(text)
	}
	a, err := message.ParseAddress(strings.Trim(text, "<> \t"))
	if err != nil {
		return message.Address{}
	}
	return a
}

// unescapeUTF8 undoes \x{…} of RFC 6533 section 3.
func unescapeUTF8(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		hex, after, ok := strings.Cut(rest, "}")
		var r rune
		if _, err := fmt.Sscanf(hex, "%X", &r); !ok || err != nil {
			return b.String()
		}
		b.WriteRune(r)
		s = after
	}
}
