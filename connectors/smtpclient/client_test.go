package smtpclient_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"gatewayd/connectors"
	"gatewayd/connectors/connectortest"
	"gatewayd/connectors/smtpclient"
	"gatewayd/message"
)

func address(t *testing.T, s string) message.Address {
	t.Helper()
	a, err := message.ParseAddress(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return a
}

func note(t *testing.T, from, to, msg string) connectors.Mail {
	t.Helper()
	head, body, _ := strings.Cut(msg, "\r\n\r\n")
	return connectors.Mail{
		From: address(t, from), To: address(t, to),
		Header: []byte(head + "\r\n\r\n"), Body: strings.NewReader(body),
	}
}

const plainNote = "From: a@bl.example\r\nSubject: x\r\n\r\nInhalt\r\n"

// send sends one mail to a server and returns what the server has.
func send(t *testing.T, o connectortest.ServerOptions, edit func(*smtpclient.Options), m connectors.Mail) (*connectortest.Server, connectors.Sent, error) {
	t.Helper()
	ca := connectortest.NewCA(t)
	if o.TLS == nil {
		o.TLS = connectortest.Friendly(ca).TLS
	}
	srv := connectortest.NewServer(t, o)
	link := connectortest.Link(ca, srv)
	if edit != nil {
		edit(&link)
	}
	c, err := smtpclient.New(link)
	if err != nil {
		t.Fatal(err)
	}
	sent, err := c.Send(t.Context(), m)
	srv.Wait()
	return srv, sent, err
}

func TestCommands(t *testing.T) {
	full := connectortest.Offers()
	auth := []string{"AUTH PLAIN"}
	dsn := &connectors.DSN{EnvID: "e 1", Ret: "HDRS", Notify: []string{"FAILURE"}, ORcpt: "rfc822;o@example.ch"}
	for name, c := range map[string]struct {
		offers     []string
		from, to   string
		body       string
		dsn        *connectors.DSN
		utf8       bool
		mail, rcpt string
	}{
		"bare peer":        {auth, "a@bl.example", "b@example.ch", "x", dsn, false, "MAIL FROM:<a@bl.example>", "RCPT TO:<b@example.ch>"},
		"size":             {append(auth, "SIZE"), "a@bl.example", "b@example.ch", "x", nil, false, "MAIL FROM:<a@bl.example> SIZE=37", "RCPT TO:<b@example.ch>"},
		"null path":        {auth, "", "b@example.ch", "x", nil, false, "MAIL FROM:<>", "RCPT TO:<b@example.ch>"},
		"quoted local":     {auth, `"a b"@bl.example`, `"c\"d\\e>"@example.ch`, "x", nil, false, `MAIL FROM:<"a b"@bl.example>`, `RCPT TO:<"c\"d\\e>"@example.ch>`},
		"dsn":              {append(auth, "DSN"), "a@bl.example", "b@example.ch", "x", dsn, false, "MAIL FROM:<a@bl.example> RET=HDRS ENVID=e+201", "RCPT TO:<b@example.ch> NOTIFY=FAILURE ORCPT=rfc822;o@example.ch"},
		"8-bit":            {append(auth, "8BITMIME"), "a@bl.example", "b@example.ch", "ü", nil, false, "MAIL FROM:<a@bl.example> BODY=8BITMIME", "RCPT TO:<b@example.ch>"},
		"7-bit":            {append(auth, "8BITMIME", "SMTPUTF8"), "a@bl.example", "b@example.ch", "u", nil, true, "MAIL FROM:<a@bl.example>", "RCPT TO:<b@example.ch>"},
		"utf-8 address":    {full, "a@bl.example", "ü@example.ch", "x", nil, false, "MAIL FROM:<a@bl.example> SIZE=37 SMTPUTF8", "RCPT TO:<ü@example.ch>"},
		"utf-8 domain":     {auth, "a@bl.example", "b@zürich.example", "x", nil, false, "MAIL FROM:<a@bl.example>", "RCPT TO:<b@xn--zrich-kva.example>"},
		"utf-8 both sides": {append(auth, "SMTPUTF8"), "a@bl.example", "b@zürich.example", "x", nil, false, "MAIL FROM:<a@bl.example> SMTPUTF8", "RCPT TO:<b@zürich.example>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := note(t, c.from, c.to, "From: a@bl.example\r\nSubject: x\r\n\r\n"+c.body)
			m.DSN, m.UTF8 = c.dsn, c.utf8
			srv, sent, err := send(t, connectortest.ServerOptions{Offers: c.offers}, nil, m)
			if err != nil {
				t.Fatal(err)
			}
			got := srv.Transactions()[0]
			if got.Mail != c.mail || got.Rcpt != c.rcpt {
				t.Errorf("said\n%s\n%s, want\n%s\n%s", got.Mail, got.Rcpt, c.mail, c.rcpt)
			}
			if want := strings.Contains(c.mail, "RET="); sent.DSN != want {
				t.Errorf("DSN passed on: %v, want %v", sent.DSN, want)
			}
			if string(got.Wire) != string(m.Header)+c.body+"\r\n" {
				t.Errorf("on the wire %q", got.Wire)
			}
		})
	}
}

