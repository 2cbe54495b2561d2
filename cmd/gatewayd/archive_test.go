package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/api"
	"gatewayd/message"
)

// TestArchiveExport: without the schemas the command says what to do; with them
// it writes a package that xmllint finds valid.
func TestArchiveExport(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	if err := r.stranger("Subject: Gesuch\r\n\r\nText\r\n", "bauinspektorat@bl.example"); err != nil {
		t.Fatal(err)
	}
	var id string
	await(t, "the mail in the mailbox", func() bool {
		for _, s := range r.trace("bauinspektorat@bl.example") {
			id = s.Envelope.ID.String()
			return s.Items[0].State == message.Done
		}
		return false
	})
	out := t.TempDir()
	args := []string{"archive", "export", "--authority", "bauinspektorat", "--purpose", "operation", "--dir", out, "--number", "2027-03", id}
	if text, code := r.run(args...); code != exitFailed || !strings.Contains(text, "[archive] schemas") {
		t.Errorf("without schemas: exit %d\n%s", code, text)
	}
	xsd, err := filepath.Abs("../../../shared/ech/ech-0160")
	if err == nil {
		_, err = os.Stat(xsd)
	}
	if err != nil {
		t.Skip("needs the schemas of eCH-0160 in ../shared/ech/ech-0160:", err)
	}
	f, err := os.OpenFile(r.file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("\n[archive]\nschemas = '" + xsd + "'\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	text, code := r.run(args...)
	path := filepath.Join(out, strings.TrimSpace(filepath.Base(text)))
	if code != 0 || !strings.Contains(path, "_bauinspektorat_2027-03") {
		t.Fatalf("exit %d\n%s", code, text)
	}
	body, err := os.ReadFile(filepath.Join(path, "content/d000001/p000001.eml"))
	if err != nil || !strings.HasSuffix(string(body), "Subject: Gesuch\r\n\r\nText\r\n") {
		t.Errorf("content: %v %q", err, body)
	}
	args[3] = "steuerverwaltung"
	if text, code := r.run(args...); code != exitFailed || !strings.Contains(text, "not in the ledger") {
		t.Errorf("another authority's: exit %d\n%s", code, text)
	}
	if xmllint, err := exec.LookPath("xmllint"); err == nil {
		cmd := exec.Command(xmllint, "--noout", "--nonet", "--schema", filepath.Join(path, "header/xsd/arelda.xsd"), filepath.Join(path, "header/metadata.xml"))
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("xmllint: %v\n%s", err, text)
		}
	}
}

// bundler is an operator that notes what it writes a bundle to.
type bundler struct {
	api.Operator
	to io.Writer
}

var errNoBundle = errors.New("no bundle")

func (b *bundler) Evidence(_ context.Context, _ message.Reading, _ message.ItemKey, w io.Writer) error {
	b.to = w
	return errNoBundle
}

// TestArchiveBundle: a bundle that waits to be verified lies in the package's folder,
// not where everything temporary does, and nothing of it stays.
func TestArchiveBundle(t *testing.T) {
	dir, b := t.TempDir(), &bundler{}
	if err := stampedBundle(context.Background(), b, message.Reading{}, message.ItemKey{}, dir, io.Discard); !errors.Is(err, errNoBundle) {
		t.Errorf("error %v", err)
	}
	if f, ok := b.to.(*os.File); !ok || filepath.Dir(f.Name()) != dir {
		t.Errorf("written to %v", b.to)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
