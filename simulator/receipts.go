package simulator

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"html"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"codeberg.org/go-pdf/fpdf"

	"gatewayd/calendar"
	"gatewayd/message"
)

// recordSubject is how much of a subject PrivaSphere's record keeps.
const recordSubject = 40

// receipt is one document about one message, with all that it needs to be made
// later, outside the lock.
type receipt struct {
	brand   brand
	seal    Certificate // the platform's own: for its S/MIME signature
	rogue   func() (Certificate, error)
	kind    message.ReceiptKind
	at      time.Time
	m       Message
	mode    int
	digest  string
	code    string // dt; "" for none
	archive []byte // what was submitted; PrivaSphere's Abgabequittung only
	faults  Faults
}

// issue makes one receipt for both sides. A message that came from the other
// platform is receipted there.
func (p *Platform) issue(e *entry, k message.ReceiptKind, at time.Time) {
	if e.origin != nil {
		return
	}
	e.Receipts = append(e.Receipts, k)
	if p.faults.DropReceipt {
		return
	}
	issuer := p
	if p.faults.ForeignReceipt {
		issuer = p.peer
	}
	r := &receipt{
		brand: issuer.brand, seal: issuer.o.Seal, rogue: issuer.rogue, kind: k, at: at, m: e.Message, mode: e.mode,
		digest: hex.EncodeToString(e.digest[:]), code: deliveryType(k, e.profile), faults: p.faults,
	}
	to := []string{e.From, e.To}
	if r.brand.kind == PrivaSphere && k == message.Abgabequittung {
		r.archive, to = e.raw, to[:1]
	}
	if r.brand.title(k) == "" {
		return // IncaMail has no receipt for a hand-over
	}
	p.queueReceipt(e, r, to)
}

func (p *Platform) queueReceipt(e *entry, r *receipt, to []string) {
	copies := 1
	if p.faults.DupReceipt {
		copies = 2
	}
	document := sync.OnceValues(r.document)
	for _, addr := range to {
		for range copies {
			o := p.outgoing(e, r.brand, addr)
			o.Kind = r.kind
			o.notBefore = p.o.Clock.Now().Add(p.faults.Late)
			o.build = func() ([]byte, []byte, error) { return r.mail(addr, o.token, document) }
			if p.faults.Reorder {
				e.held = append(e.held, o)
			} else {
				p.queue(o)
			}
		}
	}
}

// release sends what the fault reorder held back, the last first: once the
// message has ended, or the fault has.
func (p *Platform) release(e *entry) {
	if p.faults.Reorder && e.Ended.IsZero() {
		return
	}
	slices.Reverse(e.held)
	for _, o := range e.held {
		p.queue(o)
	}
	e.held = nil
}

// document makes and signs the PDF, then spoils it where a fault asks for it.
func (r *receipt) document() ([]byte, error) {
	doc, err := renderPDF(r.lines(), r.at)
	if err != nil {
		return nil, fmt.Errorf("render receipt: %w", err)
	}
	signer := r.seal
	if r.faults.WrongSeal {
		if signer, err = r.rogue(); err != nil {
			return nil, err
		}
	}
	if doc, err = signPDF(doc, signer, r.brand.name, r.at); err != nil {
		return nil, fmt.Errorf("sign receipt: %w", err)
	}
	if r.faults.BadSeal {
		doc = bytes.Replace(doc, []byte("(Zeitpunkt: 2"), []byte("(Zeitpunkt: 1"), 1)
	}
	if r.faults.Tamper {
		doc = append(slices.Clip(doc), "% appended after signing\n"...)
	}
	return doc, nil
}

// lines is the text of the document, line by line.
func (r *receipt) lines() []string {
	l := []string{
		r.brand.name + " " + r.brand.title(r.kind),
		"Absender: " + r.m.From,
		"Empfänger: " + r.m.To,
		"Betreff: " + r.m.Subject,
		"Zeitpunkt: " + r.at.In(calendar.Zone()).Format(time.RFC3339),
		"SHA-256: " + r.digest,
	}
	if r.brand.kind == PrivaSphere {
		l = append(l, r.record())
	}
	return append(l, "Simulation, kein Dokument der Plattform. X-Sim: 1")
}

