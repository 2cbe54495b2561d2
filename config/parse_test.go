package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

func TestPositions(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"lines end in LF", "hostname = 1\n\n[limits]\n  recipient = 5\n", "1:1: hostname|4:3: limits.recipient"},
		{"lines end in CRLF", "hostname = 1\r\n\r\n[limits]\r\n  recipient = 5\r\n", "1:1: hostname|4:3: limits.recipient"},
		{"byte-order mark", "\ufeffhostname = 1\n  data = 2\n", "1:1: hostname|2:3: data"},
		{"umlauts count once", "account.\"büro ä\".x = 1\n", `1:18: account."büro ä".x`},
		{"behind a comment", "# größe\n\t hostname = 1", "2:3: hostname"},
		{"quoted key", "account.\"a.b\".'c d' = 1\n", `1:15: account."a.b"."c d"`},
		{"key that looks like an index", "account.\"a[1]\".y = 1\n", `1:16: account."a[1]".y`},
		{"empty key", "\"\" = 1\n", `1:1: ""`},
		{"inside of a list", "[[route]]\nvia = [\n  \"a\",\n  5,\n]\n", "4:3: route[1].via[2]"},
		{"inside of a list of tables in one line", "route = [ { name = 1 }, { nam = 2 } ]\n", "1:13: route[1].name|1:27: route[2].nam"},
		{"second table of a list", "[[route]]\nname = \"a\"\n[[route]]\nnmae = \"b\"\n", "4:1: route[2].nmae"},
		{"dotted", "limits.recipients = \"x\"\n", "1:8: limits.recipients"},
		{"dotted into a value", "hostname.x = 5\n", "1:10: hostname"},
		{"twice, by dots and in a table", "limits.idle = \"5m\"\n[limits]\nidle = \"6m\"\n", "3:1: limits.idle"},
		{"table behind its value", "limits = { idle = \"5m\" }\n[limits]\n", "2:2: limits"},
		{"value behind its table", "[listen.inbound]\naddr = \":25\"\n[listen]\ninbound = { addr = \":26\" }\n", "4:1: listen.inbound"},
		{"dots into a finished table", "limits = { idle = \"5m\" }\nlimits.data = \"5m\"\n", "2:1: limits"},
		{"list of lists", "[[authority.x.addresses]]\n", "1:15: authority.x.addresses"},
		{"list with dots", "route.name = 1\n", "1:1: route"},
		{"several syntax errors", "hostname = \n[limits]\nidle = = 1\n[[route]]\nname = \"a\" b\n", "1:12: |3:8: |5:12: "},
		{"unknown table with children", "[a.b]\nc = 1\n[[a.d]]\ne = 1\n", "1:2: a|3:3: a"},
		{"long key", strings.Repeat("k", 200) + " = 1\n", "1:1: a key has more than 128"},
	}
	for _, tt := range tests {
		var got []string
		for _, p := range sorted(parse("x", []byte(tt.text)).problems) {
			if !strings.Contains(p.Text, "is missing") {
				got = append(got, strings.TrimPrefix(p.String(), "x:"))
			}
		}
		want := strings.Split(tt.want, "|")
		ok := len(got) == len(want)
		for i := 0; ok && i < len(want); i++ {
			ok = strings.HasPrefix(got[i], want[i])
		}
		if !ok {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestUnreadable(t *testing.T) {
	var wide []byte
	for _, u := range utf16.Encode([]rune("\ufeffhostname = 1\n")) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	tests := []struct{ name, text, want string }{
		{"Latin-1", "# ok\nhostname = \"b\xfcro\"\n", "x:2:14: this is not UTF-8: save the file as UTF-8"},
		{"invalid behind umlauts", "name = \"ü\xff\"", "x:1:10: this is not UTF-8"},
		{"UTF-16", string(wide), "x: the file is UTF-16: save it as UTF-8"},
		{"huge", strings.Repeat("#", maxFile+1), "x: the file is larger than 1 MiB"},
		{"NUL", "hostname = \"a\x00b\"\n", "x:1:14: "},
	}
	for _, tt := range tests {
		d := parse("x", []byte(tt.text))
		if len(d.problems) != 1 || !strings.HasPrefix(d.problems[0].String(), tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, d.problems, tt.want)
		}
		if tt.name != "NUL" && !d.broken() {
			t.Errorf("%s: not said to be broken", tt.name)
		}
	}
}

// TestUnreadableStops: of a file that is no text nothing is said to be missing.
func TestUnreadableStops(t *testing.T) {
	c, problems := Load(put(t, t.TempDir(), "x.toml", "\xff\xff"), now)
	if c != nil || len(problems) != 1 {
		t.Errorf("%v, %q", c, show(problems))
	}
}

func TestManyMistakes(t *testing.T) {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "key%d = 1\n", i)
	}
	d := parse("x", []byte(b.String()))
	if n := len(d.problems); n != maxProblems+1 || !strings.Contains(d.problems[n-1].Text, "more mistakes") {
		t.Errorf("%d problems, the last: %s", n, d.problems[n-1])
	}
}

