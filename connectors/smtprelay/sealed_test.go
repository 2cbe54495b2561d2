package smtprelay_test

import (
	"strings"
	"testing"
	"time"

	"gatewayd/connectors"
	"gatewayd/connectors/smtpclient"
	"gatewayd/connectors/smtprelay"
	"gatewayd/message"
)

// TestSealed: the way for mail that the gateway has encrypted carries nothing
// else, and registered decisions not at all.
func TestSealed(t *testing.T) {
	c, err := smtprelay.New(smtprelay.Options{As: "smime", Sealed: true, Link: smtpclient.Options{Addr: "127.0.0.1:1", Hello: "gw.example", Timeouts: smtpclient.Timeouts{Connect: time.Second}}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Name() != "smime" {
		t.Errorf("name %q", c.Name())
	}
	const enveloped = "Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n"
	tests := []struct {
		name, head string
		class      message.Class
		refused    bool
	}{
		{"enveloped", enveloped, message.Confidential, false},
		{"auth-enveloped", "Content-Type: application/pkcs7-mime; smime-type=\"authEnveloped-data\"\r\n", message.Confidential, false},
		{"PGP/MIME", "Content-Type: multipart/encrypted; boundary=x; protocol=\"application/pgp-encrypted\"\r\n", message.Personal, false},
		{"plain text", "Content-Type: text/plain\r\n", message.Confidential, true},
		{"plain text, class normal", "Content-Type: text/plain\r\n", message.Normal, true},
		{"no type", "Subject: x\r\n", message.Confidential, true},
		{"only signed", "Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n", message.Confidential, true},
		{"two types", enveloped + "Content-Type: text/plain\r\n", message.Confidential, true},
		{"a type in a comment", "Content-Type: text/plain (application/pkcs7-mime; smime-type=enveloped-data)\r\n", message.Confidential, true},
		{"registered", enveloped, message.Registered, true},
	}
	for _, tt := range tests {
		_, err := c.Submit(t.Context(), connectors.Handover{
			Item:     message.Item{Decision: message.Decision{Class: tt.class}},
			Envelope: message.Envelope{Direction: message.Outbound},
			From:     message.Address{Local: "a", Domain: "bl.example"}, To: message.Address{Local: "b", Domain: "example.ch"},
			Body: strings.NewReader("From: a@bl.example\r\n" + tt.head + "\r\nAAAA\r\n"),
		})
		// Nobody listens: what is not refused fails temporarily at the connection.
		if got := connectors.KindOf(err) == connectors.Permanent; got != tt.refused {
			t.Errorf("%s: %v, want refused %v", tt.name, err, tt.refused)
		}
	}
}
