package directory

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/calendar"
	"gatewayd/message"
)

const good = `
# comment
[[recipient]]
address   = "Buerger@example.ch"
name      = "Beispielbürgerin"
platforms = [{ name = "incamail", identified = true, checked = 2026-11-01 }, { name = "privasphere", checked = 2026-11-02, address = "b@ps.example" }]
consent   = [
  { authority = "*", scope = "all", form = "text", given = 2026-01-05, revoked = 2026-06-01, evidence = "development" },
  { authority = "bauinspektorat", scope = "all", form = "minuted", given = 2026-07-01, evidence = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
  { authority = "steuern", scope = "case", form = "text", given = 2026-07-01, evidence = "Akte 12" },
]

[[recipient]]
address = "firma@example.ch"
[[recipient.platforms]]
name = "privasphere"
identified = false
checked = 2026-11-01
`

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	rewrite(t, path, text)
	return path
}

func rewrite(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustAddress(t testing.TB, s string) message.Address {
	t.Helper()
	a, err := message.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestLoad(t *testing.T) {
	d, problems := Load(write(t, good))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if d.Len() != 2 {
		t.Errorf("%d recipients, want 2", d.Len())
	}
	r, ok := d.Recipient(mustAddress(t, "bUERGER@example.CH"))
	if !ok || r.Name != "Beispielbürgerin" || len(r.Platforms) != 2 || len(r.Consents) != 3 {
		t.Fatalf("recipient = %+v, %v", r, ok)
	}
	p, ok := r.Platform("incamail")
	if !ok || !p.Identified || calendar.DayOf(p.Checked).String() != "2026-11-01" {
		t.Errorf("platform = %+v, %v", p, ok)
	}
	if p, _ := r.Platform("privasphere"); p.Identified || p.Address.String() != "b@ps.example" {
		t.Errorf("platform = %+v", p)
	}
	r, ok = d.Recipient(mustAddress(t, "firma@example.ch"))
	if _, on := r.Platform("privasphere"); !ok || !on {
		t.Errorf("recipient = %+v, %v", r, ok)
	}
	if _, on := r.Platform("incamail"); on {
		t.Error("registered on a platform that the file does not name")
	}
	if _, ok := d.Recipient(mustAddress(t, "nobody@example.ch")); ok {
		t.Error("unknown address found")
	}
	if _, ok := d.Recipient(message.Address{}); ok {
		t.Error("null address found")
	}
	var none *Directory
	if _, ok := none.Recipient(mustAddress(t, "firma@example.ch")); ok || none.Len() != 0 {
		t.Error("a nil Directory knows somebody")
	}
}

func TestConsent(t *testing.T) {
	d, problems := Load(write(t, good))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r, _ := d.Recipient(mustAddress(t, "buerger@example.ch"))
	day := func(s string) time.Time {
		v, err := calendar.ParseDay(s)
		if err != nil {
			t.Fatal(err)
		}
		return v.Start()
	}
	cases := []struct {
		authority string
		at        time.Time
		want      bool
		why       string
	}{
		{"bauinspektorat", day("2026-01-05").Add(-time.Second), false, "not yet given"},
		{"bauinspektorat", day("2026-01-05"), true, "the first instant of the day counts"},
		{"anybody", day("2026-03-01"), true, "given to everybody"},
		{"anybody", day("2026-06-01").Add(-time.Second), true, "revoked only tomorrow"},
		{"anybody", day("2026-06-01"), false, "revoked at once"},
		{"bauinspektorat", day("2026-06-15"), false, "revoked, not given anew"},
		{"bauinspektorat", day("2026-07-01"), true, "given anew"},
		{"anybody", day("2026-07-01"), false, "given to another authority"},
		{"steuern", day("2026-08-01"), false, "for a case only"},
		{"", day("2026-08-01"), false, "no authority"},
	}
	for _, tc := range cases {
		if _, got := r.Consent(tc.authority, tc.at); got != tc.want {
			t.Errorf("%s at %v = %v, want %v: %s", tc.authority, tc.at, got, tc.want, tc.why)
		}
	}
}

// TestMistakes: all of them at once, each at its place, none quoting an
// address.
func TestMistakes(t *testing.T) {
	text := `[[recipient]]
address = "Beispiel <secret@example.ch>"
nam = "x"
platforms = [{ name = "incamial", identified = "yes", checked = 2026-02-30 }]
consent = [{ authority = "a b", scope = "some", form = "word", given = 2026-02-01, revoked = 2026-01-01, evidence = "sha256:12" }, "x"]

[[recipient]]
name = 7
[[recipient]]
address = "secret@example.ch"
platforms = [{ name = "incamail", checked = 2026-01-01 }, { name = "incamail", checked = 2026-01-01 }]
[[recipient]]
address = "SECRET@example.ch"
address = "again@example.ch"
[recipients]
x = 1
`
	want := []string{
		`2:11: address is not a mail address (local@domain, without name and brackets)`,
		`3:1: unknown key "nam" in a recipient; did you mean "name"?`,
		`4:23: name has an unknown value; did you mean "incamail"?`,
		`4:48: identified is text; it must be true or false`,
		`4:65: checked is no date that exists`,
		`5:26: authority must be the id of an authority in the configuration, or "*" for all`,
		`5:41: scope has an unknown value; known are all, case`,
		`5:56: form has an unknown value; known are minuted, text`,
		`5:117: evidence must have 64 hexadecimal digits after sha256:`,
		`5:14: revoked before it was given`,
		`5:132: a consent is text; it must be a table { … }`,
		`7:3: a recipient lacks the key "address"`,
		`8:8: name is a number or a time; it must be text`,
		`11:61: the platform "incamail" stands twice in this entry`,
		`14:1: "address" is defined twice; the first time on line 13`,
		`12:3: this recipient has the same address as the one on line 9; write one entry for both`,
		`15:2: unknown key "recipients" in the directory; did you mean "recipient"?`,
	}
	d, problems := Load(write(t, text))
	if d != nil {
		t.Error("a directory in spite of mistakes")
	}
	var all strings.Builder
	for _, p := range problems {
		all.WriteString(p.String() + "\n")
	}
	for _, w := range want {
		if !strings.Contains(all.String(), w) {
			t.Errorf("missing: %s", w)
		}
	}
	if t.Failed() {
		t.Logf("got:\n%s", all.String())
	}
	if strings.Contains(strings.ToLower(all.String()), "secret@") {
		t.Error("an address is quoted")
	}
}

func TestSyntax(t *testing.T) {
	cases := []struct{ text, want string }{
		{"[[recipient]\n", ":1:"},
		{"a = = 1\n", ":1:5"},
		{"recipient = 1\n", `:1:13: recipient is a number or a time; it must be a list`},
		{"[recipient]\naddress = \"a@b\"\n", "recipient is a table; it must be a list"},
		{"[a.b]\n", `:1:2: unknown key "a"`},
		{"recipient = 1\n[recipient.b]\n", `:2:2: "recipient" is a number or a time, not a table`},
	}
	for _, tc := range cases {
		_, problems := Load(write(t, tc.text))
		if !strings.Contains(fmt.Sprint(problems), tc.want) {
			t.Errorf("%q: %v, want %q", tc.text, problems, tc.want)
		}
	}
	if _, problems := Load(filepath.Join(t.TempDir(), "none")); len(problems) != 1 || !strings.Contains(problems[0].String(), "no such file") {
		t.Errorf("missing file: %v", problems)
	}
}

func TestReload(t *testing.T) {
	path := write(t, good)
	l, problems := Open(path)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	before := l.Get()
	rewrite(t, path, good+"[[recipient]]\nname = 1\n")
	err := l.Reload()
	if err == nil || !strings.Contains(err.Error(), "lacks the key") || !strings.Contains(err.Error(), "must be text") {
		t.Errorf("Reload = %v, want both mistakes", err)
	}
	if l.Get() != before {
		t.Error("a reload with mistakes changed the directory")
	}
	rewrite(t, path, good+"[[recipient]]\naddress = \"new@example.ch\"\n")
	if err := l.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, ok := l.Get().Recipient(mustAddress(t, "new@example.ch")); !ok {
		t.Error("the new entry is not there")
	}
	if _, problems := Open(filepath.Join(t.TempDir(), "none")); len(problems) != 1 {
		t.Errorf("Open of nothing: %v", problems)
	}
}

// FuzzParse: no text makes the reader panic, and without a mistake every entry
// has what it must have.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("[[recipient]]\naddress.x = 1\nplatforms = [[]]\n[recipient.platforms]\n"))
	f.Add([]byte("recipient = [{ address = \"a@b.ch\", consent = [{}] }]\n"))
	f.Add([]byte("[[a]]\n[[a.b]]\n[a.b.c]\n\"\" = 1\n'x\ty' = {}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, problems := parse("f", text)
		if (d == nil) != (len(problems) > 0) {
			t.Fatalf("directory %v with %d problems", d, len(problems))
		}
		if d == nil {
			return
		}
		for id, r := range d.byKey {
			if r.Address.Key() != id || r.Address.IsNull() {
				t.Errorf("entry %q has address %q", id, r.Address)
			}
			for _, c := range r.Consents {
				if c.Authority == "" || c.Scope == "" || c.Form == "" || c.Given.IsZero() || c.Evidence == "" {
					t.Errorf("incomplete consent %+v", c)
				}
			}
			for _, p := range r.Platforms {
				if p.Name == "" || p.Checked.IsZero() {
					t.Errorf("incomplete platform %+v", p)
				}
			}
		}
	})
}
