package keys

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
	"gatewayd/message"
)

var now = time.Date(2026, 11, 23, 13, 5, 6, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func addr(s string) message.Address { return must(message.ParseAddress(s)) }

// certificate returns a self-signed certificate and its key as PEM.
func certificate(mail string, from, until time.Time, ca bool) (cert, key []byte) {
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: mail},
		NotBefore: from, NotAfter: until, EmailAddresses: []string{mail},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement,
		IsCA:     ca, BasicConstraintsValid: ca,
	}
	der := must(x509.CreateCertificate(rand.Reader, tpl, tpl, stdcrypto.Signer(k).Public(), k))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(k))})
}

// pgpKey returns a key as armored public and private files.
func pgpKey(mail string, made time.Time, life time.Duration) (public, private []byte) {
	c := &packet.Config{Time: func() time.Time { return made }, Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: uint32(life / time.Second)}
	e := must(pgp.NewEntity("Test", "", mail, c))
	var a, b bytes.Buffer
	w := must(armor.Encode(&a, pgp.PublicKeyType, nil))
	if err := errors.Join(e.Serialize(w), w.Close()); err != nil {
		panic(err)
	}
	if err := e.SerializePrivate(&b, c); err != nil {
		panic(err)
	}
	return a.Bytes(), b.Bytes()
}

func put(t *testing.T, dir, name string, data []byte, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
}

func folder(t *testing.T) string {
	t.Helper()
	dir, year := t.TempDir(), now.AddDate(1, 0, 0)
	cert := func(name, mail string, from, until time.Time) {
		c, _ := certificate(mail, from, until, false)
		put(t, dir, "partners/"+name+".crt", c, 0o644)
	}
	cert("bob@partner.example", "bob@partner.example", now.AddDate(-1, 0, 0), year)
	cert("bob@partner.example.2028", "bob@partner.example", now.AddDate(-1, 0, 0), year.AddDate(1, 0, 0))
	cert("bob@partner.example.old", "bob@partner.example", now.AddDate(-3, 0, 0), now.AddDate(0, 0, -1))
	cert("bob@partner.example.wrong", "eve@partner.example", now.AddDate(-1, 0, 0), year)
	public, _ := pgpKey("bob@partner.example", now.AddDate(-1, 0, 0), 0)
	put(t, dir, "partners/Bob@Partner.example.asc", public, 0o644)
	public, _ = pgpKey("bob@partner.example", now.AddDate(-2, 0, 0), 24*time.Hour)
	put(t, dir, "partners/bob@partner.example.old.asc", public, 0o644)
	for _, authority := range []string{"amt", "gericht"} {
		c, k := certificate(authority+"@bl.example", now.AddDate(-1, 0, 0), year, true)
		put(t, dir, "own/"+authority+"/seal.crt", c, 0o644)
		put(t, dir, "own/"+authority+"/seal.key", k, 0o600)
		put(t, dir, "roots/"+authority+".crt", c, 0o644)
		_, private := pgpKey(authority+"@bl.example", now.AddDate(-1, 0, 0), 0)
		put(t, dir, "own/"+authority+"/pgp.asc", private, 0o600)
	}
	c, k := certificate("amt@bl.example", now.AddDate(-3, 0, 0), now.AddDate(-1, 0, 0), false)
	put(t, dir, "own/amt/old.crt", c, 0o644)
	put(t, dir, "own/amt/old.key", k, 0o600)
	put(t, dir, "partners/bob@partner.example.method", []byte("AES-256-GCM RSAES-OAEP\n"), 0o644)
	put(t, dir, "partners/.swp", []byte("junk"), 0o600)
	return dir
}

func load(t *testing.T, dir string) *Ring {
	t.Helper()
	r, problems := Load(dir)
	if len(problems) > 0 {
		t.Fatalf("%+v", problems)
	}
	return r
}

