package evidence_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/evidence"
	"gatewayd/message"
	"gatewayd/simulator"
)

// TestBundle: with and without the content a bundle is accepted, as a ZIP and as
// a folder; without anchors it is only consistent in itself.
func TestBundle(t *testing.T) {
	w := theWorld(t)
	for name, content := range map[string]bool{"with the message": true, "after erasure": false} {
		t.Run(name, func(t *testing.T) {
			path := w.write(w.input(content), w.sealer())
			for _, at := range []string{path, folder(t, unpack(t, path))} {
				r, err := evidence.Verify(at, evidence.Options{Roots: w.roots()})
				if err != nil || r.Verdict != evidence.Accepted {
					t.Fatalf("%v, %s:\n%s", err, r.Verdict, problems(r))
				}
				if !r.Stamped.Equal(testDay()) || !strings.Contains(r.Signer.Subject, "Gateway Siegel") || r.Record.Subject.Reference != "BL-7F3K9Q2M" {
					t.Errorf("result %+v", r)
				}
				if got := strings.Contains(r.Content, "is in the bundle, unchanged"); got != content {
					t.Errorf("content: %q", r.Content)
				}
				if len(r.Receipts) != 2 || r.Receipts[0].Verdict != message.Verified || r.Receipts[1].Verdict != message.Forged {
					t.Errorf("receipts %+v", r.Receipts)
				}
				if r.Record.Case.Service.Date.String() != "2026-12-04" || r.Record.Case.Binding || r.Record.Binding {
					t.Errorf("service %+v", r.Record.Case.Service)
				}
			}
			if r, err := evidence.Verify(path, evidence.Options{}); err != nil || r.Verdict != evidence.SelfConsistent {
				t.Errorf("without anchors: %v, %s:\n%s", err, r.Verdict, problems(r))
			}
		})
	}
	var parts struct {
		Content evidence.Content `json:"content"`
	}
	for _, e := range unpack(t, w.write(w.input(true), w.sealer())) {
		if e.name == evidence.FileEvidence && json.Unmarshal(e.text, &parts) != nil {
			t.Error("evidence.json is no JSON")
		}
	}
	if p := parts.Content.Parts; len(p) != 2 || p[1].Name != "Verfügung.pdf" || p[1].Size != 9 || p[1].SHA256 != fmt.Sprintf("%x", sha256.Sum256([]byte("%PDF-1.4\n"))) {
		t.Errorf("parts %+v", p)
	}
}

// TestEveryFile alters each file of a bundle in turn: it is refused and named.
func TestEveryFile(t *testing.T) {
	w := theWorld(t)
	whole := unpack(t, w.write(w.input(true), w.sealer()))
	var names []string
	for _, e := range whole {
		names = append(names, e.name)
	}
	want := []string{
		"README.txt", "receipts/01-abholquittung.pdf", "receipts/02-verfallquittung.pdf", "message.eml", "evidence.json", "signature-report.json", "timeline.pdf",
		"MANIFEST.sha256", "gateway.p7s", "tst.tsr",
	}
	if !slices.Equal(names, want) {
		t.Fatalf("files %q", names)
	}
	refused := func(what, name string, list []entry) {
		t.Helper()
		r, err := evidence.Verify(w.file(pack(t, list)), evidence.Options{Roots: w.roots()})
		if err != nil || r.Verdict != evidence.Refused || !slices.ContainsFunc(r.Problems, func(p evidence.Problem) bool { return p.File == name }) {
			t.Errorf("%s %s: %v, %s:\n%s", what, name, err, r.Verdict, problems(r))
		}
	}
	for i, e := range whole {
		for what, text := range map[string][]byte{
			"first octet of": flip(e.text, 0), "middle of": flip(e.text, len(e.text)/2), "last octet of": flip(e.text, len(e.text)-1),
			"shortened": e.text[:len(e.text)-1], "lengthened": append(slices.Clone(e.text), 'x'), "emptied": nil,
		} {
			list := slices.Clone(whole)
			list[i].text = text
			refused(what, e.name, list)
		}
		refused("without", e.name, slices.Delete(slices.Clone(whole), i, i+1))
	}
	refused("with", "receipts/03-fremd.pdf", append(slices.Clone(whole), entry{"receipts/03-fremd.pdf", w.receipt, 0}))
}

func flip(text []byte, at int) []byte {
	out := slices.Clone(text)
	out[at] ^= 1
	return out
}

