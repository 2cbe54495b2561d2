package archive_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/archive"
	"gatewayd/message"
)

// schemas is the folder of the XSDs, which are not part of the project.
func schemas(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../shared/ech/ech-0160")
	if err == nil {
		_, err = os.Stat(dir)
	}
	if err != nil {
		t.Skip("needs the schemas of eCH-0160 in ../shared/ech/ech-0160:", err)
	}
	return dir
}

var received = time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)

func aMessage(n int, text string, edit func(*archive.Message)) archive.Message {
	id := message.NewID(received.Add(time.Duration(n) * time.Second))
	m := archive.Message{
		Story: message.Story{
			Envelope: message.Envelope{
				ID: id, Direction: message.Outbound, Authority: "bau", From: message.Address{Local: "bau", Domain: "bl.example"}, Received: received,
				Content: message.Content{Digest: sha256.Sum256([]byte(text)), Size: int64(len(text))}, MessageID: "<1@bl.example>", HeaderFrom: "bau@bl.example",
			},
			Items: []message.Item{{
				Key: message.ItemKey{Message: id, N: 1}, Recipient: message.Recipient{Address: message.Address{Local: "buerger", Domain: "example.ch"}}, State: message.Done,
				Decision: message.Decision{Class: message.Registered, Via: "incamail"}, Reference: "BL-7F3K9Q2M", Filed: message.Filing{Disposition: message.HandedOverGEVER, Ref: "BIT-2026-17"},
			}},
			Receipts: []message.Receipt{{
				ID: message.NewID(received), Item: message.ItemKey{Message: id, N: 1}, Kind: message.Abgabequittung, Platform: "incamail", Received: received.Add(50 * time.Hour),
				Verdict: message.Verified, Signer: "CN=Post", Document: message.Ref{Day: "2027-05-23", End: 1}, FileName: "../Quittung Nr. 1\x00.pdf", MediaType: "application/pdf",
			}},
		},
		Body:     func(w io.Writer) error { _, err := io.WriteString(w, text); return err },
		Document: func(message.Receipt) ([]byte, error) { return []byte("%PDF"), nil },
		Evidence: func(_ message.ItemKey, w io.Writer) error { _, err := io.WriteString(w, "PK"); return err },
	}
	if edit != nil {
		edit(&m)
	}
	return m
}

func delivery(t *testing.T, ms ...archive.Message) archive.Delivery {
	return archive.Delivery{
		Schemas: schemas(t), Authority: "bau", Name: "Bauinspektorat Basel-Landschaft", Software: "gatewayd test", Created: received, Number: "2026/17 ä", Appraisal: "B-1", Messages: ms,
	}
}

const letter = "From: =?utf-8?q?M=C3=BCller?= <bau@bl.example>\r\nSubject: Verf=?utf-8?q?=C3=BCgung?=\r\n\r\nText\r\n"

// TestSIP writes a SIP of all kinds of messages; xmllint validates it by the
// schemas in it, and the metadata name every file with its checksum.
func TestSIP(t *testing.T) {
	in := aMessage(2, "Subject: [...]\r\n\r\n-----BEGIN", func(m *archive.Message) {
		m.Story.Envelope.Direction, m.Story.Items[0].Decision.Class = message.Inbound, message.Confidential
		m.Opened = func(w io.Writer) error { _, err := io.WriteString(w, letter); return err }
	})
	odd := aMessage(3, "Subject: "+strings.Repeat("ü\x01<&>]]>", 300)+"\r\nFrom: \xff\xfe <x@y>\r\n\r\n", func(m *archive.Message) {
		m.Story.Envelope.HeaderFrom, m.Story.Receipts, m.Evidence = "", nil, nil
		m.Story.Items = append(m.Story.Items, message.Item{Key: message.ItemKey{N: 2}, Recipient: message.Recipient{Address: message.Address{Local: "\x00\"a", Domain: "b.ch"}}})
	})
	notice := aMessage(4, "", func(m *archive.Message) { m.Story.Envelope.Direction = message.Notice })
	dir := t.TempDir()
	path, err := archive.Write(dir, delivery(t, aMessage(1, letter, nil), in, odd, notice))
	if err != nil {
		t.Fatal(err)
	}
	if name := filepath.Base(path); name != "SIP_20261123_bau_2026-17" {
		t.Errorf("folder %s", name)
	}
	validate(t, path)
	files, text := listed(t, path)
	checkFiles(t, path, files)
	for _, want := range []string{"<titel>Verfügung</titel>", "<autor>Müller &lt;bau@bl.example&gt;</autor>", "<aktenzeichen>BIT-2026-17</aktenzeichen>", "Nachweisdossier BL-7F3K9Q2M", `repraesentation="geöffnet"`, "<klassifizierungskategorie>confidential</klassifizierungskategorie>", "Empfangene Nachrichten", "Meldungen des Gateways"} {
		if !strings.Contains(text, want) {
			t.Errorf("the metadata do not say %s", want)
		}
	}
	if _, err := archive.Write(dir, delivery(t, notice)); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("over an existing one: %v", err)
	}
}

