package receipts

import (
	"crypto/x509"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatewayd/crypto/pdfsig"
	"gatewayd/message"
)

// Platform says how to know one platform's receipts. The platforms publish
// neither subjects nor texts, so every pattern is configuration and must be
// confirmed on a live account.
type Platform struct {
	Name string // "incamail"
	// Senders are domains, each with its subdomains, of the envelope sender or
	// the From field. They only say whose mail this claims to be.
	Senders []string
	// Suffixes are appended to recipients' addresses on this platform
	// (".incamail.ch"); they do not count when addresses are compared.
	Suffixes []string
	// Subjects are patterns (RE2) of the decoded Subject. What they find is not
	// sealed.
	Subjects map[message.ReceiptKind][]string
	// Texts are patterns (RE2) of one line of the document's text. The first
	// line that fits any of them decides.
	Texts map[message.ReceiptKind][]string
	// Signers are patterns (RE2) of the subject of the signing certificate. None
	// means: everybody under the anchors. A public authority issues to others,
	// too; then this must be set.
	Signers []string
	// MailSigners are patterns (RE2) of the subjects of certificates that sign
	// receipts as whole mails (S/MIME), and never anything that users wrote. None:
	// a signed mail proves nothing.
	MailSigners []string
}

// Fields are patterns (RE2, one group unless said otherwise) that find a value in one line of a
// document's text. The first line that fits counts.
type Fields struct {
	Sender, Recipient, Subject, Time, BodyDigest string
	// Attachment has two groups: the file's name and its SHA-256. Every line that
	// fits counts.
	Attachment string
}

// Verification is what a check of a sealed PDF found.
type Verification struct {
	Verdict     message.Authenticity
	Detail      string              // why, for a person
	Signer      string              // subject of the signing certificate; "" if none
	SigningTime time.Time           // as the signer states it; zero if not
	Chain       []*x509.Certificate // from the signer to the anchor; nil unless Verified
	Signed      int64               // octets from the start that the seal covers: only they are read; zero: all
}

// VerifyPDF checks the seal of a PDF document against anchors; nil anchors mean
// that nothing is Verified. A broken document is no error but a verdict.
type VerifyPDF func(pdf []byte, roots *x509.CertPool) Verification

// verifySeal is the usual VerifyPDF: the chain must be good at the time of
// signing, and the seal must cover all that the document shows.
func verifySeal(pdf []byte, roots *x509.CertPool) Verification {
	rep, err := pdfsig.Verify(pdf, pdfsig.VerifyOptions{Roots: roots})
	if err != nil {
		return Verification{Verdict: message.Unsigned, Detail: err.Error()}
	}
	v := Verification{Verdict: rep.Verdict, Detail: rep.Detail, Signer: rep.Signer, SigningTime: rep.SigningTime, Signed: rep.Signed}
	for _, s := range rep.Signatures {
		if s.Decides && v.Verdict == message.Verified {
			v.Chain = s.Chain
		}
	}
	return v
}

// Options configure a Recogniser.
type Options struct {
	Platforms []Platform
	Reference string    // pattern (RE2, one group) of our reference in a subject; "" means the default
	Fields    Fields    // an empty pattern means the default
	Verify    VerifyPDF // nil means pdfsig.Verify
}

// DefaultReference finds "[BL-7F3K9Q2M]".
const DefaultReference = `\[([A-Z0-9]{1,12}-[0-9A-HJKMNP-TV-Z]{8})\]`

// DefaultFields are documented examples, not known strings of a platform.
func DefaultFields() Fields {
	return Fields{
		Sender:     `^(?:Absender|Sender|Expéditeur|Mittente): *(.+)$`,
		Recipient:  `^(?:Empfänger|Recipient|Destinataire|Destinatario): *(.+)$`,
		Subject:    `^(?:Betreff|Subject|Objet|Oggetto): *(.*)$`,
		Time:       `^(?:Zeitpunkt|Time|Date|Data): *(.+)$`,
		BodyDigest: `^SHA-256: *([0-9A-Fa-f]{64})$`,
		Attachment: `^(?:Anhang|Attachment|Annexe|Allegato): *(.+?),? +SHA-256:? *([0-9A-Fa-f]{64})$`,
	}
}

// DefaultPlatforms returns documented examples for IncaMail and PrivaSphere.
// Sender domains and the names of IncaMail's receipts are known from the
// vendors' help pages; subjects and texts are invented until they are
// calibrated on a live account.
func DefaultPlatforms() []Platform {
	return []Platform{
		{
			Name: "incamail", Senders: []string{"im.post.ch"}, Suffixes: []string{".incamail.ch"},
			Subjects: map[message.ReceiptKind][]string{
				message.Abgabequittung:      {`^Abgabequittung: `, `^Versandquittung: `, `^Empfangsquittung: `},
				message.Abholquittung:       {`^Abholquittung: `},
				message.Annahmeverweigerung: {`^Annahmeverweigerungsquittung: `},
				message.Verfallquittung:     {`^Verfallquittung: `},
				message.NoticeUndelivered:   {`^Nicht zustellbar: `},
				message.NoticeBlocked:       {`^Eingeschriebene Nachrichten gesperrt: `},
			},
			Texts: map[message.ReceiptKind][]string{
				message.Abgabequittung:      {`^IncaMail Abgabequittung$`, `^IncaMail Versandquittung$`, `^IncaMail Empfangsquittung$`},
				message.Abholquittung:       {`^IncaMail Abholquittung$`},
				message.Annahmeverweigerung: {`^IncaMail Annahmeverweigerungsquittung$`},
				message.Verfallquittung:     {`^IncaMail Verfallquittung$`},
			},
		},
		{
			Name: "privasphere", Senders: []string{"privasphere.com"},
			Subjects: map[message.ReceiptKind][]string{
				message.ArchiveCopy:       {`^Archivkopie: `},
				message.UnknownReceipt:    {`^Lesebestätigung: `}, // its dt code says what happened
				message.NoticeUndelivered: {`^Nicht zustellbar: `},
				message.NoticeBlocked:     {`^Eingeschriebene Nachrichten gesperrt: `},
			},
			Texts: map[message.ReceiptKind][]string{
				message.Abgabequittung: {`^PrivaSphere Abgabequittung$`},
			},
		},
	}
}

