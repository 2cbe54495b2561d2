package directory

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// vector was written by another implementation (argon2 of Debian, reference
// code): echo -n geheim | argon2 somesalt -id -t 2 -k 8192 -p 1 -l 32 -e
const vector = "$argon2id$v=19$m=8192,t=2,p=1$c29tZXNhbHQ$/Iz6ocj76TDdjzMYvsfzIgYaXu0rxUe/L5IUZW9S0oQ"

func TestAccounts(t *testing.T) {
	hash, err := HashPassword("pass:wörd ")
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, "# accounts\n\nbau:"+vector+"\r\nsteuern:"+hash+"\n")
	a, problems := LoadAccounts(path)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if got := strings.Join(a.Names(), " "); got != "bau steuern" {
		t.Errorf("Names = %q", got)
	}
	cases := []struct {
		name, password string
		want           bool
	}{
		{"bau", "geheim", true},
		{"bau", "geheim", true}, // remembered
		{"bau", "Geheim", false},
		{"bau", "", false},
		{"steuern", "pass:wörd ", true},
		{"steuern", "pass:wörd", false},
		{"steuern", "geheim", false},
		{"BAU", "geheim", false},
		{"niemand", "geheim", false},
		{"", "", false},
		{"bau", strings.Repeat("x", 1<<20), false},
	}
	for _, tc := range cases {
		if got := a.Check(tc.name, tc.password); got != tc.want {
			t.Errorf("Check(%q, %.20q) = %v, want %v", tc.name, tc.password, got, tc.want)
		}
	}
}

func TestAccountsReload(t *testing.T) {
	path := write(t, "bau:"+vector+"\n")
	a, problems := LoadAccounts(path)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if !a.Check("bau", "geheim") {
		t.Fatal("password refused")
	}
	rewrite(t, path, "bau:geheim\n")
	err := a.Reload()
	if err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("Reload = %v, want an error that does not quote the line", err)
	}
	if !a.Check("bau", "geheim") {
		t.Error("a reload with mistakes changed the accounts")
	}
	other, err := HashPassword("neu")
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, path, "bau:"+other+"\n")
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if a.Check("bau", "geheim") || !a.Check("bau", "neu") {
		t.Error("the old password still counts, or the new one does not")
	}
	rewrite(t, path, "")
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if a.Check("bau", "neu") {
		t.Error("an account that is gone still logs in")
	}
}

func TestAccountMistakes(t *testing.T) {
	lines := []struct{ line, want string }{
		{"secret", ":1:1: must be name:hash"},
		{"a:secret", ":2:3: the hash must look like"},
		{"a:" + vector, ":3:1: the account stands on line 2 already"},
		{":" + vector, ":4:1: an account name has"},
		{"b c:" + vector, ":5:1: an account name has"},
		{"d:" + strings.Replace(vector, "argon2id", "argon2i", 1), ":6:3: the hash must look like"},
		{"e:" + strings.Replace(vector, "m=8192", "m=1024", 1), ":7:3: the hash is too weak"},
		{"f:" + strings.Replace(vector, "m=8192", "m=4194304", 1), ":8:3: the hash costs too much"},
		{"g:" + strings.Replace(vector, "p=1", "p=0", 1), ":9:3: the hash costs too much"},
		{"h:" + strings.Replace(vector, "t=2", "t=99999999999", 1), ":10:3: the hash must look like"},
		{"i:$argon2id$v=19$m=8192,t=2,p=1$AAAA$AAAA", ":11:3: the salt must have"},
	}
	var text strings.Builder
	for _, l := range lines {
		text.WriteString(l.line + "\n")
	}
	_, problems := LoadAccounts(write(t, text.String()))
	if len(problems) != len(lines) {
		t.Fatalf("%d problems, want %d: %v", len(problems), len(lines), problems)
	}
	for i, l := range lines {
		if got := problems[i].String(); !strings.Contains(got, l.want) || strings.Contains(got, "secret") {
			t.Errorf("line %d: %q, want %q", i+1, got, l.want)
		}
	}
}

// TestSameWork: a wrong password for a known name and any password for an
// unknown one take the same time. The bound is wide: the work is what counts,
// and without it the times differ a thousandfold.
func TestSameWork(t *testing.T) {
	a, problems := LoadAccounts(write(t, "bau:"+vector+"\n"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	best := map[string]time.Duration{"bau": time.Hour, "niemand": time.Hour}
	for i := range 9 { // in turn: the machine is as busy for one as for the other
		for name := range best {
			start := time.Now()
			a.Check(name, fmt.Sprint("wrong", i))
			best[name] = min(best[name], time.Since(start))
		}
	}
	known, unknown := best["bau"], best["niemand"]
	if unknown < known/10 || known < unknown/10 {
		t.Errorf("known %v, unknown %v", known, unknown)
	}
	empty, problems := LoadAccounts(write(t, ""))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	start := time.Now()
	empty.Check("bau", "x")
	if d := time.Since(start); d < known/10 {
		t.Errorf("a file without accounts answers in %v", d)
	}
}

// TestLongPassword: the limit is no shortcut: what is cut off is not ignored.
func TestLongPassword(t *testing.T) {
	long := strings.Repeat("x", maxPassword)
	hash, err := HashPassword(long)
	if err != nil {
		t.Fatal(err)
	}
	a, problems := LoadAccounts(write(t, "bau:"+hash+"\n"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if a.Check("bau", long+"y") || !a.Check("bau", long) || a.Check("bau", long+"y") {
		t.Error("a longer password counts as its beginning, or the longest is refused")
	}
}

func TestCacheIsBounded(t *testing.T) {
	a, problems := LoadAccounts(write(t, ""))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for i := range 3 * maxCached {
		a.remember(a.mac("cache", fmt.Sprint(i)))
	}
	if len(a.cached) != maxCached {
		t.Errorf("%d remembered, want %d", len(a.cached), maxCached)
	}
}

func TestAccountsConcurrently(t *testing.T) {
	path := write(t, "bau:"+vector+"\n")
	a, problems := LoadAccounts(path)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if i == 0 {
				if err := a.Reload(); err != nil {
					t.Error(err)
				}
			}
			if !a.Check("bau", "geheim") || a.Check("bau", "falsch") {
				t.Error("wrong answer under load")
			}
		})
	}
	wg.Wait()
}

func TestHashPassword(t *testing.T) {
	one, err := HashPassword("x")
	if err != nil {
		t.Fatal(err)
	}
	two, err := HashPassword("x")
	if err != nil {
		t.Fatal(err)
	}
	if one == two || !strings.HasPrefix(one, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hashes %q and %q", one, two)
	}
	for _, bad := range []string{"", strings.Repeat("x", maxPassword+1)} {
		if _, err := HashPassword(bad); err == nil {
			t.Errorf("a password of %d octets was hashed", len(bad))
		}
	}
}

// FuzzPHC: what is accepted is affordable and survives writing and reading.
func FuzzPHC(f *testing.F) {
	f.Add(vector)
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA")
	f.Add("$argon2id$v=19$m=,t=-1,p=+1$$")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(s)
		if err != nil {
			return
		}
		if h.memory > maxMemory || h.time > maxTime || h.lanes > maxLanes || h.time < 1 || h.lanes < 1 {
			t.Errorf("%q costs too much", s)
		}
		again, err := parsePHC(h.String())
		if err != nil || again.String() != h.String() {
			t.Errorf("%q → %q → %v", s, h.String(), err)
		}
	})
}
