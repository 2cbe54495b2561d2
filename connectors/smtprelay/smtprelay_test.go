package smtprelay_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/connectors"
	"gatewayd/connectors/connectortest"
	"gatewayd/connectors/smtpclient"
	"gatewayd/connectors/smtprelay"
	"gatewayd/message"
)

func newRelay(t *testing.T, o smtprelay.Options) connectors.Connector {
	t.Helper()
	c, err := smtprelay.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func toSmarthost(t *testing.T, link smtpclient.Options) connectors.Connector {
	t.Helper()
	return newRelay(t, smtprelay.Options{Link: link})
}

func TestConformance(t *testing.T) {
	connectortest.Run(t, message.Normal, toSmarthost)
}

// TestProtectedClassesAreRefused: whatever a route says.
func TestProtectedClassesAreRefused(t *testing.T) {
	ca := connectortest.NewCA(t)
	srv := connectortest.NewServer(t, connectortest.Friendly(ca))
	c := toSmarthost(t, connectortest.Link(ca, srv))
	for _, class := range []message.Class{message.Confidential, message.Personal, message.Registered, "", "unheard-of"} {
		_, err := c.Submit(t.Context(), connectortest.Letter(class))
		if err == nil || connectors.KindOf(err) != connectors.Permanent {
			t.Errorf("class %q: error %v, want a permanent one", class, err)
		}
	}
	srv.Wait()
	if got := srv.Commands(); len(got) != 0 {
		t.Errorf("the peer heard %q", got)
	}
}

// TestHeaderStays: an ordinary message is none of our business but for trace
// field, Bcc and a missing Message-ID.
func TestHeaderStays(t *testing.T) {
	ca := connectortest.NewCA(t)
	srv := connectortest.NewServer(t, connectortest.Friendly(ca))
	head := connectortest.Header("[vertraulich] <r> eLs!: bleibt")
	h := connectortest.With(message.Normal, head+"x\r\n")
	if _, err := toSmarthost(t, connectortest.Link(ca, srv)).Submit(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	srv.Wait()
	want := h.Received + "\r\n" + strings.Replace(head, "Bcc: heimlich@example.ch\r\n", "", 1) + "x\r\n"
	if got := string(srv.Transactions()[0].Message()); got != want {
		t.Errorf("left as\n%q, want\n%q", got, want)
	}
}

func TestNotice(t *testing.T) {
	ca := connectortest.NewCA(t)
	srv := connectortest.NewServer(t, connectortest.Friendly(ca))
	h := connectortest.With("", "From: MAILER-DAEMON@gateway.bl.example\r\nSubject: Bericht\r\n\r\nx\r\n")
	h.Envelope.Direction, h.From = message.Notice, message.Address{}
	res, err := toSmarthost(t, connectortest.Link(ca, srv)).Submit(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	srv.Wait()
	got := srv.Transactions()[0]
	if !strings.HasPrefix(got.Mail, "MAIL FROM:<> ") {
		t.Errorf("said %s", got.Mail)
	}
	if !strings.HasSuffix(res.SentAs, ".1@gateway.bl.example>") || !strings.Contains(string(got.Message()), "Message-ID: "+res.SentAs) {
		t.Errorf("left under %q", res.SentAs)
	}
}

func TestDSNIsPassedOn(t *testing.T) {
	ca := connectortest.NewCA(t)
	srv := connectortest.NewServer(t, connectortest.Friendly(ca))
	h := connectortest.Letter(message.Normal)
	h.Envelope.EnvID, h.Item.Recipient.Notify = "abc", []string{"SUCCESS"}
	res, err := toSmarthost(t, connectortest.Link(ca, srv)).Submit(t.Context(), h)
	srv.Wait()
	if got := srv.Transactions()[0]; err != nil || !res.DSN || !strings.Contains(got.Mail, " ENVID=abc") || !strings.Contains(got.Rcpt, " NOTIFY=SUCCESS") {
		t.Errorf("error %v, DSN %v, said %s, %s", err, res.DSN, got.Mail, got.Rcpt)
	}
}

// asked counts the questions to a resolver.
type asked struct {
	names
	n int
}

func (a *asked) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a.n++
	return a.names.LookupMX(ctx, name)
}

// TestManyToOneDomain: twenty messages to one domain cost one lookup and one
// connection; a domain whose hosts are gone is looked up anew.
func TestManyToOneDomain(t *testing.T) {
	ca := connectortest.NewCA(t)
	o := connectortest.Friendly(ca)
	o.TLS.Certificates[0] = ca.Issue("a.example")
	srv := connectortest.NewServer(t, o)
	nw := &network{servers: map[string]*connectortest.Server{"a.example": srv}}
	pool := smtpclient.NewPool(smtpclient.PoolOptions{Idle: time.Hour})
	defer pool.Close()
	link := smtpclient.Options{TLS: connectortest.Trust(ca), Hello: "gateway.bl.example", Dial: nw.dial, Pool: pool}
	dns := &asked{names: names{mx: mx("a.example")}}
	c := newRelay(t, smtprelay.Options{Link: link, Resolver: dns})
	for range 20 {
		if _, err := c.Submit(t.Context(), connectortest.Letter(message.Normal)); err != nil {
			t.Fatal(err)
		}
	}
	if dns.n != 1 || len(nw.dialled) != 1 || len(srv.Transactions()) != 20 {
		t.Errorf("%d letters: %d lookups, %d connections, want 20: 1, 1", len(srv.Transactions()), dns.n, len(nw.dialled))
	}
	delete(nw.servers, "a.example")
	srv.CutAll()
	for range 2 {
		if _, err := c.Submit(t.Context(), connectortest.Letter(message.Normal)); err == nil || connectors.KindOf(err) != connectors.Temporary {
			t.Errorf("error %v, want a temporary one", err)
		}
	}
	if dns.n != 2 {
		t.Errorf("%d lookups, want another one when nothing answers", dns.n)
	}
}

// names is a resolver with one answer.
type names struct {
	mx      []*net.MX
	mxErr   error
	hostErr error
}

func (n names) LookupMX(context.Context, string) ([]*net.MX, error) { return n.mx, n.mxErr }

func (n names) LookupHost(context.Context, string) ([]string, error) {
	return []string{"192.0.2.1"}, n.hostErr
}

func mx(hosts ...string) []*net.MX {
	var list []*net.MX
	for i, h := range hosts {
		list = append(list, &net.MX{Host: h + ".", Pref: uint16(10 * (i + 1))})
	}
	return list
}

// network leads each name to a server of its own.
type network struct {
	servers map[string]*connectortest.Server
	dialled []string
}

func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	host, port, _ := net.SplitHostPort(addr)
	n.dialled = append(n.dialled, host)
	srv := n.servers[host]
	if srv == nil || port != "25" {
		return nil, errors.New("connection refused")
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", srv.Addr)
}

func notFound() error {
	return &net.DNSError{Err: "no such host", Name: "example.ch", IsNotFound: true}
}

func TestMailExchangers(t *testing.T) {
	const reply = "451 4.3.0 x"
	type act = connectortest.Script
	for name, c := range map[string]struct {
		names   names
		servers map[string]act // by host; their certificates carry that name
		dialled []string
		kind    connectors.Kind
		ok      bool
		status  string
	}{
		"first":              {names{mx: mx("a.example", "b.example")}, map[string]act{"a.example": nil, "b.example": nil}, []string{"a.example"}, 0, true, ""},
		"order":              {names{mx: []*net.MX{{Host: "b.example.", Pref: 20}, {Host: "a.example.", Pref: 5}}}, map[string]act{"a.example": nil}, []string{"a.example"}, 0, true, ""},
		"first down":         {names{mx: mx("a.example", "b.example")}, map[string]act{"b.example": nil}, []string{"a.example", "b.example"}, 0, true, ""},
		"first busy":         {names{mx: mx("a.example", "b.example")}, map[string]act{"a.example": {connectors.StepBanner: {Reply: reply}}, "b.example": nil}, []string{"a.example", "b.example"}, 0, true, ""},
		"first greylists":    {names{mx: mx("a.example", "b.example")}, map[string]act{"a.example": {connectors.StepRcpt: {Reply: reply}}, "b.example": nil}, []string{"a.example", "b.example"}, 0, true, ""},
		"first says no":      {names{mx: mx("a.example", "b.example")}, map[string]act{"a.example": {connectors.StepRcpt: {Reply: "550 5.1.1 x"}}, "b.example": nil}, []string{"a.example"}, connectors.Permanent, false, "5.1.1"},
		"first unclear":      {names{mx: mx("a.example", "b.example")}, map[string]act{"a.example": {connectors.StepDot: {Cut: true}}, "b.example": nil}, []string{"a.example"}, connectors.Unclear, false, ""},
		"first late":         {names{mx: mx("a.example", "b.example")}, map[string]act{"a.example": {connectors.StepDot: {Reply: reply}}, "b.example": nil}, []string{"a.example"}, connectors.Temporary, false, "4.3.0"},
		"all down":           {names{mx: mx("a.example", "b.example")}, nil, []string{"a.example", "b.example"}, connectors.Temporary, false, ""},
		"too many":           {names{mx: mx("a.example", "b.example", "c.example", "d.example", "e.example", "f.example")}, nil, []string{"a.example", "b.example", "c.example", "d.example", "e.example"}, connectors.Temporary, false, ""},
		"no MX":              {names{mxErr: notFound()}, map[string]act{"example.ch": nil}, []string{"example.ch"}, 0, true, ""},
		"null MX":            {names{mx: []*net.MX{{Host: ".", Pref: 0}}}, nil, nil, connectors.Permanent, false, "5.1.10"},
		"no domain":          {names{mxErr: notFound(), hostErr: notFound()}, nil, nil, connectors.Permanent, false, "5.1.2"},
		"resolver fails":     {names{mxErr: &net.DNSError{Err: "server misbehaving", IsTemporary: true}}, nil, nil, connectors.Temporary, false, ""},
		"resolver fails too": {names{mxErr: notFound(), hostErr: errors.New("timeout")}, nil, nil, connectors.Temporary, false, ""},
		"odd name first":     {names{mx: mx("a b", "b.example")}, map[string]act{"b.example": nil}, []string{"b.example"}, 0, true, ""},
		"back to us":         {names{mx: mx("gateway.bl.example", "b.example")}, map[string]act{"b.example": nil}, nil, connectors.Permanent, false, "5.4.6"},
		"before us":          {names{mx: mx("a.example", "gateway.bl.example", "c.example")}, nil, []string{"a.example"}, connectors.Temporary, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := connectortest.NewCA(t)
			nw := &network{servers: map[string]*connectortest.Server{}}
			for host, script := range c.servers {
				o := connectortest.Friendly(ca)
				o.TLS.Certificates[0], o.Script = ca.Issue(host), script
				nw.servers[host] = connectortest.NewServer(t, o)
			}
			link := smtpclient.Options{TLS: connectortest.Trust(ca), Hello: "gateway.bl.example", Dial: nw.dial}
			_, err := newRelay(t, smtprelay.Options{Link: link, Resolver: c.names}).Submit(t.Context(), connectortest.Letter(message.Normal))
			if (err == nil) != c.ok || err != nil && connectors.KindOf(err) != c.kind {
				t.Errorf("error %v, want %v", err, c.kind)
			}
			if e, ok := errors.AsType[*connectors.Error](err); ok && e.Enhanced != c.status {
				t.Errorf("status %q, want %q", e.Enhanced, c.status)
			}
			if err != nil && strings.Contains(err.Error(), "example.ch") {
				t.Errorf("the error names the recipient's domain: %v", err)
			}
			if !slices.Equal(nw.dialled, c.dialled) {
				t.Errorf("dialled %q, want %q", nw.dialled, c.dialled)
			}
		})
	}
}

// TestStrangersAreVerified: without a smarthost too, unless the policy of the
// operator says otherwise.
func TestStrangersAreVerified(t *testing.T) {
	for mode, ok := range map[smtpclient.Mode]bool{"": false, smtpclient.StartTLS: false, smtpclient.Opportunistic: true} {
		srv := connectortest.NewServer(t, connectortest.ServerOptions{})
		nw := &network{servers: map[string]*connectortest.Server{"a.example": srv}}
		link := smtpclient.Options{Mode: mode, Hello: "gateway.bl.example", Dial: nw.dial}
		_, err := newRelay(t, smtprelay.Options{Link: link, Resolver: names{mx: mx("a.example")}}).Submit(t.Context(), connectortest.Letter(message.Normal))
		srv.Wait()
		if (err == nil) != ok || (len(srv.Transactions()) > 0) != ok {
			t.Errorf("mode %q: error %v, %d letters", mode, err, len(srv.Transactions()))
		}
	}
}

func TestAddressesWithoutRoute(t *testing.T) {
	c := newRelay(t, smtprelay.Options{Link: smtpclient.Options{Hello: "gateway.bl.example"}, Resolver: names{}})
	for _, domain := range []string{"[127.0.0.1]", "a_b\u200d.example"} {
		h := connectortest.Letter(message.Normal)
		h.To.Domain = domain
		if _, err := c.Submit(t.Context(), h); err == nil || connectors.KindOf(err) != connectors.Permanent {
			t.Errorf("%s: error %v, want a permanent one", domain, err)
		}
	}
}

func TestOptions(t *testing.T) {
	direct := smtpclient.Options{Hello: "gateway.bl.example"}
	edit := func(f func(*smtpclient.Options)) smtprelay.Options {
		o := direct
		f(&o)
		return smtprelay.Options{Link: o}
	}
	for name, o := range map[string]smtprelay.Options{
		"no name":              {},
		"negative size":        {Link: direct, MaxSize: -1},
		"odd smarthost":        edit(func(o *smtpclient.Options) { o.Addr = "mx" }),
		"login for strangers":  edit(func(o *smtpclient.Options) { o.Login = &smtpclient.Login{Name: "a"} }),
		"pins for strangers":   edit(func(o *smtpclient.Options) { o.Pins = []smtpclient.Pin{{}} }),
		"one name for all":     edit(func(o *smtpclient.Options) { o.ServerName = "mx.example" }),
		"implicit to MX":       edit(func(o *smtpclient.Options) { o.Mode = smtpclient.ImplicitTLS }),
		"plain to MX":          edit(func(o *smtpclient.Options) { o.Mode = smtpclient.PlainLoopback }),
		"port that is not one": {Link: direct, Port: "2 5\r\n"},
	} {
		if _, err := smtprelay.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	c := newRelay(t, smtprelay.Options{Link: direct, MaxSize: 7})
	if got := c.Limits(); got.MaxSize != 7 || c.Name() != "smtp" {
		t.Errorf("%s: limits %+v", c.Name(), got)
	}
}
