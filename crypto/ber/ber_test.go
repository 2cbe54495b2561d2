package ber

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestElement(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"DER stays", "3006 0201 05 0401 ff", "3006 0201 05 0401 ff"},
		{"indefinite", "3080 0201 05 0000", "3003 0201 05"},
		{"indefinite in indefinite", "3080 3180 0500 0000 0000", "3004 3102 0500"},
		{"indefinite in definite", "3006 3180 0500 0000", "3004 3102 0500"},
		{"definite in indefinite", "3080 3002 0500 0000", "3004 3002 0500"},
		{"empty", "3080 0000", "3000"},
		{"long form of a short length", "3081 03 0201 05", "3003 0201 05"},
		{"length with leading zeros", "3083 000003 0201 05", "3003 0201 05"},
		{"string in pieces", "2480 0402 4142 0401 43 0000", "0403 414243"},
		{"string in pieces, definite", "2407 0402 4142 0401 43", "0403 414243"},
		{"pieces in pieces", "2480 2480 0401 41 0000 0401 42 0000", "0402 4142"},
		{"no pieces", "2480 0000", "0400"},
		{"string in a sequence", "3080 2480 0401 41 0000 0500 0000", "3005 0401 41 0500"},
		{"tagged keeps its tag", "a080 2480 0401 41 0000 0000", "a003 0401 41"},
	} {
		r := NewReader(iotest.OneByteReader(bytes.NewReader(unhex(t, c.in))), Limits{})
		got, err := r.Element(100)
		if err == nil {
			err = r.End()
		}
		if err != nil || !bytes.Equal(got, unhex(t, c.want)) {
			t.Errorf("%s: %x, %v; want %s", c.name, got, err, c.want)
		}
	}
}

func TestBroken(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     error
	}{
		{"nothing", "", ErrMalformed},
		{"half a header", "30", ErrMalformed},
		{"cut length", "3082 01", ErrMalformed},
		{"cut content", "3003 0201", ErrMalformed},
		{"cut indefinite", "3080 0201 05", ErrMalformed},
		{"half an end", "3080 0201 05 00", ErrMalformed},
		{"stray end", "0000", ErrMalformed},
		{"stray end inside", "3004 0000 0500", ErrMalformed},
		{"indefinite primitive", "0480 0000", ErrMalformed},
		{"reserved length", "30ff", ErrMalformed},
		{"high tag", "3f8100 00", ErrMalformed},
		{"child too long", "3003 0203 05", ErrMalformed},
		{"child header out of its parent", "3001 02", ErrMalformed},
		{"end out of its parent", "3003 3180 00 00", ErrMalformed},
		{"string of integers", "2403 0201 05", ErrMalformed},
		{"string of sequences", "2480 3080 0000 0000", ErrMalformed},
		{"huge", "3088 7fffffffffffffff", ErrLimit},
		{"over 64 bits", "30 89 010000000000000000", ErrLimit},
		{"over the caller's limit", "0465" + strings.Repeat("00", 101), ErrLimit},
	} {
		r := NewReader(bytes.NewReader(unhex(t, c.in)), Limits{})
		got, err := r.Element(100)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %x, %v; want %v", c.name, got, err, c.want)
		}
		if _, again := r.Element(100); err != nil && again == nil {
			t.Errorf("%s: error was forgotten", c.name)
		}
	}
}

