package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"

	"gatewayd/crypto/ber"
)

// EncryptOptions say for whom, and how the content key is wrapped.
type EncryptOptions struct {
	Recipients []*x509.Certificate // RSA keys of at least 2048 bits, EC keys on P-256, P-384 or P-521
	PKCS1v15   bool                // RSA keys by RSAES-PKCS1-v1_5, for peers that cannot read OAEP with SHA-256
}

// Encrypt reads plain to its end and writes a ContentInfo with an
// EnvelopedData (RFC 5652 section 6), encrypted with AES-256-CBC. size is the
// number of octets in plain: the output is then DER. A negative size means
// unknown: the output is BER with indefinite lengths, the form in which
// IncaMail's objects come. CBC hides the content but does not protect it:
// sign before.
func Encrypt(dst io.Writer, plain io.Reader, size int64, o EncryptOptions) error {
	var secret [aes.BlockSize + 32]byte // IV and key
	if _, err := rand.Read(secret[:]); err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	iv, key := secret[:aes.BlockSize], secret[aes.BlockSize:]
	recipients, err := wrapForAll(key, o)
	if err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	seal := sealer{dst: dst, mode: cipher.NewCBCEncrypter(block, iv), chunks: size < 0}
	before := envelope{
		ahead: slices.Concat(envelopeVersion(o), recipients),
		inner: slices.Concat(oid(oidData), ber.Wrap(ber.Sequence, oid(oidAES256CBC), ber.Wrap(ber.OctetString, iv))),
	}
	if _, err := dst.Write(before.header(size)); err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	n, err := seal.all(plain)
	if err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	if size < 0 {
		_, err = dst.Write(make([]byte, 2*5)) // end-of-contents of everything that header opened
	} else if n != size {
		err = errors.New("content is not as long as was said")
	}
	if err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	return nil
}

// envelope is what stands before the encrypted octets.
type envelope struct {
	ahead []byte // version and recipients
	inner []byte // content type and cipher
}

func (e envelope) header(size int64) []byte {
	content, info, data, tagged, whole := int64(-1), int64(-1), int64(-1), int64(-1), int64(-1)
	contentID := ber.Context0
	id := oid(oidEnveloped)
	if size >= 0 {
		contentID = ber.Implicit0
		content = (size/aes.BlockSize + 1) * aes.BlockSize
		info = int64(len(e.inner)) + full(content)
		data = int64(len(e.ahead)) + full(info)
		tagged = full(data)
		whole = int64(len(id)) + full(tagged)
	}
	out := append(ber.AppendHeader(nil, ber.Sequence, whole), id...)
	out = ber.AppendHeader(out, ber.Context0, tagged)
	out = append(ber.AppendHeader(out, ber.Sequence, data), e.ahead...)
	out = append(ber.AppendHeader(out, ber.Sequence, info), e.inner...)
	return ber.AppendHeader(out, contentID, content)
}

// full returns the length of an element with that much content.
func full(content int64) int64 {
	return int64(len(ber.AppendHeader(nil, ber.Sequence, content))) + content
}

// sealer encrypts a stream, with the padding of RFC 5652 section 6.3.
type sealer struct {
	dst    io.Writer
	mode   cipher.BlockMode
	chunks bool // each piece is an OCTET STRING of its own
}

// chunkSize is how much is encrypted at a time.
const chunkSize = 32 << 10

func (s *sealer) all(plain io.Reader) (int64, error) {
	buf := make([]byte, chunkSize+aes.BlockSize)
	var total int64
	for {
		n, last, err := fill(plain, buf[:chunkSize])
		total += int64(n)
		if err != nil {
			return total, fmt.Errorf("read content: %w", err)
		}
		piece := buf[:n]
		if last {
			pad := aes.BlockSize - n%aes.BlockSize
			piece = append(piece, bytes.Repeat([]byte{byte(pad)}, pad)...)
		}
		s.mode.CryptBlocks(piece, piece)
		if err := s.write(piece); err != nil || last {
			return total, err
		}
	}
}

func (s *sealer) write(piece []byte) error {
	if s.chunks {
		if _, err := s.dst.Write(ber.AppendHeader(nil, ber.OctetString, int64(len(piece)))); err != nil {
			return err
		}
	}
	_, err := s.dst.Write(piece)
	return err
}

// envelopeVersion is 2 as soon as one recipient is no plain key transport (RFC
// 5652 section 6.1).
func envelopeVersion(o EncryptOptions) []byte {
	for _, c := range o.Recipients {
		if _, ok := c.PublicKey.(*rsa.PublicKey); !ok {
			return version(2)
		}
	}
	return version(0)
}

// wrapForAll returns the SET of RecipientInfos.
func wrapForAll(key []byte, o EncryptOptions) ([]byte, error) {
	if len(o.Recipients) == 0 || len(o.Recipients) > maxItems {
		return nil, fmt.Errorf("%d recipients", len(o.Recipients))
	}
	set := make([][]byte, 0, len(o.Recipients))
	for _, c := range o.Recipients {
		info, err := wrapFor(c, key, o)
		if err != nil {
			return nil, fmt.Errorf("recipient %d: %w", len(set)+1, err)
		}
		set = append(set, info)
	}
	slices.SortFunc(set, bytes.Compare)
	return ber.Wrap(ber.Set, set...), nil
}

// wrapFor returns a RecipientInfo: KeyTransRecipientInfo for an RSA key (RFC
// 5652 section 6.2.1), KeyAgreeRecipientInfo for an EC key.
func wrapFor(c *x509.Certificate, key []byte, o EncryptOptions) ([]byte, error) {
	if public, ok := c.PublicKey.(*ecdsa.PublicKey); ok {
		return agreeFor(c, public, key)
	}
	public, ok := c.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: key is neither RSA nor EC", ErrUnsupported)
	}
	if bits := public.N.BitLen(); bits < 2048 || bits > maxRSABits {
		return nil, fmt.Errorf("%w: RSA key of %d bits", ErrUnsupported, bits)
	}
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageKeyEncipherment == 0 {
		return nil, fmt.Errorf("%w: certificate is not made for encryption", ErrUnsupported)
	}
	method, wrapped, err := wrapRSA(public, key, o.PKCS1v15)
	if err != nil {
		return nil, err
	}
	return ber.Wrap(ber.Sequence,
		version(0),
		ber.Wrap(ber.Sequence, c.RawIssuer, serial(c)),
		method,
		ber.Wrap(ber.OctetString, wrapped)), nil
}
