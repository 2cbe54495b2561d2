package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Describe returns the commented reference of the configuration file, made
// from the struct: every key with its meaning, its default or an example.
func Describe() string {
	var b strings.Builder
	b.WriteString("# gatewayd configuration reference (gatewayd config describe)\n")
	b.WriteString("# Keys without a default are needed where marked; relative paths start at this file's folder.\n")
	describeTable(&b, reflect.TypeFor[File](), "", false)
	return b.String()
}

func describeTable(b *strings.Builder, t reflect.Type, path string, list bool) {
	if path != "" {
		open, end := "[", "]"
		if list {
			open, end = "[[", "]]"
		}
		fmt.Fprintf(b, "\n%s%s%s\n", open, path, end)
	}
	var tables []reflect.StructField
	for i := range t.NumField() {
		f := t.Field(i)
		if isSection(f.Type) {
			tables = append(tables, f)
			continue
		}
		describeKey(b, f)
	}
	for _, f := range tables {
		name := f.Tag.Get("toml")
		if path != "" {
			name = path + "." + name
		}
		fmt.Fprintf(b, "\n# %s", f.Tag.Get("doc"))
		switch e := f.Type; e.Kind() {
		case reflect.Map:
			describeTable(b, e.Elem(), name+".NAME", false)
		case reflect.Slice:
			describeTable(b, e.Elem(), name, true)
		case reflect.Pointer:
			describeTable(b, e.Elem(), name, false)
		default:
			describeTable(b, e, name, false)
		}
	}
}

// isSection reports whether the field is written as a table of its own rather
// than as one line.
func isSection(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Map, reflect.Slice, reflect.Pointer:
		return isTable(t.Elem())
	}
	return isTable(t) && !isLine(t)
}

// isLine are the small tables that read best as { … }.
func isLine(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[Certificate](), reflect.TypeFor[Seal](), reflect.TypeFor[Secret](), reflect.TypeFor[Listener](), reflect.TypeFor[Recognition](), reflect.TypeFor[Expect](), reflect.TypeFor[Forward](), reflect.TypeFor[Webhook]():
		return true
	}
	return false
}

func describeKey(b *strings.Builder, f reflect.StructField) {
	need := ""
	if f.Tag.Get("need") != "" {
		need = " Needed."
	}
	fmt.Fprintf(b, "\n# %s%s\n", f.Tag.Get("doc"), need)
	if isLine(f.Type) {
		for i := range f.Type.NumField() {
			part := f.Type.Field(i).Tag
			fmt.Fprintf(b, "#   %s: %s\n", part.Get("toml"), part.Get("doc"))
		}
	}
	value, mark := f.Tag.Get("default"), "# "
	if value == "" {
		value = f.Tag.Get("example")
	} else {
		mark = "#"
	}
	switch {
	case isLine(f.Type) && value == "":
		value = lineTable(f.Type)
	case value == "":
		value = map[string]string{"text": `""`, "true or false": "false", "a number": "0", "a list": "[]", "a table": "{}"}[wanted(f.Type)]
	case wanted(f.Type) == "text" && value[0] != '"' && value[0] != '\'':
		value = `"` + value + `"`
	}
	fmt.Fprintf(b, "%s%s = %s\n", mark, f.Tag.Get("toml"), value)
}

func lineTable(t reflect.Type) string {
	var parts []string
	for i := range t.NumField() {
		f := t.Field(i)
		value := f.Tag.Get("example")
		switch {
		case isLine(f.Type):
			value = lineTable(f.Type)
		case f.Type.Kind() == reflect.Bool:
			value = "false"
		case wanted(f.Type) != "a date":
			value = fmt.Sprintf("%q", value)
		case value == "":
			value = "2030-12-31"
		}
		parts = append(parts, f.Tag.Get("toml")+" = "+value)
	}
	return "{ " + strings.Join(parts, ", ") + " }"
}
