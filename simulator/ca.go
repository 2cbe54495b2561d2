package simulator

import (
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"time"
)

// CA is a small certificate authority for tests, the demo and development
// set-ups. Everything it issues is valid from 2000 to 2099, so that virtual
// clocks may stand anywhere in between. It keeps no list and revokes nothing.
type CA struct {
	cert *x509.Certificate
	key  stdcrypto.Signer
}

// Certificate is a certificate with its private key and its issuer.
type Certificate struct {
	Leaf   *x509.Certificate
	Issuer *x509.Certificate
	Key    stdcrypto.Signer
}

// NewCA makes an authority with a new ECDSA P-256 key. Two authorities should
// differ in name.
func NewCA(name string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of CA: %w", err)
	}
	t := template(name)
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	cert, err := create(t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("certificate of CA: %w", err)
	}
	return &CA{cert: cert, key: key}, nil
}

// Server issues a certificate for a TLS server (ECDSA P-256). The first name
// is its CN, every name a SAN; names that are IP addresses become IP SANs.
func (c *CA) Server(names ...string) (Certificate, error) {
	return c.issueMTA(x509.ExtKeyUsageServerAuth, names)
}

// Client issues a certificate for a TLS client, such as the sending side of an
// authority's mail server (ECDSA P-256). Names as for Server.
func (c *CA) Client(names ...string) (Certificate, error) {
	return c.issueMTA(x509.ExtKeyUsageClientAuth, names)
}

func (c *CA) issueMTA(use x509.ExtKeyUsage, names []string) (Certificate, error) {
	if len(names) == 0 {
		return Certificate{}, fmt.Errorf("certificate without a name")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificate{}, fmt.Errorf("key of certificate: %w", err)
	}
	t := template(names[0])
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{use}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	return c.issue(t, key)
}

// Seal issues a certificate for an electronic seal on receipts and for S/MIME
// signatures and encryption under the given mail address (RSA-2048).
func (c *CA) Seal(name, mail string) (Certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Certificate{}, fmt.Errorf("key of seal: %w", err)
	}
	t := template(name)
	t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageKeyEncipherment
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
	t.EmailAddresses = []string{mail}
	return c.issue(t, key)
}

// TSA issues a certificate for a time-stamping authority (ECDSA P-256): its key
// usage is time stamping, alone and critical (RFC 3161 section 2.3).
func (c *CA) TSA(name string) (Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificate{}, fmt.Errorf("key of time-stamping authority: %w", err)
	}
	t := template(name)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 8}}}
	return c.issue(t, key)
}

// Pool returns a pool that trusts this authority only.
func (c *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.cert)
	return p
}

// Cert returns the authority's own certificate.
func (c *CA) Cert() *x509.Certificate { return c.cert }

// PEM returns the authority's own certificate as PEM.
func (c *CA) PEM() []byte { return certPEM(c.cert) }

// TLS returns the certificate in the form that crypto/tls wants.
func (c Certificate) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{c.Leaf.Raw}, PrivateKey: c.Key, Leaf: c.Leaf}
}

// CertPEM returns the certificate, without its issuer, as PEM.
func (c Certificate) CertPEM() []byte { return certPEM(c.Leaf) }

// KeyPEM returns the private key as PKCS #8 PEM, unencrypted.
func (c Certificate) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func (c *CA) issue(t *x509.Certificate, key stdcrypto.Signer) (Certificate, error) {
	leaf, err := create(t, c.cert, key.Public(), c.key)
	if err != nil {
		return Certificate{}, fmt.Errorf("issue certificate: %w", err)
	}
	return Certificate{Leaf: leaf, Issuer: c.cert, Key: key}, nil
}

// template leaves the serial number to x509.CreateCertificate: 20 random octets.
func template(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: []string{"gatewayd simulation"}, Country: []string{"CH"}},
		NotBefore: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:  time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC),
	}
}

func create(t, parent *x509.Certificate, pub stdcrypto.PublicKey, key stdcrypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// LoadCertificate reads a certificate, its PKCS #8 key and its issuer from PEM
// files.
func LoadCertificate(certFile, keyFile, issuerFile string) (Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return Certificate{}, err
	}
	key, ok := pair.PrivateKey.(stdcrypto.Signer)
	if !ok {
		return Certificate{}, fmt.Errorf("%s: this key cannot sign", keyFile)
	}
	text, err := os.ReadFile(issuerFile)
	if err != nil {
		return Certificate{}, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return Certificate{}, fmt.Errorf("%s: no PEM certificate", issuerFile)
	}
	issuer, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Certificate{}, fmt.Errorf("%s: %w", issuerFile, err)
	}
	return Certificate{Leaf: pair.Leaf, Issuer: issuer, Key: key}, nil
}
