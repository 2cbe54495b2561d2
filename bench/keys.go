package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// partner is who gets encrypted mail in W4.
const partner = "treuhand@example.net"

// keyKinds are the keys of W4.
func keyKinds() []string { return []string{"rsa-2048", "rsa-3072", "p-256"} }

// keyPair are the throw-away keys of one kind: the authority's, which signs, and
// the partner's, for whom is encrypted.
type keyPair struct {
	own, partner crypto.Signer
	files        map[string][]byte // own.crt, own.key, partner.crt, partner.key
}

func newKeys(kind string) (*keyPair, error) {
	k := &keyPair{files: map[string][]byte{}}
	for name, mail := range map[string]string{"own": "bauinspektorat@bl.example", "partner": partner} {
		key, err := newKey(kind)
		if err != nil {
			return nil, err
		}
		if name == "own" {
			k.own = key
		} else {
			k.partner = key
		}
		if err := k.certify(name, mail, key); err != nil {
			return nil, err
		}
	}
	return k, nil
}

func newKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "rsa-2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "rsa-3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "p-256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return nil, fmt.Errorf("no kind of key: %s", kind)
}

func (k *keyPair) certify(name, mail string, key crypto.Signer) error {
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: mail}, EmailAddresses: []string{mail},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
	if _, ec := key.(*ecdsa.PrivateKey); ec {
		t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageKeyAgreement
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	k.files[name+".crt"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	k.files[name+".key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	return nil
}

func serial() *big.Int { return big.NewInt(time.Now().UnixNano()) }

// ring writes a key ring as gatewayd reads it.
func (k *keyPair) ring(dir string) error {
	own := filepath.Join(dir, "own", "bauinspektorat")
	return errors.Join(
		os.MkdirAll(own, 0o700), os.MkdirAll(filepath.Join(dir, "partners"), 0o700),
		os.WriteFile(filepath.Join(own, "sign.crt"), k.files["own.crt"], 0o600),
		os.WriteFile(filepath.Join(own, "sign.key"), k.files["own.key"], 0o600),
		os.WriteFile(filepath.Join(dir, "partners", partner+".crt"), k.files["partner.crt"], 0o600),
	)
}

// filterFolder writes what the content filter needs; its user is nobody.
func (k *keyPair) filterFolder(dir, again string) error {
	err := os.WriteFile(filepath.Join(dir, "again"), []byte(again), 0o644)
	for name, text := range k.files {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), text, 0o644)) //nolint:gosec // throw-away keys
	}
	return err
}

// opens lets OpenSSL decrypt and verify a message that came out: what was
// measured must have been the thing itself.
func (k *keyPair) opens(dir string, raw []byte) error {
	if err := k.filterFolder(dir, ""); err != nil {
		return err
	}
	sealed, opened := filepath.Join(dir, "sealed.eml"), filepath.Join(dir, "opened.eml")
	if err := os.WriteFile(sealed, raw, 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"-decrypt", "-in", sealed, "-recip", filepath.Join(dir, "partner.crt"), "-inkey", filepath.Join(dir, "partner.key"), "-out", opened},
		{"-verify", "-in", opened, "-CAfile", filepath.Join(dir, "own.crt"), "-purpose", "any", "-out", os.DevNull},
	} {
		if out, err := exec.Command("openssl", append([]string{"cms"}, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("openssl cms %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// signatureRate is how many signatures all cores together make in a second:
// the limit of everything that signs each message.
func (k *keyPair) signatureRate(d time.Duration) float64 {
	digest := sha256.Sum256([]byte("limit"))
	var n atomic.Int64
	var workers sync.WaitGroup
	begun := time.Now()
	for range runtime.NumCPU() {
		workers.Go(func() {
			for time.Since(begun) < d {
				if _, err := k.own.Sign(rand.Reader, digest[:], crypto.SHA256); err == nil {
					n.Add(1)
				}
			}
		})
	}
	workers.Wait()
	return perSecond(n.Load(), time.Since(begun))
}
