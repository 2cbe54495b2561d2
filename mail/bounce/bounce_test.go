package bounce_test

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gatewayd/mail"
	"gatewayd/mail/bounce"
	"gatewayd/mail/parts"
	"gatewayd/message"
)

func itoa(n int) string { return strconv.Itoa(n) }

var testTime = time.Date(2026, 11, 23, 13, 5, 6, 0, time.UTC)

func ours(t testing.TB) mail.DSN {
	t.Helper()
	original, err := mail.ReadHeader(bufio.NewReader(strings.NewReader("From: bau@bl.example\r\nMessage-ID: <client@bl.example>\r\n\r\n")), 1000)
	if err != nil {
		t.Fatal(err)
	}
	return mail.DSN{
		Letter: mail.Letter{ID: message.ID{1}, Host: "gw.bl.example", To: message.Address{Local: "bau", Domain: "bl.example"}, Date: testTime},
		EnvID:  "QQ314159", Class: message.Normal, Original: original,
		Recipients: []mail.DSNRecipient{
			{
				Address: message.Address{Local: "x", Domain: "y.ch"}, ORcpt: "rfc822;x@y.ch", Action: mail.ActionFailed, Status: "5.1.1", RemoteMTA: "mx.y.ch",
				Diagnostic: "550 5.1.1 unknown user", LastAttempt: testTime,
			},
			{Address: message.Address{Local: "jürg+a", Domain: "bücher.example"}, Action: mail.ActionDelayed},
			{Address: message.Address{Local: "z z", Domain: "y.ch"}, Action: mail.ActionRelayed},
		},
	}
}

func TestReadOurs(t *testing.T) {
	raw, err := mail.ComposeDSN(ours(t))
	if err != nil {
		t.Fatal(err)
	}
	rep, ok := read(t, string(raw))
	if !ok || len(rep.Recipients) != 3 || !rep.Structured {
		t.Fatalf("%v, %+v", ok, rep)
	}
	want := bounce.Recipient{
		Address: message.Address{Local: "x", Domain: "y.ch"}, Original: message.Address{Local: "x", Domain: "y.ch"},
		Action: bounce.Failed, Status: "5.1.1", Reply: 550, Permanent: true, Reason: bounce.UserUnknown, RemoteMTA: "mx.y.ch", Diagnostic: "550 5.1.1 unknown user",
	}
	got := rep.Recipients[0]
	if !got.At.Equal(testTime) {
		t.Errorf("at %s", got.At)
	}
	got.At = time.Time{}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if r := rep.Recipients[1]; r.Address.Local != "jürg+a" || r.Action != bounce.Delayed || r.Status != "4.0.0" || r.Permanent {
		t.Errorf("%+v", r)
	}
	if r := rep.Recipients[2]; r.Address.Local != "z z" || r.Action != bounce.Relayed || r.Status != "2.0.0" || r.Permanent || r.Reason != "" {
		t.Errorf("%+v", r)
	}
	if rep.EnvID != "QQ314159" || rep.ReportingMTA != "gw.bl.example" || rep.Original.Get("Message-ID") != "<client@bl.example>" {
		t.Errorf("%+v", rep)
	}
}

