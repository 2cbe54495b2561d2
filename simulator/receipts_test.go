package simulator

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

const subject = "=?UTF-8?Q?[BL-7F3K9Q2M]_Verf=C3=BCgung_betreffend_Baugesuch?="

func TestIncaMailReceipts(t *testing.T) {
	w := newWorld(t)
	w.profile(w.inca, citizen, "native")
	w.mustSubmit(w.inca, citizen, "<r> "+subject)
	w.clock.Advance(26 * time.Hour) // over the change to winter time
	if err := w.inca.Accept(w.inca.Messages()[0].ID); err != nil {
		t.Fatal(err)
	}
	w.flush()
	want := []string{
		"Abgabequittung: [BL-7F3K9Q2M] Verfügung betreffend Baugesuch",
		"Abholquittung: [BL-7F3K9Q2M] Verfügung betreffend Baugesuch",
	}
	if got := w.subjects(); !slices.Equal(got, want) {
		t.Fatalf("subjects %q, want %q", got, want)
	}
	d := w.sink.all()[0]
	if !strings.HasPrefix(d.from, "swisspost+") || !strings.HasSuffix(d.from, "@im.post.ch") {
		t.Errorf("MAIL FROM %q", d.from)
	}
	if got := parse(t, d.raw).header.Get("From"); got != `"IncaMail" <swisspost@im.post.ch>` {
		t.Errorf("From %q", got)
	}
	sum := sha256.Sum256([]byte(body))
	times := []string{"2026-10-24T12:00:00+02:00", "2026-10-25T13:00:00+01:00"}
	for i, doc := range w.documents() {
		has(t, "pdfsig", pdfsigSays(t, doc), "Signature is Valid", "Total document signed")
		has(t, "text", pdfText(t, doc), "IncaMail Ab", "Absender: "+authority, "Empfänger: "+citizen,
			"Betreff: [BL-7F3K9Q2M] Verfügung betreffend Baugesuch", "Zeitpunkt: "+times[i],
			"SHA-256: "+hex.EncodeToString(sum[:]))
	}
	if n := len(w.documents()); n != 2 {
		t.Errorf("%d documents, want 2", n)
	}
	// The citizen has the same documents.
	sent := w.inca.Sent()
	var theirs int
	for _, s := range sent {
		if s.To == citizen && s.Kind != "" && s.Done && !s.Local {
			theirs++
		}
	}
	if theirs != 2 {
		t.Errorf("the recipient has %d receipts, want 2", theirs)
	}
}

func TestPrivaSphereReceipts(t *testing.T) {
	w := newWorld(t)
	w.profile(w.psph, citizen, "native")
	w.mustSubmit(w.psph, citizen, "<egov> "+subject)
	w.clock.Advance(26 * time.Hour)
	if err := w.psph.Refuse(w.psph.Messages()[0].ID); err != nil {
		t.Fatal(err)
	}
	w.flush()
	want := []string{
		"Archivkopie: [BL-7F3K9Q2M] Verfügung betreffend Baugesuch",
		"Lesebestätigung: [BL-7F3K9Q2M] Verfügung betreffend Baugesuch",
	}
	if got := w.subjects(); !slices.Equal(got, want) {
		t.Fatalf("subjects %q, want %q", got, want)
	}
	docs := w.documents()
	const record = "<f>" + authority + "</f><i>6</i><s>Sat Oct 24 12:00:00 CEST 2026</s><t>" + citizen +
		"</t><u>[BL-7F3K9Q2M] Verfügung betreffend Bauge</u></rM>"
	has(t, "archive copy", pdfText(t, docs[0]), "PrivaSphere Abgabequittung", "<rM>"+record)
	has(t, "read receipt", pdfText(t, docs[1]), "PrivaSphere Lesebestätigung",
		"<rM><d>Sun Oct 25 13:00:00 CET 2026</d><dt>11</dt>"+record)
	for _, doc := range docs {
		has(t, "pdfsig", pdfsigSays(t, doc), "Signature is Valid", "Total document signed")
	}
	first := parse(t, w.sink.all()[0].raw)
	if _, ok := parse(t, w.sink.all()[1].raw).files["Lesebestätigung.pdf"]; !ok {
		t.Error("no file Lesebestätigung.pdf")
	}
	verifySMIME(t, w, first.files["Archivkopie.eml"])
}

// verifySMIME asks openssl about the archive copy.
func verifySMIME(t *testing.T, w *world, eml []byte) {
	t.Helper()
	ca := writeFile(t, "ca.pem", w.pki.ca.PEM())
	out := writeFile(t, "out", nil)
	cmd := exec.Command(tool(t, "openssl", "openssl"), "cms", "-verify", "-in", writeFile(t, "a.eml", eml), "-CAfile", ca, "-out", out)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl cms -verify: %v: %s", err, msg)
	}
	content, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(content), mail(authority, citizen, "<egov> "+subject)) {
		t.Errorf("archive copy holds something else:\n%s", content)
	}
}

// TestDocuments signs each kind on each platform; the code tells them apart.
func TestEndsAndCodes(t *testing.T) {
	tests := []struct {
		profile, act string
		state        State
		inca         string // title of the last receipt
		code         string
	}{
		{"native", "accept", PickedUp, "Abholquittung", "<dt>0</dt>"},
		{"business", "accept", PickedUp, "Abholquittung", "<dt>7</dt>"},
		{"auto-accept", "", PickedUp, "Abholquittung", "<dt>19</dt>"},
		{"native", "refuse", Refused, "Annahmeverweigerungsquittung", "<dt>11</dt>"},
		{"native", "expire", Expired, "Verfallquittung", "<dt>12</dt>"},
		{"native accepts-after:2d", "expire", PickedUp, "Abholquittung", "<dt>0</dt>"},
		{"business refuses-after:3h", "expire", Refused, "Annahmeverweigerungsquittung", "<dt>11</dt>"},
		{"native ignores", "expire", Expired, "Verfallquittung", "<dt>12</dt>"},
		{"native accepts-after:8d", "expire", Expired, "Verfallquittung", "<dt>12</dt>"},
	}
	for _, tt := range tests {
		t.Run(tt.profile+" "+tt.act, func(t *testing.T) {
			w := newWorld(t)
			for p, tag := range map[*Platform]string{w.inca: "<r> ", w.psph: "<egov> "} {
				w.profile(p, citizen, tt.profile)
				w.mustSubmit(p, citizen, tag+"[BL-1] x")
				id := p.Messages()[0].ID
				var err error
				switch tt.act {
				case "accept":
					err = p.Accept(id)
				case "refuse":
					err = p.Refuse(id)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if tt.act == "expire" {
				w.advance(9 * 24 * time.Hour)
			}
			w.flush()
			for _, p := range []*Platform{w.inca, w.psph} {
				if got := w.state(p); got != tt.state {
					t.Errorf("%s: state %s, want %s", p.o.Kind, got, tt.state)
				}
				if got := len(p.Messages()[0].Receipts); got != 2 {
					t.Errorf("%s: %d receipts, want 2", p.o.Kind, got)
				}
			}
			var text strings.Builder
			for _, doc := range w.documents() {
				text.WriteString(pdfText(t, doc))
			}
			if n := len(w.documents()); n != 4 {
				t.Errorf("%d documents, want 4", n)
			}
			has(t, "documents", text.String(), "IncaMail "+tt.inca, tt.code)
		})
	}
}
