package smime

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/message"
)

func TestParseIdentity(t *testing.T) {
	w := testWorld()
	for _, id := range []Identity{w.rsa, w.ec, fixed()} {
		cert, key := id.pems()
		both := append(bytes.Clone(key), cert...)
		got, err := ParseIdentity(both, both)
		if err != nil || !got.Cert.Equal(id.Cert) || len(got.Chain) != 0 {
			t.Errorf("%s: %v", id.Cert.Subject, err)
		}
		if _, ok := got.Recipient(); ok == (id.Cert.PublicKeyAlgorithm == x509.Ed25519) {
			t.Errorf("%s: can decrypt: %v", id.Cert.Subject, ok)
		}
	}
	cert, key := w.rsa.pems()
	_, other := w.amt.pems()
	root, _ := w.root.pems()
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(w.rsa.Key.(*rsa.PrivateKey))})
	if id, err := ParseIdentity(append(bytes.Clone(cert), root...), pkcs1); err != nil || len(id.Chain) != 1 {
		t.Errorf("PKCS #1 with a chain: %v", err)
	}
	ecCert, _ := w.ec.pems()
	sec1 := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(must(x509.ParsePKCS8PrivateKey(must(x509.MarshalPKCS8PrivateKey(w.ec.Key)))).(*ecdsa.PrivateKey)))})
	if _, err := ParseIdentity(ecCert, sec1); err != nil {
		t.Errorf("SEC 1: %v", err)
	}
	if list, err := ParseCertificates(w.rsa.Cert.Raw); err != nil || len(list) != 1 {
		t.Errorf("DER: %v", err)
	}
	secret := "c2VjcmV0"
	for name, c := range map[string][2]string{
		"no certificate":    {string(key), string(key)},
		"junk":              {"junk", string(key)},
		"broken PEM":        {"-----BEGIN CERTIFICATE-----\n" + secret + "\n-----END CERTIFICATE-----\n", string(key)},
		"no key":            {string(cert), string(cert)},
		"key of another":    {string(cert), string(other)},
		"broken key":        {string(cert), "-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\n"},
		"locked key":        {string(cert), "-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + secret + "\n-----END ENCRYPTED PRIVATE KEY-----\n"},
		"key that agrees":   {string(cert), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(must(w.ec.Key.(*ecdsa.PrivateKey).ECDH())))}))},
		"key for something": {string(cert), "-----BEGIN DSA PRIVATE KEY-----\n" + secret + "\n-----END DSA PRIVATE KEY-----\n"},
	} {
		_, err := ParseIdentity([]byte(c[0]), []byte(c[1]))
		if err == nil && name != "key that agrees" || err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChecks(t *testing.T) {
	w := testWorld()
	short := issue("short", "s@bl.example", must(rsa.GenerateKey(rand.Reader, 1024)), nil, now.AddDate(1, 0, 0))
	server := *w.rsa.Cert
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	signOnly := *w.rsa.Cert
	signOnly.KeyUsage = x509.KeyUsageDigitalSignature
	agree := *w.ec.Cert
	agree.KeyUsage = x509.KeyUsageKeyAgreement
	free := *w.rsa.Cert
	free.KeyUsage, free.ExtKeyUsage = 0, nil
	for _, c := range []struct {
		name      string
		cert      *x509.Certificate
		a         string
		at        time.Time
		recipient error
		signer    error
	}{
		{"good", w.rsa.Cert, "RSA@partner.example", now, nil, nil},
		{"good EC", w.ec.Cert, "ec@partner.example", now, nil, nil},
		{"no usage named", &free, "rsa@partner.example", now, nil, nil},
		{"other address", w.rsa.Cert, "x@partner.example", now, entity.ErrWrongAddress, entity.ErrWrongAddress},
		{"any address", w.rsa.Cert, "", now, nil, nil},
		{"too early", w.rsa.Cert, "rsa@partner.example", now.AddDate(-2, 0, 0), entity.ErrNotYetValid, entity.ErrNotYetValid},
		{"too late", w.rsa.Cert, "rsa@partner.example", now.AddDate(2, 0, 0), entity.ErrExpired, entity.ErrExpired},
		{"server", &server, "rsa@partner.example", now, entity.ErrWrongUse, entity.ErrWrongUse},
		{"signing only", &signOnly, "rsa@partner.example", now, entity.ErrWrongUse, nil},
		{"agreement only", &agree, "ec@partner.example", now, nil, entity.ErrWrongUse},
		{"1024 bits", short.Cert, "s@bl.example", now, entity.ErrWeakKey, entity.ErrWeakKey},
		{"Ed25519", fixed().Cert, "fuzz@bl.example", now, entity.ErrWeakKey, nil},
	} {
		var a message.Address
		if c.a != "" {
			a = addr(c.a)
		}
		if err := CheckRecipient(c.cert, a, c.at); !errors.Is(err, c.recipient) {
			t.Errorf("%s: recipient: %v, want %v", c.name, err, c.recipient)
		}
		if err := CheckSigner(c.cert, a, c.at); !errors.Is(err, c.signer) {
			t.Errorf("%s: signer: %v, want %v", c.name, err, c.signer)
		}
	}
}
