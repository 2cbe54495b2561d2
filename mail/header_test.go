package mail

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func read(t testing.TB, s string) *Header {
	t.Helper()
	h, err := ReadHeader(bufio.NewReaderSize(strings.NewReader(s), 16), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestReadHeader(t *testing.T) {
	const msg = "From a@b Mon Nov 23\r\nSubject : =?utf-8?q?Verf=C3=BCgung?=\r\n\tvom 5.\r\nnot a field\r\nX-A:1\r\nx-a: 2 \r\n\r\nbody\r\n"
	r := bufio.NewReaderSize(strings.NewReader(msg), 16)
	h, err := ReadHeader(r, 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSuffix(msg, "body\r\n")
	if got := string(h.Bytes()); got != want || h.Len() != len(want) {
		t.Errorf("Bytes() = %q, want %q", got, want)
	}
	if rest, _ := r.ReadString(0); rest != "body\r\n" {
		t.Errorf("body = %q", rest)
	}
	if got := h.Get("subject"); got != "=?utf-8?q?Verf=C3=BCgung?=\tvom 5." {
		t.Errorf("Get = %q", got)
	}
	if got := h.Text("SUBJECT"); got != "Verfügung vom 5." {
		t.Errorf("Text = %q", got)
	}
	if got := strings.Join(h.All("X-A"), "|"); got != "1|2" {
		t.Errorf("All = %q", got)
	}
	var names []string
	for _, f := range h.Fields() {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, ","); got != ",Subject,,X-A,x-a" {
		t.Errorf("names = %q", got)
	}
}

func TestReadHeaderEnds(t *testing.T) {
	for _, msg := range []string{"", "\r\n", "\n", "A: b", "A: b\r\n", "A: b\n\nbody", " leading\r\nA: b\r\n\r\nx", "\r\nbody", ":\r\n\r\n", "A: b\r\n \r\n\r\nc", "\x00\xff\r\r\n\r\n"} {
		r := bufio.NewReader(strings.NewReader(msg))
		h, err := ReadHeader(r, 100)
		if err != nil {
			t.Errorf("%q: %v", msg, err)
			continue
		}
		rest, _ := r.ReadString(0)
		if got := string(h.Bytes()) + rest; got != msg {
			t.Errorf("%q came back as %q", msg, got)
		}
	}
}

func TestReadHeaderErrors(t *testing.T) {
	long := "A: " + strings.Repeat("x", 5000)
	for _, msg := range []string{long, strings.Repeat("A: b\r\n", 1000)} {
		if _, err := ReadHeader(bufio.NewReader(strings.NewReader(msg)), 4096); !errors.Is(err, ErrHeaderTooLong) {
			t.Errorf("%d octets: %v, want ErrHeaderTooLong", len(msg), err)
		}
	}
	exact := "A: b\r\n\r\n"
	if _, err := ReadHeader(bufio.NewReader(strings.NewReader(exact+"body")), len(exact)); err != nil {
		t.Errorf("exactly the limit: %v", err)
	}
	broken := errors.New("broken")
	if _, err := ReadHeader(bufio.NewReader(iotest.ErrReader(broken)), 100); !errors.Is(err, broken) {
		t.Errorf("read error: %v", err)
	}
}

func TestReplace(t *testing.T) {
	const msg = "A: 1\r\nSubject: old\r\n folded\r\nweird\r\nsubject: second\r\nB: 2\r\n\r\n"
	h := read(t, msg)
	if err := h.Replace("Subject", "<r> [BL-7F3K9Q2M] Entscheid"); err != nil {
		t.Fatal(err)
	}
	if got, want := string(h.Bytes()), "A: 1\r\nSubject: <r> [BL-7F3K9Q2M] Entscheid\r\nweird\r\nB: 2\r\n\r\n"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if err := h.Replace("New", "x"); err != nil {
		t.Fatal(err)
	}
	h.Remove("a")
	if got, want := string(h.Bytes()), "Subject: <r> [BL-7F3K9Q2M] Entscheid\r\nweird\r\nB: 2\r\nNew: x\r\n\r\n"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	open := read(t, "A: 1\r\nB: no end")
	if err := open.Replace("C", "3"); err != nil || string(open.Bytes()) != "C: 3\r\nA: 1\r\nB: no end" {
		t.Errorf("unterminated: %q, %v", open.Bytes(), err)
	}
}

func TestReplaceRefuses(t *testing.T) {
	h := read(t, "A: 1\r\n\r\n")
	for _, f := range [][2]string{{"Subject", "a\r\nBcc: x"}, {"Subject", "a\nb"}, {"Subject", "a\rb"}, {"Subject", "\x00"}, {"Sub ject", "a"}, {"", "a"}, {"A:", "b"}, {"S", strings.Repeat("x", 999)}} {
		if err := h.Replace(f[0], f[1]); !errors.Is(err, ErrFieldValue) {
			t.Errorf("Replace(%.10q, %.10q) = %v", f[0], f[1], err)
		}
	}
	if got := string(h.Bytes()); got != "A: 1\r\n\r\n" {
		t.Errorf("changed to %q", got)
	}
}

func TestPrepend(t *testing.T) {
	h := read(t, "A: 1\r\n\r\n")
	if err := h.Prepend("Received: by x\r\n\tid 1; now\r\n"); err != nil {
		t.Fatal(err)
	}
	if got := string(h.Bytes()); got != "Received: by x\r\n\tid 1; now\r\nA: 1\r\n\r\n" {
		t.Errorf("%q", got)
	}
	if got := h.Get("received"); got != "by x\tid 1; now" {
		t.Errorf("%q", got)
	}
	for _, raw := range []string{"", "x", "A: b\r\nC: d", "A: b\nC: d", "A: b\r\n\r\n", "A: b\r\n \r\n", " A: b", "A: b\r\n\r\nbody", "A: \x00", "A: " + strings.Repeat("x", 1000)} {
		if err := h.Prepend(raw); !errors.Is(err, ErrFieldValue) {
			t.Errorf("Prepend(%.20q) = %v", raw, err)
		}
	}
	orphan := read(t, " orphan\r\nA: 1\r\n\r\n")
	if err := orphan.Prepend("B: 2"); err != nil || orphan.Get("B") != "2" {
		t.Errorf("orphan: %v, B = %q", err, orphan.Get("B"))
	}
	if err := read(t, " orphan").Prepend("B: 2"); !errors.Is(err, ErrFieldValue) {
		t.Errorf("orphan without end: %v", err)
	}
}

// lines draws header sections, good and bad.
func lines() *rapid.Generator[string] {
	line := rapid.OneOf(
		rapid.StringMatching(`[A-Za-z-]{1,8}[ ]?:[ -~äé]{0,20}`),
		rapid.StringMatching(`[ \t][ -~]{0,10}`),
		rapid.StringMatching(`[ -~]{1,12}`),
		rapid.SampledFrom([]string{"Subject: a", "subject:\xe4", "Subject : b", "\x00\x01", "S\rubject: x", ":", "From x"}),
	)
	return rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		for _, l := range rapid.SliceOfN(line, 0, 8).Draw(t, "lines") {
			b.WriteString(l + rapid.SampledFrom([]string{"\r\n", "\r\n", "\n"}).Draw(t, "end"))
		}
		b.WriteString(rapid.SampledFrom([]string{"\r\n", "\n", "", "X: unterminated"}).Draw(t, "blank"))
		return b.String()
	})
}

// Editing one field leaves every other octet, and the new value reads back.
func TestEditTouchesOneField(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		msg := lines().Draw(t, "header")
		h, err := ReadHeader(bufio.NewReader(strings.NewReader(msg)), 1<<16)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(msg, string(h.Bytes())) {
			t.Fatalf("read %q as %q", msg, h.Bytes())
		}
		others := without(h, "Subject")
		value := EncodeSubject("<r>", rapid.StringMatching(`[ -~äß€]{0,120}`).Draw(t, "value"))
		if err := h.Replace("Subject", value); err != nil {
			return // a single orphan line without end
		}
		if got := without(h, "Subject"); !bytes.Equal(got, others) {
			t.Fatalf("Replace changed other octets:\n%q\n%q", others, got)
		}
		again := read2(t, h.Bytes())
		if got := again.Get("Subject"); got != value || len(again.All("Subject")) != 1 {
			t.Fatalf("Subject = %q, want %q in %q", got, value, h.Bytes())
		}
		before := h.Bytes()
		if err := h.Prepend("X-Trace: one\r\n two"); err != nil {
			return
		}
		if got := without(h, "X-Trace"); !bytes.Equal(got, before) {
			t.Fatalf("Prepend changed other octets:\n%q\n%q", before, got)
		}
		if got := read2(t, h.Bytes()).Get("X-Trace"); got != "one two" {
			t.Fatalf("X-Trace = %q", got)
		}
	})
}

