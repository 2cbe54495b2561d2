package entity

import (
	"strings"
	"testing"
)

// TestAuthor: who signs "a@b.example" well is the author only of what shows no
// other name, in no way that a reader could be shown one.
func TestAuthor(t *testing.T) {
	for _, c := range []struct {
		header string
		want   Signing
	}{
		{"From: a@b.example", Good},
		{"From: A@B.example", Good},
		{"From: Amt <a@b.example>", Good},
		{"From: \"Amt, Bau\" <a@b.example>", Good},
		{"From: a@b.example (Amt)", Good},
		{"From: \"a@b.example\" <a@b.example>", Good},
		{"From: =?utf-8?q?B=C3=BCro?= <a@b.example>", Good},
		{"From: \"'a@b.example'\" <a@b.example>", Good},
		{"From: Max @ Home <a@b.example>", Good},
		{"From: Amt <a@b.example>\r\nSender: x@y.example\r\nReply-To: x@y.example", Good},
		{"From: a@b.example\r\nDate: Mon, 23 Nov 2026 14:05:06 +0100", Good},
		{"From: a@b.example\r\nDate: Mon, 23 Nov 2026 15:05:06 +0100", Good},
		{"From: a@b.example\r\nDate: nonsense", Good},

		{"From: x@y.example", WrongSender},
		{"Subject: no author", WrongSender},
		{"From: ", WrongSender},
		{"From: a@b.example\r\nFrom: a@b.example", WrongSender},
		{"From: a@b.example, x@y.example", WrongSender},
		{"From: x@y.example, a@b.example", WrongSender},
		{"From: boss@y.example, <a@b.example>", WrongSender},
		{"From: \"boss@y.example\" <a@b.example>", WrongSender},
		{"From: Boss (boss@y.example) <a@b.example>", WrongSender},
		{"From: a@b.example (boss@y.example)", WrongSender},
		{"From: =?utf-8?q?boss=40y=2Eexample?= <a@b.example>", WrongSender},
		{"From: =?utf-8?q?boss=EF=BC=A0y=2Eexample?= <a@b.example>", WrongSender},
		{"From: \"boss @ y.example\" <a@b.example>", WrongSender},
		{"From: \"<boss@y.example>\" <a@b.example>", WrongSender},
		{"From: <boss@y.example> <a@b.example>", WrongSender},
		{"From: <a@b.example> <boss@y.example>", WrongSender},
		{"From: <a@b.example>, boss", WrongSender},
		{"From: =?utf-8?q?boss=E2=80=AE?= <a@b.example>", WrongSender},
		{"From: boss\x00 <a@b.example>", WrongSender},
		{"From: boss@y.example\x00 <a@b.example>", WrongSender},
		{"From: 'boss@y.example' <a@b.example>", WrongSender},
		{"From: g: a@b.example, x@y.example;", WrongSender},

		{"From: a@b.example\r\nDate: Mon, 23 Nov 2026 15:06:00 +0100", Redated},
		{"From: a@b.example\r\nDate: Fri, 23 Nov 2029 14:05:06 +0100", Redated},
	} {
		raw := c.header + "\r\nContent-Type: x/good+now\r\n\r\n\r\nend"
		op, err := Open(strings.NewReader(raw), int64(len(raw)), Options{At: now, Openers: []Opener{fake{}}})
		if err != nil {
			t.Fatal(err)
		}
		if op.Signature != c.want {
			t.Errorf("%q: %q, want %q %+v", c.header, op.Signature, c.want, op.Layers)
		}
		if err := op.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestIndefinite: where readers may not agree about what the root is, it is
// not taken for anything.
func TestIndefinite(t *testing.T) {
	for _, head := range []string{
		"Content-Type: x/good\r\nContent-Type: text/plain",
		"Content-Type: text/plain\r\nContent-Type: x/good",
		"Content-Type: x/good\r\nContent-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64",
	} {
		raw := "From: a@b.example\r\n" + head + "\r\n\r\n\r\nend"
		op, err := Open(strings.NewReader(raw), int64(len(raw)), Options{At: now, Openers: []Opener{fake{}}})
		if err != nil {
			t.Fatal(err)
		}
		if op.Signature != NotSigned || len(op.Layers) != 0 {
			t.Errorf("%q: %q", head, op.Signature)
		}
		if err := op.Close(); err != nil {
			t.Error(err)
		}
	}
}
