package connectors_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"gatewayd/connectors"
	"gatewayd/connectors/connectortest"
	"gatewayd/mail"
	"gatewayd/message"
	"gatewayd/policy"
)

func platform() connectors.Form {
	return connectors.Form{
		Host: "gateway.bl.example",
		Marks: map[message.Class]connectors.Mark{
			message.Registered: {Tag: "<r>"}, message.Confidential: {Tag: "<c>"},
		},
		Vocabulary: policy.DefaultVocabulary(),
	}
}

func letter(class message.Class, subject string) connectors.Handover {
	return connectortest.With(class, connectortest.Header(subject)+"Inhalt\r\n")
}

func subjectOf(t *testing.T, out connectors.Outgoing) string {
	t.Helper()
	_, after, ok := strings.Cut(string(out.Mail.Header), "\r\nSubject: ")
	if !ok {
		t.Fatalf("no subject in %q", out.Mail.Header)
	}
	var b strings.Builder
	for i, line := range strings.Split(after, "\r\n") {
		if i > 0 && !strings.HasPrefix(line, " ") {
			break
		}
		b.WriteString(line)
	}
	return b.String()
}

func TestBuildSubject(t *testing.T) {
	for _, c := range []struct {
		class    message.Class
		in, want string
	}{
		{message.Registered, "Entscheid", "<r> [BL-7F3K9Q2M] Entscheid"},
		{message.Registered, "[einschreiben] Entscheid", "<r> [BL-7F3K9Q2M] Entscheid"},
		{message.Registered, "<r> Entscheid", "<r> [BL-7F3K9Q2M] Entscheid"},
		{message.Registered, "Verfügung", "<r> [BL-7F3K9Q2M] =?UTF-8?Q?Verf=C3=BCgung?="},
		{message.Registered, "", "<r> [BL-7F3K9Q2M]"},
		{message.Registered, "Re: <r> Anfrage", "<r> [BL-7F3K9Q2M] Re: (r) Anfrage"},
		{message.Registered, "AW: <nomuc> eLs!: Anfrage", "<r> [BL-7F3K9Q2M] AW: (nomuc) eLs.: Anfrage"},
		{message.Registered, "<a<b<c>d>", "<r> [BL-7F3K9Q2M] (a(b(c)d>"},
		{message.Confidential, "Akten", "<c> [BL-7F3K9Q2M] Akten"},
	} {
		out, err := platform().Build(letter(c.class, c.in))
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if got := subjectOf(t, out); got != c.want {
			t.Errorf("%q leaves as %q, want %q", c.in, got, c.want)
		}
	}
}

// TestBuildKeepsTheRest compares field by field: only what must change has.
func TestBuildKeepsTheRest(t *testing.T) {
	h := letter(message.Registered, "Entscheid")
	out, err := platform().Build(h)
	if err != nil {
		t.Fatal(err)
	}
	want := "Received: from pc by gateway.bl.example with ESMTPSA id " + h.Envelope.ID.String() + ";\r\n\tMon, 23 Nov 2026 14:05:06 +0100\r\n" +
		strings.NewReplacer(
			"Bcc: heimlich@example.ch\r\n", "",
			"Subject: Entscheid", "Subject: <r> [BL-7F3K9Q2M] Entscheid",
			"<abc.1@client.bl.example>", "<"+h.Envelope.ID.String()+".1@gateway.bl.example>",
		).Replace(connectortest.Header("Entscheid"))
	if got := string(out.Mail.Header); got != want {
		t.Errorf("header leaves as\n%q, want\n%q", got, want)
	}
	if out.SentAs != "<"+h.Envelope.ID.String()+".1@gateway.bl.example>" {
		t.Errorf("SentAs = %q", out.SentAs)
	}
}

func TestBuildKeepsTheMessageID(t *testing.T) {
	out, err := platform().Build(letter(message.Confidential, "Akten"))
	if err != nil || out.SentAs != "<abc.1@client.bl.example>" {
		t.Errorf("SentAs = %q, %v, want the client's own", out.SentAs, err)
	}
	h := connectortest.With(message.Confidential, "From: a@bl.example\r\n\r\nx")
	first, err := platform().Build(h)
	if err != nil {
		t.Fatal(err)
	}
	again, err := platform().Build(h)
	if err != nil || first.SentAs == "" || first.SentAs != again.SentAs {
		t.Errorf("a second attempt leaves as %q, the first as %q (%v)", again.SentAs, first.SentAs, err)
	}
}

