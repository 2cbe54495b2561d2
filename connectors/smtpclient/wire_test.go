package smtpclient

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// stuff runs a message through the stuffer in pieces of n octets.
func stuff(msg string, n int) (string, *stuffer, error) {
	var out bytes.Buffer
	s := &stuffer{w: &out}
	for p := []byte(msg); len(p) > 0; {
		k := min(n, len(p))
		if _, err := s.Write(p[:k]); err != nil {
			return out.String(), s, err
		}
		p = p[k:]
	}
	err := s.finish()
	return out.String(), s, err
}

func TestStuffer(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"a\r\n", "a\r\n"},
		{"a", "a\r\n"},
		{".", "..\r\n"},
		{".\r\n", "..\r\n"},
		{"..\r\n.a\r\n b.\r\n", "...\r\n..a\r\n b.\r\n"},
		{"a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n"},
		{"\r\n\r\n", "\r\n\r\n"},
		{"a\r\n.", "a\r\n..\r\n"},
		{"\x01\t\x7f\xff\r\n", "\x01\t\x7f\xff\r\n"},
	} {
		for n := 1; n <= len(c.in)+1; n++ {
			got, s, err := stuff(c.in, n)
			if err != nil || got != c.want {
				t.Errorf("stuff(%q) in pieces of %d = %q, %v, want %q", c.in, n, got, err, c.want)
			}
			if want := int64(len(strings.ReplaceAll("\n"+c.want, "\n.", "\n")) - 1); s.size != want {
				t.Errorf("size of %q = %d, want %d", c.in, s.size, want)
			}
			if want := strings.Contains(c.in, "\xff"); s.eight != want {
				t.Errorf("eight of %q = %v, want %v", c.in, s.eight, want)
			}
		}
	}
}

func TestStufferRefuses(t *testing.T) {
	for _, in := range []string{
		"\n", "\r", "a\nb\r\n", "a\rb\r\n", "\r\r\n", "a\r\n\n", "a\r", "\x00", "a\x00\r\n", "\n.\n", "\r.\r", "\r\n.\n", "\r\n.\r", "a\n\r\n", "\r\n\r",
	} {
		for n := 1; n <= len(in); n++ {
			if got, _, err := stuff(in, n); !errors.Is(err, errIrregular) {
				t.Errorf("stuff(%q) in pieces of %d = %q, %v, want errIrregular", in, n, got, err)
			}
		}
	}
}

func FuzzStuffer(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\n", "\n.\n", "\r.\r", "x", "..\r\n\r\n.", "\r\n.\r\n\x00"} {
		f.Add(s, 1)
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, in string, n int) {
		if n < 1 || n > 1<<16 {
			n = 1
		}
		got, s, err := stuff(in, n)
		crlf := strings.ReplaceAll(in, "\r\n", "")
		if irregular := strings.ContainsAny(crlf, "\r\n\x00"); irregular != (err != nil) {
			t.Fatalf("irregular %v, error %v", irregular, err)
		}
		if strings.Contains("\r\n"+got, "\r\n.\r\n") {
			t.Fatalf("the end of data stands inside %q", got)
		}
		if strings.ContainsAny(strings.ReplaceAll(strings.TrimSuffix(got, "\r"), "\r\n", ""), "\r\n\x00") {
			t.Fatalf("irregular on the wire: %q", got)
		}
		if err != nil {
			return
		}
		want := in
		if in != "" && !strings.HasSuffix(in, "\r\n") {
			want += "\r\n"
		}
		if back := strings.ReplaceAll("\r\n"+got, "\r\n.", "\r\n")[2:]; back != want {
			t.Fatalf("arrives as %q, want %q", back, want)
		}
		if s.size != int64(len(want)) || s.eight == isASCII([]byte(in)) {
			t.Fatalf("size %d of %d, eight %v", s.size, len(want), s.eight)
		}
	})
}

func BenchmarkStuffer(b *testing.B) {
	msg := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1000))
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		s := &stuffer{w: &bytes.Buffer{}}
		if _, err := s.Write(msg); err != nil {
			b.Fatal(err)
		}
	}
}
