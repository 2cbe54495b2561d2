package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/gcm"
)

// Cipher is a cipher for content that we write.
type Cipher string

// The ciphers, by the names under which Opened tells them too.
const (
	AES256CBC Cipher = "AES-256-CBC" // EnvelopedData; everybody reads it, and it protects nothing against change
	AES256GCM Cipher = "AES-256-GCM" // AuthEnvelopedData (RFC 5083); for those who said that they read it
)

// EncryptOptions say for whom, and how content and content key are encrypted.
type EncryptOptions struct {
	Recipients []*x509.Certificate // RSA keys of at least 2048 bits, keys on P-256, P-384, P-521 or X25519
	Cipher     Cipher              // empty: AES256CBC
	PKCS1v15   bool                // RSA keys by RSAES-PKCS1-v1_5, for peers that cannot read OAEP with SHA-256
}

// Encrypt reads plain to its end and writes a ContentInfo with an
// EnvelopedData (RFC 5652 section 6) or an AuthEnvelopedData (RFC 5083). size
// is the number of octets in plain: the output is then DER. A negative size
// means unknown: the output is BER with indefinite lengths, the form in which
// IncaMail's objects come. CBC hides the content but does not protect it: sign
// before.
func Encrypt(dst io.Writer, plain io.Reader, size int64, o EncryptOptions) error {
	if o.Cipher == "" {
		o.Cipher = AES256CBC
	}
	if err := encrypt(dst, plain, size, o); err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	return nil
}

func encrypt(dst io.Writer, plain io.Reader, size int64, o EncryptOptions) error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	recipients, err := wrapForAll(key, o)
	if err != nil {
		return err
	}
	s, err := newSealer(key, o.Cipher)
	if err != nil {
		return err
	}
	e := envelope{gcm: o.Cipher == AES256GCM, ahead: slices.Concat(envelopeVersion(o), recipients), inner: slices.Concat(oid(oidData), s.identifier)}
	if _, err := dst.Write(e.header(size)); err != nil {
		return err
	}
	s.dst, s.chunks = dst, size < 0
	n, err := s.all(plain)
	if err != nil {
		return err
	}
	if size >= 0 && n != size {
		return errors.New("content is not as long as was said")
	}
	_, err = dst.Write(e.trailer(size, s.tag()))
	return err
}

// envelope is what stands around the encrypted octets.
type envelope struct {
	gcm   bool
	ahead []byte // version and recipients
	inner []byte // content type and cipher
}

func (e envelope) header(size int64) []byte {
	content, info, data, tagged, whole := int64(-1), int64(-1), int64(-1), int64(-1), int64(-1)
	contentID := ber.Context0
	id, tag := oid(oidEnveloped), int64(0)
	if e.gcm {
		id, tag = oid(oidAuthEnveloped), full(gcm.TagSize)
	}
	if size >= 0 {
		contentID = ber.Implicit0
		if content = size; !e.gcm {
			content = (size/aes.BlockSize + 1) * aes.BlockSize
		}
		info = int64(len(e.inner)) + full(content)
		data = int64(len(e.ahead)) + full(info) + tag
		tagged = full(data)
		whole = int64(len(id)) + full(tagged)
	}
	out := append(ber.AppendHeader(nil, ber.Sequence, whole), id...)
	out = ber.AppendHeader(out, ber.Context0, tagged)
	out = append(ber.AppendHeader(out, ber.Sequence, data), e.ahead...)
	out = append(ber.AppendHeader(out, ber.Sequence, info), e.inner...)
	return ber.AppendHeader(out, contentID, content)
}

// trailer ends what header began.
func (e envelope) trailer(size int64, tag []byte) []byte {
	var out []byte
	if size < 0 {
		out = make([]byte, 2*2) // end-of-contents of the string and of EncryptedContentInfo
	}
	if e.gcm {
		out = append(out, ber.Wrap(ber.OctetString, tag)...)
	}
	if size < 0 {
		out = append(out, make([]byte, 3*2)...)
	}
	return out
}

// full returns the length of an element with that much content.
func full(content int64) int64 {
	return int64(len(ber.AppendHeader(nil, ber.Sequence, content))) + content
}

