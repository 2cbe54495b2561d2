package smtprelay_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/connectors"
	"gatewayd/connectors/connectortest"
	"gatewayd/connectors/smtpclient"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/smime"
	"gatewayd/message"
)

// TestPostfixSevenBit: a Postfix that takes no 8-bit mail (RFC 6152) gets signed
// mail all the same, changes no octet of it, and OpenSSL finds its signature good.
func TestPostfixSevenBit(t *testing.T) {
	ca := connectortest.NewCA(t)
	p := startPostfix(t, ca)
	p.run(t, "/usr/sbin/postconf", "-c", filepath.Join(p.dir, "etc"), "-e", "smtpd_discard_ehlo_keywords=8bitmime")
	p.run(t, "/usr/sbin/postfix", "-c", filepath.Join(p.dir, "etc"), "reload")
	tlsConfig := connectortest.Trust(ca)
	tlsConfig.Certificates = append(tlsConfig.Certificates, ca.Issue("gateway.bl.example"))
	relay := toSmarthost(t, smtpclient.Options{Addr: p.addr, ServerName: "sink.example", TLS: tlsConfig, Hello: "gateway.bl.example"})

	letter := "From: amt@bl.example\r\nTo: anna@example.ch\r\nSubject: Brief\r\nDate: Mon, 23 Nov 2026 14:05:06 +0100\r\nMessage-ID: <1@bl.example>\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüezi  \r\n.\r\nFrom: hier\r\n"
	for i, inside := range []string{"", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"} {
		raw := strings.Replace(letter, "Content-Type: text", inside+"Content-Type: text", 1)
		if _, err := relay.Submit(t.Context(), connectortest.With(message.Normal, raw)); err == nil || connectors.KindOf(err) != connectors.Permanent {
			t.Fatalf("8-bit mail as it is: %v", err)
		}
		signer, root := amt(t)
		signed, err := smime.Protect(strings.NewReader(raw), int64(len(raw)), smime.Options{Signer: &signer, Time: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		var sent bytes.Buffer
		if _, err := signed.WriteTo(&sent); err != nil {
			t.Fatal(err)
		}
		if _, err := relay.Submit(t.Context(), connectortest.With(message.Normal, sent.String())); err != nil {
			t.Fatal(err)
		}
		var got string
		for _, one := range p.delivered(t, i+1) {
			if strings.HasSuffix(one, sent.String()) {
				got = sent.String()
			}
		}
		if got == "" {
			t.Fatal("did not arrive unchanged")
		}
		p.write(t, "signed.eml", []byte(got))
		p.write(t, "root.pem", encode("CERTIFICATE", root.Raw))
		out, err := exec.Command("openssl", "cms", "-verify", "-in", filepath.Join(p.dir, "signed.eml"), "-CAfile", filepath.Join(p.dir, "root.pem")).Output()
		if err != nil {
			t.Errorf("openssl: %v", err)
		}
		if inside != "" && !strings.HasSuffix(string(out), strings.SplitN(letter, "MIME-Version: 1.0\r\n", 2)[1]) {
			t.Errorf("a whole message inside changed:\n%s", out)
		}
		if inside == "" && !strings.Contains(string(out), "Gr=C3=BCezi =20\r\n") {
			t.Errorf("not quoted-printable:\n%s", out)
		}
	}
}

// amt returns who signs for amt@bl.example, under a root.
func amt(t *testing.T) (cms.Signer, *x509.Certificate) {
	t.Helper()
	issue := func(tpl, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
		tpl.SerialNumber, tpl.NotBefore, tpl.NotAfter = big.NewInt(7), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		tpl.BasicConstraintsValid = true
		der, err := x509.CreateCertificate(rand.Reader, tpl, parent, public, key)
		must(t, err)
		c, err := x509.ParseCertificate(der)
		must(t, err)
		return c
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	root := &x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign, RawSubject: []byte("0\x0f1\r0\v\x06\x03U\x04\x03\x0c\x04Root")}
	root = issue(root, root, rootKey.Public(), rootKey)
	leaf := issue(&x509.Certificate{EmailAddresses: []string{"amt@bl.example"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}, root, key.Public(), rootKey)
	return cms.Signer{Cert: leaf, Key: key}, root
}
