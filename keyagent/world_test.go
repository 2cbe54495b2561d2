package keyagent

import (
	"bytes"
	"context"
	stdcrypto "crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"golang.org/x/sys/unix"

	"gatewayd/crypto/keys"
	"gatewayd/crypto/smime"
)

var now = time.Date(2026, 11, 23, 13, 5, 6, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// kinds are private keys of every algorithm, by name.
var kinds = sync.OnceValue(func() map[string]stdcrypto.PrivateKey {
	_, ed := must2(ed25519.GenerateKey(rand.Reader))
	return map[string]stdcrypto.PrivateKey{
		"rsa":     must(rsa.GenerateKey(rand.Reader, 2048)),
		"p256":    must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"p384":    must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"p521":    must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
		"ed25519": ed,
		"x25519":  must(ecdh.X25519().GenerateKey(rand.Reader)),
	}
})

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

// certify issues a certificate for an address, by a key of its own.
func certify(mail string, private stdcrypto.PrivateKey) []byte {
	var public stdcrypto.PublicKey
	agree, isX := private.(*ecdh.PrivateKey)
	if isX {
		public = ed25519.PublicKey(agree.PublicKey().Bytes()) // crypto/x509 writes none for X25519
	} else {
		public = private.(stdcrypto.Signer).Public()
	}
	tpl := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<60))), Subject: pkix.Name{CommonName: mail},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), EmailAddresses: []string{mail},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement,
	}
	issuer := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.CreateCertificate(rand.Reader, tpl, &x509.Certificate{Subject: pkix.Name{CommonName: "issuer"}}, public, issuer))
	if isX {
		der = bytes.Replace(der, []byte{6, 3, 0x2b, 0x65, 0x70}, []byte{6, 3, 0x2b, 0x65, 0x6e}, 1)
	}
	return der
}

func put(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func putKey(t testing.TB, dir, base string, mail string, private stdcrypto.PrivateKey) {
	t.Helper()
	put(t, dir, base+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certify(mail, private)}))
	put(t, dir, base+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(private))}))
}

func pgpKey(mail string, c packet.Config) []byte {
	c.Time = func() time.Time { return now.AddDate(-1, 0, 0) }
	e := must(pgp.NewEntity("Test", "", mail, &c))
	var b bytes.Buffer
	if err := e.SerializePrivate(&b, &c); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// keyFolder returns a folder with a key of each kind for an authority of that name.
func keyFolder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, key := range kinds() {
		putKey(t, dir, "own/"+name+"/seal", name+"@bl.example", key)
	}
	put(t, dir, "own/pgp4/key.asc", pgpKey("pgp4@bl.example", packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}))
	put(t, dir, "own/pgp6/key.asc", pgpKey("pgp6@bl.example", packet.Config{Algorithm: packet.PubKeyAlgoEd25519, V6Keys: true}))
	put(t, dir, "own/pgprsa/key.asc", pgpKey("pgprsa@bl.example", packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048}))
	return dir
}

// rig is an agent with a client.
type rig struct {
	t      testing.TB
	o      Options
	path   string
	server *Server
	ended  chan error
	client *Client

	mu   sync.Mutex
	uses []Use
	log  bytes.Buffer
	deny error
	now  time.Time
}

func newRig(t testing.TB, dir string, change func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, now: now, path: filepath.Join(t.TempDir(), "agent.sock")}
	r.o = Options{
		Load:  func() ([]keys.Own, []keys.Problem) { return keys.LoadOwn(dir, nil) },
		Users: []int{os.Getuid()}, Quota: 1000, Record: r.record,
		Now: func() time.Time {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.now
		},
		Log: slog.New(slog.NewTextHandler(r, nil)),
	}
	if change != nil {
		change(&r.o)
	}
	r.start()
	r.client = NewClient(r.path)
	t.Cleanup(func() {
		r.client.Close()
		r.stop()
	})
	return r
}

// Write implements io.Writer for the log.
func (r *rig) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *rig) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

func (r *rig) record(u Use) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deny == nil {
		r.uses = append(r.uses, u)
	}
	return r.deny
}

func (r *rig) start() {
	r.t.Helper()
	s, err := New(r.o)
	if err != nil {
		r.t.Fatal(err, r.logged())
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.path, Net: "unix"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.server, r.ended = s, make(chan error, 1)
	go func() { r.ended <- s.Serve(l) }()
}

func (r *rig) stop() {
	r.t.Helper()
	r.server.Shutdown(context.Background())
	if err := <-r.ended; err != nil {
		r.t.Error(err)
	}
	r.ended <- nil
}

// own returns the agent's keys by authority.
func (r *rig) own() map[string]keys.Own {
	r.t.Helper()
	list, _, err := r.client.Keys(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	m := map[string]keys.Own{}
	for _, o := range list {
		m[o.Authority] = o
	}
	return m
}

// rsaKey returns the RSA key, held by the agent.
func (r *rig) rsaKey() smime.Identity { return *r.own()["rsa"].SMIME }

// raw opens a connection of its own.
func (r *rig) raw() net.Conn {
	r.t.Helper()
	c, err := net.Dial("unix", r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

const letter = "From: amt@bl.example\r\nTo: bob@partner.example\r\nSubject: Baugesuch\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGuten Tag\r\n"

func from(authority string) string {
	return strings.Replace(letter, "amt@bl.example", authority+"@bl.example", 1)
}

// ended reports whether the peer has closed the connection.
func closed(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	_, err := c.Read(make([]byte, 1))
	return errors.Is(err, io.EOF) || err != nil && strings.Contains(err.Error(), "reset")
}

func pgpConfig() packet.Config { return packet.Config{Algorithm: packet.PubKeyAlgoEdDSA} }

func peerZero() unix.Ucred { return unix.Ucred{} }

// rawRSA is the bare power.
func rawRSA(k *rsa.PublicKey, block []byte) []byte {
	c := new(big.Int).Exp(new(big.Int).SetBytes(block), big.NewInt(int64(k.E)), k.N)
	return c.FillBytes(make([]byte, k.Size()))
}