func TestHeaderNeedsUTF8(t *testing.T) {
	m := note(t, "a@bl.example", "b@example.ch", "Subject: ü\r\n\r\nx")
	m.UTF8 = true
	_, _, err := send(t, connectortest.ServerOptions{Offers: []string{"AUTH PLAIN", "8BITMIME"}}, nil, m)
	if e, ok := errors.AsType[*connectors.Error](err); !ok || e.Kind != connectors.Permanent || e.Enhanced != "5.6.7" {
		t.Errorf("error %v, want 5.6.7", err)
	}
}

// TestBadAddresses: values that ParseAddress would not have made.
func TestBadAddresses(t *testing.T) {
	for _, a := range []message.Address{
		{Local: "a\r\nDATA", Domain: "b.example"},
		{Local: "a", Domain: "b.example> SIZE=1"},
		{Local: "a", Domain: ""},
		{Local: "", Domain: "b.example"},
		{Local: "a", Domain: "[x>y]"},
		{Local: "a", Domain: "b.example\r\nRSET"},
		{Local: "a\x00", Domain: "b.example"},
		{Local: strings.Repeat("a", 65), Domain: "b.example"},
	} {
		for _, from := range []bool{true, false} {
			m := note(t, "a@bl.example", "b@example.ch", plainNote)
			if from {
				m.From = a
			} else {
				m.To = a
			}
			srv, _, err := send(t, connectortest.ServerOptions{}, nil, m)
			if err == nil || connectors.KindOf(err) != connectors.Permanent || len(srv.Commands()) != 0 {
				t.Errorf("%+q: error %v, the server heard %q", a, err, srv.Commands())
			}
		}
	}
	m := note(t, "a@bl.example", "", plainNote)
	if _, _, err := send(t, connectortest.ServerOptions{}, nil, m); connectors.KindOf(err) != connectors.Permanent {
		t.Errorf("no recipient: error %v", err)
	}
}

func TestAuth(t *testing.T) {
	for offers, want := range map[string]string{
		"AUTH PLAIN LOGIN": "AUTH PLAIN AHphdWJlcndvcnQta29udG8AWmF1YmVyd29ydC1QYXNzd29ydA==",
		"AUTH login":       "AUTH LOGIN|emF1YmVyd29ydC1rb250bw==|WmF1YmVyd29ydC1QYXNzd29ydA==",
	} {
		srv, _, err := send(t, connectortest.ServerOptions{Offers: []string{offers}}, nil, note(t, "a@bl.example", "b@example.ch", plainNote))
		if err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(srv.Commands(), "|"); !strings.Contains(all, want) {
			t.Errorf("%s: said %q, want %q in it", offers, all, want)
		}
	}
	_, _, err := send(t, connectortest.ServerOptions{Offers: []string{"AUTH CRAM-MD5"}}, nil, note(t, "a@bl.example", "b@example.ch", plainNote))
	if err == nil || connectors.KindOf(err) != connectors.Temporary {
		t.Errorf("no common mechanism: error %v, want a temporary one", err)
	}
}

func TestClientCertificate(t *testing.T) {
	ca := connectortest.NewCA(t)
	o := connectortest.Friendly(ca)
	o.TLS.ClientAuth, o.TLS.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	for _, with := range []bool{true, false} {
		srv := connectortest.NewServer(t, o)
		link := connectortest.Link(ca, srv)
		if with {
			link.TLS.Certificates = []tls.Certificate{ca.Issue("gateway.bl.example")}
		}
		c, err := smtpclient.New(link)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", plainNote))
		srv.Wait()
		switch {
		case with && err != nil:
			t.Errorf("with a certificate: %v", err)
		case with && srv.Peers()[0].PeerCertificates[0].DNSNames[0] != "gateway.bl.example":
			t.Error("the server saw another certificate")
		case !with && (err == nil || connectors.KindOf(err) != connectors.Temporary || len(srv.Transactions()) != 0):
			t.Errorf("without a certificate: error %v, want a temporary one", err)
		}
	}
}

func TestPins(t *testing.T) {
	ca := connectortest.NewCA(t)
	o := connectortest.Friendly(ca)
	for name, c := range map[string]struct {
		pin smtpclient.Pin
		ok  bool
	}{
		"leaf":    {smtpclient.PinOf(o.TLS.Certificates[0].Leaf), true},
		"issuer":  {smtpclient.PinOf(ca.Certificate()), true},
		"another": {smtpclient.PinOf(connectortest.NewCA(t).Certificate()), false},
	} {
		srv := connectortest.NewServer(t, o)
		link := connectortest.Link(ca, srv)
		link.Pins = []smtpclient.Pin{c.pin}
		client, err := smtpclient.New(link)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", plainNote))
		srv.Wait()
		if (err == nil) != c.ok {
			t.Errorf("%s: error %v, want success %v", name, err, c.ok)
		}
		if !c.ok && (connectors.KindOf(err) != connectors.Temporary || len(srv.Transactions()) != 0) {
			t.Errorf("%s: error %v, %d letters", name, err, len(srv.Transactions()))
		}
	}
}

func TestOpportunistic(t *testing.T) {
	m := note(t, "a@bl.example", "b@example.ch", plainNote)
	opportunistic := func(o *smtpclient.Options) { o.Mode, o.Login = smtpclient.Opportunistic, nil }
	other := connectortest.Friendly(connectortest.NewCA(t))
	srv, _, err := send(t, other, opportunistic, m)
	if err != nil || strings.Contains(srv.Clear(), "MAIL") {
		t.Errorf("unverified TLS: error %v, in clear %q", err, srv.Clear())
	}
	plain := connectortest.NewServer(t, connectortest.ServerOptions{})
	link := connectortest.Link(connectortest.NewCA(t), plain)
	opportunistic(&link)
	c, err := smtpclient.New(link)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(t.Context(), m); err != nil {
		t.Errorf("no TLS: %v", err)
	}
}

func TestClientOptions(t *testing.T) {
	good := smtpclient.Options{Addr: "mx.example.ch:25", Hello: "gateway.bl.example"}
	if _, err := smtpclient.New(good); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*smtpclient.Options){
		"no address":            func(o *smtpclient.Options) { o.Addr = "" },
		"no port":               func(o *smtpclient.Options) { o.Addr = "mx.example.ch" },
		"no host":               func(o *smtpclient.Options) { o.Addr = ":25" },
		"no hello":              func(o *smtpclient.Options) { o.Hello = "" },
		"hello with a line end": func(o *smtpclient.Options) { o.Hello = "a\r\nMAIL" },
		"unknown mode":          func(o *smtpclient.Options) { o.Mode = "plain" },
		"plain to another host": func(o *smtpclient.Options) { o.Mode = smtpclient.PlainLoopback },
		"plain to a like name": func(o *smtpclient.Options) {
			o.Mode, o.Addr = smtpclient.PlainLoopback, "localhost.example.ch:25"
		},
		"no verification": func(o *smtpclient.Options) { o.TLS = &tls.Config{InsecureSkipVerify: true} },
		"login in clear": func(o *smtpclient.Options) {
			o.Mode, o.Addr, o.Login = smtpclient.PlainLoopback, "127.0.0.1:25", &smtpclient.Login{Name: "a"}
		},
		"login to strangers": func(o *smtpclient.Options) {
			o.Mode, o.Login = smtpclient.Opportunistic, &smtpclient.Login{Name: "a"}
		},
		"login without name":     func(o *smtpclient.Options) { o.Login = &smtpclient.Login{} },
		"login with NUL":         func(o *smtpclient.Options) { o.Login = &smtpclient.Login{Name: "a", Password: "b\x00c"} },
		"pins without a meaning": func(o *smtpclient.Options) { o.Mode, o.Pins = smtpclient.Opportunistic, []smtpclient.Pin{{}} },
	} {
		o := good
		edit(&o)
		if _, err := smtpclient.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := smtpclient.New(smtpclient.Options{Mode: "x"}); err == nil || strings.Count(err.Error(), "\n") < 2 {
		t.Errorf("not every mistake is reported: %v", err)
	}
}

// TestPlainLoopbackElsewhere: a name that leads elsewhere gets nothing.
func TestPlainLoopbackElsewhere(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	heard := make(chan error, 1)
	go func() {
		_, err := theirs.Read(make([]byte, 1))
		heard <- err
	}()
	c, err := smtpclient.New(smtpclient.Options{
		Addr: "localhost:25", Hello: "gateway.bl.example", Mode: smtpclient.PlainLoopback,
		Dial: func(context.Context, string, string) (net.Conn, error) { return elsewhere{ours}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", plainNote)); err == nil {
		t.Error("sent in clear to another machine")
	}
	if err := <-heard; err == nil {
		t.Error("an octet was said")
	}
}

type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }

// TestNothingInClear runs many variants of peers that can't or won't prove who
// they are: not one octet of an address or a message is said in clear.
func TestNothingInClear(t *testing.T) {
	ca, other := connectortest.NewCA(t), connectortest.NewCA(t)
	good := ca.Issue("peer.test.example")
	configs := map[string]*tls.Config{
		"none":       nil,
		"wrong name": {Certificates: []tls.Certificate{ca.Issue("other.test.example")}},
		"wrong root": {Certificates: []tls.Certificate{other.Issue("peer.test.example")}},
		"good":       {Certificates: []tls.Certificate{good}},
	}
	greetings := []string{"220 peer", "220-peer\r\n220 STARTTLS", "220 250-STARTTLS", "220 peer ESMTP STARTTLS", "220-\r\n220-\r\n220"}
	offers := [][]string{{}, {"STARTTL"}, {"XSTARTTLS", "AUTH PLAIN"}, {"AUTH PLAIN", "8BITMIME"}, {"START TLS"}, {"TLS", "SIZE 1"}, {"STARTTLS STARTTLS"}}
	replies := []string{"", "454 4.7.0 no", "501 5.5.4 no", "250 ok", "220 go\r\n220 more", "220-go\r\n220 go", "x", "354 go"}
	n := 0
	for name, cfg := range configs {
		for _, greeting := range greetings {
			for _, offer := range offers {
				for _, reply := range replies {
					n++
					script := connectortest.Script{connectors.StepBanner: {Reply: greeting}}
					if reply != "" {
						script[connectors.StepStartTLS] = connectortest.Action{Reply: reply, Cut: true}
					}
					srv := connectortest.NewServer(t, connectortest.ServerOptions{TLS: cfg, Offers: offer, Script: script})
					c, err := smtpclient.New(connectortest.Link(ca, srv))
					if err != nil {
						t.Fatal(err)
					}
					_, err = c.Send(t.Context(), note(t, "a@bl.example", "b@example.ch", plainNote))
					srv.Wait()
					clear := strings.ToUpper(srv.Clear())
					if strings.Contains(clear, "MAIL") || strings.Contains(clear, "AUTH") || strings.Contains(clear, "EXAMPLE.CH") {
						t.Fatalf("%s, %q, %q, %q: said in clear %q", name, greeting, offer, reply, clear)
					}
					if err != nil && connectors.KindOf(err) != connectors.Temporary {
						t.Fatalf("%s, %q, %q, %q: error %v, want a temporary one", name, greeting, offer, reply, err)
					}
				}
			}
		}
	}
	t.Logf("%d variants", n)
}

// TestChangedBody: a body that is another at the second reading is not ended,
// however well each reading went, and of the one that has grown nothing leaves
// that a peer could take for a command behind the last chunk.
func TestChangedBody(t *testing.T) {
	long := strings.Repeat("Inhalt\r\n", 20_000)
	for name, second := range map[string]string{
		"shorter": long[8:], "longer": long + "RSET\r\n", "a line less ended": long[:len(long)-2], "irregular": long[:len(long)-1], "empty": "",
		"longer by a block": long + strings.Repeat("NOOP\r\n", 20_000),
	} {
		for way, offers := range map[string][]string{"data": {"AUTH PLAIN"}, "chunks": {"AUTH PLAIN", "PIPELINING", "CHUNKING"}} {
			m := note(t, "a@bl.example", "b@example.ch", plainNote)
			m.Body = &changing{texts: []string{long, second}}
			srv, _, err := send(t, connectortest.ServerOptions{Offers: offers}, nil, m)
			if name == "a line less ended" {
				if err != nil { // the line is ended for it, and so it is the same
					t.Errorf("%s, %s: %v", name, way, err)
				}
				continue
			}
			if err == nil || connectors.KindOf(err) != connectors.Temporary {
				t.Errorf("%s, %s: error %v, want a temporary one", name, way, err)
			}
			if got := srv.Transactions(); len(got) != 1 || got[0].Complete {
				t.Errorf("%s, %s: the end of the message was said", name, way)
			}
			if said := srv.Commands(); slices.ContainsFunc(said, func(s string) bool { return s == "RSET" || s == "NOOP" }) {
				t.Errorf("%s, %s: a line of the message was heard as a command", name, way)
			}
		}
	}
}

// changing gives its next text each time that it is rewound.
type changing struct {
	strings.Reader
	texts []string
}

func (c *changing) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return int64(len(c.texts[0])), nil
	}
	c.Reset(c.texts[0])
	if len(c.texts) > 1 {
		c.texts = c.texts[1:]
	}
	return offset, nil
}
