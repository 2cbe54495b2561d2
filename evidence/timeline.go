package evidence

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"codeberg.org/go-pdf/fpdf"

	"gatewayd/calendar"
	"gatewayd/legal"
	"gatewayd/message"
)

// maxRows bounds each table of the timeline; evidence.json has all.
const maxRows = 400

// page is the timeline while it is written. Letters outside of WinAnsi appear
// as dots; evidence.json has them.
type page struct {
	pdf *fpdf.Fpdf
	tr  func(string) string
}

// timelinePDF writes the case for people to read, in German. The same record
// gives the same octets.
func timelinePDF(r Record, now time.Time) ([]byte, error) {
	pdf := fpdf.New("P", "mm", "A4", "")
	pdf.SetCatalogSort(true)
	pdf.SetCreationDate(now)
	pdf.SetModificationDate(now)
	pdf.SetProducer("gatewayd", false)
	pdf.SetTitle("Nachweisdossier "+r.ID, false)
	pdf.SetMargins(18, 16, 18)
	pdf.SetAutoPageBreak(true, 18)
	p := page{pdf, pdf.UnicodeTranslatorFromDescriptor("")}
	pdf.SetFooterFunc(func() {
		pdf.SetY(-13)
		pdf.SetFont("Helvetica", "", 7)
		pdf.CellFormat(0, 4, p.tr(fmt.Sprintf("Nachweisdossier %s · Seite %d · Hilfe, nicht verbindlich; keine Quittung einer Zustellplattform", r.ID, pdf.PageNo())), "", 0, "C", false, 0, "")
	})
	pdf.AddPage()
	p.head(r)
	p.service(r.Case)
	p.receipts(r.Receipts)
	p.trail(r.Case)
	p.rest(r)
	var b bytes.Buffer
	if err := pdf.Output(&b); err != nil {
		return nil, fmt.Errorf("timeline: %w", err)
	}
	return b.Bytes(), nil
}

func (p page) title(text string) {
	p.pdf.Ln(3)
	p.pdf.SetFont("Helvetica", "B", 11)
	p.pdf.CellFormat(0, 7, p.tr(text), "B", 1, "L", false, 0, "")
	p.pdf.Ln(1)
}

// line writes a name and its value; nothing for no value.
func (p page) line(name, value string) {
	if value == "" {
		return
	}
	p.pdf.SetFont("Helvetica", "", 9)
	p.pdf.CellFormat(40, 5, p.tr(name), "", 0, "L", false, 0, "")
	p.text(value)
}

func (p page) text(value string) {
	p.pdf.SetFont("Helvetica", "", 9)
	p.pdf.MultiCell(0, 5, p.tr(clean(value)), "", "L", false)
}

// clean bounds a value and takes control characters out.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	runes := []rune(s)
	if len(runes) > 600 {
		return string(runes[:600]) + " …"
	}
	return s
}

func (p page) head(r Record) {
	p.pdf.SetFont("Helvetica", "B", 16)
	p.pdf.CellFormat(0, 9, p.tr("Nachweisdossier"), "", 1, "L", false, 0, "")
	p.text(r.Note)
	p.title("Sendung")
	p.line("Behörde", r.Sender.Name+" ("+r.Sender.Authority+")")
	p.line("Absender", r.Sender.Address)
	p.line("Adressat/in", r.Recipient.Address)
	p.line("Kennung", fmt.Sprintf("%s, Empfänger/in Nr. %d", r.Subject.Message, r.Subject.Recipient))
	p.line("Referenz", r.Subject.Reference)
	p.line("Plattform", r.Subject.Platform+" "+r.Subject.Tracking)
	p.line("Versandart", r.Route.Mode)
	p.line("Inhalt SHA-256", r.Content.SHA256.String()+fmt.Sprintf(" (%d Oktette)", r.Content.Size))
	if r.Content.Form != FileMessage {
		p.line("", "Der Inhalt liegt nicht bei: gelöscht "+at(r.Content.Erased))
	}
	for i, part := range r.Content.Parts {
		if part.Name != "" && i < maxRows {
			p.line("  Beilage", fmt.Sprintf("%s, %s, %d Oktette, SHA-256 %s", part.Name, part.Type, part.Size, part.SHA256))
		}
	}
	a := r.Recipient
	identified := "nicht identifiziert"
	if a.Identified {
		identified = "identifiziert, geprüft " + a.Checked
	}
	p.line("Postfach", identified)
	p.line("Zustimmung", a.Consent)
	expects := map[legal.Answer]string{legal.Yes: "ja", legal.No: "nein", legal.Unknown: "nicht gesagt"}[a.Expects]
	if a.SaidBy != "" {
		expects += " (" + a.SaidBy + ": " + a.SaidWhy + ")"
	}
	p.line("musste rechnen mit", expects)
}

