package keybook

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/crypto/keys"
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

var secret = bytes.Repeat([]byte{3}, 32)

func open(t *testing.T, dir string) *Book {
	t.Helper()
	b, err := Open(dir, secret)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func cert(mail string) *x509.Certificate {
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), EmailAddresses: []string{mail}}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tpl, tpl, k.Public(), k))))
}

func pgpKey(mail string) openpgp.Key {
	e := must(pgp.NewEntity("", "", mail, &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return now.AddDate(-1, 0, 0) }}))
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		panic(err)
	}
	return must(openpgp.ParseKeys(b.Bytes()))[0]
}

func pgpEntry(k openpgp.Key, s keys.Source, t keys.Trust) Entry {
	return Entry{Source: s, Trust: t, OpenPGP: must(k.Packets())}
}

// TestLearn: what is learned is there after a restart, by address, and nothing
// in the folder shows whose it is.
func TestLearn(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	bob, c := addr("bob@partner.example"), cert("bob@partner.example")
	e := Entry{Source: keys.Mail, Trust: keys.Anchored, Cert: c.Raw, Chain: [][]byte{cert("ca@x.example").Raw}}
	for _, want := range []Outcome{New, Known} {
		if got := must(b.Learn(bob, e, now)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := must(b.Learn(bob, pgpEntry(pgpKey("bob@partner.example"), keys.WKD, keys.Direct), now)); got != New {
		t.Error(got)
	}
	for range 2 {
		if err := b.Used(bob, smime.Fingerprint(c), now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range []*Book{b, open(t, dir)} {
		list := must(b.Partners(addr("BOB@partner.example")))
		if len(list) != 2 || len(must(b.Partners(addr("eve@partner.example")))) != 0 {
			t.Errorf("%+v", list)
		}
		n := 0
		err := b.Each(func(address, fp string, e Entry) bool {
			if n++; address != "bob@partner.example" || fp == smime.Fingerprint(c) && (!e.Found.Equal(now) || e.LastUsed.Hour() != 0 || e.FirstUsed != e.LastUsed || len(e.Chain) != 1) {
				t.Errorf("%s %+v", address, e)
			}
			return true
		})
		if err != nil || n != 2 {
			t.Errorf("%d, %v", n, err)
		}
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if raw := must(os.ReadFile(path)); strings.Contains(path, "bob") || bytes.Contains(raw, []byte("partner.example")) || bytes.Contains(raw, []byte("mail")) {
			t.Errorf("%s tells whose it is", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestConflict: a key that nobody answers for never takes the place of one that
// is in use (quality.md S26).
func TestConflict(t *testing.T) {
	bob := addr("bob@partner.example")
	first, second := pgpKey("bob@partner.example"), pgpKey("bob@partner.example")
	for _, c := range []struct {
		name   string
		was    Entry
		new    Entry
		want   Outcome
		usable int
	}{
		{"harvested beside WKD", pgpEntry(first, keys.WKD, keys.Direct), pgpEntry(second, keys.Mail, keys.Waiting), Conflict, 1},
		{"WKD beside approved", pgpEntry(first, keys.HKPS, keys.Approved), pgpEntry(second, keys.WKD, keys.Direct), Conflict, 1},
		{"WKD again", pgpEntry(first, keys.WKD, keys.Direct), pgpEntry(second, keys.WKD, keys.Direct), New, 2},
		{"harvested twice", pgpEntry(first, keys.Mail, keys.Waiting), pgpEntry(second, keys.Mail, keys.Waiting), Waits, 0},
		{"WKD beside harvested", pgpEntry(first, keys.Mail, keys.Waiting), pgpEntry(second, keys.WKD, keys.Direct), New, 1},
		{"WKD has what was harvested", pgpEntry(first, keys.Mail, keys.Waiting), pgpEntry(first, keys.WKD, keys.Direct), New, 1},
		{"harvested again", pgpEntry(first, keys.WKD, keys.Direct), pgpEntry(first, keys.Mail, keys.Waiting), Known, 1},
	} {
		b := open(t, t.TempDir())
		must(b.Learn(bob, c.was, now))
		if got := must(b.Learn(bob, c.new, now)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		usable := 0
		for _, p := range must(b.Partners(bob)) {
			if p.Trust != keys.Waiting {
				usable++
			}
		}
		if usable != c.usable {
			t.Errorf("%s: %d usable, want %d", c.name, usable, c.usable)
		}
	}
	// What waits beside an approved key does not become usable by its domain's word.
	b := open(t, t.TempDir())
	must(b.Learn(bob, pgpEntry(first, keys.HKPS, keys.Approved), now))
	must(b.Learn(bob, pgpEntry(second, keys.Mail, keys.Waiting), now))
	if got := must(b.Learn(bob, pgpEntry(second, keys.WKD, keys.Direct), now)); got != Known {
		t.Errorf("%s", got)
	}
	if n := must(b.Approve(second.Fingerprint)); n != 1 {
		t.Errorf("approved %d", n)
	}
	for _, p := range must(b.Partners(bob)) {
		if p.Trust != keys.Approved {
			t.Errorf("%s: %s", p.Fingerprint(), p.Trust)
		}
	}
	if n := must(b.Approve("00")); n != 0 {
		t.Errorf("approved %d", n)
	}
}

// TestBounds: neither a key nor an address grows without end.
func TestBounds(t *testing.T) {
	b := open(t, t.TempDir())
	bob := addr("bob@partner.example")
	first := cert("bob@partner.example")
	must(b.Learn(bob, Entry{Source: keys.LDAP, Trust: keys.Approved, Cert: first.Raw}, now))
	for i := range maxKeys + 4 {
		must(b.Learn(bob, Entry{Source: keys.Mail, Trust: keys.Anchored, Cert: cert("bob@partner.example").Raw}, now.Add(time.Duration(i)*time.Hour)))
	}
	list := must(b.Partners(bob))
	kept := false
	for _, p := range list {
		kept = kept || p.Cert.Equal(first)
	}
	if len(list) != maxKeys || !kept {
		t.Errorf("%d keys, the approved one kept: %v", len(list), kept)
	}
	big := Entry{Source: keys.Mail, Cert: first.Raw, Chain: [][]byte{make([]byte, maxKey)}}
	if _, err := b.Learn(bob, big, now); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if _, err := b.Learn(bob, Entry{Source: keys.Mail, OpenPGP: []byte("junk")}, now); err == nil {
		t.Error("junk is learned")
	}
	for range maxRoots + 5 {
		if _, err := b.LearnRoot(first, now); err != nil {
			t.Fatal(err)
		}
		first = cert("x@y.example")
	}
	if n := len(b.Roots()); n != maxRoots {
		t.Errorf("%d roots", n)
	}
}

func TestForget(t *testing.T) {
	b := open(t, t.TempDir())
	year := 365 * 24 * time.Hour
	used, unused := cert("bob@partner.example"), cert("eve@partner.example")
	must(b.Learn(addr("bob@partner.example"), Entry{Source: keys.Mail, Trust: keys.Anchored, Cert: used.Raw}, now))
	must(b.Learn(addr("eve@partner.example"), Entry{Source: keys.Mail, Trust: keys.Anchored, Cert: unused.Raw}, now))
	if err := b.Used(addr("bob@partner.example"), smime.Fingerprint(used), now.Add(year/2)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		gone  int
	}{{year - time.Hour, 0}, {year + time.Hour, 1}, {2*year - time.Hour, 1}} {
		if n := must(b.Forget(now.Add(c.after), year)); n != c.gone {
			t.Errorf("after %s: %d, want %d", c.after, n, c.gone)
		}
	}
	if files, _ := os.ReadDir(filepath.Join(b.dir, partnersDir)); len(files) != 0 {
		t.Errorf("%d files stay", len(files))
	}
}

// TestDecisions stand after a restart.
func TestDecisions(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	root, bad := cert("ca@x.example"), cert("bad@x.example")
	if !must(b.LearnRoot(root, now)) || must(b.LearnRoot(root, now)) || !must(b.LearnRoot(bad, now)) {
		t.Error("new, known")
	}
	if len(b.Decisions().Roots) != 0 {
		t.Error("a root is trusted before it is approved")
	}
	end := keys.End{Sign: now, Decrypt: now.AddDate(2, 0, 0)}
	before := b.Changes()
	if err := errors.Join(b.ApproveRoot(smime.Fingerprint(root), now), b.Revoke(smime.Fingerprint(bad), now), b.SetEnd("00ff", end)); err != nil {
		t.Fatal(err)
	}
	if b.Changes() != before+3 {
		t.Error("changes are not counted")
	}
	if err := b.ApproveRoot("00", now); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
	if must(b.LearnRoot(bad, now)) {
		t.Error("a revoked root is learned again")
	}
	for _, b := range []*Book{b, open(t, dir)} {
		d := b.Decisions()
		if len(d.Roots) != 1 || !d.Roots[0].Equal(root) || !d.Revoked[smime.Fingerprint(bad)].Equal(now) || !d.Ends["00ff"].Decrypt.Equal(end.Decrypt) {
			t.Errorf("%+v", d)
		}
	}
}

// TestWarn: each step once, and none for one that was skipped.
func TestWarn(t *testing.T) {
	b := open(t, t.TempDir())
	steps := []int{30, 14, 7, 1}
	var told []int
	for _, days := range []int{40, 30, 29, 15, 14, 13, 3, 2, 1, 0, -1} {
		if must(b.Warn("f", days, steps)) {
			told = append(told, days)
		}
	}
	if fmt.Sprint(told) != "[30 14 3 1]" {
		t.Errorf("%v", told)
	}
}

// TestWaiting: mail that waits is there after a restart, until it is opened.
func TestWaiting(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	u := Unopened{Message: message.NewID(now), Item: 1, Authority: "amt", Until: now.AddDate(0, 2, 0)}
	if err := errors.Join(b.Wait(u), b.Wait(u)); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if list := again.Waiting(); len(list) != 1 || list[0] != u {
		t.Errorf("%+v", list)
	}
	if err := errors.Join(again.Opened(u.Message), again.Opened(u.Message)); err != nil {
		t.Fatal(err)
	}
	if list := open(t, dir).Waiting(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// TestDamage: a changed file, one in another's place and another master key are
// noticed; what a crash left is not.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	bob, eve := addr("bob@partner.example"), addr("eve@partner.example")
	must(b.Learn(bob, Entry{Source: keys.Mail, Trust: keys.Anchored, Cert: cert("bob@partner.example").Raw}, now))
	must(b.Learn(eve, Entry{Source: keys.Mail, Trust: keys.Anchored, Cert: cert("eve@partner.example").Raw}, now))
	if err := b.SetEnd("00", keys.End{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, partnersDir, tempPrefix+"1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Each(func(string, string, Entry) bool { return true }); err != nil {
		t.Errorf("half a file of a crash: %v", err)
	}
	if err := os.Rename(filepath.Join(dir, b.file(bob)), filepath.Join(dir, b.file(eve))); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Partners(eve); !errors.Is(err, ErrDamaged) {
		t.Errorf("another's file: %v", err)
	}
	if list, err := b.Partners(bob); err != nil || len(list) != 0 {
		t.Errorf("a file that is gone: %v", err)
	}
	if _, err := Open(dir, bytes.Repeat([]byte{4}, 32)); !errors.Is(err, ErrDamaged) {
		t.Errorf("another master key: %v", err)
	}
}

func TestShared(t *testing.T) {
	b := open(t, t.TempDir())
	c := cert("bob@partner.example")
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			a := addr(fmt.Sprintf("bob%d@partner.example", i%2))
			_, err := b.Learn(a, Entry{Source: keys.Mail, Trust: keys.Anchored, Cert: c.Raw}, now)
			_, err2 := b.Partners(a)
			_, err3 := b.Approve(smime.Fingerprint(c))
			if err := errors.Join(err, err2, err3, b.Used(a, smime.Fingerprint(c), now)); err != nil {
				t.Error(err)
			}
			b.Decisions()
		})
	}
	wait.Wait()
}
