package openpgp

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/rand"
	"encoding"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/crypto/entity"
	"gatewayd/message"
)

// Errors of Protect.
var (
	// ErrUnprotected: mail of this class may leave only encrypted, and no key
	// was given (Benutzungsreglement BL § 11 Abs. 2).
	ErrUnprotected = errors.New("class needs encryption, and there is no key")
	// ErrNothingToDo: neither signature nor encryption was asked for.
	ErrNothingToDo = errors.New("neither signer nor recipient")
)

// Options say how a message is protected.
type Options struct {
	Class      message.Class
	Signer     *Key           // with its private keys; nil: no signature. Never used for class private (Benutzungsreglement BL § 12 Abs. 1)
	Recipients []Key          // of the one recipient, or of him and the authority itself; none: sign only
	Headers    entity.Headers // what becomes of the header fields
	Time       time.Time      // of signing; the keys must be good then
}

// Protect signs and encrypts the stored message of size octets that r holds. r
// is read once now for the signature, and again whenever the result is written.
// entity.ErrIrregular: the message cannot be signed as it is. What is only signed is brought
// to seven bits before (RFC 3156 section 3); where that cannot be, EightBit of the result says so.
func Protect(r io.ReaderAt, size int64, o Options) (*entity.Protected, error) {
	if o.Class == message.Private {
		o.Signer = nil
	}
	switch {
	case o.Class.MustEncrypt() && len(o.Recipients) == 0:
		return nil, ErrUnprotected
	case o.Signer == nil && len(o.Recipients) == 0:
		return nil, ErrNothingToDo
	case o.Time.IsZero():
		return nil, entity.ErrNoTime
	}
	m, err := entity.Split(r, size)
	if err != nil {
		return nil, err
	}
	if err := m.Protect(o.Headers, len(o.Recipients) > 0); err != nil {
		return nil, err
	}
	eightBit, recoded := false, false
	if o.Signer != nil {
		if eightBit, err = m.Inspect(); err != nil {
			return nil, err
		}
	}
	if eightBit && len(o.Recipients) == 0 { // what is encrypted is in armor as a whole
		if recoded, err = m.SevenBit(); err != nil {
			return nil, err
		}
	}
	parsed, err := parse(o)
	if err != nil {
		return nil, err
	}
	if len(o.Recipients) > 0 {
		return encrypted(m, o, parsed)
	}
	signed, err := sign(m, o, parsed)
	if err != nil {
		return nil, err
	}
	p, err := m.Around(signed.Content())
	if err != nil {
		return nil, err
	}
	p.EightBit, p.Recoded = eightBit && !recoded, recoded
	return p, nil
}

// parsed are the keys of one message, each parsed once: what their signatures about
// themselves are worth is computed for each anew. Nobody else may use them.
type parsed struct {
	signer *pgp.Entity // nil: no signature
	to     []*pgp.Entity
}

// parse parses the keys, and looks whether they can do what they are for.
func parse(o Options) (p parsed, err error) {
	if o.Signer != nil {
		if p.signer, err = o.Signer.entity(); err == nil {
			err = o.Signer.canSign(p.signer, message.Address{}, o.Time)
		}
		if err != nil {
			return p, fmt.Errorf("sign message: key: %w", err)
		}
	}
	for i, k := range o.Recipients {
		e, err := k.entity()
		if err != nil {
			return p, err
		}
		if _, err := e.EncryptionKeyWithError(o.Time, config(o.Time)); err != nil {
			return p, fmt.Errorf("encrypt message: key %d: %w", i+1, reason(err, e.PrimaryKey.CreationTime, o.Time))
		}
		p.to = append(p.to, e)
	}
	return p, nil
}