// TestBoundedTime: the time for a large hostile text does not grow with its
// square. A quarter of the greatest size shows that, also under -race.
func TestBoundedTime(t *testing.T) {
	const size = maxFile / 4
	fill := func(unit string) string { return strings.Repeat(unit, size/len(unit)) }
	var accounts, deep strings.Builder
	for i := 0; accounts.Len() < size; i++ {
		fmt.Fprintf(&accounts, "account.a%d.certificate=\"\"\n", i)
	}
	for i := 0; deep.Len() < size; i++ {
		fmt.Fprintf(&deep, "[account.%s%d]\n", strings.Repeat("x", 100), i)
	}
	for name, text := range map[string]string{
		"accounts":    accounts.String(),
		"long names":  deep.String(),
		"open lists":  "hostname = " + fill("["),
		"tables":      fill("[[route]]\n"),
		"syntax":      fill("=\n[\n"),
		"same key":    fill("data=1\n"),
		"list":        "client_ca = [" + fill("1,") + "]",
		"one long":    fill("k"),
		"dots":        fill("a."),
		"long string": "hostname = \"" + fill("ü") + "\"",
	} {
		start := time.Now()
		d := parse("x", []byte(text))
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s: %s", name, took)
		}
		if len(d.problems) > maxProblems+1 {
			t.Errorf("%s: %d problems", name, len(d.problems))
		}
	}
}

func TestParentKey(t *testing.T) {
	for key, want := range map[string]string{
		"a": "", "a.b": "a", "a[1]": "a", "a[1].b": "a[1]", `a."b.c"`: "a", `a."b.c".d`: `a."b.c"`, `"x"`: "", `a."q\"r.s"`: "a", `a."x[1]"[2]`: `a."x[1]"`,
	} {
		if got := parentKey(key); got != want {
			t.Errorf("parentKey(%s) = %s, want %s", key, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"15m": 15 * time.Minute, "5d": 120 * time.Hour, "0s": 0, "1h30m": 90 * time.Minute, "3650d": 3650 * 24 * time.Hour} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %s, %v", text, time.Duration(d), err)
		}
		again, _ := d.MarshalText()
		var e Duration
		if err := e.UnmarshalText(again); err != nil || e != d {
			t.Errorf("%s: read again %s, %v", text, again, err)
		}
	}
	for _, text := range []string{"", "5", "-5m", "-1d", "3651d", "d", "1.5d", "5 d", "99999999999999999999h", "soon"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: %s", text, time.Duration(d))
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{"30 MB": 30e6, "512 KiB": 512 << 10, "0": 0, "17": 17, "1GB": 1e9, "2 gib": 2 << 30, " 5 B ": 5} {
		var z Size
		if err := z.UnmarshalText([]byte(text)); err != nil || int64(z) != want {
			t.Errorf("%s: %d, %v", text, z, err)
		}
		again, _ := z.MarshalText()
		var y Size
		if err := y.UnmarshalText(again); err != nil || y != z {
			t.Errorf("%s: read again %s, %v", text, again, err)
		}
	}
	for _, text := range []string{"", "MB", "-1", "1.5 MB", "1 TB", "9000000 GiB", "9223372036854775807 KB", "30 MBB", "thirty"} {
		var z Size
		if err := z.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: %d", text, z)
		}
	}
}

func TestSuggestion(t *testing.T) {
	known := []string{"hostname", "data", "listen"}
	for name, want := range map[string]string{"hostnme": "hostname", "Data": "data", "lisen": "listen", "x": "", "": "", "completely": ""} {
		if got, _ := suggestion(name, known); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// FuzzParse: foreign bytes never panic, and every place lies in the text.
func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(Describe()))
	files, _ := filepath.Glob("testdata/bad/*.toml")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(text)
		}
	}
	f.Add([]byte("[[test]]\nexpect = {}\n[[route]]\n[route.x]\naccount = {a={}}\n\"\" = {}\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d := parse("x", text)
		lines := strings.Count(string(text), "\n") + 1
		for _, p := range d.problems {
			if p.Line < 0 || p.Line > lines || p.Line > 0 && p.Column < 1 || p.Text == "" {
				t.Errorf("%s in a text of %d lines", p, lines)
			}
		}
		if len(d.problems) > maxProblems+1 {
			t.Errorf("%d problems", len(d.problems))
		}
	})
}
