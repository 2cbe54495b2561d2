package pdfsig

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/pdfdoc"
	"gatewayd/message"
)

func flipped(b []byte, at int) []byte {
	out := bytes.Clone(b)
	out[at] ^= 1
	return out
}

// shadow appends an incremental update that puts another text on the page.
func shadow(pdf []byte) []byte {
	var b bytes.Buffer
	b.Write(pdf)
	at := b.Len()
	stream := "BT /F1 12 Tf 30 700 Td (GEFAELSCHT) Tj ET"
	fmt.Fprintf(&b, "4 0 obj\n<</Length %d>>\nstream\n%s\nendstream\nendobj\n", len(stream), stream)
	start := b.Len()
	fmt.Fprintf(&b, "xref\n4 1\n%010d 00000 n\r\ntrailer\n<</Size 20 /Root 7 0 R /Prev 0>>\nstartxref\n%d\n%%%%EOF\n", at, start)
	return b.Bytes()
}

func verdict(t *testing.T, pdf []byte, o VerifyOptions) Report {
	t.Helper()
	r, err := Verify(pdf, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVerdicts(t *testing.T) {
	p := testPKI()
	plain := receipt(t, true, 1)
	signed := sign(t, plain, p.ec)
	trusting := VerifyOptions{Roots: p.roots}
	for _, c := range []struct {
		name string
		pdf  []byte
		o    VerifyOptions
		want message.Authenticity
	}{
		{"unsigned", plain, trusting, message.Unsigned},
		{"unsigned, marker in the text", receipt(t, false, 1), trusting, message.Unsigned},
		{"signed", signed, trusting, message.Verified},
		{"signed, checked at a day", signed, VerifyOptions{Roots: p.roots, At: now.AddDate(0, 1, 0)}, message.Verified},
		{"certificate no longer good", signed, VerifyOptions{Roots: p.roots, At: now.AddDate(5, 0, 0)}, message.Untrusted},
		{"no anchors", signed, VerifyOptions{}, message.Untrusted},
		{"other anchors", signed, VerifyOptions{Roots: x509.NewCertPool()}, message.Untrusted},
		{"stranger of the same name", sign(t, plain, p.stranger), trusting, message.Untrusted},
		{"short key", sign(t, plain, p.short), trusting, message.Untrusted},
		{"signed twice", sign(t, signed, p.rsa2048), trusting, message.Verified},
		{"stranger signs behind the platform", sign(t, signed, p.stranger), trusting, message.Untrusted},
		{"shadow update", shadow(signed), trusting, message.Forged},
		{"shadow update, signed by a stranger", sign(t, shadowOf(t, signed), p.stranger), trusting, message.Untrusted},
		{"newline behind", append(bytes.Clone(signed), '\n'), trusting, message.Forged},
		{"NUL behind", append(bytes.Clone(signed), 0), trusting, message.Forged},
		{"second PDF behind", append(bytes.Clone(signed), plain...), trusting, message.Forged},
		{"junk before", append([]byte("\n"), signed...), trusting, message.Forged},
		{"cut", signed[:len(signed)-1], trusting, message.Forged},
		{"first octet", flipped(signed, 7), trusting, message.Forged},
		{"last octet", flipped(signed, len(signed)-2), trusting, message.Forged},
	} {
		if r := verdict(t, c.pdf, c.o); r.Verdict != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, r.Verdict, r.Detail, c.want)
		}
	}
}

// shadowOf makes an update that pdfdoc.Open can follow.
func shadowOf(t *testing.T, pdf []byte) []byte {
	t.Helper()
	d, err := pdfdoc.Open(pdf)
	if err != nil {
		t.Fatal(err)
	}
	w := writer{offsets: map[int64]int64{}}
	w.buf.Write(pdf)
	w.object(4, []byte("<</Length 0>>\nstream\n\nendstream"))
	w.finish(d, 20)
	return w.buf.Bytes()
}

