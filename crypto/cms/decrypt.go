package cms

import (
	stdcrypto "crypto"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/gcm"
)

// Recipient is a key that can open what is encrypted for its certificate. An error
// of Key or Agree that is ErrKeyAway says nothing about the message; every other
// one counts as a key that does not fit.
type Recipient struct {
	Cert  *x509.Certificate
	Key   stdcrypto.Decrypter // RSA; nil for a key that agrees
	Agree ecdh.KeyExchanger   // P-256, P-384, P-521, X25519; nil for an RSA key
}

// Opened tells about a decrypted object. After an error it holds what was
// learnt until then.
type Opened struct {
	Recipient     *x509.Certificate     // whose key opened it
	ContentType   asn1.ObjectIdentifier // of what was inside
	Cipher        string                // of the content, for people: "AES-256-CBC"
	KeyEncryption string                // of the content's key, for people: "RSAES-OAEP, SHA-256"
	Authenticated bool                  // AuthEnvelopedData: nobody changed it who does not know the content's key
	Weak          bool                  // Triple-DES, or an RSA key of ours with fewer than 2048 bits
}

// Decrypt reads a ContentInfo with an EnvelopedData (RFC 5652 section 6) or an
// AuthEnvelopedData (RFC 5083) and writes the decrypted content to dst. What
// was written is worth nothing unless the error is nil, and must be kept back
// until then. Unless it is Authenticated, it is worth nothing either until a
// signature inside was checked: CBC proves nothing.
//
// ErrNoRecipient: encrypted for others. ErrKeyAway: try again. ErrDecrypt stands for every failure
// that depends on the secret, and comes after all the rest was looked at and
// all the work was done, so that nobody learns from answer or time.
func Decrypt(dst io.Writer, sealed io.Reader, keys []Recipient, lim ber.Limits) (Opened, error) {
	r := ber.NewReader(sealed, lim)
	opened, err := decrypt(dst, r, keys)
	if err != nil {
		return opened, fmt.Errorf("enveloped data: %w", err)
	}
	return opened, nil
}

func decrypt(dst io.Writer, r *ber.Reader, keys []Recipient) (o Opened, err error) {
	kind, err := open(r)
	if err != nil {
		return o, err
	}
	o.Authenticated = kind.Equal(oidAuthEnveloped)
	if !o.Authenticated && !kind.Equal(oidEnveloped) {
		return o, fmt.Errorf("%w: content type %v", ErrNotSealed, kind)
	}
	if err := r.Enter(ber.Sequence); err != nil {
		return o, err
	}
	if _, err := next[int](r, "version", maxSmall); err != nil {
		return o, err
	}
	if r.Next(ber.Context0) { // originator's certificates
		if err := r.Skip(); err != nil {
			return o, err
		}
	}
	mine, err := findRecipient(r, keys)
	if err != nil {
		return o, err
	}
	o.Recipient, o.Weak = mine.cert, weakKey(mine.cert)
	good, err := o.readContent(dst, r, mine)
	if err != nil {
		return o, err
	}
	if err := endContent(r, o.Authenticated); err != nil {
		return o, err
	}
	if !good {
		return o, ErrDecrypt
	}
	return o, nil
}

// endContent reads what stands behind content and MAC.
func endContent(r *ber.Reader, authenticated bool) error {
	unprotected := ber.Context1
	if authenticated {
		unprotected++
	}
	if r.Next(unprotected) {
		if err := r.Skip(); err != nil {
			return err
		}
	}
	if err := r.Leave(); err != nil {
		return err
	}
	return shut(r)
}

// wrappedKey is the content key as encrypted for one of our keys.
type wrappedKey struct {
	cert   *x509.Certificate
	unwrap func(size int) (key []byte, how string, err error) // a key of that many octets
}

// key returns the content key. One that does not come out is replaced by a
// random one, with which the work goes on as if nothing were wrong: neither the
// time nor a different error may tell (RFC 3218 section 2.3.2). fits is then
// false where we know; for PKCS #1 v1.5 nobody does.
func (w wrappedKey) key(size int) (key []byte, how string, fits bool, err error) {
	key, how, err = w.unwrap(size)
	if !errors.Is(err, ErrDecrypt) {
		return key, how, err == nil, err
	}
	key = make([]byte, size)
	_, _ = rand.Read(key) // never fails
	return key, how, false, nil
}

