package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"gatewayd/message"
)

func readBody(r io.Reader) (*bodyReader, string, error) {
	b := newBodyReader(r)
	out, err := io.ReadAll(b)
	return b, string(out), err
}

func TestBodyReader(t *testing.T) {
	cases := []struct {
		in   string
		want string // beginning of the refusal; "" when it is regular
	}{
		{"", ""},
		{"a\r\n", ""},
		{"a", ""},
		{"\r\n\r\n", ""},
		{"a\r\n\r\nb\r\nc\x01\xff\r\n", ""},
		{"\n", "550 5.6.0 the message has a line feed without carriage return (bare LF) at octet 1;"},
		{"a\n", "550 5.6.0 the message has a line feed without carriage return (bare LF) at octet 2;"},
		{"a\r\n\nb", "550 5.6.0 the message has a line feed without carriage return (bare LF) at octet 4;"},
		{"a\rb\r\n", "550 5.6.0 the message has a carriage return without line feed (bare CR) at octet 2;"},
		{"a\r", "550 5.6.0 the message has a carriage return without line feed (bare CR) at octet 2;"},
		{"a\r\r\n", "550 5.6.0 the message has a carriage return without line feed (bare CR) at octet 2;"},
		{"\r\n\r", "550 5.6.0 the message has a carriage return without line feed (bare CR) at octet 3;"},
		{strings.Repeat("x", maxLine-2) + "\r\n" + strings.Repeat("y", maxLine), ""},
		{"x\r\n" + strings.Repeat("x", maxLine-1) + "\r\n", "554 5.6.0 the message has a line longer than 65536 octets"},
		{strings.Repeat("x", maxLine+1), "554 5.6.0 the message has a line longer than 65536 octets"},
		{"ab\x00\r\n", "550 5.6.0 the message has a NUL character at octet 3;"},
	}
	for _, tc := range cases {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "octets": iotest.OneByteReader, "data with EOF": iotest.DataErrReader,
		} {
			b, out, err := readBody(wrap(strings.NewReader(tc.in)))
			var refusal *message.Refusal
			switch {
			case tc.want == "" && (err != nil || out != tc.in || !b.complete || b.read != int64(len(tc.in))):
				t.Errorf("%.99q, %s: %.99q, %v, complete %v", tc.in, name, out, err, b.complete)
			case tc.want != "" && (!errors.As(err, &refusal) || !strings.HasPrefix(err.Error(), tc.want) || b.complete):
				t.Errorf("%q, %s: %v, want %q", tc.in, name, err, tc.want)
			}
			if err != nil {
				if _, again := b.Read(make([]byte, 10)); again == nil || again == io.EOF {
					t.Errorf("%q, %s: after the refusal it reads on (%v)", tc.in, name, again)
				}
			}
		}
	}
}

func TestLoop(t *testing.T) {
	field := "Received: from a by b;\r\n\tMon, 23 Nov 2026 14:00:00 +0100\r\n"
	cases := []struct {
		name, in string
		loop     bool
	}{
		{"thirty", strings.Repeat(field, 30) + "\r\n", false},
		{"thirty-one", strings.Repeat(field, 31) + "\r\n", true},
		{"other case and obsolete syntax", strings.Repeat("rEceived \t: x\r\n", 31) + "\r\n", true},
		{"in the body", strings.Repeat(field, 30) + "\r\n" + strings.Repeat(field, 31), false},
		{"similar names", strings.Repeat("Received-SPF: x\r\nX-Received: x\r\nReceivedd: x\r\nReceive: x\r\n", 40) + "\r\n", false},
		{"folded", "Subject: x\r\n" + strings.Repeat(" Received: x\r\n", 40) + "\r\n", false},
		{"too far down", strings.Repeat("X: "+strings.Repeat("x", maxTraceBytes/8)+"\r\n", 8) + strings.Repeat(field, 40) + "\r\n", false},
		{"no blank line", strings.Repeat(field, 31), true},
	}
	for _, tc := range cases {
		for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader} {
			_, _, err := readBody(wrap(strings.NewReader(tc.in)))
			if loop := err != nil && strings.HasPrefix(err.Error(), "554 5.4.6 "); loop != tc.loop || !loop && err != nil {
				t.Errorf("%s: %v, want loop %v", tc.name, err, tc.loop)
			}
		}
	}
}

func TestBodyReaderErrors(t *testing.T) {
	_, _, err := readBody(io.MultiReader(strings.NewReader("a\r\n"), iotest.ErrReader(fmt.Errorf("read tcp 192.0.2.1: reset"))))
	if !errors.Is(err, &errAborted) {
		t.Errorf("broken connection: %v", err)
	}
	_, _, err = readBody(iotest.ErrReader(&errTimeout))
	if !errors.Is(err, &errTimeout) {
		t.Errorf("timeout: %v", err)
	}
}

// regular is the reference: the definition of RFC 5321 section 2.3.8, octet by
// octet.
func regular(p []byte) bool {
	for i, c := range p {
		switch {
		case c == 0,
			c == '\n' && (i == 0 || p[i-1] != '\r'),
			c == '\r' && (i+1 == len(p) || p[i+1] != '\n'):
			return false
		}
	}
	return true
}

// longLine is the reference for the length of lines in regular text.
func longLine(p []byte) bool {
	for line := range strings.SplitAfterSeq(string(p), "\r\n") {
		if len(line) > maxLine {
			return true
		}
	}
	return false
}

// receivedFields is the reference for the loop counter, for regular text.
func receivedFields(p []byte) int {
	n := 0
	for line := range strings.SplitSeq(string(p[:min(len(p), maxTraceBytes)]), "\r\n") {
		if line == "" {
			break
		}
		name, _, colon := strings.Cut(line, ":")
		if colon && strings.EqualFold(strings.TrimRight(name, " \t"), "received") {
			n++
		}
	}
	return n
}

// FuzzBodyReader compares the reader with the reference, with the text cut
// anywhere.
func FuzzBodyReader(f *testing.F) {
	f.Add([]byte("Subject: x\r\n\r\ntext\r\n.\r\n"), 3)
	f.Add([]byte("a\r\r\n\n\x00"), 1)
	f.Add([]byte(strings.Repeat("received:\r\n", 32)), 7)
	f.Add([]byte("\r\n.\r"), 2)
	f.Fuzz(func(t *testing.T, p []byte, step int) {
		if step < 1 || step > 1<<16 {
			step = 1
		}
		b := newBodyReader(bytes.NewReader(p))
		var out []byte
		var err error
		for buf := make([]byte, step); err == nil; {
			var n int
			n, err = b.Read(buf)
			out = append(out, buf[:n]...)
		}
		want := regular(p) && receivedFields(p) <= maxReceived && !longLine(p)
		if got := err == io.EOF; got != want || b.complete != want {
			t.Fatalf("%q in steps of %d: %v, want accepted %v", p, step, err, want)
		}
		if want && !bytes.Equal(out, p) || !bytes.HasPrefix(p, out) {
			t.Fatalf("%q was changed to %q", p, out)
		}
		if want && b.trace.found != receivedFields(p) {
			t.Fatalf("%q: %d trace fields, want %d", p, b.trace.found, receivedFields(p))
		}
	})
}

func BenchmarkBodyReader(b *testing.B) {
	text := bytes.Repeat([]byte(strings.Repeat("x", 76)+"\r\n"), 13000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := io.Copy(io.Discard, newBodyReader(bytes.NewReader(text))); err != nil {
			b.Fatal(err)
		}
	}
}
