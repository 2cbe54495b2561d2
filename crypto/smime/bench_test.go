package smime

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/path"
)

// benchKinds are the keys with which authorities sign and partners decrypt.
func benchKinds() map[string]func() stdcrypto.Signer {
	ofRSA := func(bits int) func() stdcrypto.Signer {
		return func() stdcrypto.Signer { return must(rsa.GenerateKey(rand.Reader, bits)) }
	}
	return map[string]func() stdcrypto.Signer{
		"RSA-2048": ofRSA(2048), "RSA-3072": ofRSA(3072), "RSA-4096": ofRSA(4096),
		"P-256": func() stdcrypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) },
	}
}

// benchCase is one kind of key and one size of message.
type benchCase struct {
	root, amt, reader Identity
	raw, sealed       []byte
	method            Method
	plain             []byte // as long as what is signed
}

func newBenchCase(b *testing.B, kind func() stdcrypto.Signer, size int, m Method) benchCase {
	b.Helper()
	until := now.AddDate(1, 0, 0)
	c := benchCase{method: m, root: issue("root", "", newEC(), nil, until)}
	c.amt = issue("amt", "amt@bl.example", kind(), &c.root, until)
	c.reader = issue("reader", "reader@bl.example", kind(), &c.root, until)
	c.raw = []byte(letter + strings.Repeat(strings.Repeat("x", 76)+"\r\n", size/78))
	c.plain = bytes.Clone(c.raw)
	c.sealed = c.protect()
	return c
}

func (c benchCase) protect() []byte {
	p := must(Protect(bytes.NewReader(c.raw), int64(len(c.raw)), Options{Signer: c.amt.Signer(), Recipients: []*x509.Certificate{c.reader.Cert}, Method: c.method, Time: now}))
	var out bytes.Buffer
	out.Grow(len(c.raw)*3/2 + 16<<10)
	must(p.WriteTo(&out))
	return out.Bytes()
}

func (c benchCase) open(b *testing.B, o entity.Options) {
	op, err := entity.Open(bytes.NewReader(c.sealed), int64(len(c.sealed)), o)
	if err != nil || op.Signature != entity.Good || op.Encryption != entity.Decrypted {
		b.Fatal(err, op)
	}
	if err := op.Close(); err != nil {
		b.Fatal(err)
	}
}

func (c benchCase) options() entity.Options {
	return entity.Options{At: now, Openers: []entity.Opener{Opener{Anchors: path.New([]*x509.Certificate{c.root.Cert}, nil, nil), Keys: []cms.Recipient{c.reader.recipient()}}}}
}

// rawProtect does what cannot be left out, with Go's primitives alone: digest,
// signature, content cipher, key encryption, base64.
func (c benchCase) rawProtect() {
	sum := sha256.Sum256(c.plain)
	must(c.amt.Key.Sign(rand.Reader, sum[:], stdcrypto.SHA256))
	key := make([]byte, 48)
	must(rand.Read(key))
	switch public := c.reader.Cert.PublicKey.(type) {
	case *rsa.PublicKey:
		must(rsa.EncryptOAEP(sha256.New(), rand.Reader, public, key[:32], nil))
	case *ecdsa.PublicKey:
		static := must(public.ECDH())
		must(must(static.Curve().GenerateKey(rand.Reader)).ECDH(static))
	}
	out := make([]byte, len(c.plain)/16*16)
	cipher.NewCBCEncrypter(must(aes.NewCipher(key[:32])), key[32:]).CryptBlocks(out, c.plain[:len(out)])
	base64.StdEncoding.Encode(make([]byte, base64.StdEncoding.EncodedLen(len(out))), out)
}

