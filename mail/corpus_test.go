package mail

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// corpus calls fn with every file of the shared corpora with the prefix.
func corpus(t *testing.T, prefix string, fn func(path string, raw []byte)) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join("..", "..", "shared", "corpora", prefix))
	if err != nil {
		t.Fatal(err)
	}
	if len(dirs) == 0 {
		t.Skip("shared corpora not here: " + prefix)
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			if err == nil {
				fn(path, raw)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestCorpora(t *testing.T) {
	files := 0
	corpus(t, "mime-*", func(path string, raw []byte) {
		files++
		checkRead(t, path, raw)
	})
	if files < 1000 {
		t.Errorf("%d files: is the corpus complete?", files)
	}
}

func checkRead(t *testing.T, path string, raw []byte) {
	t.Helper()
	h := read(t, string(raw))
	if !bytes.HasPrefix(raw, h.Bytes()) {
		t.Errorf("%s: header not read octet for octet", path)
	}
	for _, f := range h.Fields() {
		h.Text(f.Name)
	}
	HeaderFrom(h)
	others := without(h, "Subject")
	if err := h.Replace("Subject", EncodeSubject("<r>", h.Text("Subject"))); err == nil && !bytes.Equal(others, without(h, "Subject")) {
		t.Errorf("%s: Replace changed other octets", path)
	}
}
