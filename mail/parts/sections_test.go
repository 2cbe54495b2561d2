package parts

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func sections(t *testing.T, msg string) string {
	t.Helper()
	list, err := Sections(strings.NewReader(msg), int64(len(msg)))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range list {
		text := strings.NewReplacer("\r\n", "|", "\n", "|").Replace(s.Text)
		fmt.Fprintf(&b, "%s[%s]%v ", s.Type, text, s.Inside)
	}
	return strings.TrimSpace(b.String())
}

func TestSections(t *testing.T) {
	const mixed = "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	tests := []struct{ name, msg, want string }{
		{"empty", "", "text/plain[]false"},
		{"plain", "From: a\r\n\r\nhello\r\n", "text/plain[hello|]false"},
		{"charset", "Content-Type: text/plain; charset=iso-8859-1\r\n\r\ngr\xfcn", "text/plain[grün]false"},
		{"parts", mixed + "--b\r\n\r\none\r\n--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nA: b\r\n--b--", "multipart/mixed[]false text/plain[one]false message/delivery-status[A: b]false"},
		{"message inside", mixed + "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ninner\r\n--b--", "multipart/mixed[]false message/rfc822[Subject: x||inner]false text/plain[inner]true"},
		{"boundary lost", "Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\none", "text/plain[--b||one]false"},
		{"no line feeds", "From: a\rContent-Type: multipart/mixed; boundary=b\r\r--b\r\rone\r--b--\r", "multipart/mixed[]false text/plain[one]false"},
		{"blank lines first", "\r\n \r\nFrom: a\r\n\r\nhello", "text/plain[hello]false"},
		{"blank lines and no header", "\r\n\r\nhello", "text/plain[|hello]false"},
		{"attachment without text", "Content-Type: image/png\r\n\r\nx", "image/png[]false"},
	}
	for _, tt := range tests {
		if got := sections(t, tt.msg); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestSectionsBounds(t *testing.T) {
	wide := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 500)
	list, err := Sections(strings.NewReader(wide), int64(len(wide)))
	if err != nil || len(list) != maxSections {
		t.Errorf("%d sections, %v", len(list), err)
	}
	long := "\r\n" + strings.Repeat("x", 2*maxSection)
	if list, err = Sections(strings.NewReader(long), int64(len(long))); err != nil || len(list[0].Text) != maxSection {
		t.Errorf("%d octets, %v", len(list[0].Text), err)
	}
	broken := errors.New("broken")
	if _, err := Sections(failing{broken}, 100); !errors.Is(err, broken) {
		t.Errorf("read error: %v", err)
	}
}

func TestUUDecode(t *testing.T) {
	tests := []struct{ in, want string }{
		{"begin 644 x\n#0V%T\n`\nend\n", "Cat"},
		{"begin 644 x\r\n#0V%T\r\n \r\nend\r\nmore", "Cat"},
		{"text\n\nbegin 644 x\n#0V%T\n#0V%T\nend\n#0V%T\n", "CatCat"},
		{"begin 644 x\n#0V%T", "Cat"},
		{"begin 644 x\n#0V", "C`\x00"},
		{"begin 644 x\n$0V%T\n", "Cat"},
		{"no data", ""},
		{strings.Repeat("M", 4096) + "\nbegin 644 x\n#0V%T\nend\n", "Cat"},
	}
	for _, tt := range tests {
		got, err := io.ReadAll(newUUReader(strings.NewReader(tt.in)))
		if err != nil || string(got) != tt.want {
			t.Errorf("%.40q: %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
}
