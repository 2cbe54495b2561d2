package config

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// tablesOf calls f for every field of every table, with its key.
func tablesOf(t reflect.Type, path string, f func(field reflect.StructField, key string)) {
	for i := range t.NumField() {
		field := t.Field(i)
		key := field.Tag.Get("toml")
		if path != "" {
			key = path + "." + key
		}
		f(field, key)
		switch e := field.Type; {
		case isTable(e):
			tablesOf(e, key, f)
		case e.Kind() == reflect.Pointer:
			tablesOf(e.Elem(), key, f)
		case e.Kind() == reflect.Map && isTable(e.Elem()):
			tablesOf(e.Elem(), key+".NAME", f)
		case e.Kind() == reflect.Slice && isTable(e.Elem()):
			tablesOf(e.Elem(), key+"[1]", f)
		}
	}
}

func TestDefaults(t *testing.T) {
	defaults := 0
	tablesOf(reflect.TypeFor[File](), "", func(field reflect.StructField, key string) {
		def := field.Tag.Get("default")
		if def == "" {
			return
		}
		defaults++
		v := reflect.New(field.Type).Elem()
		setDefault(v, field, def)
		if v.IsZero() {
			t.Errorf("%s: the default %s cannot be read", key, def)
		}
		if field.Tag.Get("need") != "" {
			t.Errorf("%s: is needed and has a default", key)
		}
	})
	if defaults < 20 {
		t.Errorf("only %d defaults", defaults)
	}
}

func TestEveryKeyIsDocumented(t *testing.T) {
	tablesOf(reflect.TypeFor[File](), "", func(field reflect.StructField, key string) {
		if doc := field.Tag.Get("doc"); !strings.HasSuffix(doc, ".") {
			t.Errorf("%s: doc %q is no sentence", key, doc)
		}
		if !bare.MatchString(field.Tag.Get("toml")) {
			t.Errorf("%s: no key", key)
		}
	})
}

var commented = regexp.MustCompile(`(?m)^# ?([a-z_]+ = )`)

func TestDescribe(t *testing.T) {
	if err := toml.Unmarshal([]byte(Describe()), &File{}); err != nil {
		t.Errorf("as printed: %v", err)
	}
	text := commented.ReplaceAllString(Describe(), "$1")
	var f File
	if err := toml.NewDecoder(strings.NewReader(text)).DisallowUnknownFields().Decode(&f); err != nil {
		t.Fatalf("uncommented: %v", err)
	}
	d := parse("describe", []byte(text))
	for _, p := range d.problems {
		if !strings.Contains(p.Text, "is missing") {
			t.Errorf("%s", p)
		}
	}
	tablesOf(reflect.TypeFor[File](), "", func(field reflect.StructField, key string) {
		_, ok := d.places[key]
		if line := "#   " + field.Tag.Get("toml") + ": " + field.Tag.Get("doc"); !ok && !strings.Contains(text, line) {
			t.Errorf("%s is not described", key)
		}
	})
}

// TestDescribeShowsDefaults: what the reference shows behind # is what happens
// without the line.
func TestDescribeShowsDefaults(t *testing.T) {
	regular := regexp.MustCompile(`(?m)^#([a-z_]+ = )`)
	got := parse("describe", []byte(regular.ReplaceAllString(Describe(), "$1"))).file
	bare := parse("describe", []byte(Describe())).file
	if !reflect.DeepEqual(got, bare) {
		t.Errorf("with defaults written out:\n%+v\nwithout:\n%+v", got, bare)
	}
}
