package cms

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"gatewayd/crypto/ber"
)

// deflated returns content in the form of RFC 1950.
func deflated(content []byte) []byte {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, _ = z.Write(content)
	_ = z.Close()
	return b.Bytes()
}

// compressed is a CompressedData (RFC 3274 section 1.1).
func compressed(method, content []byte) []byte {
	return ber.Wrap(ber.Sequence, oid(oidCompressed), ber.Wrap(ber.Context0, ber.Wrap(ber.Sequence, version(0), method,
		ber.Wrap(ber.Sequence, oid(oidData), ber.Wrap(ber.Context0, content)))))
}

func TestDecompress(t *testing.T) {
	zip := ber.Wrap(ber.Sequence, oid(oidZlib))
	packed := deflated([]byte(text))
	stored := ber.Wrap(ber.OctetString, packed)
	pieces := ber.Wrap(ber.OctetString|ber.Constructed, ber.Wrap(ber.OctetString, packed[:5]), ber.Wrap(ber.OctetString, packed[5:]))
	bomb := deflated(make([]byte, 10<<20))
	max := int64(1 << 20)
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"good", compressed(zip, stored), nil},
		{"in pieces", compressed(zip, pieces), nil},
		{"bomb", compressed(zip, ber.Wrap(ber.OctetString, bomb)), ErrBomb},
		{"cut inside", compressed(zip, ber.Wrap(ber.OctetString, packed[:len(packed)-5])), ber.ErrMalformed},
		{"wrong checksum", compressed(zip, ber.Wrap(ber.OctetString, append(slices.Clone(packed[:len(packed)-1]), 0))), ber.ErrMalformed},
		{"data behind", compressed(zip, ber.Wrap(ber.OctetString, append(slices.Clone(packed), packed...))), ber.ErrMalformed},
		{"not zlib", compressed(zip, ber.Wrap(ber.OctetString, []byte(text))), ber.ErrMalformed},
		{"empty", compressed(zip, ber.Wrap(ber.OctetString)), ber.ErrMalformed},
		{"other method", compressed(ber.Wrap(ber.Sequence, oid(oidData)), stored), ErrUnsupported},
		{"other object", must(encrypted(testWorld())), ErrNotCompressed},
		{"junk behind", append(compressed(zip, stored), 1), ber.ErrMalformed},
		{"no content", compressed(zip, nil), ber.ErrMalformed},
	} {
		var out bytes.Buffer
		err := Decompress(&out, bytes.NewReader(c.in), max, ber.Limits{})
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || out.String() != text) {
			t.Errorf("%s: %q, %v; want %v", c.name, out.String()[:min(100, out.Len())], err, c.want)
		}
		if int64(out.Len()) > max {
			t.Errorf("%s: %d octets came out", c.name, out.Len())
		}
	}
	if err := Decompress(fullDisk{}, bytes.NewReader(compressed(zip, stored)), max, ber.Limits{}); !errors.Is(err, errFull) || errors.Is(err, ber.ErrMalformed) {
		t.Errorf("full disk: %v", err)
	}
	in := compressed(zip, stored)
	for n := range in {
		if err := Decompress(io.Discard, bytes.NewReader(in[:n]), max, ber.Limits{}); err == nil {
			t.Errorf("cut to %d of %d octets is read", n, len(in))
		}
	}
}

// FuzzDecompress wants no panic and never more than the limit.
func FuzzDecompress(f *testing.F) {
	zip := ber.Wrap(ber.Sequence, oid(oidZlib))
	f.Add(compressed(zip, ber.Wrap(ber.OctetString, deflated([]byte(text)))))
	f.Add(compressed(zip, ber.Wrap(ber.OctetString, deflated([]byte(strings.Repeat("0", 1<<20))))))
	f.Fuzz(func(t *testing.T, in []byte) {
		var n counter
		if err := Decompress(&n, bytes.NewReader(in), 1<<10, ber.Limits{Size: 1 << 20}); err == nil && n > 1<<10 {
			t.Errorf("%d octets", n)
		}
	})
}
