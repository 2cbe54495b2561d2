package directory_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/directory"
)

func tokenFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newToken(t *testing.T, name, authority string, rights ...directory.Right) (secret, line string) {
	t.Helper()
	secret, line, err := directory.NewToken(name, authority, rights...)
	if err != nil {
		t.Fatal(err)
	}
	return secret, line
}

func TestTokens(t *testing.T) {
	s1, l1 := newToken(t, "fachanwendung", "bau", directory.RightSend, directory.RightRead)
	s2, l2 := newToken(t, "archiv", "steuer", directory.RightHandover)
	if s1 == s2 || strings.Contains(l1, s1) || len(s1) < 40 {
		t.Fatalf("secret %q, line %q", s1, l1)
	}
	path := tokenFile(t, "# tokens\n\n"+l1+"\r\n"+l2+"\n")
	tokens, problems := directory.LoadTokens(path)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	got, ok := tokens.Check(s1)
	if !ok || got.Name != "fachanwendung" || got.Authority != "bau" || !got.May(directory.RightSend) || !got.May(directory.RightRead) || got.May(directory.RightHandover) {
		t.Errorf("Check = %+v, %v", got, ok)
	}
	if got, ok := tokens.Check(s2); !ok || got.Authority != "steuer" || got.May(directory.RightRead) {
		t.Errorf("Check = %+v, %v", got, ok)
	}
	for _, wrong := range []string{"", "x", s1[:len(s1)-1], s1 + "x", s1 + s2, strings.ToUpper(s1), l1, strings.Repeat("a", 1<<20)} {
		if got, ok := tokens.Check(wrong); ok {
			t.Errorf("Check of a wrong secret = %+v", got)
		}
	}
	if all := tokens.All(); len(all) != 2 || all[1].Name != "archiv" {
		t.Errorf("All = %+v", all)
	}
	if err := os.WriteFile(path, []byte("broken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tokens.Reload(); err == nil {
		t.Error("Reload of a broken file gives no error")
	}
	if _, ok := tokens.Check(s1); !ok {
		t.Error("a broken file ended the old tokens")
	}
	if err := os.WriteFile(path, []byte(l2), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tokens.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, ok := tokens.Check(s1); ok {
		t.Error("a token that is no longer in the file still works")
	}
}

func TestTokenMistakes(t *testing.T) {
	secret, line := newToken(t, "a", "bau", directory.RightSend)
	sum := line[strings.LastIndexByte(line, ':')+1:]
	tests := map[string]struct {
		text   string
		column int
	}{
		"no colon":            {"token", 1},
		"too many fields":     {line + ":x", 1},
		"no name":             {":bau:send:" + sum, 1},
		"space in the name":   {"a b:bau:send:" + sum, 1},
		"no authority":        {"a::send:" + sum, 3},
		"no right":            {"a:bau::" + sum, 7},
		"unknown right":       {"a:bau:send,write:" + sum, 7},
		"a right twice":       {"a:bau:send,send:" + sum, 7},
		"secret in the clear": {"a:bau:send:" + secret, 12},
		"short hash":          {"a:bau:send:" + sum[2:], 12},
		"the same name twice": {line + "\n" + "a:bau:read:" + strings.Repeat("00", 32), 1},
		"the same secret":     {line + "\n" + "b:steuer:read:" + sum, 15},
	}
	for name, tt := range tests {
		tokens, problems := directory.LoadTokens(tokenFile(t, tt.text))
		if tokens != nil || len(problems) != 1 {
			t.Errorf("%s: %v, %v", name, tokens, problems)
			continue
		}
		if p := problems[0]; p.Column != tt.column || p.Line != 1+strings.Count(tt.text, "\n") || strings.Contains(p.String(), secret) || strings.Contains(p.String(), sum) {
			t.Errorf("%s: %v, want column %d", name, p, tt.column)
		}
	}
	if _, problems := directory.LoadTokens(filepath.Join(t.TempDir(), "none")); len(problems) != 1 {
		t.Errorf("a file that does not exist: %v", problems)
	}
	for _, bad := range [][2]string{{"", "bau"}, {"a:b", "bau"}, {"a", "b\nc"}} {
		if _, _, err := directory.NewToken(bad[0], bad[1], directory.RightSend); err == nil {
			t.Errorf("NewToken(%q) gives no error", bad)
		}
	}
	if _, _, err := directory.NewToken("a", "bau"); err == nil {
		t.Error("NewToken without a right gives no error")
	}
}
