package entity

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"gatewayd/mail"
	"gatewayd/mail/parts"
	"gatewayd/message"
)

// Limits bound what Open does. A zero field means its default.
type Limits struct {
	Layers int   // layers taken off; default 12
	Size   int64 // octets of content of one layer; default 64 MiB. All layers together: four times that
}

// Options say how to open a message.
type Options struct {
	Openers []Opener
	Spool   func(limit int64) Spool // where decrypted content goes; nil: NewSpool in the default folder for temporary files
	From    message.Address         // whose signature is wanted; zero: the From field's, if there is exactly one
	At      time.Time               // when the message came: keys and chains must be good then
	Limits  Limits
}

const defaultLayers = 12

// Opener takes one layer off, if it is of its technique.
type Opener interface {
	// Open looks at the root of e. nil means: not mine. Whatever is wrong with
	// the input is a verdict in the layer; failures of the spool and of e are
	// noticed by the caller.
	Open(e *Entity, w Work) *Layer
}

// Work is what an Opener may use.
type Work struct {
	At   time.Time   // when the message came
	Size int64       // limit of a layer's content, in octets
	Out  func() *Out // a new place for a layer's content; it is closed with the Opened
	// Fail tells of trouble of our own, such as a private key that cannot be
	// reached now: Open returns the error, and the layer counts for nothing.
	Fail func(error)
}

// Entity is a MIME entity with random access, its root and, of a
// multipart/signed or multipart/encrypted, the parts directly below it.
type Entity struct {
	Range
	Root     parts.Part
	Children []parts.Part
}

// NewEntity looks at the root of a stretch, and at the parts below it where they
// are protection: only then is the whole of it read.
func NewEntity(r Range) (*Entity, error) {
	tree, err := parts.ReadRoot(r.Reader(), r.Size, parts.Limits{Depth: 2, Parts: 64}, func(root parts.Part) bool {
		return root.Type == "multipart/signed" || root.Type == "multipart/encrypted"
	})
	if err != nil {
		return nil, fmt.Errorf("read entity: %w", err)
	}
	return &Entity{Range: r, Root: tree.Parts[0], Children: tree.Parts[1:]}, nil
}

// Part returns the stretch of a child with its header: the octets under a
// signature.
func (e *Entity) Part(p parts.Part) Range {
	return Range{e.ReaderAt, e.Start + p.Whole.Start, p.Whole.Len()}
}

// Protocol returns the protocol parameter of a multipart/signed or
// multipart/encrypted (RFC 1847), or where it is missing the type of the part
// in which the protocol shows.
func (e *Entity) Protocol() string {
	protocol := e.Root.Params["protocol"]
	if protocol != "" || len(e.Children) != 2 {
		return protocol
	}
	if e.Root.Type == "multipart/encrypted" {
		return e.Children[0].Type
	}
	return e.Children[1].Type
}

// Decoded returns the body of the root or of a child without its transfer
// encoding.
func (e *Entity) Decoded(p parts.Part) io.Reader { return p.Decode(e.Reader()) }

// Opened is a message without its protection, and what that was worth. It must
// be closed.
type Opened struct {
	Layers     []Layer    // outermost first
	Encryption Encryption // of the message
	Signature  Signing    // of the message: who wrote the content?
	Content    *Entity    // the innermost entity; nil: not opened or held back, see Detail
	Detail     string     // why there is no Content
	Scheme     string     // by which header fields were protected; "" if none were
	Fields     []ProtectedField

	author  author
	inner   *mail.Header // of the content, where Scheme is set
	cipher  bool         // hp="cipher"
	buried  bool         // something encrypted lies deeper than it may
	outer   *Message
	source  watched
	outs    []*Out
	spooled int64 // octets of content of all layers
	failed  error // of an opener
}

// Open takes the layers of protection off the stored message of size octets
// that r holds. r must stay readable while the Opened is used.
//
// Errors are trouble of our own or ErrTooLarge; whatever is wrong with the
// message is a verdict. Content whose signature is broken although it came
// encrypted is held back: showing it could give an attacker the plain text that
// he made us decrypt (EFAIL).
func Open(r io.ReaderAt, size int64, o Options) (*Opened, error) {
	if o.At.IsZero() {
		return nil, fmt.Errorf("open message: %w", ErrNoTime)
	}
	outer, err := Split(r, size)
	if err != nil {
		return nil, err
	}
	op := &Opened{outer: outer}
	if err := op.open(Range{r, 0, size}, o); err != nil {
		return nil, errors.Join(err, op.Close())
	}
	return op, nil
}