// record is the metadata that PrivaSphere prints as a QR code: d delivered, dt
// delivery type, f from, i mode, s sent, t to, u subject.
func (r *receipt) record() string {
	subject := []rune(r.m.Subject)
	subject = subject[:min(len(subject), recordSubject)]
	var b strings.Builder
	put := func(name, value string) {
		fmt.Fprintf(&b, "<%s>%s</%s>", name, html.EscapeString(value), name)
	}
	b.WriteString("<rM>")
	if r.code != "" {
		put("d", javaDate(r.at))
		put("dt", r.code)
	}
	put("f", r.m.From)
	put("i", strconv.Itoa(r.mode))
	put("s", javaDate(r.m.At))
	put("t", r.m.To)
	put("u", string(subject))
	b.WriteString("</rM>")
	return b.String()
}

// renderPDF writes one page with one text operator a line, uncompressed. Text
// outside of WinAnsi is shown as a dot. A line too long for the page is set in
// smaller type rather than broken.
func renderPDF(lines []string, at time.Time) ([]byte, error) {
	pdf := fpdf.New("P", "mm", "A4", "")
	pdf.SetCompression(false)
	pdf.SetCreationDate(at)
	pdf.SetModificationDate(at)
	pdf.SetKeywords("X-Sim: 1", false)
	pdf.AddPage()
	translate := pdf.UnicodeTranslatorFromDescriptor("")
	const size, width = 11.0, 185.0
	for _, line := range lines {
		text := translate(line)
		pdf.SetFont("Helvetica", "", size)
		if w := pdf.GetStringWidth(text); w > width {
			pdf.SetFontSize(size * width / w)
		}
		pdf.CellFormat(0, 7, text, "", 1, "L", false, 0, "")
	}
	var b bytes.Buffer
	if err := pdf.Output(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// mail is the carrier of the document for one side.
func (r *receipt) mail(to, token string, document func() ([]byte, error)) (mail, doc []byte, err error) {
	if doc, err = document(); err != nil {
		return nil, nil, err
	}
	name := r.brand.title(r.kind)
	h := r.brand.header(to, token, r.brand.subject(r.kind)+": "+r.m.Subject, r.at)
	parts := []part{
		text("Im Anhang finden Sie die " + name + " (Simulation).\r\n"),
		{kind: "application/pdf", name: name + ".pdf", data: doc},
	}
	if r.archive != nil {
		eml, err := archiveCopy(h, r.archive, r.seal, r.at)
		if err != nil {
			return nil, nil, fmt.Errorf("archive copy: %w", err)
		}
		parts = append(parts, part{kind: "application/octet-stream", name: "Archivkopie.eml", data: eml})
	}
	return compose(h, parts...), doc, nil
}

// notify writes a plain-text notice: it proves nothing and informs people.
func (p *Platform) notify(e *entry, k message.ReceiptKind, at time.Time, to ...string) {
	if e.origin != nil {
		return
	}
	title, why := "Nicht zustellbar", "Die Nachricht konnte nicht zugestellt werden."
	if k == message.NoticeBlocked {
		title, why = "Eingeschriebene Nachrichten gesperrt", "Der Empfänger nimmt keine eingeschriebenen Nachrichten an."
	}
	body := fmt.Sprintf("%s\r\nAbsender: %s\r\nEmpfänger: %s\r\nBetreff: %s\r\nZeitpunkt: %s\r\n",
		why, e.From, e.To, e.Subject, at.In(calendar.Zone()).Format(time.RFC3339))
	subject := title + ": " + e.Subject
	for _, addr := range to {
		o := p.outgoing(e, p.brand, addr)
		o.Kind = k
		o.build = func() ([]byte, []byte, error) {
			return compose(p.brand.header(addr, o.token, subject, at), text(body)), nil, nil
		}
		p.queue(o)
	}
}
