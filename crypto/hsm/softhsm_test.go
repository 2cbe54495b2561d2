//go:build pkcs11 && cgo

package hsm

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
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/smime"
)

// softHSM is the driver of Debian's softhsm2.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

var now = time.Date(2026, 11, 23, 13, 5, 6, 0, time.UTC)

// newToken makes an empty token of its own.
func newToken(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(softHSM); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs SoftHSM2: apt-get install softhsm2")
		}
		t.Skip("needs SoftHSM2: apt-get install softhsm2")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "tokens"), 0o700), os.WriteFile(conf, []byte("directories.tokendir = "+filepath.Join(dir, "tokens")+"\nlog.level = ERROR\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	softhsm(t, "--init-token", "--free", "--label", "gatewayd", "--so-pin", "87654321", "--pin", "1234")
}

func softhsm(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("softhsm2-util", args...).CombinedOutput(); err != nil {
		t.Fatalf("softhsm2-util %v: %v\n%s", args, err, out)
	}
}

// lay puts a private key on the token and returns a certificate for it.
func lay(t *testing.T, label, id string, key stdcrypto.Signer) *x509.Certificate {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.pem")
	der := must(x509.MarshalPKCS8PrivateKey(key))
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	softhsm(t, "--import", file, "--token", "gatewayd", "--label", label, "--id", id, "--pin", "1234")
	return certify(label, key)
}

func certify(name string, key stdcrypto.Signer) *x509.Certificate {
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), EmailAddresses: []string{name + "@bl.example"},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement,
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key))))
}

// open loads the driver and lets every EC key agree, which softhsm2-util does not.
func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(Options{Module: softHSM, PIN: "1234"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // a test may have closed it
	h := writing(t, s)
	defer s.driver.CloseSession(h)
	if err := s.driver.FindObjectsInit(h, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC)}); err != nil {
		t.Fatal(err)
	}
	found, _, _ := s.driver.FindObjects(h, 100)
	_ = s.driver.FindObjectsFinal(h)
	for _, o := range found {
		if err := s.driver.SetAttributeValue(h, o, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_DERIVE, true)}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// writing opens a session that may change the token.
func writing(t *testing.T, s *Store) pkcs11.SessionHandle {
	t.Helper()
	k := key{store: s, uri: uri{token: "gatewayd"}}
	h := must(s.driver.OpenSession(must(k.slot()), pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION))
	if err := s.driver.Login(h, pkcs11.CKU_USER, "1234"); err != nil {
		t.Fatal(err)
	}
	return h
}

const letter = "From: seal@bl.example\r\nTo: bob@partner.example\r\nSubject: Baugesuch\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGuten Tag\r\n"

// TestKeys: keys on a token sign and open S/MIME like those in memory.
func TestKeys(t *testing.T) {
	newToken(t)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	made := map[string]stdcrypto.Signer{
		"rsa": must(rsa.GenerateKey(rand.Reader, 2048)), "p256": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"p384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), "p521": must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)), "ed25519": ed,
	}
	certs := map[string]*x509.Certificate{}
	for name, key := range made {
		certs[name] = lay(t, name, fmt.Sprintf("%02x", len(certs)+1), key)
	}
	s := open(t)
	for name, cert := range certs {
		id, err := s.Identity("pkcs11:token=gatewayd;type=private;object="+name, []*x509.Certificate{cert})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, opens := id.Recipient()
		if id.Key == nil || opens != (name != "ed25519") {
			t.Errorf("%s: signs %v, opens %v", name, id.Key != nil, opens)
		}
		for _, m := range []smime.Method{{}, {OAEP: true, PSS: true, GCM: true}} {
			o := smime.Options{Signer: id.Signer(), Method: m, Time: now}
			if opens {
				o.Recipients = []*x509.Certificate{cert}
			}
			roundTrip(t, name, id, o)
		}
	}
}