// sealer encrypts a stream.
type sealer struct {
	dst        io.Writer
	identifier []byte           // DER of the AlgorithmIdentifier
	cbc        cipher.BlockMode // with the padding of RFC 5652 section 6.3; or:
	gcm        *gcm.Stream
	chunks     bool // each piece is an OCTET STRING of its own
}

func newSealer(key []byte, with Cipher) (*sealer, error) {
	start := make([]byte, aes.BlockSize)
	if _, err := rand.Read(start); err != nil {
		return nil, err
	}
	switch with {
	case AES256CBC:
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return &sealer{
			identifier: ber.Wrap(ber.Sequence, oid(oidAES256CBC), ber.Wrap(ber.OctetString, start)),
			cbc:        cipher.NewCBCEncrypter(block, start),
		}, nil
	case AES256GCM:
		nonce := start[:12] // RFC 5084 section 3.2
		stream, err := gcm.New(key, nonce)
		return &sealer{
			identifier: ber.Wrap(ber.Sequence, oid(oidAES256GCM), ber.Wrap(ber.Sequence, ber.Wrap(ber.OctetString, nonce), version(gcm.TagSize))),
			gcm:        stream,
		}, err
	}
	return nil, fmt.Errorf("%w: content cipher %q", ErrUnsupported, with)
}

func (s *sealer) all(plain io.Reader) (total int64, err error) {
	err = eachChunk(plain, func(piece []byte, last bool) error {
		total += int64(len(piece))
		if s.gcm != nil {
			s.gcm.Seal(piece)
			return s.write(piece)
		}
		if last {
			piece = append(piece, padding(len(piece), aes.BlockSize)...)
		}
		s.cbc.CryptBlocks(piece, piece)
		return s.write(piece)
	})
	return total, err
}

// write writes an encrypted piece.
func (s *sealer) write(piece []byte) error {
	if s.chunks && len(piece) > 0 {
		if _, err := s.dst.Write(ber.AppendHeader(nil, ber.OctetString, int64(len(piece)))); err != nil {
			return err
		}
	}
	_, err := s.dst.Write(piece)
	return err
}

// tag returns what proves the content; nil for CBC.
func (s *sealer) tag() []byte {
	if s.gcm == nil {
		return nil
	}
	tag := s.gcm.Tag(nil)
	return tag[:]
}

// envelopeVersion is 0 for AuthEnvelopedData (RFC 5083 section 2.1); in
// EnvelopedData 2 as soon as one recipient is no plain key transport (RFC 5652
// section 6.1).
func envelopeVersion(o EncryptOptions) []byte {
	for _, c := range o.Recipients {
		if _, ok := c.PublicKey.(*rsa.PublicKey); !ok && o.Cipher != AES256GCM {
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
func wrapFor(c *x509.Certificate, contentKey []byte, o EncryptOptions) ([]byte, error) {
	key, err := PublicKey(c)
	if err != nil {
		return nil, err
	}
	switch public := key.(type) {
	case *rsa.PublicKey:
		return transportFor(c, public, contentKey, o)
	case *ecdsa.PublicKey:
		static, err := public.ECDH()
		if err != nil {
			return nil, fmt.Errorf("%w: curve of the recipient", ErrUnsupported)
		}
		return agreeFor(c, static, contentKey)
	case *ecdh.PublicKey:
		return agreeFor(c, public, contentKey)
	}
	return nil, fmt.Errorf("%w: key of the recipient", ErrUnsupported)
}

func transportFor(c *x509.Certificate, public *rsa.PublicKey, contentKey []byte, o EncryptOptions) ([]byte, error) {
	if bits := public.N.BitLen(); bits < 2048 || bits > maxRSABits {
		return nil, fmt.Errorf("%w: RSA key of %d bits", ErrUnsupported, bits)
	}
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageKeyEncipherment == 0 {
		return nil, fmt.Errorf("%w: certificate is not made for encryption", ErrUnsupported)
	}
	method, wrapped, err := wrapRSA(public, contentKey, o.PKCS1v15)
	if err != nil {
		return nil, err
	}
	return ber.Wrap(ber.Sequence,
		version(0),
		ber.Wrap(ber.Sequence, c.RawIssuer, serial(c)),
		method,
		ber.Wrap(ber.OctetString, wrapped)), nil
}
