package pdfdoc

import (
	"bytes"
	"fmt"
	"regexp"
)

// Bounds of the cross-reference chain.
const (
	maxRevisions = 128
	MaxObjects   = 1 << 20
	maxPageDepth = 64
)

// Document is a PDF whose objects can be found by its cross-references.
type Document struct {
	Data     []byte
	Start    int64           // offset of the last cross-reference section
	Trailer  Dict            // of the last revision
	Places   map[int64]Place // object number → where it stands
	streams  bool            // a cross-reference section is a stream
	hybrid   bool            // a table is followed by a stream for newer programs
	unpacked map[int64]packed
	room     room
}

// Open follows the cross-references from the last section back.
// Encrypted documents are not taken.
func Open(pdf []byte) (*Document, error) {
	if !bytes.HasPrefix(pdf, []byte("%PDF-")) {
		return nil, ErrNotPDF
	}
	start, err := Startxref(pdf)
	if err != nil {
		return nil, err
	}
	d := &Document{Data: pdf, Start: start, Places: map[int64]Place{}, unpacked: map[int64]packed{}, room: maxInflated}
	at := start
	for range maxRevisions {
		trailer, err := d.section(at)
		if err != nil {
			return nil, err
		}
		if trailer.Find("Encrypt") != nil {
			return nil, fmt.Errorf("%w: encrypted", ErrUnsupported)
		}
		if d.Trailer == nil {
			d.Trailer = trailer
		}
		prev, ok := Number(trailer.Get("Prev"))
		if !ok {
			return d, nil
		}
		at = prev
	}
	return nil, malformed("too many revisions", 0)
}

// Signable reports why an update cannot be written behind the document.
func (d *Document) Signable() error {
	switch {
	case d.hybrid:
		return fmt.Errorf("%w: hybrid cross-reference", ErrUnsupported)
	case d.streams:
		return fmt.Errorf("%w: no classic cross-reference table", ErrUnsupported)
	}
	return nil
}

// section reads one cross-reference section and its trailer. Newer sections come
// first, so what is known stays. A hybrid file has a stream beside its table,
// with what the table calls free (7.5.8.4).
func (d *Document) section(at int64) (Dict, error) {
	var free []int64
	set := func(n int64, p Place, inUse bool) {
		if _, known := d.Places[n]; known {
			return
		}
		if d.Places[n] = p; !inUse {
			free = append(free, n)
		}
	}
	trailer, stream, err := d.room.readSection(d.Data, at, set)
	d.streams = d.streams || stream
	extra, ok := Number(trailer.Get("XRefStm"))
	if err != nil || !ok {
		return trailer, err
	}
	d.hybrid = true
	for _, n := range free {
		delete(d.Places, n)
	}
	hidden := free
	_, _, err = d.room.readSection(d.Data, extra, set)
	for _, n := range hidden {
		set(n, Place{}, false)
	}
	return trailer, err
}

// readSection reads the table (7.5.4) or stream (7.5.8) of cross-references at
// an offset, with the trailer that belongs to it.
func (r *room) readSection(pdf []byte, at int64, set func(n int64, p Place, inUse bool)) (trailer Dict, stream bool, err error) {
	if at >= int64(len(pdf)) {
		return nil, false, malformed("cross-reference offset", len(pdf))
	}
	word, i, err := wordAt(pdf, int(at))
	if err != nil {
		return nil, false, err
	}
	if string(word) != "xref" {
		trailer, err = r.readXRefStream(pdf, at, set)
		return trailer, true, err
	}
	trailer, _, err = readTable(pdf, i, set)
	return trailer, false, err
}

// Startxref finds the last offset of a cross-reference table (7.5.5).
func Startxref(pdf []byte) (int64, error) {
	tail := max(0, len(pdf)-2048)
	i := bytes.LastIndex(pdf[tail:], []byte("startxref"))
	if i < 0 {
		return 0, malformed("startxref is missing", tail)
	}
	t, err := scan(pdf, tail+i+len("startxref"))
	if err != nil {
		return 0, err
	}
	n, ok := Number(pdf[t.start:t.end])
	if !ok || n >= int64(len(pdf)) {
		return 0, malformed("startxref", t.start)
	}
	return n, nil
}

// readTable reads a classic table behind the word "xref", with its trailer.
func readTable(pdf []byte, i int, set func(n int64, p Place, inUse bool)) (trailer Dict, end int, err error) {
	for {
		word, after, err := wordAt(pdf, i)
		if err != nil {
			return nil, 0, err
		}
		if string(word) == "trailer" {
			return ParseDict(pdf, after)
		}
		if i, err = subsection(pdf, i, set); err != nil {
			return nil, 0, err
		}
	}
}

func wordAt(pdf []byte, i int) (word []byte, end int, err error) {
	t, err := scan(pdf, i)
	if err != nil {
		return nil, 0, err
	}
	if t.kind != kindWord {
		return nil, 0, malformed("cross-reference table", t.start)
	}
	return pdf[t.start:t.end], t.end, nil
}

