package cms

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// nssPeer is cmsutil, which chooses the cipher by itself.
type nssPeer struct{ tool }

// newNSS returns nil where it is not installed.
func newNSS(t *testing.T, dir string) peer {
	t.Helper()
	if _, err := exec.LookPath("cmsutil"); err != nil || !whole() {
		return nil
	}
	n := nssPeer{tool{t, dir}}
	for _, line := range []string{"mkdir nss", "certutil -N -d nss --empty-password", "certutil -A -d nss -n root -t TC,TC,TC -i root.pem"} {
		if err := n.run(line); err != nil {
			t.Fatal(err)
		}
	}
	for _, who := range []string{"rsa", "p256", "p384", "p521"} {
		for _, line := range []string{
			"openssl pkcs12 -export -legacy -in " + who + ".pem -inkey " + who + ".key -name " + who + " -out " + who + ".nss.p12 -passout pass:x",
			"pk12util -i " + who + ".nss.p12 -d nss -W x -K ",
		} {
			args := strings.Split(line, " ") // the last argument may be empty
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Logf("NSS: %s: %v: %s", line, err, out)
				return nil
			}
		}
	}
	return n
}

func (n nssPeer) sign(row signatureRow, detached bool, content []byte) ([]byte, error) {
	if row.pss || row.who == "ed25519" {
		return nil, errNotOffered
	}
	n.put("content", content)
	line := "cmsutil -S -d nss -N " + row.who + " -H " + strings.ReplaceAll(row.hash.String(), "-", "") + " -G -i content -o signed"
	if detached {
		line += " -T"
	}
	if err := n.run(line); err != nil {
		return nil, err
	}
	return n.get("signed")
}

func (n nssPeer) verify(row signatureRow, detached bool, der, content []byte) error {
	if row.who == "ed25519" {
		return errNotOffered
	}
	n.put("signed", der)
	line := "cmsutil -D -d nss -i signed -o got"
	if detached {
		n.put("content", content)
		line += " -c content"
	}
	if err := n.run(line); err != nil {
		return err
	}
	if got, err := n.get("got"); err != nil || !detached && !bytes.Equal(got, content) {
		return fmt.Errorf("another content: %w", err)
	}
	return nil
}

// encrypt gets what NSS chooses: it is read in the row of that cipher only.
func (n nssPeer) encrypt(cipherRow, []byte) ([]byte, error) { return nil, errNotOffered }

func (n nssPeer) decrypt(row cipherRow, der []byte) ([]byte, error) {
	if row.key != "RSAES-PKCS1-v1_5" || strings.HasSuffix(row.cipher, "GCM") {
		return nil, errNotOffered
	}
	n.put("sealed", der)
	if err := n.run("cmsutil -D -d nss -i sealed -o got"); err != nil {
		return nil, err
	}
	return n.get("got")
}
