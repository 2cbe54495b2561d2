package pdfdoc

import (
	"bytes"
	"errors"
	"fmt"
)

// Written is an object as an update has it: where it stands and its value. A
// stream's data is passed over.
type Written struct {
	n, gen int64
	Raw    []byte
	Stream bool
	listed bool // a cross-reference names it
}

// Revision is one cross-reference section of an update with its trailer.
type Revision struct {
	pdf     []byte
	at      int64
	trailer Dict
	Places  map[int64]Place
}

// Tail is what stands behind the first octets of a file, read from front to
// end. Nothing in it was left unread.
type Tail struct {
	pdf       []byte
	objects   map[int64]*Written // by their offset
	Revisions []*Revision        // the oldest first
	packed    map[int64]packed   // objects in object streams, by the stream's offset
	room      room
	starts    int // how often startxref stands there
}

// maxTailObjects bounds the objects of a tail.
const maxTailObjects = 4096

// ReadTail reads updates that were appended behind octet from. It takes only
// what a plain writer writes: objects, cross-reference sections, trailers,
// startxref. Anything else is an error: a viewer may see something in what we
// do not.
func ReadTail(pdf []byte, from int64) (*Tail, error) {
	t := &Tail{pdf: pdf, objects: map[int64]*Written{}, packed: map[int64]packed{}, room: maxInflated}
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

func (t *Tail) table(pdf []byte, word token) (int, error) {
	r := t.revision(int64(word.start))
	trailer, end, err := readTable(pdf, word.end, r.set)
	if err != nil {
		return 0, err
	}
	r.trailer = trailer
	if at, ok := Number(trailer.Get("XRefStm")); ok {
		if err := t.hybrid(r, solid(pdf, at)); err != nil {
			return 0, err
		}
	}
	if last := len(t.Revisions) - 1; last >= t.starts {
		t.Revisions = t.Revisions[:last] // a stream that no startxref names: the table stands for it
	}
	t.Revisions = append(t.Revisions, r)
	return end, nil
}

// hybrid takes the stream before a table for the part of it that older programs
// do not see (7.5.8.4).
func (t *Tail) hybrid(r *Revision, at int64) error {
	last := len(t.Revisions) - 1
	if last < 0 || t.Revisions[last].at != at {
		return malformed("hybrid cross-reference", int(at))
	}
	for n, p := range t.Revisions[last].Places {
		if r.Places[n] == (Place{}) {
			r.Places[n] = p
		}
	}
	return nil
}

func (t *Tail) revision(at int64) *Revision {
	return &Revision{pdf: t.pdf, at: at, Places: map[int64]Place{}}
}

// set keeps a cross-reference. Some writers point at the line end before an
// object.
func (r *Revision) set(n int64, p Place, _ bool) {
	if p.Offset = solid(r.pdf, p.Offset); p.Offset == 0 && p.container == 0 {
		p = Place{}
	}
	r.Places[n] = p
}

// start reads the number behind "startxref": it must be the section before it.
func (t *Tail) start(pdf []byte, i int) (int, error) {
	n, end, err := numberAt(pdf, i)
	if err != nil {
		return 0, err
	}
	if len(t.Revisions) == 0 || t.Revisions[len(t.Revisions)-1].at != solid(pdf, n) {
		return 0, malformed("startxref names another section", i)
	}
	t.starts++
	return end, nil
}

func (t *Tail) object(pdf []byte, first token) (int, error) {
	o := &Written{}
	var ok bool
	if o.n, ok = Number(pdf[first.start:first.end]); !ok {
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
	o.Raw = pdf[start:end]
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
func (t *Tail) stream(pdf []byte, at int64, o *Written, i int) (int, error) {
	o.Stream = true
	d, _, err := ParseDict(o.Raw, 0)
	if err != nil {
		return 0, err
	}
	data, end, err := streamData(pdf, d, i)
	if err != nil {
		return 0, err
	}
	switch Canonical(d.Get("Type")) {
	case "/ObjStm":
		if t.packed[at], err = t.room.contained(d, data); err != nil {
			return 0, err
		}
		if d.Find("Extends") != nil || len(t.packed) > maxContainers {
			return 0, fmt.Errorf("%w: object streams", ErrUnsupported)
		}
	case "/XRef":
		r := t.revision(at)
		if r.trailer, err = t.room.readXRefStream(pdf, at, r.set); err != nil {
			return 0, err
		}
		t.Revisions = append(t.Revisions, r)
		o.listed = true // it may leave itself out
	}
	return end, nil
}

// Chained reports how the revisions do not follow each other and the base: each
// must name the one before it and the base's catalog, every object must be
// named by a cross-reference, and no cross-reference may point anywhere else
// than the base's own does.
func (t *Tail) Chained(base *Document) error {
	if len(t.Revisions) == 0 || t.starts != len(t.Revisions) {
		return errors.New("objects without a cross-reference")
	}
	previous := base.Start
	for _, r := range t.Revisions {
		prev, ok := Number(r.trailer.Get("Prev"))
		if !ok || solid(t.pdf, prev) != solid(t.pdf, previous) {
			return errors.New("cross-references do not follow those of before")
		}
		if r.trailer.Find("Encrypt") != nil || r.trailer.Count("Root") != 1 ||
			Canonical(r.trailer.Get("Root")) != Canonical(base.Trailer.Get("Root")) {
			return errors.New("the trailer names another document")
		}
		if info := r.trailer.Get("Info"); info != nil && Canonical(info) != Canonical(base.Trailer.Get("Info")) {
			return errors.New("the trailer names another title")
		}
		for n, p := range r.Places {
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
func (t *Tail) points(base *Document, r *Revision, n int64, p Place) error {
	if o := t.objects[p.Offset]; o != nil && p.container == 0 && p.Offset != 0 {
		if o.n != n || o.gen != 0 {
			return fmt.Errorf("object %d is another one", n)
		}
		o.listed = true
		return nil
	}
	before, known := base.Places[n]
	if before.Offset = solid(t.pdf, before.Offset); known && before == p || !known && p == (Place{}) || t.In(r, n) != nil {
		return nil
	}
	return fmt.Errorf("object %d was moved", n)
}

// In returns the object that a revision has at a number; nil: none of its own.
func (t *Tail) In(r *Revision, n int64) *Written {
	p := r.Places[n]
	if p.container == 0 {
		return t.objects[p.Offset]
	}
	holder := r.Places[p.container]
	if holder.container != 0 {
		return nil
	}
	if raw, ok := t.packed[holder.Offset].get(n, p.index); ok {
		return &Written{n: n, Raw: raw, listed: true}
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

// References returns the numbers of all objects that objects of the base refer
// to. Words in strings that only look so are among them.
func References(base *Document) (map[int64]bool, error) {
	seen := map[int64]bool{}
	octets := 0
	for n, p := range base.Places {
		if p == (Place{}) {
			continue
		}
		raw, err := base.Load(n, base.generation(n))
		if err != nil {
			return nil, err
		}
		if octets += len(raw); octets > len(base.Data)+maxInflated { // objects within each other
			return nil, malformed("objects overlap", 0)
		}
		for i := 0; ; {
			k := bytes.IndexByte(raw[i:], 'R')
			if k < 0 {
				break
			}
			at := i + k
			i = at + 1
			if v, ok := Number([]byte(NumberBefore(raw[max(0, at-32):at]))); ok {
				seen[v] = true
			}
		}
	}
	return seen, nil
}
