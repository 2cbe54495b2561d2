package gateway_test

import (
	"strings"
	"testing"
	"testing/iotest"

	"gatewayd/gateway"
	"gatewayd/message"
)

// TestContains: a word is found wherever the pieces of a stream end.
func TestContains(t *testing.T) {
	const word = "-----BEGIN "
	for _, before := range []int{0, 1, 16<<10 - 12, 16<<10 - 11, 16<<10 - 5, 16<<10 - 1, 16 << 10, 40_000} {
		for _, text := range []string{word, word + "PGP", word[:len(word)-1] + "x"} {
			whole := strings.Repeat("-", before) + text
			got, err := gateway.Contains(strings.NewReader(whole), word)
			if err != nil || got != strings.Contains(whole, word) {
				t.Errorf("%d octets before %q: %v, %v", before, text, got, err)
			}
			if before > 100 {
				continue
			}
			if got, err := gateway.Contains(iotest.OneByteReader(strings.NewReader(whole)), word); err != nil || got != strings.Contains(whole, word) {
				t.Errorf("octet by octet, %d before %q: %v, %v", before, text, got, err)
			}
		}
	}
}

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
