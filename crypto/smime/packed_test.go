package smime

import (
	"bytes"
	"compress/zlib"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/entity"
)

// packed is an entity of compressed-data (RFC 3274) around another one.
func packed(t *testing.T, inner string) string {
	t.Helper()
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write([]byte(inner))
	_ = w.Close()
	id := func(s ...int) []byte { return must(asn1.Marshal(asn1.ObjectIdentifier(s))) }
	der := ber.Wrap(ber.Sequence, id(1, 2, 840, 113549, 1, 9, 16, 1, 9), ber.Wrap(ber.Context0, ber.Wrap(ber.Sequence, []byte{ber.Integer, 1, 0},
		ber.Wrap(ber.Sequence, id(1, 2, 840, 113549, 1, 9, 16, 3, 8)),
		ber.Wrap(ber.Sequence, id(1, 2, 840, 113549, 1, 7, 1), ber.Wrap(ber.Context0, ber.Wrap(ber.OctetString, z.Bytes()))))))
	return "Content-Type: application/pkcs7-mime; smime-type=compressed-data\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(der) + "\r\n"
}

// TestPackedInPacked: a small mail of packed content in packed content does not take
// the whole limit of a layer for each of them; a few layers are opened.
func TestPackedInPacked(t *testing.T) {
	mail := "Content-Type: text/plain\r\n\r\nGruss\r\n"
	for layers := 1; layers <= 6; layers++ {
		mail = packed(t, mail+strings.Repeat("\r\n", 450_000))
		raw := "From: a@bl.example\r\n" + mail
		op, err := entity.Open(strings.NewReader(raw), int64(len(raw)), entity.Options{At: now, Openers: []entity.Opener{Opener{}}, Limits: entity.Limits{Size: 1 << 20}})
		switch {
		case layers <= 4 && (err != nil || len(op.Layers) != layers || op.Content == nil):
			t.Errorf("%d layers: %v", layers, err)
		case layers > 4 && !errors.Is(err, entity.ErrTooLarge):
			t.Errorf("%d layers, %d octets: %v", layers, len(raw), err)
		}
		if op != nil {
			_ = op.Close()
		}
	}
}
