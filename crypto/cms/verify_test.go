package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/ber"
)

// TestVerifyOpenSSL reads what OpenSSL signs, in every form it can write.
func TestVerifyOpenSSL(t *testing.T) {
	need(t, "openssl", "openssl")
	w := testWorld()
	ids := map[string]identity{"middle": w.middle}
	for name, id := range w.keys {
		ids[name] = id
	}
	dir := files(t, ids)
	put(t, dir, "content", []byte(text))
	for _, c := range []struct {
		args     string
		attached bool
		weak     bool
		noCerts  bool
	}{
		{args: "-signer rsa.pem -inkey rsa.key -md sha256"},
		{args: "-signer rsa.pem -inkey rsa.key -md sha384 -nodetach", attached: true},
		{args: "-signer rsa.pem -inkey rsa.key -md sha512 -stream -nodetach", attached: true},
		{args: "-signer rsa.pem -inkey rsa.key -stream -nodetach -noattr", attached: true},
		{args: "-signer rsa.pem -inkey rsa.key -stream", attached: true}, // it attaches then, whatever is asked for
		{args: "-signer rsa.pem -inkey rsa.key -noattr"},
		{args: "-signer rsa.pem -inkey rsa.key -keyid"},
		{args: "-signer rsa.pem -inkey rsa.key -nosmimecap -cades"},
		{args: "-signer rsa.pem -inkey rsa.key -nocerts", noCerts: true},
		{args: "-signer rsa.pem -inkey rsa.key -md sha1", weak: true},
		{args: "-signer rsa.pem -inkey rsa.key -keyopt rsa_padding_mode:pss"},
		{args: "-signer rsa.pem -inkey rsa.key -md sha384 -keyopt rsa_padding_mode:pss -keyopt rsa_pss_saltlen:max"},
		{args: "-signer rsa.pem -inkey rsa.key -keyopt rsa_padding_mode:pss -keyopt rsa_pss_saltlen:0"},
		{args: "-signer rsa.pem -inkey rsa.key -md sha256 -keyopt rsa_padding_mode:pss -keyopt rsa_mgf1_md:sha1"},
		{args: "-signer rsa.pem -inkey rsa.key -md sha384 -keyopt rsa_padding_mode:pss -keyopt rsa_mgf1_md:sha512"},
		{args: "-signer p256.pem -inkey p256.key -md sha256"},
		{args: "-signer p256.pem -inkey p256.key -md sha1", weak: true},
		{args: "-signer p384.pem -inkey p384.key -md sha384 -keyid -stream -nodetach", attached: true},
		{args: "-signer p521.pem -inkey p521.key -md sha512"},
		{args: "-signer p521.pem -inkey p521.key -md sha256 -noattr"},
	} {
		line := "cms -sign -binary -in content -outform DER -out signed -certfile middle.pem " + c.args
		if out, err := openssl(t, dir, line); err != nil {
			t.Fatalf("%s: %v\n%s", c.args, err, out)
		}
		o := VerifyOptions{Trust: TrustPool(w.roots), At: now}
		if c.noCerts {
			o.Certificates = []*x509.Certificate{w.rsa.cert, w.middle.cert}
		}
		r := checkGood(t, c.args, get(t, dir, "signed"), c.attached, o)
		if got := r.Signatures[0]; got.Weak != c.weak || got.ESS != strings.Contains(c.args, "-cades") {
			t.Errorf("%s: %+v", c.args, got)
		}
	}
}

