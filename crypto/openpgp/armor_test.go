package openpgp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/crypto/entity"
)

// TestArmor writes what go-crypto writes, in whatever pieces it comes.
func TestArmor(t *testing.T) {
	data := []byte(strings.Repeat("\x00Grüezi\xff", 9000))
	for _, size := range []int{0, 1, 47, 48, 49, 96, 1000, len(data)} {
		var want bytes.Buffer
		a := must(armor.Encode(entity.CRLF(&want), pgp.MessageType, nil))
		must(a.Write(data[:size]))
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		for _, step := range []int{1, 7, 48, 100, len(data)} {
			var got bytes.Buffer
			w := newArmor(&got, pgp.MessageType, true)
			for rest := data[:size]; len(rest) > 0; {
				n := min(step, len(rest))
				must(w.Write(rest[:n]))
				rest = rest[n:]
			}
			if err := w.Close(); err != nil || got.String() != want.String() && size > 0 {
				t.Fatalf("%d octets by %d: %v\n%.300s\nwant\n%.300s", size, step, err, got.String(), want.String())
			}
			if block, err := armor.Decode(&got); err != nil || !bytes.Equal(must(io.ReadAll(block.Body)), data[:size]) {
				t.Errorf("%d octets by %d: %v", size, step, err)
			}
		}
	}
	boom := errors.New("boom")
	w := newArmor(full{boom}, pgp.MessageType, false)
	if _, err := w.Write(data); !errors.Is(err, boom) || !errors.Is(w.Close(), boom) {
		t.Errorf("full disk: %v", err)
	}
}

// TestChecksum stands where it may: not on AEAD, nor on signatures by keys of version 6.
func TestChecksum(t *testing.T) {
	w := testWorld()
	for _, c := range []struct {
		name string
		o    Options
		want bool
	}{
		{"MDC", Options{Recipients: publics(w.bob)}, true},
		{"AEAD", Options{Recipients: publics(w.v6)}, false},
		{"MDC for one of them", Options{Recipients: publics(w.v6, w.bob)}, true},
		{"signature", Options{Signer: &w.amt}, true},
		{"signature, version 6", Options{Signer: &w.v6}, false},
	} {
		c.o.Time = now
		out := protect(t, letter, c.o)
		if got := bytes.Contains(out[bytes.Index(out, []byte("-----BEGIN PGP")):], []byte("\r\n=")); got != c.want {
			t.Errorf("%s: checksum: %v", c.name, got)
		}
	}
}
