package forms

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"gatewayd/connectors"
	"gatewayd/crypto/entity"
	"gatewayd/mail"
	"gatewayd/mail/border"
	"gatewayd/message"
	"gatewayd/vault"
)

// VerdictField is the header field in which the gateway says what the
// protection of a received mail is worth. Whoever else writes it, or one that
// looks like it, is not delivered with it (package border).
const VerdictField = "X-Gatewayd-Verdict"

// TagEncrypted is the key in Manner.Tags for mail that came encrypted and
// was opened; the other keys are the words of entity.Word.
const TagEncrypted = "encrypted"

// TagNames lists the keys that Manner.Tags may have.
func TagNames() []string {
	names := []string{TagEncrypted}
	for _, w := range entity.Words() {
		names = append(names, string(w))
	}
	return names
}

// Delivery of received mail knows two forms. As it came: the header is cleaned
// of what only we may say, the verdict stands on top, every other octet stays.
// Opened: without S/MIME and OpenPGP besides. What is stored is neither.

// stamp edits the header of a received mail for delivery.
func (f *Forms) stamp(authority string, s entity.Summary) func(*mail.Header) error {
	return func(h *mail.Header) error {
		b := border.Border{Host: f.o.Host}
		m := f.o.Manner(authority)
		b.Tags = slices.Sorted(maps.Values(m.Tags))
		b.Clean(h)
		if err := tagSubject(h, m.tagsFor(s)); err != nil {
			return err
		}
		return h.PrependText(VerdictField, s.Line())
	}
}

// tagsFor returns the subject tags that a verdict brings.
func (m Manner) tagsFor(s entity.Summary) []string {
	var tags []string
	if t := m.Tags[string(s.Word)]; t != "" {
		tags = append(tags, t)
	}
	switch s.Encryption {
	case entity.Decrypted, entity.Malleable, entity.WeakCipher:
		if t := m.Tags[TagEncrypted]; t != "" {
			tags = append(tags, t)
		}
	}
	return tags
}

func tagSubject(h *mail.Header, tags []string) error {
	if len(tags) == 0 {
		return nil
	}
	return h.Replace("Subject", mail.EncodeText(strings.Join(append(tags, h.Text("Subject")), " ")))
}

