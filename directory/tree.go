package directory

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// value is one TOML value with its place. A decoder into structs would stop at
// the first value of a wrong type and keep no places; people who edit the file
// deserve all mistakes at once.
type value struct {
	kind         kind
	text         string // of a scalar: as written, strings decoded
	list         []*value
	table        *table
	line, column int
	grows        bool // a list of [[headers]]
}

type kind string

// Kinds, as people are told about them.
const (
	aText  kind = "text"
	aBool  kind = "true or false"
	aDate  kind = "a date like 2026-11-23"
	aList  kind = "a list [ … ]"
	aTable kind = "a table"
	other  kind = "a number or a time"
)

// table keeps the order of its keys.
type table struct {
	keys []*key
}

type key struct {
	name         string
	value        *value
	line, column int
}

func (t *table) get(name string) *key {
	for _, k := range t.keys {
		if k.name == name {
			return k
		}
	}
	return nil
}

// reader turns text into a tree and collects mistakes.
type reader struct {
	unstable.Parser
	file     string
	problems []Problem
}

func (r *reader) add(line, column int, format string, args ...any) {
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Column: column, Text: fmt.Sprintf(format, args...)})
}

func (r *reader) place(n *unstable.Node) (line, column int) {
	start := r.Shape(n.Raw).Start
	return start.Line, start.Column
}

// read parses the text. Of TOML it takes what such a file needs: tables, lists
// of tables, inline tables, dotted keys.
func (r *reader) read(text []byte) *table {
	root := &table{}
	current := root
	r.Reset(text)
	for r.NextExpression() {
		e := r.Expression()
		if e.Kind == unstable.KeyValue {
			r.keyValue(current, e)
			continue
		}
		current = r.header(root, e)
	}
	if err := r.Error(); err != nil {
		r.syntax(err)
	}
	return root
}

func (r *reader) syntax(err error) {
	line, column := 0, 0
	var pe *unstable.ParserError
	if errors.As(err, &pe) && len(pe.Highlight) > 0 {
		start := r.Shape(r.Range(pe.Highlight)).Start
		line, column = start.Line, start.Column
	}
	r.add(line, column, "%s", strings.TrimPrefix(err.Error(), "toml: "))
}

// header opens [a.b] or [[a.b]] and returns the table that follows.
func (r *reader) header(root *table, e *unstable.Node) *table {
	parent, last, line, column := r.walk(root, e.Key())
	fresh := &value{kind: aTable, table: &table{}, line: line, column: column}
	known := parent.get(last)
	switch {
	case e.Kind == unstable.ArrayTable && known == nil:
		list := &value{kind: aList, list: []*value{fresh}, line: line, column: column, grows: true}
		parent.keys = append(parent.keys, &key{last, list, line, column})
	case e.Kind == unstable.ArrayTable && known.value.grows:
		known.value.list = append(known.value.list, fresh)
	case known == nil:
		parent.keys = append(parent.keys, &key{last, fresh, line, column})
	default:
		r.add(line, column, "%q is defined twice; the first time on line %d", last, known.line)
	}
	return fresh.table
}

// walk goes down all keys but the last, making tables on the way.
func (r *reader) walk(t *table, keys unstable.Iterator) (parent *table, last string, line, column int) {
	for keys.Next() {
		n := keys.Node()
		line, column = r.place(n)
		last = string(n.Data)
		if keys.IsLast() {
			break
		}
		t = r.child(t, last, line, column)
	}
	return t, last, line, column
}

func (r *reader) child(t *table, name string, line, column int) *table {
	k := t.get(name)
	if k == nil {
		k = &key{name, &value{kind: aTable, table: &table{}, line: line, column: column}, line, column}
		t.keys = append(t.keys, k)
	}
	v := k.value
	if v.grows {
		v = v.list[len(v.list)-1]
	}
	if v.table == nil {
		r.add(line, column, "%q is %s, not a table", name, v.kind)
		return &table{}
	}
	return v.table
}

func (r *reader) keyValue(t *table, e *unstable.Node) {
	parent, name, line, column := r.walk(t, e.Key())
	if known := parent.get(name); known != nil {
		r.add(line, column, "%q is defined twice; the first time on line %d", name, known.line)
		return
	}
	parent.keys = append(parent.keys, &key{name, r.value(e.Value(), line, column), line, column})
}

// value reads one value; lists and inline tables have no place of their own in
// the parser and get that of what holds them.
func (r *reader) value(n *unstable.Node, line, column int) *value {
	if n.Raw.Length > 0 {
		line, column = r.place(n)
	}
	v := &value{line: line, column: column, kind: other, text: string(n.Data)}
	switch n.Kind {
	case unstable.String:
		v.kind = aText
	case unstable.Bool:
		v.kind = aBool
	case unstable.LocalDate:
		v.kind = aDate
	case unstable.Array:
		v.kind = aList
		for it := n.Children(); it.Next(); {
			v.list = append(v.list, r.value(it.Node(), line, column))
		}
	case unstable.InlineTable:
		v.kind, v.table = aTable, &table{}
		for it := n.Children(); it.Next(); {
			r.keyValue(v.table, it.Node())
		}
		if len(v.table.keys) > 0 {
			v.line, v.column = v.table.keys[0].line, v.table.keys[0].column
		}
	}
	return v
}
