package pdfsig

import (
	"bytes"
	"errors"
	"fmt"
)

// written is an object as an update has it: where it stands and its value. A
// stream's data is passed over.
type written struct {
	n, gen int64
	raw    []byte
	stream bool
	listed bool // a cross-reference names it
}

// revision is one cross-reference section of an update with its trailer.
type revision struct {
	pdf     []byte
	at      int64
	trailer dict
	places  map[int64]place
}

// tail is what stands behind the first octets of a file, read from front to
// end. Nothing in it was left unread.
type tail struct {
	pdf       []byte
	objects   map[int64]*written         // by their offset
	revisions []*revision                // the oldest first
	packed    map[int64]map[int64][]byte // objects in object streams, by the stream's offset
	starts    int                        // how often startxref stands there
}

// maxTailObjects bounds the objects of a tail.
const maxTailObjects = 4096

// readTail reads updates that were appended behind octet from. It takes only
// what a plain writer writes: objects, cross-reference sections, trailers,
// startxref. Anything else is an error: a viewer may see something in what we
// do not.
func readTail(pdf []byte, from int64) (*tail, error) {
	t := &tail{pdf: pdf, objects: map[int64]*written{}, packed: map[int64]map[int64][]byte{}}
	for i := int(from); ; {
		first, err := scan(pdf, i)
		if err != nil {
			return nil, err
		}
		word := string(pdf[first.start:first.end])
		switch {
		case first.kind == kindEnd:
			if bytes.Count(pdf[from:], []byte("startxref")) != t.starts { // viewers look for it from behind, in comments, too
				return nil, malformed("startxref out of place", int(from))
			}
			return t, nil
		case first.kind != kindWord:
			return nil, malformed("stray value", first.start)
		case word == "xref":
			i, err = t.table(pdf, first)
		case word == "startxref":
			i, err = t.start(pdf, first.end)
		default:
			i, err = t.object(pdf, first)
		}
		if err != nil {
			return nil, err
		}
	}
}

func (t *tail) table(pdf []byte, word token) (int, error) {
	r := t.revision(int64(word.start))
	trailer, end, err := readTable(pdf, word.end, r.set)
	if err != nil {
		return 0, err
	}
	r.trailer = trailer
	if at, ok := number(trailer.get("XRefStm")); ok {
		if err := t.hybrid(r, solid(pdf, at)); err != nil {
			return 0, err
		}
	}
	if last := len(t.revisions) - 1; last >= t.starts {
		t.revisions = t.revisions[:last] // a stream that no startxref names: the table stands for it
	}
	t.revisions = append(t.revisions, r)
	return end, nil
}

// hybrid takes the stream before a table for the part of it that older programs
// do not see (7.5.8.4).
func (t *tail) hybrid(r *revision, at int64) error {
	last := len(t.revisions) - 1
	if last < 0 || t.revisions[last].at != at {
		return malformed("hybrid cross-reference", int(at))
	}
	for n, p := range t.revisions[last].places {
		if r.places[n] == (place{}) {
			r.places[n] = p
		}
	}
	return nil
}

func (t *tail) revision(at int64) *revision {
	return &revision{pdf: t.pdf, at: at, places: map[int64]place{}}
}

// set keeps a cross-reference. Some writers point at the line end before an
// object.
func (r *revision) set(n int64, p place, _ bool) {
	if p.offset = solid(r.pdf, p.offset); p.offset == 0 && p.container == 0 {
		p = place{}
	}
	r.places[n] = p
}

// start reads the number behind "startxref": it must be the section before it.
func (t *tail) start(pdf []byte, i int) (int, error) {
	n, end, err := numberAt(pdf, i)
	if err != nil {
		return 0, err
	}
	if len(t.revisions) == 0 || t.revisions[len(t.revisions)-1].at != solid(pdf, n) {
		return 0, malformed("startxref names another section", i)
	}
	t.starts++
	return end, nil
}

func (t *tail) object(pdf []byte, first token) (int, error) {
	o := &written{}
	var ok bool
	if o.n, ok = number(pdf[first.start:first.end]); !ok {
		return 0, malformed("stray word", first.start)
	}
	gen, i, err := numberAt(pdf, first.end)
	if err != nil {
		return 0, err
	}
	o.gen = gen
	word, i, err := wordAt(pdf, i)
	if err != nil || string(word) != "obj" {
		return 0, malformed("object header", first.start)
	}
	start, end, err := value(pdf, i)
	if err != nil {
		return 0, err
	}
	o.raw = pdf[start:end]
	if word, i, err = wordAt(pdf, end); err != nil {
		return 0, err
	}
	if string(word) == "stream" {
		if i, err = t.stream(pdf, int64(first.start), o, end); err != nil {
			return 0, err
		}
		if word, i, err = wordAt(pdf, i); err != nil {
			return 0, err
		}
	}
	if string(word) != "endobj" {
		return 0, malformed("object without end", first.start)
	}
	if len(t.objects) >= maxTailObjects {
		return 0, malformed("too many objects", first.start)
	}
	t.objects[int64(first.start)] = o
	return i, nil
}

