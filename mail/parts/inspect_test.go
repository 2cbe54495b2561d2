package parts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func inspect(t testing.TB, msg string) Inspection {
	t.Helper()
	in, err := Inspect(strings.NewReader(msg), int64(len(msg)), Limits{})
	if err != nil && !errors.Is(err, ErrLimits) {
		t.Fatal(err)
	}
	return in
}

func kinds(in Inspection) string {
	var list []string
	for _, a := range in.Ambiguous {
		list = append(list, a.Part+":"+a.Kind)
	}
	return strings.Join(list, " ")
}

// The mails of mime-is-broken: those beyond the standard are flagged or read
// as the standard says, the plain ones are not flagged.
func TestBroken(t *testing.T) {
	lists, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "corpora", "mime-is-broken", "labels-*.tsv"))
	if err != nil || len(lists) == 0 {
		t.Skip("shared corpora not here: mime-is-broken")
	}
	for _, list := range lists {
		rows, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(filepath.Dir(list), strings.TrimSuffix(strings.TrimPrefix(filepath.Base(list), "labels-"), ".tsv"))
		files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		paths := map[string]string{}
		for _, f := range files {
			paths[filepath.Base(f)] = f
		}
		seen, flagged := map[string]int{}, map[string]int{}
		for _, row := range strings.Split(strings.TrimSpace(string(rows)), "\n")[1:] {
			c := strings.Split(row, "\t")
			raw, err := os.ReadFile(paths[c[0]])
			if err != nil {
				t.Fatal(err)
			}
			in := inspect(t, string(raw))
			seen[c[2]]++
			name := in.Parts[len(in.Parts)-1].FileName
			if len(in.Ambiguous) > 0 {
				flagged[c[2]]++
				if c[2] == "3" {
					t.Errorf("%s is plain but flagged: %s", c[1], kinds(in))
				}
			} else if c[2] < "3" && name != "file.zip" {
				t.Errorf("%s (validity %s) is not flagged, name %q", c[1], c[2], name)
			}
		}
		t.Logf("%s: seen %v, flagged %v", filepath.Base(dir), seen, flagged)
	}
}

const sample = "From: =?utf-8?q?J=C3=BCrg?= <j@b.ch>\r\nTo: a@x.ch, B <b@x.ch>\r\nCc: c@x.ch\r\nReply-To: r@x.ch\r\nSender: s@b.ch\r\nSubject: =?iso-8859-1?q?Gr=FCsse?=\r\n" +
	"Date: Mon, 23 Nov 2026 14:05:06 +0100\r\nMessage-ID: <1@b.ch>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n" +
	"--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=FCn\r\n" +
	"--i\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<b>x</b>\r\n--i--\r\n\r\n" +
	"--o\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Disposition: attachment; filename=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--o--\r\n"

