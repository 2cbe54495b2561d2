package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"io"

	"gatewayd/crypto/ber"
)

// Recipient is a key that can open what is encrypted for its certificate.
type Recipient struct {
	Cert  *x509.Certificate
	Key   stdcrypto.Decrypter // RSA; nil for an EC key
	Agree ecdh.KeyExchanger   // EC; nil for an RSA key
}

// Opened tells about a decrypted object.
type Opened struct {
	Recipient   *x509.Certificate     // whose key opened it
	ContentType asn1.ObjectIdentifier // of what was inside
}

// Decrypt reads a ContentInfo with an EnvelopedData (RFC 5652 section 6) and
// writes the decrypted content to dst. What was written is worth nothing
// unless the error is nil; and as CBC proves nothing, it is worth nothing
// either until a signature inside was checked.
//
// ErrNoRecipient: encrypted for others. ErrDecrypt stands for every failure
// that depends on the secret, so that nobody learns from our answer.
func Decrypt(dst io.Writer, sealed io.Reader, keys []Recipient, lim ber.Limits) (Opened, error) {
	r := ber.NewReader(sealed, lim)
	opened, err := decrypt(dst, r, keys)
	if err != nil {
		return Opened{}, fmt.Errorf("enveloped data: %w", err)
	}
	return opened, nil
}

func decrypt(dst io.Writer, r *ber.Reader, keys []Recipient) (o Opened, err error) {
	if err := open(r, oidEnveloped, ErrNotSealed); err != nil {
		return o, err
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
	o.Recipient = mine.cert
	if o.ContentType, err = decryptContent(dst, r, mine); err != nil {
		return o, err
	}
	if r.Next(ber.Context1) { // unprotected attributes
		if err := r.Skip(); err != nil {
			return o, err
		}
	}
	if err := r.Leave(); err != nil {
		return o, err
	}
	return o, shut(r)
}

// wrappedKey is the content key as encrypted for one of our keys.
type wrappedKey struct {
	cert   *x509.Certificate
	unwrap func(size int) ([]byte, error) // returns a key of that many octets
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
			unwrap := func(size int) ([]byte, error) { return unwrapRSA(k.Key, method, wrapped, size) }
			return &wrappedKey{cert: k.Cert, unwrap: unwrap}, nil
		}
	}
	return nil, nil
}

// decryptContent reads EncryptedContentInfo (section 6.1).
func decryptContent(dst io.Writer, r *ber.Reader, mine wrappedKey) (asn1.ObjectIdentifier, error) {
	if err := r.Enter(ber.Sequence); err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	kind, err := next[asn1.ObjectIdentifier](r, "content type", maxSmall)
	if err != nil {
		return nil, err
	}
	method, err := next[algorithm](r, "content cipher", maxSmall)
	if err != nil {
		return nil, err
	}
	mode, err := mine.cipher(method)
	if err != nil {
		return nil, err
	}
	octets, err := r.Octets(ber.Implicit0)
	if err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	if err := openCBC(dst, octets, mode); err != nil {
		return nil, err
	}
	return kind, r.Leave()
}

// cipher unwraps the content key and makes the cipher ready.
func (w wrappedKey) cipher(method algorithm) (cipher.BlockMode, error) {
	size, err := contentKeySize(method.Algorithm)
	if err != nil {
		return nil, err
	}
	var iv []byte
	if err := unmarshal(method.Parameters.FullBytes, &iv, "initialisation vector"); err != nil {
		return nil, err
	}
	if len(iv) != aes.BlockSize {
		return nil, fmt.Errorf("initialisation vector: %w: length", ber.ErrMalformed)
	}
	key, err := w.unwrap(size)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, ErrDecrypt
	}
	return cipher.NewCBCDecrypter(block, iv), nil
}

// openCBC decrypts a stream and takes the padding off (section 6.3).
func openCBC(dst io.Writer, octets io.Reader, mode cipher.BlockMode) error {
	buf := make([]byte, chunkSize)
	var last []byte // the newest block, held back
	for {
		n, end, err := fill(octets, buf)
		if err != nil {
			return fmt.Errorf("content: %w", err)
		}
		if n%aes.BlockSize != 0 {
			return ErrDecrypt
		}
		if n > 0 {
			if _, err := dst.Write(last); err != nil {
				return fmt.Errorf("write content: %w", err)
			}
			mode.CryptBlocks(buf[:n], buf[:n])
			if _, err := dst.Write(buf[:n-aes.BlockSize]); err != nil {
				return fmt.Errorf("write content: %w", err)
			}
			last = bytes.Clone(buf[n-aes.BlockSize : n])
		}
		if end {
			return unpad(dst, last)
		}
	}
}

func unpad(dst io.Writer, last []byte) error {
	if len(last) != aes.BlockSize {
		return ErrDecrypt
	}
	pad := int(last[aes.BlockSize-1])
	good := subtle.ConstantTimeLessOrEq(1, pad) & subtle.ConstantTimeLessOrEq(pad, aes.BlockSize)
	for i, c := range last {
		in := subtle.ConstantTimeLessOrEq(aes.BlockSize-pad, i)
		good &= (1 - in) | subtle.ConstantTimeByteEq(c, byte(pad))
	}
	if good != 1 {
		return ErrDecrypt
	}
	if _, err := dst.Write(last[:aes.BlockSize-pad]); err != nil {
		return fmt.Errorf("write content: %w", err)
	}
	return nil
}
