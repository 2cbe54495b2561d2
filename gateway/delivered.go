package gateway

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

// TagEncrypted is the key in Authority.Tags for mail that came encrypted and
// was opened; the other keys are the words of entity.Word.
const TagEncrypted = "encrypted"

// TagNames lists the keys that Authority.Tags may have.
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
func (g *Gateway) stamp(authority string, s entity.Summary) func(*mail.Header) error {
	return func(h *mail.Header) error {
		b := border.Border{Host: g.o.Hostname}
		a := g.byID[authority]
		if a != nil {
			b.Tags = slices.Sorted(maps.Values(a.Tags))
		}
		b.Clean(h)
		if a != nil {
			if err := tagSubject(h, a.tagsFor(s)); err != nil {
				return err
			}
		}
		return h.PrependText(VerdictField, s.Line())
	}
}

// tagsFor returns the subject tags that a verdict brings.
func (a *Authority) tagsFor(s entity.Summary) []string {
	var tags []string
	if t := a.Tags[string(s.Word)]; t != "" {
		tags = append(tags, t)
	}
	switch s.Encryption {
	case entity.Decrypted, entity.Malleable, entity.WeakCipher:
		if t := a.Tags[TagEncrypted]; t != "" {
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
func (g *Gateway) summary(ctx context.Context, env message.Envelope) (entity.Summary, error) {
	if env.PlainText {
		return entity.Unprotected(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, askedWithin)
	defer cancel()
	opening, err := g.open(ctx, env, true)
	if err != nil {
		return entity.Summary{}, err
	}
	defer opening.Close()
	return opening.Summary(), nil
}

// delivered is a message that is written for a member to read.
type delivered struct {
	write func(io.Writer) error
	Opening
}

// WriteTo implements io.WriterTo.
func (d *delivered) WriteTo(w io.Writer) (int64, error) {
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

// Delivered returns a message of an authority in its opened form, with the
// verdict about it. What cannot be opened, what is held back and what carries a
// broken signature keeps its protection. Closing it forgets what was decrypted.
// vault.ErrGone, queue.ErrNotFound.
func (p *Programs) Delivered(ctx context.Context, authority string, id message.ID) (interface {
	io.WriterTo
	io.Closer
}, error,
) {
	return p.delivered(ctx, authority, id, false)
}

// DeliveredWithOriginal is Delivered with the message as it came attached to what was taken
// out of it.
func (p *Programs) DeliveredWithOriginal(ctx context.Context, authority string, id message.ID) (interface {
	io.WriterTo
	io.Closer
}, error,
) {
	return p.delivered(ctx, authority, id, true)
}

func (p *Programs) delivered(ctx context.Context, authority string, id message.ID, original bool) (*delivered, error) {
	env, body, err := p.Body(ctx, authority, id)
	if err != nil {
		return nil, err
	}
	if err := body.Close(); err != nil {
		return nil, err
	}
	d, err := p.g.opened(ctx, env, original)
	if err != nil {
		return nil, fmt.Errorf("open message %s: %w", id, err)
	}
	return d, nil
}

// opened makes the opened form of a message ready.
func (g *Gateway) opened(ctx context.Context, env message.Envelope, original bool) (*delivered, error) {
	opening, err := g.Open(ctx, env)
	if err != nil {
		return nil, err
	}
	edit := func(*mail.Header) error { return nil }
	if env.Direction == message.Inbound {
		edit = g.stamp(env.Authority, opening.Summary())
		if len(opening.Layers) > 0 { // its key may have come after it was scanned
			found, err := g.infectedInside(ctx, opening.Opened)
			if found != "" {
				err = errUnscanned
			}
			if err != nil {
				return nil, errors.Join(err, opening.Close())
			}
		}
	}
	d := &delivered{Opening: opening}
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

// Contents tells what lies in a message of an authority as Delivered gives it,
// also in a winmail.dat, and what its protection is worth.
func (p *Programs) Contents(ctx context.Context, authority string, id message.ID) (entity.Contents, error) {
	d, err := p.delivered(ctx, authority, id, false)
	if err != nil {
		return entity.Contents{}, err
	}
	defer d.Close()
	return p.g.look(d)
}

// look reads the delivered form; on the disk it is sealed.
func (g *Gateway) look(d *delivered) (entity.Contents, error) {
	spool := func(limit int64) entity.Spool { return entity.NewSpool(g.o.Data, limit) }
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
	head, err := mail.ReadHeader(in, maxHeader)
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
func (g *Gateway) asItCame(ctx context.Context, env message.Envelope, body io.ReadSeeker) (io.ReadSeeker, error) {
	s, err := g.summary(ctx, env)
	if errors.Is(err, entity.ErrTooLarge) { // beyond what is looked at
		s, err = entity.Unlooked(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the protection: %w", err)
	}
	head, err := mail.ReadHeader(bufio.NewReader(body), maxHeader)
	if err != nil {
		return nil, err
	}
	start := int64(head.Len())
	if err := g.stamp(env.Authority, s)(head); err != nil {
		return nil, &connectors.Error{Kind: connectors.Permanent, Step: connectors.StepForm, Code: 554, Enhanced: "5.6.0", Text: "the header cannot be written", Err: err}
	}
	return newSpliced(head.Bytes(), body, start)
}

// forwarded returns what leaves for the authority's own server: as it came, or
// where the authority wants that opened, with the original attached. done is to
// be called afterwards.
func (g *Gateway) forwarded(ctx context.Context, env message.Envelope, body io.ReadSeeker) (content io.ReadSeeker, done func(), err error) {
	done = func() {}
	if a := g.byID[env.Authority]; a == nil || !a.ForwardOpened || env.PlainText {
		content, err = g.asItCame(ctx, env, body)
		return content, done, err
	}
	d, err := g.opened(ctx, env, true)
	if err != nil {
		return nil, done, err
	}
	defer d.Close()
	if keeps(d.Opened) {
		content, err = g.asItCame(ctx, env, body)
		return content, done, err
	}
	s := entity.NewSpool(g.o.Data, maxProtected)
	size, err := d.WriteTo(s)
	if err != nil {
		return nil, done, errors.Join(err, s.Close())
	}
	return io.NewSectionReader(s, 0, size), func() { s.Close() }, nil
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

// protectionOf reads from the events of a received message what its protection
// was worth when it was last looked at; nil: it was not.
func protectionOf(events []message.Event) map[string]string {
	var found map[string]string
	for _, e := range events {
		switch {
		case e.Kind != message.EventMailbox && e.Kind != message.EventOpened:
		case e.Data["verdict"] != "":
			found = maps.Clone(e.Data)
			delete(found, "to")
		case found == nil:
			found = map[string]string{"verdict": string(entity.WordUnsigned), "signature": string(entity.NotSigned), "encryption": string(entity.NotEncrypted)}
		}
	}
	return found
}

// maxForSubject is the largest message that is opened for its subject in a list, in
// octets; of a larger one the outer subject is shown.
const maxForSubject = 4 << 20

// Subjects adds the subject to each message of a page: as its author wrote it, also
// where it is hidden outside of the encryption. What was erased, and what the
// scanner has not seen, has none.
func (p *Programs) Subjects(ctx context.Context, page []message.Story) {
	for i, s := range page {
		if ctx.Err() != nil {
			return
		}
		if !p.g.readable(s) || !slices.ContainsFunc(s.Items, func(i message.Item) bool { return i.EraseBy.After(p.g.now()) }) {
			continue
		}
		subject, err := p.g.subject(ctx, s.Envelope)
		if err != nil {
			p.g.o.Log.Warn("a subject cannot be read", "message", s.Envelope.ID.String(), "error", err)
		}
		page[i].Subject = subject
	}
}

func (g *Gateway) subject(ctx context.Context, env message.Envelope) (string, error) {
	if env.PlainText || env.Direction != message.Inbound || env.Content.Size > maxForSubject {
		head, err := g.header(env)
		if err != nil || head == nil {
			return "", err
		}
		return g.cleanSubject(env, head.Text("Subject")), nil
	}
	opening, err := g.Open(ctx, env)
	if errors.Is(err, vault.ErrGone) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer opening.Close()
	return g.cleanSubject(env, opening.Subject()), nil
}

// cleanSubject takes from the subject of a received mail what looks like our tags.
func (g *Gateway) cleanSubject(env message.Envelope, text string) string {
	a := g.byID[env.Authority]
	if a == nil || env.Direction != message.Inbound {
		return text
	}
	clean, _ := border.Border{Tags: slices.Sorted(maps.Values(a.Tags))}.Subject(text)
	return clean
}