// TestClassification: the dossier bears the strictest class of all its recipients.
func TestClassification(t *testing.T) {
	for want, classes := range map[string][]message.Class{
		"":             {message.Normal, message.Bulk},
		"confidential": {message.Normal, message.Confidential},
		"personal":     {message.Confidential, message.Personal, message.Normal},
		"registered":   {message.Personal, message.Registered},
	} {
		m := aMessage(1, letter, func(m *archive.Message) {
			first := m.Story.Items[0]
			m.Story.Items = nil
			for n, c := range classes {
				first.Key.N, first.Decision.Class = n+1, c
				m.Story.Items = append(m.Story.Items, first)
			}
		})
		path, err := archive.Write(t.TempDir(), delivery(t, m))
		if err != nil {
			t.Fatal(err)
		}
		_, text := listed(t, path)
		_, got, _ := strings.Cut(text, "<klassifizierungskategorie>")
		if got, _, _ = strings.Cut(got, "<"); got != want {
			t.Errorf("%v: %q, want %q", classes, got, want)
		}
	}
}

func validate(t *testing.T, path string) {
	t.Helper()
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs xmllint: apt-get install libxml2-utils")
		}
		t.Skip("needs xmllint: apt-get install libxml2-utils")
	}
	cmd := exec.Command(xmllint, "--noout", "--nonet", "--schema", "header/xsd/arelda.xsd", "header/metadata.xml")
	cmd.Dir = path
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("xmllint: %v\n%s", err, out)
	}
}

// TestLasting: who was logged in, and from where, does not go into the archive.
func TestLasting(t *testing.T) {
	m := aMessage(1, letter, func(m *archive.Message) {
		e := &m.Story.Envelope
		e.Account, e.Helo, e.RemoteAddr, e.TLS, e.IdemKey = "meier.k", "pc-17", "192.0.2.7", "TLS 1.3", "idem-1"
		m.Story.Events = []message.Event{{At: received, Kind: message.EventAccepted, Data: map[string]string{
			"by": "meier.k", "remote_addr": "192.0.2.7", "sha256": "abc", "state": "done",
		}}}
	})
	path, err := archive.Write(t.TempDir(), delivery(t, m))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	err = filepath.WalkDir(filepath.Join(path, "content"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(p) != ".json" {
			return err
		}
		found++
		text, err := os.ReadFile(p)
		for _, gone := range []string{"meier.k", "192.0.2.7", "pc-17", "idem-1", "TLS 1.3"} {
			if strings.Contains(string(text), gone) {
				t.Errorf("%s is in the package", gone)
			}
		}
		for _, kept := range []string{"buerger", "bau@bl.example", "abc", "done", "BL-7F3K9Q2M"} {
			if !strings.Contains(string(text), kept) {
				t.Errorf("%s is not in the package", kept)
			}
		}
		return err
	})
	if err != nil || found != 1 {
		t.Errorf("%d records, %v", found, err)
	}
	if m.Story.Events[0].Data["by"] != "meier.k" {
		t.Error("the story itself was changed")
	}
}

