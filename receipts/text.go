package receipts

import (
	"encoding/hex"
	"html"
	"regexp"
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/mail"
	"gatewayd/message"
)

// facts are what a document or a mail says about a delivery.
type facts struct {
	kind              message.ReceiptKind // "" if it says none
	reference         string
	sender, recipient message.Address
	subject           string
	at, sentAt        time.Time
	code              string
	bodyDigest        message.Digest
	attachments       []Attachment
}

// read gathers the facts of a text. Of everything the first mention counts:
// what users wrote (the subject) stands behind what the platform writes first.
func (r *Recogniser) read(p platform, text string) facts {
	var f facts
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if v, ok := group(r.fields.subject, line); ok {
			f.setSubject(r, v)
			continue
		}
		f.line(r, p, line)
		f.attachment(r, line)
	}
	if rec, ok := parseRecord(text); ok {
		f.record(r, rec)
	}
	return f
}

func (f *facts) setSubject(r *Recogniser, subject string) {
	if f.subject == "" {
		f.subject = subject
		f.reference, _ = group(r.reference, subject)
	}
}

func (f *facts) line(r *Recogniser, p platform, line string) {
	if f.kind == "" {
		f.kind, _ = matchKind(p.texts, line)
	}
	if v, ok := group(r.fields.sender, line); ok && f.sender.IsNull() {
		f.sender = oneAddress(v)
	}
	if v, ok := group(r.fields.recipient, line); ok && f.recipient.IsNull() {
		f.recipient = oneAddress(v)
	}
	if v, ok := group(r.fields.time, line); ok && f.at.IsZero() {
		f.at, _ = parseTime(v)
	}
	if v, ok := group(r.fields.bodyDigest, line); ok && f.bodyDigest == (message.Digest{}) {
		if raw, err := hex.DecodeString(v); err == nil {
			copy(f.bodyDigest[:], raw)
		}
	}
}

// maxAttachments bounds what one receipt states.
const maxAttachments = 500

func (f *facts) attachment(r *Recogniser, line string) {
	m := r.fields.attachment.FindStringSubmatch(line)
	if m == nil || len(f.attachments) == maxAttachments {
		return
	}
	a := Attachment{Name: strings.TrimSpace(m[1])}
	if raw, err := hex.DecodeString(m[2]); err == nil && len(raw) == len(a.SHA256) {
		copy(a.SHA256[:], raw)
		f.attachments = append(f.attachments, a)
	}
}

// record adds PrivaSphere's record. Its code says what happened, and wins over
// the title of the document.
func (f *facts) record(r *Recogniser, rec record) {
	if rec.Code != "" {
		f.code, f.kind = rec.Code, kindOfCode(rec.Code)
	}
	if f.sender.IsNull() {
		f.sender = oneAddress(rec.From)
	}
	if f.recipient.IsNull() {
		f.recipient = oneAddress(rec.To)
	}
	if f.at.IsZero() {
		f.at = rec.Delivered
	}
	f.sentAt = rec.Sent
	f.setSubject(r, rec.Subject)
}

// addPicture adds the record of a QR code. It fills what the text does not say,
// and names what both say differently; "" if nothing.
func (f *facts) addPicture(r *Recogniser, text string) (disagree string) {
	rec, ok := parseRecord(text)
	if !ok {
		return ""
	}
	said := *f
	var pictured facts
	pictured.record(r, rec)
	switch {
	case said.code != "" && said.code != pictured.code:
		return "what happened"
	case !said.recipient.IsNull() && !pictured.recipient.IsNull() && said.recipient.Key() != pictured.recipient.Key():
		return "the recipient"
	case !said.sender.IsNull() && !pictured.sender.IsNull() && said.sender.Key() != pictured.sender.Key():
		return "the sender"
	case said.reference != "" && pictured.reference != "" && said.reference != pictured.reference:
		return "the reference"
	}
	f.record(r, rec)
	return ""
}

