package mail

import (
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDecodeText(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain", "plain"},
		{"=?utf-8?q?Verf=C3=BCgung?=", "Verfügung"},
		{"=?iso-8859-1?q?Verf=FCgung?=", "Verfügung"},
		{"=?windows-1252?q?=80_100?=", "€ 100"},
		{"=?UTF-8?B?w6Q=?= =?UTF-8?B?w7Y=?=", "äö"},
		{"=?utf-8?q?=C3?= =?utf-8?q?=A4?=", "ä"},
		{"=?utf-8*de?q?Gr=C3=BC=C3=9Fe?=", "Grüße"},
		{"=?gb18030?B?1tDOxA==?=", "中文"},
		{"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"},
		{"=?x-unknown?q?dump=34Debug?=", "dump4Debug"},
		{"=?utf-7?q?+AOQ-?=", "ä"},
		{"=?utf-7?q?a+-b_+A?=", "a+b +A"},
		{"=?iso-8859-1?q?roh_\xe4?=", "roh ä"},
		{"=?cp1252?q?=80?=", "€"},
		{"=?cp932?b?k/o=?=", "日"},
		{"roh \xe4\x80", "roh ä€"},
		{"a\tb\x00c=?utf-8?q?=0D=0ABcc:_x?=", "a b c  Bcc: x"},
		{"=?utf-8?q?open", "=?utf-8?q?open"},
		{"=?utf-8?x?abc?=", "=?utf-8?x?abc?="},
	}
	for _, tt := range tests {
		if got := DecodeText(tt.in); got != tt.want {
			t.Errorf("DecodeText(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestEncodeSubject(t *testing.T) {
	tests := []struct{ tag, rest, want string }{
		{"<r>", "Verfügung", "<r> =?UTF-8?Q?Verf=C3=BCgung?="},
		{"<r> ", "[BL-7F3K9Q2M] Verfügung vom 5. März", "<r> [BL-7F3K9Q2M] =?UTF-8?Q?Verf=C3=BCgung?= vom 5. =?UTF-8?Q?M=C3=A4rz?="},
		{"<egov> ", "plain  text", "<egov> plain  text"},
		{"", "größer äußerst", "=?UTF-8?Q?gr=C3=B6=C3=9Fer_=C3=A4u=C3=9Ferst?="},
		{"<r>", "", "<r>"},
		{"", "", ""},
		{"<r>", "a =?utf-8?q?b?=", "<r> a =?UTF-8?Q?=3D=3Futf-8=3Fq=3Fb=3F=3D?="},
		{"<r>", "a\r\nBcc: b", "<r> a  Bcc: b"},
	}
	for _, tt := range tests {
		if got := EncodeSubject(tt.tag, tt.rest); got != tt.want {
			t.Errorf("EncodeSubject(%q, %q) = %q, want %q", tt.tag, tt.rest, got, tt.want)
		}
	}
}

// What is written reads back, in ASCII, with the tag open at the start, in
// words that can be folded.
// TestEncodeSpaces: a gap longer than a line can be written, and reads back.
func TestEncodeSpaces(t *testing.T) {
	for _, text := range []string{"a" + strings.Repeat(" ", 2000) + "b", "ü" + strings.Repeat(" ", 2000) + "ü ü", "a" + strings.Repeat(" ", 999) + "ü"} {
		h := &Header{}
		if err := h.Replace("Subject", EncodeText(text)); err != nil || h.Text("Subject") != text {
			t.Errorf("%.20q: %v, %.40q", text, err, h.Text("Subject"))
		}
	}
}

// TestEncodeLong: a subject as long as a header may be, all of words that must be
// encoded, costs a small multiple of its length.
func TestEncodeLong(t *testing.T) {
	text := strings.TrimSpace(strings.Repeat("ü ", 1<<16))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := EncodeText(text)
	runtime.ReadMemStats(&after)
	if DecodeText(got) != text {
		t.Error("it does not read back")
	}
	if used := (after.TotalAlloc - before.TotalAlloc) / uint64(len(text)); used > 1000 {
		t.Errorf("%d octets for each of the text", used)
	}
}

func TestEncodeSubjectReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Trim(oneLine(strings.ToValidUTF8(rapid.String().Draw(t, "text"), "")), " ")
		if rapid.Bool().Draw(t, "long") {
			text = strings.Repeat(text+"x", 40)
		}
		text = strings.Trim(text, " ")
		got := EncodeSubject("<r> ", text)
		if !isASCII(got) || strings.ContainsAny(got, "\r\n\x00") {
			t.Fatalf("not plain: %q", got)
		}
		if want := strings.Trim("<r> "+text, " "); DecodeText(got) != want {
			t.Fatalf("%q reads back as %q, want %q", got, DecodeText(got), want)
		}
		for _, w := range strings.Fields(got) {
			if strings.HasPrefix(w, "=?UTF-8") && len(w) > maxEncodedWord {
				t.Fatalf("word of %d octets", len(w))
			}
		}
		h := &Header{}
		if err := h.Replace("Subject", got); err != nil {
			t.Fatal(err)
		}
	})
}
