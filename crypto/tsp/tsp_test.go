package tsp_test

import (
	"bytes"
	"context"
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/tsp"
	"gatewayd/simulator"
)

var now = time.Date(2026, 12, 7, 9, 30, 0, 0, time.UTC)

// authority is the simulator's TSA under an anchor of its own.
type authority struct {
	ca  *simulator.CA
	tsa *simulator.TSA
}

var testAuthority = sync.OnceValue(func() authority {
	ca, err := simulator.NewCA("tsp test CA")
	if err != nil {
		panic(err)
	}
	cert, err := ca.TSA("tsp test TSA")
	if err != nil {
		panic(err)
	}
	return authority{ca, &simulator.TSA{Cert: cert, Now: func() time.Time { return now }}}
})

func (a authority) trust() cms.Trust { return cms.TrustPool(a.ca.Pool()) }

const content = "Nachweisdossier"

// stamped returns a request, its answer and the stamp in it.
func stamped(t *testing.T) (tsp.Request, []byte, []byte) {
	t.Helper()
	q, err := tsp.NewRequest(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := testAuthority().tsa.Stamp(q)
	if err != nil {
		t.Fatal(err)
	}
	token, err := tsp.Token(answer)
	if err != nil {
		t.Fatal(err)
	}
	return q, answer, token
}

func openssl(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("needs openssl")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func file(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVerify(t *testing.T) {
	q, _, token := stamped(t)
	a := testAuthority()
	s, err := tsp.Verify(token, strings.NewReader(content), tsp.Options{Trust: a.trust(), Request: &q})
	if err != nil || !s.Trusted() || !s.At.Equal(now) || len(s.Chain) != 2 || s.Nonce.Cmp(q.Nonce) != 0 || s.Hash != stdcrypto.SHA256 {
		t.Fatalf("%+v, %v", s, err)
	}
	if s, err := tsp.Verify(token, nil, tsp.Options{}); err != nil || s.Trusted() || !errors.Is(s.ChainErr, tsp.ErrUntrusted) {
		t.Errorf("without anchors: %+v, %v", s, err)
	}
	other, err := simulator.NewCA("another CA")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := tsp.Verify(token, nil, tsp.Options{Trust: cms.TrustPool(other.Pool())}); err != nil || s.Trusted() {
		t.Errorf("under a foreign anchor: %+v, %v", s, err)
	}
	if _, err := tsp.Verify(token, strings.NewReader(content+"x"), tsp.Options{}); !errors.Is(err, tsp.ErrImprint) {
		t.Errorf("other content: %v", err)
	}
	asked := q
	asked.Nonce = new(big.Int).Add(q.Nonce, big.NewInt(1))
	if _, err := tsp.Verify(token, nil, tsp.Options{Request: &asked}); !errors.Is(err, tsp.ErrNotAsked) {
		t.Errorf("another nonce: %v", err)
	}
	asked = q
	asked.Policy = asn1.ObjectIdentifier{1, 2, 3}
	if _, err := tsp.Verify(token, nil, tsp.Options{Request: &asked}); !errors.Is(err, tsp.ErrNotAsked) {
		t.Errorf("another policy: %v", err)
	}
	asked, err = tsp.NewRequest(strings.NewReader("other"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tsp.Verify(token, nil, tsp.Options{Request: &asked}); !errors.Is(err, tsp.ErrNotAsked) {
		t.Errorf("another request: %v", err)
	}
}

// TestEveryOctet changes every octet of a stamp: none may be Trusted then.
func TestEveryOctet(t *testing.T) {
	q, _, token := stamped(t)
	for i := range token {
		changed := bytes.Clone(token)
		changed[i] ^= 1
		s, err := tsp.Verify(changed, strings.NewReader(content), tsp.Options{Trust: testAuthority().trust(), Request: &q})
		if err == nil && s.Trusted() && !s.At.Equal(now) {
			t.Errorf("octet %d changed: trusted at %s", i, s.At)
		}
		if err == nil && s.Trusted() && !harmless(token, changed, i) {
			t.Errorf("octet %d of %d changed: still trusted", i, len(token))
		}
	}
}

// harmless: the issuer's certificate in the bag is of no worth by itself, the
// anchor replaces it; and the version of the SignedData is nobody's business.
func harmless(token, changed []byte, i int) bool {
	root := testAuthority().ca.Cert().Raw
	at := bytes.Index(token, root)
	return i >= at && i < at+len(root) || bytes.HasSuffix(token[:i], []byte{0x02, 0x01})
}

// odd makes stamps that something is wrong with.
type odd struct {
	usage    []byte // of the certificate: DER of the extension
	critical bool
	info     func(*info)
	content  asn1.ObjectIdentifier
}

type info struct {
	Version    int
	Policy     asn1.ObjectIdentifier
	Imprint    asn1.RawValue
	Serial     *big.Int
	At         time.Time        `asn1:"generalized"`
	Nonce      *big.Int         `asn1:"optional"`
	Extensions []pkix.Extension `asn1:"optional,tag:1"`
}

var timeStamping = []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 8}

func (o odd) make(t *testing.T, q tsp.Request) (token []byte, anchors *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "odd TSA"}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: o.critical, Value: o.usage}},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	imprint, err := q.Imprint()
	if err != nil {
		t.Fatal(err)
	}
	i := info{Version: 1, Policy: asn1.ObjectIdentifier{1, 2, 3, 4}, Imprint: asn1.RawValue{FullBytes: imprint}, Serial: big.NewInt(1), At: now, Nonce: q.Nonce}
	if o.info != nil {
		o.info(&i)
	}
	text, err := asn1.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	kind := tsp.OIDInfo
	if o.content != nil {
		kind = o.content
	}
	before, after, err := cms.SignAround(bytes.NewReader(text), cms.Signer{Cert: cert, Key: key}, cms.SignOptions{ContentType: kind})
	if err != nil {
		t.Fatal(err)
	}
	anchors = x509.NewCertPool()
	anchors.AddCert(cert)
	return slices.Concat(before, text, after), anchors
}

// TestOdd: each thing that RFC 3161 forbids is refused by itself.
func TestOdd(t *testing.T) {
	q, _, _ := stamped(t)
	email := []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 4}
	both := append([]byte{0x30, 0x14}, append(timeStamping[2:], email[2:]...)...)
	for _, tt := range []struct {
		name string
		o    odd
		good bool
	}{
		{"as it should be", odd{usage: timeStamping, critical: true}, true},
		{"usage not critical", odd{usage: timeStamping}, false},
		{"made for mail", odd{usage: email, critical: true}, false},
		{"made for stamps and mail", odd{usage: both, critical: true}, false},
		{"version 2", odd{usage: timeStamping, critical: true, info: func(i *info) { i.Version = 2 }}, false},
		{"harmless extension", odd{usage: timeStamping, critical: true, info: func(i *info) {
			i.Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 9}, Value: []byte{5, 0}}}
		}}, true},
		{"critical extension", odd{usage: timeStamping, critical: true, info: func(i *info) {
			i.Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 9}, Critical: true, Value: []byte{5, 0}}}
		}}, false},
		{"no nonce", odd{usage: timeStamping, critical: true, info: func(i *info) { i.Nonce = nil }}, false},
		{"not a time stamp", odd{usage: timeStamping, critical: true, content: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}}, false},
		{"before its certificate", odd{usage: timeStamping, critical: true, info: func(i *info) { i.At = now.AddDate(-2, 0, 0) }}, false},
		{"digest of unknown kind", odd{usage: timeStamping, critical: true, info: func(i *info) {
			i.Imprint = asn1.RawValue{FullBytes: ber.Wrap(ber.Sequence, ber.Wrap(ber.Sequence, []byte{6, 1, 42}), []byte{4, 1, 1})}
		}}, false},
	} {
		token, anchors := tt.o.make(t, q)
		s, err := tsp.Verify(token, strings.NewReader(content), tsp.Options{Trust: cms.TrustPool(anchors), Request: &q})
		if good := err == nil && s.Trusted(); good != tt.good {
			t.Errorf("%s: trusted %v, %v, %v", tt.name, s.Trusted(), err, s.ChainErr)
		}
	}
}

