package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/smime"
)

// sealFlag encrypts what leaves the gateway to keys that are named (Benutzungs-
// reglement BL § 18: media are carried encrypted only).
type sealFlag struct {
	To []string `type:"existingfile" help:"Encrypt to the certificate in this file (PEM or DER; may stand several times). Opened by: openssl cms -decrypt -binary -inform DER -in FILE -recip CERT.pem -inkey KEY.pem" placeholder:"CERT.pem"`
}

// recipients reads the certificates. One that cannot be encrypted to, or that is not
// good now, is an error.
func (s sealFlag) recipients(now time.Time) (list []*x509.Certificate, err error) {
	for _, path := range s.To {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		certs, err := smime.ParseCertificates(data)
		if err != nil {
			return nil, fmt.Errorf("--to %s: %w", path, err)
		}
		c := certs[0]
		switch {
		case now.After(c.NotAfter) || now.Before(c.NotBefore):
			return nil, fmt.Errorf("--to %s: the certificate is good from %s to %s only", path, c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
		case c.KeyUsage != 0 && c.KeyUsage&(x509.KeyUsageKeyEncipherment|x509.KeyUsageKeyAgreement) == 0:
			return nil, fmt.Errorf("--to %s: the certificate is not made for encryption", path)
		}
		list = append(list, c)
	}
	return list, nil
}

// around returns where to write what goes to w; closing it ends the encryption, and
// leaves w open.
func (s sealFlag) around(w io.Writer) (io.WriteCloser, error) {
	list, err := s.recipients(time.Now())
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return plainWriter{w}, nil
	}
	read, write := io.Pipe()
	sealed := &sealedWriter{PipeWriter: write, done: make(chan error, 1)}
	go func() {
		err := cms.Encrypt(w, read, -1, cms.EncryptOptions{Recipients: list})
		read.CloseWithError(errors.Join(err, io.ErrClosedPipe)) // who writes on learns of it
		sealed.done <- err
	}()
	return sealed, nil
}

type plainWriter struct{ io.Writer }

// Close implements io.Closer.
func (plainWriter) Close() error { return nil }

type sealedWriter struct {
	*io.PipeWriter
	done chan error
}

// Close implements io.Closer.
func (s *sealedWriter) Close() error { return errors.Join(s.PipeWriter.Close(), <-s.done) }

// abort ends an encryption that has failed: what was written reads as broken.
func (s *sealedWriter) abort(err error) { s.CloseWithError(err); <-s.done }

// into has write write to w, encrypted if a key is named.
func (s sealFlag) into(w io.Writer, write func(io.Writer) error) error {
	out, err := s.around(w)
	if err != nil {
		return err
	}
	if err := write(out); err != nil {
		if sealed, ok := out.(*sealedWriter); ok {
			sealed.abort(err)
		}
		return err
	}
	return out.Close()
}
