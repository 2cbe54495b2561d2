package pdfsig

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatewayd/crypto/pdfdoc"
)

// longTermOnly reports what a document shows differently since octet from: nil
// if all that was appended are data for long term validation and time stamps
// over the document (ETSI EN 319 142-1, 5.4), as PAdES-LT and PAdES-LTA have
// them. The check is by what each object does, not by what it is called:
//
//   - the catalog may gain /DSS, /Extensions, /Version, and a form for the stamp's field;
//     its metadata (XMP) may be replaced, the date of change set;
//   - forms and pages may gain fields of time stamps that show nothing, and
//     nothing else; lists keep what they had;
//   - the validation data of before may be replaced by more of it;
//   - no other object may be replaced, and no new one may take a number that
//     the signed document refers to.
//
// Whoever cannot prove this, because a file is written in an unusual way, gets
// an error, too.
func longTermOnly(pdf []byte, from int64) error {
	base, err := pdfdoc.Open(pdf[:from])
	if err != nil {
		return err
	}
	t, err := pdfdoc.ReadTail(pdf, from)
	if err != nil {
		return err
	}
	if err := t.Chained(base); err != nil {
		return err
	}
	taken, err := pdfdoc.References(base)
	if err != nil {
		return err
	}
	c := &changes{base: base, tail: t, now: map[int64][]byte{}, taken: taken}
	for _, r := range t.Revisions {
		if err := c.apply(r); err != nil {
			return err
		}
	}
	return nil
}

// changes follows a document through its updates.
type changes struct {
	base  *pdfdoc.Document
	tail  *pdfdoc.Tail
	now   map[int64][]byte // values that updates have set so far
	taken map[int64]bool   // numbers that the base refers to
	next  *pdfdoc.Revision // whose changes are looked at
}

// before returns a value as it stands before the next revision.
func (c *changes) before(raw []byte) ([]byte, error) {
	n, gen, ok := pdfdoc.Reference(raw)
	if !ok {
		return raw, nil
	}
	if v, ok := c.now[n]; ok && gen == 0 {
		return v, nil
	}
	return c.base.Load(n, gen)
}

// after returns a value as the next revision has it.
func (c *changes) after(raw []byte) ([]byte, error) {
	n, gen, ok := pdfdoc.Reference(raw)
	if ok && gen == 0 {
		if o := c.tail.In(c.next, n); o != nil {
			return o.Raw, nil
		}
	}
	return c.before(raw)
}

func (c *changes) apply(r *pdfdoc.Revision) error {
	c.next = r
	valid, err := c.validationData()
	if err != nil {
		return err
	}
	for n := range r.Places {
		o := c.tail.In(r, n)
		if o == nil {
			continue
		}
		if err := c.allowed(n, o, valid); err != nil {
			return fmt.Errorf("object %d: %w", n, err)
		}
	}
	for n := range r.Places {
		if o := c.tail.In(r, n); o != nil {
			c.now[n] = o.Raw
		}
	}
	return nil
}

// exists reports whether the document has an object of that number already.
func (c *changes) exists(n int64) bool {
	_, set := c.now[n]
	return set || c.base.Places[n] != pdfdoc.Place{}
}

func (c *changes) allowed(n int64, o *pdfdoc.Written, valid map[int64]bool) error {
	if !c.exists(n) {
		if c.taken[n] {
			return errors.New("fills a gap in the signed document")
		}
		return nil
	}
	old, err := c.before(fmt.Appendf(nil, "%d 0 R", n))
	if err != nil {
		return err
	}
	if pdfdoc.Canonical(old) == pdfdoc.Canonical(o.Raw) && !o.Stream {
		return nil
	}
	root, _, _ := pdfdoc.Reference(c.base.Trailer.Get("Root"))
	info, _, described := pdfdoc.Reference(c.base.Trailer.Get("Info"))
	switch {
	case c.isMetadata(n) && o.Stream && typeOf(old) == "/Metadata" && typeOf(o.Raw) == "/Metadata":
		return nil
	case o.Stream:
		return errors.New("content was replaced")
	case n == root:
		return c.catalog(old, o.Raw)
	case described && n == info:
		return sameBut(old, o.Raw, "ModDate", "Producer")
	case valid[n]:
		return nil
	case strings.HasPrefix(pdfdoc.Canonical(old), "["):
		return c.list(old, o.Raw)
	case c.isForm(n):
		return c.form(old, o.Raw)
	}
	return c.page(old, o.Raw)
}

