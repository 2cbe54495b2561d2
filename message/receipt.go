package message

import "time"

// ReceiptKind is what a platform's document says.
type ReceiptKind string

// The kinds of receipts and notices, with the platforms' German names. The
// gateway never issues one of them itself.
const (
	Abgabequittung      ReceiptKind = "abgabequittung"      // the platform has it for the addressee
	Bereitstellung      ReceiptKind = "bereitstellung"      // it lies in the addressee's mailbox
	Abholquittung       ReceiptKind = "abholquittung"       // the addressee collected it
	Annahmeverweigerung ReceiptKind = "annahmeverweigerung" // the addressee refused it
	Verfallquittung     ReceiptKind = "verfallquittung"     // not collected within the window (Nichtabholung)
	Weitergabe          ReceiptKind = "weitergabe"          // handed to the other recognised platform; not an end
	NoticeBlocked       ReceiptKind = "blocked"             // the recipient takes no registered mail
	NoticeUndelivered   ReceiptKind = "undelivered"         // the recipient's system rejected it
	ArchiveCopy         ReceiptKind = "archive_copy"        // PrivaSphere: signed copy of what was sent
	UnknownReceipt      ReceiptKind = "unknown"             // from a platform, but of no known kind: kept, shown
)

// Authenticity is what verification found.
type Authenticity string

// Values of Authenticity. Only Verified may close a case.
const (
	Verified  Authenticity = "verified"  // signature good, whole document covered, signer under a configured anchor
	Unsigned  Authenticity = "unsigned"  // informs, proves nothing
	Untrusted Authenticity = "untrusted" // signature good, but no configured anchor
	Forged    Authenticity = "forged"    // signature or coverage broken: alarm
)

// Receipt is one fact about one recipient, with the platform's own document
// byte for byte. A zero Item.Message means: not matched to any item; it is
// shown and never dropped.
type Receipt struct {
	ID        ID           `json:"id"`
	Item      ItemKey      `json:"item"`
	Authority string       `json:"authority"`
	Kind      ReceiptKind  `json:"kind"`
	Platform  string       `json:"platform"` // who issued it; may differ from who was asked to deliver
	At        time.Time    `json:"at"`       // the platform's time
	Received  time.Time    `json:"received"` // our time
	Verdict   Authenticity `json:"verdict"`
	Detail    string       `json:"detail,omitempty"`     // why, for a person
	Signer    string       `json:"signer,omitempty"`     // subject of the signing certificate
	MatchedBy string       `json:"matched_by,omitempty"` // rung of the ladder: "reference", "message-id", "recipient+time"
	Code      string       `json:"code,omitempty"`       // PrivaSphere dt code
	Fits      string       `json:"fits,omitempty"`       // what of the content it names as it was sent: "body, attachments (2)"
	Mismatch  string       `json:"mismatch,omitempty"`   // verified, but it names other content than was sent: how
	Mail      ID           `json:"mail"`                 // the inbound message that carried it
	Document  Ref          `json:"document,omitzero"`    // vault blob, log family
	Status    []Status     `json:"status,omitempty"`     // what issuers said of the seal's certificates when it came
	Digest    Digest       `json:"sha256"`               // of the document
	FileName  string       `json:"file_name,omitempty"`
	MediaType string       `json:"media_type,omitempty"`
}

// Status is what an issuer said about one certificate of a seal when the receipt
// came: kept as proof, because issuers forget.
type Status struct {
	Kind     string    `json:"kind"`             // "ocsp" or "crl"
	Of       Digest    `json:"certificate"`      // SHA-256 of the certificate
	At       time.Time `json:"at"`               // when it was asked
	Revoked  time.Time `json:"revoked,omitzero"` // since when; zero: not revoked
	Document Ref       `json:"document"`         // the answer itself: vault blob, log family
	Digest   Digest    `json:"sha256"`           // of the answer
}
