package cms

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// gpgsmPeer has the RSA key only: 2.2 cannot import an EC key with its
// certificate, and encrypts to none.
type gpgsmPeer struct {
	tool
	home, user string
}

// newGpgsm returns nil where it is not installed or does not work.
func newGpgsm(t *testing.T, dir string) peer {
	t.Helper()
	if _, err := exec.LookPath("gpgsm"); err != nil || !whole() {
		return nil
	}
	g := gpgsmPeer{tool: tool{t, dir}, home: t.TempDir()}
	if err := os.Chmod(g.home, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.run("gpgconf --homedir " + g.home + " --kill all") })
	fingerprint := func(name string) string {
		block, _ := pem.Decode(get(t, dir, name+".pem"))
		return fmt.Sprintf("%X", sha1.Sum(must(x509.ParseCertificate(block.Bytes)).Raw))
	}
	put(t, g.home, "gpgsm.conf", []byte("disable-crl-checks\ndisable-dirmngr\n"))
	put(t, g.home, "gpg-agent.conf", []byte("allow-loopback-pinentry\n"))
	put(t, g.home, "trustlist.txt", []byte(fingerprint("root")+" S relax\n"))
	g.user = fingerprint("rsa")
	g.put("pw", []byte("x\n"))
	for _, line := range []string{
		"openssl pkcs12 -export -legacy -in rsa.pem -inkey rsa.key -certfile root.pem -out rsa.p12 -passout pass:x",
		"sh -c $1",
	} {
		if strings.HasPrefix(line, "sh") {
			if err := g.script("gpgsm --batch --pinentry-mode loopback --passphrase-fd 3 --import rsa.p12 3<pw && gpgsm --batch --import p256.pem p384.pem p521.pem"); err != nil {
				t.Logf("gpgsm: %v", err)
				return nil
			}
			continue
		}
		if err := g.run(line); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (g gpgsmPeer) script(text string) error {
	g.put("script", []byte(text))
	return g.run("sh script", "GNUPGHOME="+g.home)
}

const gpgsmBatch = "gpgsm --batch --yes --pinentry-mode loopback --passphrase-fd 3 "

func (g gpgsmPeer) sign(row signatureRow, detached bool, content []byte) ([]byte, error) {
	if row.who != "rsa" || row.pss {
		return nil, errNotOffered
	}
	g.put("content", content)
	mode := "--sign"
	if detached {
		mode = "--detach-sign"
	}
	if err := g.script(gpgsmBatch + "--local-user 0x" + g.user + " --digest-algo " + strings.ReplaceAll(row.hash.String(), "-", "") + " --output signed " + mode + " content 3<pw"); err != nil {
		return nil, err
	}
	return g.get("signed")
}

func (g gpgsmPeer) verify(row signatureRow, detached bool, der, content []byte) error {
	if row.who == "ed25519" {
		return errNotOffered
	}
	g.put("signed", der)
	if detached {
		g.put("content", content)
		return g.script("gpgsm --batch --verify signed content")
	}
	if err := g.script("gpgsm --batch --yes --output got --verify signed"); err != nil {
		return err
	}
	if got, err := g.get("got"); err != nil || !bytes.Equal(got, content) {
		return fmt.Errorf("another content: %w", err)
	}
	return nil
}

func (g gpgsmPeer) encrypt(row cipherRow, content []byte) ([]byte, error) {
	cipher := map[string]string{"AES-128-CBC": "AES128", "AES-192-CBC": "AES192", "AES-256-CBC": "AES256", "DES-EDE3-CBC": "3DES"}[row.cipher]
	if cipher == "" || row.key != "RSAES-PKCS1-v1_5" {
		return nil, errNotOffered
	}
	g.put("content", content)
	if err := g.script(gpgsmBatch + "--recipient 0x" + g.user + " --cipher-algo " + cipher + " --output sealed --encrypt content 3<pw"); err != nil {
		return nil, err
	}
	return g.get("sealed")
}

func (g gpgsmPeer) decrypt(row cipherRow, der []byte) ([]byte, error) {
	if row.who != "rsa" || row.key == "RSAES-OAEP" || row.hash == stdcrypto.SHA1 || strings.HasSuffix(row.cipher, "GCM") {
		return nil, errNotOffered
	}
	g.put("sealed", der)
	if err := g.script(gpgsmBatch + "--output got --decrypt sealed 3<pw"); err != nil {
		return nil, err
	}
	return g.get("got")
}