func TestInspect(t *testing.T) {
	in := inspect(t, sample)
	if in.Subject != "Grüsse" || in.MessageID != "1@b.ch" || in.Date.IsZero() || in.Text != "grün" || in.Size != int64(len(sample)) || len(in.Ambiguous) != 0 {
		t.Errorf("%+v", in)
	}
	if fmt.Sprint(in.From, in.To, in.Cc, in.Sender, in.ReplyTo) != "[{Jürg j@b.ch}] [{ a@x.ch} {B b@x.ch}] [{ c@x.ch}] [{ s@b.ch}] [{ r@x.ch}]" {
		t.Errorf("%v %v %v", in.From, in.To, in.Cc)
	}
	var got []string
	for _, e := range in.Parts {
		got = append(got, fmt.Sprint(e.ID, " ", e.Type, " ", e.Charset, " ", e.Disposition, " ", e.FileName, " ", e.Encoding, " ", e.Size, " ", e.Children))
	}
	want := []string{
		"1 multipart/mixed    7bit 0 true", "1.1 multipart/alternative    7bit 0 true", "1.1.1 text/plain iso-8859-1   quoted-printable 4 false",
		"1.1.2 text/html utf-8   7bit 8 false", "1.2 application/pdf  attachment a.pdf base64 5 false",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	pdf := in.Parts[4]
	if hex := pdf.SHA256.String(); !strings.Contains(hex, "185f8db32271fe25f561a6fc938b2e264306ec304eda518007d1764826381969") {
		t.Errorf("sha256 of Hello: %s", hex)
	}
	if sample[pdf.Start:pdf.Start+pdf.Length] != "SGVsbG8=" {
		t.Errorf("range %d+%d", pdf.Start, pdf.Length)
	}
	raw, err := json.Marshal(in)
	if err != nil || !bytes.Contains(raw, []byte(`"ambiguous":[]`)) || !bytes.Contains(raw, []byte(`"file_name":"a.pdf"`)) {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestInspectText(t *testing.T) {
	tests := []struct{ msg, want string }{
		{"\r\nplain", "plain"},
		{"Content-Type: text/html\r\n\r\n<b>x</b>", "<b>x</b>"},
		{"Content-Type: text/plain; name=a.txt\r\n\r\nfile", ""},
		{"Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nfile", ""},
		{"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\nh\r\n--b\r\n\r\np\r\n--b--", "p"},
		{"Content-Type: image/png\r\n\r\nx", ""},
	}
	for _, tt := range tests {
		if got := inspect(t, tt.msg).Text; got != tt.want {
			t.Errorf("%q: %q, want %q", tt.msg, got, tt.want)
		}
	}
}

func TestAmbiguous(t *testing.T) {
	const from = "From: a@b.ch\r\n"
	const mime = from + "MIME-Version: 1.0\r\n"
	mixed := func(body string) string {
		return mime + "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + body
	}
	b64 := func(body string) string {
		return mime + "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + body
	}
	qp := func(body string) string {
		return mime + "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + body
	}
	tests := []struct{ name, msg, want string }{
		{"plain", from + "\r\nx\r\n", ""},
		{"mbox line", "From a@b Mon Nov 23\r\n" + from + "\r\nx", ""},
		{"folded", mime + "Content-Type: text/plain;\r\n charset=utf-8\r\n\r\nx", ""},
		{"two subjects", from + "Subject: a\r\nSubject: b\r\n\r\n", "1:field-twice"},
		{"two types", mime + "Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n", "1:field-twice"},
		{"two froms", from + from + "\r\n", "1:field-twice"},
		{"two authors", "From: a@b.ch, c@d.ch\r\n\r\n", "1:several-authors"},
		{"two authors, one sender", "From: a@b.ch, c@d.ch\r\nSender: a@b.ch\r\n\r\n", ""},
		{"no comma", "From: A <a@b.ch> <c@d.ch>\r\n\r\n", "1:several-authors"},
		{"no author", "Subject: x\r\n\r\n", "1:no-author"},
		{"address as name", "From: \"boss@b.ch\" <c@d.ch>\r\n\r\n", "1:address-in-name"},
		{"no colon", from + "nonsense\r\n\r\n", "1:no-field"},
		{"first line continues", " x\r\n" + from + "\r\n", "1:no-field"},
		{"space before colon", from + "Subject : x\r\n\r\n", "1:space-before-colon"},
		{"8 bit", from + "Subject: gr\xfcn\r\n\r\n", "1:8bit-in-header"},
		{"nul", from + "Subject: a\x00b\r\n\r\n", "1:nul 1:control-in-header"},
		{"nul in body", from + "\r\na\x00b", "1:nul"},
		{"bare cr", from + "\r\na\rb\r\n", "1:bare-cr"},
		{"cr cr lf", from + "\r\na\r\r\n", "1:bare-cr"},
		{"mixed line ends", from + "\r\na\nb\r\n", "1:mixed-line-ends"},
		{"line feeds only", "From: a@b.ch\n\na\nb\n", ""},
		{"blank fold", from + "Subject: a\r\n \r\n b\r\n\r\n", "1:blank-fold"},
		{"long header line", from + "Subject: " + strings.Repeat("x", 1000) + "\r\n\r\n", "1:long-line"},
		{"long line", from + "\r\n" + strings.Repeat("x", 1000), "1:long-line"},
		{"no mime version", from + "Content-Type: text/plain\r\n\r\n", "1:mime-version"},
		{"no blank line", from, "1:header-open"},
		{"encoded word", from + "Subject: =?x?q?a?=\r\n\r\n", "1:encoded-word"},
		{"comment in type", mime + "Content-Type: text/(x)plain\r\n\r\n", "1:comment 1:syntax"},
		{"bad type", mime + "Content-Type: text\r\n\r\n", "1:media-type"},
		{"empty type", mime + "Content-Type:\r\n\r\n", "1:media-type"},
		{"charset", mime + "Content-Type: text/plain; charset=utf-7\r\n\r\n", "1:charset"},
		{"unknown encoding", mime + "Content-Transfer-Encoding: base64 \t x\r\n\r\n", "1:transfer-encoding"},
		{"commented encoding", mime + "Content-Transfer-Encoding: base64 (x)\r\n\r\n", "1:transfer-encoding"},
		{"8 bit in 7 bit", mime + "Content-Transfer-Encoding: 7bit\r\n\r\n\xfc", "1:8bit-in-7bit"},
		{"encoded message", mime + "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3Vi", "1:encoded-composite"},
		{"tnef", mime + "Content-Type: application/ms-tnef\r\n\r\nx", "1:content-elsewhere"},
		{"uuencode", from + "\r\nbegin 644 a.exe\r\nM\r\nend\r\n", "1:uuencode"},
		{"yenc", from + "\r\n=ybegin line=128 size=1 name=a\r\n", "1:yenc"},
		{"names differ", mime + "Content-Type: a/b; name=x.png\r\nContent-Disposition: attachment; filename=x.exe\r\n\r\n", "1:two-names"},
		{"names agree", mime + "Content-Type: a/b; name=x.png\r\nContent-Disposition: attachment; filename=x.png\r\n\r\n", ""},
		{"folder in name", mime + "Content-Disposition: attachment; filename=\"../x\"\r\n\r\n", "1:unsafe-name"},
		{"filename in type", mime + "Content-Type: a/b; filename=x\r\n\r\n", "1:name-in-wrong-field"},
		{"name in disposition", mime + "Content-Disposition: attachment; name=x\r\n\r\n", "1:name-in-wrong-field"},
		{"good parts", mixed("pre\r\n--b\r\n\r\nx\r\n--b--\r\n"), ""},
		{"no boundary", mime + "Content-Type: multipart/mixed\r\n\r\n", "1:boundary-missing"},
		{"odd boundary", mime + "Content-Type: multipart/mixed; boundary=" + strings.Repeat("x", 71) + "\r\n\r\n", "1:boundary-odd"},
		{"boundary begins with space", mime + "Content-Type: multipart/mixed; boundary=\" b\"\r\n\r\n-- b\r\n\r\nx\r\n-- b--\r\n", "1:boundary-odd"},
		{"boundary of a text", mime + "Content-Type: text/plain; boundary=b\r\n\r\n", "1:boundary-in-leaf"},
		{"one boundary twice", mixed("--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--b--\r\n"), "1.1:boundary-shared"},
		{"boundary unused", mixed("x"), "1:boundary-unused"},
		{"never closed", mixed("--b\r\n\r\nx"), "1:boundary-open"},
		{"almost a boundary", mixed("--b\r\n\r\nx\r\n--bc\r\n--b--\r\n"), "1:boundary-like-line"},
		{"part before", mixed("Content-Type: a/b\r\n--b\r\n\r\nx\r\n--b--\r\n"), "1:content-outside-parts"},
		{"part behind", mixed("--b\r\n\r\nx\r\n--b--\r\n--c\r\nContent-Type: a/b\r\n"), "1:content-outside-parts"},
		{"no blank line in part", mixed("--b\r\nContent-Type: a/b\r\n--b--\r\n"), "1.1:header-open"},
		{"good base64", b64("SGVs\r\nbG8=\r\n"), ""},
		{"base64 letters", b64("SGVs!bG8=\r\n"), "1:base64-alphabet"},
		{"base64 space", b64("SGVs bG8=\r\n"), "1:base64-alphabet"},
		{"base64 padding inside", b64("SGVsbG8=SGVs"), "1:base64-after-end"},
		{"base64 padding missing", b64("SGVsbG8"), "1:base64-padding"},
		{"base64 too much padding", b64("SGVs===="), "1:base64-padding"},
		{"base64 odd lines", b64("SGVsb\r\nG8=\r\n"), "1:base64-lines"},
		{"good quoted-printable", qp("a=3Db=\r\nc=20\r\n"), ""},
		{"lower case escape", qp("=e4"), "1:quoted-printable-escape"},
		{"bad escape", qp("=XY"), "1:quoted-printable-escape"},
		{"cut escape", qp("a=4"), "1:quoted-printable-escape"},
		{"8 bit in quoted-printable", qp("\xe4"), "1:8bit-in-quoted-printable"},
	}
	for _, tt := range tests {
		if got := kinds(inspect(t, tt.msg)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// generated is a long message that is never in memory as a whole.
type generated struct {
	head, unit string
	size       int64
}

func (g generated) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < g.size {
		s := g.unit
		at := (off - int64(len(g.head))) % int64(len(s))
		if off < int64(len(g.head)) {
			s, at = g.head, off
		}
		k := copy(p[n:], s[at:])
		n, off = n+k, off+int64(k)
	}
	if n < len(p) {
		return n, fmt.Errorf("short: %w", errShort)
	}
	return n, nil
}

var errShort = errors.New("end")

// Ten thousand nested parts, a million parts, a header line of 100 MB: a clear
// error, in bounded time and memory.
func TestInspectBounds(t *testing.T) {
	var nested strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&nested, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	const mixed = "From: a@b.ch\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
	const million = int64(1_000_000)
	tests := []struct {
		name  string
		r     generated
		limit string
	}{
		{"nested multiparts", generated{"From: a@b.ch\r\n" + nested.String(), "x", int64(nested.Len())}, limitDepth},
		{"nested messages", generated{"From: a@b.ch\r\n", "Content-Type: message/rfc822\r\n\r\n", 320_000}, limitDepth},
		{"a million parts", generated{mixed, "--b\r\n\r\nx\r\n", million * 10}, limitParts},
		{"100 MB header line", generated{"From: a@b.ch\r\nSubject: ", strings.Repeat("x", 4096), 100 * million}, limitHeader},
		{"100 MB header", generated{"From: a@b.ch\r\n", "Subject: x\r\n", 100 * million}, limitHeader},
		{"100 MB of base64", generated{"From: a@b.ch\r\nContent-Transfer-Encoding: base64\r\n\r\n", strings.Repeat("QUJD\r\n", 700), 100 * million}, ""},
	}
	for _, tt := range tests {
		if os.Getenv("GATEWAYD_LONG") == "" && tt.r.size > 5*million {
			tt.r.size = 5 * million // the whole takes long under the race detector
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		start := time.Now()
		in, err := Inspect(tt.r, tt.r.size, Limits{})
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if tt.limit == "" && err != nil || tt.limit != "" && (!errors.Is(err, ErrLimits) || in.Limited != tt.limit) {
			t.Errorf("%s: %q, %v", tt.name, in.Limited, err)
		}
		grown := (int64(after.TotalAlloc) - int64(before.TotalAlloc)) >> 20
		t.Logf("%s: %d octets, %s, %d MiB allocated in all", tt.name, tt.r.size, took.Round(time.Millisecond), grown)
		if took > time.Minute || grown > 256 {
			t.Errorf("%s: %s, %d MiB", tt.name, took, grown)
		}
	}
}

func FuzzInspect(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("From: a\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: x-uuencode\n\nbegin 644 x\n#0V%T\n`\nend\n--b"))
	f.Add([]byte("Subject: =?utf-7?q?+AGE-?=\nContent-Type: a/b; name*0*=utf-16''%00; name*2=x (\\\")\n--x\n\n\x00\r"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		in, err := Inspect(bytes.NewReader(raw), int64(len(raw)), Limits{Depth: 6, Parts: 30, Header: 4096})
		if err != nil && !errors.Is(err, ErrLimits) {
			t.Fatal(err)
		}
		if _, err := json.Marshal(in); err != nil || len(in.Parts) == 0 || len(in.Ambiguous) > maxAmbiguous {
			t.Fatalf("%d parts, %d ambiguous, %v", len(in.Parts), len(in.Ambiguous), err)
		}
	})
}
