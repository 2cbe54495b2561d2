package proofs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"codeberg.org/go-pdf/fpdf"

	"gatewayd/crypto/pdfsig"
	"gatewayd/crypto/seal"
	"gatewayd/gateway/proofs"
	"gatewayd/keysources"
	"gatewayd/message"
	"gatewayd/receipts"
	"gatewayd/simulator"
	"gatewayd/vault"
)

var now = time.Now().UTC().Truncate(time.Second) // the simulator's CA issues from now on

// platform seals receipts, and its issuer answers for the seal.
type platform struct {
	t       *testing.T
	vault   *vault.Vault
	signer  pdfsig.Signer
	revoked time.Time
	err     error
	asked   int
	stored  int   // blobs
	full    error // what the vault answers
	proofs  *proofs.Proofs
}

// Answers implements proofs.Revocation.
func (p *platform) Answers(_ context.Context, chain []*x509.Certificate) ([]keysources.Answer, error) {
	p.asked++
	return []keysources.Answer{{Kind: "ocsp", Of: chain[0], At: now, Revoked: p.revoked, Data: []byte("the same answer")}}, p.err
}

// OpenBody implements proofs.Vault.
func (p *platform) OpenBody(ref message.Ref) (*vault.BodyReader, error) { return p.vault.OpenBody(ref) }

// PutBlob implements proofs.Vault.
func (p *platform) PutBlob(ctx context.Context, family seal.Family, day string, text []byte) (message.Ref, error) {
	if p.full != nil {
		return message.Ref{}, p.full
	}
	p.stored++
	if family != seal.Log || day != logDay {
		p.t.Errorf("a proof is kept as %v until %s", family, day)
	}
	return p.vault.PutBlob(ctx, family, day, text)
}

const (
	logDay     = "2027-05-23"
	contentDay = "2027-01-23"
)

func newPlatform(t *testing.T) *platform {
	t.Helper()
	ca, err := simulator.NewCA("Platform CA")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Client("IncaMail")
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	ring, err := seal.Open(filepath.Join(data, "keys"), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	p := &platform{t: t, signer: pdfsig.Signer{Cert: cert.Leaf, Key: cert.Key}}
	if p.vault, err = vault.Open(vault.Options{Dir: filepath.Join(data, "vault"), Keys: ring}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.vault.Close() })
	recogniser, problems := receipts.New(receipts.Options{Platforms: receipts.DefaultPlatforms()})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	p.proofs = proofs.New(proofs.Options{Recogniser: recogniser, Vault: p, Revocation: p, Roots: map[string]*x509.CertPool{"incamail": ca.Pool()}})
	return p
}

// document is a sealed Abholquittung.
func (p *platform) document() []byte {
	p.t.Helper()
	pdf := fpdf.New("P", "mm", "A4", "")
	pdf.AddPage()
	pdf.SetFont("Helvetica", "", 11)
	tr := pdf.UnicodeTranslatorFromDescriptor("")
	for _, l := range []string{"IncaMail Abholquittung", "Absender: bau@inca.example", "Empfänger: buerger@example.ch", "Betreff: [BL-1234] Entscheid", "Zeitpunkt: " + now.Format(time.RFC3339)} {
		pdf.CellFormat(0, 7, tr(l), "", 1, "L", false, 0, "")
	}
	var b bytes.Buffer
	if err := pdf.Output(&b); err != nil {
		p.t.Fatal(err)
	}
	signed, err := pdfsig.Sign(b.Bytes(), p.signer, pdfsig.Options{Name: "IncaMail", Time: now})
	if err != nil {
		p.t.Fatal(err)
	}
	return signed
}

// mail is what came in: from the platform, with a document, if there is one.
func (p *platform) mail(from string, document []byte) message.Envelope {
	p.t.Helper()
	text := "From: IncaMail <" + from + ">\r\nSubject: Abholquittung: Entscheid\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\nContent-Type: text/plain\r\n\r\nGuten Tag\r\n"
	if document != nil {
		text += "--b1\r\nContent-Type: application/pdf; name=q.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(document) + "\r\n"
	}
	return p.store(from, text+"--b1--\r\n")
}

func (p *platform) store(from, text string) message.Envelope {
	p.t.Helper()
	a, err := message.ParseAddress(from)
	if err != nil {
		p.t.Fatal(err)
	}
	env := message.Envelope{ID: message.NewID(now), Direction: message.Inbound, Authority: "bau", From: a, HeaderFrom: from, Received: now, EraseDay: contentDay, LogDay: logDay}
	env.Content = message.Content{Size: int64(len(text)), Digest: sha256.Sum256([]byte(text))}
	if env.Body, err = p.vault.PutBlob(context.Background(), seal.Content, contentDay, []byte(text)); err != nil {
		p.t.Fatal(err)
	}
	return env
}

const sender = "swisspost@im.post.ch"