// Recogniser knows receipts when it sees them. It is safe for concurrent use.
type Recogniser struct {
	platforms []platform
	reference *regexp.Regexp
	fields    fieldPatterns
	verify    VerifyPDF
}

type platform struct {
	name              string
	senders, suffixes []string
	subjects, texts   []kindPattern
	signers           []*regexp.Regexp
	mailSigners       []*regexp.Regexp
}

type kindPattern struct {
	kind message.ReceiptKind
	re   *regexp.Regexp
}

type fieldPatterns struct {
	sender, recipient, subject, time, bodyDigest, attachment *regexp.Regexp
}

// New compiles the patterns and returns every mistake at once.
func New(o Options) (*Recogniser, []error) {
	c := &compiler{}
	d := DefaultFields()
	r := &Recogniser{
		verify:    o.Verify,
		reference: c.compile("receipts: reference", first(o.Reference, DefaultReference), 1),
		fields: fieldPatterns{
			sender:     c.compile("receipts: field sender", first(o.Fields.Sender, d.Sender), 1),
			recipient:  c.compile("receipts: field recipient", first(o.Fields.Recipient, d.Recipient), 1),
			subject:    c.compile("receipts: field subject", first(o.Fields.Subject, d.Subject), 1),
			time:       c.compile("receipts: field time", first(o.Fields.Time, d.Time), 1),
			bodyDigest: c.compile("receipts: field body digest", first(o.Fields.BodyDigest, d.BodyDigest), 1),
			attachment: c.compile("receipts: field attachment", first(o.Fields.Attachment, d.Attachment), 2),
		},
	}
	if r.verify == nil {
		r.verify = verifySeal
	}
	for _, p := range o.Platforms {
		r.platforms = append(r.platforms, c.platform(p))
	}
	if len(c.errs) > 0 {
		return nil, c.errs
	}
	return r, nil
}

func first(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

type compiler struct{ errs []error }

func (c *compiler) compile(what, pattern string, groups int) *regexp.Regexp {
	re, err := regexp.Compile(pattern)
	switch {
	case err != nil:
		c.errs = append(c.errs, fmt.Errorf("%s: %w", what, err))
		return nil
	case re.NumSubexp() != groups && groups > 0:
		c.errs = append(c.errs, fmt.Errorf("%s: the pattern needs exactly %d group", what, groups))
	}
	return re
}

func (c *compiler) platform(p Platform) platform {
	what := "receipts: platform " + p.Name
	if p.Name == "" || len(p.Senders) == 0 {
		c.errs = append(c.errs, fmt.Errorf("%s: needs a name and a sender domain", what))
	}
	var signers []*regexp.Regexp
	for _, s := range p.Signers {
		signers = append(signers, c.compile(what+": signer", s, 0))
	}
	var mailSigners []*regexp.Regexp
	for _, s := range p.MailSigners {
		mailSigners = append(mailSigners, c.compile(what+": mail signer", s, 0))
	}
	return platform{
		mailSigners: mailSigners, signers: signers, name: p.Name, senders: lower(p.Senders), suffixes: lower(p.Suffixes),
		subjects: c.kinds(what+": subject", p.Subjects), texts: c.kinds(what+": text", p.Texts),
	}
}

// kinds compiles the patterns in a fixed order: where two fit, the same wins
// at every start.
func (c *compiler) kinds(what string, m map[message.ReceiptKind][]string) []kindPattern {
	var list []kindPattern
	for kind, patterns := range m {
		if !knownKind(kind) {
			c.errs = append(c.errs, fmt.Errorf("%s: unknown kind %q", what, kind))
			continue
		}
		for _, p := range patterns {
			list = append(list, kindPattern{kind, c.compile(what+" "+string(kind), p, 0)})
		}
	}
	slices.SortStableFunc(list, func(a, b kindPattern) int { return strings.Compare(string(a.kind), string(b.kind)) })
	return list
}

func knownKind(k message.ReceiptKind) bool {
	switch k {
	case message.Abgabequittung, message.Bereitstellung, message.Abholquittung, message.Annahmeverweigerung, message.Verfallquittung, message.Weitergabe,
		message.NoticeBlocked, message.NoticeUndelivered, message.ArchiveCopy, message.UnknownReceipt:
		return true
	}
	return false
}

func lower(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.ToLower(s)
	}
	return out
}

func matchKind(list []kindPattern, s string) (message.ReceiptKind, bool) {
	for _, p := range list {
		if p.re.MatchString(s) {
			return p.kind, true
		}
	}
	return "", false
}
