package simulator

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	netmail "net/mail"
	"slices"
	"time"

	"gatewayd/calendar"
)

// field is one header field; its value is written as it is.
type field struct{ name, value string }

// part is one body part.
type part struct {
	kind string // media type with parameters
	name string // file name; "" for text shown in line
	data []byte
}

func text(s string) part { return part{kind: "text/plain; charset=utf-8", data: []byte(s)} }

// header is what every mail of the platform itself begins with.
func (b brand) header(to, token, subject string, at time.Time) []field {
	return []field{
		{"From", (&netmail.Address{Name: b.name, Address: b.address}).String()},
		{"To", "<" + to + ">"},
		{"Subject", encodeSubject(subject)},
		{"Date", mailDate(at)},
		{"Message-ID", b.messageID(token)},
		{"X-Sim", "1"},
	}
}

func mailDate(t time.Time) string {
	return t.In(calendar.Zone()).Format("Mon, 02 Jan 2006 15:04:05 -0700")
}

func encodeSubject(s string) string { return mime.QEncoding.Encode("utf-8", s) }

// compose writes a mail with CRLF line ends, one part alone or several in a
// multipart/mixed.
func compose(h []field, parts ...part) []byte {
	var b bytes.Buffer
	writeFields(&b, h)
	b.WriteString("MIME-Version: 1.0\r\n")
	if len(parts) == 1 {
		parts[0].write(&b)
		return b.Bytes()
	}
	boundary := newToken()
	fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%s\r\n\r\n", boundary)
	for _, p := range parts {
		fmt.Fprintf(&b, "--%s\r\n", boundary)
		p.write(&b)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes()
}

func writeFields(b *bytes.Buffer, h []field) {
	for _, f := range h {
		fmt.Fprintf(b, "%s: %s\r\n", f.name, f.value)
	}
}

// write appends the part: text in UTF-8, everything as base64.
func (p part) write(b *bytes.Buffer) {
	h := []field{{"Content-Type", p.kind}, {"Content-Transfer-Encoding", "base64"}}
	if p.name != "" {
		h = append(h, field{"Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": p.name})})
	}
	writeFields(b, h)
	b.WriteString("\r\n")
	writeBase64(b, p.data)
}

// writeBase64 writes lines of 76 characters (RFC 2045 section 6.8).
func writeBase64(b *bytes.Buffer, data []byte) {
	for line := range slices.Chunk(data, 57) {
		b.WriteString(base64.StdEncoding.EncodeToString(line) + "\r\n")
	}
}

// splitHeader cuts a mail after its header; the blank line belongs to neither.
func splitHeader(raw []byte) (header, body []byte) {
	header, body, _ = bytes.Cut(raw, []byte("\r\n\r\n"))
	return header, body
}
