package simulator

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"codeberg.org/go-pdf/fpdf"

	"gatewayd/calendar"
	"gatewayd/mail/parts"
	"gatewayd/message"
)

// recordSubject is how much of a subject PrivaSphere's record keeps.
const recordSubject = 40

// receipt is one document about one message: a copy of all that it needs to be
// made later, outside the lock.
type receipt struct {
	issuer *Platform // its form and its seal; only what never changes is read
	kind   message.ReceiptKind
	at     time.Time
	e      entry
	faults Faults
}

// issue makes one receipt for both sides, PrivaSphere's archive copy for the
// sender only. A message that came from the other platform is receipted there.
func (p *Platform) issue(e *entry, k message.ReceiptKind, at time.Time) {
	if e.origin != nil {
		return
	}
	e.Receipts = append(e.Receipts, k)
	r := &receipt{issuer: p, kind: k, at: at, e: *e, faults: p.faults}
	if r.faults.ForeignReceipt {
		r.issuer = p.peer
	}
	if r.faults.DropReceipt || r.title() == "" {
		return
	}
	to := []string{e.From, e.To}
	if r.isArchive() {
		to = to[:1]
	}
	if r.faults.DupReceipt {
		to = slices.Repeat(to, 2)
		slices.Sort(to)
	}
	document := sync.OnceValues(r.document)
	for _, addr := range to {
		o := p.outgoing(e, r.issuer.brand, k, addr)
		o.notBefore = p.o.Clock.Now().Add(r.faults.Late)
		o.build = func() ([]byte, error) { return r.mail(addr, o.token, document) }
		if r.faults.Reorder {
			e.held = append(e.held, o)
		} else {
			p.queue(o)
		}
	}
}

func (r *receipt) title() string { return r.issuer.brand.title(r.kind) }

func (r *receipt) isArchive() bool {
	return r.issuer.brand.kind == PrivaSphere && r.kind == message.Abgabequittung
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
	signer := r.issuer.o.Seal
	if r.faults.WrongSeal {
		if signer, err = r.issuer.rogue(); err != nil {
			return nil, err
		}
	}
	if doc, err = signPDF(doc, signer, r.issuer.brand.name, r.at); err != nil {
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
		r.issuer.brand.name + " " + r.title(),
		"Absender: " + r.e.From,
		"Empfänger: " + r.e.To,
		"Betreff: " + r.e.Subject,
		"Zeitpunkt: " + r.at.In(calendar.Zone()).Format(time.RFC3339),
		"SHA-256: " + hex.EncodeToString(r.e.digest[:]),
	}
	for _, a := range attachmentsIn(r.e.raw) {
		l = append(l, "Anhang: "+a)
	}
	if r.issuer.brand.kind == PrivaSphere {
		l = append(l, r.record())
	}
	return append(l, "Simulation, kein Dokument der Plattform. X-Sim: 1")
}

// attachmentsIn lists the named parts of a mail as the receipts do.
func attachmentsIn(raw []byte) []string {
	tree, err := parts.Read(bytes.NewReader(raw), int64(len(raw)), parts.Limits{})
	if err != nil {
		return nil
	}
	var list []string
	for i := range tree.Parts {
		p := &tree.Parts[i]
		h := sha256.New()
		if _, err := io.Copy(h, p.Decode(bytes.NewReader(raw))); p.FileName != "" && err == nil {
			list = append(list, fmt.Sprintf("%s, SHA-256 %x", p.FileName, h.Sum(nil)))
		}
	}
	return list
}

// record is the metadata that PrivaSphere prints as a QR code: d delivered, dt
// delivery type, f from, i mode, s sent, t to, u subject.
func (r *receipt) record() string {
	subject := []rune(r.e.Subject)
	subject = subject[:min(len(subject), recordSubject)]
	var b strings.Builder
	put := func(name, value string) {
		fmt.Fprintf(&b, "<%s>%s</%s>", name, html.EscapeString(value), name)
	}
	b.WriteString("<rM>")
	if code := deliveryType(r.kind, r.e.profile); code != "" {
		put("d", javaDate(r.at))
		put("dt", code)
	}
	put("f", r.e.From)
	put("i", strconv.Itoa(r.e.mode))
	put("s", javaDate(r.e.At))
	put("t", r.e.To)
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
func (r *receipt) mail(to, token string, document func() ([]byte, error)) ([]byte, error) {
	doc, err := document()
	if err != nil {
		return nil, err
	}
	b := r.issuer.brand
	h := b.header(to, token, b.subject(r.kind)+": "+r.e.Subject, r.at)
	parts := []part{
		text("Im Anhang finden Sie die " + r.title() + " (Simulation).\r\n"),
		{kind: "application/pdf", name: r.title() + ".pdf", data: doc},
	}
	if r.isArchive() {
		eml, err := archiveCopy(h, r.e.raw, r.issuer.o.Seal, r.at)
		if err != nil {
			return nil, fmt.Errorf("archive copy: %w", err)
		}
		parts = append(parts, part{kind: "application/octet-stream", name: "Archivkopie.eml", data: eml})
	}
	return compose(h, parts...), nil
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
		o := p.outgoing(e, p.brand, k, addr)
		o.build = func() ([]byte, error) {
			return compose(p.brand.header(addr, o.token, subject, at), text(body)), nil
		}
		p.queue(o)
	}
}
