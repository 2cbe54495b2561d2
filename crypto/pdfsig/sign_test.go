package pdfsig

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/pdfdoc"
	"gatewayd/message"
)

func TestSignKeepsTheDocument(t *testing.T) {
	for _, pages := range []int{1, 3, 40} {
		pdf := receipt(t, true, pages)
		out := sign(t, pdf, testPKI().ec)
		if !bytes.HasPrefix(out, pdf) {
			t.Errorf("%d pages: octets of the document changed", pages)
		}
		d, err := pdfdoc.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		root, err := d.DictAt(d.Trailer.Get("Root"))
		if err != nil || !bytes.Contains(root.Get("AcroForm"), []byte("/SigFlags 3")) || root.Find("Pages") == nil {
			t.Errorf("catalogue %s, %v", root.Bytes(), err)
		}
		_, page, err := d.FirstPage(root)
		if err != nil || page.Find("Annots") == nil || page.Find("Contents") == nil {
			t.Errorf("page %s, %v", page.Bytes(), err)
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
		{"no table", edited("\nxref\n", "\nxrfe\n"), s, at, ErrMalformed},
		{"encrypted", edited("/Size", "/Encrypt 1 0 R /Size"), s, at, ErrUnsupported},
		{"hybrid", edited("/Size", "/XRefStm 9 /Size"), s, at, ErrMalformed},
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
	at, err := pdfdoc.Startxref(pdf)
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

// build writes a PDF of hand-made objects; the first is the catalogue.
func build(objects ...string) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.7\n")
	offsets := make([]int, len(objects))
	for i, o := range objects {
		offsets[i] = b.Len()
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	at := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, o := range offsets {
		fmt.Fprintf(&b, "%010d 00000 n \n", o)
	}
	fmt.Fprintf(&b, "trailer\n<</Size %d /Root 1 0 R>>\nstartxref\n%d\n%%%%EOF", len(objects)+1, at)
	return b.Bytes()
}

// TestShapes signs documents that keep forms, fields, annotations and kids in
// objects of their own, and refuses broken ones.
func TestShapes(t *testing.T) {
	const page = "<</Type/Page/Parent 2 0 R/MediaBox[0 0 10 10]/Annots 5 0 R>>"
	pages := "<</Type/Pages/Count 1/Kids 4 0 R>>"
	link := "<</Type/Annot/Subtype/Link/Rect[0 0 1 1]>>"
	for _, c := range []struct {
		name    string
		objects []string
		good    bool
	}{
		{"everything by reference", []string{"<</Type/Catalog/Pages 2 0 R/AcroForm 7 0 R/A#20B(x)>>", pages, page, "[3 0 R]", "[6 0 R]", link, "<</Fields 8 0 R/DA()>>", "[]"}, true},
		{"comments and strings", []string{"<</Type/Catalog % >> \n/Pages 2 0 R/X(\\)>>(>>))/Y<3e3e>>>", pages, page, "[ 3 0 R]", "[]"}, true},
		{"annotations are a name", []string{"<</Pages 2 0 R>>", pages, page, "[3 0 R]", "/None"}, false},
		{"no kids", []string{"<</Pages 2 0 R>>", pages, page, "[]", "[]"}, false},
		{"kids loop", []string{"<</Pages 2 0 R>>", pages, page, "[2 0 R]", "[]"}, false},
		{"kids are missing", []string{"<</Pages 2 0 R>>", "<</Kids 9 0 R>>", page}, false},
		{"kids are no array", []string{"<</Pages 2 0 R>>", "<</Kids 3 0 R>>", page}, false},
		{"direct page", []string{"<</Pages 2 0 R>>", "<</Kids[<</Type/Page>>]>>"}, false},
		{"no pages", []string{"<</Type/Catalog>>"}, false},
		{"catalogue is an array", []string{"[]"}, false},
		{"form is a number", []string{"<</Pages 2 0 R/AcroForm 7>>", pages, page, "[3 0 R]", "[]"}, false},
		{"fields are a number", []string{"<</Pages 2 0 R/AcroForm<</Fields 7>>>>", pages, page, "[3 0 R]", "[]"}, false},
		{"unclosed catalogue", []string{"<</Pages 2 0 R"}, false},
		{"unclosed string", []string{"<</Pages (2 0 R>>"}, false},
		{"unclosed hex", []string{"<</Pages <20"}, false},
		{"deep", []string{"<</X" + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "/Pages 2 0 R>>"}, false},
		{"stray delimiter", []string{"<</Pages 2 0 R/X ) >>"}, false},
		{"key without value", []string{"<</Pages>>"}, false},
		{"number as key", []string{"<<1 2>>"}, false},
	} {
		pdf := build(c.objects...)
		out, err := Sign(pdf, testPKI().ec, Options{Time: now})
		if (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s: unclear error %v", c.name, err)
			}
			continue
		}
		if r := verdict(t, out, VerifyOptions{Roots: testPKI().roots}); r.Verdict != message.Verified {
			t.Errorf("%s: %s (%s)", c.name, r.Verdict, r.Detail)
		}
		if got := poppler(t, out); !strings.Contains(got, "Signature is Valid") || !strings.Contains(got, "Total document signed") {
			t.Errorf("%s: pdfsig says %s", c.name, got)
		}
	}
}

// poppler returns what pdfsig says; where it is missing, what one hopes for.
func poppler(t *testing.T, pdf []byte) string {
	t.Helper()
	if _, err := exec.LookPath("pdfsig"); err != nil {
		return "Signature is Valid, Total document signed"
	}
	out, _ := exec.Command("pdfsig", "-nocert", write(t, "a.pdf", pdf)).CombinedOutput()
	return string(out)
}

// TestSignCorpus signs other makers' documents where that is possible.
func TestSignCorpus(t *testing.T) {
	dir := corpus(t)
	signed := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".pdf" {
			return err
		}
		pdf, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		before, _ := Verify(pdf, VerifyOptions{})
		out, err := Sign(pdf, testPKI().ec, Options{Time: now})
		if err != nil || before.Verdict != message.Unsigned {
			return nil
		}
		signed++
		if r := verdict(t, out, VerifyOptions{Roots: testPKI().roots}); r.Verdict != message.Verified {
			t.Errorf("%s: %s (%s)", e.Name(), r.Verdict, r.Detail)
		}
		if got := poppler(t, out); !strings.Contains(got, "Signature is Valid") || !strings.Contains(got, "Total document signed") {
			t.Errorf("%s: pdfsig says %s", e.Name(), got)
		}
		return nil
	})
	if err != nil || signed < 20 {
		t.Errorf("%d documents signed, %v", signed, err)
	}
}