// The fields of RFC 3464, well and badly written.
func TestFields(t *testing.T) {
	const addr = "Final-Recipient: rfc822; a@b.ch\n"
	tests := []struct{ name, fields, want string }{
		{"plain", addr + "Action: failed\nStatus: 5.2.2\n", "a@b.ch failed 5.2.2 0 mailbox_full"},
		{"comments", addr + "Action: failed (bad)\nStatus: 5.1.1 (user unknown)\n", "a@b.ch failed 5.1.1 0 user_unknown"},
		{"upper case", "FINAL-RECIPIENT: RFC822;<a@b.ch>\nACTION: Failed\nSTATUS: 5.1.1\n", "a@b.ch failed 5.1.1 0 user_unknown"},
		{"delayed", addr + "Action: delayed\nStatus: 4.4.1\nDiagnostic-Code: smtp; connection timed out\n", "a@b.ch delayed 4.4.1 0 network"},
		{"delayed, permanent status", addr + "Action: delayed\nStatus: 5.0.0\n", "a@b.ch delayed 4.0.0 0 undefined"},
		{"lowered to try other hosts", addr + "Action: failed\nStatus: 4.7.1\nDiagnostic-Code: smtp; 554 5.7.1 refused\n", "a@b.ch failed 5.7.1 554 policy"},
		{"lowered, still tried", addr + "Action: delayed\nStatus: 4.7.1\nDiagnostic-Code: smtp; 554 5.7.1 refused\n", "a@b.ch delayed 4.7.1 554 policy"},
		{"other codes", addr + "Action: failed\nStatus: 4.4.1\nDiagnostic-Code: smtp; 554 5.7.1 refused\n", "a@b.ch failed 4.4.1 554 policy"},
		{"raised by the reporter", addr + "Action: failed\nStatus: 5.2.2\nDiagnostic-Code: smtp; 452 4.2.2 full\n", "a@b.ch failed 5.2.2 452 mailbox_full"},
		{"delayed, but expired", addr + "Action: delayed\nStatus: 4.4.7\nDiagnostic-Code: x; Envelope expired\n", "a@b.ch failed 5.4.7 0 expired"},
		{"delayed, expires later", addr + "Action: delayed\nStatus: 4.4.7\nDiagnostic-Code: smtp;400 4.4.7 Message delayed\n", "a@b.ch delayed 4.4.7 0 expired"},
		{"no action, but will retry", addr + "Status: 4.4.1\nWill-Retry-Until: Thu, 26 Nov 2026 14:05:06 +0100\n", "a@b.ch delayed 4.4.1 0 network"},
		{"no code, but words", addr + "Action: failed\nDiagnostic-Code: smtp; temporary failure in name resolution\n", "a@b.ch failed 4.0.0 0 system"},
		{"gave up on a temporary cause", addr + "Action: failed\nStatus: 4.4.7\n", "a@b.ch failed 4.4.7 0 expired"},
		{"delivered", addr + "Action: delivered\nStatus: 2.0.0\n", "a@b.ch delivered 2.0.0 0 "},
		{"relayed", addr + "Action: relayed\n", "a@b.ch relayed 2.0.0 0 "},
		{"expanded", addr + "Action: expanded (to list)\nStatus: 2.0.0\n", "a@b.ch expanded 2.0.0 0 "},
		{"vague status, clear diagnostic", addr + "Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 552 5.2.2 quota exceeded\n", "a@b.ch failed 5.2.2 552 mailbox_full"},
		{"no status", addr + "Action: failed\nDiagnostic-Code: smtp; 451 try later\n", "a@b.ch failed 4.0.0 451 system"},
		{"no status, no code", addr + "Action: failed\n", "a@b.ch failed 5.0.0 0 undefined"},
		{"no action", addr + "Status: 5.1.2\n", "a@b.ch failed 5.1.2 0 host_unknown"},
		{"blank line between", addr + "\nAction: failed\nStatus: 5.1.1\n", "a@b.ch failed 5.1.1 0 user_unknown"},
		{"no blank line between", addr + "Action: failed\nStatus: 5.1.1\nFinal-Recipient: rfc822; c@d.ch\nAction: failed\nStatus: 5.2.2\n", "a@b.ch failed 5.1.1 0 user_unknown; c@d.ch failed 5.2.2 0 mailbox_full"},
		{"folded without indent", addr + "Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550\n5.1.1 user unknown\n", "a@b.ch failed 5.1.1 550 user_unknown"},
		{"original only", "Original-Recipient: rfc822; o@b.ch\nAction: failed\nStatus: 5.1.1\n", "o@b.ch failed 5.1.1 0 user_unknown"},
		{"x.400 final", "Final-Recipient: x400; /S=x/\nOriginal-Recipient: rfc822; o@b.ch\nAction: failed\nStatus: 5.1.1\n", "o@b.ch failed 5.1.1 0 user_unknown"},
		{"eai", "Final-Recipient: utf-8; j\\x{FC}rg@b.ch\nAction: failed\nStatus: 5.1.1\n", "jürg@b.ch failed 5.1.1 0 user_unknown"},
		{"no fields", "hello\n", ""},
		{"message only", "Reporting-MTA: dns; x\n", ""},
	}
	for _, tt := range tests {
		msg := "From: a@x.example\nSubject: x\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nsomething\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\n" + tt.fields + "\n--b--\n"
		rep, ok := read(t, msg)
		if got := tell(rep); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %v %q, want %q", tt.name, ok, got, tt.want)
		}
	}
}

