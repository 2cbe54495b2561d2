package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"gatewayd/crypto/ber"
)

func seal(t testing.TB, plain []byte, size int64, o EncryptOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Encrypt(&b, iotest.HalfReader(bytes.NewReader(plain)), size, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unseal(sealed []byte, keys ...Recipient) (string, Opened, error) {
	var b bytes.Buffer
	o, err := Decrypt(&b, iotest.HalfReader(bytes.NewReader(sealed)), keys, ber.Limits{})
	return b.String(), o, err
}

func TestEncryptDecrypt(t *testing.T) {
	w := testWorld()
	big := bytes.Repeat([]byte("0123456789abcdef"), 3*chunkSize/16)
	for _, n := range []int{0, 1, 15, 16, 17, chunkSize - 1, chunkSize, chunkSize + 1, 2 * chunkSize, len(big)} {
		for _, pkcs1 := range []bool{false, true} {
			for _, size := range []int64{int64(n), -1} {
				what := fmt.Sprintf("%d octets, PKCS #1 %v, size %d", n, pkcs1, size)
				o := EncryptOptions{Recipients: []*x509.Certificate{w.rsa.cert, w.bob.cert}, PKCS1v15: pkcs1}
				sealed := seal(t, big[:n], size, o)
				if n > 16 && bytes.Contains(sealed, big[:16]) {
					t.Errorf("%s: plain text inside", what)
				}
				if size >= 0 {
					checkDER(t, what, sealed)
				} else if !strings.HasPrefix(base64.StdEncoding.EncodeToString(sealed), "MIAG") {
					t.Errorf("%s: does not begin as IncaMail's objects do", what)
				}
				for _, id := range []identity{w.rsa, w.bob} {
					got, opened, err := unseal(sealed, w.mallory.recipient(), id.recipient())
					if err != nil || got != string(big[:n]) || !opened.Recipient.Equal(id.cert) || !opened.ContentType.Equal(oidData) {
						t.Errorf("%s: %d octets back, %+v, %v", what, len(got), opened, err)
					}
				}
				if got, _, err := unseal(sealed, w.mallory.recipient()); !errors.Is(err, ErrNoRecipient) || got != "" {
					t.Errorf("%s: mallory: %v", what, err)
				}
			}
		}
	}
}

func TestEncryptRefuses(t *testing.T) {
	w := testWorld()
	signOnly, signOnlyEC := *w.bob.cert, *w.p256.cert
	signOnly.KeyUsage, signOnlyEC.KeyUsage = x509.KeyUsageDigitalSignature, x509.KeyUsageDigitalSignature
	strange := *w.p256.cert
	strange.PublicKey = ec(elliptic.P224()).Public()
	boom := errors.New("boom")
	for _, c := range []struct {
		name  string
		o     EncryptOptions
		plain io.Reader
		size  int64
		dst   io.Writer
	}{
		{"nobody", EncryptOptions{}, strings.NewReader(text), -1, io.Discard},
		{"Ed25519 key", EncryptOptions{Recipients: []*x509.Certificate{w.keys["ed25519"].cert}}, strings.NewReader(text), -1, io.Discard},
		{"EC key for signatures", EncryptOptions{Recipients: []*x509.Certificate{&signOnlyEC}}, strings.NewReader(text), -1, io.Discard},
		{"strange curve", EncryptOptions{Recipients: []*x509.Certificate{&strange}}, strings.NewReader(text), -1, io.Discard},
		{"short key", EncryptOptions{Recipients: []*x509.Certificate{w.keys["rsa1024"].cert}}, strings.NewReader(text), -1, io.Discard},
		{"key for signatures", EncryptOptions{Recipients: []*x509.Certificate{&signOnly}}, strings.NewReader(text), -1, io.Discard},
		{"one of two cannot", EncryptOptions{Recipients: []*x509.Certificate{w.bob.cert, w.keys["ed25519"].cert}}, strings.NewReader(text), -1, io.Discard},
		{"too long", EncryptOptions{Recipients: []*x509.Certificate{w.bob.cert}}, strings.NewReader(text), int64(len(text)) - 1, io.Discard},
		{"too short", EncryptOptions{Recipients: []*x509.Certificate{w.bob.cert}}, strings.NewReader(text), int64(len(text)) + 1, io.Discard},
		{"broken source", EncryptOptions{Recipients: []*x509.Certificate{w.bob.cert}}, errReader{boom}, -1, io.Discard},
		{"cut source", EncryptOptions{Recipients: []*x509.Certificate{w.bob.cert}}, errReader{io.ErrUnexpectedEOF}, -1, io.Discard},
		{"full disk", EncryptOptions{Recipients: []*x509.Certificate{w.bob.cert}}, strings.NewReader(text), -1, fullDisk{}},
	} {
		if err := Encrypt(c.dst, c.plain, c.size, c.o); err == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
	sealed := must(encrypted(w))
	if _, err := Decrypt(fullDisk{}, bytes.NewReader(sealed), []Recipient{w.bob.recipient()}, ber.Limits{}); !errors.Is(err, errFull) {
		t.Errorf("decrypt to a full disk: %v", err)
	}
}

var errFull = errors.New("no space left")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

// TestOpenSSLDecrypts asks another implementation about what we encrypt.
func TestOpenSSLDecrypts(t *testing.T) {
	need(t, "openssl", "openssl")
	w := testWorld()
	dir := files(t, map[string]identity{"bob": w.bob, "rsa": w.rsa})
	plain := bytes.Repeat([]byte(text), 2000)
	for _, pkcs1 := range []bool{false, true} {
		for _, size := range []int64{int64(len(plain)), -1} {
			put(t, dir, "sealed", seal(t, plain, size, EncryptOptions{Recipients: []*x509.Certificate{w.rsa.cert, w.bob.cert}, PKCS1v15: pkcs1}))
			for _, who := range []string{"bob", "rsa"} {
				line := "cms -decrypt -binary -inform DER -in sealed -out got -recip " + who + ".pem -inkey " + who + ".key"
				out, err := openssl(t, dir, line)
				if err != nil || !bytes.Equal(get(t, dir, "got"), plain) {
					t.Errorf("%s, PKCS #1 %v, size %d: %v\n%s", who, pkcs1, size, err, out)
				}
			}
		}
	}
}

// TestDecryptOpenSSL reads what OpenSSL encrypts.
func TestDecryptOpenSSL(t *testing.T) {
	need(t, "openssl", "openssl")
	w := testWorld()
	dir := files(t, map[string]identity{"bob": w.bob, "rsa": w.rsa, "p256": w.p256})
	plain := bytes.Repeat([]byte(text), 2000)
	put(t, dir, "content", plain)
	const oaep = " -keyopt rsa_padding_mode:oaep"
	for _, args := range []string{
		"-aes256 bob.pem", "-aes192 bob.pem", "-aes128 bob.pem", "-aes256 -stream bob.pem", "-aes256 -keyid bob.pem",
		"-aes256 -stream rsa.pem p256.pem bob.pem",
		"-aes256 -recip bob.pem" + oaep,
		"-aes256 -stream -recip bob.pem" + oaep + " -keyopt rsa_oaep_md:sha256",
		"-aes256 -recip bob.pem" + oaep + " -keyopt rsa_oaep_md:sha512 -keyopt rsa_mgf1_md:sha256",
		"-aes256 -recip bob.pem" + oaep + " -keyopt rsa_oaep_label:4142",
	} {
		if out, err := openssl(t, dir, "cms -encrypt -binary -in content -outform DER -out sealed "+args); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
		got, opened, err := unseal(get(t, dir, "sealed"), w.mallory.recipient(), w.bob.recipient())
		if err != nil || got != string(plain) || !opened.Recipient.Equal(w.bob.cert) {
			t.Errorf("%s: %d octets, %v", args, len(got), err)
		}
	}
	for args, want := range map[string]error{
		"-des3 bob.pem":        ErrUnsupported,
		"-aes-256-gcm bob.pem": ErrNotSealed, // AuthEnvelopedData
		"-aes256 p256.pem":     ErrNoRecipient,
		"-aes256 rsa.pem":      ErrNoRecipient,
	} {
		if out, err := openssl(t, dir, "cms -encrypt -binary -in content -outform DER -out sealed "+args); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
		if _, _, err := unseal(get(t, dir, "sealed"), w.bob.recipient()); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", args, err, want)
		}
	}
}

// parts of an EnvelopedData, so that each can be wrong.
type parts struct {
	transport, wrapped []byte
	method, content    []byte
}

func (p parts) der(id identity) []byte {
	info := ber.Wrap(ber.Sequence, version(0), ber.Wrap(ber.Sequence, id.cert.RawIssuer, serial(id.cert)), p.transport, ber.Wrap(ber.OctetString, p.wrapped))
	enveloped := ber.Wrap(ber.Sequence, version(2),
		ber.Wrap(ber.Context0), // originator information, empty
		ber.Wrap(ber.Set, ber.Wrap(ber.Context1, null()), info, info),
		ber.Wrap(ber.Sequence, oid(oidData), p.method, p.content),
		ber.Wrap(ber.Context1)) // unprotected attributes, empty
	return ber.Wrap(ber.Sequence, oid(oidEnveloped), ber.Wrap(ber.Context0, enveloped))
}

// TestDecryptBroken: everything that depends on the secret is one error.
func TestDecryptBroken(t *testing.T) {
	w := testWorld()
	key, iv := make([]byte, 32), make([]byte, 16)
	public := w.bob.cert.PublicKey.(*rsa.PublicKey)
	block := must(aes.NewCipher(key))
	padded := func(blocks []byte) []byte {
		out := make([]byte, len(blocks))
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, blocks)
		return ber.Wrap(ber.Implicit0, out)
	}
	oaep, wrapped, err := wrapRSA(public, key, false)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1, wrapped1, err := wrapRSA(public, key, true)
	if err != nil {
		t.Fatal(err)
	}
	_, short1, err := wrapRSA(public, key[:16], true)
	if err != nil {
		t.Fatal(err)
	}
	_, short, err := wrapRSA(public, key[:16], false)
	if err != nil {
		t.Fatal(err)
	}
	cbc := ber.Wrap(ber.Sequence, oid(oidAES256CBC), ber.Wrap(ber.OctetString, iv))
	good := []byte("0123456789abcd\x02\x02")
	for _, c := range []struct {
		name string
		p    parts
		want error
	}{
		{"good", parts{oaep, wrapped, cbc, padded(good)}, nil},
		{"good, PKCS #1", parts{pkcs1, wrapped1, cbc, padded(good)}, nil},
		{"padding 0", parts{oaep, wrapped, cbc, padded([]byte("0123456789abcde\x00"))}, ErrDecrypt},
		{"padding 17", parts{oaep, wrapped, cbc, padded([]byte("0123456789abcde\x11"))}, ErrDecrypt},
		{"padding uneven", parts{oaep, wrapped, cbc, padded([]byte("0123456789abc\x02\x03\x03"))}, ErrDecrypt},
		{"half a block", parts{oaep, wrapped, cbc, ber.Wrap(ber.Implicit0, make([]byte, 17))}, ErrDecrypt},
		{"no block", parts{oaep, wrapped, cbc, ber.Wrap(ber.Implicit0)}, ErrDecrypt},
		{"wrong key", parts{oaep, make([]byte, 384), cbc, padded(good)}, ErrDecrypt},
		{"short key", parts{oaep, short, cbc, padded(good)}, ErrDecrypt},
		{"no key", parts{oaep, nil, cbc, padded(good)}, ErrDecrypt},
		{"wrong way", parts{oaep, wrapped1, cbc, padded(good)}, ErrDecrypt},
		{"short IV", parts{oaep, wrapped, ber.Wrap(ber.Sequence, oid(oidAES256CBC), ber.Wrap(ber.OctetString, iv[1:])), padded(good)}, ber.ErrMalformed},
		{"no IV", parts{oaep, wrapped, ber.Wrap(ber.Sequence, oid(oidAES256CBC)), padded(good)}, ber.ErrMalformed},
		{"no content", parts{oaep, wrapped, cbc, nil}, ber.ErrMalformed},
		{"unknown transport", parts{ber.Wrap(ber.Sequence, oid(oidData)), wrapped, cbc, padded(good)}, ErrUnsupported},
		{"OAEP without parameters", parts{ber.Wrap(ber.Sequence, oid(oidOAEP)), wrapped, cbc, padded(good)}, ber.ErrMalformed},
	} {
		got, _, err := unseal(c.p.der(w.bob), w.bob.recipient())
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || got != string(good[:14])) {
			t.Errorf("%s: %q, %v; want %v", c.name, got, err, c.want)
		}
	}
	// A broken PKCS #1 key becomes a random one (RFC 3218): nearly always bad
	// padding, never another error.
	for name, wrong := range map[string][]byte{"wrong": make([]byte, 384), "short": short1} {
		if _, _, err := unseal(parts{pkcs1, wrong, cbc, padded(good)}.der(w.bob), w.bob.recipient()); err != nil && !errors.Is(err, ErrDecrypt) {
			t.Errorf("%s PKCS #1 key: %v", name, err)
		}
	}
}

