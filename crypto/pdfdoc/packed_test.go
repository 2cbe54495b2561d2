package pdfdoc

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestPacked: what lies in an object stream is one thing for who looks by index,
// and for who looks by number; no octet belongs to two objects.
func TestPacked(t *testing.T) {
	for name, c := range map[string]struct {
		table, values string
		ok            bool
	}{
		"two":               {"1 0 2 5 ", "<<>> <</A 1>>", true},
		"a number twice":    {"1 0 1 5 ", "<<>> <</A 1>>", false},
		"the same place":    {"1 0 2 0 ", "<<>> <</A 1>>", false},
		"not in order":      {"1 5 2 0 ", "<<>> <</A 1>>", false},
		"one within other":  {"1 0 2 2 ", "<<<<>>>> ", false},
		"beyond the end":    {"1 0 2 99", "<<>> <</A 1>>", false},
		"no value":          {"1 0 2 13", "<<>> <</A 1>>", false},
		"half of the table": {"1 0 2   ", "<<>> <</A 1>>", false},
	} {
		r := room(maxInflated)
		d, _, err := ParseDict(fmt.Appendf(nil, "<</Type/ObjStm/N 2/First %d>>", len(c.table)), 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.contained(d, []byte(c.table+c.values))
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if !c.ok {
			continue
		}
		if raw, ok := got.get(2, 1); !ok || string(raw) != "<</A 1>>" {
			t.Errorf("%s: %q", name, raw)
		}
		if _, ok := got.get(2, 0); ok {
			t.Errorf("%s: another index", name)
		}
	}
}

// TestIndexMismatch: a document whose cross-reference names the other index of an
// object stream cannot be read.
func TestIndexMismatch(t *testing.T) {
	doc := modern(false)
	d, err := Open(doc)
	if err != nil {
		t.Fatal(err)
	}
	p := d.Places[1]
	p.index = 1
	d.Places[1] = p
	if _, err := d.Load(1, 0); !errors.Is(err, ErrMalformed) {
		t.Errorf("%v", err)
	}
}

// TestOverlap: objects within objects cost no more than the document is long.
func TestOverlap(t *testing.T) {
	const depth = 50
	var b strings.Builder
	b.WriteString("%PDF-1.4\n")
	offsets := make([]int, depth)
	for n := range depth {
		offsets[n] = b.Len()
		fmt.Fprintf(&b, "%d 0 obj [", n+1)
	}
	b.WriteString(strings.Repeat("0 ", 1<<20) + strings.Repeat("]", depth))
	at := b.Len()
	fmt.Fprintf(&b, "\nxref\n1 %d\n", depth)
	for _, o := range offsets {
		fmt.Fprintf(&b, "%010d 00000 n\r\n", o)
	}
	fmt.Fprintf(&b, "trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n", depth+1, at+1)
	d, err := Open([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if _, err := References(d); !errors.Is(err, ErrMalformed) {
		t.Errorf("%v", err)
	}
	t.Log(time.Since(begun))
}