func TestSelect(t *testing.T) {
	r := load(t, folder(t))
	s := r.Select(Wish{To: addr("BOB@partner.example"), At: now})
	if s.Method != (smime.Method{GCM: true, OAEP: true}) {
		t.Errorf("method %v", s.Method)
	}
	if s.Certificate == nil || s.Certificate.NotAfter.Year() != 2028 || s.OpenPGP == nil || s.OpenPGP.Created.Year() != 2025 {
		t.Fatalf("%+v", s)
	}
	want := map[string]error{
		"bob@partner.example.crt": nil, "bob@partner.example.2028.crt": nil, "bob@partner.example.old.crt": entity.ErrExpired,
		"bob@partner.example.wrong.crt": entity.ErrWrongAddress, "Bob@Partner.example.asc": nil, "bob@partner.example.old.asc": entity.ErrExpired,
	}
	chosen := 0
	for _, reason := range s.Reasons {
		name := filepath.Base(reason.File)
		err, ok := want[name]
		if !ok || !errors.Is(reason.Err, err) || reason.Fingerprint == "" {
			t.Errorf("%+v, want %v", reason, err)
		}
		delete(want, name)
		if reason.Chosen {
			chosen++
		}
		if reason.Chosen && name != "bob@partner.example.2028.crt" && name != "Bob@Partner.example.asc" {
			t.Errorf("chosen: %s", name)
		}
	}
	if len(want) > 0 || chosen != 2 {
		t.Errorf("missing: %v, chosen %d", want, chosen)
	}
	if s := r.Select(Wish{To: addr("nobody@partner.example"), At: now}); s.Certificate != nil || s.OpenPGP != nil || len(s.Reasons) != 0 {
		t.Errorf("nobody: %+v", s)
	}
	if s := r.Select(Wish{To: addr("bob@partner.example"), At: now.AddDate(5, 0, 0)}); s.Certificate != nil || s.OpenPGP == nil {
		t.Errorf("in five years: %+v", s)
	}
}

func TestSigners(t *testing.T) {
	r := load(t, folder(t))
	s := r.Signers("amt", addr("amt@bl.example"), now)
	if s.SMIME == nil || s.SMIME.Cert.NotAfter.Year() != 2027 || s.OpenPGP == nil || len(s.Reasons) != 3 {
		t.Fatalf("%+v", s)
	}
	if s = r.Signers("amt", message.Address{}, now); s.SMIME == nil || s.OpenPGP == nil {
		t.Errorf("any address: %+v", s)
	}
	if s = r.Signers("amt", addr("gericht@bl.example"), now); s.SMIME != nil || s.OpenPGP != nil || !errors.Is(s.Reasons[2].Err, entity.ErrWrongAddress) {
		t.Errorf("another authority's address: %+v", s)
	}
	if s = r.Signers("nobody", message.Address{}, now); s.SMIME != nil || s.OpenPGP != nil {
		t.Errorf("unknown authority: %+v", s)
	}
}

const letter = "From: amt@bl.example\r\nTo: bob@partner.example\r\nContent-Type: text/plain\r\n\r\nhello\r\n"

