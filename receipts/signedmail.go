package receipts

import (
	"crypto/x509"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/path"
	"gatewayd/crypto/smime"
	"gatewayd/mail/parts"
	"gatewayd/message"
)

// signedMail reads a receipt whose seal is an S/MIME signature around the mail
// (CAdES). It counts only where the operator has said which certificates sign
// receipts and nothing else: IncaMail signs what citizens write, too, and a
// citizen can write what looks like a receipt. Not ok: the mail is not signed so,
// or says nothing of a receipt.
func (r *Recogniser) signedMail(m *carrier) (Finding, bool) {
	signed, issuer, err := r.checkMail(m)
	if errors.Is(err, smime.ErrNotSigned) {
		return Finding{}, false
	}
	f := Finding{Platform: issuer.name, FileName: "receipt.eml", MediaType: "message/rfc822"}
	var doc facts
	switch {
	case err != nil:
		f.Verdict, f.Detail = message.Forged, "the signature of the mail is broken: "+err.Error()
	case m.in.Size > maxDocument:
		f.Verdict, f.Detail = message.Unsigned, "the mail is signed, but too large to be kept as proof"
	default:
		s := signed.Signature
		f.Signer, f.Chain = path.Show(s.Cert.Subject), s.Chain
		f.Verdict, f.Detail = issuer.mailVerdict(s)
		doc = r.read(issuer, r.signedText(signed))
		if doc.at.IsZero() {
			doc.at = s.SigningTime
		}
	}
	if f.Verdict == message.Verified {
		if missing := doc.missing(); missing != "" {
			f.Verdict, f.Detail = message.Unsigned, "the mail's signature is good, but what is signed does not say "+missing
		}
	}
	if f.Verdict != message.Verified {
		f.Chain = nil
		doc = doc.or(m.subject)
	}
	if doc.kind == "" {
		return Finding{}, false
	}
	f.fill(doc, m)
	if m.in.Size <= maxDocument {
		f.Document = make([]byte, m.in.Size)
		if n, err := m.in.Body.ReadAt(f.Document, 0); int64(n) != m.in.Size && err != nil {
			return Finding{}, false
		}
	}
	return f, true
}

// checkMail verifies the signature against the claimed platform's anchors, then
// the others'.
func (r *Recogniser) checkMail(m *carrier) (smime.SignedMail, platform, error) {
	verify := func(pool *x509.CertPool) (smime.SignedMail, error) {
		return smime.VerifySigned(m.in.Body, m.in.Size, cms.VerifyOptions{Trust: cms.TrustPool(pool), Limits: ber.Limits{Size: m.in.Size + 4<<20}})
	}
	first, err := verify(m.in.Roots[m.platform.name])
	if err != nil || first.Signature.ChainErr == nil {
		return first, m.platform, err
	}
	for _, p := range r.platforms {
		if p.name == m.platform.name || m.in.Roots[p.name] == nil {
			continue
		}
		if other, err := verify(m.in.Roots[p.name]); err == nil && other.Signature.ChainErr == nil {
			return other, p, nil
		}
	}
	return first, m.platform, nil
}

func (p platform) mailVerdict(s cms.Signature) (message.Authenticity, string) {
	fits := func(re *regexp.Regexp) bool { return re.MatchString(path.Show(s.Cert.Subject)) }
	switch {
	case s.ChainErr != nil:
		return message.Untrusted, "signed mail: " + s.ChainErr.Error()
	case s.Weak:
		return message.Untrusted, "signed mail: weak signature: SHA-1 or a short key"
	case len(p.mailSigners) == 0:
		return message.Untrusted, "the mail is signed under an anchor of " + p.name + ", but nobody has said that this seals receipts (receipt_mail_signers)"
	case !slices.ContainsFunc(p.mailSigners, fits):
		return message.Untrusted, "the mail is signed by somebody else than who seals the receipts of " + p.name
	}
	return message.Verified, "signature of the mail good, signer under a configured anchor"
}

// signedText is the text of what is signed: its first plain text and its PDF
// documents. Messages inside are somebody else's.
func (r *Recogniser) signedText(s smime.SignedMail) string {
	tree, err := parts.Read(s.Content, s.Size, parts.Limits{})
	if err != nil {
		return ""
	}
	var texts []string
	plain, documents := false, 0
	for i := range tree.Parts {
		p := &tree.Parts[i]
		switch {
		case inMessage(tree, i):
		case p.Type == "text/plain" && !plain:
			plain = true
			if text, err := p.Text(s.Content, maxNotice); err == nil {
				texts = append(texts, text)
			}
		case mayBePDF(p) && documents < maxDocuments:
			documents++
			if pdf, err := io.ReadAll(io.LimitReader(p.Decode(s.Content), maxDocument)); err == nil && isPDF(pdf) {
				texts = append(texts, pdfText(pdf))
			}
		}
	}
	return strings.Join(texts, "\n")
}
