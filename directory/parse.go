package directory

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/message"
)

// platforms are the platforms that a recipient can be registered on.
func platforms() []string { return []string{"incamail", "privasphere"} }

// field says how one key of a table is read.
type field struct {
	kind kind
	need bool
	set  func(v *value) (mistake string)
}

// parse reads the whole file.
func parse(file string, text []byte) (*Directory, []Problem) {
	r := &reader{file: file}
	root := r.read(text)
	d := &Directory{byKey: map[string]Recipient{}}
	lines := map[string]int{}
	r.fill("the directory", &value{table: root}, map[string]field{
		"recipient": {aList, false, func(v *value) string {
			for _, e := range v.list {
				r.entry(d, e, lines)
			}
			return ""
		}},
		"delegate": {aList, false, r.each(func(v *value) { r.delegate(d, v) })},
	})
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b Problem) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Column - b.Column
		})
		return nil, r.problems
	}
	return d, nil
}

// entry reads one recipient.
func (r *reader) entry(d *Directory, v *value, lines map[string]int) {
	var e Recipient
	r.fill("a recipient", v, map[string]field{
		"address":   {aText, true, address(&e.Address)},
		"name":      {aText, false, words(&e.Name)},
		"canton":    {aText, false, oneOf(&e.Canton, calendar.IDs()...)},
		"platforms": {aList, false, r.each(func(v *value) { e.Platforms = append(e.Platforms, r.platform(v, e.Platforms)) })},
		"consent":   {aList, false, r.each(func(v *value) { e.Consents = append(e.Consents, r.consent(v)) })},
	})
	if e.Address.IsNull() {
		return
	}
	id := e.Address.Key()
	if first, twice := lines[id]; twice {
		r.add(v.line, v.column, "this recipient has the same address as the one on line %d; write one entry for both", first)
		return
	}
	lines[id] = v.line
	d.byKey[id] = e
}

func (r *reader) platform(v *value, before []Platform) Platform {
	var p Platform
	r.fill("a platform", v, map[string]field{
		"name":       {aText, true, oneOf(&p.Name, platforms()...)},
		"identified": {aBool, false, func(v *value) string { p.Identified = v.text == "true"; return "" }},
		"checked":    {aDate, true, day(&p.Checked)},
		"address":    {aText, false, address(&p.Address)},
	})
	if p.Name != "" && slices.ContainsFunc(before, func(o Platform) bool { return o.Name == p.Name }) {
		r.add(v.line, v.column, "the platform %q stands twice in this entry", p.Name)
	}
	return p
}

func (r *reader) consent(v *value) Consent {
	var c Consent
	var scope string
	r.fill("a consent", v, map[string]field{
		"authority": {aText, true, authority(&c.Authority)},
		"scope":     {aText, true, oneOf(&scope, string(All), string(Case))},
		"form":      {aText, true, oneOf(&c.Form, "text", "minuted")},
		"given":     {aDate, true, day(&c.Given)},
		"revoked":   {aDate, false, day(&c.Revoked)},
		"evidence":  {aText, true, evidence(&c.Evidence)},
		"expects":   {aBool, false, func(v *value) string { c.Expects = map[string]string{"true": "yes", "false": "no"}[v.text]; return "" }},
	})
	c.Scope = Scope(scope)
	if !c.Revoked.IsZero() && c.Revoked.Before(c.Given) {
		r.add(v.line, v.column, "revoked before it was given")
	}
	return c
}

// fill reads a table key by key and reports what is unknown, missing or wrong.
func (r *reader) fill(what string, v *value, fields map[string]field) {
	if v.table == nil {
		r.add(v.line, v.column, "%s is %s; it must be a table { … }", what, v.kind)
		return
	}
	known := make([]string, 0, len(fields))
	for name := range fields {
		known = append(known, name)
	}
	slices.Sort(known)
	for _, k := range v.table.keys {
		f, ok := fields[k.name]
		if !ok {
			r.add(k.line, k.column, "unknown key %q in %s; %s", k.name, what, suggest(k.name, known))
			continue
		}
		if k.value.kind != f.kind {
			r.add(k.value.line, k.value.column, "%s is %s; it must be %s", k.name, k.value.kind, f.kind)
			continue
		}
		if mistake := f.set(k.value); mistake != "" {
			r.add(k.value.line, k.value.column, "%s %s", k.name, mistake)
		}
	}
	for _, name := range known {
		if fields[name].need && v.table.get(name) == nil {
			r.add(v.line, v.column, "%s lacks the key %q", what, name)
		}
	}
}

func (r *reader) each(read func(v *value)) func(*value) string {
	return func(v *value) string {
		for _, e := range v.list {
			read(e)
		}
		return ""
	}
}

func address(to *message.Address) func(*value) string {
	return func(v *value) string {
		a, err := message.ParseAddress(v.text)
		if err != nil || a.IsNull() {
			return "is not a mail address (local@domain, without name and brackets)"
		}
		*to = a
		return ""
	}
}

func words(to *string) func(*value) string {
	return func(v *value) string {
		if len(v.text) > 200 || strings.ContainsFunc(v.text, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return "is longer than 200 octets or has control characters"
		}
		*to = v.text
		return ""
	}
}

func oneOf(to *string, known ...string) func(*value) string {
	return func(v *value) string {
		if !slices.Contains(known, v.text) {
			return "has an unknown value; " + suggest(v.text, known)
		}
		*to = v.text
		return ""
	}
}

func authority(to *string) func(*value) string {
	return func(v *value) string {
		if v.text != Everybody && !isWord(v.text) {
			return `must be the id of an authority in the configuration, or "*" for all`
		}
		*to = v.text
		return ""
	}
}

func evidence(to *string) func(*value) string {
	return func(v *value) string {
		if digest, ok := strings.CutPrefix(v.text, "sha256:"); ok {
			if raw, err := hex.DecodeString(digest); err != nil || len(raw) != 32 {
				return "must have 64 hexadecimal digits after sha256:"
			}
		}
		if v.text == "" {
			return "must say where the proof is"
		}
		return words(to)(v)
	}
}

// day reads a date as the beginning of that legal day.
func day(to *time.Time) func(*value) string {
	return func(v *value) string {
		d, err := calendar.ParseDay(v.text)
		if err != nil {
			return "is no date that exists"
		}
		*to = d.Start()
		return ""
	}
}
