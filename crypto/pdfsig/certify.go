package pdfsig

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strings"

	"gatewayd/crypto/pdfdoc"
)

// Lock is what a signature lets happen to the document later (ISO 32000-2,
// 12.8.2). Whoever signs after it can vouch for no more.
type Lock struct {
	DocMDP int      // 0: it certifies nothing; 1: nothing may change; 2: forms may be filled in and signed; 3: and be annotated
	Action string   // FieldMDP: All, Include, Exclude; empty: no field is locked
	Fields []string // that Action is about
}

func (l Lock) locks() bool { return l.DocMDP > 0 || l.Action != "" }

// lockOf reads /Reference of a signature dictionary. Objects are looked up among
// those before the end of the signature.
func lockOf(b bodies, d pdfdoc.Dict, end int64) (l Lock) {
	list, err := pdfdoc.Elements(b.resolve(d.Get("Reference"), end))
	if err != nil {
		return l
	}
	for _, raw := range list {
		ref := b.dict(raw, end)
		params := b.dict(ref.Get("TransformParams"), end)
		switch pdfdoc.NameOf(ref.Get("TransformMethod")) {
		case "DocMDP":
			l.DocMDP = 2 // the default
			if p, ok := pdfdoc.Number(params.Get("P")); ok && p >= 1 && p <= 3 {
				l.DocMDP = int(p)
			}
		case "FieldMDP":
			l.Action = pdfdoc.NameOf(params.Get("Action"))
			names, err := pdfdoc.Elements(b.resolve(params.Get("Fields"), end))
			if err != nil && l.Action != "All" || l.Action == "" {
				l.Action = "All" // what cannot be read locks everything
			}
			for _, n := range names {
				l.Fields = append(l.Fields, readText(n))
			}
		}
	}
	return l
}

// bodies finds objects by their keyword.
type bodies struct {
	pdf     []byte
	objects []object
	of      map[string][]int // number → places in objects, ascending
}

func bodiesOf(pdf []byte) bodies {
	b := bodies{pdf: pdf, objects: objectsOf(pdf), of: map[string][]int{}}
	for i, o := range b.objects {
		b.of[o.n] = append(b.of[o.n], i)
	}
	return b
}

func (b bodies) at(i int) []byte {
	body := b.pdf[b.objects[i].body:]
	if i+1 < len(b.objects) {
		body = b.pdf[b.objects[i].body:b.objects[i+1].body]
	}
	if end := bytes.Index(body, []byte("endobj")); end >= 0 {
		body = body[:end]
	}
	return body
}

// before returns the newest object of that number among those before end; nil:
// there is none.
func (b bodies) before(n string, end int64) []byte {
	list := b.of[n]
	if i := sort.Search(len(list), func(i int) bool { return int64(b.objects[list[i]].body) > end }); i > 0 {
		return b.at(list[i-1])
	}
	return nil
}

// resolve follows one reference.
func (b bodies) resolve(raw []byte, end int64) []byte {
	n, _, ok := pdfdoc.Reference(raw)
	if !ok {
		return raw
	}
	return b.before(fmt.Sprint(n), end)
}

func (b bodies) dict(raw []byte, end int64) pdfdoc.Dict {
	d, _, err := pdfdoc.ParseDict(b.resolve(raw, end), 0)
	if err != nil {
		return nil
	}
	return d
}

// forbidden names what was added after the first n octets although the lock is
// there; empty: nothing. It allows what it knows, and no more: data for long term
// validation always; unless nothing may change, signature fields that are not seen
// and what they need.
func (l Lock) forbidden(b bodies, n int64) []string {
	var out []string
	add := func(why string) {
		if why != "" && !slices.Contains(out, why) {
			out = append(out, why)
		}
	}
	count := 0
	for i, o := range b.objects {
		if int64(o.body) <= n {
			continue
		}
		if count++; count > maxLater || len(b.objects) >= maxListed {
			return append(out, "more than is looked at")
		}
		c := change{b: b, end: n, kind: kindOf(b.at(i)), body: b.at(i), old: b.before(o.n, n)}
		add(c.structure())
		add(l.refuses(c))
	}
	if err := followed(b.pdf, n); err != nil {
		add(err.Error())
	}
	return out
}

// followed reports why what stands behind octet n is no plain update: one that
// leads to what lay there unseen, or to another catalogue.
func followed(pdf []byte, n int64) error {
	base, err := pdfdoc.Open(pdf[:n])
	if err != nil {
		return err
	}
	t, err := pdfdoc.ReadTail(pdf, n)
	if err != nil {
		return err
	}
	return t.Chained(base)
}

// change is one object that was added after a signature.
type change struct {
	b         bodies
	end       int64 // of what is signed
	kind      string
	body, old []byte // old: what it replaces; nil: nothing
}

// same reports whether it replaces nothing, or one of its kind.
func (c change) same() bool { return c.old == nil || kindOf(c.old) == c.kind }