// catalog allows validation data, the extension's name, and a form.
func (c *changes) catalog(old, now []byte) error {
	if err := sameBut(old, now, "DSS", "Extensions", "Version", "AcroForm"); err != nil {
		return err
	}
	o, _, err := pdfdoc.ParseDict(old, 0)
	if err != nil {
		return err
	}
	d, _, err := pdfdoc.ParseDict(now, 0)
	if err != nil {
		return err
	}
	if pdfdoc.Canonical(o.Get("AcroForm")) == pdfdoc.Canonical(d.Get("AcroForm")) {
		return nil
	}
	was, err := c.before(o.Get("AcroForm"))
	if err != nil {
		return err
	}
	is, err := c.after(d.Get("AcroForm"))
	if err != nil {
		return err
	}
	return c.form(was, is)
}

// isForm reports whether the catalog's form is the object n.
func (c *changes) isForm(n int64) bool { return c.inCatalog("AcroForm", n) }

func (c *changes) inCatalog(key string, n int64) bool {
	root, err := c.before(c.base.Trailer.Get("Root"))
	if err != nil {
		return false
	}
	d, _, err := pdfdoc.ParseDict(root, 0)
	if err != nil {
		return false
	}
	got, _, ok := pdfdoc.Reference(d.Get(key))
	return ok && got == n
}

// form allows fields of time stamps. A form that was not there may have nothing
// else.
func (c *changes) form(old, now []byte) error {
	if old == nil {
		old = []byte("<<>>")
	}
	free := []string{"Fields", "SigFlags"}
	if o, _, err := pdfdoc.ParseDict(old, 0); err == nil && c.onlySignatures(o) {
		for _, key := range []string{"DR", "DA"} { // what fields that show text take fonts from
			if o.Find(key) == nil {
				free = append(free, key)
			}
		}
	}
	if err := sameBut(old, now, free...); err != nil {
		return err
	}
	return c.entryGrows(old, now, "Fields")
}

// onlySignatures reports whether a form has no fields but signatures.
func (c *changes) onlySignatures(form pdfdoc.Dict) bool {
	raw, err := c.before(form.Get("Fields"))
	if err != nil {
		return false
	}
	if raw == nil {
		return true
	}
	fields, err := pdfdoc.Elements(raw)
	if err != nil {
		return false
	}
	for _, f := range fields {
		v, err := c.before(f)
		if err != nil {
			return false
		}
		if d, _, err := pdfdoc.ParseDict(v, 0); err != nil || pdfdoc.Canonical(d.Get("FT")) != "/Sig" || d.Find("Kids") != nil {
			return false
		}
	}
	return true
}

// isMetadata reports whether n is the catalog's /Metadata: XMP, which no page
// shows.
func (c *changes) isMetadata(n int64) bool { return c.inCatalog("Metadata", n) }

// page allows fields of time stamps among its annotations.
func (c *changes) page(old, now []byte) error {
	if typeOf(old) != "/Page" {
		return errors.New("replaced")
	}
	if err := sameBut(old, now, "Annots"); err != nil {
		return err
	}
	return c.entryGrows(old, now, "Annots")
}

// entryGrows compares lists that stand in a dictionary or are referred to.
func (c *changes) entryGrows(old, now []byte, key string) error {
	o, _, err := pdfdoc.ParseDict(old, 0)
	if err != nil {
		return err
	}
	d, _, err := pdfdoc.ParseDict(now, 0)
	if err != nil {
		return err
	}
	was, err := c.before(o.Get(key))
	if err != nil {
		return err
	}
	is, err := c.after(d.Get(key))
	if err != nil {
		return err
	}
	return c.list(was, is)
}

// list allows a list to grow by fields of time stamps.
func (c *changes) list(old, now []byte) error {
	var was, is [][]byte
	var err error
	if old != nil {
		if was, err = pdfdoc.Elements(old); err != nil {
			return err
		}
	}
	if now != nil {
		if is, err = pdfdoc.Elements(now); err != nil {
			return err
		}
	}
	kept := 0
	for _, e := range is {
		if kept < len(was) && pdfdoc.Canonical(e) == pdfdoc.Canonical(was[kept]) {
			kept++
			continue
		}
		if err := c.stampField(e); err != nil {
			return err
		}
	}
	if kept < len(was) {
		return errors.New("a list was shortened")
	}
	return nil
}

