package footer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"gatewayd/mail/parts"
)

var bauamt = Footer{German: "Bauinspektorat BL\nRheinstrasse 29 – Büro 3\n", English: "Building Inspectorate\n", EnglishHTML: "<p><b>Building</b> Inspectorate</p>"}

const (
	german   = "Bauinspektorat BL\r\nRheinstrasse 29 – Büro 3"
	quoted   = "Bauinspektorat BL\r\nRheinstrasse 29 =E2=80=93 B=C3=BCro 3"
	fragment = "<p>Bauinspektorat BL<br>\r\nRheinstrasse 29 &#8211; B&#252;ro 3</p>"
	de       = "Content-Language: de-CH\r\n"
	plain    = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
)

func add(t *testing.T, f Footer, raw string) (got, why string) {
	t.Helper()
	r := strings.NewReader(raw)
	m, why, err := f.Add(r, r.Size())
	if err != nil {
		t.Fatal(err)
	}
	if m == nil {
		return raw, why
	}
	for range 2 {
		all, err := io.ReadAll(m.Reader())
		if err != nil {
			t.Fatal(err)
		}
		got = string(all)
	}
	return got, why
}

// TestAdd: the footer stands under the text, in its form; no octet of anything else
// changes.
func TestAdd(t *testing.T) {
	picture := "--x\r\nContent-Type: image/png;  name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n\r\n--x--\r\nnach"
	for name, c := range map[string][2]string{
		"text":          {"A: b\r\n" + de + plain + "\r\nGrüsse\r\n", "A: b\r\n" + de + plain + "\r\nGrüsse\r\n\r\n" + german + "\r\n"},
		"no line end":   {de + plain + "\r\nGrüsse", de + plain + "\r\nGrüsse\r\n\r\n" + german + "\r\n"},
		"empty":         {de + plain + "\r\n", de + plain + "\r\n\r\n" + german + "\r\n"},
		"bare LF":       {de + plain + "\r\nGrüsse\n", de + plain + "\r\nGrüsse\n\n" + strings.ReplaceAll(german, "\r", "") + "\n"},
		"ASCII, no CTE": {de + "Content-Type: text/plain; format=flowed\r\n\r\nGruss\r\n", de + "Content-Type: text/plain; charset=utf-8; format=flowed\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGruss\r\n\r\n" + quoted + "\r\n"},
		"no type":       {de + "\r\nGruss\r\n", de + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGruss\r\n\r\n" + quoted + "\r\n"},
		"mislabelled":   {de + "\r\nGr\xfcsse\r\n", de + "\r\nGr\xfcsse\r\n\r\nBauinspektorat BL\r\nRheinstrasse 29 - Buero 3\r\n"},
		"windows-1252":  {de + "Content-Type: text/plain; charset=Windows-1252\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xfcsse\r\n", de + "Content-Type: text/plain; charset=Windows-1252\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xfcsse\r\n\r\nBauinspektorat BL\r\nRheinstrasse 29 \x96 B\xfcro 3\r\n"},
		"latin1":        {de + "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xfcsse\r\n", de + "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xfcsse\r\n\r\nBauinspektorat BL\r\nRheinstrasse 29 - Buero 3\r\n"},
		"quoted":        {de + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\nGr=C3=BCs=\r\nse\r\n", de + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\nGr=C3=BCsse\r\n\r\n" + quoted + "\r\n"},
		"base64": {
			de + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nR3LDvHNzZQ==\r\n",
			de + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte("Grüsse\r\n\r\n" + german + "\r\n"))[:76] + "\r\n" + base64.StdEncoding.EncodeToString([]byte("Grüsse\r\n\r\n" + german + "\r\n"))[76:] + "\r\n",
		},
		"HTML":         {de + "Content-Type: text/html\r\n\r\n<html><body>Gruss</BODY ></html>\r\n", de + "Content-Type: text/html\r\n\r\n<html><body>Gruss\r\n" + fragment + "\r\n</BODY ></html>\r\n"},
		"HTML, latin1": {de + "Content-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<html><body>Gr\xfcsse \xe4\xf6\xfc</body></html>\r\n", de + "Content-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<html><body>Gr\xfcsse \xe4\xf6\xfc\r\n" + fragment + "\r\n</body></html>\r\n"},
		"HTML, I dot":  {de + "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<body>\u0130\u0130</body>", de + "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<body>\u0130\u0130\r\n" + fragment + "\r\n</body>"},
		"HTML, no end": {de + "Content-Type: text/html\r\n\r\nGruss", de + "Content-Type: text/html\r\n\r\nGruss\r\n" + fragment + "\r\n"},
		"HTML, two":    {de + "Content-Type: text/html\r\n\r\n<!-- </body> -->x</html>", de + "Content-Type: text/html\r\n\r\n<!-- \r\n" + fragment + "\r\n</body> -->x</html>"},
		"mixed": {
			de + "Content-Type: multipart/mixed; boundary=x\r\n\r\nvor\r\n--x\r\n" + plain + "\r\nGrüsse\r\n--x\r\n" + plain + "\r\nAnhang\r\n" + picture,
			de + "Content-Type: multipart/mixed; boundary=x\r\n\r\nvor\r\n--x\r\n" + plain + "\r\nGrüsse\r\n\r\n" + german + "\r\n\r\n--x\r\n" + plain + "\r\nAnhang\r\n" + picture,
		},
		"alternative": {
			de + "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/alternative; boundary=y\r\n\r\n--y\r\n" + plain + "\r\nG\r\n--y\r\nContent-Type: multipart/related; boundary=z\r\n\r\n--z\r\nContent-Type: text/html\r\n\r\n<p>G</p>\r\n--z--\r\n--y--\r\n" + picture,
			de + "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/alternative; boundary=y\r\n\r\n--y\r\n" + plain + "\r\nG\r\n\r\n" + german + "\r\n\r\n--y\r\nContent-Type: multipart/related; boundary=z\r\n\r\n--z\r\nContent-Type: text/html\r\n\r\n<p>G</p>\r\n" + fragment + "\r\n\r\n--z--\r\n--y--\r\n" + picture,
		},
	} {
		got, why := add(t, bauamt, c[0])
		if got != c[1] {
			t.Errorf("%s: %s\n%q\nwant\n%q", name, why, got, c[1])
		}
	}
}

