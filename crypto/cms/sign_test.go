package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"gatewayd/crypto/ber"
)

const text = "Verfügung\r\n\r\nSehr geehrte Damen und Herren\r\n"

func TestSignVerify(t *testing.T) {
	w := testWorld()
	for name, id := range w.keys {
		for i, o := range []SignOptions{
			{},
			{Time: now},
			{PSS: true, Time: now, Announce: true},
			{PSS: true, Hash: stdcrypto.SHA512},
			{Hash: stdcrypto.SHA384, Announce: true},
		} {
			if name == "rsa1024" && o.PSS && o.Hash == stdcrypto.SHA512 {
				continue // salt and digest do not fit into such a key
			}
			what := fmt.Sprintf("%s %+v", name, o)
			s := id.signer()
			s.Chain = []*x509.Certificate{w.middle.cert, w.root.cert, w.middle.cert}
			attached := i%2 == 0
			sign := map[bool]func(io.Reader, Signer, SignOptions) ([]byte, error){false: Sign, true: attach}[attached]
			der, err := sign(iotest.OneByteReader(strings.NewReader(text)), s, o)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			r := checkGood(t, what, der, attached, VerifyOptions{Trust: TrustPool(w.roots), At: now})
			if c, err := ParseCapabilities(r.Signatures[0].Capabilities); (err == nil) != o.Announce || c.GCM != o.Announce || c.OAEP != o.Announce {
				t.Errorf("%s: capabilities %+v, %v", what, c, err)
			}
			if got := r.Signatures[0]; !got.SigningTime.Equal(o.Time) || !got.ESS || got.Weak != (name == "rsa1024") {
				t.Errorf("%s: %+v", what, got)
			}
			if len(r.Certificates) != 3 {
				t.Errorf("%s: %d certificates", what, len(r.Certificates))
			}
			checkDER(t, what, der)
		}
	}
}

// attach signs text and puts it in between.
func attach(content io.Reader, s Signer, o SignOptions) ([]byte, error) {
	before, after, err := SignAround(content, s, o)
	if err != nil {
		return nil, err
	}
	return slices.Concat(before, []byte(text), after), nil
}

// checkGood verifies der over text and wants a chain of three.
func checkGood(t *testing.T, what string, der []byte, attached bool, o VerifyOptions) *Result {
	t.Helper()
	var out bytes.Buffer
	o.Out = &out
	var content io.Reader
	if !attached {
		content = strings.NewReader(text)
	}
	r, err := Verify(bytes.NewReader(der), content, o)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if len(r.Signatures) != 1 || r.Signatures[0].ChainErr != nil || len(r.Signatures[0].Chain) != 3 || r.Attached != attached {
		t.Fatalf("%s: %+v", what, r)
	}
	if attached && out.String() != text {
		t.Errorf("%s: content came back as %q", what, out.String())
	}
	return r
}

// checkDER reads the outermost element with a parser that takes only DER.
func checkDER(t *testing.T, what string, der []byte) {
	t.Helper()
	var info struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,tag:0"`
	}
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		t.Errorf("%s: not DER: %v", what, err)
	}
}

// TestOID compares our encoding with that of encoding/asn1.
func TestOID(t *testing.T) {
	for _, o := range []asn1.ObjectIdentifier{{1, 2}, {2, 5, 29, 17}, {1, 3, 101, 112}, {2, 100, 3}, {1, 2, 840, 113549, 1, 9, 16, 3, 19}, {2, 999, 127, 128, 16383, 16384, 1 << 30, 0}, oidAES256GCM, oidECDHSHA256} {
		if got, want := oid(o), must(asn1.Marshal(o)); !bytes.Equal(got, want) {
			t.Errorf("%v: %x, want %x", o, got, want)
		}
	}
}

