package pdfsig

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/pdfdoc"
	"gatewayd/message"
)

// The attacks of "Shadow Attacks: Hiding and Replacing Content in Signed PDFs"
// (NDSS 2021), "1 Trillion Dollar Refund" (CCS 2019: USF, ISA, SWA) and "Breaking
// the Specification: PDF Certification" (S&P 2021: EAA, SSA), built here: the
// published samples are not in the corpora.

// locked signs a document with /Reference in the signature dictionary.
func locked(t testing.TB, pdf []byte, s Signer, reference string) []byte {
	t.Helper()
	doc, err := pdfdoc.Open(pdf)
	if err != nil {
		t.Fatal(err)
	}
	out, hole, err := update(doc, reserve(s), Options{Time: now, Reason: strings.Repeat("x", len(reference))})
	if err != nil {
		t.Fatal(err)
	}
	room := []byte("/Reason (" + strings.Repeat("x", len(reference)) + ")")
	text := fmt.Appendf(nil, "%-*s", len(room), "/Reference "+reference)
	if len(text) > len(room)+len("/Reference ")-len("/Reason ()") || bytes.Count(out, room) != 1 {
		t.Fatal("no room for the reference")
	}
	// The lengths must fit: the reference takes the place of a longer text.
	out = bytes.Replace(out, room, text[:len(room)], 1)
	covered := io.MultiReader(bytes.NewReader(out[:hole.start]), bytes.NewReader(out[hole.end:]))
	der, err := cms.Sign(covered, cms.Signer{Cert: s.Cert, Chain: s.Chain, Key: s.Key}, cms.SignOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hex.Encode(out[hole.start+1:], der)
	return out
}

// certified locks a document by DocMDP.
func certified(t testing.TB, pdf []byte, s Signer, p int) []byte {
	t.Helper()
	return locked(t, pdf, s, fmt.Sprintf("[<</Type /SigRef /TransformMethod /DocMDP /TransformParams <</Type /TransformParams /P %d /V /1.2>>>>]   ", p))
}

// updated appends an incremental update with these objects; trailer is added to the
// one of before.
func updated(t testing.TB, pdf []byte, objects map[int64]string, trailer ...string) []byte {
	t.Helper()
	d, err := pdfdoc.Open(pdf)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(trailer); i += 2 {
		d.Trailer = d.Trailer.With(trailer[i], trailer[i+1])
	}
	w := writer{offsets: map[int64]int64{}}
	w.buf.Write(pdf)
	for n, text := range objects {
		w.object(n, []byte(text))
	}
	size, _ := pdfdoc.Number(d.Trailer.Get("Size"))
	for n := range objects {
		size = max(size, n+1)
	}
	w.finish(d, size)
	return w.buf.Bytes()
}

// parts are the objects that attacks are about.
type parts struct {
	page, root, contents, next int64
	pageDict, rootDict         pdfdoc.Dict
}

func partsOf(t testing.TB, pdf []byte) (p parts) {
	t.Helper()
	d, err := pdfdoc.Open(pdf)
	if err != nil {
		t.Fatal(err)
	}
	p.root, _, _ = pdfdoc.Reference(d.Trailer.Get("Root"))
	if p.rootDict, err = d.DictAt(d.Trailer.Get("Root")); err != nil {
		t.Fatal(err)
	}
	at, page, err := d.FirstPage(p.rootDict)
	if err != nil {
		t.Fatal(err)
	}
	p.page, _, _ = pdfdoc.Reference([]byte(at))
	p.pageDict = page
	p.contents, _, _ = pdfdoc.Reference(page.Get("Contents"))
	p.next, _ = pdfdoc.Number(d.Trailer.Get("Size"))
	return p
}

const fakeText = "BT /F1 12 Tf 30 700 Td (GEFAELSCHT) Tj ET"

func streamOf(text string) string {
	return fmt.Sprintf("<</Length %d>>\nstream\n%s\nendstream", len(text), text)
}

// attacks are updates behind a signature: what is done, and what the reason must
// name.
func attacks(t testing.TB, signed []byte) map[string]struct {
	pdf  []byte
	says string
} {
	t.Helper()
	p := partsOf(t, signed)
	at := func(n int64) string { return fmt.Sprintf("%d 0 R", n) }
	annot := fmt.Sprintf("<</Type /Annot /Subtype /FreeText /Rect [0 0 600 800] /Contents (GEFAELSCHT) /AP <</N %s>>>>", at(p.next+1))
	widget := "<</Type /Annot /Subtype /Widget /Rect [0 0 600 800] /AP <</N " + at(p.next+1) + ">> "
	field, sneaky := widget+"/FT /Tx /T (betrag) /V (1000000)>>", widget+"/FT /Sig /T (s)>>"
	shown := string(p.pageDict.With("Annots", "["+at(p.next)+"]").Bytes())
	form := string(p.rootDict.With("AcroForm", "<</SigFlags 3 /Fields ["+at(p.next)+"]>>").Bytes())
	type attack = struct {
		pdf  []byte
		says string
	}
	return map[string]attack{
		// Hide: an object that covered the content, here an annotation's appearance or
		// an image, is taken away; replace: fonts or form values show something else;
		// hide and replace: the table leads to an object that lay there unseen.
		"shadow: hide":          {updated(t, signed, map[int64]string{p.contents: streamOf("")}), "stream*"},
		"shadow: hide, by page": {updated(t, signed, map[int64]string{p.page: string(p.pageDict.With("Contents", "[]").Bytes())}), "Page*"},
		"shadow: replace font":  {updated(t, signed, map[int64]string{p.next: "<</Type /Font /Subtype /Type3>>", p.page: string(p.pageDict.With("Resources", "<</Font <</F1 "+at(p.next)+">>>>").Bytes())}), "Font 1, Page*"},
		"shadow: replace value": {updated(t, signed, map[int64]string{p.next: field, p.page: shown, p.root: form}), "Annot 1, Catalog*"},
		"shadow: another tree":  {updated(t, signed, map[int64]string{p.next: "<</Type /Catalog /Pages " + at(p.next+1) + ">>", p.next + 1: "<</Type /Pages /Count 1 /Kids [" + at(p.next+2) + "]>>", p.next + 2: "<</Type /Page /MediaBox [0 0 9 9]>>"}, "Root", at(p.next)), "Catalog 1, Page 1, Pages 1"},
		"ISA: content":          {updated(t, signed, map[int64]string{p.contents: streamOf(fakeText)}), "stream*"},
		"ISA: no table":         {fmt.Appendf(bytes.Clone(signed), "%d 0 obj\n%s\nendobj\n", p.contents, streamOf(fakeText)), "stream*"},
		"ISA: no trailer":       {fmt.Appendf(bytes.Clone(signed), "%d 0 obj\n%s\nendobj\nxref\n0 0\n%%%%EOF\n", p.contents, streamOf(fakeText)), "stream*"},
		"EAA":                   {updated(t, signed, map[int64]string{p.next: annot, p.next + 1: streamOf(fakeText), p.page: shown}), "Annot 1"},
		"SSA, unsigned":         {updated(t, signed, map[int64]string{p.next: sneaky, p.next + 1: streamOf(fakeText), p.page: shown, p.root: form}), "Sig field"},
	}
}

// hidden are signed documents (0), and certified ones (1 to 3), in which another
// content lay unseen; a cross-reference table behind leads to it.
func hidden(t testing.TB, plain []byte) (list [4][]byte) {
	t.Helper()
	p := partsOf(t, plain)
	d, err := pdfdoc.Open(plain)
	if err != nil {
		t.Fatal(err)
	}
	good, err := d.Load(p.contents, 0)
	if err != nil {
		t.Fatal(err)
	}
	whole := plain[bytes.Index(plain, good):]
	whole = whole[:bytes.Index(whole, []byte("endobj"))]
	prepared := updated(t, plain, map[int64]string{p.contents: streamOf(fakeText)})
	at := bytes.LastIndex(prepared, fmt.Appendf(nil, "%d 0 obj", p.contents))
	prepared = updated(t, prepared, map[int64]string{p.contents: string(whole)})
	for level := range list {
		pdf := sign(t, prepared, testPKI().ec)
		if level > 0 {
			pdf = certified(t, prepared, testPKI().ec, level)
		}
		d, err := pdfdoc.Open(pdf)
		if err != nil {
			t.Fatal(err)
		}
		w := writer{offsets: map[int64]int64{p.contents: int64(at)}}
		w.buf.Write(pdf)
		size, _ := pdfdoc.Number(d.Trailer.Get("Size"))
		w.finish(d, size)
		list[level] = w.buf.Bytes()
	}
	return list
}

// TestAttacks: whatever is appended to a signed document is refused, and named;
// certified or not.
func TestAttacks(t *testing.T) {
	p := testPKI()
	plain := receipt(t, true, 1)
	documents := map[string][]byte{"signed": sign(t, plain, p.ec)}
	for level, pdf := range hidden(t, plain) {
		if r := verdict(t, pdf, VerifyOptions{Roots: p.roots}); r.Verdict != message.Forged {
			t.Errorf("shadow: hide and replace, P=%d: %s (%s)", level, r.Verdict, r.Detail)
		}
		r := verdict(t, sign(t, pdf, p.rsa2048), VerifyOptions{Roots: p.roots})
		if want := "was moved"; level > 0 && (r.Verdict != message.Forged || !strings.Contains(r.Detail, want)) {
			t.Errorf("shadow: hide and replace, signed again, P=%d: %s (%s), want %q", level, r.Verdict, r.Detail, want)
		}
	}
	for level := 1; level <= 3; level++ {
		documents[fmt.Sprint("certified, P=", level)] = certified(t, plain, p.ec, level)
	}
	for name, pdf := range documents {
		if r := verdict(t, pdf, VerifyOptions{Roots: p.roots}); r.Verdict != message.Verified {
			t.Fatalf("%s: %s (%s)", name, r.Verdict, r.Detail)
		}
		for attack, c := range attacks(t, pdf) {
			r := verdict(t, c.pdf, VerifyOptions{Roots: p.roots})
			named := r.Detail + "; " + r.Signatures[0].Later.String()
			if r.Verdict != message.Forged || !strings.Contains(named, c.says) {
				t.Errorf("%s, %s: %s (%s), want %q", name, attack, r.Verdict, named, c.says)
			}
		}
	}
}

// TestAttackSigned: an attacker who signs what he did (with a certificate under an
// anchor) gets past no certification: EAA and SSA, and every shadow attack.
func TestAttackSigned(t *testing.T) {
	p := testPKI()
	plain := receipt(t, true, 1)
	says := map[string][3]string{ // for P=1, 2, 3
		"shadow: hide":          {"another stream in the place", "another stream in the place", "another stream in the place"},
		"shadow: hide, by page": {"a page with another /Contents", "a page with another /Contents", "a page with another /Contents"},
		"shadow: replace font":  {"a page with another /Resources", "a page with another /Resources", "a page with another /Resources"},
		"shadow: replace value": {"an annotation", "an annotation", "an annotation"},
		"shadow: another tree":  {"a new Catalog", "a new Catalog", "a new Catalog"},
		"ISA: content":          {"another stream", "another stream", "another stream"},
		"EAA":                   {"an annotation", "an annotation", "an annotation"},
		"SSA, unsigned":         {"a signature that is shown", "a signature that is shown", "a signature that is shown"},
	}
	for level := 1; level <= 3; level++ {
		pdf := certified(t, plain, p.ec, level)
		all := attacks(t, pdf)
		for name, want := range says {
			r := verdict(t, sign(t, all[name].pdf, p.rsa2048), VerifyOptions{Roots: p.roots})
			if r.Verdict != message.Forged || !strings.Contains(r.Detail, want[level-1]) {
				t.Errorf("%s, P=%d: %s (%s), want %q", name, level, r.Verdict, r.Detail, want[level-1])
			}
		}
		r := verdict(t, sign(t, pdf, p.rsa2048), VerifyOptions{Roots: p.roots})
		if want := map[bool]message.Authenticity{true: message.Forged, false: message.Verified}[level == 1]; r.Verdict != want {
			t.Errorf("signed once more, P=%d: %s (%s), want %s", level, r.Verdict, r.Detail, want)
		}
	}
}

// TestCertifiedTricks: changes that look as if a later signature needed them.
func TestCertifiedTricks(t *testing.T) {
	p := testPKI()
	pdf := certified(t, updated(t, receipt(t, true, 1), map[int64]string{90: "<</Type /Annot /Subtype /FreeText /Rect [0 0 9 9]>>"}), p.ec, 2)
	o := partsOf(t, pdf)
	with := func(key, raw string) string { return string(o.pageDict.With(key, raw).Bytes()) }
	own := strings.Trim(string(o.pageDict.Get("Annots")), "[]")
	for name, c := range map[string]struct {
		objects map[int64]string
		says    string
	}{
		"page that calls itself DSS":     {map[int64]string{o.page: "<</Certs [] /Contents []>>"}, "another Page in the place"},
		"page that calls itself a form":  {map[int64]string{o.page: "<</SigFlags 3 /Contents []>>"}, "another Page in the place"},
		"page in a signature's dress":    {map[int64]string{o.page: "<</Type /Sig /Contents []>>"}, "another Page in the place"},
		"content as an array":            {map[int64]string{o.contents: "[]"}, "cannot be read"},
		"annotation in the page":         {map[int64]string{o.page: with("Annots", "["+own+" <</Subtype /FreeText /Rect [0 0 9 9]>>]")}, "an annotation"},
		"annotation in an array":         {map[int64]string{o.next: "[<</Subtype /FreeText /Rect [0 0 9 9]>>]", o.page: with("Annots", fmt.Sprint(o.next, " 0 R"))}, "an annotation"},
		"annotation from before":         {map[int64]string{o.page: with("Annots", "["+own+" 90 0 R]")}, "an annotation that was hidden before"},
		"annotation without its type":    {map[int64]string{o.next: "<</Subtype /Stamp /Rect [0 0 9 9]>>", o.page: with("Annots", fmt.Sprintf("[%s %d 0 R]", own, o.next))}, "an annotation"},
		"catalogue that opens something": {map[int64]string{o.root: string(o.rootDict.With("OpenAction", "<</S /JavaScript /JS (x)>>").Bytes())}, "a catalogue with another /OpenAction"},
		"objects in a stream":            {map[int64]string{o.next: "<</Type /ObjStm /N 0 /First 0 /Length 0>>\nstream\n\nendstream"}, "objects in a stream"},
		"page key twice":                 {map[int64]string{o.page: strings.Replace(with("Annots", "["+own+"]"), "<<", "<< /Contents [] ", 1)}, "a page with another /Contents"},
	} {
		r := verdict(t, sign(t, updated(t, pdf, c.objects), p.rsa2048), VerifyOptions{Roots: p.roots})
		if r.Verdict != message.Forged || !strings.Contains(r.Detail, c.says) {
			t.Errorf("%s: %s (%s), want %q", name, r.Verdict, r.Detail, c.says)
		}
	}
	dss := updated(t, pdf, map[int64]string{o.next: "<</Certs [] /OCSPs []>>", o.root: string(o.rootDict.With("DSS", fmt.Sprint(o.next, " 0 R")).Bytes())})
	if r := verdict(t, sign(t, dss, p.rsa2048), VerifyOptions{Roots: p.roots}); r.Verdict != message.Verified {
		t.Errorf("data for validation: %s (%s)", r.Verdict, r.Detail)
	}
}

// TestCertifiedHostile: whoever certifies himself can make the check work no harder
// than the file is long.
func TestCertifiedHostile(t *testing.T) {
	p := testPKI()
	pdf := certified(t, receipt(t, true, 1), p.stranger, 2)
	o := partsOf(t, pdf)
	wide := string(o.pageDict.With("X", "1").Bytes()[2:])
	for name, unit := range map[string]string{
		"same object": fmt.Sprintf("%d 0 obj\n<<%s\nendobj\n", o.page, wide),
		"wide":        fmt.Sprintf("%d 0 obj\n<<%s%s\nendobj\n", o.page, strings.Repeat("/K 1 ", 4000), wide),
		"annotations": fmt.Sprintf("%d 0 obj\n<</Type /Page /Annots [%s]>>\nendobj\n", o.page, strings.Repeat("5 0 R ", 4000)),
		"streams":     fmt.Sprintf("%d 0 obj\n<</Type /ObjStm /N 0 /First 0 /Length 0>>\nstream\n\nendstream\nendobj\n", o.next),
	} {
		many := append(bytes.Clone(pdf), strings.Repeat(unit, (4<<20)/len(unit))...)
		many = append(many, pdf[bytes.LastIndex(pdf, []byte("startxref")):]...)
		begin := time.Now()
		r := verdict(t, sign(t, updated(t, many, nil), p.stranger), VerifyOptions{})
		if d := time.Since(begin); r.Verdict != message.Forged || d > 30*time.Second {
			t.Errorf("%s: %s (%s) in %s", name, r.Verdict, r.Detail, d)
		} else {
			t.Logf("%s: %.80s in %s", name, r.Detail, d)
		}
	}
}

// TestFieldMDP: fields that a signature locks may not be filled in behind it.
func TestFieldMDP(t *testing.T) {
	p := testPKI()
	base := updated(t, receipt(t, true, 1), map[int64]string{90: "<</FT /Tx /T (betrag) /V (1)>>", 91: "<</FT /Tx /T (notiz) /V (1)>>"})
	for name, c := range map[string]struct {
		action  string
		against [2]bool // filling in betrag, notiz
	}{
		"all":        {"/Action /All", [2]bool{true, true}},
		"include":    {"/Action /Include /Fields [(betrag)]", [2]bool{true, false}},
		"exclude":    {"/Action /Exclude /Fields [(betrag)]", [2]bool{false, true}},
		"no fields":  {"/Action /Include", [2]bool{true, true}},
		"unreadable": {"", [2]bool{true, true}},
	} {
		pdf := locked(t, base, p.ec, "[<</Type /SigRef /TransformMethod /FieldMDP /TransformParams <<"+c.action+" /V /1.2>>>>]   ")
		for i, field := range []string{"betrag", "notiz"} {
			filled := updated(t, pdf, map[int64]string{int64(90 + i): "<</FT /Tx /T (" + field + ") /V (2)>>"})
			r := verdict(t, sign(t, filled, p.rsa2048), VerifyOptions{Roots: p.roots})
			if forged := r.Verdict == message.Forged && strings.Contains(r.Detail, "locked (FieldMDP)"); forged != c.against[i] {
				t.Errorf("%s, %s: %s (%s)", name, field, r.Verdict, r.Detail)
			}
		}
	}
}

// TestSignatureForgery: USF (no value, or none that can be checked) and SWA (the
// second range moved, something before it).
func TestSignatureForgery(t *testing.T) {
	p := testPKI()
	signed := sign(t, receipt(t, true, 1), p.ec)
	hole := regexp.MustCompile(`/Contents <[0-9A-Fa-f]+>`)
	ranges := regexp.MustCompile(`/ByteRange \[[^\]]*\]`)
	value := hole.Find(signed)
	b := verdict(t, signed, VerifyOptions{}).Signatures[0].ByteRange
	edit := func(re *regexp.Regexp, text string) []byte { return re.ReplaceAllLiteral(signed, []byte(text)) }
	for name, c := range map[string]struct {
		pdf  []byte
		want message.Authenticity
	}{
		"USF: contents absent":      {edit(hole, ""), message.Unsigned},
		"USF: contents null":        {edit(hole, "/Contents null"), message.Forged},
		"USF: contents empty":       {edit(hole, "/Contents <>"), message.Forged},
		"USF: contents zero":        {edit(hole, "/Contents <00>"), message.Forged},
		"USF: contents a reference": {edit(hole, "/Contents 1 0 R"), message.Forged},
		"USF: range absent":         {edit(ranges, ""), message.Unsigned},
		"USF: range null":           {edit(ranges, "/ByteRange null"), message.Forged},
		"USF: range empty":          {edit(ranges, "/ByteRange []"), message.Forged},
		"USF: range of zeros":       {edit(ranges, "/ByteRange [0 0 0 0]"), message.Forged},
		"USF: range negative":       {edit(ranges, "/ByteRange [0 -1 -1 -1]"), message.Forged},
		"USF: range huge":           {edit(ranges, "/ByteRange [0 99999999999999999999 1 1]"), message.Forged},
		"SWA: content before the second range": {bytes.Replace(
			bytes.Replace(signed, ranges.Find(signed), fmt.Appendf(nil, "/ByteRange [0 %d %d %d]", b[1], b[2]+64, b[3]), 1), value, append(bytes.Clone(value), " /X ("+strings.Repeat("x", 58)+")"...), 1), message.Forged},
		"SWA: range moved":   {edit(ranges, fmt.Sprintf("/ByteRange [0 %d %d %d]", b[1], b[2]+10, b[3]-10)), message.Forged},
		"SWA: two ranges":    {edit(ranges, string(ranges.Find(signed))+" /ByteRange [0 1 2 3]"), message.Forged},
		"SWA: a third range": {edit(ranges, fmt.Sprintf("/ByteRange [0 %d %d 1 %d 1]", b[1], b[2], b[2]+2)), message.Forged},
	} {
		if r := verdict(t, c.pdf, VerifyOptions{Roots: p.roots}); r.Verdict != c.want || r.Detail == "" {
			t.Errorf("%s: %s (%s), want %s", name, r.Verdict, r.Detail, c.want)
		}
	}
}

// TestCorpusAttacked attacks documents that others have signed.
func TestCorpusAttacked(t *testing.T) {
	dir := corpus(t)
	attacked := 0
	for name, verdictThen := range corpusVerdicts() {
		pdf, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pdfdoc.Open(pdf); err != nil || verdictThen != message.Untrusted || strings.Contains(name, "pades-lta") {
			continue // no classic table: nothing here can update it
		}
		attacked++
		for attack, c := range attacks(t, pdf) {
			if r := verdict(t, c.pdf, VerifyOptions{}); r.Verdict != message.Forged || r.Detail == "" {
				t.Errorf("%s, %s: %s (%s)", name, attack, r.Verdict, r.Detail)
			}
		}
	}
	if attacked < 5 {
		t.Errorf("only %d documents were attacked", attacked)
	}
	t.Logf("%d documents", attacked)
}
