package simulator

import (
	"io"
	netmail "net/mail"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

func TestWhoMaySubmit(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name     string
		platform *Platform
		certs    []Certificate
		auth     sasl.Client
		from     string
		want     int
	}{
		{"incamail, certificate", w.inca, []Certificate{w.pki.client}, nil, authority, 0},
		{"incamail, sender's case", w.inca, []Certificate{w.pki.client}, nil, "X@BL.example", 0},
		{"incamail, none", w.inca, nil, nil, authority, 550},
		{"incamail, another's certificate", w.inca, []Certificate{w.pki.stranger}, nil, authority, 550},
		{"incamail, another's domain", w.inca, []Certificate{w.pki.client}, nil, "a@other.example", 550},
		{"incamail, subdomain", w.inca, []Certificate{w.pki.client}, nil, "a@x.bl.example", 550},
		{"incamail, null path", w.inca, []Certificate{w.pki.client}, nil, "", 550},
		{"incamail, password", w.inca, nil, sasl.NewPlainClient("", "bl", "secret"), authority, 504},
		{"privasphere, certificate", w.psph, []Certificate{w.pki.client}, nil, authority, 0},
		{"privasphere, password", w.psph, nil, sasl.NewPlainClient("", "bl", "secret"), authority, 0},
		{"privasphere, wrong password", w.psph, nil, sasl.NewPlainClient("", "bl", "Secret"), authority, 535},
		{"privasphere, none", w.psph, nil, nil, authority, 550},
		{"privasphere, another's domain", w.psph, nil, sasl.NewPlainClient("", "bl", "secret"), "a@other.example", 550},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := w.dial(tt.platform, tt.certs...)
			var err error
			if tt.auth != nil {
				err = c.Auth(tt.auth)
			}
			if err == nil {
				err = c.Mail(tt.from, nil)
			}
			if got := replyCode(err); got != tt.want {
				t.Errorf("reply %d (%v), want %d", got, err, tt.want)
			}
		})
	}
}

func TestNoMailWithoutTLS(t *testing.T) {
	w := newWorld(t)
	for _, p := range []*Platform{w.inca, w.psph} {
		c, err := gosmtp.Dial(w.addr[p])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := replyCode(c.Mail(authority, nil)); got != 530 {
			t.Errorf("%s: MAIL without TLS: %d, want 530", p.o.Kind, got)
		}
		if ok, _ := c.Extension("AUTH"); ok {
			t.Errorf("%s: AUTH offered without TLS", p.o.Kind)
		}
	}
}

func TestCertificateOfForeignCA(t *testing.T) {
	w := newWorld(t)
	ca, err := NewCA("Foreign")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Client("gateway.bl.example")
	if err != nil {
		t.Fatal(err)
	}
	c := w.dial(w.inca, cert) // under TLS 1.3 the refusal comes with the next read
	if err := c.Mail(authority, nil); err == nil {
		t.Error("a foreign CA's certificate was taken")
	}
}

