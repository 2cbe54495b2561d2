package pdfsig

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
)

func TestSignKeepsTheDocument(t *testing.T) {
	for _, pages := range []int{1, 3, 40} {
		pdf := receipt(t, true, pages)
		out := sign(t, pdf, testPKI().ec)
		if !bytes.HasPrefix(out, pdf) {
			t.Errorf("%d pages: octets of the document changed", pages)
		}
		d, err := openDocument(out)
		if err != nil {
			t.Fatal(err)
		}
		root, err := d.dictAt(d.trailer.get("Root"))
		if err != nil || !bytes.Contains(root.get("AcroForm"), []byte("/SigFlags 3")) || root.find("Pages") == nil {
			t.Errorf("catalogue %s, %v", root.bytes(), err)
		}
		_, page, err := d.firstPage(root)
		if err != nil || page.find("Annots") == nil || page.find("Contents") == nil {
			t.Errorf("page %s, %v", page.bytes(), err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	good := receipt(t, true, 1)
	s := testPKI().ec
	at := Options{Time: now}
	edited := func(old, new string) []byte { return bytes.Replace(good, []byte(old), []byte(new), 1) }
	for _, c := range []struct {
		name string
		pdf  []byte
		s    Signer
		o    Options
		want error // nil: any
	}{
		{"no key", good, Signer{Cert: s.Cert}, at, nil},
		{"no time", good, s, Options{}, nil},
		{"foreign key", good, Signer{Cert: s.Cert, Key: testPKI().stranger.Key}, at, nil},
		{"no PDF", []byte("x"), s, at, ErrNotPDF},
		{"too large", good, s, Options{Time: now, MaxSize: 10}, ErrTooLarge},
		{"no startxref", edited("startxref", "startxxxx"), s, at, ErrMalformed},
		{"no table", edited("\nxref\n", "\nxrfe\n"), s, at, ErrUnsupported},
		{"encrypted", edited("/Size", "/Encrypt 1 0 R /Size"), s, at, ErrUnsupported},
		{"hybrid", edited("/Size", "/XRefStm 9 /Size"), s, at, ErrUnsupported},
		{"no size", edited("/Size", "/Sizf"), s, at, ErrMalformed},
		{"loop", loop(good), s, at, ErrMalformed},
	} {
		if _, err := Sign(c.pdf, c.s, c.o); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// loop makes the cross-reference chain point at itself.
func loop(pdf []byte) []byte {
	at, err := startxref(pdf)
	if err != nil {
		panic(err)
	}
	return bytes.Replace(pdf, []byte("/Size"), fmt.Appendf(nil, "/Prev %d /Size", at), 1)
}

// TestPoppler asks another reader.
func TestPoppler(t *testing.T) {
	need(t, "pdfsig", "poppler-utils")
	p := testPKI()
	once := sign(t, receipt(t, true, 2), p.ec)
	pss, err := Sign(receipt(t, false, 1), p.rsa2048, Options{Name: "Plattform (ü)", Location: `Bern \ (BE)`, Time: now, PSS: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, pdf := range map[string][]byte{
		"EC P-256": once, "EC P-384": sign(t, receipt(t, true, 1), p.sealer),
		"RSA": sign(t, receipt(t, false, 1), p.rsa2048), "RSA-PSS": pss, "twice": sign(t, once, p.rsa2048),
	} {
		out, err := exec.Command("pdfsig", "-nocert", write(t, "signed.pdf", pdf)).CombinedOutput()
		text := string(out)
		if err != nil || strings.Count(text, "Signature is Valid") != strings.Count(text, "Signature #") ||
			!strings.Contains(text, "Total document signed") || !strings.Contains(text, "Signing Time: Nov 23 2026 ") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
		if r := verdict(t, pdf, VerifyOptions{Roots: p.roots}); r.Verdict != message.Verified {
			t.Errorf("%s: %s (%s)", name, r.Verdict, r.Detail)
		}
	}
}

// TestOpenSSL takes the CMS out of the file and asks OpenSSL.
func TestOpenSSL(t *testing.T) {
	need(t, "openssl", "openssl")
	p := testPKI()
	pdf := sign(t, receipt(t, true, 1), p.rsa2048)
	g := verdict(t, pdf, VerifyOptions{}).Signatures[0].ByteRange
	der, err := contents(pdf[g[1]:g[2]])
	if err != nil {
		t.Fatal(err)
	}
	content := append(bytes.Clone(pdf[:g[1]]), pdf[g[2]:]...)
	out, err := exec.Command("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", write(t, "sig.der", der),
		"-content", write(t, "content", content), "-out", os.DevNull, "-cades",
		"-CAfile", write(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.ca.Raw})),
		"-purpose", "any", "-attime", fmt.Sprint(now.Unix())).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "successful") {
		t.Errorf("openssl: %v\n%s", err, out)
	}
}

// TestPopplerDisagrees shows that the tests of the oracle itself work: both
// see the shadow update.
func TestPopplerDisagrees(t *testing.T) {
	need(t, "pdfsig", "poppler-utils")
	out, err := exec.Command("pdfsig", "-nocert", write(t, "shadow.pdf", shadow(sign(t, receipt(t, true, 1), testPKI().ec)))).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Not total document signed") {
		t.Errorf("pdfsig: %v\n%s", err, out)
	}
}

func TestTimes(t *testing.T) {
	for text, want := range map[string]time.Time{
		"(D:20261123140506+01'00')":            now,
		"(D:20261123140506+01'00)":             now,
		"(D:20261123130506Z)":                  now,
		"(D:20261123130506Z00'00')":            now,
		"(D:20261123130506)":                   now,
		"<443A32303236313132333133303530365A>": now,
		"(yesterday)":                          {},
		"":                                     {},
	} {
		if got := readTime([]byte(text)); !got.Equal(want) {
			t.Errorf("readTime(%s) = %v, want %v", text, got, want)
		}
	}
	if got := readTime([]byte("(" + formatTime(now) + ")")); !got.Equal(now) {
		t.Errorf("formatTime does not read back: %v", got)
	}
}

func TestTexts(t *testing.T) {
	for _, s := range []string{"", "Bern", `a(b)c\d`, "Zürich", "日本語 🙂", "a\nb"} {
		if got := readText([]byte(textString(s))); got != s {
			t.Errorf("%q reads back as %q", s, got)
		}
	}
	for raw, want := range map[string]string{
		`(a\101\n\(x\)\\)`: "aA\n(x)\\", `(\1a\12)`: "\x01a\n", "(a\\\nb)": "ab", "<4x>": "", "/Name": "",
		`(a\`: "a",
	} {
		if got := readText([]byte(raw)); got != want {
			t.Errorf("readText(%s) = %q, want %q", raw, got, want)
		}
	}
}
