package gateway_test

import (
	"testing"

	"gatewayd/message"
)

// TestProtectionIsNoted: what came in protected says what that is worth, however
// it is wrapped; a plain text says nothing.
func TestProtectionIsNoted(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	armour := "-----BEGIN PGP MESSAGE-----\r\n\r\nwV4D\r\n-----END PGP MESSAGE-----\r\n"
	for name, tt := range map[string]struct {
		text  string
		noted bool
	}{
		"plain":               {"Subject: x\r\n\r\nText\r\n", false},
		"plain HTML":          {"Content-Type: text/html\r\n\r\n<p>Text</p>\r\n", false},
		"inline OpenPGP":      {"Content-Type: text/plain\r\n\r\n" + armour, true},
		"in quoted-printable": {"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + armour, true},
		"S/MIME":              {"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\nContent-Transfer-Encoding: base64\r\n\r\nMIAG\r\n", true},
	} {
		id, err := r.inbound("wer@example.org", "From: wer@example.org\r\n"+tt.text, "bau@bl.example")
		if err != nil {
			t.Fatal(err)
		}
		r.becomes(id, message.Done)
		story, err := r.g.Story(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range story.Events {
			if e.Kind == message.EventMailbox && (e.Data["encryption"]+e.Data["signature"] != "") != tt.noted {
				t.Errorf("%s: %v", name, e.Data)
			}
		}
	}
}
