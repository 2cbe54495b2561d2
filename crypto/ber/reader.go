package ber

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// Defaults of Limits.
const (
	DefaultDepth    = 48
	DefaultElements = 1 << 20
	DefaultSize     = 64 << 20
)

// Limits bound what a Reader takes. A zero field means its default.
type Limits struct {
	Depth    int   // elements inside elements
	Elements int   // elements looked at in all
	Size     int64 // octets in all
}

func (l Limits) orDefaults() Limits {
	if l.Depth <= 0 {
		l.Depth = DefaultDepth
	}
	if l.Elements <= 0 {
		l.Elements = DefaultElements
	}
	if l.Size <= 0 {
		l.Size = DefaultSize
	}
	return l
}

// Header is the beginning of an element.
type Header struct {
	ID     byte  // identifier octet
	Length int64 // octets of content; negative: indefinite
}

// frame is an element whose content is being read.
type frame struct {
	end   int64 // offset behind the last octet that it may have
	indef bool  // ends by end-of-contents octets
	done  bool  // they were read
}

// Reader takes BER apart, one element at a time. The first error stays.
type Reader struct {
	src   *bufio.Reader
	lim   Limits
	off   int64 // octets read
	count int   // elements seen
	stack []frame
	next  Header
	have  bool // next is read, its content not
	err   error
}

// NewReader returns a Reader of what r holds.
func NewReader(r io.Reader, lim Limits) *Reader {
	lim = lim.orDefaults()
	return &Reader{
		src:   bufio.NewReaderSize(r, 1<<10), // long strings pass it by
		lim:   lim,
		stack: append(make([]frame, 0, 8), frame{end: lim.Size}),
	}
}

func (r *Reader) fail(base error, text string) error {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s at octet %d", base, text, r.off)
	}
	return r.err
}

func (r *Reader) top() *frame { return &r.stack[len(r.stack)-1] }

// Peek returns the header of the next element inside the current one without
// consuming it. At the end of the current element it returns io.EOF.
func (r *Reader) Peek() (Header, error) {
	if r.err != nil {
		return Header{}, r.err
	}
	if r.have {
		return r.next, nil
	}
	f := r.top()
	if f.done || len(r.stack) > 1 && !f.indef && r.off == f.end {
		return Header{}, io.EOF
	}
	if len(r.stack) == 1 {
		if _, err := r.src.Peek(1); errors.Is(err, io.EOF) {
			return Header{}, io.EOF
		}
	}
	h, err := r.header(f)
	if err != nil {
		return Header{}, err
	}
	if h.ID == 0 && h.Length == 0 { // end-of-contents, X.690 8.1.5
		if !f.indef {
			return Header{}, r.fail(ErrMalformed, "stray end-of-contents")
		}
		f.done = true
		return Header{}, io.EOF
	}
	if r.count++; r.count > r.lim.Elements {
		return Header{}, r.fail(ErrLimit, "too many elements")
	}
	r.next, r.have = h, true
	return h, nil
}

func (r *Reader) header(f *frame) (Header, error) {
	id, err := r.octet(f)
	if err != nil {
		return Header{}, err
	}
	if id&0x1f == 0x1f {
		return Header{}, r.fail(ErrMalformed, "tag number above 30")
	}
	length, err := r.length(f)
	if err != nil {
		return Header{}, err
	}
	switch {
	case length < 0 && id&Constructed == 0:
		return Header{}, r.fail(ErrMalformed, "indefinite length of a primitive element")
	case length > r.lim.Size-r.off:
		return Header{}, r.fail(ErrLimit, "element too long")
	case length > f.end-r.off:
		return Header{}, r.fail(ErrMalformed, "element longer than the one around it")
	}
	return Header{ID: id, Length: length}, nil
}

// length reads the length octets of X.690 section 8.1.3.
func (r *Reader) length(f *frame) (int64, error) {
	b, err := r.octet(f)
	switch {
	case err != nil:
		return 0, err
	case b == 0x80:
		return -1, nil
	case b < 0x80:
		return int64(b), nil
	case b == 0xff:
		return 0, r.fail(ErrMalformed, "reserved length octet")
	}
	var n int64
	for range b & 0x7f {
		c, err := r.octet(f)
		if err != nil {
			return 0, err
		}
		if n >= 1<<47 {
			return 0, r.fail(ErrLimit, "element too long")
		}
		n = n<<8 | int64(c)
	}
	return n, nil
}

