package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/ber"
)

var update = flag.Bool("update", false, "run the whole matrix and write docs/crypto.md")

// interopDoc holds the matrix, between these two lines.
const (
	interopDoc   = "../../docs/crypto.md"
	interopBegin = "<!-- interop: written by go test ./crypto/cms -run Interop -update -->"
	interopEnd   = "<!-- interop: end -->"
)

// errNotOffered: a peer, or we, cannot do that at all.
var errNotOffered = errors.New("not offered")

// peer is another implementation. Keys go by the names in interopWorld; what a
// method cannot do is errNotOffered.
type peer interface {
	sign(row signatureRow, detached bool, content []byte) ([]byte, error)
	verify(row signatureRow, detached bool, der, content []byte) error
	encrypt(row cipherRow, content []byte) ([]byte, error)
	decrypt(row cipherRow, der []byte) ([]byte, error)
}

// signatureRow is a line of the matrix about signatures.
type signatureRow struct {
	name     string
	who      string // key
	hash     stdcrypto.Hash
	pss      bool
	readOnly bool
}

func signatureRows() []signatureRow {
	return []signatureRow{
		{"RSASSA-PKCS1-v1_5, SHA-256", "rsa", stdcrypto.SHA256, false, false},
		{"RSASSA-PKCS1-v1_5, SHA-384", "rsa", stdcrypto.SHA384, false, false},
		{"RSASSA-PKCS1-v1_5, SHA-512", "rsa", stdcrypto.SHA512, false, false},
		{"RSASSA-PKCS1-v1_5, SHA-1", "rsa", stdcrypto.SHA1, false, true},
		{"RSASSA-PSS, SHA-256", "rsa", stdcrypto.SHA256, true, false},
		{"RSASSA-PSS, SHA-512", "rsa", stdcrypto.SHA512, true, false},
		{"ECDSA P-256, SHA-256", "p256", stdcrypto.SHA256, false, false},
		{"ECDSA P-384, SHA-384", "p384", stdcrypto.SHA384, false, false},
		{"ECDSA P-521, SHA-512", "p521", stdcrypto.SHA512, false, false},
		{"Ed25519, SHA-512", "ed25519", stdcrypto.SHA512, false, false},
	}
}

// cipherRow is a line of the matrix about encryption.
type cipherRow struct {
	cipher string
	key    string // RSAES-PKCS1-v1_5, RSAES-OAEP, ECDH
	who    string
	hash   stdcrypto.Hash // of OAEP
}

func (r cipherRow) name() string {
	if r.key == "RSAES-OAEP" {
		return fmt.Sprintf("%s, key by %s, %v", r.cipher, r.key, r.hash)
	}
	if r.key == "ECDH" {
		return fmt.Sprintf("%s, key by ECDH %s", r.cipher, map[string]string{"p256": "P-256", "p384": "P-384", "p521": "P-521", "x25519": "X25519"}[r.who])
	}
	return r.cipher + ", key by " + r.key
}

func cipherRows() []cipherRow {
	var rows []cipherRow
	for _, c := range []string{"AES-128-CBC", "AES-192-CBC", "AES-256-CBC", "AES-128-GCM", "AES-192-GCM", "AES-256-GCM", "DES-EDE3-CBC"} {
		rows = append(rows, cipherRow{cipher: c, key: "RSAES-PKCS1-v1_5", who: "rsa"})
	}
	for _, c := range []string{"AES-256-CBC", "AES-256-GCM"} {
		for _, h := range []stdcrypto.Hash{stdcrypto.SHA1, stdcrypto.SHA256, stdcrypto.SHA384, stdcrypto.SHA512} {
			rows = append(rows, cipherRow{c, "RSAES-OAEP", "rsa", h})
		}
		for _, who := range []string{"p256", "p384", "p521", "x25519"} {
			rows = append(rows, cipherRow{cipher: c, key: "ECDH", who: who})
		}
	}
	return rows
}

