package bounce_test

import (
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/mail"
	"gatewayd/mail/bounce"
	"gatewayd/mail/parts"
)

var corpora = filepath.Join("..", "..", "..", "shared", "corpora")

// label is one row of labels-shared.tsv: one recipient.
type label struct{ status, reply, reason string }

func labels(t *testing.T) map[string][]label {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(corpora, "dsn-sisimai", "labels-shared.tsv"))
	if err != nil {
		t.Skip("shared corpora not here: dsn-sisimai")
	}
	list := map[string][]label{}
	seen := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(string(raw)), "\n")[1:] {
		c := strings.Split(line, "\t")
		if !seen[line] { // one row stands there twice
			list[c[0]] = append(list[c[0]], label{c[2], c[3], c[4]})
		}
		seen[line] = true
	}
	return list
}

func readFile(t testing.TB, path string) (bounce.Report, bool) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all bounce.Report
	found := false
	for _, one := range parts.Messages(raw) { // a few are mailboxes of several reports
		sections, err := parts.Sections(bytes.NewReader(one), int64(len(one)))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if rep, ok := bounce.Read(sections); ok {
			rep.Recipients = append(all.Recipients, rep.Recipients...)
			all, found = rep, true
		}
	}
	return all, found
}

// agrees compares the recipient of a label: there is one, and the cause is
// permanent or temporary as the status of the label says; "feedback" is none.
func agrees(rep bounce.Report, ok bool, i int, l label) bool {
	if l.reason == "feedback" {
		return !ok
	}
	if i >= len(rep.Recipients) || rep.Recipients[i].Address.IsNull() {
		return false
	}
	r := rep.Recipients[i]
	return r.Status[0] == l.status[0] && r.Permanent == (l.status[0] == '5')
}

// isStandard tells the reports of RFC 3464: multipart/report, with the type
// that section 2 demands.
func isStandard(path string) bool {
	raw, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	h, err := mail.ReadHeader(bufio.NewReader(bytes.NewReader(bytes.TrimLeft(raw, "\r\n"))), len(raw)+2)
	if err != nil {
		return false
	}
	typ, params := mail.ParseParams(h.Get("Content-Type"))
	return strings.EqualFold(typ, "multipart/report") && strings.EqualFold(params["report-type"], "delivery-status")
}

// The bounces of real systems against their labels, every row counted. At
// least 98 in 100 must be right, of those in the form of RFC 3464 all.
//
// Two labels are not met, on purpose: the reports (OpenSMTPD) say that the
// message is delayed and still tried, the labels give the 5.0.9xx that the
// labeller derives where he found no code. Who believed them would call
// permanent what the mail system will yet deliver.
func TestRealBounces(t *testing.T) {
	type score struct{ rows, right int }
	var all, standard, replies score
	for name, want := range labels(t) {
		path := filepath.Join(corpora, "dsn-sisimai", "maildir", "bsd", name)
		if _, err := os.Stat(path); err != nil {
			continue // labelled, but kept elsewhere
		}
		scores := []*score{&all}
		if isStandard(path) {
			scores = append(scores, &standard)
		}
		rep, ok := readFile(t, path)
		for i, l := range want {
			right := agrees(rep, ok, i, l)
			if !right {
				t.Logf("%s: want %+v, got %s", name, l, tell(rep))
			}
			for _, s := range scores {
				s.rows++
				if right {
					s.right++
				}
			}
			if right && ok && l.reply != "" {
				replies.rows++
				if l.reply == itoa(rep.Recipients[i].Reply) {
					replies.right++
				}
			}
		}
	}
	percent := func(s score) float64 { return 100 * float64(s.right) / float64(s.rows) }
	t.Logf("strict: %d of %d rows right (%.1f %%); RFC 3464: %d of %d (%.1f %%); reply codes: %d of %d (%.1f %%)",
		all.right, all.rows, percent(all), standard.right, standard.rows, percent(standard), replies.right, replies.rows, percent(replies))
	if all.rows < 200 || percent(all) < 98 || percent(standard) < 100 || percent(replies) < 95 {
		t.Error("too few")
	}
}

// The same mails with CRLF and with bare CR say the same.
func TestLineEnds(t *testing.T) {
	n := 0
	for _, style := range []string{"dos", "mac"} {
		files, err := filepath.Glob(filepath.Join(corpora, "dsn-sisimai", "maildir", style, "*.eml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			twin := filepath.Join(filepath.Dir(filepath.Dir(path)), "bsd", filepath.Base(path))
			if _, err := os.Stat(twin); err != nil {
				continue
			}
			n++
			got, ok1 := readFile(t, path)
			want, ok2 := readFile(t, twin)
			if ok1 != ok2 || tell(got) != tell(want) {
				t.Errorf("%s: %s, want %s", path, tell(got), tell(want))
			}
		}
	}
	if n == 0 {
		t.Skip("shared corpora not here: dsn-sisimai")
	}
}

// realBounces are the mails of the MIME sets that report on a delivery.
var realBounces = map[string]bool{
	"delayed_dsn.raw": true, "dsn_with_multipart_alternative.raw": true, "multi_recipient_dsn.raw": true, "simple_dsn.raw": true, "simple_dsn_with_html.raw": true,
	"bounce.txt": true, "delivery-status-multiple-blank-lines.txt": true, "delivery-status-no-blank-line.txt": true, "delivery-status.anonymized.eml": true,
	"delivery-status.txt": true, "delivery-status2.txt": true, "delivery-status.eml": true, "msg_16.txt": true, "msg_25.txt": true, "msg_43.txt": true,
}

// No mail of the MIME and S/MIME sets is taken for a bounce, but for those that are.
func TestNoFalseBounces(t *testing.T) {
	files, found := 0, 0
	for _, pattern := range []string{"mime-*", "smime-*", "openpgp-thunderbird", "protected-headers", "tnef", "content-type-oracle"} {
		dirs, err := filepath.Glob(filepath.Join(corpora, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				if info, err := d.Info(); err != nil || info.Size() > 200_000 {
					return err // pictures and mailboxes of many mails
				}
				files++
				if _, ok := readFile(t, path); ok {
					found++
					if !realBounces[filepath.Base(path)] {
						t.Errorf("%s is taken for a bounce", path)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if files == 0 {
		t.Skip("shared corpora not here: mime-*")
	}
	t.Logf("%d files, %d bounces", files, found)
	if found < 15 {
		t.Errorf("%d bounces found, there are 15", found)
	}
}
