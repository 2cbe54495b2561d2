package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keyPair writes certificate and key of a new identity as PEM.
func keyPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := selfSigned(t, private, x509.KeyUsageKeyAgreement)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: leaf}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func selfSigned(t *testing.T, private *ecdsa.PrivateKey, usage x509.KeyUsage) []byte {
	t.Helper()
	about := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Revision"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: usage,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// opened decrypts an export with OpenSSL, as --help says.
func opened(t *testing.T, file, cert, key string) []byte {
	t.Helper()
	need(t, "openssl", "openssl")
	out, err := exec.Command("openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", file, "-recip", cert, "-inkey", key).Output()
	if err != nil {
		t.Fatalf("openssl cannot open %s: %v", file, err)
	}
	return out
}

// TestExportSeal: what is exported to a key is read with that key only; a
// certificate that cannot be encrypted to is refused before anything is written.
func TestExportSeal(t *testing.T) {
	cert, key := keyPair(t)
	secret := []byte(strings.Repeat("Aktenzeichen 17, buerger@example.ch\n", 5000))
	var b bytes.Buffer
	if err := (sealFlag{To: []string{cert}}).into(&b, writing(secret)); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b.Bytes(), []byte("buerger@")) {
		t.Error("the export is not encrypted")
	}
	file := filepath.Join(t.TempDir(), "export.p7m")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := opened(t, file, cert, key); !bytes.Equal(got, secret) {
		t.Errorf("%d octets came out, want %d", len(got), len(secret))
	}
	b.Reset()
	if err := (sealFlag{}).into(&b, writing(secret)); err != nil || !bytes.Equal(b.Bytes(), secret) {
		t.Errorf("without a key: %v", err)
	}
	for name, s := range map[string]sealFlag{"a key": {To: []string{key}}, "nothing": {To: []string{filepath.Join(t.TempDir(), "absent")}}} {
		b.Reset()
		if err := s.into(&b, writing(secret)); err == nil || b.Len() > 0 {
			t.Errorf("%s: %v, %d octets written", name, err, b.Len())
		}
	}
	if _, err := (sealFlag{To: []string{cert}}).recipients(time.Now().AddDate(-90, 0, 0)); err == nil || !strings.Contains(err.Error(), "good from") {
		t.Errorf("not good yet: %v", err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signs := filepath.Join(t.TempDir(), "signs.der")
	if err := os.WriteFile(signs, selfSigned(t, private, x509.KeyUsageDigitalSignature), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (sealFlag{To: []string{signs}}).recipients(time.Now()); err == nil || !strings.Contains(err.Error(), "not made for encryption") {
		t.Errorf("a certificate for signatures: %v", err)
	}
	broken := errors.New("the gateway went away")
	err = (sealFlag{To: []string{cert}}).into(io.Discard, func(w io.Writer) error {
		_, err := w.Write(secret)
		return errors.Join(err, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("broken off: %v", err)
	}
	full := errors.New("the disk is full")
	if err := (sealFlag{To: []string{cert}}).into(failing{full}, writing(secret)); !errors.Is(err, full) {
		t.Errorf("full: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
