package message

import (
	"errors"
	"regexp"
	"slices"
	"time"
)

// Disposition says what became of a record before its content is erased
// (Vo E-GovG BL § 11 para. 2; Archivierungsgesetz BL § 4).
type Disposition string

// The dispositions. Exactly one is needed before content goes; where none is,
// the content is exported to the authority first.
const (
	HandedOverGEVER   Disposition = "handed_over_gever"  // the authority's own file has it
	OfferedArchive    Disposition = "offered_archive"    // offered to the archive, which has not answered: settles nothing yet
	TakenArchive      Disposition = "taken_archive"      // the archive took it
	DeclinedArchive   Disposition = "declined_archive"   // the archive does not want it
	StandingAgreement Disposition = "standing_agreement" // covered by an agreement in the configuration
	NoRecord          Disposition = "no_record"          // no record: spam, private, duplicate, or filed elsewhere already
)

// Dispositions returns those that an authority can state; an agreement is
// applied by the gateway alone.
func Dispositions() []Disposition {
	return []Disposition{HandedOverGEVER, OfferedArchive, TakenArchive, DeclinedArchive, NoRecord}
}

// Settles reports whether the content may go by it.
func (d Disposition) Settles() bool { return d != "" && d != OfferedArchive }

// Filing is an authority's word on what became of a message and its receipts.
type Filing struct {
	Disposition Disposition `json:"disposition"`
	Ref         string      `json:"ref"`              // of the file, offer, accession, agreement or rule
	SHA256      string      `json:"sha256,omitempty"` // of the content that the file has, as the authority computed it; empty: not said
	By          string      `json:"by"`               // who says it
	At          time.Time   `json:"at"`               // when it was recorded
}

// IsZero reports whether nothing was said.
func (f Filing) IsZero() bool { return f.Disposition == "" }

// What Filing.Check can find.
var (
	ErrDisposition = errors.New("unknown disposition: use handed_over_gever, offered_archive, taken_archive, declined_archive or no_record")
	ErrFileRef     = errors.New("the reference must be a number or code such as BL-2026-00123: 1 to 100 letters, digits and . _ / : # + -, with a digit, without spaces; it stands in the protocol of destruction, which must name nobody")
)

var fileRef = regexp.MustCompile(`^[\pL0-9._/:#+-]{0,99}[0-9][\pL0-9._/:#+-]{0,99}$`)

// Check reports why an authority cannot state this.
func (f Filing) Check() error {
	switch {
	case !slices.Contains(Dispositions(), f.Disposition):
		return ErrDisposition
	case len([]rune(f.Ref)) > 100 || !fileRef.MatchString(f.Ref):
		return ErrFileRef
	}
	return nil
}

// Unfiled is a message whose content nobody has filed yet.
type Unfiled struct {
	ID        ID        `json:"id"`
	Direction Direction `json:"direction"`
	Class     Class     `json:"class"`
	Received  time.Time `json:"received"`
	Size      int64     `json:"size"` // octets
	SHA256    string    `json:"sha256"`
	Open      bool      `json:"open"`           // still on its way for some recipient: it cannot be filed yet
	Filed     Filing    `json:"filed,omitzero"` // offered to the archive, no answer yet
	Lost      bool      `json:"lost"`           // its content went at its limit, and nobody has it: say what becomes of the matter
	Exported  bool      `json:"exported"`       // lies encrypted to the authority's fallback key among the exports
	Export    time.Time `json:"export"`         // when it is exported, if nobody files it before
	EraseBy   time.Time `json:"erase_by"`       // when its content is gone at the latest
}
