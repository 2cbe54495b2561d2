package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Bounds of the configuration file.
const (
	maxFile     = 1 << 20 // octets
	maxProblems = 100     // shown at once
	maxKey      = 128     // octets of one part of a key
)

// Problem is one mistake in the configuration, with its place and what to do.
// It quotes neither secrets nor addresses.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`   // from 1; 0: the whole file
	Column int    `json:"column,omitempty"` // in characters, from 1
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

// document is a parsed file with the places of its keys. It reads the text into
// the struct itself, not by a decoder, which would stop at the first mistake.
type document struct {
	name     string
	text     []byte
	base     int // where the parser began in text
	file     File
	places   map[string]int  // key → offset in text
	values   map[string]int  // keys with a value → offset
	tables   map[string]int  // headers → offset
	wrong    map[string]bool // keys whose value could not be read
	elements map[string]reflect.Value
	finish   []func() // put the elements into their maps
	problems []Problem
}

// parse reads the text strictly: syntax, unknown keys, wrong types, and missing
// keys, all of them at once.
func parse(name string, text []byte) *document {
	d := &document{
		name: name, text: bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), places: map[string]int{}, values: map[string]int{}, tables: map[string]int{},
		wrong: map[string]bool{}, elements: map[string]reflect.Value{},
	}
	if !d.readable() {
		return d
	}
	for d.base = 0; d.base < len(d.text); {
		d.base = d.walk()
	}
	for _, f := range d.finish {
		f()
	}
	d.defaults(reflect.ValueOf(&d.file).Elem(), "")
	if !d.broken() {
		d.missing(reflect.ValueOf(&d.file).Elem(), "")
	}
	return d
}

// readable reports whether the text can be TOML at all.
func (d *document) readable() bool {
	switch {
	case len(d.text) > maxFile:
		d.addAt(-1, "", "the file is larger than 1 MiB")
	case bytes.HasPrefix(d.text, []byte("\xff\xfe")) || bytes.HasPrefix(d.text, []byte("\xfe\xff")):
		d.addAt(-1, "", "the file is UTF-16: save it as UTF-8")
	case !utf8.Valid(d.text):
		d.addAt(firstInvalid(d.text), "", "this is not UTF-8: save the file as UTF-8")
	}
	d.wrong[""] = len(d.problems) > 0
	return !d.broken()
}

func firstInvalid(text []byte) int {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(text)
}

// broken reports whether a part of the text could not be read as TOML, so that
// nothing can be said about what is missing.
func (d *document) broken() bool { return d.wrong[""] }

// walk reads expressions until the end or a syntax error, and returns where to
// go on: at the next line that begins a table.
func (d *document) walk() int {
	var p unstable.Parser
	p.Reset(d.text[d.base:])
	table, path := reflect.ValueOf(&d.file).Elem(), ""
	for len(d.problems) <= maxProblems && p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.KeyValue:
			d.keyValue(e, table, path)
		case unstable.Table, unstable.ArrayTable:
			table, path = d.header(e)
		}
	}
	if p.Error() == nil { // or nothing more is shown
		return len(d.text)
	}
	at := d.syntaxError(&p)
	next := bytes.Index(d.text[at:], []byte("\n["))
	if next < 0 {
		return len(d.text)
	}
	return at + next + 1
}

// offending is the character that the parser names: it may belong to a secret.
var offending = regexp.MustCompile(`:? ?(but got )?U\+[0-9A-F]{4,6}( '.*')?`)

func (d *document) syntaxError(p *unstable.Parser) int {
	err, at := p.Error(), -1
	var pe *unstable.ParserError
	if errors.As(err, &pe) {
		if i := cap(p.Data()) - cap(pe.Highlight); i >= 0 && i <= len(p.Data()) {
			at = d.base + i
		}
	}
	text := offending.ReplaceAllString(strings.TrimPrefix(err.Error(), "toml: "), "")
	if strings.HasSuffix(text, "at start of value") {
		text += `: text stands in "quotes"`
	}
	d.wrong[""] = true
	d.addAt(at, "", "%s", text)
	return max(at, d.base)
}

// add notes a mistake at a key, or where the table of a missing key begins.
func (d *document) add(key, format string, args ...any) {
	at := -1
	for k := key; k != "" && at < 0; k = parentKey(k) {
		if i, ok := d.places[k]; ok {
			at = i
		}
	}
	d.addAt(at, key, format, args...)
}

func (d *document) addAt(offset int, key, format string, args ...any) {
	p := Problem{File: d.name, Key: key, Text: fmt.Sprintf(format, args...)}
	switch {
	case len(d.problems) > maxProblems:
		return
	case len(d.problems) == maxProblems:
		p = Problem{File: d.name, Text: "there are more mistakes than can be shown"}
	case offset >= 0:
		p.Line, p.Column = d.position(offset)
	}
	d.problems = append(d.problems, p)
}

// position counts lines and, in the line, characters.
func (d *document) position(offset int) (line, column int) {
	before := d.text[:offset]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1
}

// line tells where something stands.
func (d *document) line(offset int) int {
	line, _ := d.position(offset)
	return line
}

// sorted returns the mistakes in the order of the text.
func sorted(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(problems)
}

// bare is what a key may hold without quotes.
var bare = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// joinKey writes the key as it could stand in the file.
func joinKey(parent, name string) string {
	if !bare.MatchString(name) {
		name = strconv.Quote(name)
	}
	if parent == "" {
		return name
	}
	return parent + "." + name
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }

// parentKey takes off the last part, which may be quoted.
func parentKey(k string) string {
	if strings.HasSuffix(k, `"`) {
		for i := len(k) - 2; i >= 0; i-- {
			if k[i] == '"' && (i == 0 || k[i-1] != '\\') {
				return strings.TrimSuffix(k[:i], ".")
			}
		}
	}
	i := strings.LastIndexAny(k, ".[")
	if i < 0 {
		return ""
	}
	return k[:i]
}

// isWrong reports whether the value at the key, or of a table around it, could
// not be read and was reported already.
func (d *document) isWrong(key string) bool {
	for ; key != ""; key = parentKey(key) {
		if d.wrong[key] {
			return true
		}
	}
	return false
}
