package mail

import (
	"strings"
	"testing"
	"time"

	"gatewayd/message"
)

func TestAddresses(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"a@b.ch", "a@b.ch"},
		{"Amt <a@b.ch>, c@d.ch", "a@b.ch,c@d.ch"},
		{`"Muster, Hans" <h@b.ch>, (note) e@f.ch (Eva)`, "h@b.ch,e@f.ch"},
		{"Team: a@b.ch, C <c@d.ch>; e@f.ch", "a@b.ch,c@d.ch,e@f.ch"},
		{"undisclosed-recipients:;", ""},
		{"<@relay.ch,@x.ch:a@b.ch>", "a@b.ch"},
		{`"a>b"@c.ch, <"x y"@z.ch>`, `"a>b"@c.ch,"x y"@z.ch`},
		{"not an address, a@b.ch, <>", "a@b.ch"},
		{"=?utf-8?q?J=C3=BCrg?= <j@b.ch>", "j@b.ch"},
		{"A <a@b.ch> <c@d.ch>", "a@b.ch,c@d.ch"},
		{"A B a@b.ch", "a@b.ch"},
		{"a@b.ch>", "a@b.ch"},
		{"(open comment a@b.ch", ""},
		{"\"open quote a@b.ch", ""},
		{"a@b.ch\x00", ""},
	}
	for _, tt := range tests {
		var got []string
		for _, a := range Addresses(tt.in) {
			got = append(got, a.String())
		}
		if strings.Join(got, ",") != tt.want {
			t.Errorf("Addresses(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestHeaderFrom(t *testing.T) {
	tests := []struct {
		in, addr, display string
		ok                bool
	}{
		{"From: Amt <a@b.ch>\r\n\r\n", "a@b.ch", "Amt", true},
		{"From: \"amt@bl.example mittels IncaMail\" <swisspost@im.post.ch>\r\n\r\n", "swisspost@im.post.ch", "amt@bl.example mittels IncaMail", true},
		{"From: =?utf-8?q?J=C3=BCrg?= <j@b.ch>, x@y.ch\r\n\r\n", "j@b.ch", "Jürg", true},
		{"From: j@b.ch (J. Muster)\r\n\r\n", "j@b.ch", "J. Muster", true},
		{"From: a@b.ch\r\nFrom: c@d.ch\r\n\r\n", "", "", false},
		{"From: nobody\r\n\r\n", "", "", false},
		{"To: a@b.ch\r\n\r\n", "", "", false},
	}
	for _, tt := range tests {
		a, display, ok := HeaderFrom(read(t, tt.in))
		if a.String() != tt.addr || display != tt.display || ok != tt.ok {
			t.Errorf("HeaderFrom(%q) = %s, %q, %v", tt.in, a, display, ok)
		}
	}
}

func TestReceivedField(t *testing.T) {
	at := time.Date(2026, 11, 23, 14, 5, 6, 0, time.FixedZone("CET", 3600))
	id := message.ID{1, 2, 3}
	env := message.Envelope{
		ID: id, Direction: message.Inbound, Received: at, Helo: "mx.example.ch", RemoteAddr: "192.0.2.1",
		Protocol: "ESMTPS", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256",
	}
	want := "Received: from mx.example.ch ([192.0.2.1])\r\n\tby gw.example with ESMTPS id " + id.String() +
		"\r\n\t(TLS1.3 TLS_AES_128_GCM_SHA256);\r\n\tMon, 23 Nov 2026 13:05:06 +0000\r\n"
	if got := ReceivedField(env, "gw.example"); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	env.RemoteAddr = "2001:db8::1"
	if got := ReceivedField(env, "gw.example"); !strings.Contains(got, "([IPv6:2001:db8::1])") {
		t.Errorf("%q", got)
	}
	env.Direction = message.Outbound
	if got := ReceivedField(env, "gw.example"); strings.Contains(got, "mx.example") || strings.Contains(got, "2001") {
		t.Errorf("an authority's client is told: %q", got)
	}
	env = message.Envelope{ID: id, Direction: message.Inbound, Received: at, Helo: "a\r\nBcc: x (b) <c> é", RemoteAddr: "nonsense\r\n", Protocol: "", TLS: "x)\r\ny"}
	h := &Header{}
	if err := h.Prepend(ReceivedField(env, "gw.example")); err != nil {
		t.Errorf("hostile values: %v in %q", err, ReceivedField(env, "gw.example"))
	}
}
