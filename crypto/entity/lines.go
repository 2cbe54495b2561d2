package entity

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
)

// NewBase64 returns a writer that encodes to base64 in lines of 76 characters
// ending in CRLF (RFC 2045 section 6.8). Close ends the last line; it does not
// close w.
func NewBase64(w io.Writer) io.WriteCloser {
	lines := &lineWriter{w: w}
	return &base64Writer{base64.NewEncoder(base64.StdEncoding, lines), lines}
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
