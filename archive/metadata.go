package archive

import (
	"encoding/xml"
	"strings"
	"unicode/utf8"
)

// The elements of metadata.xml, in the order of the schemas (eCH-0160 version
// 1.2, arelda.xsd).

type paket struct {
	XMLName    xml.Name    `xml:"paket"`
	Namespace  string      `xml:"xmlns,attr"`
	XSI        string      `xml:"xmlns:xsi,attr"`
	Type       string      `xml:"xsi:type,attr"`
	Version    string      `xml:"schemaVersion,attr"`
	PaketTyp   string      `xml:"paketTyp"`
	Inhalt     []ordner    `xml:"inhaltsverzeichnis>ordner"`
	Abgelegtes ablieferung `xml:"ablieferung"`
}

type ordner struct {
	Name         string   `xml:"name"`
	OriginalName string   `xml:"originalName,omitempty"`
	Ordner       []ordner `xml:"ordner"`
	Dateien      []datei  `xml:"datei"`
}

type datei struct {
	ID           string `xml:"id,attr"`
	Name         string `xml:"name"`
	OriginalName string `xml:"originalName,omitempty"`
	Algorithmus  string `xml:"pruefalgorithmus"`
	Summe        string `xml:"pruefsumme"`
}

type ablieferung struct {
	Type       string     `xml:"xsi:type,attr"`
	Typ        string     `xml:"ablieferungstyp"`
	Stelle     string     `xml:"ablieferndeStelle"`
	Zeitraum   zeitraum   `xml:"entstehungszeitraum"`
	Bemerkung  string     `xml:"bemerkung,omitempty"`
	Nummer     string     `xml:"ablieferungsnummer,omitempty"`
	Angebot    string     `xml:"angebotsnummer,omitempty"`
	Bewertung  string     `xml:"referenzBewertungsentscheid,omitempty"`
	Provenienz provenienz `xml:"provenienz"`
	OSName     string     `xml:"ordnungssystem>name"`
	Positionen []position `xml:"ordnungssystem>ordnungssystemposition"`
}

type zeitraum struct {
	Von string `xml:"von>datum"`
	Bis string `xml:"bis>datum"`
}

type provenienz struct {
	Aktenbildner string `xml:"aktenbildnerName"`
	System       string `xml:"systemName"`
	Beschreibung string `xml:"systemBeschreibung"`
	Loeschung    string `xml:"archivierungsmodusLoeschvorschriften"`
}

type position struct {
	ID       string    `xml:"id,attr"`
	Nummer   string    `xml:"nummer"`
	Titel    string    `xml:"titel"`
	Dossiers []dossier `xml:"dossier"`
}

type dossier struct {
	ID             string     `xml:"id,attr"`
	Titel          string     `xml:"titel"`
	Form           string     `xml:"erscheinungsform"`
	Zeitraum       zeitraum   `xml:"entstehungszeitraum"`
	Klassifikation string     `xml:"klassifizierungskategorie,omitempty"`
	Datenschutz    bool       `xml:"datenschutz"`
	Bemerkung      string     `xml:"bemerkung,omitempty"`
	Zusatz         *zusatz    `xml:"zusatzDaten"`
	Aktenzeichen   string     `xml:"aktenzeichen,omitempty"`
	Dokumente      []dokument `xml:"dokument"`
}

type dokument struct {
	ID      string     `xml:"id,attr"`
	Titel   string     `xml:"titel"`
	Autor   string     `xml:"autor,omitempty"`
	Form    string     `xml:"erscheinungsform"`
	Typ     string     `xml:"dokumenttyp"`
	Datum   string     `xml:"registrierdatum>datum"`
	Zusatz  *zusatz    `xml:"zusatzDaten"`
	Dateien []dateiRef `xml:"dateiRef"`
}

type dateiRef struct {
	Art string `xml:"repraesentation,attr,omitempty"`
	ID  string `xml:",chardata"`
}

type zusatz struct {
	Merkmale []merkmal `xml:"merkmal"`
}

type merkmal struct {
	Name string `xml:"name,attr"`
	Text string `xml:",chardata"`
}

// Lengths of base.xsd, in characters.
const (
	text1 = 100
	text2 = 200
	text3 = 1000
)

// cut makes a text fit: on one line, at most max characters, the last an ellipsis
// if something was cut off.
func cut(s string, max int) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
	if utf8.RuneCountInString(s) <= max {
		return s
	}
	return string([]rune(s)[:max-1]) + "…"
}
