package pdfsig

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
)

const pyhanko = "pyhanko/internal/common-test-utils/src/pyhanko_testing_commons/test_data/data/pdf/"

// corpusVerdicts names what is expected of documents signed by other makers.
// Their anchors are not ours, so the best verdict is Untrusted: signature
// good, whole document covered. What is not named must be Unsigned.
func corpusVerdicts() map[string]message.Authenticity {
	return map[string]message.Authenticity{
		"digitorus/testfiles/testfile30.pdf": message.Untrusted,

		// One signature over the whole file.
		pyhanko + "certified-with-indirect-refs-in-dir.pdf":           message.Untrusted,
		pyhanko + "pades-with-old-style-signing-cert-attr-issser.pdf": message.Untrusted,
		pyhanko + "pades-with-old-style-signing-cert-attr.pdf":        message.Untrusted,
		pyhanko + "sig-no-signed-attrs.pdf":                           message.Untrusted,
		pyhanko + "sig-with-ski-sid.pdf":                              message.Untrusted, // poppler cannot; OpenSSL agrees
		pyhanko + "signed-encrypted-pubkey-with-catalog-ref.pdf":      message.Untrusted,

		// Signed again after a change: the last signer vouches for all of it.
		pyhanko + "extensions-direct.pdf":                                            message.Untrusted, // Ed25519
		pyhanko + "extensions-indirect-not-all-paths.pdf":                            message.Untrusted,
		pyhanko + "extensions-indirect.pdf":                                          message.Untrusted,
		pyhanko + "extensions-update-direct.pdf":                                     message.Untrusted,
		pyhanko + "extensions-update-indirect.pdf":                                   message.Untrusted,
		pyhanko + "form-update-ap-indirect-sneaky-trailer.pdf":                       message.Untrusted,
		pyhanko + "form-update-no-override-appearance-stream-ap-indirect-sneaky.pdf": message.Untrusted,
		pyhanko + "form-update-no-override-appearance-stream-ap-indirect.pdf":        message.Untrusted,
		pyhanko + "form-update-original-ap-type-wrong.pdf":                           message.Untrusted,
		pyhanko + "form-update-override-appearance-stream-ap-indirect-sneaky.pdf":    message.Untrusted,
		pyhanko + "form-update-override-appearance-stream-ap-indirect.pdf":           message.Untrusted,
		pyhanko + "form-update-override-appearance-stream-sneaky.pdf":                message.Untrusted,
		pyhanko + "form-update-override-appearance-stream.pdf":                       message.Untrusted,
		pyhanko + "minimal-signed-twice-both-created.pdf":                            message.Untrusted,
		pyhanko + "minimal-signed-twice-no-sig-type.pdf":                             message.Untrusted,
		pyhanko + "minimal-signed-twice-second-created.pdf":                          message.Untrusted,
		pyhanko + "minimal-two-fields-signed-twice.pdf":                              message.Untrusted,
		pyhanko + "separate-annots-kids-indir.pdf":                                   message.Untrusted,

		// Data for long term validation added behind: the signature fits, but does
		// not cover the whole.
		pyhanko + "pades-lta-dss-indirect-arrs-test-2.pdf": message.Untrusted,
		pyhanko + "pades-lta-dss-indirect-arrs-test.pdf":   message.Untrusted,

		// Algorithms that we do not know: cannot be checked, proves nothing.
		pyhanko + "ed448-disallowed-hash.pdf": message.Unsigned,
		pyhanko + "ed448-shake256-nolen.pdf":  message.Unsigned,

		// Not covered, wrongly covered, changed, or no signature value.
		pyhanko + "coverage-anomalies/base.pdf":                  message.Forged,
		pyhanko + "coverage-anomalies/one-byterange.pdf":         message.Forged,
		pyhanko + "coverage-anomalies/signature-gap-too-big.pdf": message.Forged,
		pyhanko + "coverage-anomalies/tail-uncovered.pdf":        message.Forged,
		pyhanko + "coverage-anomalies/weird-byterange.pdf":       message.Forged,
		pyhanko + "pdf-sig-with-econtent.pdf":                    message.Forged,
	}
}