// TestOpenSSLVerifies: OpenSSL accepts what our request and the simulator's TSA
// make.
func TestOpenSSLVerifies(t *testing.T) {
	q, answer, _ := stamped(t)
	der, err := q.DER()
	if err != nil {
		t.Fatal(err)
	}
	ca := file(t, "ca.pem", testAuthority().ca.PEM())
	reply := file(t, "a.tsr", answer)
	for _, args := range [][]string{{"-queryfile", file(t, "q.tsq", der)}, {"-data", file(t, "data", []byte(content))}} {
		if out := openssl(t, append([]string{"ts", "-verify", "-in", reply, "-CAfile", ca}, args...)...); !strings.Contains(out, "Verification: OK") {
			t.Errorf("%v: %s", args, out)
		}
	}
	if out := openssl(t, "ts", "-query", "-in", file(t, "q.tsq", der), "-text"); !strings.Contains(out, "sha256") || !strings.Contains(out, "Certificate required: yes") {
		t.Errorf("our request: %s", out)
	}
}

const tsaConfig = `[tsa]
default_tsa = t
[t]
dir = .
serial = %d/serial
crypto_device = builtin
signer_cert = %d/tsa.pem
certs = %d/ca.pem
signer_key = %d/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4
other_policies = 1.2.3.5
digests = sha256, sha384, sha512
accuracy = secs:1, millisecs:500, microsecs:100
clock_precision_digits = 3
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
`

