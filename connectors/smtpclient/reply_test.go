package smtpclient

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestReadReply(t *testing.T) {
	for _, c := range []struct {
		in       string
		code     int
		enhanced string
		text     string
	}{
		{"250 ok\r\n", 250, "", "ok"},
		{"250\r\n", 250, "", ""},
		{"250 \n", 250, "", ""},
		{"250-one\r\n250-two\r\n250 three\r\n", 250, "", "one two three"},
		{"550 5.1.1 no such user\r\n", 550, "5.1.1", "no such user"},
		{"550-5.7.1 first\r\n550 5.7.1 second\r\n", 550, "5.7.1", "first second"},
		{"550 5.7.606 far\r\n", 550, "5.7.606", "far"},
		{"550 4.1.1 class differs\r\n", 550, "", "4.1.1 class differs"},
		{"550 5.1 short\r\n", 550, "", "5.1 short"},
		{"550 5.1.1234 long\r\n", 550, "", "5.1.1234 long"},
		{"550 5.1.x odd\r\n", 550, "", "5.1.x odd"},
		{"550 bell\x07 esc\x1b[2J \xff\r\n", 550, "", "bell? esc?[2J ?"},
	} {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(c.in), maxReplyLine+2))
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if r.Code != c.code || r.Enhanced != c.enhanced || r.Text() != c.text {
			t.Errorf("%q = %d %q %q, want %d %q %q", c.in, r.Code, r.Enhanced, r.Text(), c.code, c.enhanced, c.text)
		}
	}
}

func TestReadReplyRefuses(t *testing.T) {
	for _, in := range []string{
		"\r\n", "ok\r\n", "25\r\n", "25x ok\r\n", "250ok\r\n", "250_ok\r\n", "000 x\r\n", "199 x\r\n", "600 x\r\n", "250-a\r\n251 b\r\n",
		"250 " + strings.Repeat("x", maxReplyLine) + "\r\n", strings.Repeat("250-x\r\n", maxReplyLines+1) + "250 x\r\n", "-50 x\r\n", "+25 x\r\n",
	} {
		_, err := readReply(bufio.NewReaderSize(strings.NewReader(in), maxReplyLine+2))
		if !errors.Is(err, errReply) {
			t.Errorf("%.40q: error %v, want errReply", in, err)
		}
	}
	for _, in := range []string{"", "250", "250 ok", "250-one\r\n"} {
		_, err := readReply(bufio.NewReader(strings.NewReader(in)))
		if !errors.Is(err, io.EOF) {
			t.Errorf("%q: error %v, want EOF", in, err)
		}
	}
}

func TestReplyTextIsBounded(t *testing.T) {
	r := Reply{Code: 250, Lines: []string{strings.Repeat("ü", 400)}}
	if got := r.Text(); len(got) > maxReplyText || !utf8.ValidString(got) {
		t.Errorf("text of %d octets, valid %v", len(got), utf8.ValidString(got))
	}
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-a\r\n250 b\r\n", "550 5.1.1 x\n", "\xff\xfe", "354", "421 4.7.0 \x1b[0m\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(in), maxReplyLine+2))
		if err != nil {
			return
		}
		if r.Code < 200 || r.Code > 599 || len(r.Lines) == 0 || len(r.Lines) > maxReplyLines {
			t.Fatalf("reply %+v", r)
		}
		text := r.Text()
		if len(text) > maxReplyText || !utf8.ValidString(text) || strings.IndexFunc(text, isControl) >= 0 {
			t.Fatalf("text %q", text)
		}
		if r.Enhanced != "" && int(r.Enhanced[0]-'0') != r.class() {
			t.Fatalf("status %q with code %d", r.Enhanced, r.Code)
		}
	})
}
