package pdfsig

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatewayd/crypto/pdfdoc"
	"gatewayd/message"
)

// fixed is a signer whose signatures are the same in every process, as the
// fuzzing engine needs it: Ed25519 takes no chance.
var fixed = sync.OnceValue(func() Signer {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	return Signer{Key: key, Cert: certificate(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Fuzz"}, KeyUsage: x509.KeyUsageDigitalSignature,
	}, nil, key, key)}
})

func seeds(f *testing.F) []byte {
	signed := sign(f, receipt(f, true, 1), fixed())
	f.Add(signed)
	f.Add(shadow(signed))
	f.Add(receipt(f, false, 1))
	f.Add([]byte("%PDF-1.4 1 0 obj<</ByteRange[0 1 2 3]/Contents<00>/SubFilter/adbe.pkcs7.detached>>"))
	f.Add([]byte("%PDF-1.4 <</A(((/ByteRange [[<<"))
	names, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "corpora", "pdf-signed", filepath.FromSlash(pyhanko), "coverage-anomalies", "*.pdf"))
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b)
		}
	}
	return signed
}

// FuzzVerify wants no panic, and no good word about anything but the one
// document that was signed.
func FuzzVerify(f *testing.F) {
	signed := seeds(f)
	roots := x509.NewCertPool()
	roots.AddCert(fixed().Cert)
	if r, err := Verify(signed, VerifyOptions{Roots: roots}); err != nil || r.Verdict != message.Verified {
		f.Fatalf("seed: %s (%s), %v", r.Verdict, r.Detail, err)
	}
	f.Fuzz(func(t *testing.T, pdf []byte) {
		r, err := Verify(pdf, VerifyOptions{Roots: roots})
		if err != nil && r.Verdict != message.Unsigned {
			t.Errorf("%s with %v", r.Verdict, err)
		}
		if r.Verdict == message.Verified && !bytes.Equal(covered(pdf, r), covered(signed, r)) {
			t.Errorf("verified what was never signed")
		}
	})
}

func covered(pdf []byte, r Report) []byte {
	for _, s := range r.Signatures {
		if g := s.ByteRange; s.Decides {
			return append(bytes.Clone(pdf[:g[1]]), pdf[g[2]:r.Signed]...)
		}
	}
	return nil
}

// FuzzSign wants no panic, and that what can be signed can be verified. The
// writer is fed with foreign documents nowhere, but may be one day.
func FuzzSign(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, pdf []byte) {
		doc, err := pdfdoc.Open(pdf)
		if err != nil || doc.Signable() != nil {
			return
		}
		out, hole, err := update(doc, 64, Options{Time: now})
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupported) {
				t.Errorf("unclear error: %v", err)
			}
			return
		}
		if value, err := contents(out[hole.start:hole.end]); err != nil || len(value) != 64 {
			t.Errorf("no room for the signature: %s, %v", hex.EncodeToString(value), err)
		}
	})
}

// FuzzUpdate wants no panic, and that an update which passes for validation data
// leaves every stream of the signed document but its metadata where it was.
func FuzzUpdate(f *testing.F) {
	pdf := sign(f, receipt(f, true, 1), testPKI().ec)
	base, err := pdfdoc.Open(pdf)
	if err != nil {
		f.Fatal(err)
	}
	size, _ := pdfdoc.Number(base.Trailer.Get("Size"))
	root := string(base.Trailer.Get("Root"))
	catalog, err := base.DictAt([]byte(root))
	if err != nil {
		f.Fatal(err)
	}
	n, _, _ := pdfdoc.Reference([]byte(root))
	dss := fmt.Sprintf("%s 0 obj\n%s\nendobj\n%d 0 obj\n<</Certs [%d 0 R]>>\nendobj\n%d 0 obj\n<</Length 1>>\nstream\na\nendstream\nendobj\n",
		fmt.Sprint(n), catalog.With("DSS", fmt.Sprintf("%d 0 R", size)).Bytes(), size, size+1, size+1)
	offset := func(s string) int { return len(pdf) + strings.Index(dss, s) }
	f.Add([]byte(fmt.Sprintf("%sxref\n%d 1\n%010d 00000 n\r\n%d 2\n%010d 00000 n\r\n%010d 00000 n\r\ntrailer\n<</Size 99/Root %s/Prev %d>>\nstartxref\n%d\n%%%%EOF\n",
		dss, n, len(pdf), size, offset(fmt.Sprintf("%d 0 obj", size)), offset(fmt.Sprintf("%d 0 obj", size+1)), root, base.Start, len(pdf)+len(dss))))
	f.Fuzz(func(t *testing.T, tail []byte) {
		whole := append(bytes.Clone(pdf), tail...)
		if longTermOnly(whole, int64(len(pdf))) != nil {
			return
		}
		now, err := pdfdoc.Open(whole)
		if err != nil {
			t.Fatalf("taken, and cannot be opened: %v", err)
		}
		for n, p := range base.Places {
			if _, _, data, err := pdfdoc.StreamAt(pdf, p.Offset); err == nil && data != nil && now.Places[n] != p && n != 0 {
				t.Errorf("stream %d was replaced", n)
			}
		}
	})
}
