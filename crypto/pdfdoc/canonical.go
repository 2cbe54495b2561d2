package pdfdoc

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// Canonical writes a value in one form, so that two that mean the same compare
// equal however they were written: keys in order, one blank between elements,
// names and strings decoded. What cannot be read stands as it is. A nil value
// is "".
func Canonical(raw []byte) string {
	if raw == nil {
		return ""
	}
	var b strings.Builder
	if end, ok := canonicalAt(&b, raw, 0, 0); !ok || skipSpace(raw, end) != len(raw) {
		return string(raw)
	}
	return b.String()
}

func canonicalAt(b *strings.Builder, raw []byte, i, depth int) (end int, ok bool) {
	t, err := scan(raw, i)
	if err != nil || depth > maxNesting {
		return 0, false
	}
	text := raw[t.start:t.end]
	switch t.kind {
	case kindOpen:
		d, end, err := ParseDict(raw, t.start)
		if err != nil {
			return 0, false
		}
		return end, canonicalDict(b, d, depth)
	case kindArray:
		list, err := Elements(raw[t.start:])
		if err != nil {
			return 0, false
		}
		b.WriteByte('[')
		for n, e := range list {
			if n > 0 {
				b.WriteByte(' ')
			}
			if _, ok := canonicalAt(b, e, 0, depth+1); !ok {
				return 0, false
			}
		}
		b.WriteByte(']')
		_, end, err := value(raw, t.start)
		return end, err == nil
	case kindName:
		b.WriteString("/" + escapeName(NameOf(text)))
	case kindString:
		b.WriteString("<" + hex.EncodeToString(Unescape(text[1:len(text)-1])) + ">")
	case kindHex:
		digits := bytes.ToLower(bytes.Join(bytes.Fields(text[1:len(text)-1]), nil))
		if len(digits)%2 == 1 {
			digits = append(digits, '0')
		}
		b.WriteString("<" + string(digits) + ">")
	case kindWord:
		end := referenceEnd(raw, t)
		if end != t.end {
			n, gen, _ := Reference(raw[t.start:end])
			b.WriteString(strconv.FormatInt(n, 10) + " " + strconv.FormatInt(gen, 10) + " R")
			return end, true
		}
		b.WriteString(canonicalWord(string(text)))
	default:
		return 0, false
	}
	return t.end, true
}

func canonicalDict(b *strings.Builder, d Dict, depth int) bool {
	d = slices.Clone(d)
	slices.SortStableFunc(d, func(a, c Entry) int { return strings.Compare(a.Key, c.Key) })
	b.WriteString("<<")
	for _, e := range d {
		if string(e.Raw) == "null" { // 7.3.7: as if the entry were not there
			continue
		}
		b.WriteString("/" + escapeName(e.Key) + " ")
		if _, ok := canonicalAt(b, e.Raw, 0, depth+1); !ok {
			return false
		}
	}
	b.WriteString(">>")
	return true
}

// canonicalWord writes numbers without needless zeros.
func canonicalWord(s string) string {
	if strings.Trim(s, "+-.0123456789") != "" {
		return s
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return s
}
