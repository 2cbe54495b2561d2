package mail

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
)

var testTime = time.Date(2026, 11, 23, 13, 5, 6, 0, time.UTC)

func testLetter() Letter {
	return Letter{
		ID: message.ID{1}, Host: "gw.bl.example", To: message.Address{Local: "bau", Domain: "bl.example"}, Date: testTime,
		InReplyTo: "<client@bl.example>", About: message.ID{2},
	}
}

func testDSN(t testing.TB) DSN {
	return DSN{
		Letter: testLetter(), EnvID: "QQ314159", Arrival: testTime.Add(-time.Hour), Class: message.Normal,
		Original: read(t, "Received: by x\r\nFrom: bau@bl.example\r\nTo: x@y.ch\r\nBcc: geheim@y.ch\r\nSubject: =?utf-8?q?Planted=5Fsubject?=\r\nX-Roh: \xe4\r\nodd line\r\nMessage-ID: <client@bl.example>\r\n\r\n"),
		Recipients: []DSNRecipient{{
			Address: message.Address{Local: "x", Domain: "y.ch"}, ORcpt: "rfc822;x@y.ch", Action: ActionFailed, Status: "5.1.1", RemoteMTA: "mx.y.ch",
			Diagnostic: "550 5.1.1 unknown user", LastAttempt: testTime, Cause: Text{"Empfänger unbekannt", "recipient unknown"},
		}},
	}
}

// readReport takes a report apart with the standard library.
func readReport(t *testing.T, raw []byte) (netmail.Header, []string, []string) {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	typ, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || typ != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("%s %v %v", typ, params, err)
	}
	var types, bodies []string
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return m.Header, types, bodies
		}
		if err != nil {
			t.Fatal(err)
		}
		var body io.Reader = p
		if p.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
			body = quotedprintable.NewReader(p)
		}
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		typ, _, _ := strings.Cut(p.Header.Get("Content-Type"), ";")
		types, bodies = append(types, typ), append(bodies, string(text))
	}
}

