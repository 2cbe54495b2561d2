package entity

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"gatewayd/mail"
	"gatewayd/message"
)

// Headers says what becomes of the header fields of mail that we protect (RFC
// 9788).
type Headers string

// What becomes of the header fields.
const (
	HeadersOutside Headers = ""     // they stand outside only, as before RFC 9788
	HeadersCopied  Headers = "copy" // a copy stands inside as well: nobody changes them unseen
	// HeadersHidden: and of what is encrypted the outside tells no subject (the
	// policy hcp_baseline of RFC 9788 section 3.2.1).
	HeadersHidden Headers = "hide"
)

// hiddenSubject stands for a subject that is told inside only.
const hiddenSubject = "[...]"

// maxOuter bounds how many HP-Outer fields are read.
const maxOuter = 1000

// told are the fields that are copied, restored and judged: those that a person
// reads or an answer is made of. Trace fields are the way's, not the author's.
var told = []string{
	"From", "To", "Cc", "Subject", "Date", "Reply-To", "Sender", "Message-ID", "In-Reply-To", "References", "Comments", "Keywords", "User-Agent",
}

// vouched are those of told that must not be shown where they stand outside of
// protected fields only: they change whom one answers, or what one reads.
var vouched = []string{"Cc", "Subject", "Reply-To", "Sender", "In-Reply-To", "References", "Comments", "Keywords"}

func isTold(name string) bool {
	return slices.ContainsFunc(told, func(t string) bool { return strings.EqualFold(t, name) })
}

// Protect copies the header fields inside, and hides some outside if the result
// is encrypted. A message whose author's program has done so, or has signed or
// encrypted itself, stays as it is.
func (m *Message) Protect(how Headers, encrypted bool) error {
	if how == HeadersOutside {
		return nil
	}
	kinds := m.head.All("Content-Type")
	if len(kinds) > 1 || !definite(m.head) {
		return fmt.Errorf("protect header: %w: what the message is cannot be told", ErrIrregular)
	}
	kind := m.head.Get("Content-Type")
	value, params := mail.ParseParams(kind)
	switch value = strings.ToLower(value); {
	case params["hp"] != "" || params["protected-headers"] != "":
		return nil
	case value == "multipart/signed", value == "multipart/encrypted", value == "application/pkcs7-mime", value == "application/x-pkcs7-mime":
		return nil
	}
	hidden := how == HeadersHidden && encrypted
	var copies, outer bytes.Buffer
	var outside []mail.Field
	for _, f := range m.outside {
		if isTold(f.Name) {
			raw, err := regular(f)
			if err != nil {
				return err
			}
			copies.Write(raw)
			if hidden {
				var shown bool
				if f, shown = obscured(f); !shown {
					continue
				}
			}
			if raw, err = regular(f); err != nil {
				return err
			}
			outer.WriteString("HP-Outer: ")
			outer.Write(raw)
		}
		outside = append(outside, f)
	}
	m.outside = outside
	if !encrypted {
		outer.Reset()
	}
	return m.mark(kind, encrypted, append(copies.Bytes(), outer.Bytes()...))
}

// obscured is the policy hcp_baseline.
func obscured(f mail.Field) (mail.Field, bool) {
	switch {
	case strings.EqualFold(f.Name, "Subject"):
		return mail.Field{Name: f.Name, Raw: []byte(f.Name + ": " + hiddenSubject + "\r\n")}, true
	case strings.EqualFold(f.Name, "Comments"), strings.EqualFold(f.Name, "Keywords"):
		return mail.Field{}, false
	}
	return f, true
}

// mark puts the copies into the entity's header and says so in its Content-Type
// (RFC 9788 section 2.1), and to the readers of its forerunner too.
func (m *Message) mark(kind string, encrypted bool, copies []byte) error {
	hp := "; hp=\"clear\"; protected-headers=\"v1\""
	if encrypted {
		hp = "; hp=\"cipher\"; protected-headers=\"v1\""
	}
	if kind == "" {
		kind = "text/plain; charset=us-ascii"
	}
	var h mail.Header
	if err := h.Replace("Content-Type", strings.TrimRight(kind, "; \t")+hp); err != nil {
		return fmt.Errorf("protect header: %w: %w", ErrIrregular, err)
	}
	if _, params := mail.ParseParams(h.Get("Content-Type")); params["hp"] == "" {
		return fmt.Errorf("protect header: %w: Content-Type", ErrIrregular)
	}
	inside := append(copies, h.Bytes()...)
	for _, f := range m.head.Fields() {
		if isContent(f.Name) && !strings.EqualFold(f.Name, "Content-Type") {
			inside = append(inside, f.Raw...)
		}
	}
	if !bytes.HasSuffix(inside, []byte("\n")) {
		inside = append(inside, "\r\n"...)
	}
	m.inside = append(inside, "\r\n"...)
	return nil
}

// ProtectedField is what is known of a header field that stood inside of the
// protection.
type ProtectedField struct {
	Name      string `json:"name"` // as RFC 5322 writes it
	Signed    bool   `json:"signed"`
	Encrypted bool   `json:"encrypted"` // the way has not seen it
	Differs   bool   `json:"differs"`   // outside stands something else than the author has put there
	Shown     bool   `json:"shown"`     // what stands inside is shown; else what stands outside
}