// Mail that looks like a bounce to a hasty reader.
func TestNoBounce(t *testing.T) {
	tests := []struct{ name, head, body string }{
		{"ordinary", "From: a@b.ch\nSubject: Hello\n", "How are you?\n"},
		{"fields in a letter", "From: a@b.ch\nSubject: hello\n", "Final-Recipient: rfc822; a@b.ch\nAction: failed\n"},
		{"forwarded by a colleague", "From: a@b.ch\nSubject: Fwd: Undelivered Mail Returned to Sender\n", "What is this?\n\n<x@r.example>: host mx said: 550 5.1.1 User unknown\n"},
		{"parcel", "From: noreply@post.example\nSubject: Your parcel could not be delivered\n", "We were unable to deliver your parcel. Write to help@post.example\n"},
		{"out of office", "From: postmaster@b.ch\nSubject: Out of office: Undeliverable\nAuto-Submitted: auto-replied\n", "I could not be reached. Write to c@d.ch\n"},
		{"automatic reply", "From: Mail Delivery <a@b.ch>\nSubject: Automatic reply: Letter\n", "Your message was not delivered to a person. c@d.ch\n"},
		{"letter of the postmaster", "From: postmaster@b.ch\nSubject: Maintenance on Sunday\n", "Mail will arrive late. Questions: help@b.ch\n"},
		{"quota warning", "From: postmaster@b.ch\nSubject: Your mailbox\n", "The mailbox is full to 90 %: a@b.ch\n"},
		{"trouble of the administrator", "From: Mail Delivery System <Mailer-Daemon@b.ch>\nSubject: error(s) in forwarding or filtering\nReturn-Path: <>\n", "References: <E10@b.ch>\nA router encountered errors:\n\n  domain missing or malformed\n\nNo valid addresses were generated: delivery failed.\n"},
		{"bounce without recipient", "From: MAILER-DAEMON@b.ch\nSubject: failure notice\n", "Your message could not be delivered.\n"},
		{"read receipt", "From: a@b.ch\nSubject: Read: x\nContent-Type: multipart/report; report-type=disposition-notification; boundary=b\n", "--b\n\nread\n--b\nContent-Type: message/disposition-notification\n\nFinal-Recipient: rfc822; a@b.ch\nDisposition: manual-action/MDN-sent-manually; displayed\n--b--\n"},
		{"complaint", "From: a@b.ch\nSubject: x\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n", "--b\n\nabuse\n--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n--b\nContent-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a@b.ch\nAction: failed\nStatus: 5.0.0\n--b--\n"},
		{"bounce as attachment", "From: a@b.ch\nSubject: look\nContent-Type: multipart/mixed; boundary=b\n", "--b\n\nlook\n--b\nContent-Type: message/rfc822\n\nContent-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a@b.ch\nAction: failed\nStatus: 5.0.0\n--b--\n"},
		{"json", "From: no-reply@sns.example\nSubject: x\n", `{"notificationType":"Complaint","complaint":{}}`},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		if rep, ok := read(t, tt.head+"\n"+tt.body); ok {
			t.Errorf("%s: %s", tt.name, tell(rep))
		}
	}
	if _, ok := bounce.Read(nil); ok {
		t.Error("nothing is a bounce")
	}
}

func TestNotification(t *testing.T) {
	const head = "From: no-reply@sns.example\nSubject: AWS Notification Message\n\n"
	tests := []struct{ name, body, want string }{
		{"bounce", `{"notificationType":"Bounce","bounce":{"bounceType":"Permanent","bouncedRecipients":[{"emailAddress":"x@r.example","action":"failed","status":"5.1.1","diagnosticCode":"smtp; 550 5.1.1 user unknown"}],"reportingMTA":"dsn; a.example"}}`, "x@r.example failed 5.1.1 550 user_unknown"},
		{"transient", `{"notificationType":"Bounce","bounce":{"bounceType":"Transient","bouncedRecipients":[{"emailAddress":"x@r.example"}]}}`, "x@r.example failed 4.0.0 0 undefined"},
		{"delivery", `{"eventType":"Delivery","delivery":{"recipients":["x@r.example"],"smtpResponse":"250 2.6.0 Message received"}}`, "x@r.example delivered 2.6.0 250 "},
		{"wrapped", `{"Type":"Notification","Message":"{\"notificationType\":\"Bounce\",\"bounce\":{\"bouncedRecipients\":[{\"emailAddress\":\"x@r.example\",\"status\":\"5.2.2\"}]}}"} and more`, "x@r.example failed 5.2.2 0 mailbox_full"},
		{"delay", `{"eventType":"DeliveryDelay","deliveryDelay":{"delayedRecipients":[{"emailAddress":"x@r.example","status":"4.4.1","diagnosticCode":"smtp; 421 4.4.1 Unable to connect"}]}}`, "x@r.example delayed 4.4.1 421 network"},
		{"bad json", `{"notificationType":"Bounce",`, ""},
		{"bad address", `{"notificationType":"Bounce","bounce":{"bouncedRecipients":[{"emailAddress":"nobody"}]}}`, ""},
	}
	for _, tt := range tests {
		rep, ok := read(t, head+tt.body)
		if got := tell(rep); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %v %q, want %q", tt.name, ok, got, tt.want)
		}
	}
}

