package bounce_test

import (
	"bytes"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	sections, err := parts.Sections(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return bounce.Read(sections)
}

// agrees compares one recipient with its label. A label of the form x.0.9nn is
// no code of the report but derived by the labeller; where the report itself
// says "delayed", its word counts, and that is told apart.
func agrees(rep bounce.Report, i int, l label) (right, contradicted bool) {
	if i >= len(rep.Recipients) {
		return false, false
	}
	r := rep.Recipients[i]
	if r.Address.IsNull() {
		return false, false
	}
	derived := strings.HasPrefix(l.status, "5.0.9") && r.Action == bounce.Delayed
	return r.Status[0] == l.status[0] && r.Permanent == (l.status[0] == '5'), derived
}

// The bounces of real systems, against the labels. Every sixth was never
// looked at while the rules were written.
func TestRealBounces(t *testing.T) {
	type score struct{ rows, right, contradicted, replies, sameReply int }
	scores := map[string]*score{"known": {}, "held out": {}}
	for name, want := range labels(t) {
		s := scores["known"]
		if crc32.ChecksumIEEE([]byte(name))%6 == 0 {
			s = scores["held out"]
		}
		path := filepath.Join(corpora, "dsn-sisimai", "maildir", "bsd", name)
		if _, err := os.Stat(path); err != nil {
			continue // labelled, but kept elsewhere
		}
		rep, ok := readFile(t, path)
		for i, l := range want {
			s.rows++
			if l.reason == "feedback" {
				if !ok {
					s.right++
				}
				continue
			}
			right, contradicted := agrees(rep, i, l)
			switch {
			case right:
				s.right++
			case contradicted:
				s.contradicted++
			case s == scores["known"]:
				t.Logf("%s: want %+v, got %s", name, l, tell(rep))
			}
			if right && l.reply != "" {
				s.replies++
				if l.reply == itoa(rep.Recipients[i].Reply) {
					s.sameReply++
				}
			}
		}
	}
	for name, s := range scores {
		t.Logf("%s: %d rows, %d right, %d where the label contradicts the report, reply code %d of %d", name, s.rows, s.right, s.contradicted, s.sameReply, s.replies)
		if float64(s.right+s.contradicted) < 0.94*float64(s.rows) || float64(s.sameReply) < 0.9*float64(s.replies) {
			t.Errorf("%s: too few", name)
		}
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
