package keys

import (
	"bytes"
	"encoding/pem"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/path"
	"gatewayd/crypto/smime"
	"gatewayd/mail/parts"
)

var update = flag.Bool("update", false, "rewrite testdata")

// TestProtectedHeaders judges the mails of the autocrypt project and of notmuch
// (S/MIME and OpenPGP) as testdata/headers.tsv says: verdict, scheme, fields that
// are signed, encrypted, differing, not shown; and the subject that is shown.
func TestProtectedHeaders(t *testing.T) {
	top := filepath.Join("..", "..", "..", "shared", "corpora")
	if _, err := os.Stat(top); err != nil {
		t.Skip("no shared corpora here")
	}
	o := headerReaders(t, top)
	var got strings.Builder
	for _, dir := range []string{"protected-headers", "smime-pgp-notmuch/test/corpora/protected-headers"} {
		files, err := filepath.Glob(filepath.Join(top, dir, "*.eml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no mails: %v", dir, err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&got, "%s/%s\t%s\n", strings.Split(dir, "/")[0], filepath.Base(file), headersOf(t, raw, o))
		}
	}
	const table = "testdata/headers.tsv"
	if *update {
		if err := os.WriteFile(table, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(table)
	if err != nil || got.String() != string(want) {
		t.Errorf("%v\n%s\nwant:\n%s", err, got.String(), want)
	}
}

func headersOf(t *testing.T, raw []byte, o entity.Options) string {
	t.Helper()
	op, err := entity.Open(bytes.NewReader(raw), int64(len(raw)), o)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	var fields []string
	for _, f := range op.Fields {
		text := f.Name
		for _, is := range []struct {
			so   bool
			mark string
		}{{f.Signed, "+s"}, {f.Encrypted, "+e"}, {f.Differs, "!"}, {!f.Shown, "-"}} {
			if is.so {
				text += is.mark
			}
		}
		fields = append(fields, text)
	}
	subject := "–"
	if op.Content != nil {
		var b bytes.Buffer
		if _, err := op.WriteMessage(&b); err != nil {
			t.Fatal(err)
		}
		in, err := parts.Inspect(bytes.NewReader(b.Bytes()), int64(b.Len()), parts.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		subject = in.Subject
	}
	return fmt.Sprintf("%s %s\t%s\t%s\t%s", op.Encryption, op.Signature, op.Scheme, strings.Join(fields, " "), subject)
}

// headerReaders are Bob of RFC 9216 and of the OpenPGP example keys, and the
// reader of notmuch's tests.
func headerReaders(t *testing.T, top string) entity.Options {
	t.Helper()
	get := func(names ...string) []byte {
		data, err := os.ReadFile(filepath.Join(append([]string{top}, names...)...))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	roots := must(smime.ParseCertificates(get("smime-pgp-notmuch", "test", "smime", "ca.crt")))
	p12, _ := pem.Decode(get("smime-pgp-notmuch", "test", "smime", "bob.p12"))
	file := filepath.Join(t.TempDir(), "bob.p12")
	if err := os.WriteFile(file, p12.Bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("openssl", "pkcs12", "-in", file, "-passin", "pass:", "-nodes", "-clcerts", "-legacy").Output()
	if err != nil {
		t.Fatal(err)
	}
	bob := must(smime.ParseIdentity(out, out))
	var pgp []openpgp.Key
	for _, name := range []string{"alice@openpgp.example-0xf231550c4f47e38e-pub.asc", "bob@openpgp.example-0xfbfcc82a015e7330-secret.asc"} {
		pgp = append(pgp, must(openpgp.ParseKeys(get("openpgp-thunderbird", "mail", "test", "browser", "openpgp", "data", "keys", name)))...)
	}
	pgp = append(pgp, must(openpgp.ParseKeys(get("smime-pgp-notmuch", "test", "openpgp4-secret-key.asc")))...)
	s := smime.Opener{Anchors: path.New(roots, nil, nil)}
	if r, ok := bob.Recipient(); ok {
		s.Keys = []cms.Recipient{r}
	}
	return entity.Options{Openers: []entity.Opener{s, openpgp.Opener{Keys: pgp}}, At: time.Date(2021, 6, 1, 0, 0, 0, 0, time.UTC)}
}