func TestTooLarge(t *testing.T) {
	w := newWorld(t)
	c := w.dial(w.inca, w.pki.client)
	if got := replyCode(c.Mail(authority, &gosmtp.MailOptions{Size: 30e6 + 1})); got != 552 {
		t.Errorf("announced size: reply %d, want 552", got)
	}
	p := w.platform(Options{Kind: PrivaSphere, Seal: w.pki.psph, MaxSize: 1000})
	c = w.dial(p, w.pki.client)
	if err := c.Mail(authority, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt(citizen, nil); err != nil {
		t.Fatal(err)
	}
	d, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(d, strings.Repeat("0123456789012345678901234567890123456789\r\n", 50)); err != nil {
		t.Fatal(err)
	}
	if got := replyCode(d.Close()); got != 552 {
		t.Errorf("too long body: reply %d, want 552", got)
	}
	if n := len(p.Received()); n != 0 {
		t.Errorf("%d mails recorded", n)
	}
}

func TestRecordedMailIsExact(t *testing.T) {
	w := newWorld(t)
	w.mustSubmit(w.inca, citizen+".incamail.ch", "<r> x")
	w.mustSubmit(w.psph, "psph_no_muc_"+citizen, "<egov> x")
	for p, to := range map[*Platform]string{w.inca: citizen + ".incamail.ch", w.psph: "psph_no_muc_" + citizen} {
		r := p.Received()[0]
		if r.From != authority || !slices.Equal(r.To, []string{to}) || !r.At.Equal(start) || r.Number != 1 {
			t.Errorf("envelope %+v", r)
		}
		if !strings.HasSuffix(string(r.Raw), "\r\n\r\n"+body) || !strings.Contains(string(r.Raw), "To: <"+to+">\r\n") {
			t.Errorf("bytes changed:\n%s", r.Raw)
		}
		if got := p.Messages()[0].To; got != citizen {
			t.Errorf("recipient %q, want %q", got, citizen)
		}
	}
	if got := w.psph.Messages()[0].Controls; !slices.Equal(got, []string{"psph_no_muc_"}) {
		t.Errorf("controls %q", got)
	}
}

func TestSeveralRecipients(t *testing.T) {
	w := newWorld(t)
	c := w.dial(w.inca, w.pki.client)
	if err := c.SendMail(authority, []string{"a@example.ch", "b@example.ch"}, strings.NewReader(mail(authority, "a@example.ch", "<r> x"))); err != nil {
		t.Fatal(err)
	}
	m := w.inca.Messages()
	if len(m) != 2 || m[0].ID == m[1].ID || m[0].Received != 1 || m[1].Received != 1 {
		t.Errorf("messages %+v", m)
	}
}

func TestReadTags(t *testing.T) {
	egov := map[message.Class]string{message.Registered: "<egov>", message.Confidential: "<c>"}
	tests := []struct {
		kind     Kind
		subject  string
		class    message.Class
		tag      string
		rest     string
		controls []string
	}{
		{IncaMail, "<r> [BL-1] x", message.Registered, "<r>", "[BL-1] x", nil},
		{IncaMail, "<r>x", message.Registered, "<r>", "x", nil},
		{IncaMail, "<p> x", message.Personal, "<p>", "x", nil},
		{IncaMail, "<c> x", message.Confidential, "<c>", "x", nil},
		{IncaMail, "x", message.Confidential, "", "x", nil},
		{IncaMail, "", message.Confidential, "", "", nil},
		{IncaMail, "<R> x", message.Confidential, "", "<R> x", nil},
		{IncaMail, "x <r>", message.Confidential, "", "x <r>", nil},
		{IncaMail, "=?UTF-8?Q?=3Cr=3E?= x", message.Confidential, "", "<r> x", nil},
		{IncaMail, "<r> =?UTF-8?Q?Verf=C3=BCgung?=", message.Registered, "<r>", "Verfügung", nil},
		{IncaMail, "<r> =?x-unknown?Q?y?=", message.Registered, "<r>", "=?x-unknown?Q?y?=", nil},
		{IncaMail, "<r> <nomuc> x", message.Registered, "<r>", "<nomuc> x", nil},
		{PrivaSphere, "<egov> x", message.Registered, "<egov>", "x", nil},
		{PrivaSphere, "<r> x", message.Confidential, "", "<r> x", nil},
		{PrivaSphere, "eLs!: x", message.Registered, "eLs!:", "x", []string{"eLs!:"}},
		{PrivaSphere, "eLs!Pdf:psph_no_muc_ x", message.Registered, "eLs!Pdf:", "x", []string{"eLs!Pdf:", "psph_no_muc_"}},
		{PrivaSphere, "els!: x", message.Confidential, "", "els!: x", nil},
		{PrivaSphere, "<egov> <nomuc> a <lang:de> b", message.Registered, "<egov>", "a b", []string{"<nomuc>", "<lang:de>"}},
		{
			PrivaSphere, `<c> <sms:+41 79 1> <PSPMUCSMS phone="1" /> <PSPeGov3161/> x`, message.Confidential, "<c>", "x",
			[]string{"<sms:+41 79 1>", `<PSPMUCSMS phone="1" />`, "<PSPeGov3161/>"},
		},
		{PrivaSphere, "=?UTF-8?Q?dump4DebugT0f!l3=3A_x?=", message.Confidential, "", "x", []string{"dump4DebugT0f!l3:"}},
		{
			PrivaSphere, "<muc:12345> <muc4all:1> <fax:1> <muctext:a b> <onlyWeb><safeRoute><unSafeRoute> x", message.Confidential, "", "x",
			[]string{"<muc:12345>", "<muc4all:1>", "<fax:1>", "<muctext:a b>", "<onlyWeb>", "<safeRoute>", "<unSafeRoute>"},
		},
		{
			PrivaSphere, "<hidesender> <showsender> <hidesubject> <showsubject> x", message.Confidential, "", "x",
			[]string{"<hidesender>", "<showsender>", "<hidesubject>", "<showsubject>"},
		},
	}
	for _, tt := range tests {
		tags := defaultTags(IncaMail)
		if tt.kind == PrivaSphere {
			tags = egov
		}
		r := readTags(tt.kind, tags, netmail.Header{"Subject": {tt.subject}}, false)
		if r.class != tt.class || r.tag != tt.tag || r.subject != tt.rest || !slices.Equal(r.controls, tt.controls) {
			t.Errorf("%s %q: %+v", tt.kind, tt.subject, r)
		}
		if r := readTags(tt.kind, tags, netmail.Header{"Subject": {tt.subject}}, true); r.class != message.Confidential || r.tag != "" {
			t.Errorf("%s %q with the tag lost: %+v", tt.kind, tt.subject, r)
		}
	}
	h := netmail.Header{"Subject": {"x"}, registeredHeader: {""}}
	if r := readTags(PrivaSphere, egov, h, false); r.class != message.Registered || r.mode != modeRegistered {
		t.Errorf("registered by header: %+v", r)
	}
}

func TestSwaks(t *testing.T) {
	swaks := tool(t, "swaks", "swaks")
	w := newWorld(t)
	w.profile(w.inca, citizen, "auto-accept")
	key, err := w.pki.client.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--from", authority, "--to", citizen, "--header", "Subject: <r> [BL-1] by swaks", "--body", "Text", "--tls-verify",
		"--tls-ca-path", writeFile(t, "ca.pem", w.pki.ca.PEM()), "--tls", "--helo", "gateway.bl.example",
	}
	byCert := append(args, "--server", w.addr[w.inca],
		"--tls-cert", writeFile(t, "c.pem", w.pki.client.CertPEM()), "--tls-key", writeFile(t, "k.pem", key))
	if out, err := exec.Command(swaks, byCert...).CombinedOutput(); err != nil {
		t.Fatalf("swaks: %v\n%s", err, out)
	}
	byPassword := append(args, "--server", w.addr[w.psph], "--auth", "PLAIN", "--auth-user", "bl", "--auth-password", "secret")
	if out, err := exec.Command(swaks, byPassword...).CombinedOutput(); err != nil {
		t.Fatalf("swaks: %v\n%s", err, out)
	}
	w.flush()
	want := []string{"Abgabequittung: [BL-1] by swaks", "Abholquittung: [BL-1] by swaks"}
	if got := w.subjects(); !slices.Equal(got, want) {
		t.Errorf("subjects %q, want %q", got, want)
	}
	if n := len(w.psph.Received()); n != 1 {
		t.Errorf("privasphere took %d mails, want 1", n)
	}
	out, err := exec.Command(swaks, append(args, "--server", w.addr[w.inca])...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "550 5.7.1") {
		t.Errorf("swaks without certificate: %v\n%s", err, out)
	}
}