// TestTwoSigners wants both to be good.
func TestTwoSigners(t *testing.T) {
	need(t, "openssl", "openssl")
	w := testWorld()
	dir := files(t, w.keys)
	put(t, dir, "content", []byte(text))
	out, err := openssl(t, dir, "cms -sign -binary -in content -outform DER -out signed -signer rsa.pem -inkey rsa.key -signer p256.pem -inkey p256.key")
	if err != nil {
		t.Fatal(out)
	}
	der := get(t, dir, "signed")
	r, err := Verify(bytes.NewReader(der), strings.NewReader(text), w.trusting())
	if err != nil || len(r.Signatures) != 2 || r.Signatures[0].ChainErr != nil || r.Signatures[1].ChainErr != nil {
		t.Fatalf("%v, %+v", err, r)
	}
	der[len(der)-3] ^= 1 // in the second signature
	r, err = Verify(bytes.NewReader(der), strings.NewReader(text), w.trusting())
	if !errors.Is(err, ErrSignature) || (r.Signatures[0].Err == nil) == (r.Signatures[1].Err == nil) {
		t.Errorf("one signature broken: %v, %+v", err, r)
	}
}

func TestChain(t *testing.T) {
	w := testWorld()
	der := must(Sign(strings.NewReader(text), w.rsa.signer(), SignOptions{Time: now}))
	forged := must(Sign(strings.NewReader(text), w.mallory.signer(), SignOptions{Time: now}))
	untimed := must(Sign(strings.NewReader(text), w.rsa.signer(), SignOptions{}))
	middle := []*x509.Certificate{w.middle.cert}
	for _, c := range []struct {
		name string
		der  []byte
		o    VerifyOptions
		good bool
		want error
	}{
		{"good", der, VerifyOptions{Trust: TrustPool(w.roots), Certificates: middle, At: now}, true, nil},
		{"at the signing time", der, VerifyOptions{Trust: TrustPool(w.roots), Certificates: middle}, true, nil},
		{"time told elsewhere", untimed, VerifyOptions{Trust: TrustPool(w.roots), Certificates: middle, Claimed: now}, true, nil},
		{"no time", untimed, VerifyOptions{Trust: TrustPool(w.roots), Certificates: middle}, false, nil},
		{"no anchors", der, VerifyOptions{Certificates: middle, At: now}, false, ErrNoAnchor},
		{"no intermediate", der, VerifyOptions{Trust: TrustPool(w.roots), At: now}, false, nil},
		{"too late", der, VerifyOptions{Trust: TrustPool(w.roots), Certificates: middle, At: now.AddDate(2, 0, 0)}, false, nil},
		{"too early", der, VerifyOptions{Trust: TrustPool(w.roots), Certificates: middle, At: now.AddDate(-2, 0, 0)}, false, nil},
		{"other purpose", der, VerifyOptions{Trust: TrustPool(w.roots), Certificates: middle, At: now}, true, nil}, // no EKU: any
		{"mallory", forged, VerifyOptions{Trust: TrustPool(w.roots), Certificates: middle, At: now}, false, nil},
	} {
		r, err := Verify(bytes.NewReader(c.der), strings.NewReader(text), c.o)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		s := r.Signatures[0]
		if (s.ChainErr == nil) != c.good || c.want != nil && !errors.Is(s.ChainErr, c.want) || (s.Chain != nil) != c.good {
			t.Errorf("%s: %v", c.name, s.ChainErr)
		}
	}
	ca := must(Sign(strings.NewReader(text), w.middle.signer(), SignOptions{}))
	if r := must(Verify(bytes.NewReader(ca), strings.NewReader(text), w.trusting())); r.Signatures[0].ChainErr == nil {
		t.Error("a certificate that is not made for signatures was taken")
	}
}

// crafted builds a SignedData by hand, so that each part can be wrong.
type crafted struct {
	id         identity
	content    []byte
	attached   bool
	kind       asn1.ObjectIdentifier
	hash       stdcrypto.Hash
	digests    [][]byte // announced; nil: that of hash
	attributes [][]byte // in this order; nil: no attributes
	method     []byte
	who        []byte
	certs      [][]byte
	signature  []byte
	none       bool // no signer
	tail       []byte
}

