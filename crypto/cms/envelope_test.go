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
		for _, with := range []Cipher{AES256CBC, AES256GCM} {
			for _, size := range []int64{int64(n), -1} {
				pkcs1 := n%2 == 0
				what := fmt.Sprintf("%s, %d octets, PKCS #1 %v, size %d", with, n, pkcs1, size)
				o := EncryptOptions{Recipients: []*x509.Certificate{w.rsa.cert, w.bob.cert}, PKCS1v15: pkcs1, Cipher: with}
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
					if err != nil || got != string(big[:n]) || !opened.Recipient.Equal(id.cert) || !opened.ContentType.Equal(oidData) ||
						opened.Cipher != string(with) || opened.Authenticated != (with == AES256GCM) || opened.Weak {
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
		{"unknown cipher", EncryptOptions{Recipients: []*x509.Certificate{w.bob.cert}, Cipher: "ROT13"}, strings.NewReader(text), -1, io.Discard},
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
	dir := files(t, map[string]identity{"bob": w.bob, "rsa": w.rsa, "p256": w.p256})
	plain := bytes.Repeat([]byte(text), 2000)
	for _, o := range []EncryptOptions{{}, {PKCS1v15: true}, {Cipher: AES256GCM}, {Cipher: AES256GCM, PKCS1v15: true}} {
		o.Recipients = []*x509.Certificate{w.rsa.cert, w.bob.cert, w.p256.cert}
		for _, content := range [][]byte{plain, nil} {
			for _, size := range []int64{int64(len(content)), -1} {
				put(t, dir, "sealed", seal(t, content, size, o))
				for _, who := range []string{"bob", "rsa", "p256"} {
					line := "cms -decrypt -binary -inform DER -in sealed -out got -recip " + who + ".pem -inkey " + who + ".key"
					out, err := openssl(t, dir, line)
					if err != nil || !bytes.Equal(get(t, dir, "got"), content) {
						t.Errorf("%s, %s, PKCS #1 %v, size %d: %v\n%s", who, o.Cipher, o.PKCS1v15, size, err, out)
					}
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
	for _, c := range []struct{ args, cipher, key string }{
		{"-aes256 bob.pem", "AES-256-CBC", "RSAES-PKCS1-v1_5"},
		{"-aes192 bob.pem", "AES-192-CBC", "RSAES-PKCS1-v1_5"},
		{"-aes128 bob.pem", "AES-128-CBC", "RSAES-PKCS1-v1_5"},
		{"-aes256 -stream bob.pem", "AES-256-CBC", "RSAES-PKCS1-v1_5"},
		{"-aes256 -keyid bob.pem", "AES-256-CBC", "RSAES-PKCS1-v1_5"},
		{"-aes256 -stream rsa.pem p256.pem bob.pem", "AES-256-CBC", "RSAES-PKCS1-v1_5"},
		{"-des3 bob.pem", "DES-EDE3-CBC", "RSAES-PKCS1-v1_5"},
		{"-des3 -stream bob.pem p256.pem", "DES-EDE3-CBC", "RSAES-PKCS1-v1_5"},
		{"-aes-256-gcm bob.pem", "AES-256-GCM", "RSAES-PKCS1-v1_5"},
		{"-aes-192-gcm -stream bob.pem", "AES-192-GCM", "RSAES-PKCS1-v1_5"},
		{"-aes-128-gcm -stream rsa.pem p256.pem bob.pem", "AES-128-GCM", "RSAES-PKCS1-v1_5"},
		{"-aes256 -recip bob.pem" + oaep, "AES-256-CBC", "RSAES-OAEP, SHA-1"},
		{"-aes256 -stream -recip bob.pem" + oaep + " -keyopt rsa_oaep_md:sha256", "AES-256-CBC", "RSAES-OAEP, SHA-256"},
		{"-aes-256-gcm -recip bob.pem" + oaep + " -keyopt rsa_oaep_md:sha384", "AES-256-GCM", "RSAES-OAEP, SHA-384"},
		{"-aes256 -recip bob.pem" + oaep + " -keyopt rsa_oaep_md:sha512 -keyopt rsa_mgf1_md:sha256", "AES-256-CBC", "RSAES-OAEP, SHA-512, MGF1 with SHA-256"},
		{"-aes256 -recip bob.pem" + oaep + " -keyopt rsa_oaep_label:4142", "AES-256-CBC", "RSAES-OAEP, SHA-1"},
	} {
		if out, err := openssl(t, dir, "cms -encrypt -binary -in content -outform DER -out sealed "+c.args); err != nil {
			t.Fatalf("%s: %v\n%s", c.args, err, out)
		}
		got, o, err := unseal(get(t, dir, "sealed"), w.mallory.recipient(), w.bob.recipient())
		if err != nil || got != string(plain) || !o.Recipient.Equal(w.bob.cert) {
			t.Errorf("%s: %d octets, %v", c.args, len(got), err)
		}
		if o.Cipher != c.cipher || o.KeyEncryption != c.key || o.Weak != (c.cipher == "DES-EDE3-CBC") || o.Authenticated != strings.HasSuffix(c.cipher, "GCM") {
			t.Errorf("%s: %+v", c.args, o)
		}
	}
	for args, want := range map[string]error{
		"-des bob.pem":     ErrUnsupported,
		"-aes256 p256.pem": ErrNoRecipient,
		"-aes256 rsa.pem":  ErrNoRecipient,
	} {
		if out, err := openssl(t, dir, "cms -encrypt -provider legacy -provider default -binary -in content -outform DER -out sealed "+args); err != nil {
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
	authenticated      bool
	behind             []byte // attributes and MAC, or unprotected attributes
}

func (p parts) der(id identity) []byte {
	info := ber.Wrap(ber.Sequence, version(0), ber.Wrap(ber.Sequence, id.cert.RawIssuer, serial(id.cert)), p.transport, ber.Wrap(ber.OctetString, p.wrapped))
	kind, behind := oidEnveloped, slices.Concat(p.behind, ber.Wrap(ber.Context1)) // unprotected attributes, empty
	if p.authenticated {
		kind, behind = oidAuthEnveloped, slices.Concat(p.behind, ber.Wrap(ber.Context1+1))
	}
	enveloped := ber.Wrap(ber.Sequence, version(2),
		ber.Wrap(ber.Context0), // originator information, empty
		ber.Wrap(ber.Set, ber.Wrap(ber.Context1, null()), info, info),
		ber.Wrap(ber.Sequence, oid(oidData), p.method, p.content),
		behind)
	return ber.Wrap(ber.Sequence, oid(kind), ber.Wrap(ber.Context0, enveloped))
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
	plain := func(transport, wrapped, method, content []byte) parts {
		return parts{transport: transport, wrapped: wrapped, method: method, content: content}
	}
	for _, c := range []struct {
		name string
		p    parts
		want error
	}{
		{"good", plain(oaep, wrapped, cbc, padded(good)), nil},
		{"good, PKCS #1", plain(pkcs1, wrapped1, cbc, padded(good)), nil},
		{"padding 0", plain(oaep, wrapped, cbc, padded([]byte("0123456789abcde\x00"))), ErrDecrypt},
		{"padding 17", plain(oaep, wrapped, cbc, padded([]byte("0123456789abcde\x11"))), ErrDecrypt},
		{"padding uneven", plain(oaep, wrapped, cbc, padded([]byte("0123456789abc\x02\x03\x03"))), ErrDecrypt},
		{"half a block", plain(oaep, wrapped, cbc, ber.Wrap(ber.Implicit0, make([]byte, 17))), ErrDecrypt},
		{"no block", plain(oaep, wrapped, cbc, ber.Wrap(ber.Implicit0)), ErrDecrypt},
		{"wrong key", plain(oaep, make([]byte, 384), cbc, padded(good)), ErrDecrypt},
		{"short key", plain(oaep, short, cbc, padded(good)), ErrDecrypt},
		{"no key", plain(oaep, nil, cbc, padded(good)), ErrDecrypt},
		{"wrong way", plain(oaep, wrapped1, cbc, padded(good)), ErrDecrypt},
		{"short IV", plain(oaep, wrapped, ber.Wrap(ber.Sequence, oid(oidAES256CBC), ber.Wrap(ber.OctetString, iv[1:])), padded(good)), ber.ErrMalformed},
		{"no IV", plain(oaep, wrapped, ber.Wrap(ber.Sequence, oid(oidAES256CBC)), padded(good)), ber.ErrMalformed},
		{"no content", plain(oaep, wrapped, cbc, nil), ber.ErrMalformed},
		{"unknown transport", plain(ber.Wrap(ber.Sequence, oid(oidData)), wrapped, cbc, padded(good)), ErrUnsupported},
		{"OAEP without parameters", plain(ber.Wrap(ber.Sequence, oid(oidOAEP)), wrapped, cbc, padded(good)), ber.ErrMalformed},
		{"bad padding, and junk behind", parts{oaep, wrapped, cbc, padded(iv), false, ber.Wrap(ber.Null)}, ber.ErrMalformed},
		{"wrong key, and junk behind", parts{oaep, nil, cbc, padded(good), false, ber.Wrap(ber.Null)}, ber.ErrMalformed},
		{"CBC in AuthEnvelopedData", parts{oaep, wrapped, cbc, padded(good), true, nil}, ErrUnsupported},
	} {
		got, _, err := unseal(c.p.der(w.bob), w.bob.recipient())
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || got != string(good[:14])) {
			t.Errorf("%s: %q, %v; want %v", c.name, got, err, c.want)
		}
	}
	// A broken PKCS #1 key becomes a random one (RFC 3218): nearly always bad
	// padding, never another error.
	for name, wrong := range map[string][]byte{"wrong": make([]byte, 384), "short": short1} {
		if _, _, err := unseal(plain(pkcs1, wrong, cbc, padded(good)).der(w.bob), w.bob.recipient()); err != nil && !errors.Is(err, ErrDecrypt) {
			t.Errorf("%s PKCS #1 key: %v", name, err)
		}
	}
}

// TestAuthenticated reads every form of AuthEnvelopedData that RFC 5084 allows,
// and nothing whose proof does not fit.
func TestAuthenticated(t *testing.T) {
	w := testWorld()
	key := make([]byte, 32)
	oaep, wrapped, err := wrapRSA(w.bob.cert.PublicKey.(*rsa.PublicKey), key, false)
	if err != nil {
		t.Fatal(err)
	}
	set := attribute(oidContentType, oid(oidData))
	build := func(nonce, tagSize int, change func(p *parts, tag []byte) []byte) []byte {
		aead := must(cipher.NewGCMWithNonceSize(must(aes.NewCipher(key)), nonce))
		sealed := aead.Seal(nil, make([]byte, nonce), []byte(text), ber.Wrap(ber.Set, set))
		content, tag := sealed[:len(text)], sealed[len(text):][:tagSize]
		p := parts{transport: oaep, wrapped: wrapped, authenticated: true}
		p.method = ber.Wrap(ber.Sequence, oid(oidAES256GCM), ber.Wrap(ber.Sequence, ber.Wrap(ber.OctetString, make([]byte, nonce)), version(byte(tagSize))))
		if tagSize == 12 { // the default
			p.method = ber.Wrap(ber.Sequence, oid(oidAES256GCM), ber.Wrap(ber.Sequence, ber.Wrap(ber.OctetString, make([]byte, nonce))))
		}
		p.content = ber.Wrap(ber.Implicit0, content)
		if change != nil {
			tag = change(&p, tag)
		}
		if p.behind == nil {
			p.behind = slices.Concat(ber.Wrap(ber.Context1, set), ber.Wrap(ber.OctetString, tag))
		}
		return p.der(w.bob)
	}
	for _, c := range []struct {
		name string
		der  []byte
		want error
	}{
		{"good", build(12, 16, nil), nil},
		{"short tag", build(12, 12, nil), nil},
		{"13 octets of tag", build(12, 13, nil), nil},
		{"long nonce", build(16, 16, nil), nil},
		{"very short tag", build(12, 11, nil), ber.ErrMalformed},
		{"tag shorter than said", build(12, 16, func(_ *parts, tag []byte) []byte { return tag[:12] }), ber.ErrMalformed},
		{"other tag", build(12, 16, func(*parts, []byte) []byte { return make([]byte, 16) }), ErrDecrypt},
		{"other content", build(12, 16, func(p *parts, tag []byte) []byte { p.content[10] ^= 1; return tag }), ErrDecrypt},
		{"cut content", build(12, 16, func(p *parts, tag []byte) []byte { p.content = ber.Wrap(ber.Implicit0, p.content[2:10]); return tag }), ErrDecrypt},
		{"wrong key", build(12, 16, func(p *parts, tag []byte) []byte { p.wrapped = make([]byte, 384); return tag }), ErrDecrypt},
		{"attributes left out", build(12, 16, func(p *parts, tag []byte) []byte { p.behind = ber.Wrap(ber.OctetString, tag); return tag }), ErrDecrypt},
		{"no tag", build(12, 16, func(p *parts, tag []byte) []byte { p.behind = []byte{}; return tag }), ber.ErrMalformed},
		{"no nonce", build(12, 16, func(p *parts, tag []byte) []byte {
			p.method = ber.Wrap(ber.Sequence, oid(oidAES256GCM), ber.Wrap(ber.Sequence, ber.Wrap(ber.OctetString)))
			return tag
		}), ber.ErrMalformed},
		{"GCM in EnvelopedData", build(12, 16, func(p *parts, tag []byte) []byte { p.authenticated, p.behind = false, []byte{}; return tag }), ErrUnsupported},
	} {
		got, o, err := unseal(c.der, w.bob.recipient())
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || got != text || !o.Authenticated) {
			t.Errorf("%s: %q, %v; want %v", c.name, got, err, c.want)
		}
	}
	der := build(12, 16, nil)
	for i := 0; i < len(der); i += 3 { // whatever is changed, no changed content comes with a good word
		bad := slices.Clone(der)
		bad[i] ^= 0x10
		if got, _, err := unseal(bad, w.bob.recipient()); err == nil && got != text {
			t.Errorf("octet %d: %q", i, got)
		}
	}
}

// TestDecryptCut: an object that breaks off is never taken for a whole one,
// also where the content would look complete.
func TestDecryptCut(t *testing.T) {
	w := testWorld()
	for i, size := range []int64{int64(len(text)), -1, int64(len(text)), -1} {
		with := []Cipher{AES256CBC, AES256CBC, AES256GCM, AES256GCM}[i]
		sealed := seal(t, []byte(text), size, EncryptOptions{Recipients: []*x509.Certificate{w.p256.cert}, Cipher: with})
		for n := range sealed {
			if _, _, err := unseal(sealed[:n], w.p256.recipient()); err == nil {
				t.Errorf("size %d: cut to %d of %d octets is read", size, n, len(sealed))
			}
		}
		if _, _, err := unseal(append(slices.Clone(sealed), 1), w.p256.recipient()); err == nil {
			t.Errorf("size %d: junk behind is read", size)
		}
	}
}

// TestStreams: memory does not grow with the content.
func TestStreams(t *testing.T) {
	w := testWorld()
	const size = 48 << 20
	for _, with := range []Cipher{AES256CBC, AES256GCM} {
		r, wr := io.Pipe()
		go func() {
			o := EncryptOptions{Recipients: []*x509.Certificate{w.bob.cert}, Cipher: with}
			wr.CloseWithError(Encrypt(wr, io.LimitReader(zeros{}, size), -1, o))
		}()
		var n counter
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decrypt(&n, r, []Recipient{w.bob.recipient()}, ber.Limits{})
		runtime.ReadMemStats(&after)
		if err != nil || n != size {
			t.Errorf("%s: %d octets, %v", with, n, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
			t.Errorf("%s: %d octets allocated for %d of content", with, got, size)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }
