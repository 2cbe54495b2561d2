package incamail_test

import (
	"strings"
	"testing"

	"gatewayd/connectors"
	"gatewayd/connectors/connectortest"
	"gatewayd/connectors/incamail"
	"gatewayd/connectors/smtpclient"
	"gatewayd/message"
	"gatewayd/policy"
)

func open(t *testing.T, link smtpclient.Options) connectors.Connector {
	t.Helper()
	c, err := incamail.New(incamail.Options{Link: link, Vocabulary: policy.DefaultVocabulary()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformance(t *testing.T) {
	connectortest.Run(t, message.Registered, open)
}

func TestTagsAndSuffix(t *testing.T) {
	for _, c := range []struct {
		class  message.Class
		suffix string
		tag    string
		rcpt   string
	}{
		{message.Registered, "", "<r> ", "@example.ch>"},
		{message.Confidential, ".incamail.ch", "<c> ", "@example.ch.incamail.ch>"},
		{message.Personal, "", "<p> ", "@example.ch>"},
	} {
		ca := connectortest.NewCA(t)
		srv := connectortest.NewServer(t, connectortest.Friendly(ca))
		conn, err := incamail.New(incamail.Options{Link: connectortest.Link(ca, srv), Suffix: c.suffix, Vocabulary: policy.DefaultVocabulary()})
		if err != nil {
			t.Fatal(err)
		}
		h := connectortest.Letter(c.class)
		h.Item.Decision.Tag = c.tag
		if _, err := conn.Submit(t.Context(), h); err != nil {
			t.Fatalf("%s: %v", c.class, err)
		}
		srv.Wait()
		got := srv.Transactions()[0]
		if !strings.Contains(got.Rcpt, c.rcpt) {
			t.Errorf("%s: %s, want %s in it", c.class, got.Rcpt, c.rcpt)
		}
		if want := "\r\nSubject: " + c.tag + "[BL-7F3K9Q2M] "; !strings.Contains(string(got.Message()), want) {
			t.Errorf("%s: %q is missing", c.class, want)
		}
	}
}

func TestSuffixIsAppendedOnce(t *testing.T) {
	ca := connectortest.NewCA(t)
	srv := connectortest.NewServer(t, connectortest.Friendly(ca))
	conn, err := incamail.New(incamail.Options{Link: connectortest.Link(ca, srv), Suffix: ".incamail.ch"})
	if err != nil {
		t.Fatal(err)
	}
	h := connectortest.Letter(message.Registered)
	h.To.Domain = "example.ch.incamail.ch"
	if _, err := conn.Submit(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	srv.Wait()
	if got := srv.Transactions()[0].Rcpt; strings.Count(got, "incamail") != 1 {
		t.Errorf("said %s", got)
	}
}

func TestRefusesOtherClasses(t *testing.T) {
	ca := connectortest.NewCA(t)
	srv := connectortest.NewServer(t, connectortest.Friendly(ca))
	conn := open(t, connectortest.Link(ca, srv))
	for _, class := range []message.Class{message.Normal, message.Private, message.Bulk, ""} {
		_, err := conn.Submit(t.Context(), connectortest.Letter(class))
		if err == nil || connectors.KindOf(err) != connectors.Permanent {
			t.Errorf("class %q: error %v, want a permanent one", class, err)
		}
	}
	srv.Wait()
	if got := srv.Commands(); len(got) != 0 {
		t.Errorf("the platform heard %q", got)
	}
}

func TestOptions(t *testing.T) {
	good := smtpclient.Options{Addr: "mgi.incamail.example:25", Hello: "gateway.bl.example"}
	for name, o := range map[string]incamail.Options{
		"no smarthost":   {Link: smtpclient.Options{Hello: "h.example"}},
		"no name":        {Link: smtpclient.Options{Addr: good.Addr}},
		"empty tag":      {Link: good, Tags: map[message.Class]string{message.Registered: " "}},
		"shared tag":     {Link: good, Tags: map[message.Class]string{message.Registered: "<c>", message.Confidential: "<c>"}},
		"odd suffix":     {Link: good, Suffix: "incamail.ch"},
		"capital suffix": {Link: good, Suffix: ".IncaMail.ch"},
		"no verifying":   {Link: smtpclient.Options{Addr: good.Addr, Hello: good.Hello, Mode: smtpclient.Opportunistic}},
	} {
		if _, err := incamail.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	c, err := incamail.New(incamail.Options{Link: good})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Limits(); got.MaxSize != incamail.MaxSize || got.MaxRecipients != 1 {
		t.Errorf("limits %+v", got)
	}
	if c.Name() != "incamail" {
		t.Errorf("name %q", c.Name())
	}
}
