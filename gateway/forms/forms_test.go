package forms_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/keys"
	"gatewayd/crypto/seal"
	"gatewayd/gateway/forms"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/scan"
	"gatewayd/vault"
)

// office is what forms are made with: two authorities share the keys of one folder.
type office struct {
	t      *testing.T
	vault  *vault.Vault
	folder string
	ring   *keys.Ring
	used   []entity.Technique
	scans  int
	evil   string // a word that the scanner finds
	manner forms.Manner
	forms  *forms.Forms
}

var now = time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)

func (o *office) Ring() *keys.Ring                       { return o.ring }
func (o *office) Learned(message.Address) []keys.Partner { return nil }
func (o *office) Revoked(context.Context, time.Time, bool) func(c, issuer *x509.Certificate) error {
	return nil
}

func (o *office) Selection(_ context.Context, to message.Address, at time.Time, _ bool) keys.Selection {
	return o.ring.Select(keys.Wish{To: to, At: at})
}

func (o *office) Used(_ message.Address, _ keys.Selection, t entity.Technique, _ time.Time) {
	o.used = append(o.used, t)
}

func (o *office) Scan(_ context.Context, r io.Reader) (string, error) {
	o.scans++
	text, err := io.ReadAll(r)
	if err == nil && bytes.Contains(text, []byte(o.evil)) {
		return "Test.Evil", nil
	}
	return "", err
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, folder: t.TempDir(), evil: "EVIL-WORD", manner: forms.Manner{Tags: map[string]string{"valid": "[signiert]", forms.TagEncrypted: "[verschlüsselt]"}}}
	data := t.TempDir()
	ring, err := seal.Open(filepath.Join(data, "keys"), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	if o.vault, err = vault.Open(vault.Options{Dir: filepath.Join(data, "vault"), Keys: ring}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.vault.Close() })
	o.forms = forms.New(forms.Options{
		Host: "gateway.bl.example", Data: data, Vault: o.vault, Keys: o, Scanner: o, Manner: func(string) forms.Manner { return o.manner }, Now: func() time.Time { return now },
	})
	o.issue("own/bau/seal", "bau@bl.example")
	o.issue("partners/bob@partner.example", "bob@partner.example")
	o.issue("own/steuer/seal", "steuer@bl.example")
	return o
}

