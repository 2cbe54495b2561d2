package path

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata")

// certificates reads the certificates of a PEM file, and the error of the
// first that cannot be read.
func certificates(file string) (list []*x509.Certificate, first error) {
	data := must(os.ReadFile(file))
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "CERTIFICATE") { // also TRUSTED and X509
			continue
		}
		var first509 asn1.RawValue // behind it OpenSSL may keep what it trusts a certificate for
		if _, err := asn1.Unmarshal(block.Bytes, &first509); err != nil {
			return list, err
		}
		c, err := x509.ParseCertificate(first509.FullBytes)
		if first == nil {
			first = err
		}
		if err == nil {
			list = append(list, c)
		}
	}
	return list, first
}

// TestOpenSSLCertificates judges the certificates with which OpenSSL tests its
// own validation: its roots are the anchors, all others came along. The table
// holds what we say of the first certificate of each file.
func TestOpenSSLCertificates(t *testing.T) {
	const golden = "testdata/openssl.tsv"
	dir := corpus(t, "openssl-cms", "certs")
	files := must(filepath.Glob(filepath.Join(dir, "*.pem")))
	var roots, known []*x509.Certificate
	for _, f := range files {
		list, _ := certificates(f)
		if name := filepath.Base(f); strings.HasPrefix(name, "root") || name == "many-constraints.pem" {
			roots = append(roots, list...)
		} else {
			known = append(known, list...)
		}
	}
	anchors := New(roots, nil, known)
	var got bytes.Buffer
	got.WriteString("file\tverdict\n")
	for _, f := range files {
		list, err := certificates(f)
		if len(list) == 0 && err == nil {
			continue // a key
		}
		verdict := "not readable"
		if len(list) > 0 {
			p, err := anchors.Verify(list[0], Options{At: now})
			switch {
			case err != nil:
				verdict = err.Error()
			case p.Weak:
				verdict = fmt.Sprintf("weak, %d certificates", len(p.Certificates))
			default:
				verdict = fmt.Sprintf("good, %d certificates", len(p.Certificates))
			}
		}
		fmt.Fprintf(&got, "%s\t%s\n", filepath.Base(f), verdict)
	}
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Split(string(must(os.ReadFile(golden))), "\n")
	for i, line := range strings.Split(got.String(), "\n") {
		if i >= len(want) || line != want[i] {
			t.Errorf("got  %s\nwant %s", line, want[min(i, len(want)-1)])
		}
	}
}

// TestOpenSSLConstraints are the cases of OpenSSL's tests of name constraints
// that concern a gateway: by its own account the first seven are good.
func TestOpenSSLConstraints(t *testing.T) {
	dir := corpus(t, "openssl-cms", "certs")
	load := func(names ...string) (list []*x509.Certificate) {
		for _, name := range names {
			certs, err := certificates(filepath.Join(dir, name+".pem"))
			if err != nil {
				t.Fatal(name, err)
			}
			list = append(list, certs...)
		}
		return list
	}
	for _, c := range []struct {
		leaf, root string
		between    []string
		want       error
	}{
		{"alt1-cert", "root-cert", []string{"ncca1-cert"}, nil},
		{"alt2-cert", "root-cert", []string{"ncca2-cert"}, nil},
		{"alt3-cert", "root-cert", []string{"ncca1-cert", "ncca3-cert"}, nil},
		{"goodcn1-cert", "root-cert", []string{"ncca1-cert"}, nil},
		{"some-names1", "many-constraints", nil, nil},
		{"some-names2", "many-constraints", nil, nil},
		{"some-names3", "many-constraints", nil, nil},
		{"badalt1-cert", "root-cert", []string{"ncca1-cert"}, ErrConstraints},
		{"badalt2-cert", "root-cert", []string{"ncca2-cert"}, ErrConstraints},
		{"badalt3-cert", "root-cert", []string{"ncca1-cert"}, ErrConstraints},
		{"badalt4-cert", "root-cert", []string{"ncca1-cert"}, ErrConstraints},
		{"badalt5-cert", "root-cert", []string{"ncca1-cert"}, ErrConstraints},
		{"badalt8-cert", "root-cert", []string{"ncca1-cert", "ncca3-cert"}, ErrConstraints},
		{"badalt9-cert", "root-cert", []string{"ncca1-cert", "ncca3-cert"}, ErrConstraints},
		{"badalt10-cert", "root-cert", []string{"ncca1-cert", "ncca3-cert"}, ErrConstraints},
	} {
		_, err := New(load(c.root), nil, nil).Verify(load(c.leaf)[0], Options{At: now, Others: load(c.between...)})
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", c.leaf, err, c.want)
		}
	}
}
