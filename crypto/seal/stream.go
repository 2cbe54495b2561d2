package seal

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	chunkSize  = 64 << 10 // plain octets in every chunk but the last
	tagSize    = 16
	sealedSize = chunkSize + tagSize
)

// SealedSize returns how many octets a body of that plain size has when sealed:
// a tag for each chunk of 64 KiB, at least one.
func SealedSize(plain int64) int64 {
	return plain + tagSize*max(1, (plain+chunkSize-1)/chunkSize)
}

// chunkNonce is the chunk's number, and a flag that only the last chunk has: a
// body that was cut, prolonged or reordered does not open.
func chunkNonce(n int64, last bool) []byte {
	var nonce [12]byte
	binary.BigEndian.PutUint64(nonce[3:], uint64(n)) //nolint:gosec // counts from 0
	if last {
		nonce[11] = 1
	}
	return nonce[:]
}

// Writer seals what is written to it, chunk by chunk; it never holds more than
// one chunk. Close writes the last one.
type Writer struct {
	w    io.Writer
	aead cipher.AEAD
	buf  []byte // plain octets of the current chunk
	n    int64  // number of the current chunk
	err  error  // sticky
}

var errWriterClosed = errors.New("sealed body: already closed")

// NewWriter returns a Writer to w. The key must never seal a second body: the
// nonces count from zero.
func NewWriter(w io.Writer, key [32]byte) (*Writer, error) {
	aead, err := newGCM(key[:])
	if err != nil {
		return nil, err
	}
	return &Writer{w: w, aead: aead}, nil
}

// Write implements io.Writer. After an error the body is lost.
func (s *Writer) Write(p []byte) (int, error) {
	written := 0
	if s.buf == nil { // a short body comes in one piece: seal it in place
		s.buf = make([]byte, 0, min(len(p), chunkSize)+tagSize)
	}
	for len(p) > 0 && s.err == nil {
		if len(s.buf) == chunkSize { // more follows: it is not the last
			s.flush(false)
		}
		n := min(chunkSize-len(s.buf), len(p))
		s.buf = append(s.buf, p[:n]...)
		p = p[n:]
		written += n
	}
	return written, s.err
}

// Close seals the last chunk. It does not close the writer underneath.
func (s *Writer) Close() error {
	if s.err == nil {
		s.flush(true)
	}
	err := s.err
	if err == nil {
		s.err = errWriterClosed
	}
	s.buf = nil
	return err
}

func (s *Writer) flush(last bool) {
	if s.err != nil {
		return
	}
	sealed := s.aead.Seal(s.buf[:0], chunkNonce(s.n, last), s.buf, nil)
	_, s.err = s.w.Write(sealed)
	s.buf = sealed[:0]
	s.n++
}

// Reader opens a sealed body. It implements io.Reader, io.Seeker and io.ReaderAt
// on the plain octets and holds one chunk at a time. Nothing of a chunk is
// returned before the whole chunk is proven. Only ReadAt may be called from
// several goroutines.
type Reader struct {
	r      io.ReaderAt
	aead   cipher.AEAD
	sealed int64 // octets in r
	size   int64 // plain octets
	pos    int64 // of Read and Seek

	mu    sync.Mutex
	chunk []byte // plain octets of chunk number n
	n     int64
	buf   []byte
}

// NewReader opens the sealed body in the first size octets of r. It proves the
// last chunk at once, so that Size can be trusted; ErrCorrupt when that fails.
func NewReader(r io.ReaderAt, size int64, key [32]byte) (*Reader, error) {
	aead, err := newGCM(key[:])
	if err != nil {
		return nil, err
	}
	tail := size % sealedSize
	if size < tagSize || tail != 0 && tail < tagSize || tail == tagSize && size > tagSize {
		return nil, fmt.Errorf("sealed body of %d octets: %w", size, ErrCorrupt)
	}
	chunks := (size + sealedSize - 1) / sealedSize
	s := &Reader{r: r, aead: aead, sealed: size, size: size - chunks*tagSize, n: -1}
	if _, err := s.load(chunks - 1); err != nil {
		return nil, err
	}
	return s, nil
}

// Size returns the number of plain octets.
func (s *Reader) Size() int64 { return s.size }

// Read implements io.Reader.
func (s *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.copy(p, s.pos)
	s.pos += int64(n)
	return n, err
}

// ReadAt implements io.ReaderAt.
func (s *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("sealed body: negative offset")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	done := 0
	for done < len(p) {
		n, err := s.copy(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Seek implements io.Seeker.
func (s *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.size
	default:
		return 0, fmt.Errorf("sealed body: seek whence %d", whence)
	}
	if offset < 0 {
		return 0, errors.New("sealed body: seek before the start")
	}
	s.pos = offset
	return offset, nil
}

// copy copies from the chunk that holds off.
func (s *Reader) copy(p []byte, off int64) (int, error) {
	if off >= s.size {
		return 0, io.EOF
	}
	chunk, err := s.load(off / chunkSize)
	if err != nil {
		return 0, err
	}
	return copy(p, chunk[off%chunkSize:]), nil
}

// load reads and proves chunk n.
func (s *Reader) load(n int64) ([]byte, error) {
	if n == s.n {
		return s.chunk, nil
	}
	at := n * sealedSize
	length := min(sealedSize, s.sealed-at)
	if int64(cap(s.buf)) < length {
		s.buf = make([]byte, length)
	}
	s.n = -1 // the old chunk is overwritten now
	buf := s.buf[:length]
	if got, err := s.r.ReadAt(buf, at); got < len(buf) {
		if err == io.EOF {
			return nil, fmt.Errorf("sealed body: chunk %d is cut: %w", n, ErrCorrupt)
		}
		return nil, fmt.Errorf("sealed body: chunk %d: %w", n, err)
	}
	plain, err := s.aead.Open(buf[:0], chunkNonce(n, at+length == s.sealed), buf, nil)
	if err != nil {
		return nil, fmt.Errorf("sealed body: chunk %d: %w", n, ErrCorrupt)
	}
	s.chunk, s.n = plain, n
	return plain, nil
}