// FuzzSubmit: whatever bytes come, the platform reads a class and keeps the
// bytes; what is without a tag at the start of its subject is never registered.
func FuzzSubmit(f *testing.F) {
	for _, s := range []string{
		mail(authority, citizen, "<r> x"), mail(authority, citizen, subject), "", "\r\n\r\n", "Subject: <r>",
		"Subject: <r>\r\n =?utf-8?b?=\r\n\r\nx", ": \r\nSubject: <r> x\r\n\r\n", "Subject: <sms:\x00> eLs!:\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	p := &Platform{brand: brandOf(PrivaSphere), o: Options{Kind: PrivaSphere, Tags: defaultTags(IncaMail)}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e := p.newEntry(raw, start)
		if e.size != len(raw) || string(e.raw) != string(raw) {
			t.Fatal("bytes changed")
		}
		if e.Class == message.Registered && e.Tag == "" {
			t.Fatal("registered without a tag")
		}
		if n := len([]rune(e.Subject)); n > maxSubject {
			t.Fatalf("subject of %d characters", n)
		}
		r := &receipt{issuer: p, kind: message.Abholquittung, e: *e, at: start}
		if doc, err := renderPDF(r.lines(), start); err != nil || len(doc) == 0 {
			t.Fatalf("render: %v", err)
		}
	})
}
