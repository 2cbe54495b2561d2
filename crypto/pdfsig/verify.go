package pdfsig

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/path"
	"gatewayd/crypto/pdfdoc"
	"gatewayd/crypto/tsp"
	"gatewayd/message"
)

// VerifyOptions say whom to trust.
type VerifyOptions struct {
	Roots   *x509.CertPool // anchors of signers and time-stamping authorities; nil: none, then nothing is Verified
	At      time.Time      // the signer's chain must be good then; zero: at the time of a trusted stamp, else at the signing time
	MaxSize int64          // octets; zero: DefaultMaxSize
}

// Report is what a document's signatures are worth.
type Report struct {
	Signatures  []Signature // in the order of the file
	Covered     bool        // one signature covers the whole file but its own value
	Signed      int64       // octets from the start that the last signature covers: what the verdict is about. What follows shows nothing unless the verdict is Forged
	Verdict     message.Authenticity
	Detail      string            // why, for a person; no content of the document
	Signer      string            // subject of the certificate of the covering signature, once its signature was checked
	Certificate *x509.Certificate // that certificate
	SigningTime time.Time         // claimed by that signer, from the signature or from /M
}

// Signature is one signature dictionary.
type Signature struct {
	SubFilter      string
	ByteRange      [4]int64
	Whole          bool  // covers everything up to the last octet of the file
	Decides        bool  // the verdict about the document is this one's: it covers all that the document shows
	Err            error // nil: the CMS signature fits the octets of ByteRange
	Cert           *x509.Certificate
	Chain          []*x509.Certificate
	ChainErr       error // why Cert is not under an anchor
	SigningTime    time.Time
	Hash           stdcrypto.Hash
	Weak           bool   // SHA-1 or a short RSA key
	Name, Location string // claims of the signer, signed with the rest
	Reason         string

	Document bool       // no signature, but a time stamp over the document up to here
	Stamp    *tsp.Stamp // over this signature, or (Document) over the document; nil: none that fits
	StampErr error      // what is wrong with a stamp that stands there
	Later    *Later     // what was added to the file after it; nil: nothing
	Lock     Lock       // what it lets happen later
	Against  []string   // what was added although Lock does not let it
}

// maxSignatures bounds how many signatures of one document are looked at.
const maxSignatures = 32

// Verify says what the signatures of a PDF document are worth:
//
//   - Verified: the last signature covers every octet of the file except its
//     own value, or all that follows is proven to be data for long term
//     validation that shows nothing; it fits, is not weak, and its signer
//     stands under an anchor; no other signature is broken.
//   - Untrusted: the same, but no anchor, or weak.
//   - Unsigned: no signature, or only ones of a kind that we cannot check.
//   - Forged: a signature does not fit, or something stands outside of it; or one
//     that is followed by others certifies the document or locks fields (DocMDP,
//     FieldMDP), and was not obeyed.
//
// An error is returned only if pdf is no PDF or too large; the verdict is then
// Unsigned.
func Verify(pdf []byte, o VerifyOptions) (Report, error) {
	if err := checkSize(pdf, o.MaxSize); err != nil {
		return Report{Verdict: message.Unsigned, Detail: err.Error()}, fmt.Errorf("verify PDF: %w", err)
	}
	if !bytes.Contains(pdf[:min(len(pdf), 1024)], []byte("%PDF-")) {
		return Report{Verdict: message.Unsigned, Detail: ErrNotPDF.Error()}, fmt.Errorf("verify PDF: %w", ErrNotPDF)
	}
	var r Report
	found, complete := findSignatures(pdf)
	for _, f := range found {
		r.Signatures = append(r.Signatures, check(pdf, f, o))
	}
	r.followed(pdf, found)
	r.judge()
	if !complete && r.Verdict != message.Unsigned {
		r.Verdict, r.Detail = message.Forged, "too many signatures"
	}
	return r, nil
}

// maxFollowed bounds for how many signatures of a document is looked into what was
// added after them, each time through the whole document.
const maxFollowed = 4

