package smime

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
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

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/path"
	"gatewayd/message"
)

var now = time.Date(2026, 11, 23, 13, 5, 6, 0, time.UTC)

// world is what the tests play with: an anchor, an authority that signs, and
// recipients with an RSA and an EC key.
type world struct {
	root, amt, amtEC, rsa, ec, old, mallory Identity
	anchors                                 *path.Anchors
}

var testWorld = sync.OnceValue(func() world {
	w := world{}
	w.root = issue("root", "", newRSA(), nil, now.AddDate(1, 0, 0))
	w.amt = issue("amt", "amt@bl.example", newRSA(), &w.root, now.AddDate(1, 0, 0))
	w.amtEC = issue("amtEC", "amt@bl.example", newEC(), &w.root, now.AddDate(1, 0, 0))
	w.rsa = issue("rsa", "rsa@partner.example", newRSA(), &w.root, now.AddDate(1, 0, 0))
	w.ec = issue("ec", "ec@partner.example", newEC(), &w.root, now.AddDate(1, 0, 0))
	w.old = issue("old", "amt@bl.example", newEC(), &w.root, now.AddDate(0, -1, 0))
	w.mallory = issue("mallory", "amt@bl.example", newEC(), nil, now.AddDate(1, 0, 0))
	w.anchors = path.New([]*x509.Certificate{w.root.Cert}, nil, nil)
	return w
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newRSA() stdcrypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) }

func newEC() stdcrypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func newEd() stdcrypto.Signer { return ed25519.NewKeyFromSeed(make([]byte, 32)) }

func issue(name, mail string, key stdcrypto.Signer, by *Identity, until time.Time) Identity {
	tpl := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))),
		Subject:      pkix.Name{CommonName: name, Country: []string{"CH"}},
		NotBefore:    now.AddDate(-1, 0, 0), NotAfter: until,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
	if mail != "" {
		tpl.EmailAddresses = []string{mail}
	} else {
		tpl.IsCA, tpl.BasicConstraintsValid, tpl.KeyUsage, tpl.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
	}
	parent, signer := tpl, key
	if by != nil {
		parent, signer = by.Cert, by.Key
	}
	der := must(x509.CreateCertificate(rand.Reader, tpl, parent, key.Public(), signer))
	return Identity{Cert: must(x509.ParseCertificate(der)), Key: key}
}

func (i Identity) recipient() cms.Recipient {
	r, ok := i.Recipient()
	if !ok {
		panic("cannot decrypt")
	}
	return r
}

// pems returns certificate and key as files would hold them.
func (i Identity) pems() (cert, key []byte) {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Cert.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(i.Key))})
}

// files writes everybody's certificate and key for OpenSSL.
func (w world) files(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, id := range map[string]Identity{"root": w.root, "amt": w.amt, "amtEC": w.amtEC, "rsa": w.rsa, "ec": w.ec} {
		cert, key := id.pems()
		put(t, dir, name+".pem", cert)
		put(t, dir, name+".key", key)
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

// run runs a command line in dir.
func run(t *testing.T, dir, line string) (string, error) {
	t.Helper()
	args := strings.Fields(line)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func corpus(t testing.TB, parts ...string) string {
	t.Helper()
	dir := filepath.Join(append([]string{"..", "..", "..", "shared", "corpora"}, parts...)...)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("corpus %s is not here: %v", parts[0], err)
	}
	return dir
}

// open opens a message that is in memory.
func open(t testing.TB, raw []byte, o entity.Options) *entity.Opened {
	t.Helper()
	op, err := entity.Open(bytes.NewReader(raw), int64(len(raw)), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := op.Close(); err != nil {
			t.Error(err)
		}
	})
	return op
}

// by are the options of somebody with those keys, trusting the root.
func (w world) by(ids ...Identity) entity.Options {
	o := Opener{Anchors: w.anchors}
	for _, id := range ids {
		o.Keys = append(o.Keys, id.recipient())
	}
	return entity.Options{Openers: []entity.Opener{o}, At: now}
}

func content(t testing.TB, op *entity.Opened) string {
	t.Helper()
	if op.Content == nil {
		return ""
	}
	b := make([]byte, op.Content.Size)
	if _, err := op.Content.ReadAt(b, op.Content.Start); err != nil && len(b) > 0 {
		t.Fatal(err)
	}
	return string(b)
}

func protect(t testing.TB, raw string, o Options) []byte {
	t.Helper()
	if o.Time.IsZero() {
		o.Time = now
	}
	p, err := Protect(strings.NewReader(raw), int64(len(raw)), o)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func addr(s string) message.Address { return must(message.ParseAddress(s)) }

// fixed is a signer that is the same in every process, as the fuzzing engine
// needs it.
var fixed = sync.OnceValue(func() Identity {
	return issue("fuzz", "fuzz@bl.example", newEd(), nil, now.AddDate(1, 0, 0))
})

// published is a key that stands in RFC 9216.
func published(t testing.TB) cms.Recipient {
	t.Helper()
	dir := corpus(t, "rfc-smime-examples", "rfc9216-pem")
	id := must(ParseIdentity(get(t, dir, "5.3_Bob-s-Encryption-End-Entity-Certificate.pem"), get(t, dir, "5.4_Bob-s-Decryption-Private-Key-Material.pem")))
	return id.recipient()
}