func TestBuildRefuses(t *testing.T) {
	head := connectortest.Header("Brief")
	edit := func(f func(*connectors.Handover)) connectors.Handover {
		h := connectortest.With(message.Registered, head+"x\r\n")
		f(&h)
		return h
	}
	raw := func(msg string) connectors.Handover { return connectortest.With(message.Registered, msg) }
	for name, h := range map[string]connectors.Handover{
		"class not carried":     edit(func(h *connectors.Handover) { h.Item.Decision.Class = message.Normal }),
		"class unknown":         edit(func(h *connectors.Handover) { h.Item.Decision.Class = "" }),
		"decision names other":  edit(func(h *connectors.Handover) { h.Item.Decision.Tag = "<c> " }),
		"no reference":          edit(func(h *connectors.Handover) { h.Item.Reference = "" }),
		"odd reference":         edit(func(h *connectors.Handover) { h.Item.Reference = "BL] <c> [" }),
		"long reference":        edit(func(h *connectors.Handover) { h.Item.Reference = strings.Repeat("B", 31) }),
		"null sender":           edit(func(h *connectors.Handover) { h.From = message.Address{} }),
		"debug string":          letter(message.Registered, "x dump4DebugT0f!l3: y"),
		"hidden debug string":   letter(message.Registered, "=?UTF-8?B?ZHVtcDREZWJ1Z1QwZiFsMzo=?="),
		"trace field injection": edit(func(h *connectors.Handover) { h.Received = "Received: x\r\nSubject: y" }),
		"not a trace field":     edit(func(h *connectors.Handover) { h.Received = "hello" }),
		"two from":              raw("From: evil@example.ch\r\n" + head + "x"),
		"no from":               raw("Subject: x\r\n\r\n"),
		"line that is no field": raw("hello\r\n" + head + "x"),
		"bare LF in the header": raw("From: a@b.example\r\nX: 1\nSubject: x\r\n\r\n"),
		"continues nothing":     raw(" x\r\n" + head),
		"header too long":       raw("From: a@b.example\r\n" + strings.Repeat("X-Long: "+strings.Repeat("y", 900)+"\r\n", 300) + "\r\n"),
	} {
		if _, err := platform().Build(h); err == nil || connectors.KindOf(err) != connectors.Permanent {
			t.Errorf("%s: error %v, want a permanent one", name, err)
		}
	}
}

func TestBuildRemovesCommands(t *testing.T) {
	h := connectortest.With(message.Confidential, "X-PSPH-REGISTERED-REQUEST: 1\r\nx-incamail-type: c\r\nX-Psph-Foo : 2\r\n"+connectortest.Header("Brief")+"x")
	out, err := platform().Build(h)
	if err != nil {
		t.Fatal(err)
	}
	if low := bytes.ToLower(out.Mail.Header); bytes.Contains(low, []byte("x-psph")) || bytes.Contains(low, []byte("x-incamail")) {
		t.Errorf("a command is still there: %q", out.Mail.Header)
	}
}

func TestBuildByHeader(t *testing.T) {
	f := platform()
	f.Marks = map[message.Class]connectors.Mark{message.Registered: {Field: "X-PSPH-REGISTERED-REQUEST", Value: "true"}}
	h := connectortest.With(message.Registered, "X-PSPH-REGISTERED-REQUEST: forged\r\n"+connectortest.Header("eLs!: Brief")+"x")
	out, err := f.Build(h)
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(out.Mail.Header, []byte("X-PSPH-REGISTERED-REQUEST: true\r\n")); got != 1 {
		t.Errorf("%d fields tell the class, want 1: %q", got, out.Mail.Header)
	}
	if got := subjectOf(t, out); got != "[BL-7F3K9Q2M] eLs.: Brief" {
		t.Errorf("subject %q", got)
	}
}

func TestBuildWithoutBody(t *testing.T) {
	for _, end := range []string{"", "\r\n", "\r\n\r\n"} {
		out, err := platform().Build(connectortest.With(message.Registered, "From: a@bl.example\r\nSubject: x"+end))
		if err != nil {
			t.Errorf("%q: %v", end, err)
			continue
		}
		if !bytes.HasSuffix(out.Mail.Header, []byte("\r\n\r\n")) || bytes.Count(out.Mail.Header, []byte("\r\n\r\n")) != 1 {
			t.Errorf("%q: header %q", end, out.Mail.Header)
		}
	}
}