// Hostile reports are read in bounded time and give bounded results.
// used is the processor time of this process: a busy machine does not change it.
func used(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestBounds(t *testing.T) {
	const head = "From: MAILER-DAEMON@x.example\nSubject: failure notice\n"
	many := func(line string, n int) string { return strings.Repeat(line, n) }
	var distinct, groups strings.Builder
	for i := range 5_000 {
		distinct.WriteString("<a" + itoa(i) + "@b.ch>:\n550 no\n")
		groups.WriteString("Final-Recipient: rfc822; a" + itoa(i) + "@b.ch\nAction: failed\n\n")
	}
	for name, msg := range map[string]string{
		"recipients": head + "\nwas not delivered\n" + distinct.String(),
		"same":       head + "\nwas not delivered\n" + many("<a@b.ch>: 550 no\n", 10_000),
		"groups":     head + "Content-Type: message/delivery-status\n\n" + groups.String(),
		"fields":     head + "Content-Type: message/delivery-status\n\n" + many("Final-Recipient: rfc822; a@b.ch\n", 100_000),
		"one field":  head + "Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a@b.ch\nAction: failed\nDiagnostic-Code: x" + many("\n y", 50_000),
		"markers":    head + "\nwas not delivered\n" + many("--- Original message follows\nReceived: x\n y\n", 20_000),
		"codes":      head + "\nwas not delivered to a@b.ch\n" + many("550-", 50_000),
		"at signs":   head + "\nwas not delivered\n" + many("a@", 50_000),
		"long line":  head + "\nwas not delivered " + many("x", 500_000),
		"html":       head + "Content-Type: text/html\n\n" + many("<a <style ", 50_000),
		"json":       head + "\n" + many("{\"a\":", 50_000),
		"sections":   head + "Content-Type: multipart/mixed; boundary=b\n\n" + many("--b\n\nwas not delivered a@b.ch\n", 1_000),
	} {
		start := used(t)
		rep, _ := read(t, msg)
		if d := used(t) - start; d > 30*time.Second { // the race detector slows it tenfold
			t.Errorf("%s: %d octets took %s", name, len(msg), d)
		}
		if len(rep.Recipients) > 1000 {
			t.Errorf("%s: %d recipients", name, len(rep.Recipients))
		}
		for _, r := range rep.Recipients {
			if len(r.Diagnostic) > 1000 {
				t.Fatalf("%s: diagnostic of %d octets", name, len(r.Diagnostic))
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	raw, err := mail.ComposeDSN(ours(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	systems, err := filepath.Glob(filepath.Join("testdata", "systems", "*.eml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range systems {
		if raw, err = os.ReadFile(path); err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte("Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nFinal-Recipient: utf-8; \\x{E4}@b.ch\nAction: failed (x)\nStatus: 5.0.0 (y)\n\n\n\nAction: x\n"))
	f.Add([]byte("From: MAILER-DAEMON@x\nSubject: failure notice\n\n<a@b.ch>:\nRemote host said: 550 5.1.1 User Unknown\n\n--- Below this line is a copy of the message.\n\nReceived: x\nFrom: a@b\nTo: c@d\n"))
	f.Add([]byte("From: <>\nX-Failed-Recipients: a@b.ch\n\n>>> RCPT TO:<a@b.ch>\n<<< 451 later\n"))
	f.Add([]byte("From: x\n\n{\"notificationType\":\"Bounce\",\"bounce\":{\"bouncedRecipients\":[{\"emailAddress\":\"a@b.ch\"}]}}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		sections, err := parts.Sections(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		rep, ok := bounce.Read(sections)
		if ok != (len(rep.Recipients) > 0) {
			t.Fatalf("report %v with %d recipients", ok, len(rep.Recipients))
		}
		for _, r := range rep.Recipients {
			if strings.ContainsAny(r.Diagnostic+r.Status, "\r\n\x00") || !mail.IsStatus(r.Status) || r.Permanent != (r.Status[0] == '5') {
				t.Fatalf("%+v", r)
			}
		}
	})
}
