package tsp_test

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/ber"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/tsp"
)

func corpus(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "corpora", "tsp-rfc3161")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("needs the shared corpora beside the project")
	}
	return dir
}

func certificates(t *testing.T, names ...string) []*x509.Certificate {
	t.Helper()
	var list []*x509.Certificate
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

// TestSectigo: a stamp of a public TSA, up to a real anchor.
func TestSectigo(t *testing.T) {
	dir := filepath.Join(corpus(t), "openssl")
	answer, err := os.ReadFile(filepath.Join(dir, "sectigo-all-zero.tsr"))
	if err != nil {
		t.Fatal(err)
	}
	query, err := os.ReadFile(filepath.Join(dir, "all-zero.tsq"))
	if err != nil {
		t.Fatal(err)
	}
	q, err := tsp.ParseRequest(query)
	if err != nil || hex.EncodeToString(q.Digest) != strings.Repeat("00", 32) {
		t.Fatalf("%+v, %v", q, err)
	}
	token, err := tsp.Token(answer)
	if err != nil {
		t.Fatal(err)
	}
	anchors := x509.NewCertPool()
	anchors.AddCert(certificates(t, filepath.Join(dir, "comodo-aaa.pem"))[0])
	o := tsp.Options{Trust: cms.TrustPool(anchors), Request: &q}
	if s, err := tsp.Verify(token, nil, o); err != nil || s.Trusted() {
		t.Errorf("without the certificates in between: trusted %v, %v", s.Trusted(), err)
	}
	o.Certificates = certificates(t, filepath.Join(dir, "sectigo-signer.pem"), filepath.Join(dir, "sectigo-time-stamping-ca.pem"), filepath.Join(dir, "user-trust-ca-aaa.pem"))
	s, err := tsp.Verify(token, nil, o)
	if want := time.Date(2021, 2, 16, 15, 42, 47, 0, time.UTC); err != nil || !s.Trusted() || !s.At.Equal(want) || len(s.Chain) != 4 {
		t.Errorf("%+v, %v", s, err)
	}
	o.At = time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
	if s, err := tsp.Verify(token, nil, o); err != nil || s.Trusted() {
		t.Errorf("trusted long after its certificates: %v", err)
	}
}

// TestRecords finds every time stamp inside of the evidence records (RFC 4998)
// and other files of the corpus, and compares with OpenSSL, which reads them
// too. Their anchors are not ours, so none is trusted.
func TestRecords(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("needs openssl")
	}
	found, good := 0, 0
	err := filepath.WalkDir(filepath.Join(corpus(t), "tsp"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, token := range tokens(text) {
			found++
			s, err := tsp.Verify(token, nil, tsp.Options{})
			if err == nil && !s.Trusted() {
				good++
			}
			// `openssl ts` cannot read those that carry OCSP answers; cms can.
			out, peer := exec.Command("openssl", "cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in", file(t, "token", token)).Output()
			if (err == nil) != (peer == nil) || err == nil && !bytes.Contains(out, []byte(s.At.Format("20060102150405"))) {
				t.Errorf("%s: %s, %v; OpenSSL says %v", filepath.Base(path), s.At, err, peer)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 20 || good < found*9/10 {
		t.Errorf("%d stamps found, %d good", found, good)
	}
	t.Logf("%d stamps, %d good", found, good)
}

// tokens cuts out what begins like a SignedData and holds a TSTInfo.
func tokens(b []byte) [][]byte {
	signed := []byte{6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2}
	var list [][]byte
	for at := 0; ; {
		i := bytes.Index(b[at:], signed)
		if i < 0 {
			return list
		}
		at += i
		for head := 2; head <= 5 && head <= at; head++ {
			r := ber.NewReader(bytes.NewReader(b[at-head:]), ber.Limits{})
			if !r.Next(ber.Sequence) {
				continue
			}
			token, err := r.Element(tsp.MaxSize)
			if err == nil && bytes.Contains(token, []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 0x10, 1, 4}) && bytes.Index(token, signed) < 6 {
				list = append(list, token)
				break
			}
		}
		at += len(signed)
	}
}