func roundTrip(t *testing.T, name string, id smime.Identity, o smime.Options) {
	t.Helper()
	p, err := smime.Protect(strings.NewReader(letter), int64(len(letter)), o)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	opener := smime.Opener{}
	if r, ok := id.Recipient(); ok {
		opener.Keys = []cms.Recipient{r}
	}
	op, err := entity.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), entity.Options{Openers: []entity.Opener{opener}, At: now})
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer op.Close()
	if o.Recipients != nil && op.Encryption != entity.Malleable && op.Encryption != entity.Decrypted || op.Signature != entity.Untrusted {
		t.Errorf("%s %+v: %s, %s", name, o.Method, op.Encryption, op.Signature)
	}
}

// TestAlike: what does not open looks as with a key in memory.
func TestAlike(t *testing.T) {
	newToken(t)
	here := must(rsa.GenerateKey(rand.Reader, 2048))
	cert := lay(t, "seal", "01", here)
	id, err := open(t).Identity("pkcs11:object=seal", []*x509.Certificate{cert})
	if err != nil {
		t.Fatal(err)
	}
	there := id.Key.(stdcrypto.Decrypter)
	key := bytes.Repeat([]byte{7}, 32)
	v15 := func(size int) stdcrypto.DecrypterOpts {
		//lint:ignore SA1019 the point of the test
		return &rsa.PKCS1v15DecryptOptions{SessionKeyLen: size}
	}
	//lint:ignore SA1019 the point of the test
	good := must(rsa.EncryptPKCS1v15(rand.Reader, &here.PublicKey, key))
	if got, err := there.Decrypt(rand.Reader, good, v15(32)); err != nil || !bytes.Equal(got, key) {
		t.Errorf("%x, %v", got, err)
	}
	raw := func(begin ...byte) []byte {
		block := bytes.Repeat([]byte{1}, here.Size())
		copy(block, begin)
		return new(big.Int).Exp(new(big.Int).SetBytes(block), big.NewInt(int64(here.E)), here.N).FillBytes(make([]byte, here.Size()))
	}
	for name, c := range map[string]struct {
		sealed []byte
		size   int
	}{
		"another length": {good, 16}, "another block": {raw(0, 1), 32}, "no zero": {raw(0, 2), 32}, "zeros": {make([]byte, 256), 32}, "too short": {good[1:], 32},
		"too long": {append([]byte{1}, good...), 32}, "nothing": {nil, 32}, "as large as it goes": {bytes.Repeat([]byte{255}, 256), 32},
	} {
		a, errA := here.Decrypt(rand.Reader, c.sealed, v15(c.size))
		b, errB := there.Decrypt(rand.Reader, c.sealed, v15(c.size))
		if errA != errB || len(a) != len(b) || bytes.Equal(b, key) {
			t.Errorf("%s: %d octets, %v; in memory %d octets, %v", name, len(b), errB, len(a), errA)
		}
	}
	for _, h := range []stdcrypto.Hash{stdcrypto.SHA1, stdcrypto.SHA256, stdcrypto.SHA512} {
		o := &rsa.OAEPOptions{Hash: h, Label: []byte("label")}
		sealed := must(rsa.EncryptOAEPWithOptions(rand.Reader, &here.PublicKey, key, o))
		if got, err := there.Decrypt(rand.Reader, sealed, o); err != nil || !bytes.Equal(got, key) {
			t.Errorf("OAEP, %v: %x, %v", h, got, err)
		}
		for _, bad := range [][]byte{good, make([]byte, 256), raw(0, 2)} {
			if _, err := there.Decrypt(rand.Reader, bad, o); err != rsa.ErrDecryption {
				t.Errorf("OAEP, %v: %v", h, err)
			}
		}
	}
}

