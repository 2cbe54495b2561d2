package path

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func corpus(t testing.TB, parts ...string) string {
	t.Helper()
	dir := filepath.Join(append([]string{"..", "..", "..", "shared", "corpora"}, parts...)...)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("corpus %s is not here: %v", parts[0], err)
	}
	return dir
}

// notApplicable returns why a test of PKITS says nothing about this package.
func notApplicable(test string) string {
	switch {
	case strings.HasPrefix(test, "4.1.4") || strings.HasPrefix(test, "4.1.5"):
		return "DSA signatures: FIPS 186-5 has withdrawn them, and nobody may sign mail so"
	case slices.Contains([]string{"4.14.4", "4.14.5", "4.14.6", "4.14.29"}, test):
		return "a distribution point relative to the CRL issuer's name, which RFC 5280 section 4.2.1.13 advises against: crypto/x509 does not read the certificate"
	case test == "4.4.14":
		return "a negative serial number, which RFC 5280 section 4.1.2.2 forbids: crypto/x509 does not read it"
	}
	return ""
}

// withRevocation reports whether a path that must fail fails by its CRLs only.
// Its certificates are good, and Verify says so when nobody is asked.
func withRevocation(test string) bool {
	if slices.Contains([]string{"4.5.2", "4.5.5", "4.5.7", "4.7.4", "4.7.5", "4.14.31", "4.14.32"}, test) {
		return true
	}
	section := strings.Split(test, ".")[1]
	return section == "4" && test != "4.4.15" || section == "14" || section == "15"
}

// TestPKITS is the NIST path validation test suite. The time is that of its
// certificates.
func TestPKITS(t *testing.T) {
	dir := corpus(t, "pkits-nist", "PKITS", "certs")
	anchors := New([]*x509.Certificate{must(read(dir, "TrustAnchorRootCertificate"))}, nil, nil)
	count := map[string]int{}
	for _, line := range bytes.Split(bytes.TrimSpace(must(os.ReadFile("testdata/pkits.tsv"))), []byte("\n"))[1:] {
		f := strings.Split(string(line), "\t")
		test, valid := f[0], f[1] == "valid"
		if why := notApplicable(test); why != "" {
			count["not applicable"]++
			t.Logf("%s: not applicable: %s", test, why)
			continue
		}
		if !valid && withRevocation(test) {
			count["with the revocation step"]++
			valid = true
		} else {
			count["applies"]++
		}
		p, err := verify(anchors, dir, f)
		if (err == nil) != valid {
			t.Errorf("%s (%s): %v, want %s", test, f[4], err, f[1])
		}
		if err == nil && len(p.Certificates) != len(strings.Fields(f[4]))+1 && !strings.Contains(f[4], "CRL") && !strings.HasPrefix(test, "4.5.") {
			t.Errorf("%s: a path of %d", test, len(p.Certificates))
		}
	}
	t.Logf("%v", count)
	if count["applies"] != 198 || count["not applicable"] != 7 {
		t.Errorf("%v", count)
	}
}

func verify(anchors *Anchors, dir string, f []string) (Path, error) {
	names := strings.Fields(f[4])
	o := Options{At: good(), Explicit: strings.Contains(f[2], "E"), InhibitMapping: strings.Contains(f[2], "M"), InhibitAny: strings.Contains(f[2], "A")}
	if f[3] != "any" {
		for _, p := range strings.Split(f[3], ",") {
			o.Policies = append(o.Policies, must(x509.ParseOID("2.16.840.1.101.3.2.1.48."+p)))
		}
	}
	for _, name := range names[:len(names)-1] {
		c, err := read(dir, name)
		if err != nil {
			return Path{}, err
		}
		o.Others = append(o.Others, c)
	}
	c, err := read(dir, names[len(names)-1])
	if err != nil {
		return Path{}, err
	}
	return anchors.Verify(c, o)
}

// good is a time at which the certificates of the suite are.
func good() time.Time { return time.Date(2010, 6, 1, 0, 0, 0, 0, time.UTC) }

func read(dir, name string) (*x509.Certificate, error) {
	der, err := os.ReadFile(filepath.Join(dir, name+".crt"))
	if err != nil {
		panic(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// TestRevoked: the question is asked for each certificate, from the anchor
// down, and its answer counts.
func TestRevoked(t *testing.T) {
	dir := corpus(t, "pkits-nist", "PKITS", "certs")
	anchors := New([]*x509.Certificate{must(read(dir, "TrustAnchorRootCertificate"))}, nil, []*x509.Certificate{must(read(dir, "GoodCACert"))})
	boom := errors.New("revoked")
	for stop := range 3 {
		var asked []string
		o := Options{At: good(), Revoked: func(c, issuer *x509.Certificate) error {
			if issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil {
				t.Errorf("%s is not the issuer of %s", issuer.Subject, c.Subject)
			}
			if asked = append(asked, c.Subject.CommonName); len(asked) == stop {
				return boom
			}
			return nil
		}}
		p, err := anchors.Verify(must(read(dir, "ValidCertificatePathTest1EE")), o)
		if stop == 0 && (err != nil || len(p.Certificates) != 3 || !p.Weak || !slices.Equal(asked, []string{"Good CA", "Valid EE Certificate Test1"})) {
			t.Errorf("%v, %v, asked about %q", p, err, asked)
		}
		if stop > 0 && (!errors.Is(err, boom) || p.Certificates != nil || len(asked) != stop) {
			t.Errorf("no at %d: %v, %q", stop, err, asked)
		}
	}
}