// TestOpeners: from folder to folder; one authority cannot read another's.
func TestOpeners(t *testing.T) {
	r := load(t, folder(t))
	amt, gericht := r.Signers("amt", message.Address{}, now), r.Signers("gericht", message.Address{}, now)
	for technique, protect := range map[string]func() (*entity.Protected, error){
		"smime": func() (*entity.Protected, error) {
			return smime.Protect(strings.NewReader(letter), int64(len(letter)), smime.Options{Signer: amt.SMIME, Recipients: []*x509.Certificate{gericht.SMIME.Cert}, Time: now})
		},
		"openpgp": func() (*entity.Protected, error) {
			return openpgp.Protect(strings.NewReader(letter), int64(len(letter)), openpgp.Options{Signer: amt.OpenPGP, Recipients: []openpgp.Key{*gericht.OpenPGP}, Time: now})
		},
	} {
		var b bytes.Buffer
		must(must(protect()).WriteTo(&b))
		for authority, want := range map[string]entity.Encryption{"gericht": entity.Decrypted, "amt": entity.NotForUs, "nobody": entity.NotForUs} {
			op, err := entity.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), entity.Options{Openers: r.Openers(Reader{Authority: authority, At: now}), At: now})
			if err != nil {
				t.Fatal(err)
			}
			if op.Encryption != want {
				t.Errorf("%s as %s: %q", technique, authority, op.Encryption)
			}
			// S/MIME brings the certificate along; the OpenPGP key of the other
			// authority is no partner's.
			signature := map[string]entity.Signing{"smime": entity.Good, "openpgp": entity.UnknownKey}[technique]
			if want == entity.Decrypted && op.Signature != signature {
				t.Errorf("%s as %s: %q", technique, authority, op.Signature)
			}
			if err := op.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestPartnerIsTrusted: a certificate in the folder needs no anchor above it,
// but a CA there vouches for nobody.
func TestPartnerIsTrusted(t *testing.T) {
	for _, ca := range []bool{false, true} {
		dir := t.TempDir()
		c, k := certificate("amt@bl.example", now.AddDate(-1, 0, 0), now.AddDate(1, 0, 0), ca)
		put(t, dir, "partners/amt@bl.example.crt", c, 0o644)
		id := must(smime.ParseIdentity(c, k))
		var b bytes.Buffer
		must(must(smime.Protect(strings.NewReader(letter), int64(len(letter)), smime.Options{Signer: id.Signer(), Time: now})).WriteTo(&b))
		op, err := entity.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), entity.Options{Openers: load(t, dir).Openers(Reader{Authority: "x", At: now}), At: now})
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]entity.Signing{false: entity.Good, true: entity.Untrusted}[ca]; op.Signature != want {
			t.Errorf("CA %v: %q", ca, op.Signature)
		}
	}
}

func TestExpiring(t *testing.T) {
	r := load(t, folder(t))
	var names []string
	for _, e := range r.Expiring(now.AddDate(1, 0, 1)) {
		names = append(names, filepath.Base(e.File))
	}
	slices.Sort(names[2:])
	want := "bob@partner.example.old.asc old.crt amt.crt bob@partner.example.crt bob@partner.example.old.crt bob@partner.example.wrong.crt gericht.crt seal.crt seal.crt"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if list := r.Expiring(now.AddDate(-4, 0, 0)); len(list) != 0 {
		t.Errorf("%v", list)
	}
}

// TestProblems: every bad file is told, the good ones are still there, and no
// error holds an address or a key.
func TestProblems(t *testing.T) {
	dir := folder(t)
	cert, key := certificate("x@y.example", now, now.AddDate(1, 0, 0), false)
	public, private := pgpKey("x@y.example", now, 0)
	put(t, dir, "partners/a@y.example.crt", []byte("junk"), 0o644)
	put(t, dir, "partners/b@y.example.asc", []byte("junk"), 0o644)
	put(t, dir, "partners/c@y.example.asc", private, 0o644)
	put(t, dir, "partners/d@y.example.txt", cert, 0o644)
	put(t, dir, "partners/noaddress.crt", cert, 0o644)
	put(t, dir, "partners/f@y.example.method", []byte("junk"), 0o644)
	put(t, dir, "partners/noaddress.method", []byte("RSAES-OAEP"), 0o644)
	put(t, dir, "partners/e@y.example.crt", make([]byte, maxFile+1), 0o644)
	put(t, dir, "roots/x.crt", []byte("junk"), 0o644)
	put(t, dir, "own/x/lonely.crt", cert, 0o644)
	put(t, dir, "own/x/open.crt", cert, 0o644)
	put(t, dir, "own/x/open.key", key, 0o644)
	put(t, dir, "own/x/wrong.crt", cert, 0o644)
	put(t, dir, "own/x/wrong.key", cert, 0o600)
	put(t, dir, "own/x/open.asc", private, 0o640)
	put(t, dir, "own/x/public.asc", public, 0o600)
	put(t, dir, "own/x/junk.asc", []byte("junk"), 0o600)
	put(t, dir, "own/x/readme.txt", []byte("junk"), 0o600)
	if err := os.Symlink("nowhere", filepath.Join(dir, "partners", "g@y.example.crt")); err != nil {
		t.Fatal(err)
	}
	r, problems := Load(dir)
	if len(problems) != 17 {
		t.Errorf("%d problems: %+v", len(problems), problems)
	}
	for _, p := range problems {
		if text := p.Err.Error(); strings.Contains(text, "@") || strings.Contains(text, "/") || strings.Contains(text, "junk") {
			t.Errorf("%s: %s", p.File, text)
		}
	}
	if s := r.Select(Wish{To: addr("bob@partner.example"), At: now}); s.Certificate == nil {
		t.Error("the good keys are gone")
	}
	if s := r.Signers("x", message.Address{}, now); s.SMIME != nil || s.OpenPGP != nil {
		t.Errorf("%+v", s)
	}
	empty, problems := Load(filepath.Join(dir, "nowhere"))
	if len(problems) != 0 || len(empty.Select(Wish{To: addr("a@b.example"), At: now}).Reasons) != 0 {
		t.Errorf("no folder: %+v", problems)
	}
}

