package smtpclient

import (
	"strings"
	"testing"

	"gatewayd/connectors"
)

func TestDSNParams(t *testing.T) {
	for _, c := range []struct {
		dsn        connectors.DSN
		mail, rcpt string
	}{
		{connectors.DSN{}, "", ""},
		{connectors.DSN{EnvID: "a+b=c d", Ret: "hdrs"}, " RET=HDRS ENVID=a+2Bb+3Dc+20d", ""},
		{connectors.DSN{EnvID: "a\r\nRCPT TO:<x@y>", Ret: "ALL"}, "", ""},
		{connectors.DSN{EnvID: strings.Repeat("x", 101)}, "", ""},
		{connectors.DSN{Notify: []string{"success", "FAILURE", "bogus"}, ORcpt: "rfc822;a+b@c.example"}, "", " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@c.example"},
		{connectors.DSN{Notify: []string{"DELAY", "NEVER"}}, "", " NOTIFY=NEVER"},
		{connectors.DSN{ORcpt: "utf-8;ü@c.example"}, "", ""},
		{connectors.DSN{ORcpt: "rfc822"}, "", ""},
		{connectors.DSN{ORcpt: "rf c822;a@b"}, "", ""},
		{connectors.DSN{ORcpt: "rfc822;a\rb"}, "", ""},
	} {
		if got := mailParams(c.dsn); got != c.mail {
			t.Errorf("%+v: MAIL%q, want %q", c.dsn, got, c.mail)
		}
		if got := rcptParams(c.dsn); got != c.rcpt {
			t.Errorf("%+v: RCPT%q, want %q", c.dsn, got, c.rcpt)
		}
	}
}
