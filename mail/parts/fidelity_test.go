package parts

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// oracle reads mails with the email package of Python: one path a line in, one
// JSON object a line out.
const oracle = `
import sys, json, hashlib, email, email.utils
from email.header import decode_header, make_header
def text(v):
    if v is None: return None
    try: s = str(make_header(decode_header(str(v))))
    except Exception: return None
    try: s.encode()
    except UnicodeError: return None
    return None if '\ufffd' in s or '\\ufffd' in s else s
for path in sys.stdin:
    m = email.message_from_bytes(open(path.strip(), 'rb').read())
    froms = [a for _, a in email.utils.getaddresses([str(m['From'] or '')]) if '@' in a]
    leaves = []
    for p in m.walk():
        if p.is_multipart() or p.get_content_maintype() == 'message': continue
        body = p.get_payload(decode=True)
        name = p.get_filename()
        if not body or p.get_content_maintype() == 'multipart': continue
        leaves.append({'name': text(name) or '', 'any': [hashlib.sha256(b).hexdigest() for b in (body, body.rstrip(b'\r\n'), body + b'\n', body + b'\r\n')]})
    print(json.dumps({'subject': text(m['Subject']), 'from': froms[:1], 'leaves': leaves}))
`

type reading struct {
	Subject *string
	From    []string
	Leaves  []struct {
		Name string
		Any  []string
	}
}

var (
	mailField = regexp.MustCompile(`(?mi)^(from|to|subject|date|message-id|received|mime-version|content-type|return-path)[ \t]*:`)
	noLetters = regexp.MustCompile(`[<>:"|?*\s]`)
	// Mails made to be broken, mailboxes of many mails, reports and fragments that
	// Python cuts further than the standard.
	unfair = regexp.MustCompile(`malformed|low-quality|mime-bad|/mbox/|partial|delivery-status|dsn|feedback-report|disposition|multipart-base64|extra-base64|issue358|rfc822_base64|nodemailer/test/fixtures/nested`)
)

// mails returns the files of the non-adversarial MIME sets that are mails.
func mails(t *testing.T) []string {
	t.Helper()
	var list []string
	corpus(t, "mime-*", func(path string, raw []byte) {
		if strings.Contains(path, "mime-is-broken") || unfair.MatchString(filepath.ToSlash(path)) || strings.HasSuffix(path, ".json") || strings.HasSuffix(path, ".md") {
			return
		}
		if len(mailField.FindAll(raw[:min(len(raw), 4000)], 2)) == 2 {
			list = append(list, path)
		}
	})
	return list
}

// What Python reads, we read: subject, sender, every leaf and its name.
func TestFidelity(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs python3: apt-get install python3")
		}
		t.Skip("needs python3: apt-get install python3")
	}
	paths := mails(t)
	cmd := exec.Command(python, "-c", oracle)
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\n") + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	good, dec := 0, json.NewDecoder(bytes.NewReader(out))
	for _, path := range paths {
		var want reading
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		in, err := Inspect(bytes.NewReader(raw), int64(len(raw)), Limits{})
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if why := differs(in, want); why != "" {
			t.Logf("%s: %s", path, why)
			continue
		}
		good++
	}
	// The rest was looked at by hand: bodies of message/external-body, encoded
	// messages, header lines without colon, one boundary used on two levels,
	// raw 8-bit, white space behind a transfer encoding: Python's reading.
	t.Logf("%d of %d mails read the same", good, len(paths))
	if len(paths) < 400 || float64(good) < 0.97*float64(len(paths)) {
		t.Errorf("%d of %d", good, len(paths))
	}
}

func differs(in Inspection, want reading) string {
	squash := func(s string) string { return strings.Join(strings.Fields(s), "") }
	if want.Subject != nil && squash(*want.Subject) != squash(in.Subject) {
		return "subject " + in.Subject
	}
	if len(want.From) > 0 && (len(in.From) == 0 || !strings.EqualFold(in.From[0].Address, want.From[0])) {
		return "from " + want.From[0]
	}
	sums, names := map[string]bool{}, map[string]bool{}
	for _, e := range in.Parts {
		sums[strings.TrimPrefix(e.SHA256.String(), "sha256:")] = true
		names[squash(e.FileName)] = true
	}
	for _, leaf := range want.Leaves {
		found := false
		for _, sum := range leaf.Any {
			found = found || sums[sum]
		}
		if !found {
			return "content of a leaf"
		}
		name := leaf.Name[strings.LastIndexAny(leaf.Name, `/\`)+1:]
		if name = strings.TrimLeft(noLetters.ReplaceAllString(name, ""), "."); name != "" && !names[name] {
			return "name " + leaf.Name
		}
	}
	return ""
}