// followed looks at what was added after each signature: by kind for all, for people;
// object by object for the last, whose verdict hangs on it, and for those that
// forbid changes.
func (r *Report) followed(pdf []byte, found []found) {
	last := -1
	for i, s := range r.Signatures {
		if s.Err == nil && !s.Document {
			last = i
		}
	}
	var all bodies
	looked := 0
	for i := range r.Signatures {
		s := &r.Signatures[i]
		if s.Err != nil || s.Whole {
			continue
		}
		if all.pdf == nil {
			all = bodiesOf(pdf)
		}
		end := s.ByteRange[2] + s.ByteRange[3]
		s.Later, s.Lock = laterThan(pdf, all.objects, end), lockOf(all, found[i].dict, end)
		if i != last && !s.Lock.locks() {
			continue
		}
		if looked++; looked > maxFollowed && i != last {
			s.Against = []string{"more than is looked at"}
			continue
		}
		s.Later.judge(pdf)
		if s.Lock.locks() && !s.Later.LongTerm {
			s.Against = s.Lock.forbidden(all, end)
		}
	}
}

// errKind marks a signature that we cannot check; so do cms.ErrUnsupported and
// cms.ErrNoSignerKey.
var errKind = errors.New("kind of signature is not supported")

func uncheckable(err error) bool {
	return errors.Is(err, errKind) || errors.Is(err, cms.ErrUnsupported) || errors.Is(err, cms.ErrNoSignerKey)
}

// check verifies one signature dictionary.
func check(pdf []byte, f found, o VerifyOptions) Signature {
	s := Signature{
		SubFilter: pdfdoc.NameOf(f.dict.Get("SubFilter")),
		Name:      readText(f.dict.Get("Name")),
		Location:  readText(f.dict.Get("Location")),
		Reason:    readText(f.dict.Get("Reason")),
	}
	for _, key := range []string{"SubFilter", "ByteRange", "Contents"} {
		if f.dict.Count(key) > 1 {
			s.Err = fmt.Errorf("%s stands twice", key)
			return s
		}
	}
	s.Document = s.SubFilter == subFilterStamp
	if s.SubFilter != subFilterCAdES && s.SubFilter != subFilterPKCS7 && !s.Document {
		s.Err = fmt.Errorf("%w: %.40q", errKind, s.SubFilter)
		return s
	}
	if s.Err = s.readRange(pdf, f); s.Err != nil {
		return s
	}
	value, err := contents(f.contents.Raw)
	if err != nil {
		s.Err = err
		return s
	}
	covered := func() io.Reader {
		return io.MultiReader(bytes.NewReader(pdf[:s.ByteRange[1]]), bytes.NewReader(pdf[s.ByteRange[2]:s.ByteRange[2]+s.ByteRange[3]]))
	}
	if s.Document {
		s.stampedDocument(value, covered(), o)
		return s
	}
	how := cms.VerifyOptions{Trust: cms.TrustPool(o.Roots), At: o.At, Claimed: readTime(f.dict.Get("M")), Limits: ber.Limits{Size: int64(len(value)) + 1}}
	s.take(bytes.NewReader(value), covered(), how)
	if s.Stamp != nil && s.Stamp.Trusted() && o.At.IsZero() {
		how.At = s.Stamp.At // proven; the signing time is only claimed
		s.take(bytes.NewReader(value), covered(), how)
	}
	return s
}

// take checks the CMS signature. ISO 32000-1, 12.8.3.3.1: one signer.
func (s *Signature) take(value, covered io.Reader, o cms.VerifyOptions) {
	result, err := cms.Verify(value, covered, o)
	if err == nil && len(result.Signatures) != 1 {
		err = errors.New("more than one signer")
	}
	if err != nil {
		s.Err = err
		return
	}
	got := result.Signatures[0]
	s.Cert, s.Chain, s.ChainErr = got.Cert, got.Chain, got.ChainErr
	s.Hash, s.Weak, s.SigningTime = got.Hash, got.Weak, got.SigningTime
	for _, token := range got.Stamps {
		stamp, err := tsp.Verify(token, bytes.NewReader(got.Value), tsp.Options{Trust: o.Trust, At: o.At})
		if err != nil {
			s.StampErr = err // whoever has the file can lay a wrong one there: it takes nothing from the signature
		} else if s.Stamp == nil || stamp.Trusted() && !s.Stamp.Trusted() {
			s.Stamp = &stamp
		}
	}
	if s.SubFilter == subFilterCAdES && !got.ESS {
		s.Err = errors.New("signature does not name its certificate") // ETSI EN 319 142-1, 6.3
	}
}