func TestDefaultHash(t *testing.T) {
	w := testWorld()
	for name, want := range map[string]stdcrypto.Hash{
		"rsa": stdcrypto.SHA256, "p256": stdcrypto.SHA256, "p384": stdcrypto.SHA384, "p521": stdcrypto.SHA512, "ed25519": stdcrypto.SHA512,
	} {
		der := must(Sign(strings.NewReader(text), w.keys[name].signer(), SignOptions{}))
		r := must(Verify(bytes.NewReader(der), strings.NewReader(text), VerifyOptions{}))
		if got := r.Signatures[0].Hash; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	w := testWorld()
	boom := errors.New("boom")
	for _, c := range []struct {
		name    string
		s       Signer
		o       SignOptions
		content io.Reader
	}{
		{"no certificate", Signer{Key: w.rsa.key}, SignOptions{}, strings.NewReader(text)},
		{"no key", Signer{Cert: w.rsa.cert}, SignOptions{}, strings.NewReader(text)},
		{"foreign key", Signer{Cert: w.rsa.cert, Key: w.bob.key}, SignOptions{}, strings.NewReader(text)},
		{"SHA-1", w.rsa.signer(), SignOptions{Hash: stdcrypto.SHA1}, strings.NewReader(text)},
		{"MD5", w.rsa.signer(), SignOptions{Hash: stdcrypto.MD5}, strings.NewReader(text)},
		{"broken content", w.rsa.signer(), SignOptions{}, iotest.ErrReader(boom)},
		{"cut content", w.rsa.signer(), SignOptions{}, iotest.ErrReader(io.ErrUnexpectedEOF)},
		{"broken key", Signer{Cert: w.rsa.cert, Key: brokenKey{w.rsa.key}}, SignOptions{}, strings.NewReader(text)},
	} {
		if der, err := Sign(c.content, c.s, c.o); err == nil || der != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if before, after, err := SignAround(iotest.ErrReader(boom), w.rsa.signer(), SignOptions{}); !errors.Is(err, boom) || before != nil || after != nil {
		t.Errorf("around broken content: %v", err)
	}
}

// TestSignAround: the lengths in front are right for every length of content.
func TestSignAround(t *testing.T) {
	w := testWorld()
	for _, n := range []int{0, 1, 100, 127, 128, 255, 256, 65535, 65536, 1 << 20} {
		content := bytes.Repeat([]byte("x"), n)
		before, after, err := SignAround(bytes.NewReader(content), w.p256.signer(), SignOptions{})
		if err != nil {
			t.Fatal(err)
		}
		der := slices.Concat(before, content, after)
		checkDER(t, fmt.Sprint(n), der)
		var out bytes.Buffer
		if _, err := Verify(bytes.NewReader(der), nil, VerifyOptions{Out: &out}); err != nil || !bytes.Equal(out.Bytes(), content) {
			t.Errorf("%d octets: %d back, %v", n, out.Len(), err)
		}
	}
}

// TestCapabilities reads what others announce.
func TestCapabilities(t *testing.T) {
	aes := ber.Wrap(ber.Sequence, oid(oidAES128CBC))
	oaep1 := ber.Wrap(ber.Sequence, oid(oidOAEP), ber.Wrap(ber.Sequence)) // the defaults: SHA-1
	for _, c := range []struct {
		name string
		der  []byte
		want Capabilities
		bad  bool
	}{
		{"ours", ownCapabilities(), Capabilities{true, true}, false},
		{"old", ber.Wrap(ber.Sequence, aes, ber.Wrap(ber.Sequence, oid(oidTripleDES))), Capabilities{}, false},
		{"OAEP, SHA-1", ber.Wrap(ber.Sequence, oaep1), Capabilities{}, false},
		{"OAEP without parameters", ber.Wrap(ber.Sequence, ber.Wrap(ber.Sequence, oid(oidOAEP))), Capabilities{}, false},
		{"GCM", ber.Wrap(ber.Sequence, aes, ber.Wrap(ber.Sequence, oid(oidAES256GCM))), Capabilities{GCM: true}, false},
		{"empty", ber.Wrap(ber.Sequence), Capabilities{}, false},
		{"nothing", nil, Capabilities{}, true},
		{"text", []byte("text"), Capabilities{}, true},
		{"endless", ber.Wrap(ber.Sequence, bytes.Repeat(aes, maxCapabilities+1)), Capabilities{}, true},
	} {
		if got, err := ParseCapabilities(c.der); got != c.want || errors.Is(err, ErrCapabilities) != c.bad || (err != nil) != c.bad {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// TestCapabilitiesOpenSSL: what OpenSSL announces is found.
func TestCapabilitiesOpenSSL(t *testing.T) {
	need(t, "openssl", "openssl")
	dir := files(t, map[string]identity{"rsa": testWorld().rsa})
	put(t, dir, "content", []byte(text))
	if out, err := openssl(t, dir, "cms -sign -binary -in content -outform DER -out signed -signer rsa.pem -inkey rsa.key"); err != nil {
		t.Fatal(out)
	}
	r := must(Verify(bytes.NewReader(get(t, dir, "signed")), strings.NewReader(text), VerifyOptions{}))
	if c, err := ParseCapabilities(r.Signatures[0].Capabilities); err != nil || c != (Capabilities{}) {
		t.Errorf("%+v, %v", c, err) // AES-CBC and Triple-DES, as of 3.0
	}
}

// brokenKey is a hardware module that went away.
type brokenKey struct{ stdcrypto.Signer }

func (brokenKey) Sign(io.Reader, []byte, stdcrypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no such token")
}

func TestSigningTime(t *testing.T) {
	w := testWorld()
	for _, at := range []time.Time{
		now, time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(1949, 12, 31, 23, 59, 59, 0, time.UTC), now.In(time.FixedZone("CET", 3600)),
	} {
		der := must(Sign(strings.NewReader(text), w.p256.signer(), SignOptions{Time: at}))
		r, err := Verify(bytes.NewReader(der), strings.NewReader(text), VerifyOptions{})
		if err != nil || !r.Signatures[0].SigningTime.Equal(at) {
			t.Errorf("%v reads back as %v, %v", at, r.Signatures[0].SigningTime, err)
		}
	}
}

// TestOpenSSLVerifies asks another implementation about our signatures.
func TestOpenSSLVerifies(t *testing.T) {
	need(t, "openssl", "openssl")
	w := testWorld()
	dir := files(t, map[string]identity{"root": w.root})
	put(t, dir, "content", []byte(text))
	for name, id := range w.keys {
		if name == "ed25519" || name == "rsa1024" {
			continue // OpenSSL 3.0 has no Ed25519 CMS and refuses short keys
		}
		for i, o := range []SignOptions{{}, {Time: now, Announce: true}, {PSS: true, Announce: true}, {Hash: stdcrypto.SHA512, PSS: true}} {
			s := id.signer()
			s.Chain = []*x509.Certificate{w.middle.cert}
			attached := i%2 == 1
			sign := map[bool]func(io.Reader, Signer, SignOptions) ([]byte, error){false: Sign, true: attach}[attached]
			put(t, dir, "signed", must(sign(strings.NewReader(text), s, o)))
			line := fmt.Sprintf("cms -verify -cades -binary -inform DER -in signed -out got -CAfile root.pem -purpose any -attime %d", now.Unix())
			if !attached {
				line += " -content content"
			}
			if out, err := openssl(t, dir, line); err != nil || !strings.Contains(out, "CAdES Verification successful") {
				t.Errorf("%s %+v: %v\n%s", name, o, err, out)
			}
			if got := get(t, dir, "got"); string(got) != text {
				t.Errorf("%s %+v: content %q", name, o, got)
			}
		}
	}
}
