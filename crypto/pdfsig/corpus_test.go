package pdfsig

import (
	"os"
	"path/filepath"
	"testing"

	"gatewayd/message"
)

const pyhanko = "pyhanko/internal/common-test-utils/src/pyhanko_testing_commons/test_data/data/pdf"

// TestCorpus runs over signed documents of other makers. Their anchors are
// not ours, so the best verdict is Untrusted: signature good, whole document
// covered.
func TestCorpus(t *testing.T) {
	dir := corpus(t)
	for name, want := range map[string]message.Authenticity{} {
		pdf, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		r, err := Verify(pdf, VerifyOptions{})
		if err != nil || r.Verdict != want {
			t.Errorf("%s: %s (%s), %v; want %s", filepath.Base(name), r.Verdict, r.Detail, err, want)
		}
	}
	filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if filepath.Ext(p) == ".pdf" {
			pdf, _ := os.ReadFile(p)
			r, err := Verify(pdf, VerifyOptions{})
			if r.Verdict != message.Unsigned {
				t.Log(p[len(dir):], r.Verdict, r.Detail, err)
			}
		}
		return nil
	})
}