// stampField demands a new field that holds a time stamp over the document and
// shows nothing.
func (c *changes) stampField(ref []byte) error {
	n, gen, ok := pdfdoc.Reference(ref)
	if !ok || gen != 0 || c.exists(n) {
		return errors.New("something was added to a list")
	}
	o := c.tail.In(c.next, n)
	if o == nil || o.Stream {
		return errors.New("something was added to a list")
	}
	d, _, err := pdfdoc.ParseDict(o.Raw, 0)
	if err != nil {
		return err
	}
	for _, e := range d {
		if d.Count(e.Key) > 1 || !slices.Contains([]string{"Type", "Subtype", "FT", "T", "V", "F", "P", "Rect", "AP", "M", "NM", "DR", "DA"}, e.Key) {
			return fmt.Errorf("a new field has /%.20s", e.Key)
		}
	}
	if pdfdoc.Canonical(d.Get("FT")) != "/Sig" || d.Get("Subtype") != nil && pdfdoc.Canonical(d.Get("Subtype")) != "/Widget" {
		return errors.New("a new field is no signature")
	}
	if err := showsNothing(d.Get("Rect")); err != nil {
		return err
	}
	v, gen, ok := pdfdoc.Reference(d.Get("V"))
	stamp := c.tail.In(c.next, v)
	if !ok || gen != 0 || stamp == nil || stamp.Stream || c.exists(v) {
		return errors.New("a new field without a time stamp")
	}
	s, _, err := pdfdoc.ParseDict(stamp.Raw, 0)
	if err != nil || pdfdoc.NameOf(s.Get("SubFilter")) != subFilterStamp {
		return errors.New("a new field that is no time stamp")
	}
	return nil
}

// typeOf returns /Type of a dictionary; "" if there is none.
func typeOf(raw []byte) string {
	d, _, err := pdfdoc.ParseDict(raw, 0)
	if err != nil {
		return ""
	}
	return pdfdoc.Canonical(d.Get("Type"))
}

// showsNothing demands a rectangle without area; none is one.
func showsNothing(raw []byte) error {
	if raw == nil {
		return nil
	}
	sides, err := pdfdoc.Elements(raw)
	if err != nil || len(sides) != 4 {
		return errors.New("a new field with an odd rectangle")
	}
	if pdfdoc.Canonical(sides[0]) != pdfdoc.Canonical(sides[2]) || pdfdoc.Canonical(sides[1]) != pdfdoc.Canonical(sides[3]) {
		return errors.New("a new field that can be seen")
	}
	return nil
}

// sameBut demands that two dictionaries differ in nothing but some keys.
func sameBut(old, now []byte, but ...string) error {
	o, _, err := pdfdoc.ParseDict(old, 0)
	if err != nil {
		return err
	}
	d, _, err := pdfdoc.ParseDict(now, 0)
	if err != nil {
		return err
	}
	for _, e := range slices.Concat(o, d) {
		if o.Count(e.Key) > 1 || d.Count(e.Key) > 1 {
			return fmt.Errorf("/%.20s stands twice", e.Key)
		}
		if !slices.Contains(but, e.Key) && present(o.Get(e.Key)) != present(d.Get(e.Key)) {
			return fmt.Errorf("/%.20s was changed", e.Key)
		}
	}
	return nil
}

// present is canonical, with null as if the entry were not there.
func present(raw []byte) string {
	if s := pdfdoc.Canonical(raw); s != "null" {
		return s
	}
	return ""
}

// validationData returns the numbers of the objects that hold the validation
// data of before: /DSS of the catalog, and the dictionaries and lists below it.
func (c *changes) validationData() (map[int64]bool, error) {
	set := map[int64]bool{}
	root, err := c.before(c.base.Trailer.Get("Root"))
	if err != nil {
		return nil, err
	}
	d, _, err := pdfdoc.ParseDict(root, 0)
	if err != nil {
		return nil, err
	}
	c.below(d.Get("DSS"), 0, set)
	return set, nil
}

// below walks the levels of /DSS: itself, /VRI, one signature's, its lists.
func (c *changes) below(raw []byte, depth int, set map[int64]bool) {
	if raw == nil || depth > 4 {
		return
	}
	v, err := c.before(raw)
	if err != nil {
		return
	}
	_, errList := pdfdoc.Elements(v)
	d, _, errDict := pdfdoc.ParseDict(v, 0)
	if errList != nil && errDict != nil || typeOf(v) == "/Page" {
		return
	}
	if n, _, ok := pdfdoc.Reference(raw); ok {
		set[n] = true
	}
	if errList == nil {
		return // of streams, which may not be replaced
	}
	for _, e := range d {
		if slices.Contains([]string{"VRI", "Certs", "OCSPs", "CRLs", "Cert", "OCSP", "CRL"}, e.Key) || depth == 1 {
			c.below(e.Raw, depth+1, set)
		}
	}
}
