package pdfdoc

import (
	"bytes"
	"fmt"
)

// Entry is one key of a dictionary with its value as it stands in the file.
type Entry struct {
	Key        string
	Raw        []byte
	Start, End int // of raw, in the data given to parseDict
}

// Dict is a dictionary in the order of the file. Values stay unparsed, so that
// what we do not change is written back octet for octet.
type Dict []Entry

// maxEntries bounds one dictionary.
const maxEntries = 4096

// ParseDict reads the dictionary at or after i and returns where it ends.
func ParseDict(b []byte, i int) (Dict, int, error) {
	t, err := scan(b, i)
	if err != nil {
		return nil, 0, err
	}
	if t.kind != kindOpen {
		return nil, 0, malformed("dictionary is missing", i)
	}
	var d Dict
	for i = t.end; ; {
		key, err := scan(b, i)
		if err != nil {
			return nil, 0, err
		}
		if key.kind == kindClose {
			return d, key.end, nil
		}
		if key.kind != kindName || len(d) >= maxEntries {
			return nil, 0, malformed("dictionary key", key.start)
		}
		start, end, err := value(b, key.end)
		if err != nil {
			return nil, 0, err
		}
		d = append(d, Entry{NameOf(b[key.start:key.end]), b[start:end], start, end})
		i = end
	}
}

// Get returns the first value of that key; nil if there is none.
func (d Dict) Get(key string) []byte {
	if e := d.Find(key); e != nil {
		return e.Raw
	}
	return nil
}

func (d Dict) Find(key string) *Entry {
	for i := range d {
		if d[i].Key == key {
			return &d[i]
		}
	}
	return nil
}

// Count returns how often a key stands: more than once is a trick.
func (d Dict) Count(key string) int {
	n := 0
	for _, e := range d {
		if e.Key == key {
			n++
		}
	}
	return n
}

// With returns the dictionary with one value set.
func (d Dict) With(key, raw string) Dict {
	out := make(Dict, 0, len(d)+1)
	for _, e := range d {
		if e.Key != key {
			out = append(out, e)
		}
	}
	return append(out, Entry{Key: key, Raw: []byte(raw)})
}

// Bytes writes the dictionary.
func (d Dict) Bytes() []byte {
	var out bytes.Buffer
	out.WriteString("<<\n")
	for _, e := range d {
		fmt.Fprintf(&out, "/%s %s\n", escapeName(e.Key), e.Raw)
	}
	out.WriteString(">>")
	return out.Bytes()
}

func escapeName(s string) string {
	var out []byte
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 127 || c == '#' || isDelimiter(c) {
			out = fmt.Appendf(out, "#%02X", c)
		} else {
			out = append(out, c)
		}
	}
	return string(out)
}

// Reference reads "n g R".
func Reference(raw []byte) (n, gen int64, ok bool) {
	f := bytes.FieldsFunc(raw, func(r rune) bool { return r < 128 && isSpace(byte(r)) })
	if len(f) != 3 || string(f[2]) != "R" {
		return 0, 0, false
	}
	n, okN := Number(f[0])
	gen, okG := Number(f[1])
	return n, gen, okN && okG
}

// Elements returns the values of an array.
func Elements(raw []byte) ([][]byte, error) {
	t, err := scan(raw, 0)
	if err != nil {
		return nil, err
	}
	if t.kind != kindArray {
		return nil, malformed("array is missing", t.start)
	}
	var out [][]byte
	for i := t.end; ; {
		t, err := scan(raw, i)
		if err != nil {
			return nil, err
		}
		if t.kind == kindArrayEnd {
			return out, nil
		}
		start, end, err := value(raw, i)
		if err != nil {
			return nil, err
		}
		out = append(out, raw[start:end])
		i = end
	}
}
