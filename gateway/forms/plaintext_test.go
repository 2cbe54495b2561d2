package forms_test

import (
	"bufio"
	"strings"
	"testing"

	"gatewayd/gateway/forms"
	"gatewayd/mail"
)

// seek reports whether a word stands in a text that is written in pieces.
func seek(word string, pieces ...string) bool {
	s := &forms.Seeker{Word: word}
	for _, p := range pieces {
		_, _ = s.Write([]byte(p)) // never fails
	}
	return s.Found
}

// TestSeek: a word is found wherever the pieces of a stream end.
func TestSeek(t *testing.T) {
	const word = "-----BEGIN "
	for _, whole := range []string{word, "x" + word + "PGP", strings.Repeat("-", 40) + "BEGIN ", "-----BEGIN", "----BEGIN ", "", word[:6] + word[5:]} {
		want := strings.Contains(whole, word)
		for i := range len(whole) + 1 {
			for j := i; j <= len(whole); j++ {
				if got := seek(word, whole[:i], whole[i:j], whole[j:]); got != want {
					t.Errorf("%q cut at %d and %d: %v", whole, i, j, got)
				}
			}
		}
		if got := seek(word, strings.Split(whole, "")...); got != want {
			t.Errorf("%q octet by octet: %v", whole, got)
		}
	}
}

// TestMayBePlain: by its header a message is a single text as it stands, or it may be
// something else.
func TestMayBePlain(t *testing.T) {
	for header, want := range map[string]bool{
		"":                                  true,
		"Content-Type: text/plain\r\n":      true,
		"Content-Type:  TEXT/html; a=b\r\n": true,
		"Content-Type: multipart/mixed\r\n": false,
		"Content-Type: application/pdf\r\n": false,
		"Content-Type: text/plain\r\nContent-Type: application/pkcs7-mime\r\n":               false,
		"Content-Transfer-Encoding: 8bit\r\n":                                                true,
		"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n":                  false,
		"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: quoted-printable\r\n": false,
	} {
		head, err := mail.ReadHeader(bufio.NewReader(strings.NewReader(header+"\r\n")), forms.MaxHeader)
		if err != nil {
			t.Fatal(err)
		}
		if got := forms.MayBePlain(head); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}