// rawOpen likewise: base64 (with the line ends that mail has), key decryption, content cipher, digest, and the
// signature over the content; of a signer who is not known yet also that in his certificate.
func (c benchCase) rawOpen(wrapped, signature []byte, text []byte, known bool) {
	sealed := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n := must(base64.StdEncoding.Decode(sealed, text))
	sealed = sealed[:n/16*16]
	switch k := c.reader.Key.(type) {
	case *rsa.PrivateKey:
		must(k.Decrypt(rand.Reader, wrapped, &rsa.OAEPOptions{Hash: stdcrypto.SHA256}))
	case *ecdsa.PrivateKey:
		own := must(k.ECDH())
		must(own.ECDH(own.PublicKey()))
	}
	cipher.NewCBCDecrypter(must(aes.NewCipher(make([]byte, 32))), make([]byte, 16)).CryptBlocks(sealed, sealed)
	sum := sha256.Sum256(c.plain)
	switch k := c.amt.Cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(k, stdcrypto.SHA256, sum[:], signature); err != nil {
			panic(err)
		}
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(k, sum[:], signature) {
			panic("signature")
		}
	}
	if known {
		return
	}
	if err := c.root.Cert.CheckSignature(c.amt.Cert.SignatureAlgorithm, c.amt.Cert.RawTBSCertificate, c.amt.Cert.Signature); err != nil {
		panic(err)
	}
}

// ratio runs both in turns and reports the share of the primitives in our
// time: processor time of the whole process, which other processes on the
// machine do not change.
func ratio(b *testing.B, raw, ours func()) {
	b.Helper()
	var forRaw, forOurs time.Duration
	for b.Loop() {
		begin := busy()
		raw()
		middle := busy()
		ours()
		forRaw += middle - begin
		forOurs += busy() - middle
	}
	b.ReportMetric(100*float64(forRaw)/float64(forOurs), "%-of-raw")
	b.ReportMetric(float64(b.N)/forOurs.Seconds(), "msg/s-and-core")
	b.ReportMetric(0, "ns/op")
}

// busy is the processor time of this process.
func busy() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkProtectOpen compares signing and encrypting, and decrypting and
// verifying, with the raw rate of Go's primitives over the same octets: "open" of a
// signer whose certificate was seen before, "first" of one who writes for the first time.
func BenchmarkProtectOpen(b *testing.B) {
	for _, name := range []string{"RSA-2048", "RSA-3072", "RSA-4096", "P-256"} {
		for _, size := range []int{4 << 10, 50 << 10, 10 << 20} {
			what := fmt.Sprintf("%s/%dKiB", name, size>>10)
			b.Run("protect/"+what, func(b *testing.B) {
				c := newBenchCase(b, benchKinds()[name], size, Method{OAEP: true})
				ratio(b, c.rawProtect, func() { c.protect() })
			})
			b.Run("open/"+what, func(b *testing.B) {
				c := newBenchCase(b, benchKinds()[name], size, Method{OAEP: true})
				o := c.options()
				ratio(b, c.rawOpenTask(true), func() { c.open(b, o) })
			})
			if size > 4<<10 {
				continue
			}
			b.Run("first/"+what, func(b *testing.B) {
				c := newBenchCase(b, benchKinds()[name], size, Method{OAEP: true})
				ratio(b, c.rawOpenTask(false), func() { c.open(b, c.options()) })
			})
		}
	}
}

// rawOpenTask returns rawOpen with what it works on.
func (c benchCase) rawOpenTask(known bool) func() {
	sum := sha256.Sum256(c.plain)
	signature := must(c.amt.Key.Sign(rand.Reader, sum[:], stdcrypto.SHA256))
	var wrapped []byte
	if public, ok := c.reader.Cert.PublicKey.(*rsa.PublicKey); ok {
		wrapped = must(rsa.EncryptOAEP(sha256.New(), rand.Reader, public, make([]byte, 32), nil))
	}
	var text bytes.Buffer
	lines := entity.NewBase64(&text)
	_, _ = lines.Write(c.plain)
	_ = lines.Close()
	return func() { c.rawOpen(wrapped, signature, text.Bytes(), known) }
}
