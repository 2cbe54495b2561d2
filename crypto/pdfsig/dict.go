package pdfsig

import (
	"bytes"
	"fmt"
)

// entry is one key of a dictionary with its value as it stands in the file.
type entry struct {
	key        string
	raw        []byte
	start, end int // of raw, in the data given to parseDict
}

// dict is a dictionary in the order of the file. Values stay unparsed, so that
// what we do not change is written back octet for octet.
type dict []entry

// maxEntries bounds one dictionary.
const maxEntries = 4096

// parseDict reads the dictionary at or after i and returns where it ends.
func parseDict(b []byte, i int) (dict, int, error) {
	t, err := scan(b, i)
	if err != nil {
		return nil, 0, err
	}
	if t.kind != kindOpen {
		return nil, 0, malformed("dictionary is missing", i)
	}
	var d dict
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
		d = append(d, entry{nameOf(b[key.start:key.end]), b[start:end], start, end})
		i = end
	}
}

// get returns the first value of that key; nil if there is none.
func (d dict) get(key string) []byte {
	if e := d.find(key); e != nil {
		return e.raw
	}
	return nil
}

func (d dict) find(key string) *entry {
	for i := range d {
		if d[i].key == key {
			return &d[i]
		}
	}
	return nil
}

// count returns how often a key stands: more than once is a trick.
func (d dict) count(key string) int {
	n := 0
	for _, e := range d {
		if e.key == key {
			n++
		}
	}
	return n
}

// with returns the dictionary with one value set.
func (d dict) with(key, raw string) dict {
	out := make(dict, 0, len(d)+1)
	for _, e := range d {
		if e.key != key {
			out = append(out, e)
		}
	}
	return append(out, entry{key: key, raw: []byte(raw)})
}

// bytes writes the dictionary.
func (d dict) bytes() []byte {
	var out bytes.Buffer
	out.WriteString("<<\n")
	for _, e := range d {
		fmt.Fprintf(&out, "/%s %s\n", escapeName(e.key), e.raw)
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

// reference reads "n g R".
func reference(raw []byte) (n, gen int64, ok bool) {
	f := bytes.FieldsFunc(raw, func(r rune) bool { return r < 128 && isSpace(byte(r)) })
	if len(f) != 3 || string(f[2]) != "R" {
		return 0, 0, false
	}
	n, okN := number(f[0])
	gen, okG := number(f[1])
	return n, gen, okN && okG
}

// elements returns the values of an array.
func elements(raw []byte) ([][]byte, error) {
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
