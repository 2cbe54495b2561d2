package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 23, 13, 5, 6, 0, time.UTC)

// identity is a key with its certificate.
type identity struct {
	cert  *x509.Certificate
	key   stdcrypto.Signer
	agree *ecdh.PrivateKey // instead of key: X25519
}

func (i identity) signer() Signer { return Signer{Cert: i.cert, Key: i.key} }

func (i identity) recipient() Recipient {
	if i.agree != nil {
		return Recipient{Cert: i.cert, Agree: i.agree}
	}
	if k, ok := i.key.(*ecdsa.PrivateKey); ok {
		return Recipient{Cert: i.cert, Agree: must(k.ECDH())}
	}
	return Recipient{Cert: i.cert, Key: i.key.(stdcrypto.Decrypter)}
}

// world is what the tests play with: one anchor, an intermediate, and under it
// keys of every kind; mallory has nothing to do with them.
type world struct {
	root, middle, mallory identity
	rsa, bob, p256        identity
	x25519                identity
	keys                  map[string]identity // signers by kind of key
	roots                 *x509.CertPool
}

var testWorld = sync.OnceValue(func() world {
	w := world{keys: map[string]identity{}, roots: x509.NewCertPool()}
	w.root = issue("Root", ec(elliptic.P256()), nil, true)
	w.middle = issue("Middle", ec(elliptic.P384()), &w.root, true)
	w.mallory = issue("rsa", newRSA(2048), nil, false)
	w.roots.AddCert(w.root.cert)
	for name, key := range map[string]stdcrypto.Signer{
		"rsa": newRSA(2048), "rsa1024": newRSA(1024), "p256": ec(elliptic.P256()),
		"p384": ec(elliptic.P384()), "p521": ec(elliptic.P521()), "ed25519": ed25519.NewKeyFromSeed(make([]byte, 32)),
	} {
		w.keys[name] = issue(name, key, &w.middle, false)
	}
	w.rsa, w.p256 = w.keys["rsa"], w.keys["p256"]
	w.bob = issue("bob", newRSA(3072), &w.middle, false)
	agree := must(ecdh.X25519().GenerateKey(rand.Reader))
	w.x25519 = identity{cert: certify("x25519", agree.PublicKey(), w.middle.key, w.middle.cert, false), agree: agree}
	return w
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func ec(c elliptic.Curve) stdcrypto.Signer { return must(ecdsa.GenerateKey(c, rand.Reader)) }

func newRSA(bits int) stdcrypto.Signer { return must(rsa.GenerateKey(rand.Reader, bits)) }

func issue(name string, key stdcrypto.Signer, by *identity, ca bool) identity {
	if by == nil {
		return identity{cert: certify(name, key.Public(), key, nil, ca), key: key}
	}
	return identity{cert: certify(name, key.Public(), by.key, by.cert, ca), key: key}
}

// certify signs a certificate; without issuer it is issued by itself.
func certify(name string, public stdcrypto.PublicKey, by stdcrypto.Signer, issuer *x509.Certificate, ca bool) *x509.Certificate {
	return certifyAt(now.AddDate(-1, 0, 0), name, public, by, issuer, ca)
}

// certifyAt is certify for two years from a day on.
func certifyAt(from time.Time, name string, public stdcrypto.PublicKey, by stdcrypto.Signer, issuer *x509.Certificate, ca bool) *x509.Certificate {
	tpl := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))),
		Subject:      pkix.Name{CommonName: name, Country: []string{"CH"}},
		NotBefore:    from, NotAfter: from.AddDate(2, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement,
		SubjectKeyId: []byte("key of " + name),
	}
	if ca {
		tpl.IsCA, tpl.BasicConstraintsValid, tpl.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	if issuer == nil {
		issuer = tpl
	}
	agree, ok := public.(*ecdh.PublicKey)
	if ok {
		public = ed25519.PublicKey(agree.Bytes()) // as long as an X25519 key
	}
	der := must(x509.CreateCertificate(rand.Reader, tpl, issuer, public, by))
	if ok {
		der = asX25519(der, by)
	}
	return must(x509.ParseCertificate(der))
}

// asX25519 turns a certificate for an Ed25519 key into one for X25519, which
// crypto/x509 cannot write.
func asX25519(der []byte, by stdcrypto.Signer) []byte {
	var c struct {
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		panic(err)
	}
	c.TBS.FullBytes = bytes.Replace(c.TBS.FullBytes, oid(oidEd25519), oid(oidX25519), 1)
	hash := defaultHash(by.Public())
	h := hash.New()
	h.Write(c.TBS.FullBytes)
	c.Signature = asn1.BitString{Bytes: must(by.Sign(rand.Reader, h.Sum(nil), hash))}
	c.Signature.BitLength = 8 * len(c.Signature.Bytes)
	return must(asn1.Marshal(c))
}

// trusting are the options of a verifier who has all he needs.
func (w world) trusting() VerifyOptions {
	return VerifyOptions{Trust: TrustPool(w.roots), Certificates: []*x509.Certificate{w.middle.cert}, At: now}
}

// files writes certificate and key of each identity as PEM for OpenSSL.
func files(t *testing.T, ids map[string]identity) string {
	t.Helper()
	dir := t.TempDir()
	for name, id := range ids {
		put(t, dir, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.cert.Raw}))
		private := any(id.key)
		if id.agree != nil {
			private = id.agree
		}
		put(t, dir, name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(private))}))
	}
	return dir
}

func put(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// need skips, or fails in CI, where a tool is missing.
func need(t *testing.T, tool, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		text := fmt.Sprintf("needs %s: apt-get install %s", tool, pkg)
		if os.Getenv("CI") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
}

// openssl runs a command line in dir.
func openssl(t *testing.T, dir, line string) (string, error) {
	t.Helper()
	cmd := exec.Command("openssl", strings.Fields(line)...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func corpus(t *testing.T, parts ...string) string {
	t.Helper()
	dir := filepath.Join(append([]string{"..", "..", "..", "shared", "corpora"}, parts...)...)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("corpus %s is not here: %v", parts[0], err)
	}
	return dir
}
