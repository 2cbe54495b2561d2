package entity

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gatewayd/mail"
	"gatewayd/mail/parts"
	"gatewayd/message"
)

// Limits bound what Open does. A zero field means its default.
type Limits struct {
	Layers int   // layers taken off; default 8
	Size   int64 // octets of content of one layer; default 64 MiB
}

// Options say how to open a message.
type Options struct {
	Openers []Opener
	Spool   func(limit int64) Spool // where decrypted content goes; nil: NewSpool in the default folder for temporary files
	From    message.Address         // whose signature is wanted; zero: the From field's, if there is exactly one
	At      time.Time               // when the message came: keys and chains must be good then
	Limits  Limits
}

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
}

// Entity is a MIME entity with random access, its root and the parts directly
// below it.
type Entity struct {
	Range
	Root     parts.Part
	Children []parts.Part
}

// NewEntity looks at the stretch's structure, two levels deep.
func NewEntity(r Range) (*Entity, error) {
	section := r.Reader()
	tree, err := parts.Read(section, r.Size, parts.Limits{Depth: 2, Parts: 64})
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

	outer  *Message
	source watched
	outs   []*Out
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
	from := o.From
	if from.IsNull() {
		from, _, _ = mail.HeaderFrom(e.Root.Header)
	}
	layers, w := o.Limits.Layers, op.work(o)
	if layers <= 0 {
		layers = 8
	}
	for e != nil {
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
		judgeSender(layer, from)
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
	return op.conclude()
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
		out := &Out{source: watched{ReaderAt: s}, spool: s}
		op.outs = append(op.outs, out)
		return out
	}}
}

// Out takes the content of a layer.
type Out struct {
	source watched
	spool  Spool
	size   int64
}

// Write implements io.Writer.
func (o *Out) Write(p []byte) (int, error) {
	n, err := o.spool.Write(p)
	o.size += int64(n)
	if err != nil && o.source.err == nil {
		o.source.err = err
	}
	return n, err
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

// judgeSender turns good signatures by somebody else into WrongSender.
func judgeSender(l *Layer, from message.Address) {
	for i, s := range l.Signatures {
		if s.Verdict != Good {
			continue
		}
		found := false
		for _, a := range s.Addresses {
			found = found || !from.IsNull() && a.Key() == from.Key()
		}
		if !found {
			l.Signatures[i].Verdict = WrongSender
		}
	}
}

// conclude forms the verdicts about the whole message.
func (op *Opened) conclude() error {
	op.Encryption, op.Signature = NotEncrypted, NotSigned
	last := -1 // the innermost encrypted layer
	for i, l := range op.Layers {
		if l.Encryption != NotEncrypted {
			last, op.Encryption = i, l.Encryption
		}
	}
	authors := op.Layers[max(last, 0):]
	for _, l := range authors {
		op.Signature = worse(op.Signature, l.signing())
	}
	if op.Encryption == Malleable && proves(op.Signature) {
		op.Encryption = Decrypted
	}
	if op.Signature == NotSigned && last > 0 {
		for _, l := range op.Layers[:last] {
			if len(l.Signatures) > 0 {
				op.Signature = Outside
			}
		}
	}
	switch {
	case op.Content == nil:
		op.Detail = op.Layers[len(op.Layers)-1].Detail
	case op.Encryption == Malleable && op.Signature == Broken:
		op.Content, op.Detail = nil, "held back: encrypted, and the signature inside is broken"
	case op.Signature == NotSigned || op.Encryption == NotEncrypted:
		return op.lookInside()
	}
	return nil
}

// worse joins the verdicts of layers around the same content. A further
// signature inside may be somebody else's: who forwards signed mail signs it
// for himself.
func worse(sofar, next Signing) Signing {
	switch {
	case next == NotSigned:
		return sofar
	case sofar == NotSigned:
		return next
	case next == WrongSender:
		next = Good
	}
	if severity(next) > severity(sofar) {
		return next
	}
	return sofar
}

// lookInside looks for protected parts that are not the root. They are only
// told, never opened. What lies in an attached message is that one's affair.
func (op *Opened) lookInside() error {
	tree, err := parts.Read(op.Content.Reader(), op.Content.Size, parts.Limits{})
	if err != nil {
		return fmt.Errorf("read content: %w", err)
	}
	attached := make([]bool, len(tree.Parts))
	for i, p := range tree.Parts {
		if p.Parent >= 0 {
			attached[i] = attached[p.Parent] || strings.HasPrefix(tree.Parts[p.Parent].Type, "message/")
		}
		if attached[i] {
			continue
		}
		encrypted, signed := protection(p)
		if encrypted && op.Encryption == NotEncrypted {
			op.Encryption = PartlyHidden
		}
		if signed && op.Signature == NotSigned {
			op.Signature = PartlySeen
		}
	}
	return nil
}

// protection tells what the type of a part promises.
func protection(p parts.Part) (encrypted, signed bool) {
	switch p.Type {
	case "multipart/encrypted":
		return true, false
	case "multipart/signed":
		return false, true
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		kind := strings.ToLower(p.Params["smime-type"])
		return kind == "" || strings.HasSuffix(kind, "enveloped-data"), kind == "signed-data"
	}
	return false, false
}

// WriteMessage writes the opened message: the fields given (complete, without
// line ends), the outer header, and the content with its own Content- fields.
// Bare line feeds become CRLF: some encrypt what they have on disk.
func (op *Opened) WriteMessage(w io.Writer, fields ...string) (int64, error) {
	if op.Content == nil {
		return 0, fmt.Errorf("write opened message: no content: %s", op.Detail)
	}
	inner, err := Split(op.Content.Reader(), op.Content.Size)
	if err != nil {
		return 0, err
	}
	head, err := op.outer.header()
	if err != nil {
		return 0, err
	}
	top := ""
	if len(fields) > 0 {
		top = strings.Join(fields, "\r\n") + "\r\n"
	}
	p := Protected{head: append([]byte(top), head...), write: func(w io.Writer) error {
		_, err := io.Copy(CRLF(w), inner.Entity())
		return err
	}}
	return p.WriteTo(w)
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