func TestCorpus(t *testing.T) {
	dir := corpus(t)
	want := corpusVerdicts()
	seen := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".pdf" {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		expected, ok := want[filepath.ToSlash(name)]
		if !ok {
			expected = message.Unsigned
		}
		pdf, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		r, err := Verify(pdf, VerifyOptions{Roots: testPKI().roots})
		if r.Verdict != expected {
			t.Errorf("%s: %s (%s), %v; want %s", name, r.Verdict, r.Detail, err, expected)
		}
		if got := expected != message.Unsigned && expected != message.Forged && !strings.Contains(name, "pades-lta"); r.Covered != got {
			t.Errorf("%s: covered %v, want %v", name, r.Covered, got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < len(want) {
		t.Errorf("only %d documents found, %d named", seen, len(want))
	}
}

// TestCorpusTampered cuts, lengthens and changes every signed document of the
// corpus: none may still be called good.
func TestCorpusTampered(t *testing.T) {
	dir := corpus(t)
	for name, verdict := range corpusVerdicts() {
		if verdict != message.Untrusted || strings.Contains(name, "form-update") || strings.Contains(name, "pades-lta") {
			continue
		}
		pdf, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for what, changed := range map[string][]byte{
			"newline":  append(append([]byte{}, pdf...), '\n'),
			"cut":      pdf[:len(pdf)-1],
			"flip":     flipped(pdf, len(pdf)/10),
			"flip end": flipped(pdf, len(pdf)-3),
			"update":   shadow(pdf),
		} {
			r, _ := Verify(changed, VerifyOptions{})
			if r.Covered || r.Verdict == message.Untrusted || r.Verdict == message.Verified {
				t.Errorf("%s, %s: %s (%s)", name, what, r.Verdict, r.Detail)
			}
		}
	}
}

// TestCorpusStamps: time stamps in documents of other makers fit, over their
// signature or the document; what was added after a signature is told.
func TestCorpusStamps(t *testing.T) {
	dir := corpus(t)
	for name, c := range map[string]struct {
		stamps    []string // by signature; "" for none
		documents []bool
		later     string // of the first signature
	}{
		"minimal-signed-twice-both-created.pdf":   {[]string{"2021-01-11T18:45:14Z", "2021-01-11T18:45:37Z"}, []bool{false, false}, "24922 octets were added later (Metadata* 1, ObjStm 2,"},
		"minimal-signed-twice-second-created.pdf": {[]string{"2021-01-11T18:20:22Z", "2021-01-11T18:21:19Z"}, []bool{false, false}, "83575 octets"},
		"minimal-two-fields-signed-twice.pdf":     {[]string{"2021-01-04T19:11:26Z", "2021-01-04T19:11:51Z"}, []bool{false, false}, "24443 octets"},
		"pades-lta-dss-indirect-arrs-test.pdf":    {[]string{"2020-11-01T00:00:00Z", "2020-11-01T00:00:00Z"}, []bool{false, true}, "nothing but data for long term validation"},
		"pades-lta-dss-indirect-arrs-test-2.pdf":  {[]string{"2020-11-01T00:00:00Z", "2020-11-01T00:00:00Z", "2020-11-01T00:00:00Z"}, []bool{false, true, false}, "Sig 1"},
		"minimal-signed-twice-no-sig-type.pdf":    {[]string{"", ""}, []bool{false, false}, "Page* 1"},
		"extensions-direct.pdf":                   {[]string{"", ""}, []bool{false, false}, "Font 1"},
	} {
		pdf, err := os.ReadFile(filepath.Join(dir, pyhanko+name))
		if err != nil {
			t.Fatal(err)
		}
		r, _ := Verify(pdf, VerifyOptions{})
		if len(r.Signatures) != len(c.stamps) {
			t.Errorf("%s: %d signatures", name, len(r.Signatures))
			continue
		}
		for i, s := range r.Signatures {
			got := ""
			if s.Stamp != nil {
				got = s.Stamp.At.Format(time.RFC3339)
			}
			if got != c.stamps[i] || s.StampErr != nil || s.Document != c.documents[i] || s.Err != nil {
				t.Errorf("%s, signature %d: stamp %q (%v), document %v, %v", name, i, got, s.StampErr, s.Document, s.Err)
			}
		}
		if first := r.Signatures[0].Later; !strings.Contains(first.String(), c.later) {
			t.Errorf("%s: %s", name, first)
		}
	}
}
