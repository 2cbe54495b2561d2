package legal

import "gatewayd/message"

// Code is the canonical name of an evidence event (docs/law.md § 8).
type Code string

// The codes that this gateway writes.
const (
	GWAccepted        Code = "GW_ACCEPTED"
	GWRejected        Code = "GW_REJECTED"
	GateConsent       Code = "GATE_CONSENT"
	CodeSubmitted     Code = "SUBMITTED"
	SubmitRejected    Code = "SUBMIT_REJECTED"
	CodeRelayed       Code = "RELAYED"
	CodeAvailable     Code = "AVAILABLE"
	AvailableFailed   Code = "AVAILABLE_FAILED"
	Collected         Code = "COLLECTED"
	CodeRefused       Code = "REFUSED"
	CodeExpired       Code = "EXPIRED"
	FictionReached    Code = "FICTION_REACHED"
	DSNFailed         Code = "DSN_FAILED"
	MDNDisplayed      Code = "MDN_DISPLAYED"
	EvidenceMismatch  Code = "EVIDENCE_MISMATCH"
	CodeInvalid       Code = "EVIDENCE_INVALID"
	CodeUnverified    Code = "UNVERIFIED"
	CodeHandedOver    Code = "IN_HANDED_OVER"
	Destroyed         Code = "DESTROYED"
	CodeStated        Code = "STATED"
	CodeTaskClosed    Code = "TASK_CLOSED"
	CodeHandedToPlatf Code = "HANDED"
)

// Meaning is one line of the table of evidence.
type Meaning struct {
	Code   Code
	German string // for people
	Issuer string // "platform", "gateway", "mail system", "authority"
	Weight string // German: what it is worth in law
	ETSI   string // event of EN 319 522-1 clause 6; "" if it has none
}

// Meanings is the table of evidence.
func Meanings() []Meaning {
	const none = "keines (interner Beleg)"
	return []Meaning{
		{GWAccepted, "vom Gateway angenommen", "gateway", none, ""},
		{GWRejected, "vom Gateway zurückgewiesen", "gateway", none, ""},
		{GateConsent, "Zustimmung und Eintrag geprüft", "gateway", "belegt Sorgfalt", ""},
		{CodeHandedToPlatf, "von der Plattform entgegengenommen (SMTP-Antwort)", "gateway", none, ""},
		{CodeSubmitted, "Abgabequittung: die Plattform hat die Sendung für die Adressatin", "platform", "Nachweis des Versands", "SubmissionAcceptance"},
		{SubmitRejected, "von der Plattform abgewiesen", "platform", "keines; nicht zugestellt", "SubmissionRejection"},
		{CodeRelayed, "an die andere Plattform weitergegeben", "platform", "für sich keines", "RelayAcceptance"},
		{CodeAvailable, "im Postfach bereitgestellt", "platform", "erster Zustellversuch, Tag 0", "ContentConsignment"},
		{AvailableFailed, "Postfach nicht erreichbar", "platform", "keines; nicht zugestellt", "ContentConsignmentFailure"},
		{Collected, "Abholquittung: abgeholt", "platform", "Zeitpunkt der Zustellung", "ContentHandover"},
		{CodeRefused, "Annahme verweigert", "platform", "die Frist von sieben Tagen läuft; Wirkung der Verweigerung umstritten", "ConsignmentRejection"},
		{CodeExpired, "nicht abgeholt (Verfallquittung)", "platform", "Beleg für die Zustellfiktion", "AcceptanceRejectionExpiry"},
		{FictionReached, "siebter Tag vorbei", "gateway", "berechnet, nicht verbindlich", ""},
		{DSNFailed, "Mailsystem meldet einen Fehler", "mail system", "nur technisch", ""},
		{MDNDisplayed, "Mailprogramm meldet «angezeigt»", "mail system", "schwacher Hinweis, fälschbar", ""},
		{EvidenceMismatch, "Quittung nennt einen anderen Inhalt", "gateway", "sperrt die rechtlichen Zustände", ""},
		{CodeInvalid, "Siegel der Quittung gebrochen", "gateway", "zählt nicht", ""},
		{CodeUnverified, "nicht prüfbare Meldung einer Plattform", "gateway", "Hinweis, zählt nicht", ""},
		{CodeStated, "Angabe der Behörde", "authority", "Grundlage der Berechnung", ""},
		{CodeTaskClosed, "Aufgabe erledigt", "authority", none, ""},
		{CodeHandedOver, "von der Geschäftsverwaltung übernommen", "authority", "intern", ""},
		{Destroyed, "Inhalt im Gateway vernichtet", "gateway", "Vo E-GovG BL § 11", ""},
	}
}

// MeaningOf returns the line of a code.
func MeaningOf(c Code) Meaning {
	for _, m := range Meanings() {
		if m.Code == c {
			return m
		}
	}
	return Meaning{Code: c}
}

// codeOf says what a verified receipt is evidence of.
func codeOf(k message.ReceiptKind) Code {
	switch k {
	case message.Abgabequittung, message.ArchiveCopy:
		return CodeSubmitted
	case message.Bereitstellung:
		return CodeAvailable
	case message.Weitergabe:
		return CodeRelayed
	case message.Abholquittung:
		return Collected
	case message.Annahmeverweigerung:
		return CodeRefused
	case message.Verfallquittung:
		return CodeExpired
	case message.NoticeBlocked:
		return SubmitRejected
	case message.NoticeUndelivered:
		return AvailableFailed
	}
	return CodeUnverified
}
