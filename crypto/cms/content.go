package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/subtle"
	"encoding/asn1"
	"fmt"
	"io"

	"gatewayd/crypto/ber"
)

// contentCipher is a cipher for content that we read.
type contentCipher struct {
	name  string
	size  int                                    // of the key, in octets
	block func(key []byte) (cipher.Block, error) // of CBC
	gcm   bool                                   // in AuthEnvelopedData only
	weak  bool
}

// contentCipherOf returns the cipher of an object identifier: RFC 3565, RFC 5084,
// RFC 3370 section 5.1.
func contentCipherOf(id asn1.ObjectIdentifier) (c contentCipher, ok bool) {
	switch {
	case id.Equal(oidAES256CBC):
		return contentCipher{name: "AES-256-CBC", size: 32, block: aes.NewCipher}, true
	case id.Equal(oidAES256GCM):
		return contentCipher{name: "AES-256-GCM", size: 32, gcm: true}, true
	case id.Equal(oidAES128CBC):
		return contentCipher{name: "AES-128-CBC", size: 16, block: aes.NewCipher}, true
	case id.Equal(oidAES128GCM):
		return contentCipher{name: "AES-128-GCM", size: 16, gcm: true}, true
	case id.Equal(oidAES192CBC):
		return contentCipher{name: "AES-192-CBC", size: 24, block: aes.NewCipher}, true
	case id.Equal(oidAES192GCM):
		return contentCipher{name: "AES-192-GCM", size: 24, gcm: true}, true
	case id.Equal(oidTripleDES):
		return contentCipher{name: "DES-EDE3-CBC", size: 24, block: des.NewTripleDESCipher, weak: true}, true
	}
	return contentCipher{}, false
}

// cipherStart is what a cipher needs beside the key.
type cipherStart struct {
	nonce   []byte // of GCM, or the initialisation vector of CBC
	tagSize int    // of GCM, in octets
}

// parameters reads those of the AlgorithmIdentifier.
func (c contentCipher) parameters(der []byte) (cipherStart, error) {
	if c.gcm {
		p := struct {
			Nonce []byte
			Tag   int `asn1:"optional,default:12"`
		}{}
		if err := unmarshal(der, &p, "GCM parameters"); err != nil {
			return cipherStart{}, err
		}
		if len(p.Nonce) == 0 || p.Tag < 12 || p.Tag > 16 {
			return cipherStart{}, fmt.Errorf("GCM parameters: %w", ber.ErrMalformed)
		}
		return cipherStart{p.Nonce, p.Tag}, nil
	}
	var iv []byte
	if err := unmarshal(der, &iv, "initialisation vector"); err != nil {
		return cipherStart{}, err
	}
	if block, err := c.block(make([]byte, c.size)); err != nil || len(iv) != block.BlockSize() {
		return cipherStart{}, fmt.Errorf("initialisation vector: %w: length", ber.ErrMalformed)
	}
	return cipherStart{nonce: iv}, nil
}

// chunkSize is how much is enciphered or deciphered at a time.
const chunkSize = 32 << 10

// eachChunk calls use with all of r, piece by piece: small ones first, and from
// then on of chunkSize octets. Every piece but the last is a multiple of the
// block size of any cipher; the last one may be empty. use may change the piece
// and append to it up to maxPad octets without a new buffer.
func eachChunk(r io.Reader, use func(chunk []byte, last bool) error) error {
	buf := make([]byte, firstChunk, firstChunk+maxPad)
	for used := 1; ; used++ {
		n, last, err := fill(r, buf)
		if err != nil {
			return err
		}
		if err := use(buf[:n], last); err != nil || last {
			return err
		}
		if len(buf) < chunkSize && used%chunksAlike == 0 {
			buf = make([]byte, 2*len(buf), 2*len(buf)+maxPad)
		}
	}
}

// Most letters are short: it begins with small chunks, and doubles them after a few.
const (
	firstChunk  = 4 << 10
	chunksAlike = 3
)

// maxPad is the longest padding of a block cipher that we know.
const maxPad = aes.BlockSize

// openCBC deciphers a stream and takes the padding off (RFC 5652 section 6.3).
// good is false if it has none; dst then got all but the last block.
func openCBC(dst io.Writer, octets io.Reader, kind contentCipher, key []byte, start cipherStart) (good bool, err error) {
	block, err := kind.block(key)
	if err != nil {
		return false, fmt.Errorf("%w: key: %w", ErrUnsupported, err)
	}
	size := block.BlockSize()
	mode := cipher.NewCBCDecrypter(block, start.nonce)
	var held []byte // the newest block
	odd := false
	err = eachChunk(octets, func(chunk []byte, _ bool) error {
		if odd = odd || len(chunk)%size != 0; odd || len(chunk) == 0 {
			return nil
		}
		if _, err := dst.Write(held); err != nil {
			return err
		}
		mode.CryptBlocks(chunk, chunk)
		held = append(held[:0], chunk[len(chunk)-size:]...)
		_, err := dst.Write(chunk[:len(chunk)-size])
		return err
	})
	if err != nil {
		return false, fmt.Errorf("content: %w", err)
	}
	rest, good := unpad(held, size)
	if odd || !good {
		return false, nil
	}
	if _, err := dst.Write(rest); err != nil {
		return false, fmt.Errorf("content: %w", err)
	}
	return true, nil
}

// unpad looks at every octet of the last block whatever it finds.
func unpad(last []byte, size int) ([]byte, bool) {
	if len(last) != size {
		return nil, false
	}
	pad := int(last[size-1])
	good := subtle.ConstantTimeLessOrEq(1, pad) & subtle.ConstantTimeLessOrEq(pad, size)
	for i, c := range last {
		in := subtle.ConstantTimeLessOrEq(size-pad, i)
		good &= (1 - in) | subtle.ConstantTimeByteEq(c, byte(pad))
	}
	if good != 1 {
		return nil, false
	}
	return last[:size-pad], true
}

// padding returns what is appended to n octets of content.
func padding(n, size int) []byte {
	pad := size - n%size
	return bytes.Repeat([]byte{byte(pad)}, pad)
}
