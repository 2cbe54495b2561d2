package pdfsig

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gatewayd/crypto/pdfdoc"
)

// Later is what was appended to a document after a signature. Objects informs
// people: whoever appends can also choose what his objects are called.
type Later struct {
	Octets   int64    // how much
	Objects  []string // kinds of the objects in it with their number, "Page 1"; those that replace one of before end in "*"
	LongTerm bool     // it is nothing but data for long term validation (ETSI EN 319 142-1, 5.4): nothing that can be seen was changed
	Other    string   // why it is not, or could not be proven to be; empty as well where it was not looked into
}

// String says it in words.
func (l *Later) String() string {
	if l == nil {
		return ""
	}
	what := "no object: a cross-reference table alone can show others that were hidden before"
	if len(l.Objects) > 0 {
		what = strings.Join(l.Objects, ", ")
	}
	text := fmt.Sprintf("%d octets were added later (%s)", l.Octets, what)
	if l.LongTerm {
		text += ", nothing but data for long term validation"
	}
	return text
}

var typeName = regexp.MustCompile(`/(Type|SubFilter|FT|SigFlags|DSS)\s*(/[A-Za-z0-9.]+)?`)

// vriMap is the dictionary that names validation data by the signature's digest.
var vriMap = regexp.MustCompile(`^\s*<<(\s*/[0-9A-F]{40}\s+\d+\s+\d+\s+R)+\s*>>\s*$`)

// object is where an object of the file begins: behind "12 0 obj".
type object struct {
	n    string // "12"
	body int
}

// maxListed bounds the objects of a document that are looked at here, maxLater
// those behind one signature.
const (
	maxListed = 1 << 17
	maxLater  = 1000
)

// objectsOf finds the beginnings of objects by their keyword, not by the
// cross-reference table, in one pass.
func objectsOf(pdf []byte) []object {
	var list []object
	for i := 0; len(list) < maxListed; {
		n := bytes.Index(pdf[i:], []byte("obj"))
		if n < 0 {
			break
		}
		at := i + n
		i = at + len("obj")
		if number := pdfdoc.NumberBefore(pdf[max(0, at-32):at]); number != "" {
			list = append(list, object{number, i})
		}
	}
	return list
}

// judge finds out whether all of it is data for long term validation.
func (l *Later) judge(pdf []byte) {
	if err := longTermOnly(pdf, int64(len(pdf))-l.Octets); err != nil {
		l.Other = err.Error()
	} else {
		l.LongTerm = true
	}
}

// laterThan looks at what follows the first n octets.
func laterThan(pdf []byte, objects []object, n int64) *Later {
	l := &Later{Octets: int64(len(pdf)) - n}
	before, kinds := map[string]bool{}, map[string]int{}
	count := 0
	for i, o := range objects {
		if int64(o.body) <= n {
			before[o.n] = true
			continue
		}
		if count++; count > maxLater {
			break
		}
		body := pdf[o.body:]
		if i+1 < len(objects) {
			body = pdf[o.body:objects[i+1].body]
		}
		if end := bytes.Index(body, []byte("endobj")); end >= 0 {
			body = body[:end]
		}
		kind := kindOf(body)
		if before[o.n] {
			kind += "*"
		}
		kinds[kind]++
	}
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		l.Objects = append(l.Objects, fmt.Sprintf("%s %d", k, kinds[k]))
	}
	return l
}

// kindOf names an object by what it says of itself.
func kindOf(body []byte) string {
	head := body
	if i := bytes.Index(head, []byte("stream")); i >= 0 {
		head = head[:i]
	}
	said := map[string]string{}
	for _, m := range typeName.FindAllSubmatch(head[:min(len(head), 64<<10)], -1) {
		if _, ok := said[string(m[1])]; !ok {
			said[string(m[1])] = strings.TrimPrefix(string(m[2]), "/")
		}
	}
	_, form := said["SigFlags"]
	switch {
	case said["SubFilter"] == subFilterStamp:
		return "DocTimeStamp"
	case said["FT"] == "Sig":
		return "Sig field"
	case said["Type"] != "":
		return said["Type"]
	case form:
		return "AcroForm"
	case bytes.Contains(body, []byte("stream")):
		return "stream"
	case bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")):
		return "array"
	case bytes.Contains(head, []byte("/Certs")) || bytes.Contains(head, []byte("/OCSPs")) || bytes.Contains(head, []byte("/CRLs")):
		return "DSS"
	case vriMap.Match(body):
		return "VRI"
	}
	return "other"
}