// summary says what the protection of a received mail is worth.
func (f *Forms) summary(ctx context.Context, env message.Envelope) (entity.Summary, error) {
	if env.PlainText {
		return entity.Unprotected(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, askedWithin)
	defer cancel()
	opening, err := f.open(ctx, env, true)
	if err != nil {
		return entity.Summary{}, err
	}
	defer opening.Close()
	return opening.Summary(), nil
}

// Delivered is a message that is written for a member to read.
type Delivered struct {
	write func(io.Writer) error
	Opening
}

// WriteTo implements io.WriterTo.
func (d *Delivered) WriteTo(w io.Writer) (int64, error) {
	c := &counting{w: w}
	err := d.write(c)
	return c.n, err
}

type counting struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Delivered makes the opened form of a message ready, with the verdict about it; with
// original the message as it came is attached to what was taken out of it. What cannot
// be opened, what is held back and what carries a broken signature keeps its
// protection. vault.ErrGone; ErrUnscanned.
func (f *Forms) Delivered(ctx context.Context, env message.Envelope, original bool) (*Delivered, error) {
	opening, err := f.Open(ctx, env)
	if err != nil {
		return nil, err
	}
	edit := func(*mail.Header) error { return nil }
	if env.Direction == message.Inbound {
		edit = f.stamp(env.Authority, opening.Summary())
		if len(opening.Layers) > 0 { // its key may have come after it was scanned
			found, err := f.infectedInside(ctx, opening.Opened)
			if found != "" {
				err = ErrUnscanned
			}
			if err != nil {
				return nil, errors.Join(err, opening.Close())
			}
		}
	}
	d := &Delivered{Opening: opening}
	switch {
	case keeps(opening.Opened):
		d.write = func(w io.Writer) error { return rewritten(w, opening.stored(), edit) }
	case original:
		d.write = func(w io.Writer) error {
			_, err := opening.WriteEvidence(w, opening.stored(), edit)
			return err
		}
	default:
		d.write = func(w io.Writer) error {
			_, err := opening.WriteMessage(w, edit)
			return err
		}
	}
	return d, nil
}

// Look tells what lies in the delivered form, also in a winmail.dat; on the disk it is
// sealed.
func (f *Forms) Look(d *Delivered) (entity.Contents, error) {
	spool := func(limit int64) entity.Spool { return entity.NewSpool(f.o.Data, limit) }
	s := spool(maxProtected)
	defer s.Close()
	size, err := d.WriteTo(s)
	if err != nil {
		return entity.Contents{}, err
	}
	return d.Look(s, size, spool)
}

// keeps reports whether a message is delivered with the protection that it has.
func keeps(op *entity.Opened) bool {
	return len(op.Layers) == 0 || op.Content == nil || op.Signature == entity.Broken
}

// rewritten writes a message with an edited header; its body stays octet for
// octet.
func rewritten(w io.Writer, r io.Reader, edit func(*mail.Header) error) error {
	in := bufio.NewReader(r)
	head, err := mail.ReadHeader(in, MaxHeader)
	if err == nil {
		err = edit(head)
	}
	if err == nil {
		_, err = w.Write(head.Bytes())
	}
	if err == nil {
		_, err = io.Copy(w, in)
	}
	return err
}

// asItCame returns what leaves for the authority's own server: the message as
// it came under a header that says only what we know.
func (f *Forms) asItCame(ctx context.Context, env message.Envelope, body io.ReadSeeker) (io.ReadSeeker, error) {
	s, err := f.summary(ctx, env)
	if errors.Is(err, entity.ErrTooLarge) { // beyond what is looked at
		s, err = entity.Unlooked(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the protection: %w", err)
	}
	head, err := mail.ReadHeader(bufio.NewReader(body), MaxHeader)
	if err != nil {
		return nil, err
	}
	start := int64(head.Len())
	if err := f.stamp(env.Authority, s)(head); err != nil {
		return nil, &connectors.Error{Kind: connectors.Permanent, Step: connectors.StepForm, Code: 554, Enhanced: "5.6.0", Text: "the header cannot be written", Err: err}
	}
	return newSpliced(head.Bytes(), body, start)
}

// Forwarded returns what leaves for the authority's own server: as it came, or
// where the authority wants that opened, with the original attached. What is too
// large or too deep to be opened goes as it came. done is to be called afterwards.
func (f *Forms) Forwarded(ctx context.Context, env message.Envelope, body io.ReadSeeker) (content io.ReadSeeker, done func(), err error) {
	done = func() {}
	if !f.o.Manner(env.Authority).ForwardOpened || env.PlainText {
		content, err = f.asItCame(ctx, env, body)
		return content, done, err
	}
	s := entity.NewSpool(f.o.Data, maxProtected)
	size, err := f.openedTo(ctx, s, env)
	switch {
	case err == nil && size > 0:
		return io.NewSectionReader(s, 0, size), func() { s.Close() }, nil
	case err == nil, errors.Is(err, entity.ErrTooLarge):
		content, err = f.asItCame(ctx, env, body)
	}
	if closed := s.Close(); err == nil {
		err = closed
	}
	return content, done, err
}

// openedTo writes the opened form with the original attached; 0 octets where the
// message keeps its protection.
func (f *Forms) openedTo(ctx context.Context, w io.Writer, env message.Envelope) (int64, error) {
	d, err := f.Delivered(ctx, env, true)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	if keeps(d.Opened) {
		return 0, nil
	}
	return d.WriteTo(w)
}

// spliced reads new octets in the place of the first of a message.
type spliced struct {
	front []byte
	rest  io.ReadSeeker
	start int64 // of what stays
	size  int64 // of the whole
	at    int64
}

func newSpliced(front []byte, rest io.ReadSeeker, start int64) (*spliced, error) {
	end, err := rest.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	s := &spliced{front: front, rest: rest, start: start, size: int64(len(front)) + end - start}
	_, err = s.Seek(0, io.SeekStart)
	return s, err
}

// Read implements io.Reader.
func (s *spliced) Read(p []byte) (int, error) {
	if s.at < int64(len(s.front)) {
		n := copy(p, s.front[s.at:])
		s.at += int64(n)
		return n, nil
	}
	n, err := s.rest.Read(p)
	s.at += int64(n)
	return n, err
}

// Seek implements io.Seeker.
func (s *spliced) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += s.at
	case io.SeekEnd:
		off += s.size
	}
	if off < 0 {
		return s.at, errors.New("seek before the start")
	}
	if _, err := s.rest.Seek(s.start+max(off-int64(len(s.front)), 0), io.SeekStart); err != nil {
		return s.at, err
	}
	s.at = off
	return off, nil
}

// maxForSubject is the largest message that is opened for its subject in a list, in
// octets; of a larger one, or one that cannot be opened to its end, the outer subject is
// shown.
const maxForSubject = 4 << 20

// Subject is the subject of a message as its author wrote it, also where it is hidden
// outside of the encryption; "" when it was erased.
func (f *Forms) Subject(ctx context.Context, env message.Envelope) (string, error) {
	if env.PlainText || env.Direction != message.Inbound || env.Content.Size > maxForSubject {
		return f.outerSubject(env)
	}
	opening, err := f.Open(ctx, env)
	switch {
	case errors.Is(err, vault.ErrGone):
		return "", nil
	case errors.Is(err, entity.ErrTooLarge):
		return f.outerSubject(env)
	}
	if err != nil {
		return "", err
	}
	defer opening.Close()
	return f.cleanSubject(env, opening.Subject()), nil
}

func (f *Forms) outerSubject(env message.Envelope) (string, error) {
	head, err := f.Header(env)
	if err != nil || head == nil {
		return "", err
	}
	return f.cleanSubject(env, head.Text("Subject")), nil
}

// cleanSubject takes from the subject of a received mail what looks like our tags.
func (f *Forms) cleanSubject(env message.Envelope, text string) string {
	if env.Direction != message.Inbound {
		return text
	}
	clean, _ := border.Border{Tags: slices.Sorted(maps.Values(f.o.Manner(env.Authority).Tags))}.Subject(text)
	return clean
}
