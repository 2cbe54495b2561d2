package openpgp

//lint:file-ignore SA1019 what OpenPGP is made of, Go calls deprecated

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/crypto/entity"
)

// primitives are what cannot be left out for a kind of key, with Go's own packages: a
// signature, and the way of a session key.
type primitives struct{ sign, verify, wrap, unwrap func() }

func primitivesOf(kind string) primitives {
	sum := sha256.Sum256(nil)
	agree := func(c ecdh.Curve) primitives {
		own := must(c.GenerateKey(rand.Reader))
		return primitives{wrap: func() { must(must(c.GenerateKey(rand.Reader)).ECDH(own.PublicKey())) }, unwrap: func() { must(own.ECDH(own.PublicKey())) }}
	}
	switch kind {
	case "Ed25519, X25519":
		p := agree(ecdh.X25519())
		public, private, err := ed25519.GenerateKey(rand.Reader)
		sig := ed25519.Sign(must(private, err), sum[:])
		p.sign, p.verify = func() { ed25519.Sign(private, sum[:]) }, func() { ed25519.Verify(public, sum[:], sig) }
		return p
	case "P-256":
		p := agree(ecdh.P256())
		key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		sig := must(key.Sign(rand.Reader, sum[:], stdcrypto.SHA256))
		p.sign, p.verify = func() { must(key.Sign(rand.Reader, sum[:], stdcrypto.SHA256)) }, func() { ecdsa.VerifyASN1(&key.PublicKey, sum[:], sig) }
		return p
	}
	var bits int
	must(fmt.Sscanf(kind, "RSA-%d", &bits))
	key := must(rsa.GenerateKey(rand.Reader, bits))
	sig, sealed := must(key.Sign(rand.Reader, sum[:], stdcrypto.SHA256)), must(rsa.EncryptPKCS1v15(rand.Reader, &key.PublicKey, sum[:]))
	return primitives{
		sign:   func() { must(key.Sign(rand.Reader, sum[:], stdcrypto.SHA256)) },
		verify: func() { _ = rsa.VerifyPKCS1v15(&key.PublicKey, stdcrypto.SHA256, sum[:], sig) },
		wrap:   func() { must(rsa.EncryptPKCS1v15(rand.Reader, &key.PublicKey, sum[:])) },
		unwrap: func() { must(rsa.DecryptPKCS1v15(nil, key, sealed)) },
	}
}

// BenchmarkProtectOpen tells which share of our processor time the primitives would
// need for the same message: digest, signature, AES-256-CFB, the MDC's digest, session
// key, base64.
func BenchmarkProtectOpen(b *testing.B) {
	for _, kind := range interopKeys() {
		key := newEntity("amt@bl.example", atTime(longAgo, kind.how), nil)
		p := primitivesOf(kind.name)
		for _, size := range []int{4 << 10, 50 << 10, 10 << 20} {
			raw := []byte(letter + strings.Repeat(strings.Repeat("x", 76)+"\r\n", size/78))
			seal := func() []byte {
				m := must(Protect(bytes.NewReader(raw), int64(len(raw)), Options{Signer: &key, Recipients: publics(key), Time: now}))
				var out bytes.Buffer
				out.Grow(2 * len(raw))
				must(m.WriteTo(&out))
				return out.Bytes()
			}
			sealed, text := seal(), []byte(base64.StdEncoding.EncodeToString(raw))
			stream := func(make func(cipher.Block, []byte) cipher.Stream) {
				sum := sha256.Sum256(raw)
				_ = sha1.Sum(raw)
				make(must(aes.NewCipher(sum[:])), sum[:16]).XORKeyStream(append([]byte(nil), raw...), raw)
			}
			b.Run(fmt.Sprintf("protect/%s/%d", kind.name, size), func(b *testing.B) {
				ratio(b, func() {
					p.sign()
					p.wrap()
					stream(cipher.NewCFBEncrypter)
					base64.StdEncoding.EncodeToString(raw)
				}, func() { seal() })
			})
			o := with(key)
			b.Run(fmt.Sprintf("open/%s/%d", kind.name, size), func(b *testing.B) {
				ratio(b, func() {
					p.verify()
					p.unwrap()
					stream(cipher.NewCFBDecrypter)
					must(base64.StdEncoding.DecodeString(string(text)))
				}, func() {
					op := must(entity.Open(bytes.NewReader(sealed), int64(len(sealed)), o))
					if op.Signature != entity.Good || op.Close() != nil {
						b.Fatal(op.Signature)
					}
				})
			})
		}
	}
}

// ratio runs both in turns, and compares processor time of the whole process, which
// other processes on the machine do not change.
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
