package cms

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"testing"

	"gatewayd/crypto/ber"
)

// TestWithStamp: a stamp that comes later is laid where Sign would have laid it,
// and no other octet changes.
func TestWithStamp(t *testing.T) {
	w := testWorld()
	token := ber.Wrap(ber.Sequence, bytes.Repeat([]byte{ber.Null, 0}, 40))
	for name, who := range w.keys {
		s := Signer{Cert: who.cert, Key: who.key, Chain: []*x509.Certificate{w.middle.cert}}
		plain, err := Sign(bytes.NewReader([]byte("content")), s, SignOptions{Time: now})
		if err != nil {
			t.Fatal(name, err)
		}
		value, err := Value(plain)
		if err != nil {
			t.Fatal(name, err)
		}
		stamped, err := WithStamp(plain, token)
		if err != nil {
			t.Fatal(name, err)
		}
		r, err := Verify(bytes.NewReader(stamped), bytes.NewReader([]byte("content")), VerifyOptions{Trust: TrustPool(w.roots)})
		if err != nil || r.Signatures[0].ChainErr != nil {
			t.Fatal(name, err)
		}
		if got := r.Signatures[0]; !bytes.Equal(got.Value, value) || len(got.Stamps) != 1 || !bytes.Equal(got.Stamps[0], token) {
			t.Errorf("%s: value or stamp differs", name)
		}
		for what, der := range map[string][]byte{"plain": plain, "stamped": stamped} {
			r, err := Verify(bytes.NewReader(der), bytes.NewReader([]byte("content")), VerifyOptions{})
			if err != nil {
				t.Fatal(name, err)
			}
			if got, err := r.Canonical(); err != nil || !bytes.Equal(got, der) {
				t.Errorf("%s, %s: not what Sign wrote: %v", name, what, err)
			}
		}
		if _, err := WithStamp(stamped, token); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: stamped twice: %v", name, err)
		}
	}
}

// TestCanonical: what carries more than a signature needs differs from its
// canonical form.
func TestCanonical(t *testing.T) {
	w := testWorld()
	who := w.keys["P-256"]
	if who.cert == nil {
		for _, who = range w.keys {
			break
		}
	}
	s := Signer{Cert: who.cert, Key: who.key}
	plain, err := Sign(bytes.NewReader([]byte("content")), s, SignOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d, info, err := onlySigner(plain)
	if err != nil {
		t.Fatal(err)
	}
	junk := ber.Wrap(ber.Sequence, ber.Wrap(ber.OctetString, []byte("anything at all")))
	signer := ber.Wrap(ber.Sequence, info.head())
	certificates := ber.Wrap(ber.Context0, d.Data.Certificates.Bytes, junk)
	head := slices.Concat(d.Data.Version.FullBytes, d.Data.Digests.FullBytes, d.Data.Content.FullBytes)
	for name, der := range map[string][]byte{
		"certificate that is none": wrapSigned(slices.Concat(head, certificates), signer),
		"revocation list":          wrapSigned(slices.Concat(d.head(), ber.Wrap(ber.Context1, junk)), signer),
		"unsigned attribute":       wrapSigned(d.head(), ber.Wrap(ber.Sequence, info.head(), ber.Wrap(ber.Context1, attribute(oidCountersign(), junk)))),
		"version":                  wrapSigned(bytes.Replace(d.head(), version(1), version(3), 1), signer),
	} {
		r, err := Verify(bytes.NewReader(der), bytes.NewReader([]byte("content")), VerifyOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := r.Canonical(); err == nil && bytes.Equal(got, der) {
			t.Errorf("%s: is called canonical", name)
		}
	}
	for name, der := range map[string][]byte{"nothing": nil, "junk": junk, "cut": plain[:len(plain)-1], "longer": append(slices.Clone(plain), 0), "two signers": wrapSigned(d.head(), slices.Concat(signer, signer))} {
		if _, err := Value(der); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func oidCountersign() []int { return []int{1, 2, 840, 113549, 1, 9, 6} }
