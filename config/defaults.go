package config

import (
	"reflect"

	"github.com/pelletier/go-toml/v2"
)

// setDefaults writes the values of the default tags into v and the structs in
// it, before the file is read over them.
func setDefaults(v reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		f := v.Field(i)
		if def := t.Field(i).Tag.Get("default"); def != "" {
			setDefault(f, t.Field(i), def)
		} else if f.Kind() == reflect.Struct && isTable(f.Type()) {
			setDefaults(f)
		}
	}
}

// isTable reports whether the struct is one of ours, a table of the file.
func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.NumField() > 0 && t.Field(0).Tag.Get("toml") != ""
}

// setDefault reads a default tag: TOML, where bare words are texts.
func setDefault(f reflect.Value, field reflect.StructField, def string) {
	key := field.Tag.Get("toml")
	holder := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "V", Type: field.Type, Tag: reflect.StructTag(`toml:"` + key + `"`)}}))
	if err := toml.Unmarshal([]byte(key+" = "+literal(field.Type, def)), holder.Interface()); err != nil {
		return // TestDefaults reads every default
	}
	f.Set(holder.Elem().Field(0))
}

func literal(t reflect.Type, def string) string {
	if t.Kind() == reflect.String && def[0] != '"' {
		return `"` + def + `"`
	}
	return def
}

// fillDefaults completes the elements of maps and lists and what pointers name,
// which setDefaults could not know.
func fillDefaults(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fillDefaults(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			fillDefaults(v.Index(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			e := reflect.New(v.Type().Elem()).Elem()
			e.Set(v.MapIndex(k))
			fillDefaults(e)
			v.SetMapIndex(k, e)
		}
	case reflect.Struct:
		if !isTable(v.Type()) {
			return
		}
		t := v.Type()
		for i := range t.NumField() {
			f := v.Field(i)
			if def := t.Field(i).Tag.Get("default"); def != "" && f.IsZero() && f.Kind() != reflect.Bool {
				setDefault(f, t.Field(i), def)
			}
			fillDefaults(f)
		}
	}
}

// missing reports every needed key that has no value.
func (d *document) missing(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			d.missing(v.Elem(), path)
		}
	case reflect.Slice:
		for i := range v.Len() {
			d.missing(v.Index(i), path+index(i+1))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			d.missing(v.MapIndex(k), joinKey(path, k.String()))
		}
	case reflect.Struct:
		if isTable(v.Type()) {
			d.missingFields(v, path)
		}
	}
}

func (d *document) missingFields(v reflect.Value, path string) {
	t := v.Type()
	for i := range t.NumField() {
		f, field := v.Field(i), t.Field(i)
		key := joinKey(path, field.Tag.Get("toml"))
		if f.IsZero() || (f.Kind() == reflect.Slice || f.Kind() == reflect.Map) && f.Len() == 0 {
			if field.Tag.Get("need") != "" {
				d.add(key, "is missing: %s", field.Tag.Get("doc"))
			}
			continue
		}
		d.missing(f, key)
	}
}