// TestEveryOctetOfSealAndStamp: nothing in the two files that no manifest covers
// can be changed.
func TestEveryOctetOfSealAndStamp(t *testing.T) {
	w := theWorld(t)
	whole := unpack(t, w.write(w.input(false), w.sealer()))
	dir := folder(t, whole)
	for n, e := range whole[len(whole)-2:] {
		path := filepath.Join(dir, e.name)
		for i := 0; i < len(e.text); i += []int{29, 3}[n] {
			if err := os.WriteFile(path, flip(e.text, i), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := evidence.Verify(dir, evidence.Options{Roots: w.roots()})
			if err != nil || r.Verdict != evidence.Refused || !slices.ContainsFunc(r.Problems, func(p evidence.Problem) bool { return p.File == e.name }) {
				t.Errorf("octet %d of %s: %v, %s", i, e.name, err, r.Verdict)
			}
		}
		if err := os.WriteFile(path, e.text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestForeign: whoever seals anew with another key, or stamps with another
// authority, is refused; and so is somebody else under the same anchors, where
// the reader says whom he expects.
func TestForeign(t *testing.T) {
	w, other := theWorld(t), newWorld(t)
	second, err := w.ca.Seal("Jemand anders", "anders@example.ch")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		seal, tsa    simulator.Certificate
		file, signer string
	}{
		"seal":                {other.seal, w.tsa, evidence.FileSeal, ""},
		"stamp":               {w.seal, other.tsa, evidence.FileSeal, ""},
		"under the same root": {second, w.tsa, evidence.FileSeal, "Gateway Siegel"},
	} {
		t.Run(name, func(t *testing.T) {
			o := evidence.Options{Roots: w.roots()}
			if c.signer != "" {
				o.Signer = regexp.MustCompile(c.signer)
			}
			r, err := evidence.Verify(w.write(w.input(true), sealer(c.seal, c.tsa)), o)
			if err != nil || r.Verdict != evidence.Refused || r.Problems[0].File != c.file {
				t.Errorf("%v, %s:\n%s", err, r.Verdict, problems(r))
			}
		})
	}
	t.Run("stamped when the certificates had ended", func(t *testing.T) {
		late := sealerAt(w.seal, w.tsa, func() time.Time { return time.Date(2101, 1, 1, 0, 0, 0, 0, time.UTC) })
		r, err := evidence.Verify(w.write(w.input(true), late), evidence.Options{Roots: w.roots()})
		if err != nil || r.Verdict != evidence.Refused || len(r.Problems) != 2 || r.Problems[0].File != evidence.FileSeal || r.Problems[1].File != evidence.FileSeal {
			t.Errorf("%v, %s:\n%s", err, r.Verdict, problems(r))
		}
	})
	t.Run("receipt without its anchor", func(t *testing.T) {
		r, err := evidence.Verify(w.write(w.input(true), w.sealer()), evidence.Options{Roots: w.ca.Pool()})
		if err != nil || r.Verdict != evidence.Refused || r.Problems[0].File != "receipts/01-abholquittung.pdf" {
			t.Errorf("%v, %s:\n%s", err, r.Verdict, problems(r))
		}
	})
	t.Run("forged receipt called verified", func(t *testing.T) {
		in := w.input(true)
		in.Receipts[1].Verdict = message.Verified
		r, err := evidence.Verify(w.write(in, w.sealer()), evidence.Options{})
		if err != nil || r.Verdict != evidence.Refused || r.Problems[0].File != "receipts/02-verfallquittung.pdf" {
			t.Errorf("%v, %s:\n%s", err, r.Verdict, problems(r))
		}
	})
}

// TestHostile: ZIPs and folders that try something are refused, and the file is
// named.
func TestHostile(t *testing.T) {
	w := theWorld(t)
	whole := unpack(t, w.write(w.input(true), w.sealer()))
	with := func(more ...entry) []entry { return append(slices.Clone(whole), more...) }
	for name, c := range map[string]struct {
		list []entry
		file string
	}{
		"way out":         {with(entry{"../evil.txt", nil, 0}), `"../evil.txt"`},
		"deep way out":    {with(entry{"receipts/../../evil.txt", nil, 0}), `"receipts/../../evil.txt"`},
		"absolute":        {with(entry{"/etc/passwd", nil, 0}), `"/etc/passwd"`},
		"backslash":       {with(entry{`..\evil.txt`, nil, 0}), `"..\\evil.txt"`},
		"twice":           {with(entry{"README.txt", []byte("x"), 0}), "README.txt"},
		"twice, in caps":  {with(entry{"readme.TXT", []byte("x"), 0}), "readme.TXT"},
		"symbolic link":   {with(entry{"receipts/link", []byte("/etc/passwd"), 0o777 | os.ModeSymlink}), "receipts/link"},
		"folder":          {with(entry{"receipts/", nil, 0}), `"receipts/"`},
		"other folder":    {with(entry{"other/file", nil, 0}), `"other/file"`},
		"not in manifest": {with(entry{"note.txt", []byte("x"), 0}), "note.txt"},
		"bomb":            {with(entry{"bomb.bin", make([]byte, 40<<20), 0}), "bomb.bin"},
		"control in name": {with(entry{"a\x1b[31m", nil, 0}), `"a\x1b[31m"`},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := evidence.Verify(w.file(pack(t, c.list)), evidence.Options{Roots: w.roots()})
			if err != nil || r.Verdict != evidence.Refused || !slices.ContainsFunc(r.Problems, func(p evidence.Problem) bool { return p.File == c.file || strings.Contains(c.file, p.File) }) {
				t.Errorf("%v, %s:\n%s", err, r.Verdict, problems(r))
			}
		})
	}
	t.Run("many files", func(t *testing.T) {
		list := with()
		for i := range 1200 {
			list = append(list, entry{"receipts/x" + strings.Repeat("y", i%50) + string(rune('a'+i%26)) + strings.Repeat("z", i/50), nil, 0})
		}
		if r, err := evidence.Verify(w.file(pack(t, list)), evidence.Options{}); err != nil || !strings.Contains(problems(r), "more than 1000 files") {
			t.Errorf("%v, %s", err, r.Verdict)
		}
	})
	t.Run("links in a folder", func(t *testing.T) {
		dir := folder(t, whole)
		outside := filepath.Join(t.TempDir(), "outside")
		err := errors.Join(os.WriteFile(outside, whole[0].text, 0o600), os.Remove(filepath.Join(dir, "README.txt")), os.Symlink(outside, filepath.Join(dir, "README.txt")))
		if err != nil {
			t.Skip("no symbolic links here:", err)
		}
		if r, err := evidence.Verify(dir, evidence.Options{Roots: w.roots()}); err != nil || !strings.Contains(problems(r), "README.txt: not a regular file") {
			t.Errorf("%v:\n%s", err, problems(r))
		}
	})
	for name, raw := range map[string][]byte{"empty": nil, "no ZIP": []byte("hello world, this is no bundle"), "octets before the ZIP": append([]byte("#!/bin/sh\n"), pack(t, whole)...)} {
		if _, err := evidence.Verify(w.file(raw), evidence.Options{}); !errors.Is(err, evidence.ErrNoBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := evidence.Verify(filepath.Join(t.TempDir(), "absent"), evidence.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestWriteFails: a bundle is not made of what is not there, or is not what was
// received.
func TestWriteFails(t *testing.T) {
	w := theWorld(t)
	other := w.input(true)
	other.Message = func() (evidence.Body, error) { return body{bytes.NewReader([]byte("something else"))}, nil }
	document := w.input(true)
	document.Document = func(message.Receipt) ([]byte, error) { return []byte("something else"), nil }
	for name, c := range map[string]struct {
		in   evidence.Input
		s    evidence.Sealer
		want string
	}{
		"no seal": {w.input(true), evidence.Sealer{}, "no seal"},
		"message": {other, w.sealer(), "message.eml is not what was received"},
		"receipt": {document, w.sealer(), "receipts/01-abholquittung.pdf is not what was received"},
	} {
		if _, err := evidence.Prepare(t.Context(), c.in, c.s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What docs/evidence.md writes for taking signature value and stamp out of the seal.
const (
	extractSignature = `openssl asn1parse -inform DER -in gateway.p7s -noout -out signature.bin -strparse $(openssl asn1parse -inform DER -in gateway.p7s | awk -F: '/d=5 .*OCTET STRING/ {print $1+0; exit}')`
	extractStamp     = `openssl asn1parse -inform DER -in gateway.p7s -noout -out stamp.der -strparse $(openssl asn1parse -inform DER -in gateway.p7s | awk -F: '/id-smime-aa-timeStampToken/ {found=1} found && /d=8 .*SEQUENCE/ {print $1+0; exit}')`
)

// TestByHand verifies a bundle as docs/evidence.md says, with unzip, sha256sum
// and OpenSSL alone; qpdf looks at the timeline.
func TestByHand(t *testing.T) {
	for _, tool := range []string{"unzip", "sha256sum", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("CI") != "" {
			t.Fatalf("needs %s", tool)
		} else if err != nil {
			t.Skip(tool, "is not installed")
		}
	}
	w := theWorld(t)
	path, dir := w.write(w.input(true), w.sealer()), t.TempDir()
	anchors := filepath.Join(t.TempDir(), "CA.pem")
	if err := os.WriteFile(anchors, slices.Concat(w.platform.PEM(), w.ca.PEM()), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(good bool, name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); (err == nil) != good {
			t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
	}
	byHand := func(good bool) {
		t.Helper()
		run(good, "openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "gateway.p7s", "-content", "MANIFEST.sha256", "-CAfile", anchors, "-purpose", "any", "-out", os.DevNull)
	}
	run(true, "unzip", "-q", path, "-d", dir)
	run(true, "sha256sum", "--strict", "-c", "MANIFEST.sha256")
	byHand(true)
	run(true, "sh", "-c", extractSignature)
	run(true, "openssl", "ts", "-verify", "-data", "signature.bin", "-in", "tst.tsr", "-CAfile", anchors)
	run(true, "sh", "-c", extractStamp)
	run(true, "openssl", "ts", "-verify", "-data", "signature.bin", "-in", "stamp.der", "-token_in", "-CAfile", anchors)
	run(false, "openssl", "ts", "-verify", "-data", "MANIFEST.sha256", "-in", "stamp.der", "-token_in", "-CAfile", anchors)
	if _, err := exec.LookPath("qpdf"); err == nil {
		run(true, "qpdf", "--check", "timeline.pdf")
	}
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST.sha256"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	byHand(false)
	run(false, "sha256sum", "--strict", "-c", "MANIFEST.sha256")
}

// TestStatus: what stands there as an issuer's answer must be one, about the seal
// of that receipt.
func TestStatus(t *testing.T) {
	w := theWorld(t)
	for name, c := range map[string]struct {
		of   [32]byte
		kind string
		want string
	}{
		"no OCSP":             {sha256.Sum256(w.signer.Raw), "ocsp", "revocation/01-1.ocsp: is no answer of the issuer"},
		"no list":             {sha256.Sum256(w.signer.Raw), "crl", "revocation/01-1.crl: is no answer of the issuer"},
		"another certificate": {sha256.Sum256([]byte("another")), "ocsp", "revocation/01-1.ocsp: is about no certificate of the seal"},
	} {
		in := w.input(false)
		in.Receipts[0].Status = []message.Status{{Kind: c.kind, Of: c.of, At: testDay()}}
		in.Status = func(message.Status) ([]byte, error) { return []byte("junk"), nil }
		r, err := evidence.Verify(w.write(in, w.sealer()), evidence.Options{Roots: w.roots()})
		if err != nil || r.Verdict != evidence.Refused || !strings.Contains(problems(r), c.want) {
			t.Errorf("%s: %v, %s:\n%s", name, err, r.Verdict, problems(r))
		}
	}
}

// TestSignedMail: a receipt that is a mail sealed by S/MIME is verified like a
// PDF.
func TestSignedMail(t *testing.T) {
	w := theWorld(t)
	content := "Content-Type: text/plain\r\n\r\nAbholquittung"
	seal, err := w.platform.Client("IncaMail Siegel")
	if err != nil {
		t.Fatal(err)
	}
	sig, err := cms.Sign(strings.NewReader(content), cms.Signer{Cert: seal.Leaf, Key: seal.Key}, cms.SignOptions{Time: testDay()})
	if err != nil {
		t.Fatal(err)
	}
	mail := "From: swisspost@im.post.ch\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=s\r\n\r\n--s\r\n" + content +
		"\r\n--s\r\nContent-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(sig) + "\r\n--s--\r\n"
	for name, c := range map[string]struct{ text, verdict string }{
		"sealed":   {mail, evidence.Accepted},
		"changed":  {strings.Replace(mail, "Abhol", "Abgab", 1), evidence.Refused},
		"unsigned": {"From: swisspost@im.post.ch\r\n\r\nAbholquittung\r\n", evidence.Refused},
	} {
		in := w.input(false)
		in.Receipts = in.Receipts[:1]
		in.Receipts[0].FileName, in.Receipts[0].Digest = "receipt.eml", sha256.Sum256([]byte(c.text))
		in.Document = func(message.Receipt) ([]byte, error) { return []byte(c.text), nil }
		r, err := evidence.Verify(w.write(in, w.sealer()), evidence.Options{Roots: w.roots()})
		if err != nil || r.Verdict != c.verdict || r.Receipts[0].File != "receipts/01-abholquittung.eml" {
			t.Errorf("%s: %v, %s\n%s", name, err, r.Verdict, problems(r))
		}
	}
}
