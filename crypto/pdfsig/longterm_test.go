package pdfsig

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/crypto/pdfdoc"
	"gatewayd/message"
)

// base is a signed receipt with what a writer of updates needs of it.
type base struct {
	pdf                        []byte
	doc                        *pdfdoc.Document
	root, page, contents, info int64
	catalog, pageDict          pdfdoc.Dict
	next                       int64 // the first free number
}

func signedBase(t *testing.T) base {
	t.Helper()
	b := base{pdf: sign(t, receipt(t, true, 1), testPKI().ec)}
	var err error
	if b.doc, err = pdfdoc.Open(b.pdf); err != nil {
		t.Fatal(err)
	}
	b.root, _, _ = pdfdoc.Reference(b.doc.Trailer.Get("Root"))
	b.info, _, _ = pdfdoc.Reference(b.doc.Trailer.Get("Info"))
	if b.catalog, err = b.doc.DictAt(b.doc.Trailer.Get("Root")); err != nil {
		t.Fatal(err)
	}
	ref, page, err := b.doc.FirstPage(b.catalog)
	if err != nil {
		t.Fatal(err)
	}
	b.pageDict = page
	b.page, _, _ = pdfdoc.Reference([]byte(ref))
	b.contents, _, _ = pdfdoc.Reference(page.Get("Contents"))
	b.next, _ = pdfdoc.Number(b.doc.Trailer.Get("Size"))
	return b
}

