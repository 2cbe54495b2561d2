package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/path"
	"gatewayd/crypto/smime"
)

// ca is an issuer of certificates.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(name string) ca {
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return ca{must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tpl, tpl, k.Public(), k)))), k}
}

func (c ca) issue(mail string) smime.Identity {
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), EmailAddresses: []string{mail},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement,
	}
	return smime.Identity{Cert: must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tpl, c.cert, k.Public(), c.key)))), Key: k}
}

func asPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// TestSelectLearned: what trust, order and administrators make of keys from
// elsewhere.
func TestSelectLearned(t *testing.T) {
	known, unknown := newCA("known"), newCA("unknown")
	dir := t.TempDir()
	put(t, dir, "roots/zertes/known.crt", asPEM(known.cert), 0o644)
	r := load(t, dir)
	to := addr("bob@partner.example")
	good, foreign, other := known.issue("bob@partner.example").Cert, unknown.issue("bob@partner.example").Cert, known.issue("eve@partner.example").Cert
	public, _ := pgpKey("bob@partner.example", now.AddDate(-1, 0, 0), 0)
	pgp := must(openpgp.ParseKeys(public))[0]
	revoked := map[string]time.Time{smime.Fingerprint(good): now, pgp.Fingerprint: now}
	for _, c := range []struct {
		name string
		ring *Ring
		p    Partner
		want error
	}{
		{"anchored", r, Partner{Source: Mail, Trust: Anchored, Cert: good}, nil},
		{"anchored, unknown issuer", r, Partner{Source: Mail, Trust: Anchored, Cert: foreign, Chain: []*x509.Certificate{unknown.cert}}, path.ErrUnknown},
		{"its issuer approved", r.With(Decisions{Roots: []*x509.Certificate{unknown.cert}}), Partner{Source: Mail, Trust: Anchored, Cert: foreign}, nil},
		{"its issuer revoked", r.With(Decisions{Revoked: map[string]time.Time{smime.Fingerprint(known.cert): now}}), Partner{Trust: Anchored, Cert: good}, path.ErrNoAnchor},
		{"direct, unknown issuer", r, Partner{Source: LDAP, Trust: Direct, Cert: foreign}, nil},
		{"another address", r, Partner{Source: LDAP, Trust: Direct, Cert: other}, entity.ErrWrongAddress},
		{"waiting", r, Partner{Source: HKPS, Trust: Waiting, OpenPGP: &pgp}, ErrWaiting},
		{"approved", r, Partner{Source: HKPS, Trust: Approved, OpenPGP: &pgp}, nil},
		{"revoked certificate", r.With(Decisions{Revoked: revoked}), Partner{Trust: Direct, Cert: good}, ErrEnded},
		{"revoked OpenPGP", r.With(Decisions{Revoked: revoked}), Partner{Trust: Direct, OpenPGP: &pgp}, ErrEnded},
	} {
		s := c.ring.Select(Wish{To: to, At: now, Learned: []Partner{c.p}})
		if len(s.Reasons) != 1 || !errors.Is(s.Reasons[0].Err, c.want) || (s.Certificate != nil || s.OpenPGP != nil) != (c.want == nil) {
			t.Errorf("%s: %+v, want %v", c.name, s.Reasons, c.want)
		}
	}
	learned := []Partner{{Source: LDAP, Trust: Direct, Cert: foreign}, {Source: Mail, Trust: Anchored, Cert: good, Method: smime.Method{GCM: true}}}
	for _, c := range []struct {
		order []Source
		want  *x509.Certificate
		gcm   bool
	}{{nil, good, true}, {[]Source{LDAP, Manual}, foreign, false}} {
		s := r.Select(Wish{To: to, At: now, Learned: learned, Order: c.order})
		if !s.Certificate.Equal(c.want) || s.Method.GCM != c.gcm {
			t.Errorf("order %v: %s, %v", c.order, smime.Fingerprint(s.Certificate), s.Method)
		}
	}
	why := errors.New("nobody knows")
	s := r.Select(Wish{To: to, At: now, Learned: learned[1:], Revoked: func(c, issuer *x509.Certificate) error {
		if !c.Equal(good) || !issuer.Equal(known.cert) {
			t.Error("asked about another certificate")
		}
		return why
	}})
	if s.Certificate != nil || !errors.Is(s.Reasons[0].Err, why) {
		t.Errorf("%+v", s.Reasons)
	}
	if r.AnchorSet(smime.Fingerprint(known.cert)) != "zertes" || r.AnchorSet(smime.Fingerprint(good)) != "" {
		t.Error("sets of anchors")
	}
}