// TestWrong: what is not there, or is another's, is said; nothing is taken for it.
func TestWrong(t *testing.T) {
	newToken(t)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	cert := lay(t, "seal", "01", key)
	lay(t, "twice", "02", key)
	lay(t, "twice", "03", key)
	s := open(t)
	another := []*x509.Certificate{certify("seal", must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))}
	for name, c := range map[string]struct {
		uri   string
		certs []*x509.Certificate
		want  string
	}{
		"no object": {"pkcs11:object=nothing", []*x509.Certificate{cert}, "0 objects"}, "two": {"pkcs11:object=twice", []*x509.Certificate{cert}, "2 objects"},
		"no token": {"pkcs11:token=nowhere;object=seal", []*x509.Certificate{cert}, "0 tokens"}, "another's": {"pkcs11:object=seal", another, "does not belong"},
		"no URI": {"seal", []*x509.Certificate{cert}, "not a PKCS #11 URI"}, "a secret": {"pkcs11:object=seal;type=secret-key", []*x509.Certificate{cert}, "want private"},
	} {
		if id, err := s.Identity(c.uri, c.certs); err == nil || !strings.Contains(err.Error(), c.want) || id.Key != nil || id.Agree != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	id := must(s.Identity("pkcs11:object=twice;id=%02", []*x509.Certificate{cert}))
	if _, err := id.Agree.ECDH(must(ecdh.P384().GenerateKey(rand.Reader)).PublicKey()); err == nil {
		t.Error("agrees with another curve")
	}
	if _, err := id.Key.Sign(nil, make([]byte, 31), stdcrypto.SHA256); err == nil {
		t.Error("signs half a digest")
	}
	if _, err := Open(Options{Module: "/nowhere.so"}); err == nil {
		t.Error("no driver")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wrong := must(Open(Options{Module: softHSM, PIN: "4321"}))
	for range 9 { // SoftHSM does not lock itself; others would
		if _, err := wrong.Identity("pkcs11:object=seal", []*x509.Certificate{cert}); !errors.Is(err, ErrPIN) || strings.Contains(err.Error(), "4321") {
			t.Errorf("a wrong PIN: %v", err)
		}
	}
	_ = wrong.Close()
	sum := make([]byte, 32)
	if _, err := id.Key.Sign(nil, sum, stdcrypto.SHA256); !errors.Is(err, cms.ErrKeyAway) {
		t.Errorf("the token is gone: %v", err)
	}
}

// TestDerive: a secret on the token gives the same octets each time, for each label
// others; a session that has ended is replaced.
func TestDerive(t *testing.T) {
	newToken(t)
	s := open(t)
	laySecret(t, s, "master", bytes.Repeat([]byte{5}, 32))
	a := must(s.Derive("pkcs11:token=gatewayd;object=master", "one"))
	slots := must(s.driver.GetSlotList(true))
	for _, slot := range slots {
		_ = s.driver.CloseAllSessions(slot)
	}
	b := must(s.Derive("pkcs11:token=gatewayd;object=master", "one"))
	c := must(s.Derive("pkcs11:token=gatewayd;object=master", "two"))
	if len(a) != 32 || !bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Errorf("%x %x %x", a, b, c)
	}
	if _, err := s.Derive("pkcs11:object=nothing", "one"); err == nil {
		t.Error("derived from nothing")
	}
}

// laySecret puts a secret key on the token.
func laySecret(t *testing.T, s *Store, label string, value []byte) {
	t.Helper()
	h := writing(t, s)
	defer s.driver.CloseSession(h)
	must(s.driver.CreateObject(h, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label), pkcs11.NewAttribute(pkcs11.CKA_VALUE, value), pkcs11.NewAttribute(pkcs11.CKA_SIGN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
	}))
}

// TestX25519: what a token is not used for is refused in clear words.
func TestX25519(t *testing.T) {
	newToken(t)
	lay(t, "x", "01", must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
	issuer := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tpl := &x509.Certificate{SerialNumber: big.NewInt(9), NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0)}
	public := ed25519.PublicKey(must(ecdh.X25519().GenerateKey(rand.Reader)).PublicKey().Bytes()) // crypto/x509 writes none for X25519
	der := must(x509.CreateCertificate(rand.Reader, tpl, tpl, public, issuer))
	cert := must(x509.ParseCertificate(bytes.Replace(der, []byte{6, 3, 0x2b, 0x65, 0x70}, []byte{6, 3, 0x2b, 0x65, 0x6e}, 1)))
	if _, err := open(t).Identity("pkcs11:token=gatewayd;object=x", []*x509.Certificate{cert}); err == nil || !strings.Contains(err.Error(), "X25519") || !strings.Contains(err.Error(), "P-256") {
		t.Errorf("%v", err)
	}
}
