package connectors

import (
	"strings"
	"testing"
)

func TestDSNParams(t *testing.T) {
	for _, c := range []struct {
		dsn        DSN
		mail, rcpt string
	}{
		{DSN{}, "", ""},
		{DSN{EnvID: "a+b=c d", Ret: "hdrs"}, " RET=HDRS ENVID=a+2Bb+3Dc+20d", ""},
		{DSN{EnvID: "a\r\nRCPT TO:<x@y>", Ret: "ALL"}, "", ""},
		{DSN{EnvID: strings.Repeat("x", 101)}, "", ""},
		{DSN{Notify: []string{"success", "FAILURE", "bogus"}, ORcpt: "rfc822;a+b@c.example"}, "", " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@c.example"},
		{DSN{Notify: []string{"DELAY", "NEVER"}}, "", " NOTIFY=NEVER"},
		{DSN{ORcpt: "utf-8;ü@c.example"}, "", ""},
		{DSN{ORcpt: "rfc822"}, "", ""},
		{DSN{ORcpt: "rf c822;a@b"}, "", ""},
		{DSN{ORcpt: "rfc822;a\rb"}, "", ""},
	} {
		if got := c.dsn.mailParams(); got != c.mail {
			t.Errorf("%+v: MAIL%q, want %q", c.dsn, got, c.mail)
		}
		if got := c.dsn.rcptParams(); got != c.rcpt {
			t.Errorf("%+v: RCPT%q, want %q", c.dsn, got, c.rcpt)
		}
	}
}