// findRecipient reads the RecipientInfos and returns the first one for us.
func findRecipient(r *ber.Reader, keys []Recipient) (wrappedKey, error) {
	if err := r.Enter(ber.Set); err != nil {
		return wrappedKey{}, fmt.Errorf("recipients: %w", err)
	}
	var found *wrappedKey
	for n := 0; r.More(); n++ {
		if n == maxRecipients {
			return wrappedKey{}, fmt.Errorf("recipients: %w", ber.ErrLimit)
		}
		got, err := readRecipient(r, keys, found == nil)
		if err != nil {
			return wrappedKey{}, fmt.Errorf("recipient: %w", err)
		}
		if got != nil {
			found = got
		}
	}
	if err := r.Leave(); err != nil {
		return wrappedKey{}, fmt.Errorf("recipients: %w", err)
	}
	if found == nil {
		return wrappedKey{}, ErrNoRecipient
	}
	return *found, nil
}

// maxRecipients is generous: a mail to a whole administration.
const maxRecipients = 4096

// readRecipient reads the kinds of RecipientInfo that we know and passes over
// the others (section 6.2).
func readRecipient(r *ber.Reader, keys []Recipient, wanted bool) (*wrappedKey, error) {
	switch {
	case wanted && r.Next(ber.Sequence):
		return readKeyTransport(r, keys)
	case wanted && r.Next(ber.Context1):
		return readKeyAgreement(r, keys)
	}
	return nil, r.Skip()
}

// readKeyTransport returns nil if it is for none of the keys.
func readKeyTransport(r *ber.Reader, keys []Recipient) (*wrappedKey, error) {
	if err := r.Enter(ber.Sequence); err != nil {
		return nil, err
	}
	if _, err := next[int](r, "version", maxSmall); err != nil {
		return nil, err
	}
	who, err := readIdentifier(r)
	if err != nil {
		return nil, err
	}
	method, err := next[algorithm](r, "key transport", maxSmall)
	if err != nil {
		return nil, err
	}
	wrapped, err := next[[]byte](r, "encrypted key", maxSmall)
	if err != nil {
		return nil, err
	}
	if err := r.Leave(); err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.Key != nil && who.names(k.Cert) {
			unwrap := func(size int) ([]byte, string, error) { return unwrapRSA(k.Key, method, wrapped, size) }
			return &wrappedKey{cert: k.Cert, unwrap: unwrap}, nil
		}
	}
	return nil, nil
}

// readContent reads EncryptedContentInfo (RFC 5652 section 6.1), and in an
// AuthEnvelopedData what proves it (RFC 5083 section 2.1). good is false if the
// key, the padding or the proof does not fit.
func (o *Opened) readContent(dst io.Writer, r *ber.Reader, mine wrappedKey) (good bool, err error) {
	if err := r.Enter(ber.Sequence); err != nil {
		return false, fmt.Errorf("content: %w", err)
	}
	if o.ContentType, err = next[asn1.ObjectIdentifier](r, "content type", maxSmall); err != nil {
		return false, err
	}
	method, err := next[algorithm](r, "content cipher", maxSmall)
	if err != nil {
		return false, err
	}
	kind, ok := contentCipherOf(method.Algorithm)
	if !ok || kind.gcm != o.Authenticated {
		return false, fmt.Errorf("%w: content cipher %v", ErrUnsupported, method.Algorithm)
	}
	o.Cipher, o.Weak = kind.name, o.Weak || kind.weak
	start, err := kind.parameters(method.Parameters.FullBytes)
	if err != nil {
		return false, err
	}
	key, how, fits, err := mine.key(kind.size)
	if o.KeyEncryption = how; err != nil {
		return false, err
	}
	octets, err := r.Octets(ber.Implicit0)
	if err != nil {
		return false, fmt.Errorf("content: %w", err)
	}
	if kind.gcm {
		good, err = openGCM(dst, r, octets, key, start)
	} else {
		good, err = openCBC(dst, octets, kind, key, start)
		err = errors.Join(err, r.Leave())
	}
	return good && fits, err
}

// openGCM deciphers the content, leaves EncryptedContentInfo, and compares the
// tag that stands behind with that of the content and of the attributes.
func openGCM(dst io.Writer, r *ber.Reader, octets io.Reader, key []byte, start cipherStart) (bool, error) {
	stream, err := gcm.New(key, start.nonce)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ber.ErrMalformed, err)
	}
	err = eachChunk(octets, func(chunk []byte, _ bool) error {
		stream.Open(chunk)
		_, err := dst.Write(chunk)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("content: %w", err)
	}
	if err := r.Leave(); err != nil {
		return false, err
	}
	var attributes []byte
	if r.Next(ber.Context1) {
		if attributes, err = r.Element(maxPart); err != nil {
			return false, fmt.Errorf("attributes: %w", err)
		}
		attributes[0] = ber.Set // authenticated under this tag: RFC 5083 section 2.2
	}
	tag, err := next[[]byte](r, "authentication code", maxSmall)
	if err != nil {
		return false, err
	}
	if len(tag) != start.tagSize { // RFC 5084 section 3.2
		return false, fmt.Errorf("authentication code: %w: length", ber.ErrMalformed)
	}
	return gcm.Equal(stream.Tag(attributes), tag), nil
}
