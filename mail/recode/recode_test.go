package recode

import (
	"errors"
	"io"
	"strings"
	"testing"

	"gatewayd/mail"
	"gatewayd/mail/parts"
)

const letter = "Subject: a\n b\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\nvor\r\n" +
	"--x\r\nX-A:1\r\n\r\nfirst\r\n--x\r\n\r\nsecond\n\r\n--x--\r\nnach"

// TestApply: what was to be changed is, every other octet stays.
func TestApply(t *testing.T) {
	r := strings.NewReader(letter)
	tree, err := parts.Read(r, r.Size(), parts.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	body := func(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }
	head := func(h *mail.Header) error { return h.Replace("X-B", "2") }
	for name, c := range map[string]struct {
		changes []Change
		want    string
	}{
		"nothing":         {nil, letter},
		"a body":          {[]Change{{Part: 1, Body: body("1st")}}, strings.Replace(letter, "first", "1st", 1)},
		"a header":        {[]Change{{Part: 1, Header: head}}, strings.Replace(letter, "X-A:1\r\n", "X-A:1\r\nX-B: 2\r\n", 1)},
		"none before":     {[]Change{{Part: 2, Header: head, Body: body("2nd")}}, strings.Replace(letter, "\r\nsecond\n", "X-B: 2\r\n\r\n2nd", 1)},
		"in any order":    {[]Change{{Part: 2, Body: body("")}, {Part: 1, Body: body("")}}, strings.NewReplacer("first", "", "second\n", "").Replace(letter)},
		"the whole first": {[]Change{{Part: 0, Header: head}, {Part: 2, Body: body("2nd")}}, strings.NewReplacer("boundary=x\r\n", "boundary=x\r\nX-B: 2\r\n", "second\n", "2nd").Replace(letter)},
	} {
		m, err := Apply(r, r.Size(), tree, c.changes)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for range 2 {
			if got, err := io.ReadAll(m.Reader()); err != nil || string(got) != c.want {
				t.Errorf("%s: %v\n%q\nwant\n%q", name, err, got, c.want)
			}
		}
	}
	if _, err := Apply(r, r.Size(), tree, []Change{{Part: 0, Body: body("")}, {Part: 1, Body: body("")}}); !errors.Is(err, errOverlap) {
		t.Errorf("a part of a new body: %v", err)
	}
	cut := strings.NewReader("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nA: b\r\n--y\r\nbody\r\n--x--\r\n")
	if tree, err = parts.Read(cut, cut.Size(), parts.Limits{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Change{{Part: 1, Header: head}, {Part: 1, Body: body("")}} {
		if _, err := Apply(cut, cut.Size(), tree, []Change{c}); !errors.Is(err, errNoBlank) {
			t.Errorf("a header without end: %v", err)
		}
	}
	if tree, err = parts.Read(r, r.Size(), parts.Limits{}); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	if _, err := Apply(r, r.Size(), tree, []Change{{Part: 1, Header: func(*mail.Header) error { return boom }}}); !errors.Is(err, boom) {
		t.Errorf("an edit that fails: %v", err)
	}
}

// TestQuotedPrintable: what comes out is seven bits wide, 76 characters long, and
// decodes to what went in, wherever the reader stops.
func TestQuotedPrintable(t *testing.T) {
	for _, text := range []string{
		"", "a", "ä", "a \r\n", "a=b\r\n\r\n", strings.Repeat("ü", 9000) + "\r\n", strings.Repeat("lang ", 5000), "\t\r\n.\r\n", "a\nb", "a\rb\r", "\r\r\n\n",
		strings.Repeat("x", 75) + "--x\r\n", strings.Repeat("x", 74) + "\t\r\n", strings.Repeat("x", 75) + " \r\n", "From a\r\n.\r\n--x\r\n", strings.Repeat("--x", 100) + " ",
	} {
		raw, err := io.ReadAll(QuotedPrintable(iotest{strings.NewReader(text)}))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(raw), "\r\n") {
			if len(line) > 76 || strings.ContainsFunc(line, func(r rune) bool { return r > 126 || r < ' ' && r != '\t' }) || strings.HasSuffix(line, " ") || strings.HasSuffix(line, "\t") || strings.HasPrefix(line, "-") || strings.HasPrefix(line, "From ") || strings.HasPrefix(line, ".") || strings.ContainsAny(line, "\r\n") {
				t.Errorf("%.20q: line %q", text, line)
			}
		}
		p := parts.Part{Encoding: "quoted-printable", Body: parts.Range{End: int64(len(raw))}}
		if got, _ := io.ReadAll(p.Decode(strings.NewReader(string(raw)))); string(got) != text {
			t.Errorf("%.20q came back as %.40q", text, got)
		}
	}
}

// iotest gives three octets at a time.
type iotest struct{ r io.Reader }

func (i iotest) Read(p []byte) (int, error) { return i.r.Read(p[:min(3, len(p))]) }

// TestQuotedPrintableCost: a long text costs no memory for its octets: it is encoded
// three times for one signature.
func TestQuotedPrintableCost(t *testing.T) {
	text := strings.Repeat("Grüezi, дддд\r\n", 20_000)
	if n := testing.AllocsPerRun(1, func() { _, _ = io.Copy(io.Discard, QuotedPrintable(strings.NewReader(text))) }); n > 100 {
		t.Errorf("%v allocations", n)
	}
}
