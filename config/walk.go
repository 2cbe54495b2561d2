package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"gatewayd/spelling"
)

// header opens [a.b] or [[a]]. The invalid Value means unknown: said once, and
// what follows is passed over.
func (d *document) header(e *unstable.Node) (reflect.Value, string) {
	v, path := reflect.ValueOf(&d.file).Elem(), ""
	keys := e.Key()
	for keys.Next() {
		if v = d.step(keys.Node(), v, &path); !v.IsValid() {
			return v, path
		}
		list := keys.IsLast() && e.Kind == unstable.ArrayTable
		if !d.fits(keys.Node(), v, path, list) {
			return reflect.Value{}, path
		}
		if v.Kind() == reflect.Slice {
			v = d.element(v, &path, keys.Node(), list)
		}
	}
	if first, twice := d.tables[path]; twice {
		d.addAt(d.offset(e.Child()), path, "this table stands twice: the first is in line %d", d.line(first))
	}
	d.tables[path] = d.offset(e.Child())
	return v, path
}

// fits checks that a header may name what is at path.
func (d *document) fits(key *unstable.Node, v reflect.Value, path string, list bool) bool {
	text := ""
	first, given := d.values[path]
	switch want := wanted(v.Type()); {
	case want == aList && v.Type().Elem().Kind() != reflect.Struct:
		text = "is a list of values: write " + path + " = [ … ]"
	case want != aList && want != aTable:
		text = "is not a table; it must be " + want
	case given:
		text = fmt.Sprintf("has a value in line %d already: write everything there", d.line(first))
	case want == aList && !list && v.Len() == 0:
		text = "is a list of tables: write [[" + path + "]]"
	case want == aTable && list:
		text = "is one table: write [" + path + "]"
	default:
		return true
	}
	d.addAt(d.offset(key), path, "%s", text)
	d.wrong[path] = true
	return false
}

// element is the last table of a list, or a new one.
func (d *document) element(v reflect.Value, path *string, key *unstable.Node, add bool) reflect.Value {
	if add {
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	}
	*path += index(v.Len())
	d.places[*path] = d.offset(key)
	return v.Index(v.Len() - 1)
}

// offset is where the node begins in the text.
func (d *document) offset(n *unstable.Node) int { return d.base + int(n.Raw.Offset) }

// step follows one key into v and records its place.
func (d *document) step(key *unstable.Node, v reflect.Value, path *string) reflect.Value {
	name, parent := string(key.Data), *path
	if len(name) > maxKey {
		d.addAt(d.offset(key), parent, "a key has more than %d octets", maxKey)
		return reflect.Value{}
	}
	*path = joinKey(parent, name)
	if _, seen := d.places[*path]; !seen {
		d.places[*path] = d.offset(key)
	}
	switch {
	case v.Kind() == reflect.Map:
		return d.entry(v, *path, name)
	case v.Kind() == reflect.Struct && !isText(v.Type()):
		if i, ok := fieldByKey(v.Type(), name); ok {
			return pointed(v.Field(i))
		}
		d.unknown(key, v.Type(), parent, name)
	default:
		d.addAt(d.offset(key), parent, "is a single value, not a table; it must be %s", wanted(v.Type()))
	}
	return reflect.Value{}
}

// pointed follows a pointer, making what it points at.
func pointed(v reflect.Value) reflect.Value {
	if v.Kind() != reflect.Pointer {
		return v
	}
	if v.IsNil() {
		v.Set(reflect.New(v.Type().Elem()))
	}
	return v.Elem()
}

// entry is the value of a map at a key; it comes into the map at the end.
func (d *document) entry(m reflect.Value, path, name string) reflect.Value {
	if e, ok := d.elements[path]; ok {
		return e
	}
	if m.IsNil() {
		m.Set(reflect.MakeMap(m.Type()))
	}
	e := reflect.New(m.Type().Elem()).Elem()
	d.elements[path] = e
	d.finish = append(d.finish, func() { m.SetMapIndex(reflect.ValueOf(name), e) })
	return e
}

func (d *document) unknown(key *unstable.Node, t reflect.Type, parent, name string) {
	where := "here"
	if parent != "" {
		where = "in " + parent
	}
	near, text := suggestion(name, keysOf(t))
	if near != "" {
		d.wrong[joinKey(parent, near)] = true // it is meant, not missing
	}
	d.addAt(d.offset(key), joinKey(parent, name), "unknown key %q %s%s", name, where, text)
}