func TestReport(t *testing.T) {
	p := testPKI()
	for _, s := range []Signer{p.ec, p.sealer, p.rsa2048} {
		r := verdict(t, sign(t, receipt(t, true, 2), s), VerifyOptions{Roots: p.roots})
		if r.Verdict != message.Verified || !r.Covered || len(r.Signatures) != 1 {
			t.Fatalf("%s: %+v", s.Cert.Subject, r)
		}
		if r.Signer != s.Cert.Subject.String() || !r.Certificate.Equal(s.Cert) {
			t.Errorf("signer %q", r.Signer)
		}
		if !r.SigningTime.Equal(now) {
			t.Errorf("signing time %v, want %v", r.SigningTime, now)
		}
		g := r.Signatures[0]
		if !g.Whole || g.Weak || g.Err != nil || g.ChainErr != nil || len(g.Chain) != 2 ||
			g.Name != "Plattform" || g.Reason != "Abgabequittung" || g.SubFilter != subFilterCAdES {
			t.Errorf("signature %+v", g)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		pdf  []byte
		max  int64
		want error
	}{
		{"empty", nil, 0, ErrNotPDF},
		{"text", []byte("Abgabequittung"), 0, ErrNotPDF},
		{"late header", append(bytes.Repeat([]byte{' '}, 2000), "%PDF-1.4"...), 0, ErrNotPDF},
		{"over the option", receipt(t, true, 1), 100, ErrTooLarge},
		{"over the default", make([]byte, DefaultMaxSize+1), 0, ErrTooLarge},
	} {
		r, err := Verify(c.pdf, VerifyOptions{MaxSize: c.max})
		if !errors.Is(err, c.want) || r.Verdict != message.Unsigned {
			t.Errorf("%s: %s, %v; want %v", c.name, r.Verdict, err, c.want)
		}
	}
}

// forge signs a document whose signature dictionary was rewritten by edit
// after the place for the signature was made; it stands for a signer that
// makes mistakes or plays tricks. Edits must keep the length.
func forge(t *testing.T, s Signer, o cms.SignOptions, edit func(pdf []byte, hole span) []byte) []byte {
	t.Helper()
	sign := func(covered io.Reader, by cms.Signer) ([]byte, error) { return cms.Sign(covered, by, o) }
	return forgeWith(t, s, sign, edit)
}

func forgeWith(t *testing.T, s Signer, sign func(io.Reader, cms.Signer) ([]byte, error), edit func(pdf []byte, hole span) []byte) []byte {
	t.Helper()
	doc, err := pdfdoc.Open(receipt(t, true, 1))
	if err != nil {
		t.Fatal(err)
	}
	out, hole, err := update(doc, reserve(s), Options{Time: now})
	if err != nil {
		t.Fatal(err)
	}
	out = edit(out, hole)
	covered := io.MultiReader(bytes.NewReader(out[:hole.start]), bytes.NewReader(out[hole.end:]))
	der, err := sign(covered, cms.Signer{Cert: s.Cert, Chain: s.Chain, Key: s.Key})
	if err != nil {
		t.Fatal(err)
	}
	hex.Encode(out[hole.start+1:], der)
	return out
}

func replace(t *testing.T, old, new string) func([]byte, span) []byte {
	return func(pdf []byte, _ span) []byte {
		t.Helper()
		if len(old) != len(new) || bytes.Count(pdf, []byte(old)) != 1 {
			t.Fatalf("%q → %q does not fit", old, new)
		}
		return bytes.Replace(pdf, []byte(old), []byte(new), 1)
	}
}

func TestTricks(t *testing.T) {
	p := testPKI()
	same := func(pdf []byte, _ span) []byte { return pdf }
	for _, c := range []struct {
		name string
		edit func([]byte, span) []byte
		o    cms.SignOptions
		want message.Authenticity
	}{
		{"as it should be", same, cms.SignOptions{}, message.Verified},
		{"PKCS #7", replace(t, "/ETSI.CAdES.detached", "/adbe.pkcs7.detached"), cms.SignOptions{Time: now.Add(time.Minute)}, message.Verified},
		{"timestamp only", replace(t, "/ETSI.CAdES.detached", "/ETSI.RFC3161       "), cms.SignOptions{}, message.Unsigned},
		{"unknown kind", replace(t, "/ETSI.CAdES.detached", "/adbe.pkcs7.sha1    "), cms.SignOptions{}, message.Unsigned},
		{"key twice", replace(t, "/Filter /Adobe.PPKLite", "/ByteRange [0 0 0 0]  "), cms.SignOptions{}, message.Forged},
		{"escaped key twice", replace(t, "/Filter /Adobe.PPKLite", "/Content#73 <00>      "), cms.SignOptions{}, message.Forged},
		{"range from elsewhere", func(pdf []byte, _ span) []byte {
			return bytes.Replace(pdf, []byte("/ByteRange [0 "), []byte("/ByteRange [1 "), 1)
		}, cms.SignOptions{}, message.Forged},
	} {
		pdf := forge(t, p.ec, c.o, c.edit)
		if r := verdict(t, pdf, VerifyOptions{Roots: p.roots}); r.Verdict != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, r.Verdict, r.Detail, c.want)
		}
	}
}

