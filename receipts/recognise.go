package receipts

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatewayd/mail"
	"gatewayd/mail/parts"
	"gatewayd/message"
)

// Input is one mail that came in.
type Input struct {
	Envelope message.Envelope
	Body     io.ReaderAt // whole message, header and body
	Size     int64       // octets of it
	Now      time.Time   // used where the mail states no time
	// Roots are the anchors of the seals, by platform name. The claimed
	// platform's are tried first, then all others; whoever's anchor fits is the
	// issuer.
	Roots map[string]*x509.CertPool
}

// Finding is what one document of a platform says. If Verdict is Verified,
// everything in it that Match uses was read from the sealed document, except
// InReplyTo.
type Finding struct {
	Kind      message.ReceiptKind
	Platform  string    // issuer
	At        time.Time // the platform's time
	Reference string    // ours, "BL-7F3K9Q2M"; "" if none

	Sender, Recipient message.Address // of the mail that the receipt is about; zero if not stated
	InReplyTo         []string        // Message-IDs that the mail refers to
	Subject40         string          // the subject's first 40 characters
	SentAt            time.Time       // when that mail was sent; zero if not stated
	BodyDigest        message.Digest  // SHA-256 of that mail's body as the platform got it; zero if not stated
	Attachments       []Attachment    // of that mail as the platform got them; nil if it names none
	Code              string          // PrivaSphere dt code; "" if none
	Suffixes          []string        // the platform's recipient suffixes

	Document  []byte // byte for byte
	FileName  string
	MediaType string

	Verdict message.Authenticity
	Detail  string              // why, for a person
	Signer  string              // subject of the signing certificate
	Chain   []*x509.Certificate // of a good seal: from its signer to the anchor
}

// Attachment is a document that the platform says it has got.
type Attachment struct {
	Name   string
	SHA256 message.Digest // of the decoded octets
}

// Bounds of what is looked at in one mail.
const (
	maxHeader    = 256 << 10
	maxDocument  = 16 << 20
	maxDocuments = 8
	maxNotice    = 1 << 20
)

// Recognise reads one mail. The bool tells that it claims to come from a
// platform: then, without a finding, it is a document of unknown kind that a
// person should see. Mail of other people that a platform passes on (From
// rewritten, Reply-To theirs) is none of ours, unless it carries a document
// whose seal is good. Errors are those of reading.
func (r *Recogniser) Recognise(in Input) ([]Finding, bool, error) {
	head, err := mail.ReadHeader(bufio.NewReader(io.NewSectionReader(in.Body, 0, in.Size)), maxHeader)
	if err != nil {
		return nil, false, fmt.Errorf("recognise: %w", err)
	}
	p, ok := r.claimed(in.Envelope.From, head)
	if !ok {
		return nil, false, nil
	}
	tree, err := parts.Read(in.Body, in.Size, parts.Limits{})
	if err != nil {
		return nil, true, fmt.Errorf("recognise: %w", err)
	}
	m := &carrier{in: in, head: head, tree: tree, platform: p, subject: r.subjectFacts(p, head)}
	findings, err := r.documents(m)
	if err != nil {
		return nil, true, err
	}
	if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Verdict == message.Verified }) {
		if f, ok := r.signedMail(m); ok && (f.Verdict == message.Verified || len(findings) == 0) {
			findings = []Finding{f}
		}
	}
	if r.passedOn(head) {
		findings = slices.DeleteFunc(findings, func(f Finding) bool { return f.Verdict != message.Verified })
		return findings, len(findings) > 0, nil
	}
	if len(findings) == 0 {
		if f, ok := r.plain(m); ok {
			findings = append(findings, f)
		}
	}
	return findings, true, nil
}

// carrier is the mail that brings documents.
type carrier struct {
	in       Input
	head     *mail.Header
	tree     parts.Tree
	platform platform
	subject  facts // from Subject and the other header fields: not sealed
}

// Claims reports whether a mail can claim at all to come from a platform, by its
// envelope: one that cannot need not be opened.
func (r *Recogniser) Claims(env message.Envelope) bool {
	author := env.HeaderFrom[strings.LastIndexByte(env.HeaderFrom, '@')+1:]
	return slices.ContainsFunc(r.platforms, func(p platform) bool { return p.sends(env.From.Domain) || p.sends(author) })
}

