package tnef

import (
	"encoding/binary"
	"errors"
	"io"
)

// cursor reads little-endian numbers and octets between two places. Behind the
// end it gives zeros, and says so.
type cursor struct {
	r       io.ReaderAt
	at, end int64
	short   bool  // something was read behind the end
	err     error // the first trouble of r

	window [1 << 10]byte
	from   int64 // where window begins
	filled int
}

// bytes returns the next n octets, fewer at the end.
func (c *cursor) bytes(n int64) []byte {
	if n > c.end-c.at {
		c.short = true
		n = max(c.end-c.at, 0)
	}
	if n <= 0 || c.err != nil {
		return nil
	}
	b := make([]byte, n)
	got, err := c.r.ReadAt(b, c.at)
	c.note(got, len(b), err)
	c.at += n
	return b[:got]
}

func (c *cursor) note(got, want int, err error) {
	switch {
	case got == want:
	case err == nil || errors.Is(err, io.EOF): // the stream is shorter than its size
		c.short = true
	case c.err == nil:
		c.err = err
	}
}

// small returns the next n octets through the window.
func (c *cursor) small(n int) []byte {
	var zeros [8]byte
	if c.err != nil || c.at < 0 || int64(n) > c.end-c.at {
		c.short = true
		c.at = max(c.end, c.at)
		return zeros[:n]
	}
	if c.at < c.from || c.at+int64(n) > c.from+int64(c.filled) {
		want := int(min(int64(len(c.window)), c.end-c.at))
		got, err := c.r.ReadAt(c.window[:want], c.at)
		c.note(got, want, err)
		c.from, c.filled = c.at, got
		if got < n {
			c.short = true
			return zeros[:n]
		}
	}
	b := c.window[c.at-c.from:][:n]
	c.at += int64(n)
	return b
}

func (c *cursor) u8() byte    { return c.small(1)[0] }
func (c *cursor) u16() uint16 { return binary.LittleEndian.Uint16(c.small(2)) }
func (c *cursor) u32() uint32 { return binary.LittleEndian.Uint32(c.small(4)) }

func (c *cursor) skip(n int64) {
	if n < 0 || n > c.end-c.at {
		c.short = true
		c.at = c.end
		return
	}
	c.at += n
}

// sum adds up the next n octets, as the checksum does.
func (c *cursor) sum(n int64) uint16 {
	var sum uint16
	buf := make([]byte, min(n, 32<<10))
	for n > 0 && c.err == nil {
		b := buf[:min(n, int64(len(buf)))]
		got, err := c.r.ReadAt(b, c.at)
		c.note(got, len(b), err)
		for _, x := range b[:got] {
			sum += uint16(x)
		}
		if got < len(b) {
			break
		}
		c.at, n = c.at+int64(got), n-int64(got)
	}
	return sum
}
