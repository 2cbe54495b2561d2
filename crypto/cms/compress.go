package cms

import (
	"bufio"
	"compress/zlib"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"

	"gatewayd/crypto/ber"
)

// ErrNotCompressed: some other content type.
var ErrNotCompressed = errors.New("not a compressed CMS")

// ErrBomb: unpacked content is longer than the limit.
var ErrBomb = errors.New("compressed content is too long")

// Decompress reads a ContentInfo with a CompressedData (RFC 3274) and writes
// the content, of at most max octets, to dst.
func Decompress(dst io.Writer, packed io.Reader, max int64, lim ber.Limits) error {
	if err := decompress(dst, ber.NewReader(packed, lim), max); err != nil {
		return fmt.Errorf("compressed data: %w", err)
	}
	return nil
}

func decompress(dst io.Writer, r *ber.Reader, max int64) error {
	kind, err := open(r)
	if err != nil {
		return err
	}
	if !kind.Equal(oidCompressed) {
		return fmt.Errorf("%w: content type %v", ErrNotCompressed, kind)
	}
	if err := r.Enter(ber.Sequence); err != nil {
		return err
	}
	if _, err := next[int](r, "version", maxSmall); err != nil {
		return err
	}
	method, err := next[algorithm](r, "compression", maxSmall)
	if err != nil {
		return err
	}
	if !method.Algorithm.Equal(oidZlib) {
		return fmt.Errorf("%w: compression %v", ErrUnsupported, method.Algorithm)
	}
	if err := r.Enter(ber.Sequence); err != nil {
		return fmt.Errorf("content: %w", err)
	}
	if _, err := next[asn1.ObjectIdentifier](r, "content type", maxSmall); err != nil {
		return err
	}
	if err := r.Enter(ber.Context0); err != nil {
		return fmt.Errorf("content: %w", err)
	}
	octets, err := r.Octets(ber.OctetString)
	if err != nil {
		return fmt.Errorf("content: %w", err)
	}
	if err := inflate(dst, octets, max); err != nil {
		return err
	}
	return errors.Join(r.Leave(), r.Leave(), r.Leave(), shut(r))
}

// inflate unpacks zlib (RFC 1950). What is packed must end with it.
func inflate(dst io.Writer, octets io.Reader, max int64) error {
	source := bufio.NewReader(octets) // a ByteReader is never read too far
	z, err := zlib.NewReader(source)
	if err != nil {
		return broken(err)
	}
	_, err = io.Copy(failing{dst}, struct{ io.Reader }{io.LimitReader(z, max)})
	var own ownError
	switch {
	case errors.As(err, &own):
		return fmt.Errorf("write content: %w", own.error)
	case err != nil:
		return broken(err)
	}
	switch n, err := io.ReadFull(z, make([]byte, 1)); {
	case n > 0:
		return fmt.Errorf("%w: over %d octets", ErrBomb, max)
	case !errors.Is(err, io.EOF):
		return broken(err)
	}
	if rest, err := copyAll(io.Discard, source); err != nil || rest > 0 {
		return fmt.Errorf("content: %w: data behind the compressed", errors.Join(ber.ErrMalformed, err))
	}
	return nil
}

// broken is what the content is when it cannot be unpacked.
func broken(err error) error { return fmt.Errorf("content: %w: %w", ber.ErrMalformed, err) }

// failing tells failures of the destination from those of the source.
type failing struct{ w io.Writer }

type ownError struct{ error }

// Write implements io.Writer.
func (f failing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		err = ownError{err}
	}
	return n, err
}
