package tnef

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"
)

var update = flag.Bool("update", false, "rewrite testdata")

// corpus finds the streams of MimeKit, tnef and ytnef.
func corpus(t testing.TB) []string {
	t.Helper()
	top := filepath.Join("..", "..", "..", "shared", "corpora", "tnef")
	if _, err := os.Stat(top); err != nil {
		t.Skip("no shared corpora here")
	}
	files, err := filepath.Glob(filepath.Join(top, "*", "*.tnef"))
	if more, _ := filepath.Glob(filepath.Join(top, "*", "*", "*.tnef")); err == nil {
		files = append(files, more...)
	}
	if err != nil || len(files) == 0 {
		t.Fatal("no streams", err)
	}
	return files
}

// TestCorpus: what each stream holds, as testdata/corpus.tsv says; the names are
// those of the list beside it.
func TestCorpus(t *testing.T) {
	var got strings.Builder
	for _, file := range corpus(t) {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Read(bytes.NewReader(raw), int64(len(raw)), Limits{})
		dir, name := filepath.Base(filepath.Dir(file)), filepath.Base(file)
		fmt.Fprintf(&got, "%s/%s\t%s\n", dir, name, told(m, err, raw))
		if list, err := os.ReadFile(strings.TrimSuffix(file, ".tnef") + ".list"); err == nil && m != nil {
			for want := range strings.Lines(string(list)) {
				want = strings.TrimSpace(want)
				body := strings.Contains(want, "body.") || strings.HasPrefix(want, "message.")
				named := slices.ContainsFunc(m.Attachments, func(a Attachment) bool { return a.Name == want })
				if want != "" && !body && !named {
					t.Errorf("%s: no attachment %q", file, want)
				}
			}
		}
	}
	const table = "testdata/corpus.tsv"
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(table, []byte(got.String()), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(table)
	if err != nil || got.String() != string(want) {
		t.Errorf("%v\n%s\nwant:\n%s", err, got.String(), want)
	}
}

func told(m *Message, err error, raw []byte) string {
	if m == nil {
		return err.Error()
	}
	text := fmt.Sprintf("%s\t%q\ttext %d html %d rtf %d\t%s", m.Class, m.Subject, len(m.Text), m.HTML, m.RTF, strings.Join(m.Damage, ", "))
	for _, a := range m.Attachments {
		b, _ := io.ReadAll(a.Open(bytes.NewReader(raw)))
		text += fmt.Sprintf("\t%q %s %d %.4x", a.Name, a.Type, a.Size, sha256.Sum256(b))
		if a.Message != nil {
			text += "{" + told(a.Message, nil, raw) + "}"
		}
	}
	if err != nil {
		text += "\t" + err.Error()
	}
	return text
}

// TestMessage reads a stream of our own, with everything that is looked at.
func TestMessage(t *testing.T) {
	inner := stream(attribute(1, attMsgProps, properties(prop{ptUnicode, prSubject, wide("Innen")})), attribute(2, attRenderData, make([]byte, 14)),
		attribute(2, attAttachTitle, []byte("b.txt\x00")), attribute(2, attAttachData, []byte("inside")))
	raw := stream(
		attribute(1, attOemCodepage, []byte{0xe3, 4, 0, 0, 0, 0, 0, 0}), // 1251
		attribute(1, attMessageClass, []byte("IPM.Microsoft Mail.Note\x00")),
		attribute(1, attSubject, []byte("\xcf\xf0\xe8\xe2\xe5\xf2\x00")),
		attribute(1, attBody, []byte("Guten\r\nTag\x00")),
		attribute(1, attMsgProps, properties(prop{ptBinary, prHTML, []byte("<p>x</p>")}, prop{ptBinary, prRTF, []byte("LZFu")}, prop{0x0003, 0x0017, []byte{1, 0, 0, 0}})),
		attribute(2, attRenderData, make([]byte, 14)),
		attribute(2, attAttachData, []byte("one")),
		attribute(2, attAttachTitle, []byte("KURZ~1.DOC\x00")),
		attribute(2, attAttachment, properties(prop{ptUnicode, prAttachLong, wide("../../Gesuch Müller.doc")}, prop{ptString8, prAttachType, []byte("Application/MSWord\x00")}, prop{ptUnicode, prAttachID, wide("a@b")})),
		attribute(2, attRenderData, make([]byte, 14)),
		attribute(2, attAttachment, properties(prop{ptUnicode, prDisplayName, wide("Weitergeleitet")}, prop{ptObject, prAttachData, append(make([]byte, 16), inner...)})),
	)
	m, err := Read(bytes.NewReader(raw), int64(len(raw)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Class != "IPM.Note" || m.Subject != "Привет" || m.Text != "Guten\r\nTag" || m.HTML != 8 || m.RTF != 4 || len(m.Damage) > 0 || len(m.Attachments) != 2 {
		t.Fatalf("%+v", m)
	}
	html, _ := io.ReadAll(m.OpenHTML(bytes.NewReader(raw)))
	a, b := m.Attachments[0], m.Attachments[1]
	data, _ := io.ReadAll(a.Open(bytes.NewReader(raw)))
	if string(html) != "<p>x</p>" || string(data) != "one" || strings.ContainsAny(a.Name, "/\\") || !strings.HasSuffix(a.Name, "Gesuch Müller.doc") || a.Type != "application/msword" || a.ContentID != "a@b" {
		t.Errorf("%q %q %+v", html, data, a)
	}
	if b.Message == nil || b.Name != "Weitergeleitet" || b.Message.Subject != "Innen" || b.Message.Attachments[0].Name != "b.txt" {
		t.Fatalf("%+v", b)
	}
	n := 0
	m.All(func(Attachment) { n++ })
	if n != 3 {
		t.Errorf("%d attachments in all", n)
	}
	for cut := range raw {
		if m, err := Read(bytes.NewReader(raw[:cut]), int64(cut), Limits{}); cut >= 6 && (err != nil || m == nil) || cut < 4 && !errors.Is(err, ErrNotTNEF) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	raw[len(raw)-1]++
	if m, _ := Read(bytes.NewReader(raw), int64(len(raw)), Limits{}); !slices.Contains(m.Damage, "checksum") {
		t.Errorf("%q", m.Damage)
	}
}

// TestShown: no text that is shown can paint on a terminal.
func TestShown(t *testing.T) {
	const evil = "a\x1b[2J\r\nb\u202ec\u009b1A\x7f"
	raw := stream(
		attribute(1, attMsgProps, properties(prop{ptUnicode, prSubject, wide(evil)}, prop{ptUnicode, prMessageClass, wide(evil)})), attribute(2, attRenderData, nil),
		attribute(2, attAttachment, properties(prop{ptUnicode, prAttachType, wide(evil)}, prop{ptUnicode, prAttachID, wide(evil)}, prop{ptUnicode, prAttachLong, wide(evil)})),
	)
	m, err := Read(bytes.NewReader(raw), int64(len(raw)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	a := m.Attachments[0]
	for _, s := range []string{m.Subject, m.Class, a.Type, a.ContentID, a.Name} {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) {
			t.Errorf("%q", s)
		}
	}
}

// TestTwice: an attachment with two contents counts as two, so that nobody is shown,
// and no scanner given, the other one than Outlook takes.
func TestTwice(t *testing.T) {
	for name, raw := range map[string][]byte{
		"attributes": stream(attribute(2, attRenderData, nil), attribute(2, attAttachTitle, []byte("a.doc\x00")), attribute(2, attAttachData, []byte("one")), attribute(2, attAttachData, []byte("two"))),
		"properties": stream(attribute(2, attRenderData, nil), attribute(2, attAttachTitle, []byte("a.doc\x00")), attribute(2, attAttachment, properties(prop{ptBinary, prAttachData, []byte("one")}, prop{ptBinary, prAttachData, []byte("two")}))),
		"both":       stream(attribute(2, attRenderData, nil), attribute(2, attAttachTitle, []byte("a.doc\x00")), attribute(2, attAttachData, []byte("one")), attribute(2, attAttachment, properties(prop{ptBinary, prAttachData, []byte("two")}))),
	} {
		m, err := Read(bytes.NewReader(raw), int64(len(raw)), Limits{})
		if err != nil {
			t.Fatal(name, err)
		}
		var got []string
		m.All(func(a Attachment) {
			b, _ := io.ReadAll(a.Open(bytes.NewReader(raw)))
			got = append(got, a.Name+" "+string(b))
		})
		if !slices.Equal(got, []string{"a.doc one", "a.doc two"}) {
			t.Errorf("%s: %q", name, got)
		}
	}
	many := stream(attribute(2, attRenderData, nil), bytes.Repeat(attribute(2, attAttachData, []byte("x")), 1000))
	if _, err := Read(bytes.NewReader(many), int64(len(many)), Limits{}); !errors.Is(err, ErrLimits) {
		t.Errorf("many: %v", err)
	}
}

// TestLimits: what is built to grow is left off, quickly and with a word.
func TestLimits(t *testing.T) {
	deep := stream()
	for range 50 {
		deep = stream(attribute(2, attAttachment, properties(prop{ptObject, prAttachData, append(make([]byte, 16), deep...)})))
	}
	many := stream(bytes.Repeat(attribute(2, attRenderData, nil), 100_000))
	long := stream(attribute(1, attMsgProps, properties(make([]prop, 50_000)...)))
	values := binary.LittleEndian.AppendUint32([]byte{1, 0, 0, 0, 0x1f, 0x10, 1, 0}, 1<<31)
	endless := stream(attribute(1, attMsgProps, append(values, make([]byte, 400_000)...)))
	for name, raw := range map[string][]byte{"deep": deep, "many": many, "long": long} {
		if m, err := Read(bytes.NewReader(raw), int64(len(raw)), Limits{}); !errors.Is(err, ErrLimits) || m == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m, err := Read(bytes.NewReader(endless), int64(len(endless)), Limits{}); err == nil && !slices.Contains(m.Damage, "property") {
		t.Errorf("endless: %v %+v", err, m)
	}
	big := stream(attribute(2, attRenderData, nil), attribute(2, attAttachData, make([]byte, 32<<20)))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := Read(bytes.NewReader(big), int64(len(big)), Limits{})
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; err != nil || m.Attachments[0].Size != 32<<20 || grown > 1<<20 {
		t.Errorf("32 MiB: %v, %d octets allocated", err, grown)
	}
	wrong := errors.New("disk")
	if _, err := Read(failing{wrong}, 100, Limits{}); !errors.Is(err, wrong) {
		t.Errorf("a failing reader: %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

type prop struct {
	kind, id uint16
	value    []byte
}

func properties(list ...prop) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(list)))
	for _, p := range list {
		b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, p.kind), p.id)
		if p.kind == 3 || p.kind == 0 {
			b = append(b, p.value...)
			continue
		}
		b = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, 1), uint32(len(p.value)))
		b = append(append(b, p.value...), make([]byte, padded(int64(len(p.value)))-int64(len(p.value)))...)
	}
	return b
}

func wide(s string) []byte {
	var b []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func attribute(level byte, id uint32, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{level}, id)
	b = append(binary.LittleEndian.AppendUint32(b, uint32(len(data))), data...)
	var sum uint16
	for _, x := range data {
		sum += uint16(x)
	}
	return binary.LittleEndian.AppendUint16(b, sum)
}

func stream(attributes ...[]byte) []byte {
	return append(binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint32(nil, signature), 1), bytes.Join(attributes, nil)...)
}

// FuzzRead: whatever comes, what is told lies in the stream, and there is not
// more of it than the limits say.
func FuzzRead(f *testing.F) {
	f.Add(stream(attribute(1, attMsgProps, properties(prop{ptUnicode, prSubject, wide("x")})), attribute(2, attRenderData, nil), attribute(2, attAttachData, []byte("y"))))
	f.Add(stream(attribute(2, attAttachment, properties(prop{ptObject, prAttachData, append(make([]byte, 16), stream()...)}))))
	if files, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "corpora", "tnef", "*", "*.tnef")); len(files) > 0 {
		for _, file := range files {
			if raw, err := os.ReadFile(file); err == nil && len(raw) < 64<<10 {
				f.Add(raw)
			}
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		lim := Limits{Attached: 20, Entries: 2000, Depth: 3, TextOctets: 1000}
		m, err := Read(bytes.NewReader(raw), int64(len(raw)), lim)
		if m == nil {
			if err == nil {
				t.Fatal("nothing")
			}
			return
		}
		n := 0
		m.All(func(a Attachment) {
			n++
			if a.data.start < 0 || a.data.size < 0 || a.data.start+a.data.size > int64(len(raw)) || a.Size != a.data.size || strings.ContainsAny(a.Name, "/\\\x00\r\n") {
				t.Fatalf("%+v of %d", a, len(raw))
			}
		})
		if n > lim.Attached || len(m.Text) > 4*lim.TextOctets {
			t.Fatalf("%d attachments, text of %d", n, len(m.Text))
		}
	})
}
