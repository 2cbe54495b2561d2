package archive

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/mail"
	"gatewayd/message"
)

// Message is one message with everything that belongs to it.
type Message struct {
	Story message.Story
	// Body writes the message as it was accepted.
	Body func(io.Writer) error
	// Opened writes it without S/MIME or OpenPGP, with the verdict in a field on
	// top; nil: it was not protected.
	Opened func(io.Writer) error
	// Document returns a receipt's original; asked only where there is one.
	Document func(message.Receipt) ([]byte, error)
	// Evidence writes the evidence bundle of a registered item; nil: none is made.
	Evidence func(message.ItemKey, io.Writer) error
}

// ErrPrivate: private mail is no record of the authority.
var ErrPrivate = errors.New("private mail is never archived (Benutzungsreglement BL § 12)")

func (m Message) check() error {
	switch {
	case len(m.Story.Items) == 0 || m.Body == nil || m.Document == nil:
		return errors.New("a message without recipients or content")
	case slices.ContainsFunc(m.Story.Items, func(i message.Item) bool { return i.Decision.Class == message.Private }):
		return fmt.Errorf("message %s: %w", m.Story.Envelope.ID, ErrPrivate)
	}
	return nil
}

// maxHeader bounds the header from which title and author are read.
const maxHeader = 256 << 10

// subject reads what the archive needs of a header.
type header struct{ subject, from string }

// headerOf takes the subject and the author out of the start of a message while
// it is written.
func headerOf(start []byte) header {
	h, err := mail.ReadHeader(bufio.NewReader(bytes.NewReader(start)), maxHeader)
	if err != nil {
		return header{}
	}
	_, name, _ := mail.HeaderFrom(h)
	return header{subject: h.Text("Subject"), from: name}
}

// head keeps the first octets of what passes.
type head struct {
	w io.Writer
	b []byte
}

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	if room := maxHeader - len(h.b); room > 0 {
		h.b = append(h.b, p[:min(room, len(p))]...)
	}
	return h.w.Write(p)
}

// message writes the files of one message and describes them.
func (s *sip) message(n int, m Message) (ordner, dossier, error) {
	w := &messageWriter{sip: s, m: m, folder: ordner{Name: fmt.Sprintf("d%06d", n), OriginalName: m.Story.Envelope.ID.String()}}
	err := w.letter()
	if err == nil {
		err = w.receipts()
	}
	if err == nil {
		err = w.bundles()
	}
	if err == nil {
		err = w.record()
	}
	return w.folder, w.dossier(n), err
}

type messageWriter struct {
	*sip
	m      Message
	folder ordner
	docs   []dokument
	head   header
}

// file writes one file and returns how a document refers to it.
func (w *messageWriter) file(original, ext, kind string, fill func(io.Writer) error) (dateiRef, error) {
	w.files++
	d := datei{ID: fmt.Sprintf("p%06d", w.files), Name: fmt.Sprintf("p%06d%s", w.files, ext), OriginalName: cut(original, text2), Algorithmus: "SHA-256"}
	var err error
	d.Summe, err = w.put("content/"+w.folder.Name, d.Name, fill)
	w.folder.Dateien = append(w.folder.Dateien, d)
	return dateiRef{Art: kind, ID: d.ID}, err
}

func (w *messageWriter) document(title, typ, author string, at time.Time, facts []merkmal, files ...dateiRef) {
	w.docs = append(w.docs, dokument{
		ID: fmt.Sprintf("t%06d", w.files), Titel: cut(title, text3), Autor: cut(author, text3), Form: "digital", Typ: cut(typ, text3), Datum: calendar.DayOf(at).String(),
		Zusatz: additional(facts), Dateien: files,
	})
}

func additional(facts []merkmal) *zusatz {
	facts = slices.DeleteFunc(facts, func(f merkmal) bool { return f.Text == "" })
	if len(facts) == 0 {
		return nil
	}
	return &zusatz{facts}
}