func TestSkip(t *testing.T) {
	in := unhex(t, "3080 3080 0401 41 2480 0000 0000 0500 0000 0201 07")
	r := NewReader(bytes.NewReader(in), Limits{})
	if err := r.Skip(); err != nil {
		t.Fatal(err)
	}
	got, err := r.Element(10)
	if err != nil || !bytes.Equal(got, []byte{2, 1, 7}) {
		t.Errorf("behind the skipped: %x, %v", got, err)
	}
	if _, err := r.Peek(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if err := r.Skip(); !errors.Is(err, ErrMalformed) {
		t.Errorf("skip at the end: %v", err)
	}
}

func TestEnterLeave(t *testing.T) {
	in := unhex(t, "3080 0201 05 a002 0500 0000")
	r := NewReader(bytes.NewReader(in), Limits{})
	if err := r.Enter(Sequence); err != nil {
		t.Fatal(err)
	}
	if !r.Next(Integer) || r.Next(Set) || !r.More() {
		t.Error("next element is not seen")
	}
	if err := r.Skip(); err != nil {
		t.Fatal(err)
	}
	if err := r.Enter(Context0); err != nil {
		t.Fatal(err)
	}
	if err := r.Skip(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Leave(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.End(); err != nil {
		t.Error(err)
	}
	for name, misuse := range map[string]func(*Reader) error{
		"wrong element":    func(r *Reader) error { return r.Enter(Set) },
		"leave too early":  func(r *Reader) error { return errors.Join(r.Enter(Sequence), r.Leave()) },
		"leave the top":    func(r *Reader) error { return errors.Join(r.Skip(), r.Leave()) },
		"end too early":    func(r *Reader) error { return errors.Join(r.Enter(Sequence), r.End()) },
		"primitive":        func(r *Reader) error { return errors.Join(r.Enter(Sequence), r.Enter(Integer)) },
		"missing":          func(r *Reader) error { return errors.Join(r.Skip(), r.Enter(Sequence)) },
		"no string":        func(r *Reader) error { _, err := r.Octets(OctetString); return err },
		"string is absent": func(r *Reader) error { _, err := r.Octets(Implicit0); return errors.Join(r.Skip(), err) },
	} {
		if err := misuse(NewReader(bytes.NewReader(in), Limits{})); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEnd(t *testing.T) {
	for in, good := range map[string]bool{"0500": true, "0500 000000": true, "0500 0a": false, "0500 0000 01": false} {
		r := NewReader(bytes.NewReader(unhex(t, in)), Limits{Size: 100})
		if err := r.Skip(); err != nil {
			t.Fatal(err)
		}
		if err := r.End(); (err == nil) != good {
			t.Errorf("%s: %v", in, err)
		}
	}
	r := NewReader(io.MultiReader(bytes.NewReader([]byte{5, 0}), zeros{}), Limits{Size: 1000})
	if err := errors.Join(r.Skip(), r.End()); !errors.Is(err, ErrLimit) {
		t.Errorf("endless fill: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestOctets(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789"), 1000)
	pieces := []byte{0xa0, 0x80}
	for i := 0; i < len(big); i += 1000 {
		pieces = append(pieces, Wrap(OctetString, big[i:i+1000])...)
	}
	pieces = append(pieces, 0, 0)
	for _, c := range []struct {
		name string
		in   []byte
		id   byte
		want []byte
	}{
		{"one piece", Wrap(OctetString, big), OctetString, big},
		{"tagged", Wrap(Implicit0, big), Implicit0, big},
		{"pieces", pieces, Implicit0, big},
		{"nested", unhex(t, "2480 2480 0401 41 2403 0401 42 0000 0400 0401 43 0000"), OctetString, []byte("ABC")},
		{"empty", unhex(t, "0400"), OctetString, nil},
		{"no pieces", unhex(t, "a080 0000"), Implicit0, nil},
	} {
		r := NewReader(bytes.NewReader(append(bytes.Clone(c.in), 2, 1, 7)), Limits{})
		o, err := r.Octets(c.id)
		if err != nil {
			t.Fatal(c.name, err)
		}
		if err := iotest.TestReader(o, c.want); err != nil && len(c.want) > 0 {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := io.ReadAll(o); err != nil {
			t.Errorf("%s: at the end: %v", c.name, err)
		}
		if got, err := r.Element(9); err != nil || !bytes.Equal(got, []byte{2, 1, 7}) {
			t.Errorf("%s: behind it %x, %v", c.name, got, err)
		}
	}
	for _, in := range []string{"0405 41", "2480 0401", "2480 0201 05 0000", "a080 3003 0401 41 0000"} {
		b := unhex(t, in)
		r := NewReader(bytes.NewReader(b), Limits{})
		o, err := r.Octets(b[0] &^ Constructed)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(o); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %x, %v", in, got, err)
		}
	}
}

func TestLimits(t *testing.T) {
	for name, lim := range map[string]Limits{"depth": {Depth: 3}, "elements": {Elements: 3}, "size": {Size: 7}} {
		in := unhex(t, "3008 3006 3004 3002 0500")
		if _, err := NewReader(bytes.NewReader(in), lim).Element(100); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := NewReader(bytes.NewReader(in), Limits{}).Element(100); err != nil {
			t.Errorf("%s without: %v", name, err)
		}
	}
	boom := errors.New("boom")
	r := NewReader(io.MultiReader(bytes.NewReader([]byte{0x30, 3, 2}), iotest.ErrReader(boom)), Limits{})
	if _, err := r.Element(100); !errors.Is(err, boom) {
		t.Errorf("error of the source: %v", err)
	}
}

// TestNested is the input that stops every recursive parser: 3,000,000 nested
// elements, open and closed, by every method.
func TestNested(t *testing.T) {
	const n = 3_000_000
	open := bytes.Repeat([]byte{0x30, 0x80}, n)
	strs := bytes.Repeat([]byte{0x24, 0x80}, n)
	closed := append(bytes.Clone(open), make([]byte, 2*n)...)
	for name, in := range map[string][]byte{"open": open, "closed": closed, "strings": strs} {
		for how, read := range map[string]func(*Reader) error{
			"element": func(r *Reader) error { _, err := r.Element(1 << 30); return err },
			"skip":    (*Reader).Skip,
			"octets": func(r *Reader) error {
				o, err := r.Octets(in[0] &^ Constructed)
				if err == nil {
					_, err = io.Copy(io.Discard, o)
				}
				return err
			},
		} {
			begin := time.Now()
			err := read(NewReader(bytes.NewReader(in), Limits{}))
			if !errors.Is(err, ErrLimit) && !errors.Is(err, ErrMalformed) {
				t.Errorf("%s, %s: %v", name, how, err)
			}
			if d := time.Since(begin); d > 10*time.Second {
				t.Errorf("%s, %s: took %v", name, how, d)
			} else {
				t.Logf("%s, %s: %v", name, how, d)
			}
		}
	}
}

func TestWrap(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 255, 256, 65535, 65536, 1 << 20} {
		content := make([]byte, n)
		want, err := asn1.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if got := Wrap(OctetString, content[:n/2], content[n/2:]); !bytes.Equal(got, want) {
			t.Errorf("%d octets: header % x, want % x", n, got[:min(6, len(got))], want[:min(6, len(want))])
		}
	}
	if got := AppendHeader(nil, Sequence, -1); !bytes.Equal(got, []byte{0x30, 0x80}) {
		t.Errorf("indefinite: % x", got)
	}
}

// FuzzReader wants no panic, and that what Element returns is stable and read
// alike by Skip and encoding/asn1.
func FuzzReader(f *testing.F) {
	for _, s := range []string{"3080 3180 0500 0000 0000", "2480 2480 0401 41 0000 0401 42 0000", "3081 03 0201 05", "0000", "30ff", "a080 0000"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in), Limits{})
		der, err := r.Element(1 << 16)
		rest, errRest := io.ReadAll(r.src)
		if err != nil {
			return
		}
		again, err := NewReader(bytes.NewReader(der), Limits{}).Element(1 << 16)
		if err != nil || !bytes.Equal(again, der) {
			t.Errorf("%x reads as %x, then %x (%v)", in, der, again, err)
		}
		var raw asn1.RawValue
		if tail, err := asn1.Unmarshal(der, &raw); err != nil || len(tail) > 0 {
			t.Errorf("encoding/asn1 on %x: %v", der, err)
		}
		s := NewReader(bytes.NewReader(in), Limits{})
		if err := s.Skip(); err != nil {
			t.Errorf("Skip of what Element takes: %v", err)
		}
		if behind, err := io.ReadAll(s.src); !bytes.Equal(behind, rest) || !errors.Is(err, errRest) {
			t.Errorf("Skip and Element stop at different places")
		}
	})
}
