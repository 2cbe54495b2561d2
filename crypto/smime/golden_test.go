package smime

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/path"
)

// The mails in testdata/golden are attacks, one or more of each published
// class: signature spoofing ("Johnny, you are fired", USENIX Security 2019:
// CMS, MIME and identity attacks), EFAIL (USENIX Security 2018: direct
// exfiltration and gadgets), covert content ("Re: What's up Johnny?", ACNS
// 2019), and some that follow from how signing and encryption are put
// together. golden.tsv says what they are worth; -update writes all anew.
const (
	goldenDir   = "testdata/golden"
	goldenTable = "testdata/golden.tsv"
)

// secret stands in what only the reader may see.
const secret = "GEHEIM-4711"

// goldenTime is when the mails came.
func goldenTime() time.Time { return time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC) }

// cast are the people of the golden mails: an authority, somebody who may write
// to us too and means evil, and the reader.
type cast struct {
	root, amt, eve, reader Identity
}

func loadCast(t testing.TB) cast {
	t.Helper()
	load := func(name string) Identity {
		return must(ParseIdentity(get(t, goldenDir, name+".crt"), get(t, goldenDir, name+".key")))
	}
	return cast{load("root"), load("amt"), load("eve"), load("reader")}
}

func (c cast) options() entity.Options {
	return entity.Options{At: goldenTime(), Openers: []entity.Opener{Opener{
		Anchors: path.New([]*x509.Certificate{c.root.Cert}, nil, nil), Keys: []cms.Recipient{c.reader.recipient()},
	}}}
}

// goldenRow is a line of the table.
type goldenRow struct {
	file                  string
	encryption, signature string
	shown                 string // "secret": the content that is given out holds the secret; "-": not
	why                   string
}

func (r goldenRow) String() string {
	return strings.Join([]string{r.file, r.encryption, r.signature, r.shown, r.why}, "\t")
}

func goldenRows(t *testing.T) []goldenRow {
	t.Helper()
	var rows []goldenRow
	for _, f := range table(t, ".", goldenTable) {
		rows = append(rows, goldenRow{f[0], f[1], f[2], f[3], f[4]})
	}
	return rows
}

// judgeGolden opens one mail.
func judgeGolden(t *testing.T, o entity.Options, raw []byte) goldenRow {
	t.Helper()
	op, err := entity.Open(bytes.NewReader(raw), int64(len(raw)), o)
	if err != nil {
		return goldenRow{encryption: "error", signature: err.Error(), shown: "-"}
	}
	defer func() { _ = op.Close() }()
	r := goldenRow{encryption: string(op.Encryption), signature: string(op.Signature), shown: "-"}
	var whole bytes.Buffer
	if op.Content != nil {
		if _, err := op.WriteMessage(&whole); err != nil {
			whole.Reset() // a header that cannot be written: nothing is shown
		}
	}
	if strings.Contains(whole.String(), secret) && !bytes.Contains(raw, []byte(secret)) {
		r.shown = "secret"
	}
	return r
}

func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	o := loadCast(t).options()
	seen := map[string]bool{}
	for _, want := range goldenRows(t) {
		got := judgeGolden(t, o, get(t, goldenDir, want.file))
		got.file, got.why = want.file, want.why
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		seen[want.file] = true
		checkGolden(t, want)
	}
	files := must(os.ReadDir(goldenDir))
	mails := slices.DeleteFunc(files, func(e os.DirEntry) bool { return filepath.Ext(e.Name()) != ".eml" })
	if len(mails) != len(seen) {
		t.Errorf("%d mails, %d lines in the table", len(mails), len(seen))
	}
}

// checkGolden holds for every table, also a new one: no spoof is good, and what
// an attacker could have changed or wrapped is never shown as protected.
func checkGolden(t *testing.T, r goldenRow) {
	t.Helper()
	class, _, _ := strings.Cut(r.file, "-")
	switch {
	case class == "fine":
	case class == "spoof" && r.signature == string(entity.Good):
		t.Errorf("%s: a spoof is good", r.file)
	case class == "efail" && r.shown == "secret" && r.encryption != string(entity.Malleable):
		t.Errorf("%s: shown as %s", r.file, r.encryption)
	case class == "efail" && r.encryption == string(entity.Decrypted):
		t.Errorf("%s: called decrypted", r.file)
	}
}
