package smime

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
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
	PKCS1v15   bool                // wrap keys for RSA recipients by PKCS #1 v1.5 instead of OAEP
	Time       time.Time           // of signing; the certificates must be good then
}

// Protect signs the stored message of size octets that r holds, then encrypts
// it. r is read once now for the signature, and again whenever the result is
// written. entity.ErrIrregular: the message cannot be signed as it is.
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
	if o.Signer == nil {
		return m.Around(enveloped(func() (io.Reader, int64) { return m.Entity(), m.Size() }, o))
	}
	eightBit, err := m.Inspect()
	if err != nil {
		return nil, err
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
	p.EightBit = eightBit
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

// sign makes a multipart/signed (RFC 8551 section 3.5.3).
func sign(m *entity.Message, o Options) (*entity.Signed, error) {
	der, err := cms.Sign(m.Entity(), *o.Signer, cms.SignOptions{Hash: stdcrypto.SHA256, Time: o.Time})
	if err != nil {
		return nil, fmt.Errorf("sign message: %w", err)
	}
	var text bytes.Buffer
	b := entity.NewBase64(&text)
	if _, err := b.Write(der); err != nil {
		return nil, fmt.Errorf("sign message: %w", err)
	}
	if err := b.Close(); err != nil {
		return nil, fmt.Errorf("sign message: %w", err)
	}
	kind := "multipart/signed; protocol=\"application/pkcs7-signature\";\r\n micalg=sha-256"
	return entity.NewSigned(kind, m, []string{
		`Content-Type: application/pkcs7-signature; name="smime.p7s"`,
		"Content-Transfer-Encoding: base64",
		`Content-Disposition: attachment; filename="smime.p7s"`,
	}, text.Bytes())
}

// enveloped makes an application/pkcs7-mime (RFC 8551 section 3.3).
func enveloped(plain func() (io.Reader, int64), o Options) entity.Content {
	return entity.Content{
		Fields: []string{
			`Content-Type: application/pkcs7-mime; smime-type=enveloped-data;` + "\r\n" + ` name="smime.p7m"`,
			"Content-Transfer-Encoding: base64",
			`Content-Disposition: attachment; filename="smime.p7m"`,
		},
		Write: func(w io.Writer) error {
			r, size := plain()
			b := entity.NewBase64(w)
			if err := cms.Encrypt(b, r, size, cms.EncryptOptions{Recipients: o.Recipients, PKCS1v15: o.PKCS1v15}); err != nil {
				return err
			}
			return b.Close()
		},
	}
}