func (d *document) keyValue(e *unstable.Node, v reflect.Value, path string) {
	if !v.IsValid() {
		return // the table itself is unknown and was reported
	}
	keys := e.Key()
	for keys.Next() {
		if v = d.step(keys.Node(), v, &path); !v.IsValid() {
			return
		}
		if first, ok := d.values[path]; ok {
			d.addAt(d.offset(e.Child().Next()), path, "stands twice: the first is in line %d", d.line(first))
			return
		}
		if !keys.IsLast() && v.Kind() == reflect.Slice {
			d.add(path, "is a list; it cannot be written with a dot")
			return
		}
	}
	at := d.offset(e.Child().Next())
	if first, ok := d.tables[path]; ok {
		d.addAt(at, path, "stands twice: the first is in line %d", d.line(first))
		return
	}
	d.value(e.Value(), v, path)
	d.values[path] = at
}

// value checks that a TOML value fits and stores it.
func (d *document) value(n *unstable.Node, v reflect.Value, path string) {
	want := wanted(v.Type())
	switch {
	case n.Kind == unstable.InlineTable && want == aTable:
		it := n.Children()
		for it.Next() {
			d.keyValue(it.Node(), v, path)
		}
	case n.Kind == unstable.Array && want == aList:
		it := n.Children()
		for i := 1; it.Next(); i++ {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
			element := path + index(i)
			d.places[element] = d.valueOffset(it.Node(), path)
			d.value(it.Node(), v.Index(i-1), element)
		}
	case got(n.Kind) != want:
		d.refuse(path, "is %s; it must be %s%s", got(n.Kind), want, hint(v.Type()))
	default:
		d.scalar(n, v, path)
	}
}

// valueOffset is where a value begins; tables without a place of their own
// begin at their key.
func (d *document) valueOffset(n *unstable.Node, path string) int {
	if n.Raw.Length == 0 {
		return d.places[path]
	}
	return d.offset(n)
}

// refuse notes that the value at a key could not be read.
func (d *document) refuse(path, format string, args ...any) {
	d.wrong[path] = true
	if strings.HasSuffix(path, "]") {
		d.wrong[parentKey(path)] = true // of a list with a gap nothing more is said
	}
	d.add(path, format, args...)
}

func (d *document) scalar(n *unstable.Node, v reflect.Value, path string) {
	text := string(n.Data)
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText(n.Data); err != nil {
			d.refuse(path, "%s", strings.TrimPrefix(err.Error(), "toml: "))
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(text == "true")
	default:
		number, err := strconv.ParseInt(text, 0, 32)
		if err != nil {
			d.refuse(path, "is no whole number that can be used here")
		}
		v.SetInt(number)
	}
}

// What a value can be, in the words of the messages.
const (
	aTable = "a table"
	aList  = "a list"
	aText  = "text"
	aDate  = "a date"
)

func got(k unstable.Kind) string {
	return map[unstable.Kind]string{
		unstable.String: aText, unstable.Bool: "true or false", unstable.Integer: "a number", unstable.Float: "a number with a point", unstable.LocalDate: aDate,
		unstable.LocalDateTime: "a date with a time", unstable.LocalTime: "a time", unstable.DateTime: "a date with a time", unstable.Array: aList, unstable.InlineTable: aTable,
	}[k]
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func wanted(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[toml.LocalDate]():
		return aDate
	case isText(t) || t.Kind() == reflect.String:
		return aText
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "a number"
	case t.Kind() == reflect.Slice:
		return aList
	}
	return aTable
}

// hint shows how the value is written.
func hint(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Duration]():
		return ` like "15m", "72h" or "5d"`
	case reflect.TypeFor[Size]():
		return ` like "30 MB"`
	case reflect.TypeFor[toml.LocalDate]():
		return " like 2026-01-31, without quotes"
	case reflect.TypeFor[Secret]():
		return `: { file = "…" } or { env = "…" }; the value itself never stands here`
	case reflect.TypeFor[Certificate]():
		return `: { cert = "…", key = "…" }`
	case reflect.TypeFor[Seal]():
		return `: { cert = "…", key = "…" } or { cert = "…", agent = true }`
	case reflect.TypeFor[Listener]():
		return `: { addr = "…" }`
	}
	return ""
}

func fieldByKey(t reflect.Type, key string) (int, bool) {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("toml") == key {
			return i, true
		}
	}
	return 0, false
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		keys = append(keys, t.Field(i).Tag.Get("toml"))
	}
	return keys
}

// suggestion names the nearest known key, or all of them when none is near.
func suggestion(name string, known []string) (near, text string) {
	near = spelling.Nearest(name, known)
	if near != "" {
		return near, fmt.Sprintf("; did you mean %q?", near)
	}
	return "", "; known are " + strings.Join(known, ", ")
}