// interopWorld has a key of each kind under one anchor, good today: not every
// peer can be told the time.
func interopWorld(t *testing.T) (root identity, ids map[string]identity) {
	t.Helper()
	today := time.Now().Add(-24 * time.Hour)
	root = identity{key: ec(elliptic.P256())}
	root.cert = certifyAt(today, "Interop Root", root.key.Public(), root.key, nil, true)
	ids = map[string]identity{}
	for name, key := range map[string]stdcrypto.Signer{
		"rsa": newRSA(2048), "p256": ec(elliptic.P256()), "p384": ec(elliptic.P384()), "p521": ec(elliptic.P521()), "ed25519": ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32)),
	} {
		ids[name] = identity{cert: certifyAt(today, name, key.Public(), root.key, root.cert, false), key: key}
	}
	agree := must(ecdh.X25519().GenerateKey(rand.Reader))
	ids["x25519"] = identity{cert: certifyAt(today, "x25519", agree.PublicKey(), root.key, root.cert, false), agree: agree}
	return root, ids
}

// us is this package as a peer.
type us struct{ ids map[string]identity }

func (u us) sign(row signatureRow, detached bool, content []byte) ([]byte, error) {
	if row.readOnly {
		return nil, errNotOffered
	}
	o := SignOptions{Hash: row.hash, PSS: row.pss, Time: time.Now()}
	if detached {
		return Sign(bytes.NewReader(content), u.ids[row.who].signer(), o)
	}
	before, after, err := SignAround(bytes.NewReader(content), u.ids[row.who].signer(), o)
	return slices.Concat(before, content, after), err
}

func (u us) verify(row signatureRow, detached bool, der, content []byte) error {
	var out bytes.Buffer
	o := VerifyOptions{Out: &out, Certificates: []*x509.Certificate{u.ids[row.who].cert}}
	var beside io.Reader
	if detached {
		beside = bytes.NewReader(content)
	}
	r, err := Verify(bytes.NewReader(der), beside, o)
	switch {
	case err != nil:
		return err
	case r.Signatures[0].Algorithm != row.name:
		return fmt.Errorf("algorithm %s", r.Signatures[0].Algorithm)
	case !detached && !bytes.Equal(out.Bytes(), content):
		return errors.New("another content")
	}
	return nil
}

func (u us) encrypt(row cipherRow, content []byte) ([]byte, error) {
	if row.cipher != "AES-256-CBC" && row.cipher != "AES-256-GCM" || row.key == "RSAES-OAEP" && row.hash != stdcrypto.SHA256 {
		return nil, errNotOffered
	}
	var b bytes.Buffer
	o := EncryptOptions{Recipients: []*x509.Certificate{u.ids[row.who].cert}, Cipher: Cipher(row.cipher), PKCS1v15: row.key == "RSAES-PKCS1-v1_5"}
	err := Encrypt(&b, bytes.NewReader(content), int64(len(content)), o)
	return b.Bytes(), err
}

func (u us) decrypt(row cipherRow, der []byte) ([]byte, error) {
	var b bytes.Buffer
	o, err := Decrypt(&b, bytes.NewReader(der), []Recipient{u.ids[row.who].recipient()}, ber.Limits{})
	if err == nil && o.Cipher != row.cipher {
		err = fmt.Errorf("cipher %s", o.Cipher)
	}
	return b.Bytes(), err
}

// contents are the sizes of the matrix.
func contents() [3][]byte {
	return [3][]byte{{}, {'x'}, bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)}
}

// cell is an entry of the table. Some peers do everything but with nothing.
func cell(errs [3]error) string {
	switch {
	case slices.ContainsFunc(errs[:], func(err error) bool { return errors.Is(err, errNotOffered) }):
		return "–"
	case errs[1] != nil || errs[2] != nil:
		return "no"
	case errs[0] != nil:
		return "yes, not 0 B"
	}
	return "yes"
}

// whole reports whether every size and every peer is asked; every day, nothing
// and 1 MiB with OpenSSL must do.
func whole() bool { return *update || os.Getenv("GATEWAYD_LONG") != "" }

// signatureCell asks about each size of content, detached and opaque.
func signatureCell(row signatureRow, writer, reader peer) (errs [3]error) {
	for i, content := range contents() {
		if i == 1 && !whole() {
			continue
		}
		for _, detached := range []bool{true, false} {
			der, err := writer.sign(row, detached, content)
			if err == nil {
				err = reader.verify(row, detached, der, content)
			}
			errs[i] = errors.Join(errs[i], err)
		}
	}
	return errs
}

func cipherCell(row cipherRow, writer, reader peer) (errs [3]error) {
	for i, content := range contents() {
		if i == 1 && !whole() {
			continue
		}
		der, err := writer.encrypt(row, content)
		var got []byte
		if err == nil {
			got, err = reader.decrypt(row, der)
		}
		if err == nil && !bytes.Equal(got, content) {
			err = errors.New("another content")
		}
		errs[i] = err
	}
	return errs
}

// interopPeers are those of the table; nil: not on this machine.
type interopPeers struct {
	names []string
	peers []peer
}

func findPeers(t *testing.T) interopPeers {
	t.Helper()
	root, ids := interopWorld(t)
	dir := files(t, ids)
	for name, c := range map[string]*x509.Certificate{"root": root.cert} {
		put(t, dir, name+".pem", pemOf(c))
	}
	p := interopPeers{names: []string{"us", "OpenSSL 3", "gpgsm 2.2", "NSS 3", "Bouncy Castle"}}
	p.peers = []peer{us{ids}, newOpenSSL(t, dir), newGpgsm(t, dir), newNSS(t, dir), newBouncyCastle(t, dir)}
	return p
}

// TestInterop runs the matrix: each row, every peer, both directions, 0 octets,
// 1 octet and 1 MiB, signatures detached and opaque. The table in
// docs/crypto.md must say what comes out. A peer that is not on this machine is
// taken at the table's word.
func TestInterop(t *testing.T) {
	need(t, "openssl", "openssl")
	p := findPeers(t)
	lines := []string{"| | " + strings.Join(interopColumns(p), " | ") + " |", "|" + strings.Repeat("---|", len(interopColumns(p))+1)}
	known := interopTable(t)
	fill := func(name string, ask func(writer, reader peer) [3]error) {
		line := []string{name}
		for i, other := range p.peers[1:] {
			for _, way := range [][2]peer{{p.peers[0], other}, {other, p.peers[0]}} {
				column := len(line) - 1
				if other == nil || i > 0 && !whole() {
					line = append(line, known[name][column])
					continue
				}
				errs := ask(way[0], way[1])
				if got := cell(errs); got != known[name][column] || *update && got != "yes" && got != "–" {
					t.Logf("%s, %s: %s: %v", name, interopColumns(p)[column], got, errors.Join(errs[:]...))
				}
				line = append(line, cell(errs))
			}
		}
		lines = append(lines, "| "+strings.Join(line, " | ")+" |")
	}
	for _, row := range signatureRows() {
		fill(row.name, func(w, r peer) [3]error { return signatureCell(row, w, r) })
	}
	for _, row := range cipherRows() {
		fill(row.name(), func(w, r peer) [3]error { return cipherCell(row, w, r) })
	}
	writeInterop(t, strings.Join(lines, "\n"))
}

func interopColumns(p interopPeers) []string {
	var list []string
	for _, name := range p.names[1:] {
		list = append(list, name+" reads ours", "we read "+name+"'s")
	}
	return list
}

// interopTable reads the table as it stands: cells by name of the row.
func interopTable(t *testing.T) map[string][]string {
	t.Helper()
	table := map[string][]string{}
	_, text, _ := strings.Cut(string(get(t, ".", interopDoc)), interopBegin)
	text, _, _ = strings.Cut(text, interopEnd)
	for _, line := range strings.Split(text, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		table[cells[0]] = append(cells[1:], make([]string, 20)...)
	}
	for _, name := range interopNames() {
		if table[name] == nil {
			table[name] = make([]string, 20)
		}
	}
	return table
}

func interopNames() []string {
	var names []string
	for _, r := range signatureRows() {
		names = append(names, r.name)
	}
	for _, r := range cipherRows() {
		names = append(names, r.name())
	}
	return names
}

func writeInterop(t *testing.T, matrix string) {
	t.Helper()
	doc := string(get(t, ".", interopDoc))
	before, rest, ok := strings.Cut(doc, interopBegin)
	_, after, ok2 := strings.Cut(rest, interopEnd)
	if !ok || !ok2 {
		t.Fatal("docs/crypto.md has no place for the matrix")
	}
	want := before + interopBegin + "\n\n" + matrix + "\n\n" + interopEnd + after
	if *update {
		if err := os.WriteFile(filepath.Clean(interopDoc), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != doc {
		t.Errorf("docs/crypto.md says something else than:\n%s", matrix)
	}
}
