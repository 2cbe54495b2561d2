package path

import (
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 23, 13, 5, 6, 0, time.UTC)

type identity struct {
	cert *x509.Certificate
	key  stdcrypto.Signer
}

// issue makes a certificate; edit may change everything.
func issue(cn string, by *identity, edit func(c *x509.Certificate)) identity {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return issueFor(key, cn, by, edit)
}

func issueFor(key stdcrypto.Signer, cn string, by *identity, edit func(c *x509.Certificate)) identity {
	tpl := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<60))),
		Subject:      pkix.Name{CommonName: cn, Organization: []string{"Amt"}},
		NotBefore:    now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
		BasicConstraintsValid: true, MaxPathLen: -1,
	}
	if edit != nil {
		edit(tpl)
	}
	parent, signer := tpl, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	return identity{must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tpl, parent, key.Public(), signer)))), key}
}

func ca(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }

func both(edits ...func(c *x509.Certificate)) func(c *x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, e := range edits {
			e(c)
		}
	}
}

func TestVerify(t *testing.T) {
	root := issue("Root", nil, ca)
	middle := issue("Middle", &root, ca)
	leaf := issue("Leaf", &middle, nil)
	stranger := issue("Leaf", nil, nil)
	others := []*x509.Certificate{leaf.cert, middle.cert, middle.cert, stranger.cert}
	mail := issue("Mail", &middle, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} })
	server := issue("Server", &root, both(ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }))
	below := issue("Below", &server, nil)
	old := issue("Old", &root, func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, -1, 0) })
	oldCA := issue("Old CA", &root, both(ca, func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, -1, 0) }))
	notCA := issue("Not CA", &root, nil)
	critical := issue("Critical", &root, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	})
	for _, c := range []struct {
		name string
		cert *x509.Certificate
		o    Options
		want error
		n    int
	}{
		{"good", leaf.cert, Options{At: now, Others: others}, nil, 3},
		{"for mail", mail.cert, Options{At: now, Others: others, Usage: x509.ExtKeyUsageEmailProtection}, nil, 3},
		{"no use named", leaf.cert, Options{At: now, Others: others, Usage: x509.ExtKeyUsageEmailProtection}, nil, 3},
		{"another use", mail.cert, Options{At: now, Others: others, Usage: x509.ExtKeyUsageTimeStamping}, ErrUsage, 0},
		{"another use above", below.cert, Options{At: now, Others: []*x509.Certificate{server.cert}, Usage: x509.ExtKeyUsageEmailProtection}, ErrUsage, 0},
		{"the anchor", root.cert, Options{At: now}, nil, 1},
		{"intermediate is missing", leaf.cert, Options{At: now}, ErrUnknown, 0},
		{"issued by itself", stranger.cert, Options{At: now, Others: others}, ErrUnknown, 0},
		{"too late", leaf.cert, Options{At: now.AddDate(2, 0, 0), Others: others}, ErrTime, 0},
		{"too early", leaf.cert, Options{At: now.AddDate(-2, 0, 0), Others: others}, ErrTime, 0},
		{"no time", leaf.cert, Options{Others: others}, ErrTime, 0},
		{"expired", old.cert, Options{At: now}, ErrTime, 0},
		{"expired CA", issue("x", &oldCA, nil).cert, Options{At: now, Others: []*x509.Certificate{oldCA.cert}}, ErrTime, 0},
		{"issued by no CA", issue("x", &notCA, nil).cert, Options{At: now, Others: []*x509.Certificate{notCA.cert}}, ErrUnknown, 0},
		{"critical extension", critical.cert, Options{At: now}, ErrCritical, 0},
		{"policy wanted", leaf.cert, Options{At: now, Others: others, Explicit: true}, ErrPolicy, 0},
	} {
		p, err := New([]*x509.Certificate{root.cert}, nil, nil).Verify(c.cert, c.o)
		if !errors.Is(err, c.want) || c.want == nil && err != nil || len(p.Certificates) != c.n || p.Weak {
			t.Errorf("%s: %d, %v; want %v", c.name, len(p.Certificates), err, c.want)
		}
	}
	known := New([]*x509.Certificate{root.cert}, []*x509.Certificate{stranger.cert}, []*x509.Certificate{middle.cert, leaf.cert})
	if p, err := known.Verify(leaf.cert, Options{At: now}); err != nil || len(p.Certificates) != 3 {
		t.Errorf("known intermediate: %v", err)
	}
	if p, err := known.Verify(stranger.cert, Options{At: now}); err != nil || len(p.Certificates) != 1 {
		t.Errorf("a partner's certificate as anchor: %v", err)
	}
	for name, a := range map[string]*Anchors{"nil": nil, "zero": {}, "empty": New(nil, nil, []*x509.Certificate{root.cert})} {
		if _, err := a.Verify(leaf.cert, Options{At: now}); !errors.Is(err, ErrNoAnchor) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTrustedIsNoCA: who trusts a partner's certificate does not trust what it
// issues; nor what an anchor issues that is none.
func TestTrustedIsNoCA(t *testing.T) {
	for name, edit := range map[string]func(c *x509.Certificate){
		"CA": ca, "end entity": nil, "no constraints": func(c *x509.Certificate) { c.BasicConstraintsValid = false },
	} {
		partner := issue("Partner", nil, edit)
		forged := issue("Forged", &partner, nil)
		list := []*x509.Certificate{partner.cert}
		if _, err := New(nil, list, list).Verify(partner.cert, Options{At: now}); err != nil {
			t.Errorf("%s: itself: %v", name, err)
		}
		if _, err := New(nil, list, list).Verify(forged.cert, Options{At: now, Others: list}); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: trusted: %v", name, err)
		}
		if _, err := New(list, nil, nil).Verify(forged.cert, Options{At: now}); name != "CA" && !errors.Is(err, ErrIssuer) || name == "CA" && err != nil {
			t.Errorf("%s: anchor: %v", name, err)
		}
	}
	signs := issue("Signs", nil, both(ca, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }))
	forged := issue("Forged", &signs, nil)
	if _, err := New([]*x509.Certificate{signs.cert}, nil, nil).Verify(forged.cert, Options{At: now}); !errors.Is(err, ErrIssuer) {
		t.Errorf("key usage: %v", err)
	}
}

