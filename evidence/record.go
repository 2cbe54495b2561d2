package evidence

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"time"

	"gatewayd/crypto/path"
	"gatewayd/legal"
	"gatewayd/message"
)

// Record is evidence.json: what the gateway knows of one delivery case. The
// platforms' times and the gateway's stand apart everywhere.
type Record struct {
	Schema    string       `json:"schema"`
	Version   int          `json:"version"`     // counts the bundles of this delivery case
	ID        string       `json:"evidence_id"` // UUID version 7 (RFC 9562)
	Policy    string       `json:"policy_id"`   // by which rules it was made: docs/evidence.md
	Created   time.Time    `json:"created"`
	Gateway   Maker        `json:"gateway"`
	Profile   string       `json:"legal_profile"`
	Previous  Previous     `json:"previous,omitzero"` // the bundle that this one supersedes
	Event     legal.Code   `json:"event,omitempty"`   // the last one that a platform has stated and proven
	Subject   Subject      `json:"subject"`
	Sender    Sender       `json:"sender"`
	Recipient Addressee    `json:"recipient"`
	Content   Content      `json:"content"`
	Times     Times        `json:"times"`
	Route     Route        `json:"route"`
	Receipts  []Receipt    `json:"receipts"`
	Case      legal.Case   `json:"case"`
	Chain     []AuditEntry `json:"audit,omitempty"`
	Seal      Seal         `json:"seal"`
	Binding   bool         `json:"binding"` // never
	Note      string       `json:"note"`
}

// Previous names the bundle of the same delivery case that was made before. Both
// stay true: a later one knows more.
type Previous struct {
	ID       string         `json:"supersedes"`                    // its evidence_id
	Evidence message.Digest `json:"prev_evidence_sha256,omitzero"` // of its evidence.json; bundles before version 2 of the form are named by their manifest
	Manifest message.Digest `json:"prev_manifest_sha256"`
}

// Maker is the gateway that has written a bundle.
type Maker struct {
	Host     string `json:"host"`
	Software string `json:"software"`
}

// Subject says which delivery it is about.
type Subject struct {
	Message         message.ID `json:"message"`
	Recipient       int        `json:"recipient_number"`
	Reference       string     `json:"reference,omitempty"`          // in the subject of what left
	MessageIDDigest string     `json:"message_id_sha256,omitempty"`  // of the client's Message-ID, with angle brackets
	SentAsDigest    string     `json:"sent_as_sha256,omitempty"`     // of the Message-ID under which it left
	Platform        string     `json:"platform,omitempty"`           // to which it was handed
	Tracking        string     `json:"platform_tracking,omitempty"`  // the platform's own id
	IdempotencyKey  string     `json:"idempotency_sha256,omitempty"` // of the client's key
}

// Sender is the authority.
type Sender struct {
	Authority string `json:"authority"`
	UID       string `json:"uid,omitempty"` // in the register of enterprises: CHE-123.456.789
	Name      string `json:"name,omitempty"`
	Address   string `json:"address"`
	Account   string `json:"account,omitempty"`
}

// Addressee is the recipient with what the case rests on.
type Addressee struct {
	Address string `json:"address"`
	legal.Addressee
}

// Content says which documents were sent.
type Content struct {
	Form   string         `json:"form"` // "message.eml", or "hash only"
	SHA256 message.Digest `json:"sha256"`
	Size   int64          `json:"size"`
	Body   message.Digest `json:"body_sha256,omitzero"` // what follows the header section, as platforms see it
	Erased time.Time      `json:"erased,omitzero"`
	Parts  []Part         `json:"parts,omitempty"` // only while the content is here
}

