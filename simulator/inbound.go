package simulator

import (
	"encoding/base64"
	"errors"
	"fmt"
	netmail "net/mail"
	"slices"
	"strings"
	"time"

	"gatewayd/message"
)

// CitizenMail is what a citizen writes to an authority on the platform.
type CitizenMail struct {
	From       string        `json:"from"`
	To         string        `json:"to"`
	Class      message.Class `json:"class"` // confidential (default), personal, registered
	Subject    string        `json:"subject"`
	Text       string        `json:"text"`
	Attachment []byte        `json:"attachment,omitempty"`
	FileName   string        `json:"file_name,omitempty"`
	Raw        []byte        `json:"raw,omitempty"` // whole mail with CRLF; replaces subject, text and attachment
}

// Inbound lets a citizen send mail to a customer of the platform. What the
// authority gets follows from its profile: readable mail (the default), or, for
// Native, IncaMail's form with IncaMail.html, or PrivaSphere's notification. A
// registered mail has its receipts for both sides; with Business it is handed
// over only after Accept.
func (p *Platform) Inbound(c CitizenMail) (id string, err error) {
	if c.Class == "" {
		c.Class = message.Confidential
	}
	if !slices.Contains([]message.Class{message.Confidential, message.Personal, message.Registered}, c.Class) {
		return "", fmt.Errorf("class %q: use confidential, personal or registered", c.Class)
	}
	for _, addr := range []string{c.From, c.To} {
		if a, err := message.ParseAddress(addr); err != nil || a.IsNull() {
			return "", message.ErrBadAddress
		}
	}
	if _, ok := p.customer(c.To); !ok {
		return "", errors.New("the recipient is no customer of this platform")
	}
	now := p.o.Clock.Now()
	raw := c.Raw
	if raw == nil {
		raw = c.compose(now)
	}
	p.do(func() {
		e := p.newEntry(raw, now)
		e.From, e.To, e.Class, e.Tag, e.mode = c.From, c.To, c.Class, "", modeEGov
		p.add(e)
		id = e.ID
	})
	return id, nil
}

func (c CitizenMail) compose(now time.Time) []byte {
	domain := c.From[strings.LastIndexByte(c.From, '@')+1:]
	h := []field{
		{"From", "<" + c.From + ">"},
		{"To", "<" + c.To + ">"},
		{"Subject", encodeSubject(c.Subject)},
		{"Date", mailDate(now)},
		{"Message-ID", "<" + newToken() + "@" + domain + ">"},
	}
	parts := []part{text(c.Text)}
	if c.Attachment != nil {
		parts = append(parts, part{kind: "application/octet-stream", name: c.FileName, data: c.Attachment})
	}
	return compose(h, parts...)
}

// deliverContent gives the mail to its recipient, in the form that its profile
// has.
func (p *Platform) deliverContent(e *entry) {
	o := p.outgoing(e, p.brand, "", e.To)
	m, raw, at := e.Message, e.raw, p.o.Clock.Now()
	switch {
	case e.profile.direct():
		o.From = m.From
		o.build = func() ([]byte, error) { return plainForm(raw), nil }
	case p.brand.kind == IncaMail:
		o.build = func() ([]byte, error) { return p.htmlForm(m, o.token, raw, at) }
	default:
		o.build = func() ([]byte, error) { return p.invitation(m, o.token, at), nil }
	}
	p.queue(o)
}

// plainForm is what a connected domain gets: the mail as it was sent, marked.
func plainForm(raw []byte) []byte { return append([]byte("X-Sim: 1\r\n"), raw...) }

// htmlForm is what IncaMail sends to everybody else: its own sender, the
// writer in the display name and in Reply-To, a new Message-ID, a longer
// subject, and the mail itself encrypted for the platform in a HTML form.
func (p *Platform) htmlForm(m Message, token string, raw []byte, at time.Time) ([]byte, error) {
	sealed, err := encryptForPlatform(raw, p.o.Seal)
	if err != nil {
		return nil, fmt.Errorf("encrypt for the form: %w", err)
	}
	h := p.brand.header(m.To, token, m.Subject+" (Secured by IncaMail)", at)
	h[0].value = (&netmail.Address{Name: m.From + " mittels IncaMail", Address: p.brand.address}).String()
	h = append(h, field{"Reply-To", "<" + m.From + ">"})
	page := `<?xml version="1.0" encoding="UTF-8"?>` + "\r\n" +
		`<html xmlns="http://www.w3.org/1999/xhtml"><head><title>IncaMail</title></head><body>` + "\r\n" +
		`<form method="post" action="https://incamail.com/"><p>` +
		`<input type="hidden" name="secmail" value="` + base64.StdEncoding.EncodeToString(sealed) + `"/>` +
		`<input type="submit"/></p></form></body></html>` + "\r\n"
	return compose(h, text("Sie haben eine IncaMail-Nachricht erhalten (Simulation).\r\n"),
		part{kind: "application/xhtml+xml", name: "IncaMail.html", data: []byte(page)}), nil
}

// invitation is PrivaSphere's mail with a link to the message.
func (p *Platform) invitation(m Message, token string, at time.Time) []byte {
	body := fmt.Sprintf("%s hat Ihnen eine Nachricht gesendet (Simulation).\r\nhttps://%s/message/%s\r\n",
		m.From, p.o.Hostname, token)
	return compose(p.brand.header(m.To, token, "Neue Nachricht: "+m.Subject, at), text(body))
}
