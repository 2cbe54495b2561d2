package pdfdoc

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	for _, same := range [][]string{
		{"<</A 1 /B 2>>", "<< /B 2\n/A 1 >>", "<</A 1.0/B 2/C null>>", "<</#41 01 /B 2>> % end"},
		{"[1 2 R]", "[ 1 2  R ]"},
		{"[12 0 R 3]", "[12  0\nR 3]"},
		{"(abc)", "<616263>", "<61 62\n63>", "(\\141b\\143)"},
		{"<6>", "<60>"},
		{"/Name", "/N#61me"},
		{"-0.50", "-.5"},
		{"true", "true "},
	} {
		for _, s := range same[1:] {
			if a, b := Canonical([]byte(same[0])), Canonical([]byte(s)); a != b {
				t.Errorf("%q: %q, %q: %q", same[0], a, s, b)
			}
		}
	}
	for _, other := range [][2]string{
		{"<</A 1>>", "<</A 2>>"},
		{"<</A (x)>>", "<</A /x>>"},
		{"[1 0 R]", "[1 0 0]"},
		{"[1 2]", "[2 1]"},
		{"12", "12 0 R"},
		{"1", "1 2"},
		{"1e5", "100000"},
		{"", "null"},
		{"<<", "<<>>"},
	} {
		if a, b := Canonical([]byte(other[0])), Canonical([]byte(other[1])); a == b {
			t.Errorf("%q and %q are the same: %q", other[0], other[1], a)
		}
	}
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	if Canonical([]byte(deep)) != deep || Canonical(nil) != "" {
		t.Error("what cannot be read must stand as it is")
	}
}

func deflated(b []byte) string {
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.String()
}

// modern writes a document with a cross-reference stream and its catalog in an
// object stream, as writers since PDF 1.5 do.
func modern(predicted bool) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.5\n")
	packed := deflated([]byte("1 0 2 30 <</Type/Catalog/Pages 2 0 R>> <</Type/Pages/Kids[3 0 R]/Count 1>>"))
	b.WriteString("\n")
	objstm := b.Len()
	fmt.Fprintf(&b, "4 0 obj <</Type/ObjStm/N 2/First 9/Filter/FlateDecode/Length %d>>\nstream\n%s\nendstream endobj\n", len(packed), packed)
	page := b.Len()
	b.WriteString("3 0 obj <</Type/Page/Parent 2 0 R>> endobj\n")
	at := b.Len()
	rows := [][]byte{{0, 0, 0, 255}, {2, 0, 4, 0}, {2, 0, 4, 1}, {1, byte(page >> 8), byte(page), 0}, {1, byte(objstm >> 8), byte(objstm), 0}, {1, byte(at >> 8), byte(at), 0}}
	parms, table := "", bytes.Join(rows, nil)
	if predicted {
		parms, table = "/DecodeParms<</Predictor 15/Columns 4>>", predict(rows)
	}
	data := deflated(table)
	fmt.Fprintf(&b, "5 0 obj <</Type/XRef/Size 6/W[1 2 1]/Root 1 0 R/Filter[/FlateDecode]%s/Length %d>>\nstream\r\n%s\nendstream endobj\nstartxref\n%d\n%%%%EOF\n", parms, len(data), data, at)
	return b.Bytes()
}

// predict filters each row by another of the five PNG filters.
func predict(rows [][]byte) []byte {
	var out []byte
	above := make([]byte, len(rows[0]))
	for r, row := range rows {
		kind := byte(r % 5)
		out = append(out, kind)
		for i, c := range row {
			var left, corner byte
			if i > 0 {
				left, corner = row[i-1], above[i-1]
			}
			out = append(out, c-[]byte{0, left, above[i], byte((int(left) + int(above[i])) / 2), paeth(left, above[i], corner)}[kind])
		}
		above = row
	}
	return out
}

func TestModern(t *testing.T) {
	for _, predicted := range []bool{false, true} {
		d, err := Open(modern(predicted))
		if err != nil {
			t.Fatal(err)
		}
		root, err := d.DictAt(d.Trailer.Get("Root"))
		if err != nil {
			t.Fatal(err)
		}
		ref, page, err := d.FirstPage(root)
		if err != nil || ref != "3 0 R" || Canonical(page.Get("Type")) != "/Page" {
			t.Errorf("predicted %v: %q, %v, %v", predicted, ref, page, err)
		}
		if !errors.Is(d.Signable(), ErrUnsupported) {
			t.Error("an update with a table cannot be written behind a cross-reference stream")
		}
		seen, err := References(d)
		if err != nil || !seen[2] || !seen[3] || seen[4] {
			t.Errorf("references: %v, %v", seen, err)
		}
	}
}