// TestDecryptCut: an object that breaks off is never taken for a whole one,
// also where the content would look complete.
func TestDecryptCut(t *testing.T) {
	w := testWorld()
	for _, size := range []int64{int64(len(text)), -1} {
		sealed := seal(t, []byte(text), size, EncryptOptions{Recipients: []*x509.Certificate{w.bob.cert}})
		for n := range sealed {
			if _, _, err := unseal(sealed[:n], w.bob.recipient()); err == nil {
				t.Errorf("size %d: cut to %d of %d octets is read", size, n, len(sealed))
			}
		}
		if _, _, err := unseal(append(slices.Clone(sealed), 1), w.bob.recipient()); err == nil {
			t.Errorf("size %d: junk behind is read", size)
		}
	}
}

// TestStreams: memory does not grow with the content.
func TestStreams(t *testing.T) {
	w := testWorld()
	const size = 48 << 20
	r, wr := io.Pipe()
	go func() {
		wr.CloseWithError(Encrypt(wr, io.LimitReader(zeros{}, size), -1, EncryptOptions{Recipients: []*x509.Certificate{w.bob.cert}}))
	}()
	var n counter
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Decrypt(&n, r, []Recipient{w.bob.recipient()}, ber.Limits{})
	runtime.ReadMemStats(&after)
	if err != nil || n != size {
		t.Errorf("%d octets, %v", n, err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Errorf("%d octets allocated for %d of content", got, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }
