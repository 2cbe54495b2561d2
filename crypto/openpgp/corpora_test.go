package openpgp

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"gatewayd/crypto/entity"
)

var update = flag.Bool("update", false, "rewrite testdata")

// set is a corpus, or a part of one, with the keys that belong to it.
type set struct {
	name string // in the table of verdicts
	dir  string // in the corpora
	skip *regexp.Regexp
	keys func(t *testing.T, dir string) []Key
}

func sets() []set {
	tb := filepath.Join("openpgp-thunderbird", "mail", "test", "browser", "openpgp", "data")
	noMail := regexp.MustCompile(`\.md$|(^|/)smime|\.(pem|p12)$`)
	noPGP := regexp.MustCompile(`\.(md|json|kbx|key)$|/(CMakeLists|cases)\.txt$|g10/|g23(-v5)?/`)
	return []set{
		{"thunderbird", filepath.Join(tb, "eml"), noMail, func(t *testing.T, dir string) []Key { return thunderbirdKeys(t, filepath.Join(dir, "..", "keys")) }},
		{"thunderbird-keys", filepath.Join(tb, "keys"), noPGP, func(*testing.T, string) []Key { return nil }},
		{"protected-headers", "protected-headers", noMail, protectedHeaderKeys},
		{"notmuch", filepath.Join("smime-pgp-notmuch", "test", "corpora", "crypto"), noMail, notmuchKeys},
		{"rnp", filepath.Join("openpgp-rnp", "src", "tests", "data"), noPGP, rnpKeys},
	}
}

func notmuchKeys(t *testing.T, _ string) []Key {
	return must(ParseKeys(get(t, corpus(t, "smime-pgp-notmuch", "test"), "openpgp4-secret-key.asc")))
}

// protectedHeaderKeys are those of draft-bre-openpgp-samples, as Thunderbird has them.
func protectedHeaderKeys(t *testing.T, _ string) []Key {
	dir := corpus(t, "openpgp-thunderbird", "mail", "test", "browser", "openpgp", "data", "keys")
	return append(thunderbirdKeys(t, dir), must(ParseKeys(get(t, dir, "bob@openpgp.example-0xfbfcc82a015e7330-secret.asc")))...)
}

// rnpKeys are the key ring of RNP's tests, whose passphrase is "password", and
// the keys that lie beside its messages.
func rnpKeys(t *testing.T, dir string) []Key {
	files := []string{filepath.Join("testdata", "rnp", "secring.gpg")}
	for _, pattern := range []string{"test_stream_key_load/*sec.asc", "test_stream_key_load/*pub.asc", "test_messages/*key*", "test_messages/expired_*", "test_stream_signatures/*.asc", "test_repgp/*key*", "test_large_MPIs/rsa-*16384*", "test_key_edge_cases/key-eg-*", "test_key_edge_cases/key-rsa-2001-*", "test_key_edge_cases/key-eddsa-*", "test_forged_keys/eddsa-*", "test_key_validity/alice-sub-sec.*", "test_key_validity/basil-pub.asc"} {
		files = append(files, must(filepath.Glob(filepath.Join(dir, pattern)))...)
	}
	var keys []Key
	for _, file := range files {
		list, err := readKeys(must(os.ReadFile(file)))
		if err != nil {
			continue // its own line says so
		}
		for _, e := range list {
			_ = e.DecryptPrivateKeys([]byte("password"))
			if k, err := newKey(e); err == nil {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// doors gives a file to everything that reads what strangers send.
func doors(t *testing.T, path string, raw []byte, o entity.Options) (key, mail string) {
	if strings.HasSuffix(path, ".eml") || bytes.HasPrefix(raw, []byte("From ")) || regexp.MustCompile(`^[A-Z][A-Za-z-]+: `).Match(raw) {
		return "", verdict(t, raw, o)
	}
	armored := string(raw)
	if !bytes.Contains(raw, []byte("-----BEGIN PGP ")) {
		armored = armorText(t, raw)
	}
	content := []byte("nothing")
	for _, name := range []string{regexp.MustCompile(`(\.text)?(\.(sig|asc|sig-text|empty))+$`).ReplaceAllString(path, ""), filepath.Join(filepath.Dir(path), "source.txt"), filepath.Join(filepath.Dir(path), "message.txt")} {
		if b, err := os.ReadFile(name); err == nil && name != path {
			content = b
			break
		}
	}
	signature := strings.ReplaceAll(armored, "PGP MESSAGE", "PGP SIGNATURE")
	kind, mails := 0, [][]byte{mimeSealed(armored), mimeSigned(string(content), signature), slices.Concat([]byte("From: somebody@example.com\r\n\r\n"), raw)}
	switch {
	case strings.Contains(armored, "BEGIN PGP SIGNED MESSAGE"):
		kind = 2
	case isSignature(armored):
		kind = 1
	}
	for i := range mails {
		if i == kind {
			mail = verdict(t, mails[i], o)
		} else if len(raw) < 16<<10 {
			verdict(t, mails[i], o) // must come back
		}
	}
	if kind == 1 { // by itself: what RNP signs is no MIME
		block := must(armor.Decode(strings.NewReader(signature)))
		l := entity.Layer{Encryption: entity.NotEncrypted, Signatures: o.Openers[0].(Opener).verify(bytes.NewReader(content), block.Body, entity.Work{At: o.At})}
		mail = fmt.Sprintf("none\t%s\t%s", l.Signatures[0].Verdict, layers(&entity.Opened{Layers: []entity.Layer{l}}))
	}
	return keyVerdict(raw), mail
}

func isSignature(armored string) bool {
	block, err := armor.Decode(strings.NewReader(armored))
	if err != nil {
		return false
	}
	head := make([]byte, 6)
	_, _ = block.Body.Read(head)
	tag, _, _ := header(head)
	return block.Type == pgp.SignatureType || tag == 2
}

func verdict(t *testing.T, raw []byte, o entity.Options) string {
	t.Helper()
	op, err := entity.Open(bytes.NewReader(raw), int64(len(raw)), o)
	if err != nil {
		return "refused: " + err.Error()
	}
	defer func() { _ = op.Close() }()
	return fmt.Sprintf("%s\t%s\t%s", op.Encryption, op.Signature, layers(op))
}

// layers writes what was taken off.
func layers(op *entity.Opened) string {
	var list []string
	for _, l := range op.Layers {
		if l.Encryption != entity.NotEncrypted {
			list = append(list, strings.Join(append([]string{string(l.Encryption), l.Detail}, l.Algorithms...), " "))
		}
		for _, s := range l.Signatures {
			list = append(list, strings.TrimSpace(fmt.Sprint("signed ", s.Verdict, " ", s.Detail, " ", s.Algorithm, " ", s.Addresses)))
		}
	}
	return strings.Join(list, " > ")
}

// keyVerdict says what each key of a file is good for, at the time of the tests.
func keyVerdict(raw []byte) string {
	keys, err := ParseKeys(raw)
	if err != nil {
		return err.Error()
	}
	var list []string
	for _, k := range keys {
		word := func(err error) string {
			if err == nil {
				return "yes"
			}
			return err.Error()
		}
		own := addr("nobody@example.com")
		if len(k.Addresses) > 0 {
			own = k.Addresses[0]
		}
		list = append(list, fmt.Sprintf("v%d %s %q encrypts: %s; signs: %s", k.Version, k.Fingerprint[len(k.Fingerprint)-16:], k.UserIDs, word(k.CheckRecipient(own, now)), word(k.CheckSigner(own, now))))
	}
	return strings.Join(list, " | ")
}

// TestCorpora judges every file of the shared corpora. The table is the
// expected verdict: what changes in it must be meant.
func TestCorpora(t *testing.T) {
	const golden = "testdata/corpora.tsv"
	var got bytes.Buffer
	got.WriteString("set\tfile\tas a key\tencryption\tsignature\tlayers, outermost first\n")
	for _, s := range sets() {
		dir := corpus(t, s.dir)
		o := with(s.keys(t, dir)...)
		o.Limits.Size = 1 << 20
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || s.skip.MatchString(path) {
				return err
			}
			key, mail := doors(t, path, must(os.ReadFile(path)), o)
			fmt.Fprintf(&got, "%s\t%s\t%s\t%s\n", s.name, must(filepath.Rel(dir, path)), key, mail)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if *update {
		put(t, ".", golden, got.Bytes())
	}
	want := strings.Split(string(get(t, ".", golden)), "\n")
	for i, line := range strings.Split(got.String(), "\n") {
		if i >= len(want) || line != want[i] {
			t.Errorf("line %d:\n got %s\nwant %s", i+1, line, strings.Join(want[min(i, len(want)):min(i+1, len(want))], ""))
		}
	}
}