// TestMixedTechniques: OpenPGP inside of S/MIME and the other way round.
func TestMixedTechniques(t *testing.T) {
	r := load(t, folder(t))
	amt := r.Signers("amt", message.Address{}, now)
	bySMIME := func(raw string) (*entity.Protected, error) {
		return smime.Protect(strings.NewReader(raw), int64(len(raw)), smime.Options{Signer: amt.SMIME, Recipients: []*x509.Certificate{amt.SMIME.Cert}, Time: now})
	}
	byPGP := func(raw string) (*entity.Protected, error) {
		return openpgp.Protect(strings.NewReader(raw), int64(len(raw)), openpgp.Options{Signer: amt.OpenPGP, Recipients: []openpgp.Key{*amt.OpenPGP}, Time: now})
	}
	for _, steps := range [][]func(string) (*entity.Protected, error){{bySMIME, byPGP}, {byPGP, bySMIME}} {
		raw := letter
		for _, protect := range steps {
			var b bytes.Buffer
			must(must(protect(raw)).WriteTo(&b))
			raw = b.String()
		}
		op, err := entity.Open(strings.NewReader(raw), int64(len(raw)), entity.Options{Openers: r.Openers(Reader{Authority: "amt", At: now}), At: now})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := op.WriteMessage(&b); err != nil || op.Signature != entity.Good || op.Encryption != entity.Decrypted || !strings.HasSuffix(b.String(), "\r\n\r\nhello\r\n") {
			t.Errorf("%q, %q, %v\n%s", op.Encryption, op.Signature, err, b.String())
		}
		if err := op.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestShared: one ring serves many at once (run with -race).
func TestShared(t *testing.T) {
	r := load(t, folder(t))
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			s := r.Signers("amt", message.Address{}, now)
			for range 3 {
				var b bytes.Buffer
				p, err := openpgp.Protect(strings.NewReader(letter), int64(len(letter)), openpgp.Options{Signer: s.OpenPGP, Recipients: []openpgp.Key{*s.OpenPGP}, Time: now})
				if err == nil {
					_, err = p.WriteTo(&b)
				}
				if err != nil {
					t.Error(err)
					return
				}
				op, err := entity.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), entity.Options{Openers: r.Openers(Reader{Authority: "amt", At: now}), At: now})
				if err != nil || op.Signature != entity.Good {
					t.Errorf("%v", err)
					return
				}
				_ = op.Close()
				r.Select(Wish{To: addr("bob@partner.example"), At: now})
			}
		})
	}
	wait.Wait()
}
