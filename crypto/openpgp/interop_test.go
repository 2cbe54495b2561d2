package openpgp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"gatewayd/crypto/entity"
)

// interopDoc holds the matrix, between these two lines.
const (
	interopDoc   = "../../docs/crypto.md"
	interopBegin = "<!-- interop: written by go test ./crypto/openpgp -run Interop -update -->"
	interopEnd   = "<!-- interop: openpgp end -->"
)

// whole reports whether everything is asked; every day the quick keys and the small
// contents must do.
func whole() bool { return *update || os.Getenv("GATEWAYD_LONG") != "" }

// interopKeys are the kinds of the matrix; those that CI passes over come last.
func interopKeys() []struct {
	name string
	how  packet.Config
} {
	return []struct {
		name string
		how  packet.Config
	}{
		{"RSA-2048", packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048}},
		{"Ed25519, X25519", packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}},
		{"P-256", packet.Config{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256}},
		{"RSA-3072", packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 3072}},
		{"RSA-4096", packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 4096}},
	}
}

// peer is another implementation; its keys are files, content is what is protected.
type peer interface {
	// write protects: signature (detached), or an encrypted message; armored.
	write(sign, encrypt bool, key Key, content []byte) ([]byte, error)
	// read opens what write returns, made by somebody else; it must accept the
	// signature, and find the content.
	read(sign, encrypt bool, key Key, armored, content []byte) error
}

type gnupg struct {
	run func(string) (string, error)
	dir string
}

func (g gnupg) do(args string) error {
	text, err := g.run(gpgClock + args)
	if err != nil {
		return fmt.Errorf("gpg %s: %w: %s", args, err, text)
	}
	return nil
}

func (g gnupg) write(sign, encrypt bool, key Key, content []byte) ([]byte, error) {
	_ = os.WriteFile(g.dir+"/in", content, 0o600)
	args := "-a -o " + g.dir + "/out -u " + key.Fingerprint + " -r " + key.Fingerprint
	switch {
	case sign && encrypt:
		args += " -se "
	case sign:
		args += " -b "
	default:
		args += " -e "
	}
	if err := g.do(args + g.dir + "/in"); err != nil {
		return nil, err
	}
	return os.ReadFile(g.dir + "/out")
}

func (g gnupg) read(sign, encrypt bool, _ Key, armored, content []byte) error {
	_ = os.WriteFile(g.dir+"/in", armored, 0o600)
	if !encrypt {
		_ = os.WriteFile(g.dir+"/content", content, 0o600)
		return g.do("--verify " + g.dir + "/in " + g.dir + "/content")
	}
	text, err := g.run("--faked-system-time 20261124T000000! -o " + g.dir + "/out -d " + g.dir + "/in")
	got, _ := os.ReadFile(g.dir + "/out")
	switch {
	case err != nil || sign != strings.Contains(text, "Good signature"):
		return fmt.Errorf("gpg -d: %w: %s", err, text)
	case !bytes.Equal(got, content):
		return errors.New("another content")
	}
	return nil
}

type sequoia struct{ dir string }

func (s sequoia) do(args string) error {
	text, err := exec.Command("sq", strings.Fields("--force "+args)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("sq %s: %w: %s", args, err, text)
	}
	return nil
}

func (s sequoia) key(key Key) {
	_ = os.WriteFile(s.dir+"/key", key.secret(), 0o600)
	_ = os.WriteFile(s.dir+"/cert", key.raw, 0o600)
}

func (s sequoia) write(sign, encrypt bool, key Key, content []byte) ([]byte, error) {
	s.key(key)
	_ = os.WriteFile(s.dir+"/in", content, 0o600)
	args := " --time 20261123T120000Z -o " + s.dir + "/out " + s.dir + "/in"
	switch {
	case sign && encrypt:
		args = "encrypt --recipient-cert " + s.dir + "/cert --signer-key " + s.dir + "/key" + args
	case sign:
		args = "sign --detached --signer-key " + s.dir + "/key" + args
	default:
		args = "encrypt --recipient-cert " + s.dir + "/cert" + args
	}
	if err := s.do(args); err != nil {
		return nil, err
	}
	return os.ReadFile(s.dir + "/out")
}

func (s sequoia) read(sign, encrypt bool, key Key, armored, content []byte) error {
	s.key(key)
	_ = os.WriteFile(s.dir+"/in", armored, 0o600)
	if !encrypt {
		_ = os.WriteFile(s.dir+"/content", content, 0o600)
		return s.do("verify --signer-cert " + s.dir + "/cert --detached " + s.dir + "/in " + s.dir + "/content")
	}
	signer := ""
	if sign {
		signer = " --signer-cert " + s.dir + "/cert"
	}
	if err := s.do("decrypt --recipient-key " + s.dir + "/key" + signer + " -o " + s.dir + "/out " + s.dir + "/in"); err != nil {
		return err
	}
	if got, _ := os.ReadFile(s.dir + "/out"); !bytes.Equal(got, content) {
		return errors.New("another content")
	}
	return nil
}

