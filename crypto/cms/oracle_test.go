package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"gatewayd/crypto/ber"
)

// failures returns objects for id that fail at different places on the way to
// the content, all of the same length.
func failures(t *testing.T, id identity, size int) map[string][]byte {
	t.Helper()
	key, iv := bytes.Repeat([]byte{7}, 32), make([]byte, 16)
	public := id.cert.PublicKey.(*rsa.PublicKey)
	block := must(aes.NewCipher(key))
	padded := make([]byte, size)
	padded[size-1] = 1
	good, bad := make([]byte, size), make([]byte, size)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(good, padded)
	padded[size-1] = 0
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(bad, padded)
	cbc := ber.Wrap(ber.Sequence, oid(oidAES256CBC), ber.Wrap(ber.OctetString, iv))
	out := map[string][]byte{}
	for _, pkcs1 := range []bool{true, false} {
		method, wrapped, err := wrapRSA(public, key, pkcs1)
		if err != nil {
			t.Fatal(err)
		}
		_, short, err := wrapRSA(public, key[:16], pkcs1)
		if err != nil {
			t.Fatal(err)
		}
		broken := slices.Clone(wrapped)
		broken[20] ^= 1
		name := map[bool]string{true: "PKCS #1: ", false: "OAEP: "}[pkcs1]
		p := parts{transport: method, wrapped: wrapped, method: cbc, content: ber.Wrap(ber.Implicit0, bad)}
		out[name+"padding of the content"] = p.der(id)
		p.content = ber.Wrap(ber.Implicit0, good)
		p.wrapped = broken
		out[name+"padding of the key"] = p.der(id)
		p.wrapped = short
		out[name+"length of the key"] = p.der(id)
	}
	return out
}

// written counts octets.
type written struct{ n int }

func (w *written) Write(p []byte) (int, error) { w.n += len(p); return len(p), nil }

// TestFailuresLookAlike: wherever it fails, the error has the same words, and
// the whole content was worked on before (Bleichenbacher, Manger, Vaudenay).
// PKCS #1 can seem to succeed, one time in 256: then nobody learns either.
func TestFailuresLookAlike(t *testing.T) {
	w := testWorld()
	const size = 64 << 10
	for name, der := range failures(t, w.rsa, size) {
		var n written
		_, err := Decrypt(&n, bytes.NewReader(der), []Recipient{w.rsa.recipient()}, ber.Limits{})
		if err != nil && (!errors.Is(err, ErrDecrypt) || err.Error() != "enveloped data: decryption failed") {
			t.Errorf("%s: %v", name, err)
		}
		if n.n < size-aes.BlockSize {
			t.Errorf("%s: only %d octets were worked on", name, n.n)
		}
	}
}

// TestFailuresTakeAlike measures the medians; they differ by less than the
// clock of a network shows. It needs a quiet machine.
func TestFailuresTakeAlike(t *testing.T) {
	if os.Getenv("GATEWAYD_LONG") == "" {
		t.Skip("needs GATEWAYD_LONG=1 and a quiet machine")
	}
	w := testWorld()
	kinds := failures(t, w.rsa, 64<<10)
	times := map[string][]time.Duration{}
	for range 400 {
		for name, der := range kinds {
			begin := time.Now()
			_, _ = Decrypt(&written{}, bytes.NewReader(der), []Recipient{w.rsa.recipient()}, ber.Limits{})
			times[name] = append(times[name], time.Since(begin))
		}
	}
	least, most := time.Hour, time.Duration(0)
	for name, list := range times {
		slices.Sort(list)
		median := list[len(list)/2]
		least, most = min(least, median), max(most, median)
		t.Logf("%v  %s", median, name)
	}
	if most-least > time.Millisecond {
		t.Errorf("medians differ by %v", most-least)
	}
}
