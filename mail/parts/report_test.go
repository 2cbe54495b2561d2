package parts

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"time"

	"gatewayd/mail"
	"gatewayd/message"
)

var testTime = time.Date(2026, 11, 23, 13, 5, 6, 0, time.UTC)

func testDSN(t testing.TB) mail.DSN {
	t.Helper()
	original, err := mail.ReadHeader(bufio.NewReader(strings.NewReader("From: bau@bl.example\r\nMessage-ID: <client@bl.example>\r\n\r\n")), 1000)
	if err != nil {
		t.Fatal(err)
	}
	return mail.DSN{
		Letter: mail.Letter{ID: message.ID{1}, Host: "gw.bl.example", To: message.Address{Local: "bau", Domain: "bl.example"}, Date: testTime},
		EnvID:  "QQ314159", Class: message.Normal, Original: original,
		Recipients: []mail.DSNRecipient{{
			Address: message.Address{Local: "x", Domain: "y.ch"}, ORcpt: "rfc822;x@y.ch", Action: mail.ActionFailed, Status: "5.1.1", RemoteMTA: "mx.y.ch",
			Diagnostic: "550 5.1.1 unknown user", LastAttempt: testTime,
		}},
	}
}

func TestReadDSNOfOurs(t *testing.T) {
	d := testDSN(t)
	d.Recipients = append(d.Recipients,
		mail.DSNRecipient{Address: message.Address{Local: "jürg+a", Domain: "bücher.example"}, Action: mail.ActionDelayed, Status: "5.1.1"},
		mail.DSNRecipient{Address: message.Address{Local: "z z", Domain: "y.ch"}, Action: mail.ActionRelayed})
	raw, err := mail.ComposeDSN(d)
	if err != nil {
		t.Fatal(err)
	}
	rep, ok, err := ReadDSN(bytes.NewReader(raw), int64(len(raw)))
	if err != nil || !ok || len(rep.Recipients) != 3 {
		t.Fatalf("%+v, %v, %v", rep, ok, err)
	}
	want := ReportRecipient{
		Final: message.Address{Local: "x", Domain: "y.ch"}, Original: message.Address{Local: "x", Domain: "y.ch"},
		Action: "failed", Status: "5.1.1", RemoteMTA: "mx.y.ch", Diagnostic: "550 5.1.1 unknown user",
	}
	got := rep.Recipients[0]
	if !got.At.Equal(testTime) {
		t.Errorf("at %s", got.At)
	}
	got.At = time.Time{}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for i, action := range []string{"failed", "delayed", "relayed"} {
		r := rep.Recipients[i]
		if r.Final != d.Recipients[i].Address || r.Action != action {
			t.Errorf("recipient %d: %+v", i, r)
		}
	}
	if rep.Recipients[1].Status != "4.0.0" || rep.Recipients[2].Status != "2.0.0" {
		t.Errorf("statuses %q, %q", rep.Recipients[1].Status, rep.Recipients[2].Status)
	}
	if rep.EnvID != "QQ314159" || rep.ReportingMTA != "gw.bl.example" || rep.Original.Get("Message-ID") != "<client@bl.example>" {
		t.Errorf("%+v", rep)
	}
}

func TestReadDSNOfOthers(t *testing.T) {
	const msg = "Subject: hello\r\nContent-Type: text/plain\r\n\r\nFinal-Recipient: rfc822; a@b\r\n"
	if _, ok, err := ReadDSN(strings.NewReader(msg), int64(len(msg))); ok || err != nil {
		t.Errorf("an ordinary mail is a report: %v, %v", ok, err)
	}
	files, reports, failed, addressed := 0, 0, 0, 0
	corpus(t, "dsn-sisimai", func(path string, raw []byte) {
		if !strings.HasSuffix(path, ".eml") {
			return
		}
		files++
		rep, ok, err := ReadDSN(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if !ok {
			if bytes.Contains(bytes.ToLower(raw), []byte("content-type: message/delivery-status")) && bytes.Contains(raw, []byte("\nAction: ")) {
				t.Logf("%s: status part not read", path)
			}
			return
		}
		reports++
		for _, r := range rep.Recipients {
			if r.Action == "failed" {
				failed++
			}
			if !r.Final.IsNull() {
				addressed++
			}
		}
	})
	t.Logf("%d files, %d reports, %d failed, %d with address", files, reports, failed, addressed)
	if reports < 100 || failed < 100 || addressed < 100 {
		t.Errorf("%d files, %d reports, %d failed, %d with address", files, reports, failed, addressed)
	}
}

func FuzzReadDSN(f *testing.F) {
	raw, err := mail.ComposeDSN(testDSN(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte("Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nFinal-Recipient: utf-8; \\x{E4}@b.ch\nAction: failed (x)\nStatus: 5.0.0 (y)\n\n\n\nAction: x\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rep, ok, err := ReadDSN(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return // the returned header may be too long
		}
		if ok != (len(rep.Recipients) > 0) {
			t.Fatalf("report %v with %d recipients", ok, len(rep.Recipients))
		}
		for _, r := range rep.Recipients {
			if strings.ContainsAny(r.Diagnostic+r.Status, "\r\n\x00") {
				t.Fatalf("%+v", r)
			}
		}
	})
}
