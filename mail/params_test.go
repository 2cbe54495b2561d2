package mail

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestParseParams(t *testing.T) {
	tests := []struct{ in, value, params string }{
		{"text/plain", "text/plain", ""},
		{"text/plain (a; b=\"c\"); charset = utf-8 (note)", "text/plain", "charset=utf-8"},
		{`a/b; x="y;z\"q"; X=second`, "a/b", `x=y;z"q`},
		{"a/b; =x; y; ;z=", "a/b", "z="},
		{"a/b; x*0=a; x*1=b; x*1=c; x*x=d", "a/b", "x=ab,x*x=d"},
		{"a/b; x*=utf-8'de'%C3%A4'b", "a/b", "x=ä'b"},
		{"a/b; x*=%zz%4", "a/b", "x=%zz%4"},
		{"a/b; x*=utf-8''%zz%41", "a/b", "x=%zzA"},
		{"", "", ""},
		{`a/b; x="unclosed`, "a/b", "x=unclosed"},
		{"(unclosed", "", ""},
	}
	for _, tt := range tests {
		value, params := ParseParams(tt.in)
		var list []string
		for _, name := range []string{"charset", "x", "x*x", "y", "z"} {
			if v, ok := params[name]; ok {
				list = append(list, name+"="+v)
			}
		}
		if value != tt.value || strings.Join(list, ",") != tt.params {
			t.Errorf("ParseParams(%q) = %q, %q", tt.in, value, list)
		}
	}
}

func TestSafeFileName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := SafeFileName(rapid.String().Draw(t, "name") + rapid.SampledFrom([]string{"", ".pdf", "/..", `\x`}).Draw(t, "end"))
		if len(name) > maxFileName || !utf8.ValidString(name) || strings.ContainsAny(name, "/\\\r\n\x00<>:\"|?*") || strings.HasPrefix(name, ".") || name != strings.TrimSpace(name) {
			t.Fatalf("%q", name)
		}
		if again := SafeFileName(name); again != name {
			t.Fatalf("%q then %q", name, again)
		}
	})
}

func TestSafeFileNameDots(t *testing.T) {
	for in, want := range map[string]string{". .x": "x", "...": "", " . ": "", "a..b": "a..b"} {
		if got := SafeFileName(in); got != want {
			t.Errorf("SafeFileName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestIsStatus(t *testing.T) {
	for _, s := range []string{"5.1.1", "4.0.0", "2.10.999"} {
		if !IsStatus(s) {
			t.Errorf("%q is none", s)
		}
	}
	for _, s := range []string{"", "5", "5.1", "3.1.1", "5.1.1.1", "55.1.1", "5.1234.1", "5..1", "5.a.1", "5.1.1 "} {
		if IsStatus(s) {
			t.Errorf("%q is one", s)
		}
	}
}

func TestParseDate(t *testing.T) {
	for _, s := range []string{"Mon, 23 Nov 2026 14:05:06 +0100", "23 Nov 26 14:05 MET", "Mon, 23 Nov 2026 14:05:06 +0100 (CET)"} {
		if _, err := ParseDate(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", "yesterday", "2026-11-23T14:05:06Z"} {
		if got, err := ParseDate(s); err == nil {
			t.Errorf("%q is %s", s, got)
		} else if strings.Contains(err.Error(), "2026") {
			t.Errorf("the error quotes its input: %v", err)
		}
	}
}

func TestSafeMessageID(t *testing.T) {
	for in, want := range map[string]string{
		"<a@b>": "<a@b>", "<a:b@[IPv6:::1]>": "<a:b@[IPv6:::1]>", "": "", "a@b": "", "<>": "", "<a b@c>": "", "<a@b>\r\nX: y>": "", "<ä@b>": "",
		"<" + strings.Repeat("x", 300) + ">": "",
	} {
		if got := safeMessageID(in); got != want {
			t.Errorf("safeMessageID(%.20q) = %q", in, got)
		}
	}
}
