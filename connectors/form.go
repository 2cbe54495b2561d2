package connectors

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"gatewayd/mail"
	"gatewayd/message"
	"gatewayd/policy"
)

// maxHeader bounds the header section, the only part of a message that is held
// in memory.
const maxHeader = 256 << 10

// Mark is how a platform is told the class of a message: by a tag that begins
// the subject, or by a header field. Exactly one of them is set. The zero Mark
// tells nothing and leaves the subject alone.
type Mark struct {
	Tag   string // "<r>"; the space behind it is ours
	Field string // "X-PSPH-REGISTERED-REQUEST"
	Value string // of Field
}

// Form is how one next system wants what it takes. A class without an entry in
// Marks is refused.
type Form struct {
	Host       string // right-hand side of the Message-IDs that we write
	Marks      map[message.Class]Mark
	MaxSize    int64             // octets; 0: no limit of ours
	Vocabulary policy.Vocabulary // how users say the class: their own tag is taken off
	PassDSN    bool              // ask the next system for the DSNs that the submitter asked for (RFC 3461)
	// Sealed: the content was encrypted before (S/MIME, OpenPGP). Then classes
	// that must be protected need no mark, and a message whose header does not
	// say that it is encrypted is refused, whatever its class.
	Sealed bool
}

// Check reports what is wrong with the form, all of it.
func (f Form) Check() error {
	var errs []error
	if f.Host == "" || !plainWord(f.Host) {
		errs = append(errs, errors.New("host: a host name expected"))
	}
	if f.MaxSize < 0 {
		errs = append(errs, errors.New("max size: negative"))
	}
	for class, m := range f.Marks {
		switch {
		case m == Mark{}:
			if class.MustEncrypt() && !f.Sealed {
				errs = append(errs, fmt.Errorf("class %s: has neither tag nor header field", class))
			}
		case m.Tag != "" && m.Field != "":
			errs = append(errs, fmt.Errorf("class %s: has both tag and header field", class))
		case m.Tag != "" && !goodTag(m.Tag):
			errs = append(errs, fmt.Errorf("class %s: the tag must be 1 to 30 printable ASCII characters", class))
		case m.Tag == "" && (!plainWord(m.Field) || strings.Contains(m.Field, ":") || m.Value == "" || !printableASCII(m.Value)):
			errs = append(errs, fmt.Errorf("class %s: not a header field with a value", class))
		}
	}
	registered := f.Marks[message.Registered]
	for class, m := range f.Marks {
		if class != message.Registered && m != (Mark{}) && m == registered {
			errs = append(errs, fmt.Errorf("class %s: has the same tag as class registered", class))
		}
	}
	return errors.Join(errs...)
}

// goodTag keeps out what would change under folding or decoding.
func goodTag(tag string) bool {
	return len(tag) <= 30 && printableASCII(tag) && strings.TrimSpace(tag) == tag && !strings.Contains(tag, "=?")
}

// Outgoing is a message in the platform's form.
type Outgoing struct {
	Mail   Mail
	SentAs string // Message-ID that will leave
}

// Build makes what leaves from what was accepted and proves it: the header
// octets that it returns have been read again and carry exactly what the class
// demands (check.go). Errors about the message are Permanent, and nothing of
// it has been sent; a body that can't be read is Temporary.
func (f Form) Build(h Handover) (Outgoing, error) {
	class := h.Item.Decision.Class
	mark, ok := f.Marks[class]
	if !ok {
		return Outgoing{}, Refuse(StepForm, "5.7.1", fmt.Sprintf("class %s is not carried this way", class))
	}
	if err := checkHandover(h, mark); err != nil {
		return Outgoing{}, err
	}
	head, size, err := readHead(h.Body)
	if err != nil {
		return Outgoing{}, err
	}
	if f.Sealed && !isSealed(head) {
		return Outgoing{}, Refuse(StepForm, "5.7.1", "the content is not encrypted")
	}
	start := int64(head.Len())
	if err := f.rewrite(head, h, mark); err != nil {
		return Outgoing{}, err
	}
	raw := ended(head.Bytes())
	if mark != (Mark{}) {
		if err := checkHeader(raw, f.expected(h, mark)); err != nil {
			return Outgoing{}, err
		}
	}
	if f.MaxSize > 0 && size-start+int64(len(raw)) > f.MaxSize {
		return Outgoing{}, Refuse(StepForm, "5.3.4", fmt.Sprintf("the message is larger than %d octets", f.MaxSize))
	}
	m := Mail{From: h.From, To: h.To, Header: raw, Body: h.Body, Start: start, UTF8: h.Envelope.UTF8}
	if f.PassDSN {
		m.DSN = &DSN{EnvID: h.Envelope.EnvID, Ret: h.Envelope.Ret, Notify: h.Item.Recipient.Notify, ORcpt: h.Item.Recipient.ORcpt}
	}
	return Outgoing{Mail: m, SentAs: head.Get("Message-ID")}, nil
}