func group(re *regexp.Regexp, s string) (string, bool) {
	m := re.FindStringSubmatch(s)
	if m == nil {
		return "", false
	}
	return strings.TrimSpace(m[1]), true
}

// oneAddress reads a mailbox; zero if there is not exactly one.
func oneAddress(s string) message.Address {
	list := mail.Addresses(s)
	if len(list) != 1 {
		return message.Address{}
	}
	return list[0]
}

// record is the metadata that PrivaSphere prints on its receipts
// (platforms.md § 3.3).
type record struct {
	Delivered, Sent   time.Time // zero if absent or unreadable
	Code              string    // delivery type
	From, To, Subject string    // subject: at most 40 characters
	Mode              string    // 5 registered, 6 eGov registered
}

// maxRecord bounds a record, in octets.
const maxRecord = 4096

// parseRecord finds <rM>…</rM> in a text. Of a repeated element the first
// counts; the subject, which users write, stands last.
func parseRecord(text string) (record, bool) {
	_, rest, ok := strings.Cut(text, "<rM>")
	if !ok {
		return record{}, false
	}
	body, _, ok := strings.Cut(rest[:min(len(rest), maxRecord)], "</rM>")
	if !ok {
		return record{}, false
	}
	body = strings.NewReplacer("\r\n", " ", "\n", " ").Replace(body)
	rec := record{
		Code: element(body, "dt"), From: element(body, "f"), To: element(body, "t"),
		Subject: element(body, "u"), Mode: element(body, "i"),
	}
	rec.Delivered, _ = parseTime(element(body, "d"))
	rec.Sent, _ = parseTime(element(body, "s"))
	return rec, true
}

func element(body, name string) string {
	_, rest, ok := strings.Cut(body, "<"+name+">")
	if !ok {
		return ""
	}
	value, _, ok := strings.Cut(rest, "</"+name+">")
	if !ok {
		return ""
	}
	return strings.TrimSpace(html.UnescapeString(value))
}

// kindOfCode maps PrivaSphere's delivery types (platforms.md § 3.3).
func kindOfCode(code string) message.ReceiptKind {
	switch code {
	case "0", "2", "5", "6", "7", "15", "16", "18", "19", "20", "21":
		return message.Abholquittung
	case "3":
		return message.NoticeBlocked
	case "11":
		return message.Annahmeverweigerung
	case "12":
		return message.Verfallquittung
	case "13":
		return message.NoticeUndelivered
	case "17":
		return message.Weitergabe
	}
	return message.UnknownReceipt
}

// codeMeaning tells a person what a code of interest means.
func codeMeaning(code string) string {
	switch code {
	case "2", "5", "7", "21":
		return "delivered to the recipient's system; not known to be read (dt " + code + ")"
	case "13":
		return "delivered outside the platform: a person must check (dt 13)"
	case "17":
		return "handed to the other recognised platform (dt 17)"
	}
	if code != "" && kindOfCode(code) == message.UnknownReceipt {
		return "unknown delivery code of the platform"
	}
	return ""
}

// parseTime reads the forms of time seen on receipts: RFC 3339; Java's
// "Wed Mar 14 13:20:39 CET 2012", whose zone must be Swiss or UTC; and the
// Swiss "14.03.2012 13:20:39", which is local time.
func parseTime(s string) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, true
	}
	// time.Parse would take CET for an unknown zone with offset zero, and be an
	// hour wrong, in summer two.
	if f := strings.Fields(s); len(f) == 6 {
		switch f[4] {
		case "MEZ":
			f[4] = "CET"
		case "MESZ":
			f[4] = "CEST"
		}
		switch f[4] {
		case "CET", "CEST", "UTC", "GMT":
			t, err := time.ParseInLocation("Mon Jan 2 15:04:05 MST 2006", strings.Join(f, " "), calendar.Zone())
			return t, err == nil
		}
		return time.Time{}, false
	}
	t, err := time.ParseInLocation("02.01.2006 15:04:05", s, calendar.Zone())
	return t, err == nil
}
