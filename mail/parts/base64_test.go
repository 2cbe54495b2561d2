package parts

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// plainBase64 is the decoder as one would write it: octet by octet.
func plainBase64(text string) []byte {
	var chars []byte
	for _, c := range []byte(text) {
		if c == '=' {
			break
		}
		if strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", c) >= 0 {
			chars = append(chars, c)
		}
	}
	if len(chars)%4 == 1 {
		chars = chars[:len(chars)-1]
	}
	out, err := base64.RawStdEncoding.DecodeString(string(chars))
	if err != nil {
		panic(err)
	}
	return out
}

// TestBase64 compares with the plain decoder, however the octets come.
func TestBase64(t *testing.T) {
	long := make([]byte, 3*base64Block)
	for i := range long {
		long[i] = byte(rand.Uint32())
	}
	wrapped := func(eol string, width int) string {
		text, b := base64.StdEncoding.EncodeToString(long), strings.Builder{}
		for len(text) > 0 {
			n := min(width, len(text))
			b.WriteString(text[:n] + eol)
			text = text[n:]
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"empty": "", "one": "QQ==", "two": "QUI=", "three": "QUJD", "unpadded": "QQ", "a character too many": "QUJDR", "only padding": "====",
		"behind padding": "QQ==QUJD", "spaces": "Q U\tJ D", "other characters": "Q*U!J\x00D\xff", "lone CR": "QU\rJD", "CR at the end": "QUJD\r",
		"CRLF": wrapped("\r\n", 76), "LF": wrapped("\n", 76), "odd width": wrapped("\r\n", 75), "one a line": wrapped("\r\n", 1)[:9000], "no lines": wrapped("", 1<<20),
		"URL alphabet": "QUJD-_QUJD", "padding between": wrapped("\r\n", 76) + "=" + wrapped("\r\n", 76),
	} {
		want := plainBase64(text)
		for how, r := range map[string]io.Reader{
			"whole": strings.NewReader(text), "halves": iotest.HalfReader(strings.NewReader(text)), "octets": iotest.OneByteReader(strings.NewReader(text)), "EOF with data": iotest.DataErrReader(strings.NewReader(text)),
		} {
			if got, err := io.ReadAll(newBase64Reader(r)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %s: %d octets, %v; want %d", name, how, len(got), err, len(want))
			}
		}
	}
	boom := errors.New("boom")
	if _, err := io.ReadAll(newBase64Reader(io.MultiReader(strings.NewReader("QUJDRA"), iotest.ErrReader(boom)))); !errors.Is(err, boom) {
		t.Errorf("broken source: %v", err)
	}
}

func FuzzBase64(f *testing.F) {
	f.Add("QUJD\r\nQQ==")
	f.Add("Q\rU=JD")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := io.ReadAll(newBase64Reader(iotest.HalfReader(strings.NewReader(text)))); err != nil || !bytes.Equal(got, plainBase64(text)) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	})
}

func BenchmarkBase64(b *testing.B) {
	text := strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 1<<14)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := io.Copy(io.Discard, newBase64Reader(strings.NewReader(text))); err != nil {
			b.Fatal(err)
		}
	}
}

// TestReadRoot: the same root as Read finds, and where it is asked for the same tree.
func TestReadRoot(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, raw := range []string{
		"", "x", "A: b", "A: b\r\n", "A: b\r\n\r\n", "A: b\r\n\r\nbody\r\n", "\r\nbody", "A: b\n\nbody", "junk\r\nA: b\r\n\r\nbody",
		"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\n--x--\r\n", "Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\nbody", "A: b\r\n--x\r\nbody\r\n",
		"To: " + long + "\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n" + strings.Repeat(long+"\r\n", 20) + "--x\r\nTo: " + long + "\r\n\r\nb\r\n--x--\r\n",
		"To: " + strings.Repeat(long, 10) + "\r\n\r\nbody",
	} {
		tree, err := Read(strings.NewReader(raw), int64(len(raw)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		found, err := ReadRoot(strings.NewReader(raw), int64(len(raw)), Limits{}, nil)
		root, want := found.Parts[0], tree.Parts[0]
		if err != nil || len(found.Parts) != 1 || root.Type != want.Type || root.Body != want.Body || root.Whole != want.Whole || root.Header.Len() != want.Header.Len() {
			t.Errorf("%q: %+v, %v; want %+v", raw, root, err, want)
		}
		whole, err := ReadRoot(strings.NewReader(raw), int64(len(raw)), Limits{}, func(Part) bool { return true })
		if err != nil || !reflect.DeepEqual(whole, tree) {
			t.Errorf("%q: %+v, %v; want %+v", raw, whole, err, tree)
		}
	}
}