// sign makes a multipart/signed (RFC 3156 section 5).
func sign(m *entity.Message, o Options, p parsed) (*entity.Signed, error) {
	raw, hash, err := signature(m, o, p)
	if err != nil {
		return nil, fmt.Errorf("sign message: %w", err)
	}
	var text bytes.Buffer
	w := newArmor(&text, pgp.SignatureType, !bytes.HasPrefix(raw[bodyOf(raw):], []byte{6}))
	if _, err := w.Write(raw); err != nil {
		return nil, fmt.Errorf("sign message: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("sign message: %w", err)
	}
	micalg := "pgp-" + strings.ToLower(strings.ReplaceAll(hash.String(), "-", ""))
	kind := "multipart/signed; protocol=\"application/pgp-signature\";\r\n micalg=" + micalg
	return entity.NewSigned(kind, m, []string{
		`Content-Type: application/pgp-signature; name="signature.asc"`,
		"Content-Description: OpenPGP digital signature",
		`Content-Disposition: attachment; filename="signature.asc"`,
	}, text.Bytes())
}

// bodyOf tells where the body of a packet begins.
func bodyOf(packet []byte) int {
	_, body, _ := header(packet[:min(len(packet), 6)])
	return body
}

// signature returns the signature packet over the message's entity, made by the
// keeper of the signer's key.
func signature(m *entity.Message, o Options, p parsed) ([]byte, stdcrypto.Hash, error) {
	key, ok := p.signer.SigningKey(o.Time, config(o.Time))
	if !ok {
		return nil, 0, entity.ErrWrongUse
	}
	preferences := [][]uint8{key.PrimarySelfSignature.PreferredHash}
	u := Unsigned{Time: o.Time}
	for _, r := range p.to {
		self, err := r.PrimarySelfSignature(o.Time, config(o.Time))
		if err != nil {
			return nil, 0, err
		}
		preferences = append(preferences, self.PreferredHash)
		u.Recipients = append(u.Recipients, Recipient{r.PrimaryKey.Version, r.PrimaryKey.Fingerprint})
	}
	var err error
	u.Hash = digestFor(key.PublicKey, preferences)
	if key.PublicKey.Version == 6 {
		if u.Salt, err = packet.SignatureSaltForHash(u.Hash, rand.Reader); err != nil {
			return nil, 0, err
		}
	}
	h := u.Hash.New()
	h.Write(u.Salt)
	if _, err := io.Copy(h, m.Entity()); err != nil {
		return nil, 0, err
	}
	if u.State, err = h.(encoding.BinaryMarshaler).MarshalBinary(); err != nil {
		return nil, 0, err
	}
	raw, err := o.Signer.Sign(nameOf(key.PublicKey), u)
	return raw, u.Hash, err
}

// digestFor returns the digest for a signature by that key: as strong as the key
// (RFC 9580 sections 5.2.3.2 to 5.2.3.4), SHA-256 if nothing speaks against it, and of
// those that everybody prefers who says so.
func digestFor(signer *packet.PublicKey, preferences [][]uint8) stdcrypto.Hash {
	strong := []stdcrypto.Hash{stdcrypto.SHA256, stdcrypto.SHA384, stdcrypto.SHA512}
	switch curve, err := signer.Curve(); {
	case err != nil: // no curve
	case curve == packet.CurveNistP384, curve == packet.CurveBrainpoolP384:
		strong = strong[1:]
	case curve == packet.Curve448, curve == packet.CurveNistP521, curve == packet.CurveBrainpoolP512:
		strong = strong[2:]
	}
	for _, h := range strong {
		if !slices.ContainsFunc(preferences, func(p []uint8) bool { return len(p) > 0 && !slices.Contains(p, digests()[h]) }) {
			return h
		}
	}
	return strong[0]
}

// encrypted makes a multipart/encrypted with one object that is signed and
// encrypted (RFC 3156 sections 4 and 6.2).
func encrypted(m *entity.Message, o Options, p parsed) (*entity.Protected, error) {
	var signed []byte
	if o.Signer != nil {
		var err error
		if signed, _, err = signature(m, o, p); err != nil {
			return nil, fmt.Errorf("sign message: %w", err)
		}
	}
	boundary, err := entity.NewBoundary()
	if err != nil {
		return nil, err
	}
	front := "This is an encrypted message in OpenPGP/MIME format (RFC 3156).\r\n\r\n--" + boundary + "\r\n" +
		"Content-Type: application/pgp-encrypted\r\n" +
		"Content-Description: PGP/MIME version identification\r\n\r\n" +
		"Version: 1\r\n\r\n--" + boundary + "\r\n" +
		"Content-Type: application/octet-stream; name=\"encrypted.asc\"\r\n" +
		"Content-Description: OpenPGP encrypted message\r\n" +
		"Content-Disposition: inline; filename=\"encrypted.asc\"\r\n\r\n"
	return m.Around(entity.Content{
		Fields: []string{"Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\";\r\n boundary=\"" + boundary + "\""},
		Write: func(w io.Writer) error {
			if _, err := io.WriteString(w, front); err != nil {
				return err
			}
			if err := encrypt(w, m, o, signed); err != nil {
				return err
			}
			_, err := io.WriteString(w, "\r\n\r\n--"+boundary+"--\r\n")
			return err
		},
	})
}

func encrypt(w io.Writer, m *entity.Message, o Options, signed []byte) error {
	params := &pgp.EncryptParams{Config: config(o.Time), OutsideSig: signed}
	var to []*pgp.Entity
	aead := true
	for _, k := range o.Recipients {
		e, err := k.entity()
		if err != nil {
			return err
		}
		self, err := e.PrimarySelfSignature(o.Time, config(o.Time))
		if err != nil {
			return fmt.Errorf("encrypt message: %w", err)
		}
		to, aead = append(to, e), aead && self.SEIPDv2
	}
	text := newArmor(w, pgp.MessageType, !aead)
	plain, err := pgp.EncryptWithParams(text, to, nil, params)
	if err != nil {
		return fmt.Errorf("encrypt message: %w", err)
	}
	if _, err := io.Copy(plain, m.Entity()); err != nil {
		return fmt.Errorf("encrypt message: %w", err)
	}
	if err := plain.Close(); err != nil {
		return fmt.Errorf("encrypt message: %w", err)
	}
	return text.Close()
}
