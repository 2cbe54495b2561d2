package architecture

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLawTable: every test and every file that docs/law.md names is there.
func TestLawTable(t *testing.T) {
	text, err := os.ReadFile("docs/law.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(b, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\bTest[A-Z][A-Za-z0-9_]*`).FindAllString(string(text), -1)
	if len(named) < 60 {
		t.Errorf("%d tests are named: then this test does not look where it should", len(named))
	}
	for _, name := range named {
		if !there[name] {
			t.Errorf("docs/law.md names %s, and there is no such test", name)
		}
	}
	for _, m := range regexp.MustCompile("`([a-z]+/[a-z0-9_/]+\\.[a-z]+)`").FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(m[1]); err != nil {
			t.Errorf("docs/law.md names %s, and there is no such file", m[1])
		}
	}
}
