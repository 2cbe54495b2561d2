package keys

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
)

// TestPublicAndOwn: both halves of a folder are what the whole is, and the public
// half opens no private file.
func TestPublicAndOwn(t *testing.T) {
	dir := folder(t)
	whole := load(t, dir)
	own, problems := LoadOwn(dir, nil)
	if len(problems) > 0 || len(own) != 5 {
		t.Fatalf("%d own keys, %v", len(own), problems)
	}
	if err := os.Rename(filepath.Join(dir, "own"), filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "own", nil, 0) // whoever opens it as a folder fails
	public, problems := LoadPublic(dir)
	if len(problems) > 0 || len(public.own) != 0 {
		t.Fatalf("%d own keys, %v", len(public.own), problems)
	}
	list := func(r *Ring) (texts []string) {
		for _, l := range r.List() {
			texts = append(texts, l.Authority+l.Address+l.Anchor+" "+l.File+" "+l.Fingerprint)
		}
		return texts
	}
	if got, want := list(public.WithOwn(own, nil)), list(whole); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if s := public.WithOwn(own, nil).Signers("amt", addr("amt@bl.example"), now); s.SMIME == nil || s.OpenPGP == nil || s.Err != nil {
		t.Errorf("%+v", s)
	}
	if s := public.Signers("amt", addr("amt@bl.example"), now); s.SMIME != nil || s.OpenPGP != nil {
		t.Error("the ring itself has changed")
	}
}

// TestAway: while own keys are not known nothing is signed, and mail that may be for
// one of them is no verdict but trouble; what needs none of them is read.
func TestAway(t *testing.T) {
	dir := folder(t)
	whole := load(t, dir)
	nobody := errors.New("nobody answers")
	r := whole.WithOwn(nil, nobody)
	s := whole.Signers("amt", addr("amt@bl.example"), now)
	if got := r.Signers("amt", addr("amt@bl.example"), now); got.Err == nil || got.SMIME != nil || got.OpenPGP != nil {
		t.Errorf("%+v", got)
	}
	for name, c := range map[string]struct {
		p    *entity.Protected
		want error
	}{
		"S/MIME sealed":  {must(smime.Protect(strings.NewReader(letter), int64(len(letter)), smime.Options{Recipients: []*x509.Certificate{s.SMIME.Cert}, Time: now})), nobody},
		"S/MIME signed":  {must(smime.Protect(strings.NewReader(letter), int64(len(letter)), smime.Options{Signer: s.SMIME, Time: now})), nil},
		"OpenPGP sealed": {must(openpgp.Protect(strings.NewReader(letter), int64(len(letter)), openpgp.Options{Recipients: []openpgp.Key{*s.OpenPGP}, Time: now})), nobody},
		"OpenPGP signed": {must(openpgp.Protect(strings.NewReader(letter), int64(len(letter)), openpgp.Options{Signer: s.OpenPGP, Time: now})), nil},
	} {
		var b bytes.Buffer
		must(c.p.WriteTo(&b))
		op, err := entity.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), entity.Options{Openers: r.Openers(Reader{Authority: "amt", At: now}), At: now})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if op != nil {
			_ = op.Close()
		}
	}
}

// TestToken: a .p11 file takes the place of a private key's.
func TestToken(t *testing.T) {
	dir := folder(t)
	if err := os.Remove(filepath.Join(dir, "own/amt/seal.key")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "own/amt/seal.p11", []byte("pkcs11:object=seal\n"), 0o644)
	if _, problems := Load(dir); len(problems) != 1 || !strings.Contains(problems[0].Err.Error(), "key agent") {
		t.Errorf("without tokens: %v", problems)
	}
	lost := errors.New("the token is lost")
	asked := ""
	token := func(uri string, certs []*x509.Certificate) (smime.Identity, error) {
		if asked = uri; lost != nil {
			return smime.Identity{}, lost
		}
		return smime.Identity{Cert: certs[0]}, nil
	}
	if list, problems := LoadOwn(dir, token); len(list) != 4 || len(problems) != 1 || !errors.Is(problems[0].Err, lost) || asked != "pkcs11:object=seal" {
		t.Errorf("%d keys, %v, %q", len(list), problems, asked)
	}
	lost = nil
	if list, problems := LoadOwn(dir, token); len(list) != 5 || len(problems) != 0 {
		t.Errorf("%d keys, %v", len(list), problems)
	}
	put(t, dir, "own/amt/pgp.p11", []byte("pkcs11:object=pgp\n"), 0o644)
	if list, problems := LoadOwn(dir, token); len(list) != 5 || len(problems) != 1 || !strings.Contains(problems[0].Err.Error(), "OpenPGP") {
		t.Errorf("an OpenPGP key on a token: %d keys, %v", len(list), problems)
	}
}

// TestReadable finds the private files of a folder, and nothing else.
func TestReadable(t *testing.T) {
	dir := folder(t)
	want := []string{"own/amt/old.key", "own/amt/pgp.asc", "own/amt/seal.key", "own/gericht/pgp.asc", "own/gericht/seal.key"}
	if got := Readable(dir); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := Readable(filepath.Join(dir, "partners")); len(got) != 0 {
		t.Errorf("no own folder: %v", got)
	}
}