// Schemes by which header fields are protected.
const (
	SchemeHP      = "hp"                   // RFC 9788
	SchemeV1      = "protected-headers=v1" // its forerunner
	SchemeWrapped = "wrapped"              // a whole message inside: RFC 8551 section 3.1
)

// header finds the protected fields of the content.
func (op *Opened) header() error {
	if op.Content == nil || len(op.Layers) == 0 {
		return nil
	}
	scheme, err := op.scheme()
	if err != nil || scheme == "" {
		return err
	}
	in := op.Content.Root.Header
	encrypted := op.Encryption == Decrypted || op.Encryption == Malleable || op.Encryption == WeakCipher
	signed := op.Signature == Good || op.Signature == Redated
	if !encrypted && !signed {
		return nil // anybody may have written them
	}
	op.Scheme, op.inner = scheme, in
	declared := outerOf(in) // what the author has put outside, by name
	for _, name := range told {
		inside, outside := in.All(name), op.outer.head.All(name)
		if len(inside) == 0 && (scheme != SchemeHP || len(outside) == 0 || !slices.Contains(vouched, name)) {
			continue
		}
		f := ProtectedField{Name: name, Signed: signed && len(inside) > 0, Shown: true}
		expected := inside // outside, if nobody has changed it on the way
		switch {
		case !encrypted || op.Content.Root.Params["hp"] != "" && !op.cipher:
		case op.cipher:
			expected = declared[strings.ToLower(name)]
			f.Encrypted = len(inside) > 0 && !sameText(expected, inside)
		default: // nobody has written down what stood outside
			f.Encrypted = len(inside) > 0 && !sameText(outside, inside)
			if f.Encrypted && (name == "Subject" || len(outside) == 0) {
				expected = outside
			}
		}
		f.Differs = !sameText(outside, expected)
		if name == "From" && f.Differs {
			op.twoAuthors(&f, in)
		}
		op.Fields = append(op.Fields, f)
	}
	return nil
}

// twoAuthors: an author inside and another one outside. The signature is good
// only if it vouches for both; otherwise the outer one is shown, which everybody
// else has judged (RFC 9788 section 4.4).
func (op *Opened) twoAuthors(f *ProtectedField, in *mail.Header) {
	inner := authorOf(in, message.Address{})
	for i := range op.Layers {
		for j := range op.Layers[i].Signatures {
			s := &op.Layers[i].Signatures[j]
			if s.Verdict == Good && (inner.trick != "" || !inner.vouchedBy(s.Addresses)) {
				s.Verdict, s.Detail = WrongSender, "the From field inside names another author"
				f.Shown = false
			}
		}
	}
	if op.Signature == Good && !f.Shown {
		op.Signature = WrongSender
	}
	f.Shown = f.Shown && op.Signature == Good
}

// scheme tells how the header of the content is protected; a whole message
// inside becomes the content.
func (op *Opened) scheme() (string, error) {
	root := op.Content.Root
	hp := strings.ToLower(root.Params["hp"])
	switch {
	case len(root.Header.All("Content-Type")) > 1:
		return "", nil
	case hp == "clear" || hp == "cipher":
		op.cipher = hp == "cipher"
		return SchemeHP, nil
	case strings.EqualFold(root.Params["protected-headers"], "v1"):
		return SchemeV1, nil
	case root.Type == "message/rfc822" && strings.EqualFold(root.Params["forwarded"], "no") && slices.Contains([]string{"7bit", "8bit", "binary"}, root.Encoding):
		inside := op.Content.Range
		inside.Start, inside.Size = inside.Start+root.Body.Start, root.Body.Len()
		e, err := NewEntity(inside)
		if err != nil {
			return "", err
		}
		op.Content = e
		return SchemeWrapped, nil
	}
	return "", nil
}

// outerOf reads the HP-Outer fields (RFC 9788 section 2.2).
func outerOf(in *mail.Header) map[string][]string {
	all := map[string][]string{}
	for i, text := range in.All("HP-Outer") {
		name, value, ok := strings.Cut(text, ":")
		if i == maxOuter {
			break
		}
		if ok {
			name = strings.ToLower(strings.Trim(name, " \t"))
			all[name] = append(all[name], value)
		}
	}
	return all
}

// sameText compares values of fields as people read them: a relay may have
// folded or encoded them anew.
func sameText(a, b []string) bool {
	plain := func(s string) string { return strings.Join(strings.Fields(mail.DecodeText(s)), " ") }
	return slices.EqualFunc(a, b, func(x, y string) bool { return plain(x) == plain(y) })
}

// restore puts the protected fields in the place of those outside.
func (op *Opened) restore(h *mail.Header) error {
	for _, f := range op.Fields {
		if !f.Shown {
			continue
		}
		var inside []mail.Field
		for _, x := range op.inner.Fields() {
			if strings.EqualFold(x.Name, f.Name) {
				raw, err := regular(x)
				if err != nil {
					return err
				}
				inside = append(inside, mail.Field{Name: x.Name, Raw: raw})
			}
		}
		h.Exchange(f.Name, inside)
	}
	return nil
}

// Subject returns the subject that is shown, decoded: the protected one, where
// there is one.
func (op *Opened) Subject() string {
	for _, f := range op.Fields {
		if f.Name == "Subject" && f.Shown {
			return op.inner.Text("Subject")
		}
	}
	return op.outer.head.Text("Subject")
}