// us is this package as a peer.
type us struct{ t *testing.T }

const interopHead = "Content-Type: text/plain\r\n\r\n"

func (u us) write(sign, encrypt bool, key Key, content []byte) ([]byte, error) {
	o := Options{Time: now.Add(-2 * time.Hour)}
	if sign {
		o.Signer = &key
	}
	if encrypt {
		o.Recipients = publics(key)
	}
	raw := "From: amt@bl.example\r\n" + string(content)
	p, err := Protect(strings.NewReader(raw), int64(len(raw)), o)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		return nil, err
	}
	kind := "SIGNATURE"
	if encrypt {
		kind = "MESSAGE"
	}
	return armored(b.Bytes(), kind), nil
}

func (u us) read(sign, encrypt bool, key Key, armored, inside []byte) error {
	raw := mimeSealed(string(armored))
	if !encrypt {
		raw = mimeSigned(string(inside), string(armored))
	}
	o := with(key)
	o.At = time.Now() // sq 0.27 can't be told when it signs what it encrypts
	op := open(u.t, raw, o)
	if got := content(u.t, op); got != string(inside) {
		return fmt.Errorf("%d octets of content instead of %d", len(got), len(inside))
	}
	if sign != (op.Signature == entity.Good) || encrypt != (op.Encryption == entity.Decrypted) {
		return fmt.Errorf("%s, %s: %+v", op.Encryption, op.Signature, op.Layers)
	}
	return nil
}

// interopCell asks about 0 octets, 1 octet and 1 MiB.
func interopCell(sign, encrypt bool, key Key, writer, reader peer) (string, error) {
	bodies := []string{"", "x", strings.Repeat("0123456789abcd\r\n", 1<<16)}
	if !whole() {
		bodies = bodies[:2]
	}
	for _, body := range bodies {
		content := []byte(interopHead + body)
		out, err := writer.write(sign, encrypt, key, content)
		if err == nil {
			err = reader.read(sign, encrypt, key, out, content)
		}
		if err != nil {
			return "no", fmt.Errorf("%d octets: %w", len(body), err)
		}
	}
	return "yes", nil
}

// TestInterop runs the matrix: every kind of key, signed, encrypted and both, in both
// directions. The table in docs/crypto.md must say what comes out; what is not asked
// every day is taken at its word.
func TestInterop(t *testing.T) {
	need(t, "sq", "sq")
	names := []string{"GnuPG 2.2", "sq 0.27"}
	lines := []string{"| | GnuPG 2.2 reads ours | we read GnuPG 2.2's | sq 0.27 reads ours | we read sq 0.27's |", "|---|---|---|---|---|"}
	doc := string(get(t, ".", interopDoc))
	before, rest, ok := strings.Cut(doc, interopBegin)
	table, after, ok2 := strings.Cut(rest, interopEnd)
	if !ok || !ok2 {
		t.Fatal("docs/crypto.md has no place for the matrix")
	}
	known := strings.Split(table, "\n")
	for i, kind := range interopKeys() {
		asked := i < 3 || whole()
		var key Key
		var peers []peer
		if asked {
			key = newEntity("amt@bl.example", atTime(longAgo, kind.how), nil)
			peers = []peer{gnupg{gpg(t, key), t.TempDir()}, sequoia{t.TempDir()}}
		}
		for _, how := range []string{"signed", "encrypted", "signed and encrypted"} {
			sign, encrypt := strings.HasPrefix(how, "signed"), strings.HasSuffix(how, "encrypted")
			line := "| " + kind.name + ", " + how + " |"
			if !asked {
				if at := slices.IndexFunc(known, func(s string) bool { return strings.HasPrefix(s, line) }); at >= 0 {
					line = known[at]
				}
				lines = append(lines, line)
				continue
			}
			for p, other := range peers {
				for _, way := range [][2]peer{{us{t}, other}, {other, us{t}}} {
					cell, err := interopCell(sign, encrypt, key, way[0], way[1])
					if err != nil {
						t.Logf("%s, %s, %s, written by %T: %v", kind.name, how, names[p], way[0], err)
					}
					line += " " + cell + " |"
				}
			}
			lines = append(lines, line)
		}
	}
	want := before + interopBegin + "\n\n" + strings.Join(lines, "\n") + "\n\n" + interopEnd + after
	if *update {
		if err := os.WriteFile(filepath.Clean(interopDoc), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != doc {
		t.Errorf("docs/crypto.md says something else than:\n%s", strings.Join(lines, "\n"))
	}
}
