package receipts

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"

	"gatewayd/mail"
	"gatewayd/message"
)

// Inspection is what Inspect found in a file, for people and as JSON.
type Inspection struct {
	Claimed  bool        `json:"claimed"` // the mail claims to come from a platform; a bare PDF claims nothing
	Receipts []Inspected `json:"receipts"`
}

// Inspected is one document.
type Inspected struct {
	Kind       message.ReceiptKind  `json:"kind"`
	Platform   string               `json:"platform,omitempty"`
	Verdict    message.Authenticity `json:"verdict"`
	Detail     string               `json:"detail,omitempty"`
	Signer     string               `json:"signer,omitempty"`
	At         time.Time            `json:"at,omitzero"`
	Reference  string               `json:"reference,omitempty"`
	Sender     string               `json:"sender,omitempty"`
	Recipient  string               `json:"recipient,omitempty"`
	Subject40  string               `json:"subject_40,omitempty"`
	SentAt     time.Time            `json:"sent_at,omitzero"`
	BodyDigest message.Digest       `json:"body_sha256,omitzero"`
	Code       string               `json:"code,omitempty"`
	FileName   string               `json:"file_name,omitempty"`
	MediaType  string               `json:"media_type,omitempty"`
	SHA256     message.Digest       `json:"sha256"` // of the document
	Size       int                  `json:"size"`   // of the document, octets
}

// Inspect reads a mail or a bare PDF document out of memory, offline, with the
// same code that reads what comes in. It changes nothing and looks nothing up.
func (r *Recogniser) Inspect(raw []byte, roots map[string]*x509.CertPool) (Inspection, error) {
	in := Input{Body: bytes.NewReader(raw), Size: int64(len(raw)), Roots: roots}
	if bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n\xef\xbb\xbf"), []byte("%PDF-")) {
		return Inspection{Receipts: []Inspected{inspected(r.bare(in, raw))}}, nil
	}
	findings, claimed, err := r.Recognise(in)
	if err != nil {
		return Inspection{}, fmt.Errorf("inspect: %w", err)
	}
	out := Inspection{Claimed: claimed, Receipts: []Inspected{}}
	for _, f := range findings {
		out.Receipts = append(out.Receipts, inspected(f))
	}
	return out, nil
}

// bare reads a PDF without a mail around it: every platform is tried, and the
// one whose anchors or texts fit is taken.
func (r *Recogniser) bare(in Input, pdf []byte) Finding {
	var best Finding
	for i, p := range r.platforms {
		f := r.document(&carrier{in: in, head: &mail.Header{}, platform: p}, pdf)
		f.MediaType = "application/pdf"
		better := f.Verdict == message.Verified || best.Kind == message.UnknownReceipt && f.Kind != message.UnknownReceipt
		if i == 0 || better && best.Verdict != message.Verified {
			best = f
		}
	}
	return best
}

func inspected(f Finding) Inspected {
	return Inspected{
		Kind: f.Kind, Platform: f.Platform, Verdict: f.Verdict, Detail: f.Detail, Signer: f.Signer, At: f.At, Reference: f.Reference,
		Sender: f.Sender.String(), Recipient: f.Recipient.String(), Subject40: f.Subject40, SentAt: f.SentAt, BodyDigest: f.BodyDigest,
		Code: f.Code, FileName: f.FileName, MediaType: f.MediaType, SHA256: sha256.Sum256(f.Document), Size: len(f.Document),
	}
}