func subsection(pdf []byte, i int, set func(n int64, p Place, inUse bool)) (int, error) {
	first, i, err := numberAt(pdf, i)
	if err != nil {
		return 0, err
	}
	count, i, err := numberAt(pdf, i)
	if err != nil {
		return 0, err
	}
	if first+count > MaxObjects {
		return 0, malformed("cross-reference table too long", i)
	}
	for n := first; n < first+count; n++ {
		if i, err = line(pdf, i, n, set); err != nil {
			return 0, err
		}
	}
	return i, nil
}

// line reads the line of object n in a table.
func line(pdf []byte, i int, n int64, set func(n int64, p Place, inUse bool)) (int, error) {
	offset, i, err := numberAt(pdf, i)
	if err != nil {
		return 0, err
	}
	_, i, err = numberAt(pdf, i)
	if err != nil {
		return 0, err
	}
	word, i, err := wordAt(pdf, i)
	if err != nil {
		return 0, err
	}
	if inUse := string(word) == "n"; inUse {
		set(n, Place{Offset: offset}, true)
	} else {
		set(n, Place{}, false)
	}
	return i, nil
}

func numberAt(pdf []byte, i int) (int64, int, error) {
	word, end, err := wordAt(pdf, i)
	if err != nil {
		return 0, 0, err
	}
	n, ok := Number(word)
	if !ok {
		return 0, 0, malformed("number", i)
	}
	return n, end, nil
}

var objectHeader = regexp.MustCompile(`^\s*(\d{1,10})\s+(\d{1,5})\s+obj`)

// Load returns the value of an object, as it stands.
func (d *Document) Load(n, gen int64) ([]byte, error) {
	p := d.Places[n]
	if p.container != 0 && gen == 0 {
		return d.loadContained(n, p)
	}
	at := p.Offset
	if at <= 0 || at >= int64(len(d.Data)) {
		return nil, fmt.Errorf("%w: object %d is missing", ErrMalformed, n)
	}
	m := objectHeader.FindSubmatchIndex(d.Data[at:min(at+64, int64(len(d.Data)))])
	if m == nil {
		return nil, malformed("object header", int(at))
	}
	gotN, _ := Number(d.Data[at+int64(m[2]) : at+int64(m[3])])
	gotGen, _ := Number(d.Data[at+int64(m[4]) : at+int64(m[5])])
	if gotN != n || gotGen != gen {
		return nil, malformed("object header", int(at))
	}
	start, end, err := value(d.Data, int(at)+m[1])
	if err != nil {
		return nil, err
	}
	return d.Data[start:end], nil
}

// generation returns the generation that an object's header names.
func (d *Document) generation(n int64) int64 {
	at := d.Places[n].Offset
	if at <= 0 || at >= int64(len(d.Data)) {
		return 0
	}
	if m := objectHeader.FindSubmatchIndex(d.Data[at:min(at+64, int64(len(d.Data)))]); m != nil {
		gen, _ := Number(d.Data[at+int64(m[4]) : at+int64(m[5])])
		return gen
	}
	return 0
}

// loadContained returns an object out of an object stream.
func (d *Document) loadContained(n int64, at Place) ([]byte, error) {
	container := at.container
	objects, known := d.unpacked[container]
	if !known {
		p := d.Places[container]
		if p.Offset <= 0 || len(d.unpacked) >= maxContainers {
			return nil, fmt.Errorf("%w: object stream %d is missing", ErrMalformed, container)
		}
		got, head, data, err := StreamAt(d.Data, p.Offset)
		if err == nil && got != container {
			err = malformed("object header", int(p.Offset))
		}
		if err != nil {
			return nil, err
		}
		if objects, err = d.room.contained(head, data); err != nil {
			return nil, err
		}
		d.unpacked[container] = objects
	}
	raw, ok := objects.get(n, at.index)
	if !ok {
		return nil, fmt.Errorf("%w: object %d is missing", ErrMalformed, n)
	}
	return raw, nil
}

// Resolve follows a reference; any other value is returned as it is.
func (d *Document) Resolve(raw []byte) ([]byte, error) {
	n, gen, ok := Reference(raw)
	if !ok {
		return raw, nil
	}
	return d.Load(n, gen)
}

func (d *Document) DictAt(raw []byte) (Dict, error) {
	raw, err := d.Resolve(raw)
	if err != nil {
		return nil, err
	}
	got, _, err := ParseDict(raw, 0)
	return got, err
}

// FirstPage walks the page tree (7.7.3) down its first branch and returns the
// page's reference and dictionary.
func (d *Document) FirstPage(root Dict) (string, Dict, error) {
	at := root.Get("Pages")
	for range maxPageDepth {
		node, err := d.DictAt(at)
		if err != nil {
			return "", nil, fmt.Errorf("page tree: %w", err)
		}
		kids := node.Get("Kids")
		if kids == nil {
			return string(at), node, nil
		}
		if kids, err = d.Resolve(kids); err != nil {
			return "", nil, fmt.Errorf("page tree: %w", err)
		}
		list, err := Elements(kids)
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