func TestWeak(t *testing.T) {
	root := issueFor(must(rsa.GenerateKey(rand.Reader, 2048)), "Root", nil, ca)
	short := issueFor(must(rsa.GenerateKey(rand.Reader, 1024)), "Short", &root, nil)
	if p, err := New([]*x509.Certificate{root.cert}, nil, nil).Verify(short.cert, Options{At: now}); err != nil || !p.Weak {
		t.Errorf("short key: %+v, %v", p.Weak, err)
	}
}

// TestConstraints: every form of name, where crypto/x509 reads the constraint
// and where it does not.
func TestConstraints(t *testing.T) {
	root := issue("Root", nil, ca)
	directory := func(excluded bool, organization string) func(c *x509.Certificate) {
		return func(c *x509.Certificate) {
			base := must(asn1.Marshal(pkix.Name{Organization: []string{organization}}.ToRDNSequence()))
			general := must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagDirectory, IsCompound: true, Bytes: base}))
			tree := must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: general}))
			tag := 0
			if excluded {
				tag = 1
			}
			trees := must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: tree}))
			c.ExtraExtensions = []pkix.Extension{{Id: oidNameConstraints(), Critical: true, Value: must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: trees}))}}
		}
	}
	mail := func(list ...string) func(c *x509.Certificate) {
		return func(c *x509.Certificate) {
			c.PermittedEmailAddresses, c.PermittedDNSDomainsCritical = list, true
		}
	}
	named := func(address string) func(c *x509.Certificate) {
		return func(c *x509.Certificate) { c.EmailAddresses = []string{address} }
	}
	subject := func(address string) func(c *x509.Certificate) {
		return func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: oidEmail(), Value: address}}
		}
	}
	for _, c := range []struct {
		name     string
		ca, leaf func(c *x509.Certificate)
		good     bool
	}{
		{"organization", directory(false, "Amt"), nil, true},
		{"organization in another writing", directory(false, " AMT"), nil, true},
		{"another organization", directory(false, "Gericht"), nil, false},
		{"excluded organization", directory(true, "amt"), nil, false},
		{"another is excluded", directory(true, "Gericht"), nil, true},
		{"mail host", mail("bl.example"), named("amt@BL.example"), true},
		{"mail below the host", mail("bl.example"), named("amt@x.bl.example"), false},
		{"mail domain", mail(".bl.example"), named("amt@x.bl.example"), true},
		{"mailbox", mail("amt@bl.example"), named("amt@bl.example"), true},
		{"another mailbox", mail("amt@bl.example"), named("eve@bl.example"), false},
		{"second of two", mail("a.example", "bl.example"), named("amt@bl.example"), true},
		{"mail in the subject", mail("bl.example"), subject("amt@bl.example"), true},
		{"foreign mail in the subject", mail("bl.example"), both(named("amt@bl.example"), subject("eve@evil.example")), false},
		{"excluded mail in the subject", func(c *x509.Certificate) { c.ExcludedEmailAddresses = []string{"evil.example"} }, subject("eve@evil.example"), false},
		{"no mail at all", mail("bl.example"), nil, true},
		{"host", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"bl.example"} }, func(c *x509.Certificate) { c.DNSNames = []string{"www.bl.example"} }, true},
		{"foreign host", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"bl.example"} }, func(c *x509.Certificate) { c.DNSNames = []string{"xbl.example"} }, false},
		{"address", func(c *x509.Certificate) {
			c.PermittedIPRanges = []*net.IPNet{{IP: net.IPv4(10, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}}
		}, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(11, 0, 0, 1)} }, false},
		{"URI", func(c *x509.Certificate) { c.PermittedURIDomains = []string{"bl.example"} }, func(c *x509.Certificate) { c.URIs = []*url.URL{must(url.Parse("https://bl.example/x"))} }, true},
		{"URI without host", func(c *x509.Certificate) { c.PermittedURIDomains = []string{"bl.example"} }, func(c *x509.Certificate) { c.URIs = []*url.URL{must(url.Parse("urn:x"))} }, false},
	} {
		middle := issue("Middle", &root, both(ca, c.ca))
		deep := issue("Deep", &middle, ca)
		edit := both()
		if c.leaf != nil {
			edit = c.leaf
		}
		for i, by := range []identity{middle, deep} {
			leaf := issue("Leaf", &by, edit)
			_, err := New([]*x509.Certificate{root.cert}, nil, nil).Verify(leaf.cert, Options{At: now, Others: []*x509.Certificate{middle.cert, deep.cert}})
			if (err == nil) != c.good || err != nil && !errors.Is(err, ErrConstraints) {
				t.Errorf("%s, %d below: %v", c.name, i, err)
			}
		}
	}
}

