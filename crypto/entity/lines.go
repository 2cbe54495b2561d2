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
func NewBase64(w io.Writer) io.WriteCloser {
	lines := &lineWriter{w: w}
	return &base64Writer{base64.NewEncoder(base64.StdEncoding, lines), lines}
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
		raw := make([]byte, lineLength/4*3*256)
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

type base64Writer struct {
	io.WriteCloser
	lines *lineWriter
}

// Close implements io.Closer.
func (b *base64Writer) Close() error {
	if err := b.WriteCloser.Close(); err != nil {
		return err
	}
	return b.lines.end()
}

// lineWriter breaks what it gets into lines.
type lineWriter struct {
	w    io.Writer
	col  int
	line bytes.Buffer
}

const lineLength = 76

// Write implements io.Writer.
func (l *lineWriter) Write(p []byte) (int, error) {
	l.line.Reset()
	for rest := p; len(rest) > 0; {
		n := min(lineLength-l.col, len(rest))
		l.line.Write(rest[:n])
		if l.col += n; l.col == lineLength {
			l.line.WriteString("\r\n")
			l.col = 0
		}
		rest = rest[n:]
	}
	if _, err := l.w.Write(l.line.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (l *lineWriter) end() error {
	if l.col == 0 {
		return nil
	}
	l.col = 0
	_, err := io.WriteString(l.w, "\r\n")
	return err
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
