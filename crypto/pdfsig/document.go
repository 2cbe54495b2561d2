package pdfsig

import (
	"bytes"
	"fmt"
	"regexp"
)

// Bounds of the cross-reference chain.
const (
	maxRevisions = 128
	maxObjects   = 1 << 20
	maxPageDepth = 64
)

// document is a PDF with a classic cross-reference table, opened for signing.
type document struct {
	data    []byte
	start   int64           // offset of the last cross-reference table
	trailer dict            // of the last revision
	offsets map[int64]int64 // object number → offset; 0: free
}

func openDocument(pdf []byte) (*document, error) {
	if !bytes.HasPrefix(pdf, []byte("%PDF-")) {
		return nil, ErrNotPDF
	}
	start, err := startxref(pdf)
	if err != nil {
		return nil, err
	}
	d := &document{data: pdf, start: start, offsets: map[int64]int64{}}
	at := start
	for range maxRevisions {
		trailer, err := d.table(at)
		if err != nil {
			return nil, err
		}
		if d.trailer == nil {
			d.trailer = trailer
		}
		prev, ok := number(trailer.get("Prev"))
		if !ok {
			return d, d.signable()
		}
		at = prev
	}
	return nil, malformed("too many revisions", 0)
}

func (d *document) signable() error {
	if d.trailer.find("Encrypt") != nil {
		return fmt.Errorf("%w: encrypted", ErrUnsupported)
	}
	if d.trailer.find("XRefStm") != nil {
		return fmt.Errorf("%w: hybrid cross-reference", ErrUnsupported)
	}
	return nil
}

// startxref finds the last offset of a cross-reference table (7.5.5).
func startxref(pdf []byte) (int64, error) {
	tail := max(0, len(pdf)-2048)
	i := bytes.LastIndex(pdf[tail:], []byte("startxref"))
	if i < 0 {
		return 0, malformed("startxref is missing", tail)
	}
	t, err := scan(pdf, tail+i+len("startxref"))
	if err != nil {
		return 0, err
	}
	n, ok := number(pdf[t.start:t.end])
	if !ok || n >= int64(len(pdf)) {
		return 0, malformed("startxref", t.start)
	}
	return n, nil
}

// table reads one cross-reference section (7.5.4) and its trailer. Newer
// sections come first, so what is known stays.
func (d *document) table(at int64) (dict, error) {
	if at >= int64(len(d.data)) {
		return nil, malformed("cross-reference offset", len(d.data))
	}
	word, i, err := d.word(int(at))
	if err != nil {
		return nil, err
	}
	if string(word) != "xref" {
		return nil, fmt.Errorf("%w: no classic cross-reference table", ErrUnsupported)
	}
	for {
		word, after, err := d.word(i)
		if err != nil {
			return nil, err
		}
		if string(word) == "trailer" {
			trailer, _, err := parseDict(d.data, after)
			return trailer, err
		}
		if i, err = d.subsection(i); err != nil {
			return nil, err
		}
	}
}

func (d *document) word(i int) (word []byte, end int, err error) {
	t, err := scan(d.data, i)
	if err != nil {
		return nil, 0, err
	}
	if t.kind != kindWord {
		return nil, 0, malformed("cross-reference table", t.start)
	}
	return d.data[t.start:t.end], t.end, nil
}

func (d *document) subsection(i int) (int, error) {
	first, i, err := d.number(i)
	if err != nil {
		return 0, err
	}
	count, i, err := d.number(i)
	if err != nil {
		return 0, err
	}
	if first+count > maxObjects {
		return 0, malformed("cross-reference table too long", i)
	}
	for n := first; n < first+count; n++ {
		if i, err = d.object(i, n); err != nil {
			return 0, err
		}
	}
	return i, nil
}

// object reads the line of object n in the table.
func (d *document) object(i int, n int64) (int, error) {
	offset, i, err := d.number(i)
	if err != nil {
		return 0, err
	}
	_, i, err = d.number(i)
	if err != nil {
		return 0, err
	}
	word, i, err := d.word(i)
	if err != nil {
		return 0, err
	}
	if string(word) != "n" {
		offset = 0
	}
	if _, known := d.offsets[n]; !known {
		d.offsets[n] = offset
	}
	return i, nil
}

func (d *document) number(i int) (int64, int, error) {
	word, end, err := d.word(i)
	if err != nil {
		return 0, 0, err
	}
	n, ok := number(word)
	if !ok {
		return 0, 0, malformed("number", i)
	}
	return n, end, nil
}

var objectHeader = regexp.MustCompile(`^\s*(\d{1,10})\s+(\d{1,5})\s+obj`)

// load returns the value of an object, as it stands.
func (d *document) load(n, gen int64) ([]byte, error) {
	at := d.offsets[n]
	if at <= 0 || at >= int64(len(d.data)) {
		return nil, fmt.Errorf("%w: object %d is missing", ErrMalformed, n)
	}
	m := objectHeader.FindSubmatchIndex(d.data[at:min(at+64, int64(len(d.data)))])
	if m == nil {
		return nil, malformed("object header", int(at))
	}
	gotN, _ := number(d.data[at+int64(m[2]) : at+int64(m[3])])
	gotGen, _ := number(d.data[at+int64(m[4]) : at+int64(m[5])])
	if gotN != n || gotGen != gen {
		return nil, malformed("object header", int(at))
	}
	start, end, err := value(d.data, int(at)+m[1])
	if err != nil {
		return nil, err
	}
	return d.data[start:end], nil
}

// resolve follows a reference; any other value is returned as it is.
func (d *document) resolve(raw []byte) ([]byte, error) {
	n, gen, ok := reference(raw)
	if !ok {
		return raw, nil
	}
	return d.load(n, gen)
}

func (d *document) dictAt(raw []byte) (dict, error) {
	raw, err := d.resolve(raw)
	if err != nil {
		return nil, err
	}
	got, _, err := parseDict(raw, 0)
	return got, err
}

// firstPage walks the page tree (7.7.3) down its first branch and returns the
// page's reference and dictionary.
func (d *document) firstPage(root dict) (string, dict, error) {
	at := root.get("Pages")
	for range maxPageDepth {
		node, err := d.dictAt(at)
		if err != nil {
			return "", nil, fmt.Errorf("page tree: %w", err)
		}
		kids := node.get("Kids")
		if kids == nil {
			return string(at), node, nil
		}
		if kids, err = d.resolve(kids); err != nil {
			return "", nil, fmt.Errorf("page tree: %w", err)
		}
		list, err := elements(kids)
		if err != nil {
			return "", nil, fmt.Errorf("page tree: %w", err)
		}
		if len(list) == 0 {
			return "", nil, fmt.Errorf("%w: no page", ErrMalformed)
		}
		at = list[0]
	}
	return "", nil, fmt.Errorf("%w: page tree too deep", ErrMalformed)
}
