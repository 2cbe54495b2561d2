package entity

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"gatewayd/message"
)

func split(t testing.TB, raw string) *Message {
	t.Helper()
	m, err := Split(strings.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func text(t testing.TB, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSplit(t *testing.T) {
	long := strings.Repeat("word ", 250)
	for _, c := range []struct{ name, raw, outer, inner string }{
		{"usual", "A: 1\r\nContent-Type: x/y\r\nMIME-Version: 1.0\r\nB: 2\r\n\r\nbody", "A: 1\r\nB: 2\r\n", "Content-Type: x/y\r\n\r\nbody"},
		{"folded", "A: 1\r\n 2\r\ncontent-type: x/y;\r\n\tz=1\r\n\r\n", "A: 1\r\n 2\r\n", "content-type: x/y;\r\n\tz=1\r\n\r\n"},
		{"other content fields", "Content-ID: <1>\r\nContent-X: y\r\nContents: z\r\n\r\n", "Contents: z\r\n", "Content-ID: <1>\r\nContent-X: y\r\n\r\n"},
		{"none", "\r\nbody\r\n", "", "\r\nbody\r\n"},
		{"nothing", "", "", "\r\n"},
		{"no blank line", "A: 1\r\nContent-Type: x/y", "A: 1\r\n", "Content-Type: x/y\r\n\r\n"},
		{"no line end", "Content-Type: x/y\r\nA: 1", "A: 1\r\n", "Content-Type: x/y\r\n\r\n"},
		{"bare LF outside", "A: 1\nContent-Type: x/y\r\nB: 2\n 3\r\n\r\nb", "A: 1\r\nB: 2\r\n 3\r\n", "Content-Type: x/y\r\n\r\nb"},
		{"junk", "junk\r\nA: 1\r\n\r\n", "A: 1\r\n", "\r\n"},
		{"long", "A: " + long + "\r\n\r\n", "A: " + strings.TrimSpace(long) + "\r\n", "\r\n"},
	} {
		m := split(t, c.raw)
		if got := text(t, m.Entity()); got != c.inner || m.Size() != int64(len(got)) {
			t.Errorf("%s: inner %q, size %d; want %q", c.name, got, m.Size(), c.inner)
		}
		p, err := m.Around(Content{Fields: []string{"Content-Type: new/one"}, Write: func(w io.Writer) error {
			_, err := io.WriteString(w, "new")
			return err
		}})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var b bytes.Buffer
		n, err := p.WriteTo(&b)
		want := c.outer + "MIME-Version: 1.0\r\nContent-Type: new/one\r\n\r\nnew"
		got := b.String()
		if c.name == "long" {
			for _, line := range strings.Split(got, "\r\n") {
				if len(line) > 998 {
					t.Errorf("line of %d octets", len(line))
				}
			}
			got = strings.ReplaceAll(got, "\r\n word", " word")
		}
		if err != nil || got != want || n != int64(b.Len()) {
			t.Errorf("%s: %q, %d, %v; want %q", c.name, got, n, err, want)
		}
	}
	boom := errors.New("boom")
	p, err := split(t, "\r\n").Around(Content{Write: func(io.Writer) error { return boom }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteTo(io.Discard); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
}

func TestInspect(t *testing.T) {
	for _, c := range []struct {
		body     string
		eightBit bool
		want     error
	}{
		{"", false, nil},
		{"a\r\nb", false, nil},
		{"ä\r\n", true, nil},
		{strings.Repeat("x", 998) + "\r\n" + strings.Repeat("y", 998), false, nil},
		{strings.Repeat("x", 999), false, ErrIrregular},
		{"a\nb", false, ErrIrregular},
		{"a\rb", false, ErrIrregular},
		{"a\r", false, ErrIrregular},
		{"\r\r\n", false, ErrIrregular},
		{"\n", false, ErrIrregular},
		{"a\x00", false, ErrIrregular},
	} {
		eightBit, err := split(t, "A: 1\r\n\r\n"+c.body).Inspect()
		if eightBit != c.eightBit || !errors.Is(err, c.want) {
			t.Errorf("%.20q: %v, %v", c.body, eightBit, err)
		}
	}
	if _, err := split(t, "Content-Type: x/y\n\r\n").Inspect(); !errors.Is(err, ErrIrregular) {
		t.Errorf("bare LF in the inner header: %v", err)
	}
}

// signed puts a message's entity into a multipart/signed and opens that.
func signed(t testing.TB, m *Message) *Entity {
	t.Helper()
	s, err := NewSigned("multipart/signed; protocol=\"x/sig\"", m, []string{"Content-Type: x/sig"}, []byte("signature\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	r, size := s.Reader()
	raw := text(t, r)
	if int64(len(raw)) != size {
		t.Errorf("%d octets, said %d", len(raw), size)
	}
	e, err := NewEntity(Range{strings.NewReader(raw), 0, size})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestSigned(t *testing.T) {
	for _, raw := range []string{"\r\n", "\r\nbody", "\r\nbody\r\n", "\r\n\r\n\r\n", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n", "Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\nc"} {
		m := split(t, raw)
		e := signed(t, m)
		direct := 0
		for _, c := range e.Children {
			if c.Parent == 0 {
				direct++
			}
		}
		if direct != 2 || len(e.Children) != 2 || text(t, e.Part(e.Children[0]).Reader()) != raw || text(t, e.Decoded(e.Children[1])) != "signature\r\n" {
			t.Errorf("%q: %d parts, first %q", raw, direct, text(t, e.Part(e.Children[0]).Reader()))
		}
		if e.Protocol() != "x/sig" {
			t.Errorf("protocol %q", e.Protocol())
		}
	}
}

// FuzzSigned: whatever is signed comes back as the first part, octet for octet.
func FuzzSigned(f *testing.F) {
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n")
	f.Add("A: 1\r\nContent-Type: text/plain\r\n x\r\n\r\nbody\r\n")
	f.Add("\r\n--=_")
	f.Fuzz(func(t *testing.T, raw string) {
		m, err := Split(strings.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		if _, err := m.Inspect(); err != nil {
			return
		}
		e := signed(t, m)
		if len(e.Children) != 2 || text(t, e.Part(e.Children[0]).Reader()) != text(t, m.Entity()) {
			t.Errorf("%d parts, first %q", len(e.Children), text(t, e.Part(e.Children[0]).Reader()))
		}
	})
}

func TestDetached(t *testing.T) {
	verify := func(want string) func(content, signature io.Reader) []Signature {
		return func(content, signature io.Reader) []Signature {
			if text(t, signature) != "sig" {
				t.Error("signature is not there")
			}
			if text(t, content) == want {
				return []Signature{{Verdict: Good}}
			}
			return []Signature{{Verdict: Broken}}
		}
	}
	wrap := func(parts ...string) string {
		raw := "Content-Type: multipart/signed; boundary=b\r\n\r\n"
		for _, p := range parts {
			raw += "--b\r\n" + p + "\r\n"
		}
		return raw + "--b--\r\n"
	}
	for _, c := range []struct {
		name, raw, signed string
		want              Signing
		lineEnds          bool
	}{
		{"as it is", wrap("\r\nx\r\ny", "\r\nsig"), "\r\nx\r\ny", Good, false},
		{"LF, signed so", wrap("\nx\ny", "\r\nsig"), "\nx\ny", Good, false},
		{"LF, signed as CRLF", wrap("\nx\ny", "\r\nsig"), "\r\nx\r\ny", Good, true},
		{"changed", wrap("\r\nx\r\nz", "\r\nsig"), "\r\nx\r\ny", Broken, false},
		{"changed, LF", wrap("\nx\nz", "\r\nsig"), "\r\nx\r\ny", Broken, false},
		{"one part", wrap("\r\nx"), "\r\nx", Broken, false},
		{"three parts", wrap("\r\nx", "\r\nsig", "\r\nz"), "\r\nx", Broken, false},
		{"no part", "Content-Type: multipart/signed; boundary=b\r\n\r\nx", "x", Broken, false},
		{"no boundary", "Content-Type: multipart/signed\r\n\r\nx", "x", Broken, false},
	} {
		e, err := NewEntity(Range{strings.NewReader(c.raw), 0, int64(len(c.raw))})
		if err != nil {
			t.Fatal(err)
		}
		l := Detached(SMIME, e, verify(c.signed))
		if l.signing() != c.want || l.Signatures[0].LineEnds != c.lineEnds || l.Encryption != NotEncrypted {
			t.Errorf("%s: %+v", c.name, l)
		}
		if (l.Inner == nil) != strings.HasPrefix(c.name, "no ") {
			t.Errorf("%s: content %v", c.name, l.Inner)
		}
	}
}

// TestLookInside: protected parts that are not the root are told, not opened.
func TestLookInside(t *testing.T) {
	mixed := func(part string) string {
		return "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + part + "\r\n--b--\r\n"
	}
	for _, c := range []struct {
		part       string
		encryption Encryption
		signature  Signing
	}{
		{"Content-Type: text/plain\r\n\r\nx", NotEncrypted, NotSigned},
		{"Content-Type: multipart/encrypted; boundary=c\r\n\r\nx", PartlyHidden, NotSigned},
		{"Content-Type: multipart/signed; boundary=c\r\n\r\nx", NotEncrypted, PartlySeen},
		{"Content-Type: application/pkcs7-mime\r\n\r\nx", PartlyHidden, NotSigned},
		{"Content-Type: application/x-pkcs7-mime; smime-type=Enveloped-Data\r\n\r\nx", PartlyHidden, NotSigned},
		{"Content-Type: application/pkcs7-mime; smime-type=authEnveloped-data\r\n\r\nx", PartlyHidden, NotSigned},
		{"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n\r\nx", NotEncrypted, PartlySeen},
		{"Content-Type: application/pkcs7-mime; smime-type=certs-only\r\n\r\nx", NotEncrypted, NotSigned},
		{"Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/signed; boundary=c\r\n\r\nx", NotEncrypted, NotSigned},
	} {
		raw := mixed(c.part)
		op, err := Open(strings.NewReader(raw), int64(len(raw)), Options{At: now})
		if err != nil {
			t.Fatal(err)
		}
		if op.Encryption != c.encryption || op.Signature != c.signature || op.Content == nil || len(op.Layers) != 0 {
			t.Errorf("%q: %q, %q", c.part, op.Encryption, op.Signature)
		}
		if err := op.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLimits(t *testing.T) {
	raw := strings.Repeat("Content-Type: x/good\r\n\r\n", 13) + "\r\nend"
	for layers, want := range map[int]error{0: ErrTooLarge, 12: ErrTooLarge, 13: nil, 3: ErrTooLarge} {
		op, err := Open(strings.NewReader(raw), int64(len(raw)), Options{At: now, Openers: []Opener{fake{}}, Limits: Limits{Layers: layers}})
		if !errors.Is(err, want) {
			t.Errorf("%d layers: %v", layers, err)
		}
		if err == nil {
			if err := op.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := Open(strings.NewReader(raw), int64(len(raw)), Options{At: now, Openers: []Opener{fake{}}, Limits: Limits{Layers: 20, Size: 50}}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("50 octets: %v", err)
	}
	boom := errors.New("boom")
	o := Options{At: now, Openers: []Opener{fake{}}, Limits: Limits{Layers: 20}, Spool: func(int64) Spool { return broken{boom} }}
	if _, err := Open(strings.NewReader(raw), int64(len(raw)), o); !errors.Is(err, boom) {
		t.Errorf("broken spool: %v", err)
	}
	if _, err := Open(broken{boom}, 100, Options{At: now}); !errors.Is(err, boom) {
		t.Errorf("broken source: %v", err)
	}
}

type broken struct{ err error }

func (b broken) Write([]byte) (int, error)         { return 0, b.err }
func (b broken) ReadAt([]byte, int64) (int, error) { return 0, b.err }
func (b broken) Close() error                      { return b.err }

func TestSender(t *testing.T) {
	raw := "From: x@y.example\r\nContent-Type: x/good\r\n\r\n\r\nend"
	for from, want := range map[string]Signing{"": WrongSender, "a@B.example": Good, "c@b.example": WrongSender} {
		var a message.Address
		if from != "" {
			var err error
			if a, err = message.ParseAddress(from); err != nil {
				t.Fatal(err)
			}
		}
		op, err := Open(strings.NewReader(raw), int64(len(raw)), Options{At: now, Openers: []Opener{fake{}}, From: a})
		if err != nil {
			t.Fatal(err)
		}
		if op.Signature != want {
			t.Errorf("from %q: %q", from, op.Signature)
		}
		if err := op.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestLineCheck compares with a check octet by octet, however the octets come.
func TestLineCheck(t *testing.T) {
	plain := func(text string) (irregular, eightBit bool) {
		length := 0
		for i, c := range []byte(text) {
			after := i+1 < len(text) && text[i+1] == '\n'
			switch {
			case c == '\n' && (i == 0 || text[i-1] != '\r'), c == '\r' && !after, c == 0:
				irregular = true
			}
			eightBit = eightBit || c > 127
			if length++; c == '\n' {
				length = 0
			} else if c != '\r' && length > 998 {
				irregular = true
			}
		}
		return irregular, eightBit
	}
	long := strings.Repeat("x", 998)
	for _, text := range []string{
		"", "a", "a\r\n", "\r\n", "\n", "\r", "a\nb", "a\rb\r\n", "a\r\r\nb", "a\r\nb\r", "\r\n\r\n", "\n\r", "a\x00", "\xe4", "abcdefgh\xe4", "abcdefghi\xff\r\n",
		long, long + "\r\n", long + "x", long + "x\r\n", "\r\n" + long + "\r\n" + long + "\r\n", long + "\r", strings.Repeat("\r", 1000), strings.Repeat("\n", 1000),
	} {
		irregular, eightBit := plain(text)
		for _, step := range []int{1, 2, 3, 7, 4096} {
			l := lineCheck{}
			for rest := text; rest != ""; rest = rest[min(step, len(rest)):] {
				_, _ = l.Write([]byte(rest[:min(step, len(rest))]))
			}
			if got := l.err(); errors.Is(got, ErrIrregular) != irregular || l.eightBit != eightBit {
				t.Errorf("%q in steps of %d: %v, 8 bits %v; want %v, %v", text[:min(20, len(text))], step, got, l.eightBit, irregular, eightBit)
			}
		}
	}
}