// TestContentInside: a signature that brings a content of its own says nothing
// about the document.
func TestContentInside(t *testing.T) {
	p := testPKI()
	sign := func(_ io.Reader, by cms.Signer) ([]byte, error) {
		before, after, err := cms.SignAround(strings.NewReader("other"), by, cms.SignOptions{})
		return slices.Concat(before, []byte("other"), after), err
	}
	pdf := forgeWith(t, p.ec, sign, func(pdf []byte, _ span) []byte { return pdf })
	if r := verdict(t, pdf, VerifyOptions{Roots: p.roots}); r.Verdict != message.Forged {
		t.Errorf("%s (%s)", r.Verdict, r.Detail)
	}
}

var byteRangeNumbers = regexp.MustCompile(`/ByteRange \[0 (\d+) (\d+) (\d+)\]`)

// TestGap hides octets in the only place that no signature covers.
func TestGap(t *testing.T) {
	p := testPKI()
	signed := sign(t, receipt(t, true, 1), p.ec)
	g := verdict(t, signed, VerifyOptions{}).Signatures[0].ByteRange
	for name, hidden := range map[string]string{
		"text": "GEFAELSCHT", "space": "  ", "end of string": ">(x)<0", "fill": "01", "comment": "%0",
	} {
		pdf := bytes.Clone(signed)
		copy(pdf[g[2]-40:], hidden)
		// A dictionary that cannot be read any more is as good as none.
		if r := verdict(t, pdf, VerifyOptions{Roots: p.roots}); r.Verdict != message.Forged && r.Verdict != message.Unsigned {
			t.Errorf("%s in the gap: %s (%s)", name, r.Verdict, r.Detail)
		}
	}
	if !byteRangeNumbers.Match(signed) {
		t.Error("ByteRange is not written as expected")
	}
}

// TestEveryOctet changes octets all over a signed document: no change may
// leave it Verified, save in the digits' case or the unsigned parts of CMS.
func TestEveryOctet(t *testing.T) {
	p := testPKI()
	signed := sign(t, receipt(t, true, 1), p.ec)
	g := verdict(t, signed, VerifyOptions{}).Signatures[0].ByteRange
	step := len(signed)/400 + 1
	for at := 0; at < len(signed); at += step {
		if int64(at) >= g[1] && int64(at) < g[2] {
			continue
		}
		r, _ := Verify(flipped(signed, at), VerifyOptions{Roots: p.roots})
		if r.Verdict == message.Verified || r.Verdict == message.Untrusted {
			t.Errorf("octet %d changed: %s", at, r.Verdict)
		}
	}
}

// TestHostile makes the search work hard; it must stay quick and say nothing
// good.
func TestHostile(t *testing.T) {
	signed := sign(t, receipt(t, true, 1), testPKI().ec)
	const size = 4 << 20
	for name, fill := range map[string]string{
		"markers":  "/ByteRange",
		"openings": "<</ByteRange",
		"strings":  "<</A(((/ByteRange ",
		"arrays":   "<</A[[[[/ByteRange ",
		"nested":   "<</A ",
		"dicts":    "<</ByteRange[0 1 2 3]/Contents<00>>> ",
		"hex":      "<</A<00 /ByteRange ",
	} {
		pdf := append(bytes.Clone(signed), strings.Repeat(fill, size/len(fill))...)
		pdf = append(pdf, signed...)
		begin := time.Now()
		r, err := Verify(pdf, VerifyOptions{Roots: testPKI().roots})
		if err != nil || r.Verdict == message.Verified {
			t.Errorf("%s: %s, %v", name, r.Verdict, err)
		}
		if d := time.Since(begin); d > time.Minute {
			t.Errorf("%s: took %v", name, d)
		} else {
			t.Logf("%s: %s (%s) in %v", name, r.Verdict, r.Detail, d)
		}
	}
}