// opensslTSA is a loopback TSA made of `openssl ts -reply`.
func opensslTSA(t *testing.T) *httptest.Server {
	t.Helper()
	a, dir := testAuthority(), t.TempDir()
	key, err := a.tsa.Cert.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"serial": []byte("01\n"), "tsa.pem": a.tsa.Cert.CertPEM(), "ca.pem": a.ca.PEM(), "tsa.key": key, "tsa.cnf": []byte(strings.ReplaceAll(tsaConfig, "%d", dir)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		in, out := filepath.Join(dir, "q"), filepath.Join(dir, "r")
		if err := os.WriteFile(in, query, 0o600); err != nil {
			t.Error(err)
		}
		if text, err := exec.Command("openssl", "ts", "-reply", "-config", filepath.Join(dir, "tsa.cnf"), "-queryfile", in, "-out", out).CombinedOutput(); err != nil {
			t.Errorf("openssl ts -reply: %v\n%s", err, text)
		}
		answer, err := os.ReadFile(out)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/timestamp-reply")
		_, _ = w.Write(answer)
	}))
	t.Cleanup(s.Close)
	return s
}

// TestClientWithOpenSSL: our client takes OpenSSL's stamps, with fractions of a
// second, accuracy, ordering and name.
func TestClientWithOpenSSL(t *testing.T) {
	openssl(t, "version")
	s := opensslTSA(t)
	c := tsp.Client{URL: s.URL, HTTP: s.Client(), Trust: testAuthority().trust()}
	begin := time.Now().Add(-time.Minute)
	answer, stamp, err := c.Stamp(context.Background(), strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if !stamp.Trusted() || stamp.Accuracy != 1500100*time.Microsecond || stamp.At.Before(begin) || stamp.At.After(time.Now().Add(time.Minute)) {
		t.Errorf("%+v", stamp)
	}
	token, err := tsp.Token(answer)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := tsp.Verify(token, strings.NewReader(content), tsp.Options{Trust: testAuthority().trust()}); err != nil || !again.At.Equal(stamp.At) {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestClient: what a TSA can answer instead of a stamp.
func TestClient(t *testing.T) {
	a := testAuthority()
	var answer func(w http.ResponseWriter, r *http.Request)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	defer s.Close()
	other, err := tsp.NewRequest(strings.NewReader("other"))
	if err != nil {
		t.Fatal(err)
	}
	replay, err := a.tsa.Stamp(other)
	if err != nil {
		t.Fatal(err)
	}
	typed := func(text []byte) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/timestamp-reply")
			_, _ = w.Write(text)
		}
	}
	for _, tt := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request)
		want   error // nil: any
	}{
		{"refusal", typed([]byte{0x30, 0x09, 0x30, 0x07, 2, 1, 2, 3, 2, 5, 0x20}), tsp.ErrRefused},
		{"granted without a stamp", typed([]byte{0x30, 0x05, 0x30, 0x03, 2, 1, 0}), tsp.ErrToken},
		{"the stamp of another request", typed(replay), tsp.ErrNotAsked},
		{"junk", typed([]byte("hello")), nil},
		{"nothing", typed(nil), nil},
		{"too long", typed(make([]byte, tsp.MaxSize+1)), nil},
		{"a page", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, nil},
		{"an error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, nil},
	} {
		answer = tt.answer
		c := tsp.Client{URL: s.URL + "/?token=secret", HTTP: s.Client(), Trust: a.trust()}
		_, _, err := c.Stamp(context.Background(), strings.NewReader(content))
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	answer = a.tsa.ServeHTTP
	c := tsp.Client{URL: s.URL, HTTP: s.Client(), Trust: a.trust()}
	if _, stamp, err := c.Stamp(context.Background(), strings.NewReader(content)); err != nil || !stamp.Trusted() {
		t.Errorf("a good one: %+v, %v", stamp, err)
	}
	c.Trust = nil
	if _, _, err := c.Stamp(context.Background(), strings.NewReader(content)); !errors.Is(err, tsp.ErrUntrusted) {
		t.Errorf("without anchors: %v", err)
	}
	s.Close()
	c.URL += "/?token=secret"
	if _, _, err := c.Stamp(context.Background(), strings.NewReader(content)); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("down: %v", err)
	}
}