func (r *Reader) octet(f *frame) (byte, error) {
	if r.off >= f.end {
		if r.off >= r.lim.Size {
			return 0, r.fail(ErrLimit, "too long")
		}
		return 0, r.fail(ErrMalformed, "element cut short")
	}
	b, err := r.src.ReadByte()
	if err != nil {
		return 0, r.broken(err)
	}
	r.off++
	return b, nil
}

// broken turns an error of the source into ours.
func (r *Reader) broken(err error) error {
	if errors.Is(err, io.EOF) {
		return r.fail(ErrMalformed, "input ends inside an element")
	}
	if r.err == nil {
		r.err = fmt.Errorf("read BER: %w", err)
	}
	return r.err
}

// Next reports whether the next element has that identifier octet. At the end
// of the current element it is false.
func (r *Reader) Next(id byte) bool {
	h, err := r.Peek()
	return err == nil && h.ID == id
}

// More reports whether another element follows inside the current one. It is
// false after an error too: Leave returns that error.
func (r *Reader) More() bool {
	_, err := r.Peek()
	return err == nil
}

// Enter goes into the next element, which must be constructed and have that
// identifier octet.
func (r *Reader) Enter(id byte) error {
	h, err := r.Peek()
	if err != nil {
		return r.missing(err, id)
	}
	if h.ID != id {
		return r.fail(ErrMalformed, fmt.Sprintf("element %#02x where %#02x belongs", h.ID, id))
	}
	return r.push(h)
}

func (r *Reader) missing(err error, id byte) error {
	if errors.Is(err, io.EOF) {
		return r.fail(ErrMalformed, fmt.Sprintf("element %#02x is missing", id))
	}
	return err
}

func (r *Reader) push(h Header) error {
	if h.ID&Constructed == 0 {
		return r.fail(ErrMalformed, "primitive element where a constructed one belongs")
	}
	if len(r.stack) > r.lim.Depth {
		return r.fail(ErrLimit, "nested too deep")
	}
	f := frame{end: r.top().end, indef: h.Length < 0}
	if !f.indef {
		f.end = r.off + h.Length
	}
	r.stack = append(r.stack, f)
	r.have = false
	return nil
}

func (r *Reader) pop() { r.stack = r.stack[:len(r.stack)-1] }

// Leave goes back out of the element that Enter went into. Everything in it
// must have been read or skipped.
func (r *Reader) Leave() error {
	_, err := r.Peek()
	switch {
	case err == nil:
		return r.fail(ErrMalformed, "unexpected further element")
	case !errors.Is(err, io.EOF):
		return err
	case len(r.stack) == 1:
		return r.fail(ErrMalformed, "no element to leave")
	}
	r.pop()
	return nil
}

// Skip passes over the next element.
func (r *Reader) Skip() error {
	h, err := r.Peek()
	if err != nil {
		return r.missing(err, 0)
	}
	base := len(r.stack)
	for {
		if h.Length < 0 {
			err = r.push(h)
		} else {
			err = r.discard(h.Length)
		}
		if err != nil {
			return err
		}
		h, err = r.climb(base)
		if err != nil || len(r.stack) == base {
			return err
		}
	}
}

// climb leaves the elements above base that are at their end, and returns the
// next header inside the one that is not.
func (r *Reader) climb(base int) (Header, error) {
	for len(r.stack) > base {
		h, err := r.Peek()
		if err == nil {
			return h, nil
		}
		if !errors.Is(err, io.EOF) {
			return Header{}, err
		}
		r.pop()
	}
	return Header{}, nil
}

func (r *Reader) discard(n int64) error {
	r.have = false
	m, err := io.CopyN(io.Discard, r.src, n)
	r.off += m
	if err != nil {
		return r.broken(err)
	}
	return nil
}

// End checks that nothing follows the outermost element but NUL octets, with
// which PDF fills the space that it reserves for a signature.
func (r *Reader) End() error {
	if r.err != nil {
		return r.err
	}
	if len(r.stack) != 1 || r.have {
		return r.fail(ErrMalformed, "outermost element is not at its end")
	}
	for {
		b, err := r.src.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return r.broken(err)
		case b != 0:
			return r.fail(ErrMalformed, "data after the outermost element")
		}
		if r.off++; r.off > r.lim.Size {
			return r.fail(ErrLimit, "too long")
		}
	}
}
