package ber

import (
	"errors"
	"io"
)

// level is an element that Element is rebuilding.
type level struct {
	id  byte
	buf []byte
}

// add appends a finished child: inside a constructed OCTET STRING only its
// content, so that the string becomes one piece.
func (l *level) add(id byte, content []byte) {
	if l.id == OctetString|Constructed {
		l.buf = append(l.buf, content...)
		return
	}
	l.buf = append(AppendHeader(l.buf, id, int64(len(content))), content...)
}

// Element consumes the next element and returns it whole, with definite
// lengths in their shortest form and OCTET STRINGs in one piece; other than
// that the octets stay as they are. What is DER comes back unchanged. More
// than max octets of content are refused.
func (r *Reader) Element(max int) ([]byte, error) {
	h, err := r.Peek()
	if err != nil {
		return nil, r.missing(err, 0)
	}
	base := len(r.stack)
	start := r.off
	levels := []level{{}}
	for {
		if r.off-start+h.Length > int64(max) {
			return nil, r.fail(ErrLimit, "element too long")
		}
		if in := levels[len(levels)-1].id; in == OctetString|Constructed && h.ID&^Constructed != OctetString {
			return nil, r.fail(ErrMalformed, "string made of something else")
		}
		if h.ID&Constructed != 0 {
			levels = append(levels, level{id: h.ID})
			err = r.push(h)
		} else {
			err = r.primitive(&levels[len(levels)-1], h)
		}
		if err != nil {
			return nil, err
		}
		h, err = r.climb(base)
		if err != nil {
			return nil, err
		}
		levels = fold(levels, len(r.stack)-base+1)
		if len(r.stack) == base {
			return levels[0].buf, nil
		}
	}
}

// fold closes the levels that the reader has left.
func fold(levels []level, keep int) []level {
	for len(levels) > keep {
		l := levels[len(levels)-1]
		levels = levels[:len(levels)-1]
		id := l.id
		if id == OctetString|Constructed {
			id = OctetString
		}
		levels[len(levels)-1].add(id, l.buf)
	}
	return levels
}

func (r *Reader) primitive(into *level, h Header) error {
	content := make([]byte, h.Length)
	r.have = false
	n, err := io.ReadFull(r.src, content)
	r.off += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	if err != nil {
		return r.broken(err)
	}
	into.add(h.ID, content)
	return nil
}

// Octets returns the content of the next element, an OCTET STRING that may
// come in one piece or in nested pieces (X.690 section 8.7). id is the
// identifier octet of the primitive form: OctetString, or Implicit0 where the
// string is tagged. The reader must be read to its io.EOF before anything else
// is done with r; the element is then consumed.
func (r *Reader) Octets(id byte) (io.Reader, error) {
	h, err := r.Peek()
	if err != nil {
		return nil, r.missing(err, id)
	}
	if h.ID&^Constructed != id {
		return nil, r.fail(ErrMalformed, "string is missing")
	}
	o := &octets{r: r, base: len(r.stack)}
	if h.ID&Constructed != 0 {
		return o, r.push(h)
	}
	r.have = false
	o.left = h.Length
	return o, nil
}

type octets struct {
	r    *Reader
	base int
	left int64 // octets of the piece being read
}

// Read implements io.Reader.
func (o *octets) Read(p []byte) (int, error) {
	for o.left == 0 {
		if err := o.piece(); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > o.left {
		p = p[:o.left]
	}
	n, err := o.r.src.Read(p)
	o.r.off += int64(n)
	o.left -= int64(n)
	if err != nil && n == 0 {
		return 0, o.r.broken(err)
	}
	return n, nil
}

// piece goes to the next primitive piece, or returns io.EOF behind the last.
func (o *octets) piece() error {
	h, err := o.r.climb(o.base)
	switch {
	case err != nil:
		return err
	case len(o.r.stack) == o.base:
		return io.EOF
	case h.ID == OctetString|Constructed:
		return o.r.push(h)
	case h.ID != OctetString:
		return o.r.fail(ErrMalformed, "string made of something else")
	}
	o.r.have = false
	o.left = h.Length
	return nil
}
