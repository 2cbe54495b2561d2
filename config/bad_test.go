package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBad loads testdata/bad/*.toml. Each begins with comments
// "# want: 12:3: key: text", one for each problem, in their order.
func TestBad(t *testing.T) {
	dir := folder(t)
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, problems := Load(put(t, dir, filepath.Base(file), string(text)), now)
			got := show(problems)
			for i := range got {
				got[i] = strings.ReplaceAll(strings.TrimSpace(got[i]), dir, "DIR")
			}
			var want []string
			for line := range strings.Lines(string(text)) {
				if w, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "# want: "); ok {
					want = append(want, w)
				}
			}
			if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w || g == "" {
				t.Errorf("problems:\n%s\nwant:\n%s", g, w)
			}
		})
	}
}
