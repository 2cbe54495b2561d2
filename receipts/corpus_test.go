package receipts

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/mail"
	"gatewayd/message"
)

// corpus calls fn with every file of the shared corpora of that name.
func corpus(t *testing.T, name string, fn func(path string, raw []byte)) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join("..", "..", "shared", "corpora", name))
	if err != nil {
		t.Fatal(err)
	}
	if len(dirs) == 0 {
		t.Skip("shared corpora not here: " + name)
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

// Foreign mail that claims to come from a platform: no panic, bounded time,
// nothing verified.
func TestRecogniseCorpora(t *testing.T) {
	r := recogniser(t, Options{})
	files := 0
	corpus(t, "mime-*", func(path string, raw []byte) {
		files++
		start := time.Now()
		for _, prefix := range []string{"", "From: " + fromInca + "\r\n"} {
			findings, _, err := r.Recognise(input(prefix+string(raw), nil))
			if err != nil && !errors.Is(err, mail.ErrHeaderTooLong) {
				t.Errorf("%s: %v", path, err)
			}
			for _, f := range findings {
				if f.Verdict == message.Verified {
					t.Errorf("%s: verified without an anchor", path)
				}
			}
		}
		if d := time.Since(start); d > 30*time.Second {
			t.Errorf("%s: %d octets took %s", path, len(raw), d)
		}
	})
	if files < 1000 {
		t.Errorf("%d files: is the corpus complete?", files)
	}
}

// Real signed documents of others: read in bounded time, shown, not believed.
func TestInspectForeignPDF(t *testing.T) {
	r := recogniser(t, Options{})
	files := 0
	corpus(t, "pdf-signed", func(path string, raw []byte) {
		if !bytes.HasPrefix(raw, []byte("%PDF-")) {
			return
		}
		files++
		start := time.Now()
		got, err := r.Inspect(raw, nil)
		if err != nil || len(got.Receipts) != 1 || got.Receipts[0].Verdict == message.Verified || got.Receipts[0].Kind != message.UnknownReceipt {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
		if d := time.Since(start); d > time.Minute {
			t.Errorf("%s: %d octets took %s", path, len(raw), d)
		}
	})
	if files == 0 {
		t.Error("no PDF in the corpus")
	}
}

func TestBounds(t *testing.T) {
	r := recogniser(t, Options{})
	pdf := render(t, true, receiptLines("IncaMail Abholquittung")...)
	many := make([][]byte, 2*maxDocuments)
	for i := range many {
		many[i] = pdf
	}
	list, _, err := r.Recognise(input(letter(fromInca, "Abholquittung: x", many...), nil))
	if err != nil || len(list) != maxDocuments {
		t.Errorf("%d documents, %v", len(list), err)
	}
	large := "From: " + fromInca + "\r\nSubject: Nicht zustellbar: [BL-7F3K9Q2M] x\r\nReferences: <a@b> nonsense <a@b> " + strings.Repeat("<x@y", 200) + "\r\n " +
		strings.Repeat("<i@j>\r\n ", 5) + "\r\n\r\n" + strings.Repeat("line\r\n", maxNotice/5)
	f := one(t, r, input(large, nil))
	if f.MediaType != "text/rfc822-headers" || len(f.Document) > maxHeader || strings.Join(f.InReplyTo, " ") != "<a@b> <i@j>" {
		t.Errorf("large notice: %s of %d octets, %v", f.MediaType, len(f.Document), f.InReplyTo)
	}
	if f.Kind != message.NoticeUndelivered || f.Reference != "BL-7F3K9Q2M" {
		t.Errorf("large notice: %s %q", f.Kind, f.Reference)
	}
}

// A mail without a time of its own takes ours, never the zero time.
func TestTimeOfFinding(t *testing.T) {
	in := input("From: "+fromInca+"\r\nSubject: Nicht zustellbar: x\r\n\r\nx\r\n", nil)
	if f := one(t, recogniser(t, Options{}), in); !f.At.Equal(in.Now) {
		t.Errorf("at %s", f.At)
	}
}
