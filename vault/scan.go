package vault

import (
	"fmt"
	"io"
)

// windowSize is how much of a segment the scanner holds.
const windowSize = 256 << 10

// window reads a segment through one buffer.
type window struct {
	r    io.ReaderAt
	size int64 // nothing behind is read
	at   int64 // offset of buf
	buf  []byte
	page [windowSize]byte
}

// bytes returns n octets at off, or nil when the segment ends before. They are
// valid until the next call.
func (w *window) bytes(off, n int64) ([]byte, error) {
	if off < 0 || n > w.size-off {
		return nil, nil
	}
	if off >= w.at && off+n <= w.at+int64(len(w.buf)) {
		return w.buf[off-w.at:][:n], nil
	}
	buf := w.page[:min(windowSize, w.size-off)]
	if n > windowSize {
		buf = make([]byte, n)
	}
	if got, err := w.r.ReadAt(buf, off); got < len(buf) {
		if err == io.EOF { // shorter than its size: somebody truncates it now
			return nil, nil
		}
		return nil, fmt.Errorf("read at %d: %w", off, err)
	}
	if n > windowSize {
		return buf, nil
	}
	w.at, w.buf = off, buf
	return buf[:n], nil
}

// found is what a scan reports: a frame with its sealed meta, or a bad stretch.
type found struct {
	frame    frame
	meta     []byte // valid until the next call
	bad      bool
	from, to int64 // of the bad stretch, or of the frame
}

// scan walks the frames in [from, size) of a segment and hands each to visit in
// order. What is no frame is stepped over to the next magic and reported when a
// good frame follows. It returns the end of the last good frame, at least from.
func scan(r io.ReaderAt, segment uint64, from, size int64, visit func(found) error) (end int64, err error) {
	w := &window{r: r, size: size}
	end = from
	for off := alignUp(from); off < size; {
		f, meta, err := w.frame(segment, off)
		if err != nil {
			return end, err
		}
		if f == nil {
			if off, err = w.next(off + align); err != nil {
				return end, err
			}
			continue
		}
		if off > end {
			if err := visit(found{bad: true, from: end, to: off}); err != nil {
				return end, err
			}
		}
		if err := visit(found{frame: *f, meta: meta, from: off, to: f.end()}); err != nil {
			return end, err
		}
		off = f.end()
		end = off
	}
	return end, nil
}

// frame returns the frame at off, nil if there is none whose header, info and
// meta are good and that lies wholly in the segment.
func (w *window) frame(segment uint64, off int64) (*frame, []byte, error) {
	head, err := w.bytes(off, headLen)
	if head == nil || err != nil {
		return nil, nil, err
	}
	f, ok := decodeHead(head)
	if !ok || f.segment != segment || f.offset != off || f.length() > w.size-off {
		return nil, nil, nil
	}
	whole, err := w.bytes(off, headLen+f.metaLen)
	if whole == nil || err != nil {
		return nil, nil, err
	}
	if !f.metaGood(whole[:headLen], whole[headLen:]) {
		return nil, nil, nil
	}
	return &f, whole[headLen:], nil
}

// next returns the next place with a magic, or the end.
func (w *window) next(off int64) (int64, error) {
	for ; off < w.size; off += align {
		b, err := w.bytes(off, int64(len(magic)))
		if err != nil {
			return off, err
		}
		if b == nil || string(b) == magic {
			return off, nil
		}
	}
	return off, nil
}