// structure refuses what no later signature needs: another page, a page or a
// catalogue that shows something else.
func (c change) structure() string {
	d, _, err := pdfdoc.ParseDict(c.body, 0)
	switch {
	case c.kind == "ObjStm":
		return "objects in a stream, which are not looked at"
	case c.old == nil && slices.Contains([]string{"Catalog", "Pages", "Page"}, c.kind):
		return "a new " + c.kind
	case c.kind == "Catalog" && err == nil:
		return differs(d, c.old, "a catalogue with another ", "AcroForm", "DSS", "Extensions", "Version")
	case c.kind == "Page" && err == nil:
		if why := differs(d, c.old, "a page with another ", "Annots"); why != "" {
			return why
		}
		return c.annotations(d)
	case c.kind == "array" && bytes.Contains(c.body, []byte("<<")):
		return "an annotation"
	}
	return ""
}

// annotations refuses those of a page that stand in the page itself, or lay in the
// file before, unseen.
func (c change) annotations(page pdfdoc.Dict) string {
	was, _, err := pdfdoc.ParseDict(c.old, 0)
	if err != nil {
		return "a page with other annotations"
	}
	list, err := pdfdoc.Elements(c.b.resolve(page.Get("Annots"), int64(len(c.b.pdf))))
	if err != nil && page.Find("Annots") != nil || len(list) > maxAnnotations {
		return "a page with other annotations"
	}
	before, _ := pdfdoc.Elements(c.b.resolve(was.Get("Annots"), c.end))
	for _, raw := range list {
		n, _, ok := pdfdoc.Reference(raw)
		switch {
		case !ok:
			return "an annotation"
		case slices.ContainsFunc(before, func(b []byte) bool { return bytes.Equal(b, raw) }):
		case c.b.before(fmt.Sprint(n), c.end) != nil:
			return "an annotation that was hidden before"
		}
	}
	return ""
}

// refuses says what of an object the lock does not let in; empty: nothing.
func (l Lock) refuses(c change) string {
	d, _, err := pdfdoc.ParseDict(c.body, 0)
	field, name := d.Find("T") != nil || d.Find("V") != nil, readText(d.Get("T"))
	signature := pdfdoc.NameOf(d.Get("FT")) == "Sig"
	switch {
	case c.kind == "Sig" && l.DocMDP == 1:
		return "another signature"
	case c.same() && slices.Contains([]string{"DSS", "DocTimeStamp", "VRI", "XRef", "AcroForm", "Sig", "Catalog", "Page"}, c.kind):
		return "" // or structure refuses it
	case c.old == nil && (c.kind == "stream" || c.kind == "array"):
		return "" // nothing that is allowed shows it
	case err != nil:
		return "an object that cannot be read"
	case field && !signature && l.Action != "" && l.field(name):
		return "a form field that is locked (FieldMDP)"
	case l.DocMDP == 0:
		return "" // only fields are locked
	case signature && seen(d) && c.old == nil:
		return "a signature that is shown on the page"
	case signature && c.same():
		return ""
	case d.Find("Rect") != nil && !(field && c.same() && c.old != nil && l.DocMDP > 1):
		return "an annotation"
	case field && c.same() && c.old != nil && l.DocMDP > 1:
		return ""
	case c.old != nil:
		return "another " + kindOf(c.old) + " in the place of one that was signed"
	case l.DocMDP == 1:
		return "a new " + c.kind
	}
	return ""
}

// maxCompared bounds the keys of two dictionaries that are compared, maxAnnotations
// the annotations of a page.
const (
	maxCompared    = 200
	maxAnnotations = 2000
)

// differs compares a dictionary with the one that it replaces, but for some keys.
func differs(d pdfdoc.Dict, old []byte, text string, but ...string) string {
	was, _, err := pdfdoc.ParseDict(old, 0)
	if err != nil || len(d)+len(was) > maxCompared {
		return text + "content"
	}
	for _, e := range slices.Concat(d, was) {
		key := e.Key
		same := bytes.Equal(bytes.Join(bytes.Fields(d.Get(key)), []byte(" ")), bytes.Join(bytes.Fields(was.Get(key)), []byte(" ")))
		if !slices.Contains(but, key) && (!same || d.Count(key) > 1) {
			return text + "/" + shownKey(key)
		}
	}
	return ""
}

// shownKey is a key of a dictionary, for people.
func shownKey(key string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, key[:min(len(key), 40)])
}

// field reports whether a form field is locked; one that has no name counts as such.
func (l Lock) field(name string) bool {
	named := slices.ContainsFunc(l.Fields, func(f string) bool { return name == f || strings.HasPrefix(name, f+".") })
	switch l.Action {
	case "Include":
		return named || name == ""
	case "Exclude":
		return !named
	}
	return true
}

// seen reports whether a field has room on the page.
func seen(d pdfdoc.Dict) bool {
	list, err := pdfdoc.Elements(d.Get("Rect"))
	if err != nil || len(list) != 4 {
		return d.Find("Rect") != nil || d.Find("AP") != nil
	}
	return !bytes.Equal(list[0], list[2]) && !bytes.Equal(list[1], list[3])
}
