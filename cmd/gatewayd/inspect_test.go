package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInspect reads files without a gateway: a decision, a bounce, and a
// message made to exhaust its reader.
func TestInspect(t *testing.T) {
	inside := func(args ...string) (string, int) {
		var out bytes.Buffer
		code := run(args, console{&out, &out})
		return out.String(), code
	}
	out, code := inside("message", "inspect", "sample/entscheid.eml", "--json")
	var found struct {
		Subject string
		Parts   []struct {
			FileName string `json:"file_name"`
			Type     string
			SHA256   string
		}
	}
	if err := json.Unmarshal([]byte(out), &found); code != 0 || err != nil {
		t.Fatalf("inspect: exit %d, %v\n%s", code, err, out)
	}
	if !strings.Contains(found.Subject, "Verfügung") || len(found.Parts) != 3 || found.Parts[2].FileName != "Verfuegung.pdf" || found.Parts[2].SHA256 == "" {
		t.Errorf("inspect: %+v", found)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const report = "From: MAILER-DAEMON@x.example\r\nSubject: Undelivered\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nno\r\n" +
		"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x.example\r\n\r\nFinal-Recipient: rfc822; k@example.ch\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n"
	dsn := write("dsn.eml", report)
	out, code = inside("receipts", "inspect", dsn, "--json")
	if code != 0 || !strings.Contains(out, `"status": "5.1.1"`) || !strings.Contains(out, `"permanent": true`) {
		t.Errorf("bounce: exit %d\n%s", code, out)
	}
	const line = "From MAILER-DAEMON Thu Jul  2 12:05:05 2020\r\n"
	late := strings.NewReplacer("k@", "l@", "failed", "delayed", "5.1.1", "4.4.1").Replace(report)
	out, code = inside("receipts", "inspect", write("mbox", line+report+line+late), "--json")
	var both struct {
		Recipients []struct {
			Address, Action, Status string
			Permanent               bool
		}
	}
	if err := json.Unmarshal([]byte(out), &both); code != 0 || err != nil || fmt.Sprint(both.Recipients) != "[{k@example.ch failed 5.1.1 true} {l@example.ch delayed 4.4.1 false}]" {
		t.Errorf("mailbox: exit %d, %v, %v\n%s", code, err, both, out)
	}
	var deep bytes.Buffer
	if err := nested(&deep, 10_000); err != nil {
		t.Fatal(err)
	}
	out, code = inside("message", "inspect", write("deep.eml", deep.String()))
	if code != exitFailed || !strings.Contains(out, "limits") {
		t.Errorf("10,000 nested parts: exit %d\n%s", code, tailOf(out, 500))
	}
}