// letter writes the message as it came and, if it was protected, opened.
func (w *messageWriter) letter() error {
	env := w.m.Story.Envelope
	var first head
	ref, err := w.file("message.eml", ".eml", "original", func(out io.Writer) error {
		first.w = out
		return w.m.Body(&first)
	})
	if err != nil {
		return err
	}
	if got := w.folder.Dateien[0].Summe; got != env.Content.Digest.String() {
		return fmt.Errorf("its content has SHA-256 %s, accepted was %s", got, env.Content.Digest)
	}
	w.head = headerOf(first.b)
	files := []dateiRef{ref}
	if w.m.Opened != nil {
		opened := head{}
		ref, err := w.file("opened.eml", ".eml", "geöffnet", func(out io.Writer) error {
			opened.w = out
			return w.m.Opened(&opened)
		})
		if err != nil {
			return fmt.Errorf("open it: %w", err)
		}
		w.head = headerOf(opened.b) // a hidden subject stands inside
		files = append(files, ref)
	}
	w.document(w.title(), "E-Mail", w.author(), env.Received, []merkmal{
		{"Kennung", env.ID.String()}, {"Message-ID", env.MessageID}, {"SHA-256", env.Content.Digest.String()}, {"Eingang beim Gateway", env.Received.UTC().Format(time.RFC3339)},
	}, files...)
	return nil
}

func (w *messageWriter) title() string {
	if s := strings.TrimSpace(w.head.subject); s != "" {
		return s
	}
	return "Nachricht " + w.m.Story.Envelope.ID.String()
}

func (w *messageWriter) author() string {
	env := w.m.Story.Envelope
	if env.HeaderFrom != "" {
		return strings.TrimSpace(w.head.from + " <" + env.HeaderFrom + ">")
	}
	return env.From.String()
}

