package parts

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestMessages(t *testing.T) {
	const (
		line1 = "From MAILER-DAEMON  Thu Jul  2 12:05:05 2020\n"
		line2 = "From x@y.example Thu Jul  2 12:06:05 2020\r\n"
		one   = "Subject: one\n\nFrom here on it rains.\n"
		two   = "Return-Path: <>\r\nSubject: two\r\n\r\ntext\r\n"
	)
	cr := strings.NewReplacer("\n", "\r").Replace
	tests := []struct {
		name, file string
		want       []string
	}{
		{"empty", "", []string{""}},
		{"one message", one, []string{one}},
		{"one with its line", line1 + one, []string{line1 + one}},
		{"two", line1 + one + "\n" + line2 + two, []string{line1 + one + "\n", line2 + two}},
		{"no blank line between", line1 + one + line2 + two, []string{line1 + one, line2 + two}},
		{"bare CR", cr(line1 + one + line1 + one), []string{cr(line1 + one), cr(line1 + one)}},
		{"no mailbox", one + line1 + two, []string{one + line1 + two}},
		{"no field follows", line1 + one + line2 + "was what he wrote\n", []string{line1 + one + line2 + "was what he wrote\n"}},
		{"quoted", line1 + one + ">" + line2 + two, []string{line1 + one + ">" + line2 + two}},
		{"ends with one", line1 + one + line2, []string{line1 + one + line2}},
	}
	for _, tt := range tests {
		var got []string
		for _, m := range Messages([]byte(tt.file)) {
			got = append(got, string(m))
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tt.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

func TestMessagesBounds(t *testing.T) {
	const one = "From a@b.ch Thu Jul  2 12:05:05 2020\nA: b\n"
	start := time.Now()
	if n := len(Messages([]byte(strings.Repeat(one, 2*maxMessages)))); n != maxMessages {
		t.Errorf("%d messages", n)
	}
	if n := len(Messages([]byte(one + strings.Repeat("From ", 2_000_000)))); n != 1 {
		t.Errorf("a long line: %d messages", n)
	}
	if d := time.Since(start); d > time.Minute {
		t.Errorf("took %s", d)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte("From a@b.ch Thu Jul  2 12:05:05 2020\nA: b\n\nFrom a@b.ch Thu Jul  2 12:05:05 2020\nA: b\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if list := Messages(file); len(list) == 0 || !bytes.Equal(bytes.Join(list, nil), file) {
			t.Fatalf("%q", list)
		}
	})
}
