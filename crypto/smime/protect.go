package smime

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/message"
)

// Errors of Protect.
var (
	// ErrUnprotected: mail of this class may leave only encrypted, and no
	// certificate was given (Benutzungsreglement BL § 11 Abs. 2).
	ErrUnprotected = errors.New("class needs encryption, and there is no certificate")
	// ErrNothingToDo: neither signature nor encryption was asked for.
	ErrNothingToDo = errors.New("neither signer nor recipient")
)

// Options say how a message is protected.
type Options struct {
	Class      message.Class
	Signer     *cms.Signer         // nil: no signature. Never used for class private (Benutzungsreglement BL § 12 Abs. 1)
	Recipients []*x509.Certificate // of the one recipient, or of him and the authority itself; none: sign only
	Method     Method              // that all of them read
	Headers    entity.Headers      // what becomes of the header fields
	Time       time.Time           // of signing; the certificates must be good then
}

// Protect signs the stored message of size octets that r holds, then encrypts
// it. r is read once now for the signature, and again whenever the result is
// written. entity.ErrIrregular: the message cannot be signed as it is.
//
// What leaves is in seven bits, whatever came (RFC 8551 section 3.1.3). What is signed in the open
// is brought to seven bits before (entity.Message.SevenBit); where others' signatures inside forbid that, it is
// signed as an opaque object instead, in which every octet stays. Header fields outside are not touched.
func Protect(r io.ReaderAt, size int64, o Options) (*entity.Protected, error) {
	if o.Class == message.Private {
		o.Signer = nil
	}
	switch {
	case o.Class.MustEncrypt() && len(o.Recipients) == 0:
		return nil, ErrUnprotected
	case o.Signer == nil && len(o.Recipients) == 0:
		return nil, ErrNothingToDo
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	m, err := entity.Split(r, size)
	if err != nil {
		return nil, err
	}
	if err := m.Protect(o.Headers, len(o.Recipients) > 0); err != nil {
		return nil, err
	}
	if o.Signer == nil {
		return m.Around(enveloped(func() (io.Reader, int64) { return m.Entity(), m.Size() }, o))
	}
	eightBit, err := m.Inspect()
	if err != nil {
		return nil, err
	}
	recoded := false
	if eightBit && len(o.Recipients) == 0 && !o.Method.Opaque { // what is encrypted or opaque is in base64 as a whole
		if recoded, err = m.SevenBit(); err != nil {
			return nil, err
		}
		o.Method.Opaque = !recoded
	}
	if o.Method.Opaque {
		signed, err := signOpaque(m, o)
		if err != nil {
			return nil, err
		}
		if len(o.Recipients) > 0 {
			return m.Around(enveloped(signed.reader, o))
		}
		return m.Around(signed.content())
	}
	signed, err := sign(m, o)
	if err != nil {
		return nil, err
	}
	if len(o.Recipients) > 0 {
		return m.Around(enveloped(signed.Reader, o))
	}
	p, err := m.Around(signed.Content())
	if err != nil {
		return nil, err
	}
	p.Recoded = recoded
	return p, nil
}

// check refuses certificates that are not good now, whoever chose them.
func (o Options) check() error {
	if o.Time.IsZero() {
		return entity.ErrNoTime
	}
	if o.Signer != nil && o.Signer.Cert != nil {
		if err := CheckSigner(o.Signer.Cert, message.Address{}, o.Time); err != nil {
			return fmt.Errorf("sign message: certificate: %w", err)
		}
	}
	for i, c := range o.Recipients {
		if err := CheckRecipient(c, message.Address{}, o.Time); err != nil {
			return fmt.Errorf("encrypt message: certificate %d: %w", i+1, err)
		}
	}
	return nil
}

func (o Options) signing() cms.SignOptions {
	return cms.SignOptions{Hash: stdcrypto.SHA256, Time: o.Time, PSS: o.Method.PSS, Announce: true}
}

// sign makes a multipart/signed (RFC 8551 section 3.5.3).
func sign(m *entity.Message, o Options) (*entity.Signed, error) {
	der, err := cms.Sign(m.Entity(), *o.Signer, o.signing())
	if err != nil {
		return nil, fmt.Errorf("sign message: %w", err)
	}
	var text bytes.Buffer
	b := entity.NewBase64(&text)
	_, _ = b.Write(der) // to memory
	_ = b.Close()
	kind := "multipart/signed; protocol=\"application/pkcs7-signature\";\r\n micalg=sha-256"
	return entity.NewSigned(kind, m, []string{
		`Content-Type: application/pkcs7-signature; name="smime.p7s"`,
		"Content-Transfer-Encoding: base64",
		`Content-Disposition: attachment; filename="smime.p7s"`,
	}, text.Bytes())
}

// opaque is a signed-data object (RFC 8551 section 3.5.2) around a message's
// entity, which is read where it lies.
type opaque struct {
	m             *entity.Message
	before, after []byte
}

func signOpaque(m *entity.Message, o Options) (opaque, error) {
	before, after, err := cms.SignAround(m.Entity(), *o.Signer, o.signing())
	if err != nil {
		return opaque{}, fmt.Errorf("sign message: %w", err)
	}
	return opaque{m, before, after}, nil
}

func (s opaque) body() io.Reader {
	return entity.Base64Reader(io.MultiReader(bytes.NewReader(s.before), s.m.Entity(), bytes.NewReader(s.after)))
}

func (s opaque) content() entity.Content {
	return entity.Content{Fields: wrapping("signed-data"), Write: func(w io.Writer) error {
		_, err := io.Copy(w, s.body())
		return err
	}}
}

// reader returns the object as an entity of its own, header included, and its
// size: what is encrypted after signing.
func (s opaque) reader() (io.Reader, int64) {
	head := []byte(strings.Join(wrapping("signed-data"), "\r\n") + "\r\n\r\n")
	size := int64(len(head)) + entity.Base64Size(int64(len(s.before)+len(s.after))+s.m.Size())
	return io.MultiReader(bytes.NewReader(head), s.body()), size
}

// wrapping returns the fields of an application/pkcs7-mime (RFC 8551 section
// 3.2).
func wrapping(kind string) []string {
	return []string{
		`Content-Type: application/pkcs7-mime; smime-type=` + kind + `;` + "\r\n" + ` name="smime.p7m"`,
		"Content-Transfer-Encoding: base64",
		`Content-Disposition: attachment; filename="smime.p7m"`,
	}
}

// enveloped makes an enveloped-data (RFC 8551 section 3.3) or an
// authEnveloped-data (section 3.4).
func enveloped(plain func() (io.Reader, int64), o Options) entity.Content {
	kind := "enveloped-data"
	if o.Method.GCM {
		kind = "authEnveloped-data"
	}
	return entity.Content{
		Fields: wrapping(kind),
		Write: func(w io.Writer) error {
			r, size := plain()
			b := entity.NewBase64(w)
			how := cms.EncryptOptions{Recipients: o.Recipients, Cipher: o.Method.cipher(), PKCS1v15: !o.Method.OAEP}
			if err := cms.Encrypt(b, r, size, how); err != nil {
				return err
			}
			return b.Close()
		},
	}
}
