package receipts

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func stream(dict, content string) string {
	return fmt.Sprintf("%%PDF-1.4\n1 0 obj\n<< %s /Length %d >>\nstream\n%s\nendstream\nendobj\n", dict, len(content), content)
}

func deflate(s string) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, _ = z.Write([]byte(s))
	_ = z.Close()
	return b.String()
}

func TestPDFText(t *testing.T) {
	tests := []struct{ name, pdf, want string }{
		{"Tj", stream("", "BT /F1 11 Tf 10 20 Td (Hello) Tj ET"), "Hello\n"},
		{"WinAnsi", stream("", "BT (Empf\xe4nger: \x80) Tj ET"), "Empfänger: €\n"},
		{"escapes", stream("", `BT (a\(b\)c\\ \344 (nested) \`+"\nx\\101) Tj ET"), "a(b)c\\ ä (nested) xA\n"},
		{"hex", stream("", "BT <48 65 6C6c 6F2> Tj ET"), "Hello \n"},
		{"UTF-16", stream("", "BT <FEFF00E400F620AC> Tj ET"), "äö€\n"},
		{"TJ", stream("", "BT [(Ab) -20 (gabe) -400 (quittung)] TJ ET"), "Abgabe quittung\n"},
		{"lines", stream("", "BT (a) Tj 0 -14 Td (b) Tj T* (c) Tj 50 0 Td (d) Tj (e) ' 1 2 (f) \" ET"), "a\nb\nc d\ne\nf\n"},
		{"two blocks", stream("", "BT (a) Tj ET BT (b) Tj ET"), "a\nb\n"},
		{"newline inside a string", stream("", "BT (a\nEmpf: b\\nc) Tj ET"), "a Empf: b c\n"},
		{"flate", stream("/Filter /FlateDecode", deflate("BT (deflated) Tj ET")), "deflated\n"},
		{"picture", stream("/Subtype /Image", "BT (no) Tj ET"), ""},
		{"inline picture", stream("", "BI /W 1 ID (x) Tj\x00 EI BT (text) Tj ET"), "text\n"},
		{"other filter", stream("/Filter /LZWDecode", "BT (no) Tj ET"), ""},
		{"comment", stream("", "BT % (no) Tj\n(yes) Tj ET"), "yes\n"},
		{"unclosed", stream("", "BT (open"), ""},
		{"no stream", "%PDF-1.4 nothing", ""},
		{"stream without end", "1 0 obj <<>> stream\nBT (x) Tj ET", ""},
	}
	for _, tt := range tests {
		if got := pdfText([]byte(tt.pdf)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A bomb costs bounded time and memory.
func TestPDFTextBomb(t *testing.T) {
	huge := deflate(strings.Repeat("BT (aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa) Tj ET ", 4<<20/8))
	pdf := strings.Repeat(stream("/Filter /FlateDecode", huge), 20)
	nested := stream("", "BT "+strings.Repeat("(", 1<<20)+strings.Repeat("[", 1<<20)+" Tj ET")
	start := time.Now()
	if n := len(pdfText([]byte(pdf))); n > maxExtracted+maxInflated {
		t.Errorf("%d octets of text", n)
	}
	pdfText([]byte(nested))
	pdfText([]byte(strings.Repeat("stream\n", 1<<18)))
	pdfText([]byte(strings.Repeat("obj stream\nendstream", 1<<16)))
	if d := time.Since(start); d > time.Minute {
		t.Errorf("took %s", d)
	}
}

// poppler reads the same lines.
func TestPDFTextAgainstPoppler(t *testing.T) {
	tool, err := exec.LookPath("pdftotext")
	if err != nil {
		missing(t, "pdftotext", "poppler-utils")
	}
	lines := receiptLines("IncaMail Abgabequittung")
	lines = append(lines, "Klammern (innen) und \\ Schrägstrich", "äöüÄÖÜß éèà €")
	for _, compress := range []bool{false, true} {
		pdf := newSeal(t, "x").sign(t, render(t, compress, lines...))
		file := filepath.Join(t.TempDir(), "a.pdf")
		if err := os.WriteFile(file, pdf, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(tool, "-layout", "-enc", "UTF-8", file, "-").Output()
		if err != nil {
			t.Fatal(err)
		}
		var theirs []string
		for _, l := range strings.Split(string(out), "\n") {
			if l = strings.Join(strings.Fields(l), " "); l != "" {
				theirs = append(theirs, l)
			}
		}
		ours := strings.TrimSpace(pdfText(pdf))
		if want := strings.Join(theirs, "\n"); ours != want {
			t.Errorf("compressed %v:\n%s\npoppler:\n%s", compress, ours, want)
		}
	}
}

func missing(t *testing.T, tool, pkg string) {
	t.Helper()
	text := "needs " + tool + ": apt-get install " + pkg
	if os.Getenv("CI") != "" {
		t.Fatal(text)
	}
	t.Skip(text)
}

func FuzzPDFText(f *testing.F) {
	f.Add([]byte(stream("", "BT (a) Tj [(b) -300 <63>] TJ T* (d) ' ET")))
	f.Add([]byte(stream("/Filter /FlateDecode", deflate("BT (x) Tj ET"))))
	f.Add([]byte("stream\nBI ID EI BT (\\"))
	f.Fuzz(func(t *testing.T, pdf []byte) {
		text := pdfText(pdf)
		if len(text) > maxExtracted+4*len(pdf)+maxInflated*4 || strings.ContainsAny(text, "\r\x00") {
			t.Fatalf("%d octets of text", len(text))
		}
		e := &extractor{}
		e.run(pdf)
	})
}