func TestComposeDSN(t *testing.T) {
	raw, err := ComposeDSN(testDSN(t))
	if err != nil {
		t.Fatal(err)
	}
	again, _ := ComposeDSN(testDSN(t))
	if !bytes.Equal(raw, again) {
		t.Error("not deterministic")
	}
	checkWire(t, raw)
	h, types, bodies := readReport(t, raw)
	if got := strings.Join(types, " "); got != "text/plain message/delivery-status text/rfc822-headers" {
		t.Errorf("parts %s", got)
	}
	for name, want := range map[string]string{
		"From": "gatewayd <postmaster@gw.bl.example>", "To": "<bau@bl.example>", "Auto-Submitted": "auto-replied", "In-Reply-To": "<client@bl.example>",
		"Date": "Mon, 23 Nov 2026 13:05:06 +0000", "Message-Id": MessageID(message.ID{1}, "gw.bl.example"),
		"Subject": "Nicht zugestellt / Not delivered (" + message.ID{2}.String() + ")",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, want := range []string{"Grund: Empfänger unbekannt", "Cause: recipient unknown", "Nächster Schritt: ", "Next step: ", "550 5.1.1 unknown user", "x@y.ch"} {
		if !strings.Contains(bodies[0], want) {
			t.Errorf("text lacks %q:\n%s", want, bodies[0])
		}
	}
	wantStatus := "Original-Envelope-Id: QQ314159\r\nReporting-MTA: dns; gw.bl.example\r\nArrival-Date: Mon, 23 Nov 2026 12:05:06 +0000\r\n\r\n" +
		"Original-Recipient: rfc822;x@y.ch\r\nFinal-Recipient: rfc822; x@y.ch\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.y.ch\r\n" +
		"Diagnostic-Code: smtp; 550 5.1.1 unknown user\r\nLast-Attempt-Date: Mon, 23 Nov 2026 13:05:06 +0000\r\n"
	if bodies[1] != wantStatus {
		t.Errorf("status:\n%s\nwant\n%s", bodies[1], wantStatus)
	}
	wantHeader := "Received: by x\r\nFrom: bau@bl.example\r\nTo: x@y.ch\r\nSubject: =?utf-8?q?Planted=5Fsubject?=\r\nX-Roh: \xe4\r\nMessage-ID: <client@bl.example>\r\n"
	if strings.TrimRight(bodies[2], "\r\n") != strings.TrimRight(wantHeader, "\r\n") {
		t.Errorf("returned header:\n%q\nwant\n%q", bodies[2], wantHeader)
	}
}

// checkWire: what we write is 7-bit, with CRLF, in lines that may travel.
func checkWire(t testing.TB, raw []byte) {
	t.Helper()
	if !isASCII(string(raw)) {
		t.Error("not 7-bit")
	}
	for _, line := range strings.SplitAfter(string(raw), "\r\n") {
		if len(line) > maxLine+2 || strings.ContainsAny(strings.TrimSuffix(line, "\r\n"), "\r\n\x00") {
			t.Errorf("bad line %.60q", line)
		}
	}
}

func TestDSNOfSecretClassesTellsNoSubject(t *testing.T) {
	for _, c := range message.Classes() {
		d := testDSN(t)
		d.Class = c
		d.Original = read(t, "From: bau@bl.example\r\nSubject: Planted_subject\r\nThread-Topic: Planted_subject\r\nKeywords: Planted_subject\r\nContent-Type: application/pdf; name=Planted_subject.pdf\r\nMessage-ID: <client@bl.example>\r\n\r\n")
		raw, err := ComposeDSN(d)
		if err != nil {
			t.Fatal(err)
		}
		secret := c.MustEncrypt() || c == message.Private
		if got := bytes.Contains(raw, []byte("Planted_subject")); got == secret {
			t.Errorf("class %s: subject in the report: %v", c, got)
		}
		if !bytes.Contains(raw, []byte("Message-ID: <client@bl.example>\r\n")) {
			t.Errorf("class %s: the message is not named", c)
		}
	}
}

func TestComposeDSNHostile(t *testing.T) {
	d := testDSN(t)
	d.EnvID, d.Host = "a\r\nBcc: x", "host\r\nX: y"
	d.InReplyTo = "<a>\r\nBcc: x"
	d.Recipients[0].Diagnostic = "550 ä\r\nAction: delivered\x00" + strings.Repeat("y", 5000)
	d.Recipients[0].Cause = Text{"böse\r\n\r\n--report", ""}
	d.Recipients[0].ORcpt = "rfc822;\r\nX: y"
	d.Recipients[0].Status = "9.9\r\nX: y"
	d.Recipients[0].RemoteMTA = "mx\r\nX: y"
	d.Boundary = "b\"\r\nX: y"
	d.Original = read(t, "Subject: a\rb\x00c\nX: "+strings.Repeat("z", 3000)+"\n\n")
	raw, err := ComposeDSN(d)
	if err != nil {
		t.Fatal(err)
	}
	checkWire(t, raw)
	h, types, bodies := readReport(t, raw)
	if h.Get("Bcc") != "" || h.Get("X") != "" || len(types) != 3 {
		t.Errorf("injected: %v, %v", h, types)
	}
	if n := strings.Count(bodies[1], "\r\nAction: "); n != 1 || !strings.Contains(bodies[1], "\r\nStatus: 5.0.0\r\n") {
		t.Errorf("status part:\n%s", bodies[1])
	}
	d.To = message.Address{}
	if _, err := ComposeDSN(d); err == nil {
		t.Error("a report to the null path")
	}
	if _, err := ComposeDSN(DSN{Letter: testLetter()}); err == nil {
		t.Error("a report about nobody")
	}
}

func TestComposeNotice(t *testing.T) {
	for _, topic := range []Topic{TopicHeld, TopicReturned, TopicOverdue, TopicUnclear, TopicForged, TopicUnfiled, TopicExpired} {
		n := Notice{
			Letter: testLetter(), Topic: topic, Recipient: message.Address{Local: "x", Domain: "y.ch"}, Reference: "BL-7F3K9Q2M",
			Cause: Text{"kein Schlüssel für den Empfänger\r\nBcc: x", "no key for the recipient"},
		}
		raw, err := ComposeNotice(n)
		if err != nil {
			t.Fatal(err)
		}
		checkWire(t, raw)
		m, err := netmail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("Auto-Submitted") != "auto-generated" || m.Header.Get("Bcc") != "" {
			t.Errorf("%s: %v", topic, m.Header)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		if err != nil {
			t.Fatal(err)
		}
		texts := topic.texts()
		for _, want := range []string{texts.what.DE, texts.what.EN, texts.next.DE, texts.next.EN, "Grund: kein Schlüssel", "Cause: no key", "Referenz: BL-7F3K9Q2M", "Recipient: x@y.ch"} {
			if !strings.Contains(string(body), want) {
				t.Errorf("%s lacks %q:\n%s", topic, want, body)
			}
		}
	}
	n := Notice{Letter: testLetter(), Topic: TopicHeld, Next: Text{"Anders.", "Otherwise."}}
	n.From = message.Address{Local: "mailadmin", Domain: "bl.example"}
	raw, err := ComposeNotice(n)
	if err != nil || !bytes.Contains(raw, []byte("Next step: Otherwise.")) || !bytes.Contains(raw, []byte("From: gatewayd <mailadmin@bl.example>")) {
		t.Errorf("%s %v", raw, err)
	}
	n.To = message.Address{}
	if _, err := ComposeNotice(n); err == nil {
		t.Error("a notice to the null path")
	}
}
