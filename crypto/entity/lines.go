package entity

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
)

// NewBase64 returns a writer that encodes to base64 in lines of 76 characters
// ending in CRLF (RFC 2045 section 6.8). Close ends the last line; it does not
// close w.
func NewBase64(w io.Writer) io.WriteCloser { return &base64Writer{w: w} }

const (
	lineLength = 76
	lineOctets = lineLength / 4 * 3
	lineBlock  = 64 // lines that are written at a time
)

type base64Writer struct {
	w     io.Writer
	line  []byte // octets of a line that is not full yet
	lines []byte // encoded ones
}

// Write implements io.Writer.
func (b *base64Writer) Write(p []byte) (int, error) {
	rest := p
	if len(b.line) > 0 {
		n := min(lineOctets-len(b.line), len(rest))
		b.line = append(b.line, rest[:n]...)
		if rest = rest[n:]; len(b.line) < lineOctets {
			return len(p), nil
		}
		b.encode(b.line)
		b.line = b.line[:0]
	}
	if need := min(len(rest)/lineOctets+1, lineBlock) * (lineLength + 2); cap(b.lines) < need {
		b.lines = append(make([]byte, 0, need), b.lines...)
	}
	for len(rest) >= lineOctets {
		b.encode(rest[:lineOctets])
		if rest = rest[lineOctets:]; len(b.lines) >= lineBlock*(lineLength+2) {
			if err := b.flush(); err != nil {
				return 0, err
			}
		}
	}
	b.line = append(b.line, rest...)
	if err := b.flush(); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (b *base64Writer) encode(line []byte) {
	b.lines = append(base64.StdEncoding.AppendEncode(b.lines, line), '\r', '\n')
}

func (b *base64Writer) flush() error {
	if len(b.lines) == 0 {
		return nil
	}
	_, err := b.w.Write(b.lines)
	b.lines = b.lines[:0]
	return err
}

// Close implements io.Closer.
func (b *base64Writer) Close() error {
	if len(b.line) == 0 {
		return nil
	}
	b.encode(b.line)
	b.line = b.line[:0]
	return b.flush()
}

// Base64Size returns how many octets NewBase64 makes of n.
func Base64Size(n int64) int64 {
	chars := (n + 2) / 3 * 4
	return chars + (chars+lineLength-1)/lineLength*2
}

// Base64Reader returns a reader of what NewBase64 makes of what r holds.
func Base64Reader(r io.Reader) io.Reader { return &base64Reader{r: r} }

// base64Reader encodes whole lines ahead.
type base64Reader struct {
	r    io.Reader
	text bytes.Buffer
	err  error
}

// Read implements io.Reader.
func (b *base64Reader) Read(p []byte) (int, error) {
	for b.text.Len() == 0 {
		if b.err != nil {
			return 0, b.err
		}
		raw := make([]byte, lineOctets*lineBlock)
		n, err := io.ReadFull(b.r, raw)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		b.err = err
		w := NewBase64(&b.text)
		_, _ = w.Write(raw[:n]) // to a buffer
		_ = w.Close()
	}
	return b.text.Read(p)
}

// CRLF returns a writer that gives every bare LF a CR. What is CRLF stays.
func CRLF(w io.Writer) io.Writer { return &crlfWriter{w: w} }

type crlfWriter struct {
	w    io.Writer
	last byte
	buf  []byte
}

// Write implements io.Writer.
func (c *crlfWriter) Write(p []byte) (int, error) {
	c.buf = c.buf[:0]
	for _, b := range p {
		if b == '\n' && c.last != '\r' {
			c.buf = append(c.buf, '\r')
		}
		c.buf = append(c.buf, b)
		c.last = b
	}
	if _, err := c.w.Write(c.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CRLFReader returns a reader of r in which every bare LF has got a CR.
func CRLFReader(r io.Reader) io.Reader { return &crlfReader{r: bufio.NewReader(r)} }

type crlfReader struct {
	r    *bufio.Reader
	last byte
	owed bool // the LF behind a CR that was put in
}

// Read implements io.Reader.
func (c *crlfReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		b := byte('\n')
		if !c.owed {
			if b, err = c.r.ReadByte(); err != nil {
				return n, err
			}
		}
		if b == '\n' && c.last != '\r' {
			b, c.owed = '\r', true
		} else {
			c.owed = false
		}
		p[n], c.last = b, b
		n++
	}
	return n, nil
}