func TestRequest(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		q, err := tsp.NewRequest(strings.NewReader(content))
		if err != nil || q.Nonce.BitLen() != 127 || seen[q.Nonce.String()] {
			t.Fatalf("%+v, %v", q, err)
		}
		seen[q.Nonce.String()] = true
		der, err := q.DER()
		if err != nil {
			t.Fatal(err)
		}
		back, err := tsp.ParseRequest(der)
		if err != nil || back.Nonce.Cmp(q.Nonce) != 0 || !bytes.Equal(back.Digest, q.Digest) || !back.Certs || back.Hash != q.Hash {
			t.Fatalf("%+v, %v", back, err)
		}
	}
	if _, err := tsp.NewRequest(io.MultiReader(strings.NewReader("x"), broken{})); err == nil {
		t.Error("content that breaks off was stamped")
	}
	for _, q := range []tsp.Request{{}, {Hash: stdcrypto.MD5, Digest: make([]byte, 16)}, {Hash: stdcrypto.SHA256, Digest: make([]byte, 20)}} {
		if _, err := q.DER(); err == nil {
			t.Errorf("%+v was taken", q)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func FuzzVerify(f *testing.F) {
	q, err := tsp.NewRequest(strings.NewReader(content))
	if err != nil {
		f.Fatal(err)
	}
	answer, err := testAuthority().tsa.Stamp(q)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(answer)
	f.Add([]byte{0x30, 0x09, 0x30, 0x07, 2, 1, 2, 3, 2, 5, 0x20})
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := tsp.ParseRequest(b); err == nil {
			if _, err := q.DER(); err != nil {
				t.Fatalf("a request that was read cannot be written: %v", err)
			}
		}
		token, err := tsp.Token(b)
		if err != nil {
			return
		}
		s, err := tsp.Verify(token, strings.NewReader(content), tsp.Options{Trust: testAuthority().trust(), Request: &q})
		if err == nil && s.Trusted() && !s.At.Equal(now) {
			t.Fatalf("trusted at %s", s.At)
		}
	})
}