func (p page) service(c legal.Case) {
	p.title("Zustellung (berechnet, nicht verbindlich)")
	p.line("Stand", stateGerman(c.State))
	p.line("", c.Because)
	p.line("Zustelldatum", serviceGerman(c.Service))
	if !c.Expected.IsZero() && c.Service.Date.IsZero() {
		p.line("erwartet", dayGerman(c.Expected)+", wenn niemand abholt")
	}
	if c.Alternative != nil {
		p.line("andere Lesart", serviceGerman(*c.Alternative))
	}
	for _, d := range c.Periods {
		p.line("Frist "+string(d.Profile), fmt.Sprintf("%d Tage, letzter Tag %s (%s; Feiertage %s %s)", d.Days, dayGerman(d.Last), d.Law, d.Calendar, d.Version))
	}
	for i, v := range c.Versions {
		if i < maxRows {
			text := fmt.Sprintf("%s: %s, %s", at(v.At), stateGerman(v.State), serviceGerman(v.Service))
			if v.Corrects > 0 {
				text += fmt.Sprintf("; berichtigt Fassung %d", v.Corrects)
			}
			p.line(fmt.Sprintf("Fassung %d", v.N), text)
		}
	}
	for _, t := range c.Tasks {
		state := "offen"
		if !t.Closed.IsZero() {
			state = "erledigt " + at(t.Closed) + " von " + t.By + ": " + t.How
		}
		p.line("Aufgabe", t.Text+" – "+state)
	}
}

func (p page) receipts(list []Receipt) {
	p.title("Quittungen der Plattform")
	if len(list) == 0 {
		p.text("keine")
	}
	for i, r := range list {
		if i == maxRows {
			break
		}
		p.line(string(r.Kind), fmt.Sprintf("%s, Zeit der Plattform %s, bei uns %s", r.Platform, at(r.PlatformAt), at(r.GatewayAt)))
		worth := map[message.Authenticity]string{
			message.Verified: "geprüft, Siegel gut", message.Unsigned: "ohne Siegel: Hinweis, beweist nichts",
			message.Untrusted: "Siegel ohne Vertrauensanker: beweist nichts", message.Forged: "SIEGEL GEBROCHEN: zählt nicht",
		}[r.Verdict]
		if r.Verdict != message.Verified {
			worth += " (" + r.Detail + ")"
		}
		p.line("", worth)
		if r.Certificate != nil {
			p.line("  gesiegelt von", r.Certificate.Subject)
		}
		p.line("  stimmt überein", r.Fits)
		p.line("  abweichend", r.Mismatch)
		p.line("  Datei", r.File)
		p.line("  SHA-256", r.SHA256.String())
	}
}

func (p page) trail(c legal.Case) {
	p.title("Verlauf")
	for i, e := range c.Trail {
		if i == maxRows {
			p.text("… weitere in evidence.json")
			break
		}
		text := legal.MeaningOf(e.Code).German
		if text == "" {
			text = string(e.Code)
		}
		if !e.Platform.IsZero() {
			text += ", Zeit der Plattform " + at(e.Platform)
		}
		if e.Detail != "" {
			text += " (" + e.Detail + ")"
		}
		p.line(at(e.Gateway), text)
	}
}

func (p page) rest(r Record) {
	p.title("Siegel dieses Dossiers")
	p.line("gesiegelt von", r.Seal.Certificate.Subject)
	p.line("Aussteller", r.Seal.Certificate.Issuer)
	p.line("Zertifikat SHA-256", r.Seal.Certificate.SHA256)
	p.line("Qualität", r.Seal.Quality)
	p.line("erstellt", at(r.Created)+" von "+r.Gateway.Software+" auf "+r.Gateway.Host)
}

// at writes an instant in legal time.
func at(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.In(calendar.Zone()).Format("02.01.2006 15:04:05 MST")
}

func dayGerman(d calendar.Day) string {
	return []string{"So", "Mo", "Di", "Mi", "Do", "Fr", "Sa"}[d.Weekday()] + fmt.Sprintf(" %02d.%02d.%04d", d.Day, int(d.Month), d.Year)
}

func serviceGerman(s legal.Service) string {
	basis := map[legal.Basis]string{legal.Download: "abgeholt", legal.Fiction: "Zustellfiktion", legal.Refusal: "Annahmeverweigerung"}[s.Basis]
	if s.Date.IsZero() {
		return "keines"
	}
	text := dayGerman(s.Date) + ", " + basis
	if s.Rule != "" {
		text += " – " + s.Rule
	}
	return text
}

func stateGerman(s legal.State) string {
	text := map[legal.State]string{
		legal.Held: "zurückgehalten", legal.Queued: "wartet auf Versand", legal.Submitting: "wird übergeben", legal.Uncertain: "Übergabe ungewiss",
		legal.Returned: "zurück an die Behörde, nie versandt", legal.Submitted: "übergeben, Abgabequittung steht aus", legal.ReceiptMissing: "Abgabequittung überfällig",
		legal.Available: "bereit zur Abholung", legal.Relayed: "bei der anderen Plattform bereit", legal.RefusedWait: "Annahme verweigert, siebter Tag läuft",
		legal.Undecided: "eine Person muss entscheiden", legal.Served: "zugestellt", legal.ServedByFiction: "zugestellt durch Fiktion",
		legal.NotServed: "nicht zugestellt", legal.EvidenceInvalid: "Quittung passt nicht zum Inhalt",
	}[s]
	if text == "" {
		return string(s)
	}
	return text
}