// stream passes over a stream's data. A cross-reference stream is a revision.
func (t *tail) stream(pdf []byte, at int64, o *written, i int) (int, error) {
	o.stream = true
	d, _, err := parseDict(o.raw, 0)
	if err != nil {
		return 0, err
	}
	data, end, err := streamData(pdf, d, i)
	if err != nil {
		return 0, err
	}
	switch canonical(d.get("Type")) {
	case "/ObjStm":
		if t.packed[at], err = contained(d, data); err != nil {
			return 0, err
		}
		if d.find("Extends") != nil || len(t.packed) > maxContainers {
			return 0, fmt.Errorf("%w: object streams", ErrUnsupported)
		}
	case "/XRef":
		r := t.revision(at)
		if r.trailer, err = readXRefStream(pdf, at, r.set); err != nil {
			return 0, err
		}
		t.revisions = append(t.revisions, r)
		o.listed = true // it may leave itself out
	}
	return end, nil
}

// chained reports how the revisions do not follow each other and the base: each
// must name the one before it and the base's catalog, every object must be
// named by a cross-reference, and no cross-reference may point anywhere else
// than the base's own does.
func (t *tail) chained(base *document) error {
	if len(t.revisions) == 0 || t.starts != len(t.revisions) {
		return errors.New("objects without a cross-reference")
	}
	previous := base.start
	for _, r := range t.revisions {
		prev, ok := number(r.trailer.get("Prev"))
		if !ok || solid(t.pdf, prev) != solid(t.pdf, previous) {
			return errors.New("cross-references do not follow those of before")
		}
		if r.trailer.find("Encrypt") != nil || r.trailer.count("Root") != 1 ||
			canonical(r.trailer.get("Root")) != canonical(base.trailer.get("Root")) {
			return errors.New("the trailer names another document")
		}
		for n, p := range r.places {
			if err := t.points(base, r, n, p); err != nil {
				return err
			}
		}
		previous = r.at
	}
	for _, o := range t.objects {
		if !o.listed {
			return fmt.Errorf("object %d stands there unnamed", o.n)
		}
	}
	return nil
}

// points checks one cross-reference and marks what it names.
func (t *tail) points(base *document, r *revision, n int64, p place) error {
	if o := t.objects[p.offset]; o != nil && p.container == 0 && p.offset != 0 {
		if o.n != n || o.gen != 0 {
			return fmt.Errorf("object %d is another one", n)
		}
		o.listed = true
		return nil
	}
	before, known := base.places[n]
	if before.offset = solid(t.pdf, before.offset); known && before == p || !known && p == (place{}) || t.in(r, n) != nil {
		return nil
	}
	return fmt.Errorf("object %d was moved", n)
}

// in returns the object that a revision has at a number; nil: none of its own.
func (t *tail) in(r *revision, n int64) *written {
	p := r.places[n]
	if p.container == 0 {
		return t.objects[p.offset]
	}
	holder := r.places[p.container]
	if holder.container != 0 {
		return nil
	}
	if raw, ok := t.packed[holder.offset][n]; ok {
		return &written{n: n, raw: raw, listed: true}
	}
	return nil
}

// solid passes over white space.
func solid(pdf []byte, n int64) int64 {
	for n >= 0 && n < int64(len(pdf)) && isSpace(pdf[n]) {
		n++
	}
	return n
}

// references returns the numbers of all objects that objects of the base refer
// to. Words in strings that only look so are among them.
func references(base *document) (map[int64]bool, error) {
	seen := map[int64]bool{}
	for n, p := range base.places {
		if p == (place{}) {
			continue
		}
		raw, err := base.load(n, base.generation(n))
		if err != nil {
			return nil, err
		}
		for i := 0; ; {
			k := bytes.IndexByte(raw[i:], 'R')
			if k < 0 {
				break
			}
			at := i + k
			i = at + 1
			if v, ok := number([]byte(numberBefore(raw[max(0, at-32):at]))); ok {
				seen[v] = true
			}
		}
	}
	return seen, nil
}
