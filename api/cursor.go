package api

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"gatewayd/queue"
)

// cursors writes places in the chain of events so that they say nothing: the
// chain is common to all authorities, and its numbers would tell one how much
// the others send.
type cursors struct{ block cipher.Block }

func newCursors(secret []byte) (*cursors, error) {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("gatewayd event cursor 1"))
	block, err := aes.NewCipher(m.Sum(nil))
	if err != nil {
		return nil, fmt.Errorf("event cursors: %w", err)
	}
	return &cursors{block}, nil
}

// write returns the cursor of a place: one block, the same each time.
func (c *cursors) write(seq uint64) string {
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint64(b[8:], seq)
	c.block.Encrypt(b[:], b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// read returns the place of a cursor; "" is the beginning. What this authority
// was never given is queue.ErrMalformed.
func (c *cursors) read(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != aes.BlockSize {
		return 0, fmt.Errorf("event cursor: %w", queue.ErrMalformed)
	}
	c.block.Decrypt(b, b)
	if binary.BigEndian.Uint64(b) != 0 {
		return 0, fmt.Errorf("event cursor: %w", queue.ErrMalformed)
	}
	return binary.BigEndian.Uint64(b[8:]), nil
}