func (c crafted) der() []byte {
	h := stdcrypto.SHA256
	if c.hash != 0 {
		h = c.hash
	}
	kind := c.kind
	if kind == nil {
		kind = oidData
	}
	if c.digests == nil {
		c.digests = [][]byte{digestAlgorithm(h)}
	}
	if c.method == nil {
		c.method = ber.Wrap(ber.Sequence, oid(oidRSA), null())
	}
	if c.who == nil {
		c.who = ber.Wrap(ber.Sequence, c.id.cert.RawIssuer, serial(c.id.cert))
	}
	if c.certs == nil {
		c.certs = [][]byte{c.id.cert.Raw}
	}
	var attributes []byte
	message := c.content
	if c.attributes != nil {
		attributes = ber.Wrap(ber.Context0, c.attributes...)
		message = ber.Wrap(ber.Set, c.attributes...)
	}
	sum := h.New()
	sum.Write(message)
	if c.signature == nil {
		c.signature = must(c.id.key.Sign(rand.Reader, sum.Sum(nil), h))
	}
	info := ber.Wrap(ber.Sequence, version(1), c.who, digestAlgorithm(h), attributes, c.method, ber.Wrap(ber.OctetString, c.signature))
	if c.none {
		info = nil
	}
	encapsulated := oid(kind)
	if c.attached {
		encapsulated = slices.Concat(encapsulated, ber.Wrap(ber.Context0, ber.Wrap(ber.OctetString, c.content)))
	}
	signed := ber.Wrap(ber.Sequence, version(1), ber.Wrap(ber.Set, c.digests...), ber.Wrap(ber.Sequence, encapsulated),
		ber.Wrap(ber.Context0, c.certs...), ber.Wrap(ber.Set, info))
	return append(ber.Wrap(ber.Sequence, oid(oidSignedData), ber.Wrap(ber.Context0, signed)), c.tail...)
}

func ess(id asn1.ObjectIdentifier, hash []byte, algorithm []byte) []byte {
	return attribute(id, ber.Wrap(ber.Sequence, ber.Wrap(ber.Sequence, ber.Wrap(ber.Sequence, algorithm, ber.Wrap(ber.OctetString, hash)))))
}

