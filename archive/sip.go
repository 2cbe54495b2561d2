package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"gatewayd/calendar"
)

// Delivery is what one SIP delivers.
type Delivery struct {
	Schemas   string    // folder of the XSDs (CheckSchemas)
	Authority string    // its id in the configuration: stands in the name of the folder
	Name      string    // of the authority, for people
	Software  string    // name and version of the program
	Created   time.Time // its day stands in the name of the folder
	Number    string    // Ablieferungsnummer, as agreed with the archive; may be empty
	Offer     string    // Angebotsnummer; may be empty
	Appraisal string    // reference of the archive's decision on what it takes; may be empty
	Messages  []Message
}

// maxPath bounds a path inside a SIP, as archives ask for.
const maxPath = 180

var folderPart = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$`)

// Write writes a SIP as a new folder below dir and returns its path. After an
// error nothing of it is left.
func Write(dir string, d Delivery) (path string, err error) {
	switch {
	case len(d.Messages) == 0:
		return "", errors.New("a SIP of no message")
	case !folderPart.MatchString(d.Authority):
		return "", fmt.Errorf("authority %q cannot stand in the name of a folder", d.Authority)
	}
	for _, m := range d.Messages {
		if err := m.check(); err != nil {
			return "", err
		}
	}
	if err := CheckSchemas(d.Schemas); err != nil {
		return "", err
	}
	name := "SIP_" + calendar.DayOf(d.Created).Start().Format("20060102") + "_" + d.Authority
	if ref := strings.Trim(unsafeName.ReplaceAllString(d.Number, "-"), "-"); ref != "" {
		name += "_" + ref[:min(len(ref), 40)]
	}
	path = filepath.Join(dir, name)
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("%s is there already: move it away, or give this delivery another number", path)
	}
	part, err := os.MkdirTemp(dir, name+".part-")
	if err != nil {
		return "", err
	}
	s := &sip{dir: part, files: 0}
	if err = s.write(d); err == nil {
		err = syncFolders(part)
	}
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(part))
	}
	return path, syncFolder(dir)
}

// syncFolders makes the names in a folder and those below it durable: once the
// archive has the package, its content is erased here.
func syncFolders(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return syncFolder(path)
	})
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

var unsafeName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// sip is one under construction.
type sip struct {
	dir   string
	files int // number of the last file of content
}

func (s *sip) write(d Delivery) error {
	header, err := s.schemas(d.Schemas)
	if err != nil {
		return err
	}
	p := paket{
		Namespace: namespace, XSI: "http://www.w3.org/2001/XMLSchema-instance", Type: "paketSIP", Version: schemaVersion, PaketTyp: "SIP",
	}
	content := ordner{Name: "content"}
	p.Abgelegtes = newAblieferung(d)
	for n, m := range d.Messages {
		folder, dos, err := s.message(n+1, m)
		if err != nil {
			return fmt.Errorf("message %s: %w", m.Story.Envelope.ID, err)
		}
		content.Ordner = append(content.Ordner, folder)
		p.Abgelegtes.add(m, dos)
	}
	p.Inhalt = []ordner{header, content}
	return s.metadata(p)
}

func (s *sip) metadata(p paket) error {
	f, err := s.create("header", "metadata.xml")
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, xml.Header)
	e := xml.NewEncoder(f)
	e.Indent("", "  ")
	return errors.Join(err, e.Encode(p), f.Sync(), f.Close())
}

// schemas copies the XSDs and lists them.
func (s *sip) schemas(from string) (ordner, error) {
	xsd := ordner{Name: "xsd"}
	for n, name := range schemaFiles {
		in, err := os.Open(filepath.Join(from, name))
		if err != nil {
			return xsd, err
		}
		sum, err := s.put("header/xsd", name, func(w io.Writer) error { _, err := io.Copy(w, io.LimitReader(in, maxSchema)); return err })
		in.Close()
		if err != nil {
			return xsd, err
		}
		xsd.Dateien = append(xsd.Dateien, datei{ID: fmt.Sprintf("x%06d", n+1), Name: name, Algorithmus: "SHA-256", Summe: sum})
	}
	return ordner{Name: "header", Ordner: []ordner{xsd}}, nil
}

// put writes one file and returns its SHA-256.
func (s *sip) put(folder, name string, fill func(io.Writer) error) (string, error) {
	f, err := s.create(folder, name)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	err = fill(io.MultiWriter(f, h))
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Sync(), f.Close())
}

func (s *sip) create(folder, name string) (*os.File, error) {
	if len(folder)+len(name) > maxPath-60 { // the name of the SIP itself comes before it
		return nil, fmt.Errorf("path %s/%s is too long for an archive", folder, name)
	}
	dir := filepath.Join(s.dir, filepath.FromSlash(folder))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func newAblieferung(d Delivery) ablieferung {
	days := span{}
	for _, m := range d.Messages {
		days.with(m.Story.Envelope.Received)
		for _, r := range m.Story.Receipts {
			days.with(r.Received)
		}
	}
	return ablieferung{
		Type: "ablieferungFilesSIP", Typ: "FILES", Stelle: cut(d.Name, text2), Zeitraum: days.zeitraum(),
		Bemerkung: "Nachrichten mit Quittungen aus einem Mail-Gateway. Die Quittungen der Plattformen sind Originale, alles Übrige sind Aufzeichnungen des Gateways.",
		Nummer:    cut(d.Number, text1), Angebot: cut(d.Offer, text1), Bewertung: cut(d.Appraisal, text1),
		Provenienz: provenienz{
			Aktenbildner: cut(d.Name, text2), System: cut(d.Software, text3), Beschreibung: "Mail-Gateway für Behörden mit Anschluss an anerkannte Zustellplattformen",
			Loeschung: "Vo E-GovG BL § 11: Inhalte werden nach längstens zwei Monaten gelöscht, Protokolldaten nach sechs Monaten",
		},
		OSName: "Nachrichten",
	}
}

// span is the days from the first to the last instant.
type span struct{ from, to time.Time }

func (s *span) with(at time.Time) {
	if at.IsZero() {
		return
	}
	if s.from.IsZero() || at.Before(s.from) {
		s.from = at
	}
	if at.After(s.to) {
		s.to = at
	}
}

func (s span) zeitraum() zeitraum {
	return zeitraum{calendar.DayOf(s.from).String(), calendar.DayOf(s.to).String()}
}
