package privasphere_test

import (
	"strings"
	"testing"

	"gatewayd/connectors"
	"gatewayd/connectors/connectortest"
	"gatewayd/connectors/privasphere"
	"gatewayd/connectors/smtpclient"
	"gatewayd/message"
	"gatewayd/policy"
)

func bySubject(t *testing.T, link smtpclient.Options) connectors.Connector {
	t.Helper()
	return newConnector(t, privasphere.Options{Link: link, RegisteredTag: "<egov> ", ConfidentialTag: "<c>", MaxSize: 20_000_000})
}

func newConnector(t *testing.T, o privasphere.Options) connectors.Connector {
	t.Helper()
	o.Vocabulary = policy.DefaultVocabulary()
	c, err := privasphere.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformance(t *testing.T) {
	connectortest.Run(t, message.Registered, bySubject)
}

func TestConformanceByHeader(t *testing.T) {
	if testing.Short() {
		t.Skip("the same client as by subject")
	}
	connectortest.Run(t, message.Registered, func(t *testing.T, link smtpclient.Options) connectors.Connector {
		t.Helper()
		return newConnector(t, privasphere.Options{Link: link, Mode: privasphere.ByHeader, RegisteredValue: "true"})
	})
}

// TestUnsaidClassIsRefused: without a tag of its own a class is not carried,
// least of all registered.
func TestUnsaidClassIsRefused(t *testing.T) {
	ca := connectortest.NewCA(t)
	srv := connectortest.NewServer(t, connectortest.Friendly(ca))
	for _, o := range []privasphere.Options{
		{RegisteredTag: ""}, {RegisteredTag: "  "}, {Mode: privasphere.ByHeader, RegisteredTag: "<egov>"},
	} {
		o.Link = connectortest.Link(ca, srv)
		c := newConnector(t, o)
		for _, class := range message.Classes() {
			_, err := c.Submit(t.Context(), connectortest.Letter(class))
			if err == nil || connectors.KindOf(err) != connectors.Permanent {
				t.Errorf("%+v, class %s: error %v, want a permanent one", o, class, err)
			}
		}
	}
	srv.Wait()
	if got := srv.Commands(); len(got) != 0 {
		t.Errorf("the platform heard %q", got)
	}
}

func TestMarks(t *testing.T) {
	for name, c := range map[string]struct {
		o     privasphere.Options
		class message.Class
		want  string
	}{
		"by subject":   {privasphere.Options{RegisteredTag: "<egov> "}, message.Registered, "\r\nSubject: <egov> [BL-7F3K9Q2M] "},
		"by keyword":   {privasphere.Options{RegisteredTag: "eLs!: "}, message.Registered, "\r\nSubject: eLs!: [BL-7F3K9Q2M] "},
		"by header":    {privasphere.Options{Mode: privasphere.ByHeader, RegisteredValue: "true"}, message.Registered, "\r\nX-PSPH-REGISTERED-REQUEST: true\r\n"},
		"confidential": {privasphere.Options{ConfidentialTag: "<c>"}, message.Confidential, "\r\nSubject: <c> [BL-7F3K9Q2M] "},
		"personal":     {privasphere.Options{PersonalTag: "<s>"}, message.Personal, "\r\nSubject: <s> [BL-7F3K9Q2M] "},
	} {
		ca := connectortest.NewCA(t)
		srv := connectortest.NewServer(t, connectortest.Friendly(ca))
		c.o.Link = connectortest.Link(ca, srv)
		if _, err := newConnector(t, c.o).Submit(t.Context(), connectortest.Letter(c.class)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		srv.Wait()
		if got := string(srv.Transactions()[0].Message()); strings.Count(got, c.want) != 1 {
			t.Errorf("%s: %q does not stand once in what left", name, c.want)
		}
	}
}

func TestRecipientThatCommands(t *testing.T) {
	ca := connectortest.NewCA(t)
	srv := connectortest.NewServer(t, connectortest.Friendly(ca))
	h := connectortest.Letter(message.Registered)
	h.To.Local = "PSPH_no_muc_b"
	_, err := bySubject(t, connectortest.Link(ca, srv)).Submit(t.Context(), h)
	if err == nil || connectors.KindOf(err) != connectors.Permanent {
		t.Errorf("error %v, want a permanent one", err)
	}
}

func TestOptions(t *testing.T) {
	good := smtpclient.Options{Addr: "smtp.privasphere.example:25", Hello: "gateway.bl.example"}
	for name, o := range map[string]privasphere.Options{
		"no smarthost": {Link: smtpclient.Options{Hello: "h.example"}},
		"unknown mode": {Link: good, Mode: "both"},
		"shared tag":   {Link: good, RegisteredTag: "<c>", ConfidentialTag: "<c>"},
		"odd tag":      {Link: good, RegisteredTag: "<r>\r\n"[:4] + "\x00"},
		"odd value":    {Link: good, Mode: privasphere.ByHeader, RegisteredValue: "a\r\nb"},
		"no verifying": {Link: smtpclient.Options{Addr: good.Addr, Hello: good.Hello, Mode: smtpclient.Opportunistic}},
	} {
		if _, err := privasphere.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	c := newConnector(t, privasphere.Options{Link: good, MaxSize: 5})
	if got := c.Limits(); got.MaxSize != 5 || got.MaxRecipients != 1 || c.Name() != "privasphere" {
		t.Errorf("%s: limits %+v", c.Name(), got)
	}
}