// read returns the one receipt of a mail.
func (p *platform) read(env message.Envelope) proofs.Proof {
	p.t.Helper()
	list, err := p.proofs.Read(context.Background(), env)
	if err != nil || len(list) != 1 {
		p.t.Fatalf("%d receipts, %v", len(list), err)
	}
	return list[0]
}

// TestRead: the receipt is verified, its document lies in the vault byte for byte, and
// reading it again gives the same receipt; an answer that is kept is not kept twice.
func TestRead(t *testing.T) {
	p := newPlatform(t)
	document := p.document()
	env := p.mail(sender, document)
	first, again := p.read(env), p.read(env)
	r := first.Receipt
	if r.Verdict != message.Verified || r.Kind != message.Abholquittung || r.Platform != "incamail" || r.Authority != "bau" || r.Mail != env.ID || r.Digest != sha256.Sum256(document) || r.FileName != "q.pdf" {
		t.Errorf("%+v", r)
	}
	if r.ID != again.Receipt.ID || r.ID == env.ID || r.ID.IsZero() {
		t.Errorf("ids %s, then %s, of mail %s", r.ID, again.Receipt.ID, env.ID)
	}
	if len(r.Status) != 1 || r.Status[0].Kind != "ocsp" || r.Status[0].Document != again.Receipt.Status[0].Document || p.asked != 2 || p.stored != 3 {
		t.Errorf("status %+v, asked %d times, %d blobs", r.Status, p.asked, p.stored)
	}
	body, err := p.vault.OpenBody(r.Document)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	kept := make([]byte, body.Size())
	if _, err := body.ReadAt(kept, 0); err != nil || !bytes.Equal(kept, document) {
		t.Errorf("the document is not what came: %v", err)
	}
}

// TestStatus: a seal that was revoked before the receipt proves nothing; one that was
// revoked later, or about which nobody answers, proves as before.
func TestStatus(t *testing.T) {
	for name, c := range map[string]struct {
		revoked time.Time
		err     error
		want    message.Authenticity
		detail  string
	}{
		"before":  {now.Add(-time.Second), nil, message.Untrusted, "was revoked on"},
		"at once": {now, nil, message.Untrusted, "was revoked on"},
		"after":   {now.Add(time.Second), nil, message.Verified, ""},
		"nobody":  {time.Time{}, errors.New("nobody answers"), message.Verified, "could not be learned"},
	} {
		p := newPlatform(t)
		p.revoked, p.err = c.revoked, c.err
		if r := p.read(p.mail(sender, p.document())).Receipt; r.Verdict != c.want || !strings.Contains(r.Detail, c.detail) {
			t.Errorf("%s: %s %q", name, r.Verdict, r.Detail)
		}
	}
}

// TestNoReceipt: other people's mail is no receipt, what is gone is unreadable for
// good, and a full disk is trouble of ours.
func TestNoReceipt(t *testing.T) {
	p := newPlatform(t)
	ctx := context.Background()
	if list, err := p.proofs.Read(ctx, p.mail("wer@example.org", nil)); err != nil || len(list) != 0 {
		t.Errorf("other mail: %v %v", list, err)
	}
	gone := p.mail(sender, p.document())
	gone.Body.Day = "2026-01-01" // no key of that day
	var unreadable *proofs.UnreadableError
	if _, err := p.proofs.Read(ctx, gone); !errors.As(err, &unreadable) || !errors.Is(err, vault.ErrGone) {
		t.Errorf("gone: %v", err)
	}
	p.full = errors.New("disk full")
	if _, err := p.proofs.Read(ctx, p.mail(sender, p.document())); errors.As(err, &unreadable) || !errors.Is(err, p.full) {
		t.Errorf("full: %v", err)
	}
}

// TestCompare: what a receipt says of attachments is compared with the named parts of
// what was sent; when that is gone, nothing can differ.
func TestCompare(t *testing.T) {
	p := newPlatform(t)
	sent := p.store("bau@bl.example", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nText\r\n--x\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\nPDF\r\n--x--\r\n")
	right, wrong := receipts.Attachment{Name: "a.pdf", SHA256: sha256.Sum256([]byte("PDF"))}, receipts.Attachment{Name: "a.pdf", SHA256: sha256.Sum256([]byte("FDP"))}
	if fits, differs, err := p.proofs.Compare(receipts.Finding{Attachments: []receipts.Attachment{right}}, sent); err != nil || fits == "" || differs != "" {
		t.Errorf("the same: %q %q %v", fits, differs, err)
	}
	if _, differs, err := p.proofs.Compare(receipts.Finding{Attachments: []receipts.Attachment{wrong}}, sent); err != nil || differs == "" {
		t.Errorf("another: %q %v", differs, err)
	}
	sent.Body.Day = "2026-01-01"
	if _, differs, err := p.proofs.Compare(receipts.Finding{Attachments: []receipts.Attachment{wrong}}, sent); err != nil || differs != "" {
		t.Errorf("gone: %q %v", differs, err)
	}
}
