package main

import (
	"archive/zip"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/config"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/tsp"
	"gatewayd/evidence"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/simulator"
)

// judgeBundle runs evidence verify.
func judgeBundle(t *testing.T, bundle string, args ...string) (code int, r evidence.Result) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(append([]string{"evidence", "verify", "--json", bundle}, args...), console{&out, &errs})
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("exit %d, %v: %s%s", code, err, out.String(), errs.String())
	}
	return code, r
}

// packed is one file of a bundle.
type packed struct {
	name string
	text []byte
}

func unpacked(t *testing.T, path string) []packed {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var list []packed
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		list = append(list, packed{f.Name, text})
	}
	return list
}

func repack(t *testing.T, list []packed) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle.zip")
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, p := range list {
		w, err := z.Create(p.name)
		if err == nil {
			_, err = w.Write(p.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDemoEvidence: the demo leaves a bundle for each registered recipient, with
// the anchors beside them. Each is accepted; with any file altered, or sealed
// again by somebody else, it is refused, and the file is named.
func TestDemoEvidence(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dossier")
	shown := 0
	for _, l := range runDemo(t, "--evidence", dir) {
		if l.Event == "case shown" {
			shown++
		}
	}
	anchors := filepath.Join(dir, "anchors.pem")
	bundles, _ := filepath.Glob(filepath.Join(dir, "nachweis-*.zip"))
	if shown != 3 || len(bundles) != 3 {
		t.Fatalf("%d cases shown, %d bundles, want three", shown, len(bundles))
	}
	foreign := foreignSeal(t)
	services := map[string]bool{}
	for _, bundle := range bundles {
		code, r := judgeBundle(t, bundle, "--anchors", anchors)
		if code != 0 || r.Verdict != evidence.Accepted || r.Record == nil {
			t.Fatalf("%s: exit %d, %s %+v", bundle, code, r.Verdict, r.Problems)
		}
		services[string(r.Record.Case.State)] = true
		if code, r := judgeBundle(t, bundle); code != 1 || r.Verdict != evidence.SelfConsistent {
			t.Errorf("without anchors: exit %d, %s", code, r.Verdict)
		}
		if code, r := judgeBundle(t, bundle, "--anchors", anchors, "--signer", "somebody else"); code != 1 || r.Verdict != evidence.Refused {
			t.Errorf("another signer expected: exit %d, %s", code, r.Verdict)
		}
		whole := unpacked(t, bundle)
		for i, p := range whole {
			altered := slices.Clone(whole)
			altered[i].text = slices.Clone(p.text)
			altered[i].text[len(p.text)/2] ^= 1
			code, r := judgeBundle(t, repack(t, altered), "--anchors", anchors)
			if code != 1 || !slices.ContainsFunc(r.Problems, func(pr evidence.Problem) bool { return pr.File == p.name }) {
				t.Errorf("%s altered: exit %d, %+v", p.name, code, r.Problems)
			}
		}
		code, r = judgeBundle(t, repack(t, foreign(whole)), "--anchors", anchors)
		if code != 1 || !slices.ContainsFunc(r.Problems, func(pr evidence.Problem) bool { return pr.File == evidence.FileSeal }) {
			t.Errorf("sealed by a foreign key: exit %d, %+v", code, r.Problems)
		}
	}
	if !services["served"] || !services["served_by_fiction"] {
		t.Errorf("cases %v", services)
	}
	var out bytes.Buffer
	if code := run([]string{"evidence", "verify", bundles[0], "--anchors", anchors}, console{&out, &out}); code != 0 || !strings.Contains(out.String(), "accepted: complete") {
		t.Errorf("exit %d\n%s", code, out.String())
	}
	if code := run([]string{"evidence", "verify", dir, "--anchors", anchors}, console{&out, &out}); code != 1 {
		t.Errorf("the folder of bundles: exit %d", code)
	}
}

// TestEvidenceOnTerminal: what a hostile bundle says of itself cannot write over the
// verdict, nor add lines that look like ours.
func TestEvidenceOnTerminal(t *testing.T) {
	const evil = "\x1b[2J\x1b[H\u009b1A\u202edossier.zip: accepted\n  sealed by    Kanton\r\x7f\u2028"
	r := evidence.Result{
		Verdict: evidence.Refused, Content: evil, Signer: &evidence.Certificate{Subject: evil}, TSA: &evidence.Certificate{Subject: evil},
		Problems: []evidence.Problem{{File: "receipts/01", Text: evil}}, Receipts: []evidence.FileReport{{File: "receipts/01", Detail: evil}},
		Record: &evidence.Record{Subject: evidence.Subject{Reference: evil, Platform: evil}, Sender: evidence.Sender{Address: evil}, Case: legal.Case{Because: evil}},
	}
	var out bytes.Buffer
	printEvidence(&out, "dossier.zip", r, nil)
	for line := range strings.Lines(out.String()) {
		if strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\x1b\u009b\u202e\r\n\x7f\u2028") || strings.HasPrefix(line, "dossier.zip: accepted") {
			t.Errorf("%q", line)
		}
	}
	if lines := strings.Count(out.String(), "\n"); lines != 11 {
		t.Errorf("%d lines:\n%q", lines, out.String())
	}
}

// foreignSeal seals a bundle anew, with keys of its own and a README that says
// something else.
func foreignSeal(t *testing.T) func([]packed) []packed {
	t.Helper()
	ca, err := simulator.NewCA("gatewayd development CA") // the same name, another key
	if err != nil {
		t.Fatal(err)
	}
	seal, err := ca.Client("Gateway BL (Entwicklung)")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.TSA("simulated time-stamping authority")
	if err != nil {
		t.Fatal(err)
	}
	tsa := simulator.TSA{Cert: cert, Now: time.Now}
	return func(whole []packed) []packed {
		list := slices.Clone(whole)
		at := func(name string) *packed {
			return &list[slices.IndexFunc(list, func(p packed) bool { return p.name == name })]
		}
		sig, err := cms.Sign(bytes.NewReader(at(evidence.FileManifest).text), cms.Signer{Cert: seal.Leaf, Key: seal.Key, Chain: []*x509.Certificate{seal.Issuer}}, cms.SignOptions{Time: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		q, err := tsp.NewRequest(bytes.NewReader(sig))
		if err != nil {
			t.Fatal(err)
		}
		q.Certs = false
		answer, err := tsa.Stamp(q)
		if err != nil {
			t.Fatal(err)
		}
		at(evidence.FileSeal).text, at(evidence.FileStamp).text = sig, answer
		return list
	}
}

// TestEvidenceExport exports out of the running gateway, by its socket: all
// cases of a message into a folder, or one into a file.
func TestEvidenceExport(t *testing.T) {
	s := newStage(t, nil)
	id := s.decide("[einschreiben] Entscheid", "buerger@example.ch", "nachbar@example.ch")
	await(t, "two Abgabequittungen", func() bool { return s.inCase(id, message.CaseSubmitted) == 2 })
	dir := t.TempDir()
	anchors := filepath.Join(dir, "anchors.pem")
	var text []byte
	for _, name := range []string{config.SimulatorCA, config.SimulatorAnchors} {
		pem, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, pem...)
	}
	if err := os.WriteFile(anchors, text, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "one.zip")
	for _, c := range []struct {
		question, out string
		code          int
		says          string
	}{
		{id.String(), dir, 0, bundleName(message.ItemKey{Message: id, N: 2})},
		{id.String() + "/2", file, 0, "one.zip"},
		{id.String() + "/2", file, exitFailed, "exists"},
		{id.String(), filepath.Join(dir, "two.zip"), exitFailed, "2 delivery cases: name one"},
		{"BL-00000000", dir, exitFailed, "no delivery case"},
	} {
		if out, code := s.command("evidence", "export", c.question, "--out", c.out); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("export %s: exit %d\n%s", c.question, code, out)
		}
	}
	for _, path := range []string{file, filepath.Join(dir, bundleName(message.ItemKey{Message: id, N: 1}))} {
		if code, r := judgeBundle(t, path, "--anchors", anchors); code != 0 || r.Record.Case.State != legal.Available {
			t.Errorf("%s: exit %d, %+v", path, code, r.Problems)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	s.stampsLater(id, dir, anchors)
}

// stampsLater: while nobody stamps a bundle is exported and not accepted; it gets
// its stamp when somebody does.
func (s *stage) stampsLater(id message.ID, dir, anchors string) {
	t := s.t
	t.Helper()
	at, stamps := s.ports.TSA, s.stamps.Handler
	s.stamps.Close()
	late := filepath.Join(dir, "late.zip")
	if out, code := s.command("evidence", "export", id.String()+"/1", "--out", late); code != 0 || !strings.Contains(out, "time stamp pending") {
		t.Errorf("without stamps: exit %d\n%s", code, out)
	}
	if code, r := judgeBundle(t, late, "--anchors", anchors); code != 1 || r.Verdict != evidence.Unstamped || r.Record.Version != 2 || r.Record.Previous.ID == "" {
		t.Errorf("without its stamp: exit %d, %s, %+v", code, r.Verdict, r.Problems)
	}
	first := filepath.Join(dir, bundleName(message.ItemKey{Message: id, N: 1}))
	before := unpacked(t, late)
	if out, code := s.command("evidence", "stamp", late); code != exitFailed || !strings.Contains(out, "no time stamp yet") {
		t.Errorf("nobody stamps: exit %d\n%s", code, out)
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	again := &httptest.Server{Listener: l, Config: &http.Server{Handler: stamps}}
	again.Start()
	defer again.Close()
	for _, says := range []string{"stamped:", "already"} {
		if out, code := s.command("evidence", "stamp", late); code != 0 || !strings.Contains(out, says) {
			t.Errorf("exit %d, want %q\n%s", code, says, out)
		}
	}
	for previous, want := range map[string]int{first: 0, late: exitFailed} {
		if code, _ := judgeBundle(t, late, "--anchors", anchors, "--previous", previous); code != want {
			t.Errorf("after %s: exit %d, want %d", previous, code, want)
		}
	}
	if code, r := judgeBundle(t, late, "--anchors", anchors); code != 0 || r.Stamped.IsZero() {
		t.Errorf("stamped later: exit %d, %+v", code, r.Problems)
	}
	for _, p := range unpacked(t, late) {
		if p.name != evidence.FileSeal && p.name != evidence.FileStamp && !slices.ContainsFunc(before, func(b packed) bool { return b.name == p.name && bytes.Equal(b.text, p.text) }) {
			t.Errorf("%s has changed", p.name)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".nachweis-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