func (w *messageWriter) receipts() error {
	for _, r := range w.m.Story.Receipts {
		if r.Document.IsZero() {
			continue
		}
		ref, err := w.file(mail.SafeFileName(r.FileName), extension(r.MediaType), "original", func(out io.Writer) error {
			doc, err := w.m.Document(r)
			if err == nil {
				_, err = out.Write(doc)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("receipt %s: %w", r.ID, err)
		}
		w.document("Quittung "+string(r.Kind), "Quittung der Plattform", r.Signer, r.Received, []merkmal{
			{"Quittung", r.ID.String()},
			{"Art", string(r.Kind)},
			{"Plattform", r.Platform},
			{"Plattformzeit", instant(r.At)},
			{"Empfänger", fmt.Sprint(r.Item.N)},
			{"Prüfergebnis", string(r.Verdict)},
			{"SHA-256", r.Digest.String()},
		}, ref)
	}
	return nil
}

// extension of a platform's document; its own name is not trusted.
func extension(mediaType string) string {
	switch mediaType {
	case "application/pdf":
		return ".pdf"
	case "message/rfc822":
		return ".eml"
	}
	return ".bin"
}

// bundles writes the evidence bundle of each registered recipient.
func (w *messageWriter) bundles() error {
	env := w.m.Story.Envelope
	for _, i := range w.m.Story.Items {
		if w.m.Evidence == nil || i.Decision.Class != message.Registered || env.Direction != message.Outbound {
			continue
		}
		ref, err := w.file(fmt.Sprintf("nachweis-%d.zip", i.Key.N), ".zip", "original", func(out io.Writer) error { return w.m.Evidence(i.Key, out) })
		if err != nil {
			return fmt.Errorf("evidence of %s: %w", i.Key, err)
		}
		w.document("Nachweisdossier "+i.Reference, "Verarbeitungsnachweis", "", env.Received, []merkmal{{"Referenz", i.Reference}, {"Empfänger", fmt.Sprint(i.Key.N)}}, ref)
	}
	return nil
}

// lasting is what of a message's story goes into an archive for good: what was sent
// to whom, what became of it and when. Who was logged in, from which address and
// with which program is log data, which goes after six months (E-GovG BL § 11): it
// stays out.
func lasting(s message.Story) message.Story {
	e := &s.Envelope
	e.Account, e.Helo, e.RemoteAddr, e.TLS, e.IdemKey = "", "", "", "", ""
	events := s.Events
	s.Events = make([]message.Event, 0, len(events))
	for _, e := range events {
		data := map[string]string{}
		for _, name := range []string{"state", "class", "route", "via", "reference", "kind", "platform", "verdict", "sha256", "reason"} {
			if v, ok := e.Data[name]; ok {
				data[name] = v
			}
		}
		e.Data = data
		s.Events = append(s.Events, e)
	}
	return s
}

// record writes what the gateway has recorded: envelope, recipients, events.
func (w *messageWriter) record() error {
	ref, err := w.file("verarbeitung.json", ".json", "original", func(out io.Writer) error {
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(lasting(w.m.Story))
	})
	if err != nil {
		return err
	}
	w.document("Aufzeichnung des Gateways", "Verarbeitungsnachweis", "", w.m.Story.Envelope.Received, nil, ref)
	return nil
}

func (w *messageWriter) dossier(n int) dossier {
	env := w.m.Story.Envelope
	days := span{}
	days.with(env.Received)
	for _, r := range w.m.Story.Receipts {
		days.with(r.Received)
	}
	first := w.m.Story.Items[0]
	d := dossier{
		ID: fmt.Sprintf("d%06d", n), Titel: cut(w.title(), text3), Form: "digital", Zeitraum: days.zeitraum(), Datenschutz: true,
		Aktenzeichen: cut(first.Filed.Ref, text2), Dokumente: w.docs, Zusatz: additional(w.facts()),
	}
	d.Klassifikation = w.classification()
	return d
}

// classification is the strictest class among the recipients, whose addresses may carry
// marks of their own; "" where there is nothing to protect.
func (w *messageWriter) classification() string {
	for _, c := range []message.Class{message.Registered, message.Personal, message.Confidential} {
		if slices.ContainsFunc(w.m.Story.Items, func(i message.Item) bool { return i.Decision.Class == c }) {
			return string(c)
		}
	}
	return ""
}

func (w *messageWriter) facts() []merkmal {
	facts := []merkmal{{"Richtung", string(w.m.Story.Envelope.Direction)}}
	for _, i := range w.m.Story.Items {
		n := fmt.Sprintf("Empfänger %d: ", i.Key.N)
		facts = append(facts, merkmal{n + "Adresse", i.Recipient.Address.String()}, merkmal{n + "Klasse", string(i.Decision.Class)}, merkmal{n + "Weg", i.Decision.Via},
			merkmal{n + "Stand", string(i.State)}, merkmal{n + "Referenz", i.Reference}, merkmal{n + "Zustellung", string(i.Case)}, merkmal{n + "Plattformzeit", instant(i.CaseAt)},
			merkmal{n + "Kennung der Plattform", i.RemoteID}, merkmal{n + "Ablage", strings.TrimSpace(string(i.Filed.Disposition) + " " + i.Filed.Ref)})
	}
	return facts
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// add lays a dossier into the position of its direction.
func (a *ablieferung) add(m Message, d dossier) {
	id, title := "o1", "Empfangene Nachrichten"
	switch m.Story.Envelope.Direction {
	case message.Outbound:
		id, title = "o2", "Gesendete Nachrichten"
	case message.Notice:
		id, title = "o3", "Meldungen des Gateways"
	}
	for i := range a.Positionen {
		if a.Positionen[i].ID == id {
			a.Positionen[i].Dossiers = append(a.Positionen[i].Dossiers, d)
			return
		}
	}
	a.Positionen = append(a.Positionen, position{ID: id, Nummer: id[1:], Titel: title, Dossiers: []dossier{d}})
}
