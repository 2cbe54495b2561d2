package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFile bounds the configuration file, in octets.
const maxFile = 4 << 20

// Problem is one mistake in the configuration, with its place and what to do.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Key    string `json:"key,omitempty"`
	Text   string `json:"problem"`
}

// String returns "file:line:column: key: text".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// document is a parsed file with the places of its keys.
type document struct {
	name     string
	file     File
	places   map[string]unstable.Position
	problems []Problem
}

// parse reads the text strictly: syntax, unknown keys and wrong types, all of
// them at once; then missing keys.
func parse(name string, text []byte) *document {
	d := &document{name: name, places: map[string]unstable.Position{}}
	if len(text) > maxFile {
		d.add("", "the file is larger than 4 MiB")
		return d
	}
	d.walk(text)
	if len(d.problems) > 0 {
		return d
	}
	setDefaults(reflect.ValueOf(&d.file).Elem())
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&d.file); err != nil {
		d.decodeError(err)
		return d
	}
	fillDefaults(reflect.ValueOf(&d.file).Elem())
	d.missing(reflect.ValueOf(&d.file).Elem(), "")
	return d
}

func (d *document) add(key, format string, args ...any) {
	p := Problem{File: d.name, Key: key, Text: fmt.Sprintf(format, args...)}
	for k := key; k != ""; k = parentKey(k) {
		if at, ok := d.places[k]; ok {
			p.Line, p.Column = at.Line, at.Column
			break
		}
	}
	d.problems = append(d.problems, p)
}

func parentKey(k string) string {
	i := strings.LastIndexAny(k, ".[")
	if i < 0 {
		return ""
	}
	return k[:i]
}

func (d *document) decodeError(err error) {
	var de *toml.DecodeError
	if errors.As(err, &de) {
		line, column := de.Position()
		d.problems = append(d.problems, Problem{File: d.name, Line: line, Column: column, Key: strings.Join(de.Key(), "."), Text: strings.TrimPrefix(de.Error(), "toml: ")})
		return
	}
	d.add("", "%s", strings.TrimPrefix(err.Error(), "toml: "))
}

// walk compares every key of the text with the struct.
func (d *document) walk(text []byte) {
	var p unstable.Parser
	p.Reset(text)
	root := reflect.TypeFor[File]()
	table, path := root, ""
	arrays := map[string]int{}
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.KeyValue:
			d.keyValue(&p, e, table, path)
		case unstable.Table, unstable.ArrayTable:
			table, path = d.header(&p, e, root, arrays)
		}
	}
	if err := p.Error(); err != nil {
		d.syntaxError(&p, err)
	}
}

func (d *document) syntaxError(p *unstable.Parser, err error) {
	problem := Problem{File: d.name, Text: strings.TrimPrefix(err.Error(), "toml: ")}
	var pe *unstable.ParserError
	if errors.As(err, &pe) && len(pe.Highlight) > 0 {
		at := p.Shape(p.Range(pe.Highlight)).Start
		problem.Line, problem.Column = at.Line, at.Column
	}
	d.problems = append(d.problems, problem)
}

// header resolves [a.b] and [[a]]; a nil type means unknown, and is said once.
func (d *document) header(p *unstable.Parser, e *unstable.Node, t reflect.Type, arrays map[string]int) (reflect.Type, string) {
	path := ""
	keys := e.Key()
	for keys.Next() {
		if t = d.step(p, keys.Node(), t, &path); t == nil {
			return nil, path
		}
		if t.Kind() != reflect.Slice {
			continue
		}
		if t.Elem().Kind() != reflect.Struct {
			d.add(path, "is a list of values: write %s = [ … ]", path)
			return nil, path
		}
		if keys.IsLast() && e.Kind == unstable.ArrayTable {
			arrays[path]++
		}
		t, path = t.Elem(), fmt.Sprintf("%s[%d]", path, arrays[path])
		d.places[path] = d.place(p, keys.Node())
	}
	return t, path
}

func (d *document) place(p *unstable.Parser, n *unstable.Node) unstable.Position {
	return p.Shape(n.Raw).Start
}

// step follows one key into t and records its place.
func (d *document) step(p *unstable.Parser, key *unstable.Node, t reflect.Type, path *string) reflect.Type {
	name := string(key.Data)
	parent := *path
	*path = joinKey(parent, name)
	if _, seen := d.places[*path]; !seen {
		d.places[*path] = d.place(p, key)
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Map:
		return t.Elem()
	case t.Kind() == reflect.Struct && !isText(t):
		if f, ok := fieldByKey(t, name); ok {
			return f.Type
		}
		where := "here"
		if parent != "" {
			where = "in " + parent
		}
		d.add(*path, "unknown key %q %s%s", name, where, suggest(name, keysOf(t)))
	default:
		d.add(parent, "is a single value, not a table")
	}
	return nil
}

func joinKey(parent, name string) string {
	if strings.ContainsAny(name, ". []\"") || name == "" {
		name = strconv.Quote(name)
	}
	if parent == "" {
		return name
	}
	return parent + "." + name
}

func (d *document) keyValue(p *unstable.Parser, e *unstable.Node, t reflect.Type, path string) {
	if t == nil {
		return // the table itself is unknown and was reported
	}
	keys := e.Key()
	for keys.Next() {
		if t = d.step(p, keys.Node(), t, &path); t == nil {
			return
		}
	}
	d.value(p, e.Value(), t, path)
}

// value checks that a TOML value fits a Go type.
func (d *document) value(p *unstable.Parser, v *unstable.Node, t reflect.Type, path string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	want := wanted(t)
	switch v.Kind {
	case unstable.InlineTable:
		if want != "a table" {
			d.add(path, "is a table; it must be %s", want)
			return
		}
		it := v.Children()
		for it.Next() {
			d.keyValue(p, it.Node(), t, path)
		}
	case unstable.Array:
		if want != "a list" {
			d.add(path, "is a list; it must be %s", want)
			return
		}
		it := v.Children()
		for i := 1; it.Next(); i++ {
			d.value(p, it.Node(), t.Elem(), fmt.Sprintf("%s[%d]", path, i))
		}
	default:
		d.scalar(v, t, want, path)
	}
}

func (d *document) scalar(v *unstable.Node, t reflect.Type, want, path string) {
	got := map[unstable.Kind]string{
		unstable.String: "text", unstable.Bool: "true or false", unstable.Integer: "a number", unstable.Float: "a number with a point",
		unstable.LocalDate: "a date", unstable.LocalDateTime: "a date with a time", unstable.LocalTime: "a time", unstable.DateTime: "a date with a time",
	}[v.Kind]
	if got != want {
		d.add(path, "is %s; it must be %s", got, want)
		return
	}
	if u, ok := reflect.New(t).Interface().(encoding.TextUnmarshaler); ok && v.Kind == unstable.String {
		if err := u.UnmarshalText(v.Data); err != nil {
			d.add(path, "%v", err)
		}
	}
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func wanted(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[toml.LocalDate]():
		return "a date"
	case isText(t) || t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
		return "a number"
	case t.Kind() == reflect.Slice:
		return "a list"
	}
	return "a table"
}

func fieldByKey(t reflect.Type, key string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("toml") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		keys = append(keys, t.Field(i).Tag.Get("toml"))
	}
	return keys
}

// suggest names the nearest known key, or all of them when none is near.
func suggest(name string, known []string) string {
	best, distance := "", 4
	for _, k := range known {
		if n := levenshtein(name, k); n < distance && n <= len(k)/2 {
			best, distance = k, n
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return "; known are " + strings.Join(known, ", ")
}

func levenshtein(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