// claimed says whose mail this claims to be.
func (r *Recogniser) claimed(from message.Address, head *mail.Header) (platform, bool) {
	author, _, _ := mail.HeaderFrom(head)
	for _, p := range r.platforms {
		if p.sends(from.Domain) || p.sends(author.Domain) {
			return p, true
		}
	}
	return platform{}, false
}

func (p platform) sends(domain string) bool {
	return slices.ContainsFunc(p.senders, func(d string) bool {
		return domain == d || strings.HasSuffix(domain, "."+d)
	})
}

// passedOn reports whether the platform only carries the mail of somebody
// else: its author, or who is to be answered, has an address outside of every
// platform.
func (r *Recogniser) passedOn(head *mail.Header) bool {
	author, _, ok := mail.HeaderFrom(head)
	return !ok || !r.isPlatform(author) ||
		slices.ContainsFunc(mail.Addresses(head.Get("Reply-To")), func(a message.Address) bool { return !r.isPlatform(a) })
}

func (r *Recogniser) isPlatform(a message.Address) bool {
	return slices.ContainsFunc(r.platforms, func(p platform) bool { return p.sends(a.Domain) })
}

// subjectFacts reads what the header section says.
func (r *Recogniser) subjectFacts(p platform, head *mail.Header) facts {
	subject := head.Text("Subject")
	f := facts{subject: subject}
	f.kind, _ = matchKind(p.subjects, subject)
	f.reference, _ = group(r.reference, subject)
	f.at, _ = mail.ParseDate(head.Get("Date"))
	return f
}

// documents reads every PDF document that lies in the mail itself; what lies
// inside an attached message is that message's business.
func (r *Recogniser) documents(m *carrier) ([]Finding, error) {
	var findings []Finding
	for i := range m.tree.Parts {
		p := &m.tree.Parts[i]
		if len(findings) == maxDocuments || !mayBePDF(p) || m.embedded(i) {
			continue
		}
		pdf, err := io.ReadAll(io.LimitReader(p.Decode(m.in.Body), maxDocument+1))
		if err != nil {
			return nil, fmt.Errorf("recognise: read document: %w", err)
		}
		if len(pdf) > maxDocument || !isPDF(pdf) {
			continue
		}
		f := r.document(m, pdf)
		f.FileName, f.MediaType = p.FileName, "application/pdf"
		findings = append(findings, f)
	}
	return findings, nil
}

func mayBePDF(p *parts.Part) bool {
	return p.Type == "application/pdf" || p.Type == "application/x-pdf" ||
		p.Type == "application/octet-stream" && strings.HasSuffix(strings.ToLower(p.FileName), ".pdf")
}

// isPDF looks for the mark where readers look for it: near the start.
func isPDF(b []byte) bool { return bytes.Contains(b[:min(len(b), 1024)], []byte("%PDF-")) }

func (m *carrier) embedded(i int) bool { return inMessage(m.tree, i) }

// inMessage reports whether a part lies in a message inside of the mail.
func inMessage(tree parts.Tree, i int) bool {
	for i = tree.Parts[i].Parent; i >= 0; i = tree.Parts[i].Parent {
		if strings.HasPrefix(tree.Parts[i].Type, "message/") {
			return true
		}
	}
	return false
}

// document turns one PDF into a finding.
func (r *Recogniser) document(m *carrier, pdf []byte) Finding {
	v, issuer := r.check(pdf, m.in.Roots, m.platform)
	signed := pdf
	if v.Signed > 0 && v.Signed < int64(len(pdf)) {
		signed = pdf[:v.Signed]
	}
	doc := r.read(issuer, pdfText(signed))
	disagree := ""
	if v.Verdict == message.Verified { // pictures of strangers are not opened
		disagree = doc.addPicture(r, pictureText(signed))
	}
	if doc.at.IsZero() {
		doc.at = v.SigningTime
	}
	f := Finding{Platform: issuer.name, Document: pdf, Verdict: v.Verdict, Detail: v.Detail, Signer: v.Signer, Chain: v.Chain}
	if f.Verdict == message.Verified {
		if disagree != "" {
			f.Verdict, f.Detail = message.Unsigned, "the seal is good, but text and QR code of the document disagree on "+disagree
		} else if missing := doc.missing(); missing != "" {
			f.Verdict = message.Unsigned
			f.Detail = "the seal is good, but the sealed text does not say " + missing
		}
	}
	if f.Verdict != message.Verified { // it closes nothing: what the mail says may help to find the item
		doc = doc.or(m.subject)
	}
	f.fill(doc, m)
	return f
}