func TestBuildUnreadable(t *testing.T) {
	h := letter(message.Registered, "x")
	h.Body = unreadable{}
	_, err := platform().Build(h)
	if err == nil || connectors.KindOf(err) != connectors.Temporary || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v, want a temporary one", err)
	}
}

type unreadable struct{}

func (unreadable) Read([]byte) (int, error)       { return 0, io.ErrClosedPipe }
func (unreadable) Seek(int64, int) (int64, error) { return 0, nil }

func TestFormCheck(t *testing.T) {
	mark := func(c message.Class, m connectors.Mark) connectors.Form {
		return connectors.Form{Host: "h.example", Marks: map[message.Class]connectors.Mark{c: m}}
	}
	same := mark(message.Registered, connectors.Mark{Tag: "<x>"})
	same.Marks[message.Confidential] = connectors.Mark{Tag: "<x>"}
	for name, f := range map[string]connectors.Form{
		"no host":           {},
		"odd host":          {Host: "a b"},
		"negative size":     {Host: "h.example", MaxSize: -1},
		"unmarked":          mark(message.Registered, connectors.Mark{}),
		"both":              mark(message.Registered, connectors.Mark{Tag: "<r>", Field: "X-A", Value: "1"}),
		"8-bit tag":         mark(message.Registered, connectors.Mark{Tag: "<ü>"}),
		"tag with line end": mark(message.Registered, connectors.Mark{Tag: "<r>\r\nX: y"}),
		"long tag":          mark(message.Registered, connectors.Mark{Tag: strings.Repeat("x", 31)}),
		"encoded tag":       mark(message.Registered, connectors.Mark{Tag: "=?UTF-8?Q?x?="}),
		"field, no value":   mark(message.Registered, connectors.Mark{Field: "X-A"}),
		"odd field":         mark(message.Registered, connectors.Mark{Field: "X A:", Value: "1"}),
		"shared tag":        same,
	} {
		if f.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := platform().Check(); err != nil {
		t.Error(err)
	}
}

// FuzzSubject: whatever a user writes, either the message is refused because of
// the one string that is, or it leaves with the tag, once, and no other.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{
		"Entscheid", "Re: <r> x", "=?UTF-8?B?PG5vbXVjPg==?=", "‹nomuc›", "eLs!: psph_no_muc_", "<r><c><p>", "psph no muc ü",
		"[BL-00000000] x", " =?", "a\tb", strings.Repeat("lang ", 60), strings.Repeat("x", 500), "\u2028<\u00adr>", "<sms:+41 79 1>", "<A<A>\x9b0",
	} {
		f.Add(s)
	}
	form := platform()
	f.Fuzz(func(t *testing.T, subject string) {
		if strings.ContainsAny(subject, "\r\n\x00") || len(subject) > 20_000 {
			return
		}
		h := connectortest.With(message.Registered, "From: a@bl.example\r\nSubject: "+subject+"\r\n\r\nx")
		out, err := form.Build(h)
		if err != nil {
			_, rest, _ := form.Vocabulary.Read(mail.DecodeText(subject))
			_, _, reject := policy.Hygiene(rest, "<r>", "<c>")
			e, ok := errors.AsType[*connectors.Error](err)
			if !ok || e.Kind != connectors.Permanent {
				t.Fatalf("error %v", err)
			}
			if !reject && e.Enhanced == "5.7.1" && !strings.Contains(strings.ReplaceAll(policyFold(rest), " ", ""), "psphnomuc") {
				t.Fatalf("a harmless subject was refused: %v", err)
			}
			return
		}
		got := subjectOf(t, out)
		rest, ok := strings.CutPrefix(got, "<r> [BL-7F3K9Q2M]")
		if !ok {
			t.Fatalf("leaves as %q", got)
		}
		if strings.Contains(mail.DecodeText(rest), "<r>") || strings.Contains(mail.DecodeText(rest), "<c>") {
			t.Fatalf("a second tag in %q", got)
		}
	})
}

func policyFold(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' {
			return -1
		}
		return r
	}, strings.ToLower(s))
}