// TestLeft: what is signed, encrypted, attached or somebody else's keeps every octet,
// and it is said why.
func TestLeft(t *testing.T) {
	for name, raw := range map[string]string{
		"signed":       "Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n" + plain + "\r\nG\r\n--x--\r\n",
		"encrypted":    "Content-Type: multipart/encrypted; boundary=x\r\n\r\n--x\r\n" + plain + "\r\nG\r\n--x--\r\n",
		"opaque":       "Content-Type: application/pkcs7-mime\r\n\r\nG\r\n",
		"forwarded":    "Content-Type: message/rfc822\r\n\r\n" + plain + "\r\nG\r\n",
		"report":       "Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n" + plain + "\r\nG\r\n--x--\r\n",
		"attachment":   "Content-Disposition: attachment; filename=a.txt\r\n" + plain + "\r\nG\r\n",
		"inline PGP":   plain + "\r\nHallo\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\nG\r\n",
		"inline PGP 2": plain + "\r\n" + strings.Repeat("x", 32<<10-9) + "-----BEGIN PGP MESSAGE-----\r\n\r\nG\r\n",
		"one form":     "Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\n" + plain + "\r\nG\r\n--x\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: x-odd\r\n\r\nG\r\n--x--\r\n",
		"wide":         "Content-Type: text/plain; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n\r\nAEcACgANAAo=\r\n",
		"two types":    plain + "Content-Type: text/html\r\n\r\nG\r\n",
		"no boundary":  "Content-Type: multipart/mixed\r\n\r\nG\r\n",
		"no blank":     "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nA: b\r\n--y\r\n--x--\r\n",
		"deep":         "Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n\r\n", 1100),
	} {
		if got, why := add(t, bauamt, raw); got != raw || why == "" {
			t.Errorf("%s: %q, %.300q", name, why, got)
		}
	}
}