func TestCrafted(t *testing.T) {
	w := testWorld()
	content := []byte(text)
	sum := sha256.Sum256(content)
	cert := sha256.Sum256(w.rsa.cert.Raw)
	cert1 := sha1.Sum(w.rsa.cert.Raw)
	cert512 := sha512.Sum512(w.rsa.cert.Raw)
	kind := attribute(oidContentType, oid(oidData))
	digest := attribute(oidMessageDigest, ber.Wrap(ber.OctetString, sum[:]))
	other := attribute(oidMessageDigest, ber.Wrap(ber.OctetString, make([]byte, 32)))
	at := attribute(oidSigningTime, utcOrGeneralized(now))
	tsa := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	base := crafted{id: w.rsa, content: content, attributes: [][]byte{kind, at, digest}}
	with := func(edit func(c *crafted)) []byte {
		c := base
		edit(&c)
		return c.der()
	}
	attrs := func(list ...[]byte) []byte { return with(func(c *crafted) { c.attributes = list }) }
	pss := func(p ...[]byte) []byte {
		return with(func(c *crafted) { c.method = ber.Wrap(ber.Sequence, oid(oidPSS), ber.Wrap(ber.Sequence, p...)) })
	}
	for _, c := range []struct {
		name string
		der  []byte
		want error
	}{
		{"good", base.der(), nil},
		{"named digest in the signature", with(func(c *crafted) { c.method = ber.Wrap(ber.Sequence, oid(oidSHA256RSA), null()) }), nil},
		{"unsorted attributes", attrs(digest, kind), nil},
		{"unknown attribute", attrs(kind, digest, attribute(asn1.ObjectIdentifier{1, 2, 3}, null())), nil},
		{"ESS v2", attrs(kind, digest, ess(oidSigningCertV2, cert[:], nil)), nil},
		{"ESS v2, SHA-512", attrs(kind, digest, ess(oidSigningCertV2, cert512[:], digestAlgorithm(stdcrypto.SHA512))), nil},
		{"ESS v1", attrs(kind, digest, ess(oidSigningCert, cert1[:], nil)), nil},
		{"two certificates of the same name", with(func(c *crafted) { c.certs = [][]byte{w.mallory.cert.Raw, w.rsa.cert.Raw, w.rsa.cert.Raw} }), nil},
		{"unreadable certificate beside", with(func(c *crafted) { c.certs = [][]byte{{0x30, 0}, {0xa1, 0}, w.rsa.cert.Raw} }), nil},
		{"NUL behind", with(func(c *crafted) { c.tail = make([]byte, 9) }), nil},

		{"wrong digest", attrs(kind, other), ErrSignature},
		{"digest twice", attrs(kind, digest, digest), ErrSignature},
		{"two digests", attrs(kind, digest, other), ErrSignature},
		{"two values", attrs(kind, ber.Wrap(ber.Sequence, oid(oidMessageDigest), ber.Wrap(ber.Set, ber.Wrap(ber.OctetString, sum[:]), null()))), ErrSignature},
		{"no digest", attrs(kind, at), ErrSignature},
		{"no content type", attrs(digest, at), ErrSignature},
		{"other content type", attrs(attribute(oidContentType, oid(tsa)), digest), ErrSignature},
		{"empty attributes", with(func(c *crafted) { c.attributes = [][]byte{} }), ErrSignature},
		{"time twice", attrs(kind, digest, at, at), ErrSignature},
		{"broken time", attrs(kind, digest, attribute(oidSigningTime, null())), ber.ErrMalformed},
		{"ESS of another", attrs(kind, digest, ess(oidSigningCertV2, make([]byte, 32), nil)), ErrSignature},
		{"ESS v1 good, v2 of another", attrs(kind, digest, ess(oidSigningCertV2, make([]byte, 32), nil), ess(oidSigningCert, cert1[:], nil)), ErrSignature},
		{"ESS empty", attrs(kind, digest, attribute(oidSigningCertV2, ber.Wrap(ber.Sequence, ber.Wrap(ber.Sequence)))), ber.ErrMalformed},
		{"ESS unknown digest", attrs(kind, digest, ess(oidSigningCertV2, cert[:], ber.Wrap(ber.Sequence, oid(asn1.ObjectIdentifier{1, 2, 3})))), ErrUnsupported},
		{"other digest in the signature", with(func(c *crafted) { c.method = ber.Wrap(ber.Sequence, oid(oidSHA512RSA), null()) }), ErrSignature},
		{"unknown signature algorithm", with(func(c *crafted) { c.method = ber.Wrap(ber.Sequence, oid(tsa)) }), ErrUnsupported},
		{"ECDSA by an RSA key", with(func(c *crafted) { c.method = ber.Wrap(ber.Sequence, oid(oidSHA256ECDSA)) }), ErrUnsupported},
		{"PSS defaults", pss(), ErrSignature}, // SHA-1 there, SHA-256 here
		{"PSS unknown mask", pss(ber.Wrap(ber.Context1, ber.Wrap(ber.Sequence, oid(tsa)))), ErrUnsupported},
		{"PSS without parameters", with(func(c *crafted) { c.method = ber.Wrap(ber.Sequence, oid(oidPSS)) }), ber.ErrMalformed},
		{"digest not announced", with(func(c *crafted) { c.digests = [][]byte{digestAlgorithm(stdcrypto.SHA384)} }), ErrSignature},
		{"no certificate", with(func(c *crafted) { c.certs = [][]byte{{}} }), ErrNoSignerKey},
		{"foreign certificate", with(func(c *crafted) { c.certs = [][]byte{w.mallory.cert.Raw} }), ErrNoSignerKey},
		{"wrong signature", with(func(c *crafted) { c.signature = make([]byte, 256) }), ErrSignature},
		{"empty signature", with(func(c *crafted) { c.signature = []byte{} }), ErrSignature},
		{"unknown key identifier", with(func(c *crafted) { c.who = ber.Wrap(ber.Implicit0, []byte("nobody")) }), ErrNoSignerKey},
		{"empty key identifier", with(func(c *crafted) { c.who = ber.Wrap(ber.Implicit0) }), ber.ErrMalformed},
		{"no signer", with(func(c *crafted) { c.none = true }), ErrNotSigned},
		{"content inside too", with(func(c *crafted) { c.attached = true }), ErrSignature},
		{"other type of content", with(func(c *crafted) { c.kind = tsa }), ErrUnsupported},
		{"junk behind", with(func(c *crafted) { c.tail = []byte("x") }), ber.ErrMalformed},
		{"too many certificates", with(func(c *crafted) { c.certs = slices.Repeat([][]byte{{0x30, 0}}, maxItems+1) }), ber.ErrLimit},
		{"too many digests", with(func(c *crafted) {
			c.digests = slices.Repeat([][]byte{digestAlgorithm(stdcrypto.SHA256)}, maxItems+1)
		}), ber.ErrLimit},
	} {
		o := w.trusting()
		r, err := Verify(bytes.NewReader(c.der), bytes.NewReader(content), o)
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if c.want == nil && err == nil && r.Signatures[0].ChainErr != nil {
			t.Errorf("%s: %v", c.name, r.Signatures[0].ChainErr)
		}
	}
}