type folder struct {
	Name  string   `xml:"name"`
	Dirs  []folder `xml:"ordner"`
	Files []struct {
		Name string `xml:"name"`
		Sum  string `xml:"pruefsumme"`
		Alg  string `xml:"pruefalgorithmus"`
	} `xml:"datei"`
}

// listed returns the checksums in the metadata, by path.
func listed(t *testing.T, path string) (map[string]string, string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path, "header", "metadata.xml"))
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Dirs []folder `xml:"inhaltsverzeichnis>ordner"`
	}
	if err := xml.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"header/metadata.xml": ""}
	var walk func(prefix string, list []folder)
	walk = func(prefix string, list []folder) {
		for _, f := range list {
			for _, d := range f.Files {
				if d.Alg != "SHA-256" {
					t.Errorf("%s: %s", d.Name, d.Alg)
				}
				all[prefix+f.Name+"/"+d.Name] = d.Sum
			}
			walk(prefix+f.Name+"/", f.Dirs)
		}
	}
	walk("", p.Dirs)
	return all, string(text)
}

var short = regexp.MustCompile(`^[A-Za-z0-9/._-]{1,100}$`)

func checkFiles(t *testing.T, path string, files map[string]string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		seen++
		rel, _ := filepath.Rel(path, p)
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		want, ok := files[filepath.ToSlash(rel)]
		if !ok || want != "" && want != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: listed %v with %s, has %x", rel, ok, want, sum)
		}
		if !short.MatchString(rel) {
			t.Errorf("name %q", rel)
		}
		return nil
	})
	if err != nil || seen != len(files) || seen < 14+1+13 {
		t.Errorf("%d files, %d listed: %v", seen, len(files), err)
	}
}

// TestRefused: what must not be archived, cannot be read or has changed leaves
// nothing behind.
func TestRefused(t *testing.T) {
	broken := errors.New("broken")
	dir := t.TempDir()
	for name, edit := range map[string]func(*archive.Message){
		"private mail": func(m *archive.Message) { m.Story.Items[0].Decision.Class = message.Private },
		"another content": func(m *archive.Message) {
			m.Body = func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err }
		},
		"broken body":     func(m *archive.Message) { m.Body = func(io.Writer) error { return broken } },
		"broken receipt":  func(m *archive.Message) { m.Document = func(message.Receipt) ([]byte, error) { return nil, broken } },
		"broken evidence": func(m *archive.Message) { m.Evidence = func(message.ItemKey, io.Writer) error { return broken } },
		"no recipients":   func(m *archive.Message) { m.Story.Items = nil },
	} {
		if _, err := archive.Write(dir, delivery(t, aMessage(1, letter, nil), aMessage(2, letter, edit))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	d := delivery(t, aMessage(1, letter, nil))
	d.Authority = "../bau"
	if _, err := archive.Write(dir, d); err == nil {
		t.Error("a path as an authority")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestCheckSchemas: a folder that lacks one is refused by its name.
func TestCheckSchemas(t *testing.T) {
	if err := archive.CheckSchemas(""); err == nil || !strings.Contains(err.Error(), "[archive] schemas") {
		t.Errorf("no folder: %v", err)
	}
	from, dir := schemas(t), t.TempDir()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return filepath.Ext(e.Name()) != ".xsd" })
	for i, e := range entries {
		if err := archive.CheckSchemas(dir); err == nil || i > 0 && !strings.Contains(err.Error(), e.Name()) {
			t.Errorf("before %s: %v", e.Name(), err)
		}
		text, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, e.Name()), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.CheckSchemas(dir); err != nil {
		t.Errorf("complete: %v", err)
	}
	paket := filepath.Join(dir, "paket.xsd")
	text, err := os.ReadFile(paket)
	if err == nil {
		err = os.WriteFile(paket, []byte(strings.ReplaceAll(string(text), `"5.0"`, `"4.9"`)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := archive.CheckSchemas(dir); err == nil || !strings.Contains(err.Error(), "version 1.2") {
		t.Error(fmt.Errorf("an older version: %w", err))
	}
}
