package entity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
)

// Spool takes decrypted content while it comes and gives it back at random. It
// is written to its end before it is read.
type Spool interface {
	io.Writer
	io.ReaderAt
	io.Closer
}

// spoolMemory is how much of a spool stays in memory, in octets.
const spoolMemory = 128 << 10

// spoolPiece is what is written to it at a time at most, as a rule.
const spoolPiece = 32 << 10

// NewSpool returns a Spool for at most limit octets (ErrTooLarge beyond).
// Small content stays in memory. What is longer goes to a file in dir that has
// no name any more when the first octet is written, enciphered under a key that
// exists in this process only: no decrypted octet ever reaches the disk.
func NewSpool(dir string, limit int64) Spool { return &spool{dir: dir, limit: limit} }

type spool struct {
	dir   string
	limit int64
	size  int64    // octets written, wherever they are
	mem   []byte   // what is not in the file: everything, or its end
	file  *os.File // nil while all is in memory
	block cipher.Block
}

// grow makes room for so many octets as are expected.
func (s *spool) grow(n int64) {
	s.mem = slices.Grow(s.mem, int(max(0, min(n, spoolMemory+spoolPiece))))
}

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	if s.size+int64(len(p)) > s.limit {
		return 0, fmt.Errorf("spool: %w: over %d octets", ErrTooLarge, s.limit)
	}
	s.mem = append(s.mem, p...)
	s.size += int64(len(p))
	if len(s.mem) <= spoolMemory {
		return len(p), nil
	}
	if err := s.spill(); err != nil {
		return 0, fmt.Errorf("spool: %w", err)
	}
	return len(p), nil
}

// spill moves what is in memory to the end of the file.
func (s *spool) spill() error {
	if s.file == nil {
		if err := s.create(); err != nil {
			return err
		}
	}
	s.xor(s.mem, s.mem, s.inFile())
	_, err := s.file.Write(s.mem)
	s.mem = s.mem[:0]
	return err
}

// inFile returns how many octets the file holds.
func (s *spool) inFile() int64 { return s.size - int64(len(s.mem)) }

func (s *spool) create() error {
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return err
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, ".open-*")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close() // the first error tells
		return err
	}
	s.file, s.block = f, block
	return nil
}

// xor applies AES-256-CTR as of octet off. The key serves one spool, of which
// each octet is written once.
func (s *spool) xor(dst, src []byte, off int64) {
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[8:], uint64(off/aes.BlockSize))
	stream := cipher.NewCTR(s.block, iv[:])
	var skip [aes.BlockSize]byte
	stream.XORKeyStream(skip[:off%aes.BlockSize], skip[:off%aes.BlockSize])
	stream.XORKeyStream(dst, src)
}

// ReadAt implements io.ReaderAt.
func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= s.size {
		return 0, io.EOF
	}
	n := 0
	if edge := s.inFile(); off < edge {
		m, err := s.file.ReadAt(p[:min(int64(len(p)), edge-off)], off)
		s.xor(p[:m], p[:m], off)
		if n = m; err != nil {
			return n, fmt.Errorf("spool: %w", err)
		}
	}
	if n < len(p) {
		n += copy(p[n:], s.mem[off+int64(n)-s.inFile():])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Close implements io.Closer; the content is gone with it.
func (s *spool) Close() error {
	clear(s.mem)
	s.mem, s.size = nil, 0
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}