// isSealed reports whether the header says, once and clearly, that all content
// is encrypted: S/MIME enveloped data (RFC 8551) or PGP/MIME (RFC 3156).
func isSealed(head *mail.Header) bool {
	types := head.All("Content-Type")
	if len(types) != 1 {
		return false
	}
	kind, params := mail.ParseParams(types[0])
	switch strings.ToLower(kind) {
	case "application/pkcs7-mime":
		smime := strings.ToLower(params["smime-type"])
		return smime == "enveloped-data" || smime == "authenveloped-data"
	case "multipart/encrypted":
		return strings.EqualFold(params["protocol"], "application/pgp-encrypted")
	}
	return false
}

// checkHandover looks at what stands outside the message. One hand-over has one
// recipient by its type; the platform's receipts then speak of one person.
func checkHandover(h Handover, mark Mark) error {
	if mark == (Mark{}) {
		return nil
	}
	class := h.Item.Decision.Class
	switch want := strings.TrimSpace(h.Item.Decision.Tag); {
	case want != "" && want != mark.Tag:
		return Refuse(StepForm, "5.7.1", "the decision names another subject tag than the platform's configuration")
	case h.From.IsNull():
		return Refuse(StepForm, "5.7.1", "the authority has no address on this platform")
	case class == message.Registered && h.Item.Reference == "":
		return Refuse(StepForm, "5.7.1", "a registered message needs a reference")
	case h.Item.Reference != "" && !goodReference(h.Item.Reference):
		return Refuse(StepForm, "5.7.1", "the reference does not have its form")
	}
	return nil
}

