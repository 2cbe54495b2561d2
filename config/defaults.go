package config

import (
	"reflect"

	"github.com/pelletier/go-toml/v2"
)

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

// defaults gives every key that the text leaves out its default. What the text
// says stays, also a zero.
func (d *document) defaults(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			d.defaults(v.Elem(), path)
		}
	case reflect.Slice:
		for i := range v.Len() {
			d.defaults(v.Index(i), path+index(i+1))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			e := reflect.New(v.Type().Elem()).Elem()
			e.Set(v.MapIndex(k))
			d.defaults(e, joinKey(path, k.String()))
			v.SetMapIndex(k, e)
		}
	case reflect.Struct:
		if isTable(v.Type()) {
			d.defaultFields(v, path)
		}
	}
}

func (d *document) defaultFields(v reflect.Value, path string) {
	for i := range v.NumField() {
		f, field := v.Field(i), v.Type().Field(i)
		key := joinKey(path, field.Tag.Get("toml"))
		if _, given := d.places[key]; given || field.Tag.Get("default") == "" {
			d.defaults(f, key)
			continue
		}
		setDefault(f, field, field.Tag.Get("default"))
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
			if field.Tag.Get("need") != "" && !d.isWrong(key) {
				d.refuse(key, "is missing: %s", field.Tag.Get("doc"))
			}
			continue
		}
		d.missing(f, key)
	}
}
