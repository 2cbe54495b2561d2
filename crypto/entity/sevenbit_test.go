package entity

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"testing"

	"gatewayd/mail/parts"
)

const eight = "Content-Transfer-Encoding: 8bit\r\n"

// TestSevenBit: what has octets above 127 is encoded, and nothing else changes.
func TestSevenBit(t *testing.T) {
	picture := "\xff\xd8" + strings.Repeat("\x01\x81", 100)
	text := "Content-Type: text/plain; charset=utf-8\r\n"
	plain := "--x\r\nContent-Type: text/html\r\nX-Odd:\t \r\nContent-Transfer-Encoding:  7BIT\r\n\r\n<p> \r\n"
	for name, c := range map[string]struct{ raw, want string }{
		"nothing to do": {"A: b\r\n" + text + "\r\nGruss\r\n", ""},
		"text":          {"A: b\r\n" + text + eight + "\r\nGrüsse \r\n", text + "Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BCsse=20\r\n"},
		"not labelled":  {text + "\r\nGrüsse\r\n", text + "Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BCsse\r\n"},
		"no header":     {"\r\nGrüsse\r\n", "Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BCsse\r\n"},
		"several": {
			"Content-Type: multipart/mixed; boundary=x\r\n" + eight + "\r\nvor\r\n--x\r\n" + text + eight + "\r\nä\r\n" + plain +
				"--x\r\nContent-Type: image/jpeg\r\nContent-Transfer-Encoding: binary\r\n\r\n" + picture + "\r\n--x\r\n\r\nö\r\n--x--\r\nnach\r\n",
			"Content-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: 7bit\r\n\r\nvor\r\n--x\r\n" + text + "Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4\r\n" + plain +
				"--x\r\nContent-Type: image/jpeg\r\nContent-Transfer-Encoding: base64\r\n\r\n" + lines64(picture) + "\r\n--x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=B6\r\n--x--\r\nnach\r\n",
		},
		"a foreign signature beside it": {
			"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n" + text + eight + "\r\nä\r\n--x\r\nContent-Type: multipart/signed; boundary=y\r\n\r\n--y\r\n\r\nabc\r\n--y--\r\n--x--\r\n",
			"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n" + text + "Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4\r\n--x\r\nContent-Type: multipart/signed; boundary=y\r\n\r\n--y\r\n\r\nabc\r\n--y--\r\n--x--\r\n",
		},
		"under a foreign signature": {"Content-Type: multipart/signed; boundary=y\r\n\r\n--y\r\n" + text + "\r\nä\r\n--y--\r\n", ""},
		"a message inside":          {"Content-Type: message/rfc822\r\n" + eight + "\r\n" + text + eight + "\r\nä\r\n", ""},
		"in a part's header":        {"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Description: ä\r\n\r\nä\r\n--x--\r\n", ""},
		"before the parts":          {"Content-Type: multipart/mixed; boundary=x\r\n\r\nä\r\n--x\r\n\r\nä\r\n--x--\r\n", ""},
		"in base64":                 {text + "Content-Transfer-Encoding: base64\r\n\r\nää\r\n", ""},
		"two kinds":                 {text + "Content-Type: text/html\r\n\r\nä\r\n", ""},
		"no boundary":               {"Content-Type: multipart/mixed\r\n\r\nä\r\n", ""},
	} {
		m := split(t, c.raw)
		before := read(t, m.Entity())
		ok, err := m.SevenBit()
		after := read(t, m.Entity())
		switch {
		case err != nil || ok != (c.want != ""):
			t.Errorf("%s: %v, %v", name, ok, err)
		case !ok && after != before:
			t.Errorf("%s: changed all the same:\n%q", name, after)
		case ok && after != c.want:
			t.Errorf("%s:\n%q\nwant\n%q", name, after, c.want)
		case m.Size() != int64(len(after)):
			t.Errorf("%s: %d octets, said %d", name, len(after), m.Size())
		case ok:
			sameContent(t, name, before, after)
		}
	}
}

// sameContent compares the decoded parts.
func sameContent(t *testing.T, name, before, after string) {
	t.Helper()
	decoded := func(raw string) (all []string) {
		r := strings.NewReader(raw)
		tree, err := parts.Read(r, r.Size(), parts.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range tree.Parts {
			if !strings.HasPrefix(p.Type, "multipart/") {
				all = append(all, p.Type+read(t, p.Decode(r)))
			}
		}
		return all
	}
	a, b := decoded(before), decoded(after)
	if len(a) != len(b) {
		t.Fatalf("%s: %d parts, were %d", name, len(b), len(a))
	}
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("%s: part %d: %q, was %q", name, i, b[i], a[i])
		}
	}
}

func read(t *testing.T, r io.Reader) string {
	t.Helper()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func lines64(s string) string {
	text := base64.StdEncoding.EncodeToString([]byte(s))
	var out bytes.Buffer
	for ; len(text) > 76; text = text[76:] {
		out.WriteString(text[:76] + "\r\n")
	}
	return out.String() + text + "\r\n"
}

// TestSevenBitLarge: parts are encoded while they are read, again and again.
func TestSevenBitLarge(t *testing.T) {
	line := strings.Repeat("ü", 40) + "\r\n"
	m := split(t, "Content-Type: text/plain; charset=utf-8\r\n\r\n"+strings.Repeat(line, 50_000))
	if ok, err := m.SevenBit(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	first := read(t, m.Entity())
	if read(t, m.Entity()) != first || int64(len(first)) != m.Size() {
		t.Error("read again it is another one")
	}
	r := strings.NewReader(first)
	tree, err := parts.Read(r, r.Size(), parts.Limits{})
	if err != nil || read(t, tree.Parts[0].Decode(r)) != strings.Repeat(line, 50_000) {
		t.Error("another text", err)
	}
}

// FuzzSevenBit: what is said to be in seven bits is; what is not keeps its octets;
// and the decoded text of a message of one part stays.
func FuzzSevenBit(f *testing.F) {
	f.Add("Content-Type: text/plain\r\n\r\nä\r\n")
	f.Add("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nä\r\n--x--\r\n")
	f.Add("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/alternative; boundary=xx\r\n\r\n--xx\r\n\r\nä\r\n--xx--\r\n--x--\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		m, err := Split(strings.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		if _, err := m.Inspect(); err != nil {
			return
		}
		before := read(t, m.Entity())
		ok, err := m.SevenBit()
		if err != nil {
			t.Fatal(err)
		}
		after := read(t, m.Entity())
		if !ok && after != before || ok && highBit([]byte(after)) || m.Size() != int64(len(after)) {
			t.Fatalf("%v:\n%q\nwas\n%q", ok, after, before)
		}
		if ok && len(after) > 0 {
			sameContent(t, "fuzz", before, after)
		}
	})
}