// issue puts a certificate of an address with its key into the folder.
func (o *office) issue(name, mail string) {
	o.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		o.t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(int64(len(mail))), Subject: pkix.Name{CommonName: mail}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), EmailAddresses: []string{mail}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, k.Public(), k)
	if err != nil {
		o.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		o.t.Fatal(err)
	}
	path := filepath.Join(o.folder, name)
	for _, file := range []string{path, filepath.Join(o.folder, "partners", mail)} { // each is a partner of the others
		err = errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	}
	if strings.HasPrefix(name, "own/") {
		err = errors.Join(err, os.WriteFile(path+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	}
	if err != nil {
		o.t.Fatal(err)
	}
	ring, problems := keys.Load(o.folder)
	if len(problems) > 0 {
		o.t.Fatal(problems)
	}
	o.ring = ring
}

func addr(s string) message.Address {
	a, err := message.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// store puts a message into the vault.
func (o *office) store(d message.Direction, authority, text string) message.Envelope {
	o.t.Helper()
	env := message.Envelope{ID: message.NewID(now), Direction: d, Authority: authority, From: addr("bau@bl.example"), HeaderFrom: "bob@partner.example", Received: now, EraseDay: "2027-01-23"}
	env.Content.Size = int64(len(text))
	copy(env.Content.Digest[:], text) // as good as any
	var err error
	if env.Body, err = o.vault.PutBlob(context.Background(), seal.Content, env.EraseDay, []byte(text)); err != nil {
		o.t.Fatal(err)
	}
	return env
}

func (o *office) body(env message.Envelope) *vault.BodyReader {
	o.t.Helper()
	b, err := o.vault.OpenBody(env.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { b.Close() })
	return b
}

const letter = "From: bau@bl.example\r\nSubject: Akten\r\nContent-Type: text/plain\r\n\r\nGeheim\r\n"

// protect gives what leaves for an address, by S/MIME.
func (o *office) protect(env message.Envelope, to string, c message.Class) (string, error) {
	o.t.Helper()
	item := message.Item{Recipient: message.Recipient{Address: addr(to)}, Decision: message.Decision{Class: c, Via: policy.ViaSMIME}}
	sealed, err := o.forms.Protect(context.Background(), env, item, o.body(env))
	if err != nil {
		return "", err
	}
	defer sealed.Close()
	text, err := io.ReadAll(sealed)
	if err != nil || int64(len(text)) != sealed.Size() {
		o.t.Errorf("read %d of %d octets: %v", len(text), sealed.Size(), err)
	}
	return string(text), nil
}

// TestThereAndBack: what leaves for another authority is readable by it alone, says
// who signed it, and tells nothing of the sort for private mail.
func TestThereAndBack(t *testing.T) {
	o := newOffice(t)
	for class, signature := range map[message.Class]entity.Signing{message.Confidential: entity.Good, message.Private: entity.NotSigned} {
		text, err := o.protect(o.store(message.Outbound, "bau", letter), "steuer@bl.example", class)
		if err != nil || strings.Contains(text, "Geheim") {
			t.Fatalf("%s: %v\n%s", class, err, text)
		}
		for authority, reads := range map[string]bool{"steuer": true, "bau": false} {
			env := o.store(message.Inbound, authority, text)
			env.HeaderFrom = "bau@bl.example"
			learned := 0
			found, err := o.forms.Protection(context.Background(), env, func(_ entity.Summary, op *entity.Opened, from message.Address) {
				learned++
				if from.String() != "bau@bl.example" || op == nil {
					t.Errorf("learns of %s", from)
				}
			})
			if err != nil || learned != 1 || (found["encryption"] == string(entity.NotForUs)) == reads || reads && found["signature"] != string(signature) {
				t.Errorf("%s read by %s: %v, %v", class, authority, err, found)
			}
			var out bytes.Buffer
			d, err := o.forms.Delivered(context.Background(), env, false)
			if err != nil {
				t.Fatal(err)
			}
			_, err = d.WriteTo(&out)
			if err = errors.Join(err, d.Close()); err != nil || strings.Contains(out.String(), "Geheim") != reads || strings.Contains(out.String(), "=?") != reads || !strings.HasPrefix(out.String(), forms.VerdictField+": ") {
				t.Errorf("%s delivered to %s: %v\n%s", class, authority, err, out.String())
			}
		}
	}
	if !slices.Equal(o.used, []entity.Technique{entity.SMIME, entity.SMIME}) {
		t.Errorf("used %v", o.used)
	}
}

// TestNeverUnprotected: without a key of the recipient nothing leaves, and without
// the authority's own nothing that must be signed.
func TestNeverUnprotected(t *testing.T) {
	o := newOffice(t)
	env := o.store(message.Outbound, "bau", letter)
	if _, err := o.protect(env, "nobody@partner.example", message.Confidential); !errors.Is(err, forms.ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	o.ring = o.ring.WithOwn(nil, fmt.Errorf("nobody listens: %w", cms.ErrKeyAway))
	if _, err := o.protect(env, "bob@partner.example", message.Confidential); !errors.Is(err, cms.ErrKeyAway) {
		t.Errorf("own keys away: %v", err)
	}
	if text, err := o.protect(env, "bob@partner.example", message.Private); err != nil || strings.Contains(text, "Geheim") {
		t.Errorf("private: %v", err)
	}
}

const came = "X-Gatewayd-Verdict: valid\r\nFrom: bob@partner.example\r\nSubject: [signiert] Gesuch\r\nContent-Type: text/plain\r\n\r\nGuten Tag\r\n"

// TestForwarded: what goes to the authority's own server is read from any place, has
// our verdict and no forged one, and its body octet for octet; the subject has no
// tag that only we may write.
func TestForwarded(t *testing.T) {
	o := newOffice(t)
	for _, o.manner.ForwardOpened = range []bool{false, true} {
		env := o.store(message.Inbound, "bau", came)
		content, done, err := o.forms.Forwarded(context.Background(), env, o.body(env))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(content)
		if err != nil || !strings.HasPrefix(string(text), forms.VerdictField+": unsigned") || strings.Count(string(text), forms.VerdictField) != 1 || !strings.HasSuffix(string(text), "\r\n\r\nGuten Tag\r\n") || strings.Contains(string(text), "[signiert]") {
			t.Errorf("%v\n%s", err, text)
		}
		if _, err := content.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(content, text); err != nil {
			t.Error(err)
		}
		done()
		if s, err := o.forms.Subject(context.Background(), env); err != nil || strings.Contains(s, "[signiert]") || !strings.HasSuffix(s, "Gesuch") {
			t.Errorf("subject %q %v", s, err)
		}
	}
}

// TestTooDeep: what has more layers than are taken off goes to the authority's own
// server as it came, and shows its outer subject.
func TestTooDeep(t *testing.T) {
	o := newOffice(t)
	text := "Content-Type: text/plain\r\n\r\nGuten Tag\r\n"
	for n := range 14 {
		text = fmt.Sprintf("Content-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=b%d\r\n\r\n--b%[1]d\r\n%s\r\n--b%[1]d\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b%[1]d--\r\n", n, text)
	}
	text = "From: bob@partner.example\r\nSubject: [signiert] Gesuch\r\n" + text
	o.manner.ForwardOpened = true
	env := o.store(message.Inbound, "bau", text)
	if _, err := o.forms.Delivered(context.Background(), env, true); !errors.Is(err, entity.ErrTooLarge) {
		t.Fatalf("not too deep: %v", err)
	}
	content, done, err := o.forms.Forwarded(context.Background(), env, o.body(env))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	_, body, _ := strings.Cut(text, "\r\n\r\n")
	if got, err := io.ReadAll(content); err != nil || !strings.HasPrefix(string(got), forms.VerdictField+": ") || !strings.HasSuffix(string(got), "\r\n\r\n"+body) {
		t.Errorf("%v\n%s", err, got)
	}
	if s, err := o.forms.Subject(context.Background(), env); err != nil || s != "(signiert) Gesuch" {
		t.Errorf("subject %q %v", s, err)
	}
}

// TestErased: a message whose content is gone has no header and no subject, and is
// not opened.
func TestErased(t *testing.T) {
	o := newOffice(t)
	env := o.store(message.Inbound, "bau", came)
	env.Body.Day = "2026-01-01" // no key of that day
	if head, err := o.forms.Header(env); head != nil || err != nil {
		t.Errorf("header %v %v", head, err)
	}
	if s, err := o.forms.Subject(context.Background(), env); s != "" || err != nil {
		t.Errorf("subject %q %v", s, err)
	}
	if _, err := o.forms.Delivered(context.Background(), env, false); !errors.Is(err, vault.ErrGone) {
		t.Errorf("delivered: %v", err)
	}
}

// TestInfected: what was clean is asked once, what is found every time; inside of an
// encryption, and after its key has come, it is found, too.
func TestInfected(t *testing.T) {
	o := newOffice(t)
	ctx := context.Background()
	clean := o.store(message.Inbound, "bau", came)
	for range 3 {
		if found, err := o.forms.Infected(ctx, clean); found != "" || err != nil {
			t.Errorf("clean: %q %v", found, err)
		}
	}
	if o.scans != 1 {
		t.Errorf("scanned %d times", o.scans)
	}
	sealed, err := o.protect(o.store(message.Outbound, "bau", strings.Replace(letter, "Geheim", o.evil, 1)), "steuer@bl.example", message.Private)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := o.forms.Infected(ctx, o.store(message.Outbound, "bau", sealed)); found != "" || err != nil {
		t.Errorf("the same, going out, which is not opened: %q %v", found, err)
	}
	env := o.store(message.Inbound, "steuer", sealed)
	if found, err := o.forms.Infected(ctx, env); found != "Test.Evil" || err != nil {
		t.Errorf("inside: %q %v", found, err)
	}
	if _, err := o.forms.Delivered(ctx, env, false); !errors.Is(err, forms.ErrUnscanned) {
		t.Errorf("delivered: %v", err)
	}
	many := "Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n\r\na\r\n", 20_000) + "--x--\r\n"
	if _, err := o.forms.Infected(ctx, o.store(message.Inbound, "bau", many)); !errors.Is(err, scan.ErrTooLarge) {
		t.Errorf("more parts than are cut out: %v", err)
	}
}