// Part is one leaf of the MIME tree; the digests are over its decoded octets.
type Part struct {
	N      int    `json:"part"`
	Name   string `json:"file_name,omitempty"`
	Type   string `json:"media_type"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	SHA512 string `json:"sha512"`
	Main   bool   `json:"main_document,omitempty"` // the first PDF that is attached
}

// Times are the gateway's own; the platform's stand on the receipts and in the
// case.
type Times struct {
	Zone     string    `json:"zone"` // in which legal days are counted
	Accepted time.Time `json:"gateway_accepted"`
	Handed   time.Time `json:"gateway_handed_over,omitzero"`
	Platform time.Time `json:"platform_time,omitzero"` // of the state of the case
	Source   string    `json:"platform_time_source,omitempty"`
	Clock    Clock     `json:"gateway_clock"` // when the bundle was made
}

// Clock is what the gateway's system says of its own clock.
type Clock struct {
	Source       string   `json:"ntp_source,omitempty"` // as configured
	Synchronised *bool    `json:"synchronised,omitempty"`
	Offset       *float64 `json:"clock_offset_ms,omitempty"`          // that the system still corrects
	Error        *float64 `json:"clock_estimated_error_ms,omitempty"` // nil, like the others: the system does not say
}

// Route is how it travelled: diligence.
type Route struct {
	Class   message.Class    `json:"class"`
	Name    string           `json:"route,omitempty"`
	Via     string           `json:"via,omitempty"`
	Mode    string           `json:"mode,omitempty"` // the platform's tag of registered mail
	Came    string           `json:"came_by,omitempty"`
	TLS     string           `json:"tls_in,omitempty"`
	TLSOut  string           `json:"tls_out,omitempty"`
	Reply   string           `json:"platform_reply,omitempty"`
	Because []message.Reason `json:"because,omitempty"`
}

// Receipt is one document of a platform in the bundle.
type Receipt struct {
	ID          message.ID           `json:"id"`
	Kind        message.ReceiptKind  `json:"kind"`
	Code        legal.Code           `json:"event"`
	Platform    string               `json:"platform"`
	File        string               `json:"file,omitempty"`
	SHA256      message.Digest       `json:"sha256"`
	MediaType   string               `json:"media_type,omitempty"`
	PlatformAt  time.Time            `json:"platform_time"`
	GatewayAt   time.Time            `json:"gateway_time"`
	Verdict     message.Authenticity `json:"verdict"` // when it came
	Detail      string               `json:"detail,omitempty"`
	MatchedBy   string               `json:"matched_by,omitempty"`
	PlatformDT  string               `json:"privasphere_code,omitempty"`
	Fits        string               `json:"content_fits,omitempty"`     // what of the content it names as it was sent
	Mismatch    string               `json:"content_mismatch,omitempty"` // it names other content than was sent: how
	Certificate *Certificate         `json:"certificate,omitempty"`
	Chain       []Certificate        `json:"chain,omitempty"` // above it, as far as it is known here
	SignatureOK bool                 `json:"signature_ok"`    // when the bundle was made: fits, and covers the whole
	SealQuality string               `json:"seal_quality,omitempty"`
	StampOK     *bool                `json:"tst_ok,omitempty"`     // the time stamp in the seal; nil: it has none
	HashMatch   string               `json:"hash_match"`           // of what it names of the content: "yes", "no", "not_stated"
	Status      []Status             `json:"revocation,omitempty"` // what issuers said of its certificates when it came
}

// Status is what an issuer said about one certificate of a seal.
type Status struct {
	Kind        string    `json:"kind"` // "ocsp" or "crl"
	File        string    `json:"file"`
	Certificate string    `json:"certificate_sha256"`
	Captured    time.Time `json:"captured_at"`
	Revoked     time.Time `json:"revoked,omitzero"` // zero: not revoked
}

// Certificate describes a certificate for people; the certificate itself lies
// in the document that it signed.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"`
	KeyID     string    `json:"subject_key_id,omitempty"`
	SHA256    string    `json:"sha256"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

// AuditEntry names a line of the gateway's audit log.
type AuditEntry struct {
	Seq  uint64            `json:"seq"`
	At   time.Time         `json:"at"`
	Kind message.EventKind `json:"kind"`
	Item int               `json:"recipient_number,omitempty"`
	File string            `json:"proof,omitempty"` // that the line stands in the log (docs/operate.md, audit prove)
}

// Seal says who has sealed the bundle, and what that is worth.
type Seal struct {
	Certificate Certificate `json:"certificate"`
	Quality     string      `json:"quality"`
}

// noteGerman stands in every bundle.
const noteGerman = "Verarbeitungsnachweis des Gateways, keine Quittung einer Zustellplattform. Berechnete Daten sind eine Hilfe und nicht verbindlich; die Behörde bestätigt sie."

// Words about the quality of a seal.
const (
	claimsQuality = "Das Zertifikat bezeichnet sich als qualifiziert oder geregelt (qcStatements). Ob sein Aussteller nach ZertES anerkannt ist, wurde nicht geprüft."
	ownQuality    = "Siegel des Gateways: kein geregeltes elektronisches Siegel nach ZertES Art. 2 Bst. d."
	noQuality     = "Das Zertifikat bezeichnet sich nicht als qualifiziert oder geregelt (keine qcStatements)."
)

// qualityOf says what a seal's certificate claims, or else otherwise; whether its
// issuer is recognised (ZertES Art. 2 d, 3) is not ours to know.
func qualityOf(c *x509.Certificate, otherwise string) string {
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 3}) {
			return claimsQuality
		}
	}
	return otherwise
}

func describe(c *x509.Certificate) Certificate {
	sum := sha256.Sum256(c.Raw)
	return Certificate{
		Subject: path.Show(c.Subject), Issuer: path.Show(c.Issuer), Serial: c.SerialNumber.Text(16), KeyID: hex.EncodeToString(c.SubjectKeyId),
		SHA256: hex.EncodeToString(sum[:]), NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
	}
}

// newID returns a UUID version 7 (RFC 9562 section 5.7) for now.
func newID(now time.Time) string {
	id := message.NewID(now)
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func hexOf(text string) string {
	if text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
