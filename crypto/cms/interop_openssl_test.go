package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"gatewayd/crypto/ber"
)

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// tool runs programs in a folder with keys.
type tool struct {
	t   *testing.T
	dir string
}

func (o tool) put(name string, data []byte) { put(o.t, o.dir, name, data) }

func (o tool) get(name string) ([]byte, error) { return os.ReadFile(filepath.Join(o.dir, name)) }

// run runs a command line; what the program says becomes the error.
func (o tool) run(line string, env ...string) error {
	args := strings.Fields(line)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = o.dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, bytes.TrimSpace(out[:min(len(out), 400)]))
	}
	return nil
}

func digestName(h stdcrypto.Hash) string {
	return strings.ToLower(strings.ReplaceAll(h.String(), "-", ""))
}

type opensslPeer struct{ tool }

func newOpenSSL(t *testing.T, dir string) peer { return opensslPeer{tool{t, dir}} }

func (o opensslPeer) sign(row signatureRow, detached bool, content []byte) ([]byte, error) {
	if row.who == "ed25519" {
		return nil, errNotOffered // as of 3.0
	}
	o.put("content", content)
	line := "openssl cms -sign -binary -in content -outform DER -out signed -signer " + row.who + ".pem -inkey " + row.who + ".key -md " + digestName(row.hash)
	if row.pss {
		line += " -keyopt rsa_padding_mode:pss -keyopt rsa_pss_saltlen:-1"
	}
	if !detached {
		line += " -nodetach"
	}
	if err := o.run(line); err != nil {
		return nil, err
	}
	return o.get("signed")
}

func (o opensslPeer) verify(row signatureRow, detached bool, der, content []byte) error {
	if row.who == "ed25519" {
		return errNotOffered
	}
	o.put("signed", der)
	line := "openssl cms -verify -binary -inform DER -in signed -out got -CAfile root.pem -purpose any"
	if detached {
		o.put("content", content)
		line += " -content content"
	}
	if err := o.run(line); err != nil {
		return err
	}
	if got, err := o.get("got"); err != nil || !bytes.Equal(got, content) {
		return errors.New("another content")
	}
	return nil
}

func (o opensslPeer) encrypt(row cipherRow, content []byte) ([]byte, error) {
	if row.who == "x25519" {
		return nil, errNotOffered
	}
	o.put("content", content)
	line := "openssl cms -encrypt -binary -in content -outform DER -out sealed -" + strings.ToLower(row.cipher) + " -recip " + row.who + ".pem"
	if row.key == "RSAES-OAEP" {
		line += " -keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:" + digestName(row.hash)
	}
	if err := o.run(line); err != nil {
		return nil, err
	}
	return o.get("sealed")
}

func (o opensslPeer) decrypt(row cipherRow, der []byte) ([]byte, error) {
	if row.who == "x25519" {
		return nil, errNotOffered
	}
	o.put("sealed", der)
	if err := o.run("openssl cms -decrypt -binary -inform DER -in sealed -out got -recip " + row.who + ".pem -inkey " + row.who + ".key"); err != nil {
		return nil, err
	}
	return o.get("got")
}

// TestInterop50MB: the two cells of the matrix with 50 MB, in bounded memory.
func TestInterop50MB(t *testing.T) {
	need(t, "openssl", "openssl")
	if os.Getenv("GATEWAYD_LONG") == "" {
		t.Skip("needs GATEWAYD_LONG=1")
	}
	_, ids := interopWorld(t)
	o := tool{t, files(t, ids)}
	const size = 50_000_000
	content := filepath.Join(o.dir, "content")
	line := []byte(strings.Repeat("0123456789abcde\n", 1<<10))
	o.put("content", bytes.Repeat(line, size/len(line)+1)[:size])
	want := digestOf(t, content)
	for _, with := range []Cipher{AES256CBC, AES256GCM} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		in, out := must(os.Open(content)), must(os.Create(filepath.Join(o.dir, "sealed")))
		err := Encrypt(out, in, size, EncryptOptions{Recipients: []*x509.Certificate{ids["rsa"].cert}, Cipher: with})
		if err := errors.Join(err, out.Close(), in.Close()); err != nil {
			t.Fatal(err)
		}
		if err := o.run("openssl cms -decrypt -binary -inform DER -in sealed -out got -recip rsa.pem -inkey rsa.key"); err != nil {
			t.Fatal(err)
		}
		if digestOf(t, filepath.Join(o.dir, "got")) != want {
			t.Errorf("%s: OpenSSL reads another content", with)
		}
		if err := o.run("openssl cms -encrypt -binary -in content -outform DER -out sealed -" + strings.ToLower(string(with)) + " -recip rsa.pem"); err != nil {
			t.Fatal(err)
		}
		back := sha256.New()
		sealed := must(os.Open(filepath.Join(o.dir, "sealed")))
		_, err = Decrypt(back, sealed, []Recipient{ids["rsa"].recipient()}, ber.Limits{})
		if err := errors.Join(err, sealed.Close()); err != nil || string(back.Sum(nil)) != want {
			t.Errorf("%s: we read another content: %v", with, err)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
			t.Errorf("%s: %d octets allocated", with, got)
		}
	}
}

func digestOf(t *testing.T, file string) string {
	t.Helper()
	f := must(os.Open(file))
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return string(h.Sum(nil))
}