func read2(t *rapid.T, raw []byte) *Header {
	h, err := ReadHeader(bufio.NewReader(bytes.NewReader(raw)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func without(h *Header, name string) []byte {
	var out []byte
	for _, f := range h.fields {
		if !strings.EqualFold(f.Name, name) {
			out = append(out, f.Raw...)
		}
	}
	return append(out, h.end...)
}

func TestFolding(t *testing.T) {
	h := &Header{}
	value := strings.Repeat("word ", 60) + strings.Repeat("y", 200)
	if err := h.Replace("Subject", value); err != nil {
		t.Fatal(err)
	}
	if h.Get("Subject") != value {
		t.Errorf("value changed: %q", h.Get("Subject"))
	}
	for _, line := range strings.Split(string(h.Bytes()), "\r\n") {
		if len(line) > 78 && !strings.Contains(line, "yyy") {
			t.Errorf("line of %d: %q", len(line), line)
		}
	}
}

func FuzzReadHeader(f *testing.F) {
	for _, s := range []string{"", "A: b\r\n\r\nbody", " x\r\n\r\n", "From x\nSubject: =?utf-8?b?w6Q=?=\n\n", "A:\r\n \r\n\r\n", "Content-Type: text/plain; name*0*=a'b'c\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(raw), 16)
		h, err := ReadHeader(r, 1<<16)
		if err != nil {
			return
		}
		got := h.Bytes()
		if !bytes.HasPrefix(raw, got) || len(got) != h.Len() {
			t.Fatalf("%q read as %q", raw, got)
		}
		for _, field := range h.Fields() {
			h.Text(field.Name)
			Addresses(h.Get(field.Name))
			ParseParams(h.Get(field.Name))
		}
		HeaderFrom(h)
		others := without(h, "Subject")
		if h.Replace("Subject", "x y") == nil && !bytes.Equal(without(h, "Subject"), others) {
			t.Fatal("other octets changed")
		}
	})
}
