package connectors

import (
	"strings"
	"testing"
)

const goodHeader = "Received: by gateway.bl.example;\r\n\tMon, 23 Nov 2026 14:05:06 +0100\r\n" +
	"From: a@bl.example\r\nTo: b@example.ch\r\n" +
	"Subject: <r> [BL-7F3K9Q2M] Entscheid =?UTF-8?Q?=C3=BCber?= das\r\n Baugesuch\r\n" +
	"Message-ID: <x.1@gateway.bl.example>\r\n\r\n"

func wanted() expected {
	return expected{tags: []string{"<r>", "<c>"}, opening: "<r> [BL-7F3K9Q2M]", messageID: "<x.1@gateway.bl.example>"}
}

func TestCheckHeader(t *testing.T) {
	if err := checkHeader([]byte(goodHeader), wanted()); err != nil {
		t.Fatalf("the good header is refused: %v", err)
	}
	swap := func(old, with string) string {
		out := strings.Replace(goodHeader, old, with, 1)
		if out == goodHeader {
			t.Fatalf("%q does not stand in the header", old)
		}
		return out
	}
	subject := "Subject: <r> [BL-7F3K9Q2M] "
	for name, raw := range map[string]string{
		"no tag":                  swap("<r> ", ""),
		"other tag":               swap("<r>", "<c>"),
		"tag in capitals":         swap("<r>", "<R>"),
		"tag later":               swap("<r> [BL", "x <r> [BL"),
		"two spaces before":       swap("Subject: <r>", "Subject:  <r>"),
		"no space before":         swap("Subject: <r>", "Subject:<r>"),
		"tag folded away":         swap("Subject: <r>", "Subject:\r\n <r>"),
		"reference folded away":   swap("<r> [BL", "<r>\r\n [BL"),
		"encoded tag":             swap("<r>", "=?UTF-8?Q?=3Cr=3E?="),
		"other reference":         swap("7F3K9Q2M", "7F3K9Q2N"),
		"no reference":            swap("[BL-7F3K9Q2M] ", ""),
		"reference glued":         swap("2M] ", "2M]x"),
		"tag twice":               swap(subject, subject+"<r> "),
		"foreign tag behind":      swap(subject, subject+"<nomuc> "),
		"keyword behind":          swap(subject, subject+"eLs!: "),
		"encoded keyword behind":  swap(subject, subject+"=?UTF-8?Q?eLs!=3A?= "),
		"base64 keyword behind":   swap(subject, subject+"=?UTF-8?B?PG5vbXVjPg==?= "),
		"debug string":            swap(subject, subject+"dump4DebugT0f!l3: "),
		"two subjects":            swap("From:", "Subject: x\r\nFrom:"),
		"two subjects, odd case":  swap("From:", "sUBJECT : x\r\nFrom:"),
		"no subject":              swap("Subject:", "Subjekt:"),
		"no from":                 swap("From:", "Form:"),
		"two from":                swap("To:", "From:"),
		"bcc":                     swap("To:", "Bcc:"),
		"other message-id":        swap("<x.1@", "<x.2@"),
		"two message-ids":         swap("To:", "Message-Id:"),
		"no message-id":           swap("Message-ID:", "Message:"),
		"control field":           swap("To:", "X-PSPH-REGISTERED-REQUEST: true\r\nTo:"),
		"control field, odd case": swap("To:", "x-psph-Foo : 1\r\nTo:"),
		"incamail field":          swap("To:", "X-IncaMail-Type: c\r\nTo:"),
		"line that is no field":   swap("From:", "hello\r\nFrom:"),
		"space in a name":         swap("From:", "Fr om:"),
		"mbox line":               "From x Mon\r\n" + goodHeader,
		"continues nothing":       " x\r\n" + goodHeader,
		"blank continuation":      swap("To:", " \r\nTo:"),
		"blank line inside":       swap("From:", "\r\nFrom:"),
		"bare LF":                 swap("\r\nFrom:", "\nFrom:"),
		"bare CR":                 swap("From:", "X: \rSubject: y\r\nFrom:"),
		"NUL":                     swap("b@example", "b\x00@example"),
		"no end":                  strings.TrimSuffix(goodHeader, "\r\n"),
		"overlong line":           swap("b@example.ch", strings.Repeat("b", 1000)),
		"empty":                   "",
		"only the end":            "\r\n",
		"8-bit name":              swap("To:", "Tö:"),
	} {
		if err := checkHeader([]byte(raw), wanted()); KindOf(err) != Permanent || err == nil {
			t.Errorf("%s: passed the check (%v)", name, err)
		}
	}
}

func TestCheckHeaderByField(t *testing.T) {
	want := expected{opening: "[BL-7F3K9Q2M]", field: "X-PSPH-REGISTERED-REQUEST", value: "true"}
	head := strings.Replace(goodHeader, "<r> ", "", 1)
	with := func(fields string) []byte { return []byte(fields + head) }
	if err := checkHeader(with("X-PSPH-REGISTERED-REQUEST: true\r\n"), want); err != nil {
		t.Errorf("the field is there, but: %v", err)
	}
	for _, fields := range []string{
		"", "X-PSPH-REGISTERED-REQUEST: false\r\n", "X-PSPH-REGISTERED-REQUEST: true\r\nX-PSPH-REGISTERED-REQUEST: true\r\n",
		"X-PSPH-REGISTERED-REQUEST: true\r\nX-PSPH-Other: 1\r\n", "X-PSPH-REGISTERED-REQUEST: true\r\n x\r\n",
	} {
		if checkHeader(with(fields), want) == nil {
			t.Errorf("%q passed the check", fields)
		}
	}
}

func FuzzCheckHeader(f *testing.F) {
	f.Add([]byte(goodHeader))
	f.Add([]byte("Subject: <r> [BL-7F3K9Q2M]\r\n <r> x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if checkHeader(raw, wanted()) != nil {
			return
		}
		// What passed has the tag at the start of its one subject line, however
		// coarsely one looks.
		n, good := 0, 0
		for line := range strings.SplitSeq(string(raw), "\n") {
			if strings.HasPrefix(strings.ToLower(line), "subject") && strings.HasPrefix(strings.TrimLeft(line[7:], " \t"), ":") {
				n++
			}
			if strings.HasPrefix(line[min(len(line), 7):], ": <r> [BL-7F3K9Q2M]") {
				good++
			}
		}
		if n != 1 || good < 1 || strings.ContainsAny(strings.ReplaceAll(string(raw), "\r\n", ""), "\r\n\x00") {
			t.Fatalf("passed: %q", raw)
		}
	})
}
