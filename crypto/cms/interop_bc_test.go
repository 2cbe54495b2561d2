package cms

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/crypto/ber"
)

// bouncyCastle is one Java process that gets its commands by lines.
type bouncyCastle struct {
	tool
	commands io.Writer
	answers  *bufio.Reader
}

// newBouncyCastle returns nil where Java or the library is not installed
// (Debian: default-jdk-headless, libbcmail-java), and unless it is asked for:
// it takes seconds to start.
func newBouncyCastle(t *testing.T, dir string) peer {
	t.Helper()
	if b := startBouncyCastle(t, dir); b != nil {
		return *b
	}
	return nil
}

func startBouncyCastle(t *testing.T, dir string) *bouncyCastle {
	t.Helper()
	jars := must(filepath.Glob("/usr/share/java/bc*.jar"))
	java, err := exec.LookPath("java")
	if err != nil || len(jars) == 0 || !whole() {
		return nil
	}
	b := bouncyCastle{tool: tool{t, dir}}
	for _, who := range []string{"rsa", "p256", "p384", "p521", "ed25519", "x25519"} {
		for _, line := range []string{"openssl x509 -in " + who + ".pem -outform DER -out " + who + ".der", "openssl pkcs8 -topk8 -nocrypt -in " + who + ".key -outform DER -out " + who + ".p8"} {
			if err := b.run(line); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd := exec.Command(java, "-cp", strings.Join(jars, ":"), must(filepath.Abs("testdata/Peer.java")))
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	b.commands, b.answers = in, bufio.NewReader(out)
	return &b
}

func (b bouncyCastle) ask(words ...string) error {
	if _, err := io.WriteString(b.commands, strings.Join(words, " ")+"\n"); err != nil {
		return err
	}
	answer, err := b.answers.ReadString('\n')
	if err != nil {
		return err
	}
	if strings.Contains(answer, errNotOffered.Error()) {
		return errNotOffered
	}
	if answer = strings.TrimSpace(answer); answer != "ok" {
		return errors.New(answer)
	}
	return nil
}

func form(detached bool) string {
	if detached {
		return "detached"
	}
	return "attached"
}

func (b bouncyCastle) sign(row signatureRow, detached bool, content []byte) ([]byte, error) {
	hash := strings.ReplaceAll(row.hash.String(), "-", "")
	name := map[bool]string{true: hash + "WITHECDSA", false: hash + "WITHRSA"}[strings.HasPrefix(row.who, "p")]
	if row.pss {
		name = hash + "WITHRSAANDMGF1"
	}
	if row.who == "ed25519" {
		name = "Ed25519"
	}
	b.put("content", content)
	if err := b.ask("sign", row.who, name, form(detached)); err != nil {
		return nil, err
	}
	return b.get("signed")
}

func (b bouncyCastle) verify(row signatureRow, detached bool, der, content []byte) error {
	b.put("signed", der)
	b.put("content", content)
	if err := b.ask("verify", row.who, form(detached)); err != nil || detached {
		return err
	}
	if got, err := b.get("got"); err != nil || !bytes.Equal(got, content) {
		return errors.New("another content")
	}
	return nil
}

// way is how the key goes, in the words of Peer.java.
func way(row cipherRow) string {
	switch {
	case row.key == "RSAES-PKCS1-v1_5":
		return "v15"
	case row.key == "RSAES-OAEP":
		return row.hash.String()
	case row.who == "x25519":
		return "X25519"
	}
	return "EC"
}

func (b bouncyCastle) encrypt(row cipherRow, content []byte) ([]byte, error) {
	b.put("content", content)
	if err := b.ask("encrypt", row.who, row.cipher, way(row)); err != nil {
		return nil, err
	}
	return b.get("sealed")
}

func (b bouncyCastle) decrypt(row cipherRow, der []byte) ([]byte, error) {
	b.put("sealed", der)
	if err := b.ask("decrypt", row.who, row.cipher, way(row)); err != nil {
		return nil, err
	}
	return b.get("got")
}

// TestInteropCompressed reads what Bouncy Castle packs.
func TestInteropCompressed(t *testing.T) {
	_, ids := interopWorld(t)
	b := startBouncyCastle(t, files(t, ids))
	if b == nil {
		t.Skip("needs GATEWAYD_LONG=1, java and libbcmail-java")
	}
	for _, content := range contents() {
		b.put("content", content)
		if err := b.ask("compress"); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := Decompress(&out, bytes.NewReader(must(b.get("packed"))), 1<<21, ber.Limits{}); err != nil || !bytes.Equal(out.Bytes(), content) {
			t.Errorf("%d octets: %v", len(content), err)
		}
	}
}
