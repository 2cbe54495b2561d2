package parts

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/quotedprintable"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func parts(t testing.TB, msg string, lim Limits) Tree {
	t.Helper()
	tree, err := Read(strings.NewReader(msg), int64(len(msg)), lim)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// shape writes a tree as "type[body]" with indentation by depth.
func shape(msg string, tree Tree) string {
	var b strings.Builder
	for _, p := range tree.Parts {
		body := msg[p.Body.Start:p.Body.End]
		if strings.HasPrefix(p.Type, "multipart/") || strings.HasPrefix(p.Type, "message/") {
			body = "…"
		}
		fmt.Fprintf(&b, "%s%s[%s]", strings.Repeat(".", p.Depth), p.Type, body)
	}
	return strings.NewReplacer("\r\n", "↵", "\n", "↓").Replace(b.String())
}

func TestParts(t *testing.T) {
	tests := []struct{ name, msg, want string }{
		{"no header", "\r\nbody\r\n", "text/plain[body↵]"},
		{"no body", "A: b\r\n", "text/plain[]"},
		{"empty", "", "text/plain[]"},
		{"text", "Content-Type: text/html\r\n\r\nx", "text/html[x]"},
		{"two parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: a/b\r\n\r\ntwo\r\n\r\n--b--\r\nepi\r\n", "multipart/mixed[…].text/plain[one].a/b[two↵]"},
		{"line feeds", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b--\n", "multipart/mixed[…].text/plain[one].text/plain[two]"},
		{"empty part", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n--b\r\nA: c\r\n--b--\r\n", "multipart/mixed[…].text/plain[].text/plain[]"},
		{"never closed", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none", "multipart/mixed[…].text/plain[one]"},
		{"trailing space", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b \t\r\n\r\none\r\n--b-- \r\n", "multipart/mixed[…].text/plain[one]"},
		{"longer name is no delimiter", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--bb\r\n--b-\r\n--b--\r\n", "multipart/mixed[…].text/plain[one↵--bb↵--b-]"},
		{"nested", "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n\r\na\r\n--i\r\n\r\nb\r\n--i--\r\n--o\r\n\r\nc\r\n--o--\r\n", "multipart/mixed[…].multipart/alternative[…]..text/plain[a]..text/plain[b].text/plain[c]"},
		{"outer delimiter ends inner", "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\na\r\n--o\r\n\r\nc\r\n--o--\r\n", "multipart/mixed[…].multipart/mixed[…]..text/plain[a].text/plain[c]"},
		{"after the end nothing opens", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\na\r\n--b--\r\n--b\r\n\r\nno\r\n", "multipart/mixed[…].text/plain[a]"},
		{"message inside", "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ninner\r\n", "message/rfc822[…].text/plain[inner↵]"},
		{"message inside multipart", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ninner\r\n--b--\r\n", "multipart/mixed[…].message/rfc822[…]..text/plain[inner]"},
		{"encoded message stays whole", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdA==\r\n", "message/rfc822[…]"},
		{"digest", "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: x\r\n\r\ninner\r\n--b--\r\n", "multipart/digest[…].message/rfc822[…]..text/plain[inner]"},
		{"no boundary", "Content-Type: multipart/mixed\r\n\r\n--b\r\n", "multipart/mixed[…]"},
		{"first type counts", "Content-Type: text/html\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", "text/html[--b↵]"},
		{"odd type", "Content-Type: nonsense\r\n\r\nx", "text/plain[x]"},
		{"quoted boundary", "Content-Type: multipart/mixed; (note) boundary = \"b \\\"c:\"\r\n\r\n--b \"c:\r\n\r\na\r\n--b \"c:--\r\n", "multipart/mixed[…].text/plain[a]"},
	}
	for _, tt := range tests {
		tree := parts(t, tt.msg, Limits{})
		if got := shape(tt.msg, tree); got != tt.want || tree.Limited {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestPartsExactRanges(t *testing.T) {
	const signed = "Content-Type: text/plain\r\n\r\nsigned text\r\n"
	msg := "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n" + signed + "\r\n--b\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\n\r\nMIAG\r\n--b--\r\n"
	tree := parts(t, msg, Limits{})
	p := tree.Parts[1]
	if got := msg[p.Whole.Start:p.Whole.End]; got != signed {
		t.Errorf("under the signature: %q", got)
	}
	if got := msg[p.Body.Start:p.Body.End]; got != "signed text\r\n" {
		t.Errorf("body: %q", got)
	}
	if tree.Parts[2].FileName != "smime.p7s" {
		t.Errorf("%+v", tree.Parts[2])
	}
	if w := tree.Parts[0].Whole; w.Start != 0 || w.End != int64(len(msg)) {
		t.Errorf("whole message: %+v of %d", w, len(msg))
	}
}

func TestPartsLimits(t *testing.T) {
	deep := strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 50)
	if tree := parts(t, deep, Limits{Depth: 5}); len(tree.Parts) != 5 || !tree.Limited {
		t.Errorf("depth: %d parts, limited %v", len(tree.Parts), tree.Limited)
	}
	wide := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 100)
	if tree := parts(t, wide, Limits{Parts: 10}); len(tree.Parts) != 10 || !tree.Limited {
		t.Errorf("parts: %d, limited %v", len(tree.Parts), tree.Limited)
	}
	long := "A: " + strings.Repeat("x", 5000) + "\r\nContent-Type: text/html\r\n\r\nbody"
	tree := parts(t, long, Limits{Header: 100})
	if !tree.Limited || long[tree.Parts[0].Body.Start:] != "body" {
		t.Errorf("header: limited %v, body at %d", tree.Limited, tree.Parts[0].Body.Start)
	}
	broken := errors.New("broken")
	if _, err := Read(failing{broken}, 100, Limits{}); !errors.Is(err, broken) {
		t.Errorf("read error: %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// Lines longer than every buffer, with delimiters right behind them.
func TestPartsLongLines(t *testing.T) {
	for _, n := range []int{32<<10 - 2, 32<<10 - 1, 32 << 10, 32<<10 + 1, 100_000} {
		for _, end := range []string{"\r\n", "\n"} {
			line := strings.Repeat("x", n)
			msg := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + line + end + "--b--" + end
			tree := parts(t, msg, Limits{})
			if got := msg[tree.Parts[1].Body.Start:tree.Parts[1].Body.End]; got != line {
				t.Errorf("%d octets, end %q: body of %d", n, end, len(got))
			}
		}
	}
}

func TestPartsTime(t *testing.T) {
	nest := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		return b.String()
	}
	for name, msg := range map[string]string{
		"nested":     nest(20_000),
		"delimiters": "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n", 400_000),
		"dashes":     nest(19) + strings.Repeat("--\r\n--c\r\n", 200_000),
		"params":     "Content-Type: text/plain" + strings.Repeat("; a*1=b", 30_000) + "\r\n\r\n",
		"parens":     "Content-Type: text/plain " + strings.Repeat("(", 200_000) + "\r\n\r\n",
		"fields":     strings.Repeat("A:\r\n", 200_000) + "\r\n",
		"folds":      "Content-Type: text/plain;\r\n" + strings.Repeat(" \r\n", 200_000) + "\r\n",
	} {
		start := time.Now()
		parts(t, msg, Limits{})
		if d := time.Since(start); d > 30*time.Second {
			t.Errorf("%s: %d octets took %s", name, len(msg), d)
		}
	}
}

func TestFileNames(t *testing.T) {
	tests := []struct{ header, want string }{
		{`Content-Disposition: attachment; filename="Verf=FCgung.pdf"`, "Verf=FCgung.pdf"},
		{`Content-Disposition: attachment; filename*=utf-8''Verf%C3%BCgung.pdf`, "Verfügung.pdf"},
		{`Content-Disposition: attachment; filename*=iso-8859-1'de'Verf%FCgung.pdf`, "Verfügung.pdf"},
		{`Content-Disposition: attachment; filename*0*=iso-8859-1''Verf%FC; filename*1="gung.pdf"`, "Verfügung.pdf"},
		{`Content-Disposition: attachment; filename*1*=gung.pdf; filename*0*=utf-8''Verf%C3%BC`, "Verfügung.pdf"},
		{`Content-Disposition: attachment; filename="=?utf-8?q?Verf=C3=BCgung=2Epdf?="`, "Verfügung.pdf"},
		{`Content-Disposition: attachment; filename=plain.pdf; filename*=utf-8''b%C3%A4.pdf`, "bä.pdf"},
		{"Content-Disposition: attachment; filename=roh\xe4.pdf", "rohä.pdf"},
		{`Content-Disposition: attachment; filename=mit raum.pdf`, "mit raum.pdf"},
		{`Content-Type: application/pdf; name="von Typ.pdf"`, "von Typ.pdf"},
		{`Content-Disposition: attachment; filename="..\..\evil.exe"`, "evil.exe"},
		{`Content-Disposition: attachment; filename="/etc/passwd"`, "passwd"},
		{`Content-Disposition: attachment; filename="..."`, ""},
		{"Content-Disposition: attachment; filename=\"a\u202efdp.exe\"", "afdp.exe"},
		{"Content-Disposition: attachment; filename*=utf-8''a%0D%0Ab%00.pdf", "a  b .pdf"},
		{`Content-Disposition: attachment; filename="a<b>:c|d?.pdf"`, "abcd.pdf"},
		{`Content-Disposition: attachment; filename*=utf-8''100%`, "100%"},
		{`Content-Disposition: attachment; ; ;filename = "x.pdf" ;`, "x.pdf"},
		{`Content-Disposition: attachment; FILENAME="a.pdf"; filename="b.pdf"`, "a.pdf"},
		{`Content-Disposition: inline`, ""},
		{`Content-Disposition: attachment; filename="` + strings.Repeat("ä", 300) + `.pdf"`, strings.Repeat("ä", 98) + ".pdf"},
	}
	for _, tt := range tests {
		p := parts(t, tt.header+"\r\n\r\nx", Limits{}).Parts[0]
		if p.FileName != tt.want {
			t.Errorf("%.60q: %q, want %q", tt.header, p.FileName, tt.want)
		}
	}
}

func decode(t testing.TB, encoding, body string) string {
	t.Helper()
	msg := "Content-Transfer-Encoding: " + encoding + "\r\n\r\n" + body
	r := strings.NewReader(msg)
	tree, err := Read(r, r.Size(), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(tree.Parts[0].Decode(r))
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func TestDecode(t *testing.T) {
	tests := []struct{ enc, in, want string }{
		{"base64", "SGVs\r\nbG8=\r\n", "Hello"},
		{"BASE64 (note)", "SG!Vs bG8", "Hello"},
		{"base64", "SGVsbG8=\r\n\r\nfooter", "Hello"},
		{"base64", "SGVsbG8", "Hello"},
		{"base64", "S", ""},
		{"base64", "====", ""},
		{"quoted-printable", "a=E4=\r\nb =3D=20\r\nc \t\r\n", "a\xe4b = \r\nc\r\n"},
		{"quoted-printable", "=e4=XY=4", "\xe4=XY=4"},
		{"quoted-printable", "a=\nb=", "ab="},
		{"8bit", "\xe4=20", "\xe4=20"},
		{"x-unknown", "=20", "=20"},
	}
	for _, tt := range tests {
		if got := decode(t, tt.enc, tt.in); got != tt.want {
			t.Errorf("%s %q: %q, want %q", tt.enc, tt.in, got, tt.want)
		}
	}
}

// What the standard library writes, we read.
func TestDecodeReadsStandard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data")
		data = bytes.Repeat(data, rapid.IntRange(1, 40).Draw(t, "times"))
		var b strings.Builder
		w := quotedprintable.NewWriter(&b)
		w.Binary = true
		_, _ = w.Write(data)
		_ = w.Close()
		for enc, body := range map[string]string{"base64": base64.StdEncoding.EncodeToString(data), "quoted-printable": b.String()} {
			p := Part{Encoding: enc, Body: Range{0, int64(len(body))}}
			got, err := io.ReadAll(p.Decode(strings.NewReader(body)))
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%s: %d octets, want %d, %v", enc, len(got), len(data), err)
			}
		}
	})
}

// An overlong quoted-printable line is cut somewhere: never inside an escape.
func TestQuotedPrintableLongLine(t *testing.T) {
	for shift := range 4 {
		body := strings.Repeat("x", shift) + strings.Repeat("=E4", 5000)
		want := strings.Repeat("x", shift) + strings.Repeat("\xe4", 5000)
		if got := decode(t, "quoted-printable", body); got != want {
			t.Errorf("shift %d: %d octets, want %d", shift, len(got), len(want))
		}
	}
}

func TestPartText(t *testing.T) {
	tests := []struct{ header, body, want string }{
		{"Content-Type: text/plain; charset=utf-8", "gr\xc3\xbcn", "grün"},
		{"Content-Type: text/plain; charset=windows-1252", "\x80 gr\xfcn", "€ grün"},
		{"Content-Type: text/plain; charset=iso-8859-15", "\xa4", "€"},
		{"Content-Type: text/plain; charset=iso-2022-jp", "\x1b$BF|K\\\x1b(B", "日本"},
		{"Content-Type: text/plain; charset=unheard-of", "a\xfc", "a�"},
		{"Content-Type: text/plain", "gr\xfcn", "grün"},
	}
	for _, tt := range tests {
		r := strings.NewReader(tt.header + "\r\n\r\n" + tt.body)
		tree := parts(t, tt.header+"\r\n\r\n"+tt.body, Limits{})
		got, err := tree.Parts[0].Text(r, 1000)
		if err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.header, got, err, tt.want)
		}
	}
}

// check holds for every input: ranges nest and lie in the message.
func checkTree(t testing.TB, raw []byte, tree Tree) {
	t.Helper()
	for i, p := range tree.Parts {
		if p.Whole.Start < 0 || p.Whole.Start > p.Body.Start || p.Body.Start > p.Body.End || p.Body.End > p.Whole.End || p.Whole.End > int64(len(raw)) {
			t.Fatalf("part %d: whole %+v, body %+v of %d", i, p.Whole, p.Body, len(raw))
		}
		if i == 0 {
			continue
		}
		parent := tree.Parts[p.Parent]
		if p.Parent >= i || p.Whole.Start < parent.Body.Start || p.Whole.End > parent.Body.End || p.Depth != parent.Depth+1 {
			t.Fatalf("part %d %+v outside of its parent %+v", i, p.Whole, parent.Body)
		}
	}
	for i := range tree.Parts {
		p := &tree.Parts[i]
		if _, err := p.Text(bytes.NewReader(raw), 1<<16); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzParts(f *testing.F) {
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n\r\nx\r\n--b--\r\n"))
	f.Add([]byte("Content-Type: multipart/digest; boundary*0=b; boundary*1=c\n\n--bc\n\n\n\n--bc--"))
	f.Add([]byte("Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain; charset=gb18030; name*=x''%\n\n=E4=\n"))
	f.Add([]byte("Content-Transfer-Encoding: base64\n\nSGVs=bG8"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tree, err := Read(bytes.NewReader(raw), int64(len(raw)), Limits{Depth: 6, Parts: 30, Header: 4096})
		if err != nil {
			t.Fatal(err)
		}
		if len(tree.Parts) == 0 || len(tree.Parts) > 30 {
			t.Fatalf("%d parts", len(tree.Parts))
		}
		checkTree(t, raw, tree)
	})
}

// corpus calls fn with every file of the shared corpora with the prefix.
func corpus(t *testing.T, prefix string, fn func(path string, raw []byte)) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "corpora", prefix))
	if err != nil {
		t.Fatal(err)
	}
	if len(dirs) == 0 {
		t.Skip("shared corpora not here: " + prefix)
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			if err == nil {
				fn(path, raw)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestCorpora(t *testing.T) {
	files, cut := 0, 0
	corpus(t, "mime-*", func(path string, raw []byte) {
		files++
		start := time.Now()
		tree, err := Read(bytes.NewReader(raw), int64(len(raw)), Limits{})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		if len(tree.Parts) > 1 {
			cut++
		}
		checkTree(t, raw, tree)
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s: %d octets took %s", path, len(raw), d)
		}
	})
	if files < 1000 || cut < 300 {
		t.Errorf("%d files, %d of them with parts: is the corpus complete?", files, cut)
	}
}