// TestLanguages: the message says in which language it is; else the footer comes in
// both.
func TestLanguages(t *testing.T) {
	both := Footer{German: "Amt\n", English: "Office\n"}
	for header, want := range map[string]string{
		"": "Amt\r\n\r\nOffice\r\n", "Content-Language: de\r\n": "Amt\r\n", "Content-Language: EN-gb\r\n": "Office\r\n",
		"Content-Language: en, de\r\n": "Amt\r\n\r\nOffice\r\n", "Content-Language: fr\r\n": "Amt\r\n\r\nOffice\r\n", "Content-Language: den\r\n": "Amt\r\n\r\nOffice\r\n",
	} {
		if got, _ := add(t, both, header+plain+"\r\nx\r\n"); got != header+plain+"\r\nx\r\n\r\n"+want {
			t.Errorf("%q: %q", header, got)
		}
	}
	if got, _ := add(t, Footer{English: "Office & <b>"}, de+"Content-Type: text/html\r\n\r\nx"); !strings.HasSuffix(got, "x\r\n<p>Office &amp; &lt;b&gt;</p>\r\n") {
		t.Errorf("only English: %q", got)
	}
	if got, _ := add(t, bauamt, "Content-Type: text/html\r\n\r\nx"); !strings.HasSuffix(got, fragment+"\r\n<p><b>Building</b> Inspectorate</p>\r\n") {
		t.Errorf("both, HTML: %q", got)
	}
}

func TestCheck(t *testing.T) {
	for text, ok := range map[string]bool{"Amt\nZeile\n": true, "": false, "a\x00b": false, "a\rb": false, strings.Repeat("x", 501): false, strings.Repeat("x\n", 900): true, "\x1b[31m": false} {
		if err := (Footer{German: text}).Check(); (err == nil) != ok {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// TestBroken: a disk that fails is no message without text.
func TestBroken(t *testing.T) {
	boom := errors.New("boom")
	if _, _, err := bauamt.Add(failing{boom}, 100); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
	if _, err := look(iotest.ErrReader(boom)); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// TestLook: what is looked for is found wherever the reader stops.
func TestLook(t *testing.T) {
	for n := range 40 {
		raw := strings.Repeat("x", 32<<10-20+n) + "</Body></html>"
		got, err := look(strings.NewReader(raw))
		if err != nil || got.end != int64(strings.Index(raw, "</Body")) || got.size != int64(len(raw)) {
			t.Fatalf("%d: %+v, %v", n, got, err)
		}
	}
}

// FuzzAdd: of a message to which a footer was added every part but those with the
// footer stays, and the footer can be read in them.
func FuzzAdd(f *testing.F) {
	f.Add(plain + "\r\nG\r\n")
	f.Add("Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\n\r\nG\r\n--x\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nG=3D\r\n--x--\r\n")
	f.Add("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--x\r\n\r\nG\r\n--x--\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		r := strings.NewReader(raw)
		m, why, err := Footer{German: "ENDE"}.Add(r, r.Size())
		if err != nil || (m == nil) == (why == "") {
			t.Fatal(m, why, err)
		}
		if m == nil {
			return
		}
		out, err := io.ReadAll(m.Reader())
		if err != nil {
			t.Fatal(err)
		}
		before, after := leaves(t, raw), leaves(t, string(out))
		if len(before) != len(after) {
			t.Fatalf("%d parts, were %d:\n%q\nwas\n%q", len(after), len(before), out, raw)
		}
		changed := 0
		for i := range before {
			if before[i] != after[i] {
				if changed++; !strings.Contains(after[i], "ENDE") {
					t.Errorf("part %d: %q, was %q", i, after[i], before[i])
				}
			}
		}
		if changed == 0 {
			t.Errorf("nothing added: %q", out)
		}
	})
}

func leaves(t *testing.T, raw string) (all []string) {
	t.Helper()
	r := strings.NewReader(raw)
	tree, err := parts.Read(r, r.Size(), parts.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range tree.Parts {
		text, err := io.ReadAll(p.Decode(r))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.Type, "multipart/") && p.Params["boundary"] != "" {
			text = nil
		}
		all = append(all, fmt.Sprintf("%s %s", p.Type, text))
	}
	return all
}