// TestHybrid: what a table calls free may stand in the stream beside it.
func TestHybrid(t *testing.T) {
	doc := string(modern(false))
	doc = doc[:strings.LastIndex(doc, "startxref")]
	stream := strings.Index(doc, "5 0 obj")
	at := len(doc)
	doc += fmt.Sprintf("xref\n0 3\n0000000000 65535 f\r\n0000000000 00000 f\r\n0000000000 00000 f\r\ntrailer\n<</Size 6/Root 1 0 R/XRefStm %d>>\nstartxref\n%d\n%%%%EOF\n", stream, at)
	d, err := Open([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.DictAt([]byte("2 0 R")); err != nil || !errors.Is(d.Signable(), ErrUnsupported) {
		t.Errorf("%v, %v", err, d.Signable())
	}
}

func TestMalformed(t *testing.T) {
	good := string(modern(false))
	for name, c := range map[string][2]string{
		"widths too large":  {"/W[1 2 1]", "/W[9 2 1]"},
		"widths missing":    {"/W[1 2 1]", "/W[1 2]"},
		"no width at all":   {"/W[1 2 1]", "/W[0 0 0]"},
		"size too large":    {"/Size 6", "/Size 9"},
		"size beyond all":   {"/Size 6", "/Size 9999999999"},
		"index odd":         {"/Size 6", "/Index[0]/Size 6"},
		"other filter":      {"/Filter[/FlateDecode]", "/Filter[/LZWDecode]"},
		"no stream":         {"stream\r\n", "stremm\r\n"},
		"no cross-ref":      {"/Type/XRef", "/Type/XReg"},
		"encrypted":         {"/Size 6", "/Size 6/Encrypt 1 0 R"},
		"other predictor":   {"/Filter[/FlateDecode]", "/Filter[/FlateDecode]/DecodeParms<</Predictor 2>>"},
		"predictor's width": {"/Filter[/FlateDecode]", "/Filter[/FlateDecode]/DecodeParms<</Predictor 12/Columns 7>>"},
	} {
		if !strings.Contains(good, c[0]) {
			t.Fatal(name)
		}
		if _, err := Open([]byte(strings.Replace(good, c[0], c[1], 1))); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string][2]string{
		"too many objects": {"/N 2", "/N 70000"},
		"first beyond":     {"/First 9", "/First 999"},
		"not one":          {"/Type/ObjStm", "/Type/ObjStn"},
		"more than stand":  {"/N 2", "/N 4"},
	} {
		d, err := Open([]byte(strings.Replace(good, c[0], c[1], 1)))
		if err == nil {
			_, err = d.DictAt([]byte("1 0 R"))
		}
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBomb: compressed data are read up to a bound.
func TestBomb(t *testing.T) {
	data := deflated(make([]byte, maxInflated+1))
	d, _, err := ParseDict([]byte("<</Filter/FlateDecode>>"), 0)
	if err != nil {
		t.Fatal(err)
	}
	r := room(maxInflated)
	if _, err := r.decode(d, []byte(data)); !errors.Is(err, ErrMalformed) {
		t.Errorf("one too long: %v", err)
	}
	half := []byte(deflated(make([]byte, maxInflated/2+1)))
	if _, err := r.decode(d, half); err != nil {
		t.Error(err)
	}
	if _, err := r.decode(d, half); !errors.Is(err, ErrMalformed) {
		t.Errorf("two too long together: %v", err)
	}
}

// FuzzOpen wants no panic, and errors of two kinds.
func FuzzOpen(f *testing.F) {
	f.Add(modern(false))
	f.Add(modern(true))
	f.Fuzz(func(t *testing.T, pdf []byte) {
		d, err := Open(pdf)
		if err == nil {
			_, err = References(d)
		}
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrNotPDF) {
			t.Errorf("unclear error: %v", err)
		}
	})
}