// missing names what a sealed document must say itself before it can prove
// anything; the mail around it can be forged.
func (f facts) missing() string {
	switch {
	case f.kind == "":
		return "which receipt it is"
	case f.at.IsZero():
		return "when"
	case f.recipient.IsNull():
		return "for which recipient"
	case f.sender.IsNull():
		return "from which sender"
	}
	return ""
}

// or fills what f does not say from o.
func (f facts) or(o facts) facts {
	if f.kind == "" {
		f.kind = o.kind
	}
	if f.reference == "" {
		f.reference = o.reference
	}
	if f.subject == "" {
		f.subject = o.subject
	}
	if f.at.IsZero() {
		f.at = o.at
	}
	return f
}

// check verifies the seal: the claimed platform's anchors first, then the
// others'. The issuer is whose anchor and signer fit, else who is claimed.
func (r *Recogniser) check(pdf []byte, roots map[string]*x509.CertPool, claimed platform) (Verification, platform) {
	best := claimed.admit(r.verify(pdf, roots[claimed.name]))
	if best.Verdict != message.Untrusted { // good, or bad whoever's anchors are asked
		return best, claimed
	}
	for _, p := range r.platforms {
		if p.name == claimed.name || roots[p.name] == nil {
			continue
		}
		if v := p.admit(r.verify(pdf, roots[p.name])); v.Verdict == message.Verified {
			return v, p
		}
	}
	return best, claimed
}

// admit demands that a good seal is the platform's own.
func (p platform) admit(v Verification) Verification {
	fits := func(re *regexp.Regexp) bool { return re.MatchString(v.Signer) }
	if v.Verdict == message.Verified && len(p.signers) > 0 && !slices.ContainsFunc(p.signers, fits) {
		v.Verdict, v.Detail = message.Untrusted, "the seal is good, but its signer is not the one expected of "+p.name
	}
	return v
}

// fill writes the facts into the finding.
func (f *Finding) fill(doc facts, m *carrier) {
	f.Kind, f.At, f.Reference, f.Code = doc.kind, doc.at, doc.reference, doc.code
	f.Sender, f.Recipient, f.SentAt, f.BodyDigest = doc.sender, doc.recipient, doc.sentAt, doc.bodyDigest
	f.Attachments = doc.attachments
	f.Subject40 = firstRunes(doc.subject, 40)
	f.InReplyTo = references(m.head)
	f.Suffixes = m.platform.suffixes
	if f.Kind == "" {
		f.Kind = message.UnknownReceipt
	}
	if f.At.IsZero() {
		f.At = m.in.Now
	}
	if meaning := codeMeaning(f.Code); meaning != "" {
		if f.Detail != "" {
			f.Detail += "; "
		}
		f.Detail += meaning
	}
}

// plain reads a mail without a PDF: a notice, or an archive copy alone. Its
// document is the mail itself, or of a large one its header section.
func (r *Recogniser) plain(m *carrier) (Finding, bool) {
	if m.subject.kind == "" {
		return Finding{}, false
	}
	var doc facts
	for i := range m.tree.Parts {
		if p := &m.tree.Parts[i]; p.Type == "text/plain" && !m.embedded(i) {
			if text, err := p.Text(m.in.Body, maxNotice); err == nil {
				doc = r.read(m.platform, text)
			}
			break
		}
	}
	doc = doc.or(m.subject)
	doc.kind = m.subject.kind
	f := Finding{
		Platform: m.platform.name, Verdict: message.Unsigned, Detail: "an ordinary mail without a sealed document",
		FileName: "notice.eml", MediaType: "message/rfc822",
	}
	f.fill(doc, m)
	if m.in.Size <= maxNotice {
		f.Document = make([]byte, m.in.Size)
		if n, err := m.in.Body.ReadAt(f.Document, 0); int64(n) == m.in.Size || err == nil {
			return f, true
		}
	}
	f.Document, f.MediaType = m.head.Bytes(), "text/rfc822-headers"
	return f, true
}

// maxReferences bounds the Message-IDs of one mail.
const maxReferences = 20

func references(head *mail.Header) []string {
	var ids []string
	for _, field := range []string{"In-Reply-To", "References"} {
		for _, id := range strings.Fields(head.Get(field)) {
			if len(ids) < maxReferences && len(id) < 300 && strings.HasPrefix(id, "<") && strings.HasSuffix(id, ">") && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func firstRunes(s string, n int) string {
	runes := []rune(s)
	return string(runes[:min(len(runes), n)])
}