func (b base) infoDict(t *testing.T) pdfdoc.Dict {
	t.Helper()
	d, err := b.doc.DictAt(b.doc.Trailer.Get("Info"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// append writes one update behind pdf.
func (b base) append(t *testing.T, pdf []byte, objects map[int64]string) []byte {
	t.Helper()
	d, err := pdfdoc.Open(pdf)
	if err != nil {
		t.Fatal(err)
	}
	w := writer{offsets: map[int64]int64{}}
	w.buf.Write(pdf)
	for n := range 200 {
		if o, ok := objects[int64(n)]; ok {
			w.object(int64(n), []byte(o))
		}
	}
	w.finish(d, 200)
	return w.buf.Bytes()
}

// field and stamp are what PAdES-LTA appends.
const (
	invisible = "/Rect [0 0 0 0]"
	stamp     = "<</Type /DocTimeStamp /Filter /Adobe.PPKLite /SubFilter /ETSI.RFC3161 /ByteXange [0 1 2 3] /Contents <00>>>"
)

func field(v int64, rest string) string {
	return fmt.Sprintf("<</Type /Annot /Subtype /Widget /FT /Sig /T (ts) /F 132 /V %d 0 R %s>>", v, rest)
}

// lists returns the catalog's form and the page with one more field in each.
func (b base) withField(t *testing.T, n int64) (form, page string) {
	t.Helper()
	f, err := b.doc.DictAt(b.catalog.Get("AcroForm"))
	if err != nil {
		t.Fatal(err)
	}
	grown := func(d pdfdoc.Dict, key string) string {
		raw, err := b.doc.Resolve(d.Get(key))
		if err != nil {
			t.Fatal(err)
		}
		list := strings.TrimSuffix(strings.TrimSpace(string(raw)), "]")
		return string(d.With(key, fmt.Sprintf("%s %d 0 R]", list, n)).Bytes())
	}
	return grown(f, "Fields"), grown(b.pageDict, "Annots")
}

// TestLongTerm: validation data and stamps of the document take nothing from a
// signature; everything else that an update can do is a forgery.
func TestLongTerm(t *testing.T) {
	b := signedBase(t)
	n := b.next
	dss := map[int64]string{
		b.root: string(b.catalog.With("DSS", fmt.Sprintf("%d 0 R", n)).Bytes()),
		n:      fmt.Sprintf("<</Type /DSS /Certs [%d 0 R]>>", n+1),
		n + 1:  "<</Length 3>>\nstream\nabc\nendstream",
	}
	form, page := b.withField(t, n+3)
	inline := func(f string) map[int64]string {
		return map[int64]string{b.root: string(b.catalog.With("AcroForm", form).Bytes()), b.page: page, n + 3: f, n + 4: stamp}
	}
	with := func(o map[int64]string, n int64, raw string) map[int64]string {
		out := map[int64]string{n: raw}
		for k, v := range o {
			if k != n {
				out[k] = v
			}
		}
		return out
	}
	root := func(key, raw string) map[int64]string {
		return with(dss, b.root, string(b.catalog.With("DSS", fmt.Sprintf("%d 0 R", n)).With(key, raw).Bytes()))
	}
	for _, c := range []struct {
		name    string
		objects map[int64]string
		why     string // part of the reason; "": long term
	}{
		{"validation data", dss, ""},
		{"rewritten as it was", map[int64]string{b.page: strings.ReplaceAll(string(b.pageDict.Bytes()), "\n", "  ")}, ""},
		{"a stamp", inline(field(n+4, invisible)), ""},
		{"a stamp without place", inline(field(n+4, "")), ""},
		{"extension named", root("Extensions", "<</ESIC <</BaseVersion /1.7>>>>"), ""},
		{"a form for fonts", inline(field(n+4, invisible+" /DA (/Helv 0 Tf)")), ""},

		{"other pages", root("Pages", fmt.Sprintf("%d 0 R", n+1)), "/Pages"},
		{"an action", root("OpenAction", "<</S /JavaScript /JS (x)>>"), "/OpenAction"},
		{"layers", root("OCProperties", "<<>>"), "/OCProperties"},
		{"a second form", root("AcroForm", "<</NeedAppearances true>>"), "/NeedAppearances"},
		{"another form", root("AcroForm", fmt.Sprintf("%d 0 R", n)), "/Type"},
		{"content replaced", with(dss, b.contents, "<</Length 3>>\nstream\nabc\nendstream"), "content was replaced"},
		{"page replaced", with(dss, b.page, string(b.pageDict.With("Contents", fmt.Sprintf("%d 0 R", n+1)).Bytes())), "/Contents"},
		{"page turned", with(dss, b.page, string(b.pageDict.With("Rotate", "180").Bytes())), "/Rotate"},
		{"annotations gone", with(dss, b.page, string(b.pageDict.With("Annots", "[]").Bytes())), "shortened"},
		{"date of change", with(dss, b.info, string(b.infoDict(t).With("ModDate", "(D:20260101000000Z)").Bytes())), ""},
		{"title replaced", with(dss, b.info, string(b.infoDict(t).With("Title", "(x)").Bytes())), "/Title"},
		{"a field that can be seen", inline(field(n+4, "/Rect [0 0 200 200]")), "can be seen"},
		{"a field without place in numbers", inline(field(n+4, "/Rect [0 0]")), "odd rectangle"},
		{"a field that acts", inline(field(n+4, invisible+" /AA <</E <<>>>>")), "/AA"},
		{"a text field", inline(strings.Replace(field(n+4, invisible), "/Sig", "/Tx", 1)), "no signature"},
		{"a note", inline("<</Type /Annot /Subtype /FreeText /Contents (x) /Rect [0 0 9 9]>>"), "/Contents"},
		{"a field without a value", inline("<</FT /Sig /T (x)>>"), "without a time stamp"},
		{"a field with the old signature", inline(field(1, invisible)), "without a time stamp"},
		{"a field with another signature", with(inline(field(n+4, invisible)), n+4, strings.Replace(stamp, "ETSI.RFC3161", "adbe.pkcs7.detached", 1)), "no time stamp"},
	} {
		pdf := b.append(t, b.pdf, c.objects)
		err := longTermOnly(pdf, int64(len(b.pdf)))
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", c.name, err, c.why)
		}
		r := verdict(t, pdf, VerifyOptions{Roots: testPKI().roots})
		if want := map[bool]message.Authenticity{true: message.Verified, false: message.Forged}[err == nil]; r.Verdict != want {
			t.Errorf("%s: %s (%s), want %s", c.name, r.Verdict, r.Detail, want)
		}
		if err == nil && (r.Signed != int64(len(b.pdf)) || r.Covered || !r.Signatures[0].Decides) {
			t.Errorf("%s: %d octets signed of %d, %v", c.name, r.Signed, len(b.pdf), r.Covered)
		}
	}
}

// TestLongTermTwice: what came before may be replaced by more of it.
func TestLongTermTwice(t *testing.T) {
	b := signedBase(t)
	n := b.next
	once := b.append(t, b.pdf, map[int64]string{
		b.root: string(b.catalog.With("DSS", fmt.Sprintf("%d 0 R", n)).Bytes()),
		n:      fmt.Sprintf("<</Certs %d 0 R>>", n+1),
		n + 1:  fmt.Sprintf("[%d 0 R]", n+2),
		n + 2:  "<</Length 1>>\nstream\na\nendstream",
	})
	for why, objects := range map[string]map[int64]string{
		"": {
			n:     fmt.Sprintf("<</Certs %d 0 R /VRI %d 0 R>>", n+1, n+3),
			n + 1: fmt.Sprintf("[%d 0 R %d 0 R]", n+2, n+4),
			n + 3: "<<>>",
			n + 4: "<</Length 1>>\nstream\nb\nendstream",
		},
		"content was replaced": {n + 2: "<</Length 1>>\nstream\nb\nendstream"},
	} {
		twice := b.append(t, once, objects)
		if err := longTermOnly(twice, int64(len(b.pdf))); (err == nil) != (why == "") || err != nil && !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
}

// TestLongTermTricks plays with what viewers find objects by.
func TestLongTermTricks(t *testing.T) {
	b := signedBase(t)
	n := b.next
	pdf := b.append(t, b.pdf, map[int64]string{n: "<<>>", n + 1: "<</Length 1>>\nstream\na\nendstream"})
	from := len(b.pdf)
	tail := string(pdf[from:])
	if err := longTermOnly(pdf, int64(from)); err != nil {
		t.Fatal(err)
	}
	at := strings.Index(tail, "xref")
	moved := fmt.Sprintf("xref\n%d 1\n%010d 00000 n\r\n", b.contents, bytes.Index(b.pdf, []byte("1 0 obj")))
	for name, forged := range map[string]string{
		"an object points into the signed part":  strings.Replace(tail, "xref\n", moved, 1),
		"an object is deleted":                   strings.Replace(tail, "xref\n", fmt.Sprintf("xref\n%d 1\n0000000000 00001 f\r\n", b.page), 1),
		"an object without cross-reference":      strings.Replace(tail, "xref\n", fmt.Sprintf("%d 0 obj\n<<>>\nendobj\nxref\n", b.contents), 1),
		"startxref in a comment":                 tail + "% startxref 9\n",
		"a second table without startxref":       tail + tail[at:strings.LastIndex(tail, "startxref")],
		"no table":                               tail[:at],
		"another root":                           strings.Replace(tail, fmt.Sprintf("/Root %d 0 R", b.root), fmt.Sprintf("/Root %d 0 R", n), 1),
		"another title":                          strings.Replace(tail, fmt.Sprintf("/Info %d 0 R", b.info), fmt.Sprintf("/Info %d 0 R", n), 1),
		"other revisions":                        strings.Replace(tail, "/Prev ", "/Prev 1", 1),
		"encrypted":                              strings.Replace(tail, "/Prev ", "/Encrypt 1 0 R /Prev ", 1),
		"a stray word":                           tail + "hello\n",
		"a stray value":                          tail + "<<>>\n",
		"a length too short":                     strings.Replace(tail, "/Length 1", "/Length 0", 1),
		"a stream for others than the table's":   strings.Replace(tail, "/Prev ", "/XRefStm 9 /Prev ", 1),
		"another generation":                     strings.Replace(tail, fmt.Sprintf("%d 0 obj", n), fmt.Sprintf("%d 1 obj", n), 1),
		"startxref of the signed part once more": tail[:strings.LastIndex(tail, "startxref")] + fmt.Sprintf("startxref\n%d\n%%%%EOF\n", b.doc.Start),
	} {
		if forged == tail {
			t.Fatalf("%s: nothing was changed", name)
		}
		pdf := append(bytes.Clone(b.pdf), forged...)
		if err := longTermOnly(pdf, int64(from)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestLongTermGap: a number that the signed document refers to, but does not
// have, is no free number.
func TestLongTermGap(t *testing.T) {
	plain := receipt(t, false, 1)
	signed := sign(t, bytes.Replace(plain, []byte("/Encoding /WinAnsiEncoding"), []byte("/Encoding 60 0 R          "), 1), testPKI().ec)
	if !bytes.Contains(signed, []byte("60 0 R")) {
		t.Fatal("the receipt is written in another way now")
	}
	b := signedBase(t)
	for n, want := range map[int64]bool{61: true, 60: false} {
		err := longTermOnly(b.append(t, signed, map[int64]string{n: "<<>>"}), int64(len(signed)))
		if (err == nil) != want {
			t.Errorf("object %d: %v", n, err)
		}
	}
}

// TestLongTermByOthers reads what pyHanko appends: behind the last signature
// stands nothing else; behind one that was signed again much.
func TestLongTermByOthers(t *testing.T) {
	dir := filepath.Join(corpus(t), pyhanko)
	for name, want := range map[string][]bool{
		"pades-lta-dss-indirect-arrs-test.pdf":   {true},
		"pades-lta-dss-indirect-arrs-test-2.pdf": {false, true},
	} {
		pdf, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		r := verdict(t, pdf, VerifyOptions{})
		for i := 0; len(r.Signatures) > 0; r.Signatures = r.Signatures[1:] {
			s := r.Signatures[0]
			if s.Document {
				continue
			}
			if s.Later.LongTerm != want[i] || s.Decides != want[i] {
				t.Errorf("%s: signature %d: %v, decides %v (%s)", name, i, s.Later.LongTerm, s.Decides, s.Later.Other)
			}
			i++
		}
	}
}