// stampedDocument checks a time stamp over the document (ETSI EN 319 142-1,
// 5.4.3).
func (s *Signature) stampedDocument(value []byte, covered io.Reader, o VerifyOptions) {
	stamp, err := tsp.Verify(value, covered, tsp.Options{Trust: cms.TrustPool(o.Roots), At: o.At}) // NUL octets may follow it
	if err != nil {
		s.Err = err
		return
	}
	s.Stamp, s.Cert, s.Chain, s.ChainErr, s.Weak, s.Hash, s.SigningTime = &stamp, stamp.Cert, stamp.Chain, stamp.ChainErr, stamp.Weak, stamp.Hash, stamp.At
}

// readRange reads /ByteRange and demands that it leaves out exactly the value
// of /Contents of the same dictionary, and begins with the file.
func (s *Signature) readRange(pdf []byte, f found) error {
	list, err := pdfdoc.Elements(f.dict.Get("ByteRange"))
	if err != nil {
		return fmt.Errorf("byte range: %w", err)
	}
	if len(list) != 4 {
		return errors.New("byte range does not have four numbers")
	}
	for i, raw := range list {
		n, ok := pdfdoc.Number(raw)
		if !ok || n > int64(len(pdf)) {
			return errors.New("byte range outside of the file")
		}
		s.ByteRange[i] = n
	}
	b := s.ByteRange
	if b[0] != 0 || b[1] != int64(f.contents.Start) || b[2] != int64(f.contents.End) {
		return errors.New("byte range leaves out something else than the signature")
	}
	if b[2]+b[3] > int64(len(pdf)) {
		return errors.New("byte range outside of the file")
	}
	s.Whole = b[2]+b[3] == int64(len(pdf))
	return nil
}

// contents decodes the value of /Contents: hexadecimal digits and nothing
// else, since these octets are the only ones that nobody signs.
func contents(raw []byte) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '<' || raw[len(raw)-1] != '>' {
		return nil, errors.New("signature is not a hexadecimal string")
	}
	out := make([]byte, hex.DecodedLen(len(raw)-2))
	if _, err := hex.Decode(out, raw[1:len(raw)-1]); err != nil {
		return nil, errors.New("signature is not a hexadecimal string")
	}
	return out, nil
}

// judge draws the verdict from the signatures.
func (r *Report) judge() {
	var whole, last *Signature
	checked := 0
	for i := range r.Signatures {
		s := &r.Signatures[i]
		if uncheckable(s.Err) {
			continue
		}
		if s.Err != nil {
			r.Verdict, r.Detail = message.Forged, "signature is broken: "+s.Err.Error()
			return
		}
		if s.Document {
			continue // it says when, and not who
		}
		if len(s.Against) > 0 {
			r.Verdict, r.Detail = message.Forged, "a signature forbids what was added after it: "+strings.Join(s.Against, ", ")
			return
		}
		checked++
		if last = s; s.Whole {
			whole = s
		}
	}
	switch {
	case len(r.Signatures) == 0:
		r.Verdict, r.Detail = message.Unsigned, "no signature"
	case checked == 0 && r.Signatures[0].Err == nil:
		r.Verdict, r.Detail = message.Unsigned, "a time stamp, and no signature"
	case checked == 0:
		r.Verdict, r.Detail = message.Unsigned, r.Signatures[0].Err.Error()
	case whole == nil && last.Later.LongTerm:
		r.trust(last)
		r.Detail += "; " + last.Later.String()
	case whole == nil:
		r.Verdict, r.Detail = message.Forged, "the document was changed after it was signed: "+last.Later.String()+"; "+last.Later.Other
	default:
		r.Covered = true
		r.trust(whole)
	}
}

func (r *Report) trust(s *Signature) {
	s.Decides = true
	r.Certificate, r.Signer, r.SigningTime, r.Signed = s.Cert, path.Show(s.Cert.Subject), s.SigningTime, s.ByteRange[2]+s.ByteRange[3]
	covers := "whole document covered"
	if !s.Whole {
		covers = "all that the document shows covered"
	}
	switch {
	case s.ChainErr != nil:
		r.Verdict, r.Detail = message.Untrusted, s.ChainErr.Error()
	case s.Weak:
		r.Verdict, r.Detail = message.Untrusted, "weak signature: SHA-1 or a short key"
	default:
		r.Verdict, r.Detail = message.Verified, "signature good, "+covers+", signer under a configured anchor"
		if s.Stamp != nil && s.Stamp.Trusted() {
			r.Detail += ", time stamped " + s.Stamp.At.Format(time.RFC3339)
		}
	}
}
