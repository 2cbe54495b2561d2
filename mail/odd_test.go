package mail

import (
	"strings"
	"testing"
	"time"
)

func TestOddParams(t *testing.T) {
	tests := []struct{ in, want string }{
		{`text/plain`, ""},
		{`text/plain;`, ""},
		{`text/plain; charset=utf-8`, ""},
		{`attachment;filename="file (1).pdf"`, ""},
		{`attachment; filename*=utf-8''%C3%A4.pdf`, ""},
		{`attachment; filename=a.pdf; filename*=utf-8''%C3%A4.pdf`, ""},
		{`attachment; filename*=''a.pdf`, ""},
		{`multipart/mixed; boundary="a=_b"`, ""},
		{`text/plain (x)`, "comment syntax"},
		{`attachment; filename=file.z(.gif)ip`, "comment syntax"},
		{`attachment; filename="a\"b"`, "escape syntax"},
		{`attachment; filename="a\b"`, "escape"},
		{`attachment; filename=file name.pdf`, "syntax"},
		{`attachment; filename="a".zip`, "syntax"},
		{`attachment; filename="a`, "syntax"},
		{`attachment; filename =a`, "syntax"},
		{`attachment; filename= a`, "syntax"},
		{`attachment filename=a`, "syntax"},
		{`attachment;; filename=a`, "syntax"},
		{`attachment; filename`, "syntax"},
		{`attachment; filename=`, "syntax"},
		{`text/plain/x`, "syntax"},
		{``, "syntax"},
		{`attachment; filename="a;b"`, "semicolon-in-quotes"},
		{`attachment; filename=a; FileName=b`, "parameter-twice"},
		{`attachment; filename*0=a; filename*1=b`, "parameter-split"},
		{`attachment; filename*1*=a`, "parameter-split"},
		{`attachment; filename='a.zip'`, "parameter-split"},
		{`attachment; filename*=utf-16''%00a`, "charset"},
		{`attachment; filename*=utf-7''a`, "charset"},
		{`attachment; filename*=nonsense''a`, "charset"},
		{`attachment; filename="=?utf-8?q?a?="`, "encoded-word-in-param"},
	}
	for _, tt := range tests {
		if got := strings.Join(OddParams(tt.in), " "); got != tt.want {
			t.Errorf("OddParams(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestOddWords(t *testing.T) {
	tests := []struct {
		in   string
		want bool
	}{
		{"plain", false},
		{"=?utf-8?q?a?=", false},
		{"Re: =?UTF-8?B?w6Q=?= =?iso-8859-1?Q?=E4_b?= end", false},
		{"=?utf-8?q?Name?= <a@b.ch>", false},
		{"=?utf-8*de?q?a?=", false},
		{"=?nonsense?q?a?=", true},
		{"=?utf-7?q?a?=", true},
		{"=?utf-8?x?a?=", true},
		{"=?utf-8?b?w6Q?=", true},
		{"=?utf-8?q?a b?=", true},
		{"=?utf-8?q?a", true},
		{"a=?utf-8?q?b?=", true},
		{"=?utf-8?q?a?=b", true},
		{`"=?utf-8?q?a?=" <a@b.ch>`, true},
	}
	for _, tt := range tests {
		if got := OddWords(tt.in); got != tt.want {
			t.Errorf("OddWords(%q) = %v", tt.in, got)
		}
	}
}

func TestSafeCharset(t *testing.T) {
	for name, want := range map[string]bool{
		"utf-8": true, "US-ASCII": true, "iso-8859-1": true, "iso-8859-15": true, "windows-1252": true, "koi8-r": true, "iso-2022-jp": true, "shift_jis": true, "gb18030": true, "big5": true,
		"": false, "utf-7": false, "utf-16": false, "utf-16le": false, "utf-32": false, "nonsense": false,
	} {
		if got := SafeCharset(name); got != want {
			t.Errorf("SafeCharset(%q) = %v", name, got)
		}
	}
}

func TestOddTime(t *testing.T) {
	start := time.Now()
	for _, s := range []string{strings.Repeat("(", 200_000), strings.Repeat(`"`, 200_000), strings.Repeat("; a=b", 50_000), strings.Repeat("=?utf-8?q?a?= ", 20_000), strings.Repeat("=?", 100_000)} {
		OddParams("a/b; " + s)
		OddWords(s)
	}
	if d := time.Since(start); d > 40*time.Second {
		t.Errorf("took %s", d)
	}
}

func TestMailboxes(t *testing.T) {
	got := Mailboxes(`=?utf-8?q?J=C3=BCrg?= <j@b.ch>, me, Group: x@y.ch (X);`)
	if len(got) != 3 || got[0].Name != "Jürg" || got[0].Address.String() != "j@b.ch" || got[1].Name != "me" || !got[1].Address.IsNull() || got[2].Name != "X" {
		t.Errorf("%+v", got)
	}
}
