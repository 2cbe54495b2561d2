package evidence

import (
	"bytes"
	"crypto/x509"
	"errors"
	"time"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/pdfsig"
	"gatewayd/crypto/smime"
	"gatewayd/message"
)

// SealReport is signature-report.json: what the seals of the receipts are worth,
// as the gateway saw it when it wrote the bundle.
type SealReport struct {
	Files []FileReport `json:"files"`
}

// FileReport is about one receipt.
type FileReport struct {
	File       string               `json:"file"`
	Kind       string               `json:"kind"` // "pdf", "mail" (S/MIME), or "other": then nothing here checks it
	Verdict    message.Authenticity `json:"verdict"`
	Detail     string               `json:"detail,omitempty"`
	Signatures []SignatureReport    `json:"signatures,omitempty"`
	Revocation []string             `json:"revocation,omitempty"` // files: what issuers said when the receipt came

	chain    []*x509.Certificate // of the seal that covers the whole
	sealedBy *x509.Certificate   // whose seal that is; under an anchor or not
}

// SignatureReport is one signature of a document.
type SignatureReport struct {
	Form        string        `json:"form"`       // /SubFilter
	ByteRange   [4]int64      `json:"byte_range"` // what it covers
	Whole       bool          `json:"covers_whole_document"`
	Fits        bool          `json:"fits"`
	Error       string        `json:"error,omitempty"`
	Trust       string        `json:"trust,omitempty"` // why its signer is not under an anchor; empty: it is
	Weak        bool          `json:"weak,omitempty"`
	Algorithm   string        `json:"digest,omitempty"`
	ClaimedTime time.Time     `json:"claimed_time,omitzero"`
	Reason      string        `json:"reason,omitempty"`
	Chain       []Certificate `json:"chain,omitempty"`               // the signer first; only that where there is no anchor
	Document    bool          `json:"document_time_stamp,omitempty"` // no signature, but a stamp over the document
	Stamped     time.Time     `json:"stamped,omitzero"`              // by the time stamp inside
	StampedBy   *Certificate  `json:"stamped_by,omitempty"`
	StampTrust  string        `json:"stamp_trust,omitempty"` // why the stamp proves nothing; empty: it does
	Later       string        `json:"added_later,omitempty"` // what was appended after it
}

// maxReceipt bounds one receipt, in octets.
const maxReceipt = 32 << 20

// examine looks at the seal of a document; of several pools of anchors whichever
// fits is taken.
func examine(name string, doc []byte, roots []*x509.CertPool) FileReport {
	out := FileReport{File: name, Kind: "other", Verdict: message.Unsigned, Detail: "it has no seal that is checked here"}
	if !bytes.Contains(doc[:min(len(doc), 1024)], []byte("%PDF-")) {
		out.takeMail(doc, roots)
		return out
	}
	out.Kind = "pdf"
	for i, pool := range append([]*x509.CertPool{nil}, roots...) {
		rep, err := pdfsig.Verify(doc, pdfsig.VerifyOptions{Roots: pool, MaxSize: maxReceipt})
		if err != nil {
			out.Detail = err.Error()
			return out
		}
		if i == 0 || rep.Verdict == message.Verified {
			out.take(rep)
		}
		if rep.Verdict != message.Untrusted {
			break
		}
	}
	return out
}

func (f *FileReport) take(rep pdfsig.Report) {
	f.Verdict, f.Detail, f.Signatures = rep.Verdict, rep.Detail, nil
	for _, s := range rep.Signatures {
		out := SignatureReport{
			Form: s.SubFilter, ByteRange: s.ByteRange, Whole: s.Whole || s.Decides, Fits: s.Err == nil, Weak: s.Weak, ClaimedTime: s.SigningTime, Reason: s.Reason,
		}
		if s.Err != nil {
			out.Error = s.Err.Error()
		} else {
			out.Algorithm = s.Hash.String()
		}
		if s.ChainErr != nil {
			out.Trust = s.ChainErr.Error()
		}
		if s.Stamp != nil {
			by := describe(s.Stamp.Cert)
			out.Stamped, out.StampedBy = s.Stamp.At, &by
			if s.Stamp.ChainErr != nil {
				out.StampTrust = s.Stamp.ChainErr.Error()
			}
		} else if s.StampErr != nil {
			out.StampTrust = s.StampErr.Error()
		}
		out.Document, out.Later = s.Document, s.Later.String()
		chain := s.Chain
		if len(chain) == 0 && s.Cert != nil && s.Err == nil {
			chain = []*x509.Certificate{s.Cert}
		}
		if s.Decides {
			f.chain, f.sealedBy = s.Chain, s.Cert
		}
		for _, c := range chain {
			out.Chain = append(out.Chain, describe(c))
		}
		f.Signatures = append(f.Signatures, out)
	}
}

// takeMail looks at the S/MIME signature of a mail.
func (f *FileReport) takeMail(doc []byte, roots []*x509.CertPool) {
	for i, pool := range append([]*x509.CertPool{nil}, roots...) {
		m, err := smime.VerifySigned(bytes.NewReader(doc), int64(len(doc)), cms.VerifyOptions{Trust: cms.TrustPool(pool), Limits: ber.Limits{Size: maxReceipt + 4<<20}})
		if errors.Is(err, smime.ErrNotSigned) {
			return
		}
		if f.Kind = "mail"; err != nil {
			f.Verdict, f.Detail = message.Forged, err.Error()
			return
		}
		s := m.Signature
		good := s.ChainErr == nil && !s.Weak
		if i > 0 && !good {
			continue
		}
		out := SignatureReport{Form: "S/MIME", Whole: true, Fits: true, Weak: s.Weak, Algorithm: s.Hash.String(), ClaimedTime: s.SigningTime}
		f.Verdict, f.Detail, f.sealedBy = message.Untrusted, "signature good, no anchor, or weak", s.Cert
		chain := []*x509.Certificate{s.Cert}
		if good {
			f.Verdict, f.Detail, f.chain, chain = message.Verified, "signature of the mail good, signer under an anchor", s.Chain, s.Chain
		} else if s.ChainErr != nil {
			out.Trust = s.ChainErr.Error()
		}
		for _, c := range chain {
			out.Chain = append(out.Chain, describe(c))
		}
		if f.Signatures = []SignatureReport{out}; good {
			return
		}
	}
}