// TestDomain: a key of a domain serves whoever has none of his own, and never
// another domain.
func TestDomain(t *testing.T) {
	dir := t.TempDir()
	domain, _ := certificate("gateway@partner.example", now.AddDate(-1, 0, 0), now.AddDate(2, 0, 0), false)
	personal, _ := certificate("bob@partner.example", now.AddDate(-1, 0, 0), now.AddDate(1, 0, 0), false)
	put(t, dir, "partners/@Partner.example+2028.crt", domain, 0o644)
	put(t, dir, "partners/bob@partner.example.crt", personal, 0o644)
	r := load(t, dir)
	for address, want := range map[string]string{
		"bob@partner.example": "bob@partner.example", "alice@partner.example": "gateway@partner.example",
		"alice@sub.partner.example": "", "alice@example": "", "alice@other.example": "",
	} {
		got := ""
		if c := r.Select(Wish{To: addr(address), At: now}).Certificate; c != nil {
			got = c.EmailAddresses[0]
		}
		if got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// TestEnds: an own key that is out of use signs no more, and opens old mail
// until its own end.
func TestEnds(t *testing.T) {
	r := load(t, folder(t))
	signer := r.Signers("amt", addr("amt@bl.example"), now).SMIME
	fp := smime.Fingerprint(signer.Cert)
	end := now.AddDate(1, 0, 0)
	with := r.With(Decisions{Ends: map[string]End{fp: {Sign: now, Decrypt: end}}})
	if with.Signers("amt", addr("amt@bl.example"), now).SMIME != nil || with.Signers("amt", addr("amt@bl.example"), now.Add(-time.Hour)).SMIME == nil {
		t.Error("end of signing")
	}
	if r.Signers("amt", addr("amt@bl.example"), now).SMIME == nil {
		t.Error("the ring itself has changed")
	}
	p := must(smime.Protect(strings.NewReader(letter), int64(len(letter)), smime.Options{Recipients: []*x509.Certificate{signer.Cert}, Time: now}))
	var b bytes.Buffer
	must(p.WriteTo(&b))
	for at, want := range map[time.Time]entity.Encryption{now: entity.Malleable, end: entity.NotForUs} {
		op := must(entity.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), entity.Options{Openers: with.Openers(Reader{Authority: "amt", At: at}), At: now}))
		if op.Encryption != want {
			t.Errorf("%s: %s, want %s", at, op.Encryption, want)
		}
		_ = op.Close()
	}
}

// TestRevokedSigner: what an administrator has taken out of use proves nothing.
func TestRevokedSigner(t *testing.T) {
	r := load(t, folder(t))
	s := r.Signers("amt", addr("amt@bl.example"), now)
	public := must(openpgp.ParseKeys(must(s.OpenPGP.Public())))[0]
	for name, c := range map[string]struct {
		p  *entity.Protected
		fp string
	}{
		"smime":   {must(smime.Protect(strings.NewReader(letter), int64(len(letter)), smime.Options{Signer: s.SMIME, Time: now})), smime.Fingerprint(s.SMIME.Cert)},
		"openpgp": {must(openpgp.Protect(strings.NewReader(letter), int64(len(letter)), openpgp.Options{Signer: s.OpenPGP, Time: now})), public.Fingerprint},
	} {
		var b bytes.Buffer
		must(c.p.WriteTo(&b))
		for want, ring := range map[entity.Signing]*Ring{entity.Good: r, entity.Revoked: r.With(Decisions{Revoked: map[string]time.Time{c.fp: now}})} {
			openers := ring.Openers(Reader{Authority: "x", At: now, Learned: []Partner{{Source: WKD, Trust: Direct, OpenPGP: &public}}})
			op := must(entity.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), entity.Options{Openers: openers, At: now}))
			if op.Signature != want {
				t.Errorf("%s: %s, want %s", name, op.Signature, want)
			}
			_ = op.Close()
		}
	}
}

// TestList shows every key once.
func TestList(t *testing.T) {
	r := load(t, folder(t))
	var got []string
	for _, l := range r.List() {
		got = append(got, strings.TrimSpace(l.Authority+l.Address+l.Anchor)+" "+filepath.Base(l.File))
	}
	slices.Sort(got)
	want := []string{
		"amt old.crt", "amt pgp.asc", "amt seal.crt", "bob@partner.example Bob@Partner.example.asc", "bob@partner.example bob@partner.example.2028.crt",
		"bob@partner.example bob@partner.example.crt", "bob@partner.example bob@partner.example.old.asc", "bob@partner.example bob@partner.example.old.crt",
		"bob@partner.example.wrong bob@partner.example.wrong.crt", "general amt.crt", "general gericht.crt", "gericht pgp.asc", "gericht seal.crt",
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