// TestAttributesAsContent passes the attributes of a signature off as content
// of one without attributes.
func TestAttributesAsContent(t *testing.T) {
	w := testWorld()
	sum := sha256.Sum256([]byte(text))
	set := ber.Wrap(ber.Set, signedAttributes(Signer{Cert: w.rsa.cert}, sum[:], SignOptions{Time: now}))
	c := crafted{id: w.rsa, content: set}
	if _, err := Verify(bytes.NewReader(c.der()), bytes.NewReader(set), w.trusting()); !errors.Is(err, ErrSignature) {
		t.Errorf("attributes taken for content: %v", err)
	}
	c.content = []byte("1 = 1") // begins like a SET, but is text
	if _, err := Verify(bytes.NewReader(c.der()), bytes.NewReader(c.content), w.trusting()); err != nil {
		t.Errorf("harmless content: %v", err)
	}
}

func TestContent(t *testing.T) {
	w := testWorld()
	detached := must(Sign(strings.NewReader(text), w.rsa.signer(), SignOptions{}))
	attached := must(attach(strings.NewReader(text), w.rsa.signer(), SignOptions{}))
	boom := errors.New("boom")
	for _, c := range []struct {
		name    string
		der     []byte
		content io.Reader
		want    error
	}{
		{"changed", detached, strings.NewReader(text + " "), ErrSignature},
		{"cut", detached, strings.NewReader(text[1:]), ErrSignature},
		{"missing", detached, nil, ErrSignature},
		{"broken", detached, io.MultiReader(strings.NewReader(text), errReader{boom}), boom},
		{"both", attached, strings.NewReader(text), ErrSignature},
		{"another object", must(encrypted(w)), nil, ErrNotSigned},
		{"nothing", nil, nil, ber.ErrMalformed},
		{"text", []byte(text), nil, ber.ErrMalformed},
	} {
		if _, err := Verify(bytes.NewReader(c.der), c.content, w.trusting()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	o := w.trusting()
	o.Limits = ber.Limits{Size: 100}
	if _, err := Verify(bytes.NewReader(attached), nil, o); !errors.Is(err, ber.ErrLimit) {
		t.Errorf("limit: %v", err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

// encrypted returns some EnvelopedData for Bob.
func encrypted(w world) ([]byte, error) {
	var b bytes.Buffer
	err := Encrypt(&b, strings.NewReader(text), int64(len(text)), EncryptOptions{Recipients: []*x509.Certificate{w.bob.cert}})
	return b.Bytes(), err
}

// TestEveryBit changes a signed object everywhere. What still verifies must
// say the same about the same content.
func TestEveryBit(t *testing.T) {
	w := testWorld()
	der := must(attach(strings.NewReader(text), w.p256.signer(), SignOptions{Time: now}))
	for at := range der {
		changed := bytes.Clone(der)
		changed[at] ^= 1 << (at % 8)
		var out bytes.Buffer
		o := w.trusting()
		o.Out = &out
		r, err := Verify(bytes.NewReader(changed), nil, o)
		if err != nil || r.Signatures[0].ChainErr != nil {
			continue
		}
		s := r.Signatures[0]
		if out.String() != text || !s.Cert.Equal(w.p256.cert) || !s.SigningTime.Equal(now) {
			t.Errorf("octet %d: verifies as %q by %s", at, out.String(), s.Cert.Subject)
		}
	}
}

// TestHostile: input made to exhaust us ends quickly.
func TestHostile(t *testing.T) {
	w := testWorld()
	prefix := slices.Concat([]byte{0x30, 0x80}, oid(oidSignedData), []byte{0xa0, 0x80, 0x30, 0x80}, version(1), []byte{0x31, 0})
	nested := bytes.Repeat([]byte{0x30, 0x80}, 3_000_000)
	strs := bytes.Repeat([]byte{0x24, 0x80}, 3_000_000)
	content := slices.Concat([]byte{0x30, 0x80}, oid(oidData), []byte{0xa0, 0x80})
	for name, in := range map[string][]byte{
		"nested":              nested,
		"nested, closed":      append(bytes.Clone(nested), make([]byte, 6_000_000)...),
		"nested in content":   slices.Concat(prefix, content, strs),
		"nested certificates": slices.Concat(prefix, content, make([]byte, 4), []byte{0xa0, 0x80}, nested),
		"nested lists":        slices.Concat(prefix, []byte{0x30, 13}, oid(oidData), []byte{0xa1, 0x80}, nested),
		"many pieces":         slices.Concat(prefix, content, []byte{0x24, 0x80}, bytes.Repeat([]byte{4, 0}, 3_000_000)),
	} {
		for how, read := range map[string]func() error{
			"verify":  func() error { _, err := Verify(bytes.NewReader(in), nil, w.trusting()); return err },
			"decrypt": func() error { _, err := Decrypt(io.Discard, bytes.NewReader(in), nil, ber.Limits{}); return err },
		} {
			begin := time.Now()
			if err := read(); err == nil {
				t.Errorf("%s, %s: no error", name, how)
			}
			if d := time.Since(begin); d > time.Minute || strings.HasPrefix(name, "nested") && d > 20*time.Second {
				t.Errorf("%s, %s: took %v", name, how, d)
			}
		}
	}
}

// TestManySigners: a thousand signers of one key are not a thousand checks.
func TestManySigners(t *testing.T) {
	w := testWorld()
	der := must(Sign(strings.NewReader(text), w.rsa.signer(), SignOptions{}))
	r := ber.NewReader(bytes.NewReader(der), ber.Limits{})
	for _, id := range []byte{ber.Sequence, 0, ber.Context0, ber.Sequence, 0, 0, 0, 0, ber.Set} {
		var err error
		if id == 0 {
			err = r.Skip()
		} else {
			err = r.Enter(id)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	info := must(r.Element(maxPart))
	many := ber.Wrap(ber.Sequence, oid(oidSignedData), ber.Wrap(ber.Context0, ber.Wrap(ber.Sequence, version(1),
		ber.Wrap(ber.Set, digestAlgorithm(stdcrypto.SHA256)), ber.Wrap(ber.Sequence, oid(oidData)),
		ber.Wrap(ber.Context0, w.rsa.cert.Raw), ber.Wrap(ber.Set, bytes.Repeat(info, 1000)))))
	if _, err := Verify(bytes.NewReader(many), strings.NewReader(text), w.trusting()); !errors.Is(err, ber.ErrLimit) {
		t.Errorf("%v", err)
	}
}

func TestErrorsTellNoContent(t *testing.T) {
	w := testWorld()
	der := must(attach(strings.NewReader(text), w.rsa.signer(), SignOptions{}))
	for at := range der {
		changed := bytes.Clone(der)
		changed[at] ^= 0xff
		if _, err := Verify(bytes.NewReader(changed), nil, w.trusting()); err != nil && strings.Contains(fmt.Sprint(err), "Verf") {
			t.Fatalf("octet %d: %v", at, err)
		}
	}
}

// TestPSSKey reads signatures of a key that is marked for PSS only, which
// crypto/x509 does not know.
func TestPSSKey(t *testing.T) {
	need(t, "openssl", "openssl")
	dir := t.TempDir()
	put(t, dir, "content", []byte(text))
	for _, line := range []string{
		"req -x509 -newkey rsa-pss -pkeyopt rsa_keygen_bits:2048 -keyout pss.key -out pss.pem -nodes -subj /CN=pss -days 30 -sha256",
		"cms -sign -binary -in content -outform DER -out signed -signer pss.pem -inkey pss.key -md sha256 -keyopt rsa_padding_mode:pss",
	} {
		if out, err := openssl(t, dir, line); err != nil {
			t.Fatal(out)
		}
	}
	der := get(t, dir, "signed")
	r, err := Verify(bytes.NewReader(der), strings.NewReader(text), VerifyOptions{})
	if err != nil || r.Signatures[0].Cert.PublicKey != nil || r.Signatures[0].Weak {
		t.Fatalf("%v, %+v", err, r)
	}
	if _, err := Verify(bytes.NewReader(der), strings.NewReader("x"+text), VerifyOptions{}); !errors.Is(err, ErrSignature) {
		t.Errorf("other content: %v", err)
	}
	for name, spki := range map[string][]byte{
		"no key":       {},
		"not DER":      {1},
		"other kind":   ber.Wrap(ber.Sequence, ber.Wrap(ber.Sequence, oid(oidData)), ber.Wrap(3, []byte{0})),
		"broken key":   ber.Wrap(ber.Sequence, ber.Wrap(ber.Sequence, oid(oidPSS)), ber.Wrap(3, []byte{0, 1})),
		"negative key": ber.Wrap(ber.Sequence, ber.Wrap(ber.Sequence, oid(oidPSS)), ber.Wrap(3, []byte{0}, ber.Wrap(ber.Sequence, []byte{2, 1, 0xff, 2, 1, 3}))),
	} {
		c := &x509.Certificate{RawSubjectPublicKeyInfo: spki}
		if k, err := PublicKey(c); err == nil || !weakKey(c) {
			t.Errorf("%s: %v", name, k)
		}
	}
}

func TestEd25519Forms(t *testing.T) {
	w := testWorld()
	sum := sha512.Sum512([]byte(text))
	attributes := signedAttributes(Signer{Cert: w.keys["ed25519"].cert}, sum[:], SignOptions{Time: now})
	good := crafted{
		id: w.keys["ed25519"], content: []byte(text), hash: stdcrypto.SHA512, attributes: [][]byte{attributes},
		method:    ber.Wrap(ber.Sequence, oid(oidEd25519)),
		signature: must(w.keys["ed25519"].key.Sign(nil, ber.Wrap(ber.Set, attributes), stdcrypto.Hash(0))),
	}
	plain, method, changed := good, good, good
	plain.attributes = nil
	method.method = ber.Wrap(ber.Sequence, oid(oidRSA))
	changed.signature = make([]byte, 64)
	for name, c := range map[string]struct {
		in   crafted
		want error
	}{"good": {good, nil}, "no attributes": {plain, ErrUnsupported}, "RSA": {method, ErrUnsupported}, "changed": {changed, ErrSignature}} {
		_, err := Verify(bytes.NewReader(c.in.der()), strings.NewReader(text), w.trusting())
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