// goodReference keeps the reference within the 40 characters of the subject
// that a PrivaSphere receipt repeats, with room for its brackets.
func goodReference(ref string) bool {
	return len(ref) >= 4 && len(ref) <= 30 && strings.Trim(ref, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// readHead reads the header section and measures the whole message.
func readHead(body io.ReadSeeker) (*mail.Header, int64, error) {
	size, err := body.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = body.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, 0, &Error{Step: StepForm, Err: fmt.Errorf("read message: %w", err)}
	}
	head, err := mail.ReadHeader(bufio.NewReader(body), maxHeader)
	if errors.Is(err, mail.ErrHeaderTooLong) {
		return nil, 0, Refuse(StepForm, "5.6.0", fmt.Sprintf("the header section is longer than %d octets", maxHeader))
	}
	if err != nil {
		return nil, 0, &Error{Step: StepForm, Err: fmt.Errorf("read message: %w", err)}
	}
	return head, size, nil
}

// rewrite changes the header: trace field on top, no Bcc, a Message-ID, and on
// platforms the subject and the fields that command it. Every other field
// stays, octet for octet.
func (f Form) rewrite(head *mail.Header, h Handover, mark Mark) error {
	head.Remove("Bcc")
	if h.Item.Decision.Class == message.Registered || head.Get("Message-ID") == "" {
		if err := head.Replace("Message-ID", f.messageID(h.Item.Key)); err != nil {
			return formError(err)
		}
	}
	if mark != (Mark{}) {
		if err := f.applyMark(head, h, mark); err != nil {
			return err
		}
	}
	if h.Received == "" {
		return nil
	}
	if err := head.Prepend(h.Received); err != nil {
		return formError(err)
	}
	return nil
}

// messageID is the Message-ID of an item's own. It follows from the item alone:
// a second attempt leaves under the same, and it is known even when the
// hand-over's end is not. The item's ID holds 80 random bits, so nobody outside
// can guess one.
func (f Form) messageID(k message.ItemKey) string {
	return fmt.Sprintf("<%s.%d@%s>", k.Message, k.N, f.Host)
}

// applyMark writes "<tag> [reference] rest". Of the user's subject the own tag
// is taken off, and what a platform could read as a command neutralised.
func (f Form) applyMark(head *mail.Header, h Handover, mark Mark) error {
	_, rest, _ := f.Vocabulary.Read(head.Text("Subject"))
	clean, ok := f.harmless(rest)
	if !ok {
		return Refuse(StepForm, "5.7.1", "the subject holds a command to the platform that may not be sent")
	}
	for _, field := range head.Fields() {
		if commands(field.Name) {
			head.Remove(field.Name)
		}
	}
	if mark.Field != "" {
		if err := head.Replace(mark.Field, mark.Value); err != nil {
			return formError(err)
		}
	}
	return formError(head.Replace("Subject", mail.EncodeSubject(opening(mark.Tag, h.Item.Reference), clean)))
}

// tags lists the platform's subject tags: users may not write any of them.
func (f Form) tags() []string {
	var tags []string
	for _, m := range f.Marks {
		if m.Tag != "" {
			tags = append(tags, m.Tag)
		}
	}
	return tags
}

// harmless neutralises until nothing is found any more: breaking one pair of
// brackets can lay bare another. ok is false for text that must not be sent.
func (f Form) harmless(text string) (clean string, ok bool) {
	const rounds = 100 // what is left then, the check finds
	for range rounds {
		clean, found, reject := policy.Hygiene(text, f.tags()...)
		if reject {
			return "", false
		}
		if len(found) == 0 {
			return clean, true
		}
		text = clean
	}
	return text, true
}

// opening is what the subject begins with.
func opening(tag, reference string) string {
	if reference == "" {
		return tag
	}
	return strings.TrimSpace(tag + " [" + reference + "]")
}

func (f Form) expected(h Handover, mark Mark) expected {
	e := expected{tags: f.tags(), opening: opening(mark.Tag, h.Item.Reference), field: mark.Field, value: mark.Value}
	if h.Item.Decision.Class == message.Registered {
		e.messageID = f.messageID(h.Item.Key)
	}
	return e
}

// commands reports whether a field of that name could command a platform
// (platforms.md names X-PSPH-REGISTERED-REQUEST; its kin are unknown and so all
// are taken).
func commands(name string) bool {
	name = strings.ToUpper(name)
	return strings.HasPrefix(name, "X-PSPH") || strings.HasPrefix(name, "X-PRIVASPHERE") || strings.HasPrefix(name, "X-INCAMAIL")
}

// ended adds the blank line to a message that has no body.
func ended(raw []byte) []byte {
	switch {
	case bytes.HasSuffix(raw, []byte("\r\n\r\n")) || string(raw) == "\r\n":
		return raw
	case bytes.HasSuffix(raw, []byte("\n")):
		return append(raw, "\r\n"...)
	}
	return append(raw, "\r\n\r\n"...)
}

// formError makes a refusal of a field that can't be written. The cause names
// the field, never its value.
func formError(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: Permanent, Step: StepForm, Code: 554, Enhanced: "5.6.0", Text: "a header field can't be written", Err: err}
}

// Submit builds, checks and sends: the whole of a connector's Submit. The
// Result names the Message-ID from the moment the message was built.
func (f Form) Submit(ctx context.Context, c Sender, h Handover) (Result, error) {
	out, err := f.Build(h)
	if err != nil {
		return Result{}, err
	}
	return out.Send(ctx, c)
}

// Send hands the message over by that Sender.
func (o Outgoing) Send(ctx context.Context, c Sender) (Result, error) {
	sent, err := c.Send(ctx, o.Mail)
	if err != nil {
		return Result{SentAs: o.SentAs}, err
	}
	return Result{Reply: sent.Reply, RemoteID: remoteID(sent.Reply), SentAs: o.SentAs, DSN: sent.DSN}, nil
}

// remoteID finds the next system's own id in the reply to the final dot. The
// forms are those of the systems we meet: Postfix, gatewayd, Exim, Sendmail.
func remoteID(text string) string {
	for _, mark := range []string{"queued as ", "accepted as ", " id="} {
		_, after, ok := strings.Cut(" "+text, mark)
		if !ok {
			continue
		}
		id := after
		if i := strings.IndexAny(id, " ;,)"); i >= 0 {
			id = id[:i]
		}
		if id != "" && len(id) <= 100 {
			return strings.TrimSuffix(id, ".")
		}
	}
	return ""
}

// plainWord reports whether s is printable US-ASCII without blanks or brackets.
func plainWord(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '<' || r == '>' }) < 0
}

func printableASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
