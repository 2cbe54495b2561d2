package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// mimeSets are the shared sets of odd mail (corpora.md § 1.2).
var mimeSets = []string{
	"mime-cyrus", "mime-enmime", "mime-gmime", "mime-is-broken", "mime-mimekit", "mime-nodemailer", "mime-perl", "mime-python", "mime-stalwart", "mime-thunderbird",
	"dsn-sisimai", "smime-thunderbird", "openpgp-thunderbird", "protected-headers", "smime-pgp-notmuch",
}

// corpus returns the mails of the shared sets, line ends brought to CRLF as a
// client does. It skips with a word where the corpora do not lie.
func corpus(t *testing.T) map[string][]byte {
	t.Helper()
	base := filepath.Join("..", "..", "..", "shared", "corpora")
	if _, err := os.Stat(base); err != nil {
		t.Skipf("the shared corpora do not lie at %s", base)
	}
	mails := map[string][]byte{}
	for _, set := range mimeSets {
		err := filepath.WalkDir(filepath.Join(base, set), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			switch filepath.Ext(path) {
			case ".eml", ".txt", ".mbox", ".msg", "":
			default:
				return nil
			}
			raw, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(raw, []byte(":")) || len(raw) == 0 {
				return err
			}
			for _, end := range []string{"\r\n", "\r"} {
				raw = bytes.ReplaceAll(raw, []byte(end), []byte("\n"))
			}
			raw = bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
			if !bytes.HasSuffix(raw, []byte("\r\n")) {
				raw = append(raw, "\r\n"...)
			}
			mails[path] = raw
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return mails
}

// TestFidelity relays real odd mail through the gateway to the next server: at
// least 97 % are taken, and each arrives with every octet of its body. Refusals
// are counted by reason; only NUL, bare CR and limits are good ones.
func TestFidelity(t *testing.T) {
	mails := corpus(t)
	r := newRig(t, nil)
	r.start()
	conf, err := r.clientTLS()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range mails {
		names = append(names, name)
	}
	sort.Strings(names)
	want := map[string]string{} // digest of a body → file
	refused := map[string]int{}
	client, err := gosmtp.DialStartTLS(r.ports.Submission, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { client.Close() }()
	for i, name := range names {
		text, to := mails[name], fmt.Sprintf("nr%d@example.org", i)
		if err := submit(client, to, text); err != nil {
			refused[reason(err)]++
			client.Close()
			if client, err = gosmtp.DialStartTLS(r.ports.Submission, conf); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want[to] = name
	}
	await(t, "everything delivered or ended", func() bool {
		out, code := r.run("queue", "list", "--state", "waiting", "--json")
		return code == 0 && strings.Count(out, `"key"`) == 0 && len(r.sink.all()) >= 1
	})
	time.Sleep(time.Second)
	same, held := 0, 0
	got := map[string][]byte{}
	for _, m := range r.sink.all() {
		got[m.to] = m.raw
	}
	for to, name := range want {
		raw, ok := got[to]
		if !ok {
			held++ // classified from its header: it must not leave by SMTP
			continue
		}
		if digestOfBody(raw) != digestOfBody(mails[name]) {
			t.Errorf("%s: the body changed on the way", name)
			continue
		}
		same++
	}
	good := refused["5.6.0 irregular"] + refused["limit"] + refused["automatic forwarding"] // Benutzungsreglement BL § 10 Abs. 1
	t.Logf("%d mails: %d taken, %d identical at the next server, %d held by policy; refused: %v", len(names), len(want), same, held, refused)
	if share := float64(len(want)) / float64(len(names)); share < 0.97 {
		t.Errorf("only %.1f %% taken", 100*share)
	}
	if len(names)-len(want) > good {
		t.Errorf("refusals without a good reason: %v", refused)
	}
}

func submit(c *gosmtp.Client, to string, text []byte) error {
	if err := c.Mail("bauinspektorat@bl.example", nil); err != nil {
		return err
	}
	if err := c.Rcpt(to, nil); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	return w.Close()
}

// reason sorts a refusal.
func reason(err error) string {
	switch s := err.Error(); {
	case strings.Contains(s, "5.6.0"), strings.Contains(s, "NUL"), strings.Contains(s, "bare"):
		return "5.6.0 irregular"
	case strings.Contains(s, "5.3.4"), strings.Contains(s, "header section"), strings.Contains(s, "Too long"):
		return "limit"
	case strings.Contains(s, "duty:forwarding"):
		return "automatic forwarding"
	default:
		return s
	}
}

// digestOfBody is the hash of what follows the header section, as the header
// reader of the product finds it: at the first line that cannot be a header.
func digestOfBody(raw []byte) [32]byte {
	_, body := split(raw)
	return sha256.Sum256(body)
}