func (op *Opened) open(whole Range, o Options) error {
	op.source.ReaderAt = whole.ReaderAt
	whole.ReaderAt = &op.source
	e, err := NewEntity(whole)
	if err != nil {
		return err
	}
	op.author = authorOf(e.Root.Header, o.From)
	layers, w := o.Limits.Layers, op.work(o)
	if layers <= 0 {
		layers = defaultLayers
	}
	for e != nil && definite(e.Root.Header) {
		layer := takeOff(e, o.Openers, w)
		if err := op.trouble(); err != nil {
			return fmt.Errorf("open message: %w", err)
		}
		if layer == nil {
			break
		}
		if len(op.Layers) == layers {
			return fmt.Errorf("open message: %w: over %d layers", ErrTooLarge, layers)
		}
		if layer.Encryption != NotEncrypted && op.signedTwice() {
			op.buried = true
			break
		}
		op.author.judge(layer)
		inner := layer.Inner
		layer.Inner = nil // only Content is given out
		op.Layers = append(op.Layers, *layer)
		if e = nil; inner != nil {
			if e, err = NewEntity(*inner); err != nil {
				return err
			}
		}
	}
	op.Content = e
	if err := op.conclude(); err != nil {
		return err
	}
	return op.header()
}

// definite reports whether readers agree about what the entity is. With one
// field or parameter too many, one may see a signature where another sees a
// text, or the parts that another cuts out.
func definite(h *mail.Header) bool {
	if len(h.All("Content-Type")) > 1 || len(h.All("Content-Transfer-Encoding")) > 1 {
		return false
	}
	kind := strings.ToLower(strings.TrimSpace(h.Get("Content-Type")))
	if !strings.HasPrefix(kind, "multipart/") {
		return true
	}
	if !strings.ContainsAny(kind, `(*\`) && strings.Count(kind, "boundary") <= 1 && strings.Count(kind, "protocol") <= 1 {
		return true // as nearly all are
	}
	odd := mail.OddParams(kind)
	return !slices.Contains(odd, mail.OddTwice) && !slices.Contains(odd, mail.OddSplit) && !slices.Contains(odd, mail.OddComment)
}

// signedTwice reports whether the newest layers are two signatures. What is
// encrypted counts as the root or inside one signature (RFC 2634 section 1.1:
// triple wrapping); whoever puts a second signature around it signs something
// that he cannot read.
func (op *Opened) signedTwice() bool {
	n := len(op.Layers)
	return n > 1 && len(op.Layers[n-1].Signatures) > 0 && len(op.Layers[n-2].Signatures) > 0 &&
		op.Layers[n-1].Encryption == NotEncrypted && op.Layers[n-2].Encryption == NotEncrypted
}

func (op *Opened) work(o Options) Work {
	limit := o.Limits.Size
	if limit <= 0 {
		limit = 64 << 20
	}
	spool := o.Spool
	if spool == nil {
		spool = func(limit int64) Spool { return NewSpool("", limit) }
	}
	return Work{At: o.At, Size: limit, Out: func() *Out {
		s := spool(limit)
		out := &Out{source: watched{ReaderAt: s}, spool: s, all: &op.spooled, most: wholeLimit * limit}
		op.outs = append(op.outs, out)
		return out
	}, Fail: func(err error) {
		if op.failed == nil {
			op.failed = err
		}
	}}
}

// wholeLimit bounds the content of all layers together, as a multiple of that of one:
// enough for a triple wrapping, whereas packed content inside packed content would take
// the whole limit for each layer of a small mail.
const wholeLimit = 4

// Out takes the content of a layer.
type Out struct {
	source watched
	spool  Spool
	size   int64
	all    *int64 // octets of all layers
	most   int64  // that they may have
}

// Write implements io.Writer.
func (o *Out) Write(p []byte) (int, error) {
	n, err := 0, error(nil)
	if *o.all += int64(len(p)); *o.all > o.most {
		err = fmt.Errorf("%w: over %d octets in all layers", ErrTooLarge, o.most)
	} else {
		n, err = o.spool.Write(p)
	}
	o.size += int64(n)
	if err != nil && o.source.err == nil {
		o.source.err = err
	}
	return n, err
}

// Expect makes room for about so many octets, where that costs memory once instead of
// several times.
func (o *Out) Expect(n int64) {
	if s, ok := o.spool.(*spool); ok {
		s.grow(n)
	}
}

// Whole returns all that was written.
func (o *Out) Whole() *Range { return &Range{ReaderAt: &o.source, Size: o.size} }

// watched remembers the first failure of what the message is read from and
// spooled to: trouble of our own must not become a verdict about the sender.
type watched struct {
	io.ReaderAt
	err error
}

// ReadAt implements io.ReaderAt.
func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.ReaderAt.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) && w.err == nil {
		w.err = err
	}
	return n, err
}

func (op *Opened) trouble() error {
	if op.failed != nil {
		return op.failed
	}
	for _, out := range op.outs {
		if out.source.err != nil {
			return out.source.err
		}
	}
	return op.source.err
}

func takeOff(e *Entity, openers []Opener, w Work) *Layer {
	for _, opener := range openers {
		if layer := opener.Open(e, w); layer != nil {
			return layer
		}
	}
	return nil
}

// Outer returns the header fields of the message that stood outside of any
// protection.
func (op *Opened) Outer() *mail.Header { return op.outer.head }

// WriteMessage writes the opened message: the outer header, with protected fields
// in the place of those that stood outside, and the content with its own Content- fields, after each edit has changed what it wants in that
// header. Bare line feeds become CRLF: some encrypt what they have on disk.
func (op *Opened) WriteMessage(w io.Writer, edits ...func(*mail.Header) error) (int64, error) {
	head, inner, err := op.message(edits)
	if err != nil {
		return 0, fmt.Errorf("write opened message: %w", err)
	}
	p := Protected{head: head.Bytes(), write: func(w io.Writer) error {
		_, err := io.Copy(CRLF(w), inner.body.Reader())
		return err
	}}
	return p.WriteTo(w)
}

// WriteEvidence is WriteMessage with the message as it came beside the content: a
// multipart/mixed of both. The original is in base64, so that no way changes it.
func (op *Opened) WriteEvidence(w io.Writer, original io.Reader, edits ...func(*mail.Header) error) (int64, error) {
	head, inner, err := op.message(edits)
	if err != nil {
		return 0, fmt.Errorf("write opened message: %w", err)
	}
	boundary, err := NewBoundary()
	if err != nil {
		return 0, err
	}
	var content bytes.Buffer
	head.Filter(func(f mail.Field) bool {
		if isContent(f.Name) {
			content.Write(f.Raw)
		}
		return !isContent(f.Name)
	})
	head.Exchange("Content-Type", []mail.Field{{Name: "Content-Type", Raw: []byte("Content-Type: multipart/mixed;\r\n boundary=\"" + boundary + "\"\r\n")}})
	p := Protected{head: head.Bytes(), write: func(w io.Writer) error {
		_, err := io.Copy(w, io.MultiReader(
			strings.NewReader("--"+boundary+"\r\n"), bytes.NewReader(content.Bytes()), strings.NewReader("\r\n"), CRLFReader(inner.body.Reader()),
			strings.NewReader("\r\n--"+boundary+"\r\nContent-Type: application/octet-stream; name=\"original.eml\"\r\n"+
				"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"original.eml\"\r\n\r\n"),
			Base64Reader(original),
			strings.NewReader("\r\n--"+boundary+"--\r\n"),
		))
		return err
	}}
	return p.WriteTo(w)
}

// message forms the header of the opened message, and its content.
func (op *Opened) message(edits []func(*mail.Header) error) (head *mail.Header, inner *Message, err error) {
	if op.Content == nil {
		return nil, nil, fmt.Errorf("no content: %s", op.Detail)
	}
	if inner, err = Split(op.Content.Reader(), op.Content.Size); err != nil {
		return nil, nil, err
	}
	outer, err := op.outer.header()
	if err != nil {
		return nil, nil, err
	}
	if head, err = mail.ReadHeader(bufio.NewReader(io.MultiReader(bytes.NewReader(outer), CRLFReader(bytes.NewReader(inner.inside)))), 2*maxHeader); err != nil {
		return nil, nil, err
	}
	for _, edit := range append([]func(*mail.Header) error{op.restore}, edits...) {
		if err := edit(head); err != nil {
			return nil, nil, err
		}
	}
	return head, inner, nil
}

// Close gives back what decrypted content took.
func (op *Opened) Close() error {
	var errs []error
	for _, out := range op.outs {
		errs = append(errs, out.spool.Close())
	}
	op.outs, op.Content = nil, nil
	return errors.Join(errs...)
}