// TestSearchEnds: many CAs of one name, all of which signed each other, do not
// keep us busy.
func TestSearchEnds(t *testing.T) {
	root := issue("Root", nil, ca)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	same := issueFor(key, "Same", nil, ca)
	var others []*x509.Certificate
	for i := range 60 {
		name := fmt.Sprint("CA", i%3)
		others = append(others, issueFor(key, name, &identity{issueFor(key, fmt.Sprint("CA", (i+1)%3), nil, ca).cert, key}, ca).cert)
	}
	leaf := issueFor(key, "Leaf", &identity{others[0], key}, nil)
	begin := time.Now()
	if _, err := New([]*x509.Certificate{root.cert}, nil, nil).Verify(leaf.cert, Options{At: now, Others: append(others, same.cert)}); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

func TestNames(t *testing.T) {
	value := func(tag int, b string) []byte {
		v := asn1.RawValue{Tag: tag, Bytes: []byte(b)}
		return must(asn1.Marshal([]relativeSET{{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: v}}}))
	}
	amt := parseName(value(asn1.TagUTF8String, "Büro  für Amt"))
	for name, der := range map[string][]byte{
		"case, spaces": value(asn1.TagUTF8String, " BÜRO FÜR\tamt "),
		"Latin-1":      value(asn1.TagT61String, "B\xfcro f\xfcr Amt"),
		"BMP":          value(asn1.TagBMPString, "\x00B\x00\xfc\x00r\x00o\x00 \x00f\x00\xfc\x00r\x00 \x00A\x00m\x00t"),
		"universal":    value(tagUniversal, "\x00\x00\x00B\x00\x00\x00\xfc\x00\x00\x00r\x00\x00\x00o\x00\x00\x00 \x00\x00\x00f\x00\x00\x00\xfc\x00\x00\x00r\x00\x00\x00 \x00\x00\x00A\x00\x00\x00m\x00\x00\x00t"),
		"decomposed":   value(asn1.TagUTF8String, "Bu\u0308ro fu\u0308r Amt"),
	} {
		if !parseName(der).equal(amt) {
			t.Errorf("%s: %q is not %q", name, parseName(der), amt)
		}
	}
	for name, der := range map[string][]byte{
		"another": value(asn1.TagUTF8String, "Buro fur Amt"), "odd BMP": value(asn1.TagBMPString, "\x00B\x00"), "octets": value(asn1.TagOctetString, "Büro  für Amt"), "broken": {0x30, 5}, "nothing": {},
	} {
		if parseName(der).equal(amt) {
			t.Errorf("%s: %q", name, parseName(der))
		}
	}
	if len(parseName([]byte{0x30, 0})) != 0 || !amt.under(nil) || !amt.under(amt) || name(nil).under(amt) {
		t.Error("subtrees")
	}
}

// FuzzVerify wants no panic and no endless work, whatever names, constraints
// and policies stand in certificates that crypto/x509 reads.
func FuzzVerify(f *testing.F) {
	root := issue("Root", nil, ca)
	middle := issue("Middle", &root, both(ca, func(c *x509.Certificate) {
		c.PermittedEmailAddresses, c.Policies = []string{"bl.example"}, []x509.OID{must(x509.ParseOID("2.5.29.32.0"))}
	}))
	leaf := issue("Leaf", &middle, func(c *x509.Certificate) { c.EmailAddresses = []string{"amt@bl.example"} })
	f.Add(leaf.cert.Raw, middle.cert.Raw)
	f.Add(middle.cert.Raw, root.cert.Raw)
	anchors := New([]*x509.Certificate{root.cert}, nil, nil)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		c, err := x509.ParseCertificate(a)
		if err != nil {
			return
		}
		m := anchors.memory
		o := Options{At: now, Explicit: len(b)%2 == 0}
		if other, err := x509.ParseCertificate(b); err == nil {
			o.Others = []*x509.Certificate{other, c}
			// Without signatures in the way, the rules alone.
			_ = chain{m.step(c), m.step(other), m.step(root.cert)}.check(o)
		}
		if p, err := anchors.Verify(c, o); err == nil && p.Certificates[len(p.Certificates)-1] != root.cert {
			t.Errorf("a path to %s", p.Certificates[len(p.Certificates)-1].Subject)
		}
	})
}
