package main

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/path"
	"gatewayd/crypto/smime"
	mailparts "gatewayd/mail/parts"
)

type cryptoCmd struct {
	Inspect cryptoInspectCmd `cmd:"" help:"Open a protected message, and say what its protection is worth, without a running gateway."`
}

type cryptoInspectCmd struct {
	jsonFlag
	Key     []string `sep:"none" type:"existingfile" help:"Private key (PEM, unlocked) for S/MIME; again for more."`
	Cert    []string `sep:"none" type:"existingfile" help:"Certificates (PEM or DER): those of the keys, of signers that send none, of CAs; again for more."`
	PGPKey  []string `name:"pgp-key" sep:"none" type:"existingfile" help:"OpenPGP keys, private or public; again for more."`
	Anchors []string `sep:"none" type:"existingfile" help:"Certificates of the CAs that are trusted (PEM or DER); again for more."`
	At      string   `help:"Judge as of this time (2006-01-02 or 2006-01-02T15:04:05Z). Empty: now."`
	Out     string   `help:"Write the opened message to this new file."`
	File    string   `arg:"" type:"existingfile" help:"The message (.eml), an S/MIME object (.p7m, DER or PEM), or an OpenPGP message (.asc, .gpg)."`
}

// Help shows examples.
func (cryptoInspectCmd) Help() string {
	return `Nothing leaves this machine. Exit code 1 unless what is signed is good and what is encrypted was opened.

Examples:
  gatewayd crypto inspect brief.eml --anchors ca.pem --at 2026-11-23 --json
  gatewayd crypto inspect brief.eml --key amt.key --cert amt.crt --out offen.eml
  gatewayd crypto inspect brief.eml --pgp-key amt-geheim.asc --pgp-key partner.asc`
}

// cryptoReport is what inspect prints.
type cryptoReport struct {
	entity.Report
	Message mailparts.Inspection  `json:"message"`           // as it came
	Content *mailparts.Inspection `json:"content,omitempty"` // as it was opened
}

// Run inspects.
func (i cryptoInspectCmd) Run(c console) error {
	at := time.Now()
	if i.At != "" {
		var err error
		if at, err = parseAt(i.At); err != nil {
			return err
		}
	}
	openers, err := i.openers()
	if err != nil {
		return err
	}
	f, size, closeIt, err := openMail(i.File)
	if err != nil {
		return err
	}
	defer closeIt()
	op, err := entity.Open(f, size, entity.Options{Openers: openers, At: at})
	if err != nil {
		return fmt.Errorf("%s: %w", i.File, err)
	}
	defer op.Close()
	report := cryptoReport{Report: op.Report()}
	if err := report.structure(f, size, op); err != nil {
		return err
	}
	if i.JSON {
		err = printJSON(c.out, report)
	} else {
		err = report.print(c)
	}
	if err == nil && i.Out != "" {
		err = writeOpened(i.Out, op)
	}
	if err == nil && !report.fine() {
		err = errNo
	}
	return err
}

// parseAt reads a day (its beginning, UTC) or an instant.
func parseAt(text string) (time.Time, error) {
	for _, form := range []string{time.RFC3339, "2006-01-02"} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--at %q: neither a day (2006-01-02) nor an instant (2006-01-02T15:04:05Z)", text)
}

// openers are made of the files given.
func (i cryptoInspectCmd) openers() ([]entity.Opener, error) {
	anchors, err := certificatesIn(i.Anchors)
	if err != nil {
		return nil, err
	}
	certs, err := certificatesIn(i.Cert)
	if err != nil {
		return nil, err
	}
	s := smime.Opener{Anchors: path.New(anchors, nil, certs), Certificates: certs}
	for _, file := range i.Key {
		keys, err := recipientsIn(file, certs)
		if err != nil {
			return nil, err
		}
		s.Keys = append(s.Keys, keys...)
	}
	var p openpgp.Opener
	for _, file := range i.PGPKey {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		keys, err := openpgp.ParseKeys(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		p.Keys = append(p.Keys, keys...)
	}
	return []entity.Opener{s, p}, nil
}

func certificatesIn(files []string) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		list, err := smime.ParseCertificates(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, list...)
	}
	return all, nil
}

// recipientsIn finds the certificates to a key: among those given, or in the
// key's own file.
func recipientsIn(file string, certs []*x509.Certificate) ([]cms.Recipient, error) {
	key, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if own, err := smime.ParseCertificates(key); err == nil {
		certs = append(own, certs...)
	}
	err = errors.New("its certificate is missing: name it with --cert")
	var found []cms.Recipient
	for _, c := range certs {
		id, wrong := smime.ParseIdentity(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), key)
		if wrong != nil {
			err = wrong
			continue
		}
		if r, ok := id.Recipient(); ok {
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return found, nil
}

// openMail opens a message where it lies. A bare S/MIME or OpenPGP object is put
// into one.
func openMail(file string) (io.ReaderAt, int64, func(), error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, nil, err
	}
	head := make([]byte, 64)
	n, _ := f.ReadAt(head, 0) // short files are short
	head = head[:n]
	text := bytes.HasPrefix(head, []byte("-----BEGIN "))
	if !bytes.HasPrefix(head, []byte{0x30}) && !text && (n == 0 || head[0] < 0x80) {
		return f, info.Size(), func() { f.Close() }, nil
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxReceipt))
	if err != nil {
		return nil, 0, nil, err
	}
	if bytes.HasPrefix(head, []byte("-----BEGIN PGP ")) || head[0] >= 0x80 && head[0] != 0xef { // not a byte order mark
		mail, err := pgpMail(raw)
		if err != nil {
			return nil, 0, nil, fmt.Errorf("%s: %w", file, err)
		}
		return strings.NewReader(mail), int64(len(mail)), func() {}, nil
	}
	if block, _ := pem.Decode(raw); block != nil {
		raw = block.Bytes
	}
	mail := "Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(raw)
	return strings.NewReader(mail), int64(len(mail)), func() {}, nil
}

// pgpMail puts an OpenPGP message, armored or binary, into a mail.
func pgpMail(raw []byte) (string, error) {
	kind, _, _ := strings.Cut(strings.TrimPrefix(string(raw[:min(len(raw), 64)]), "-----BEGIN "), "-----")
	switch {
	case raw[0] >= 0x80:
		raw = []byte("-----BEGIN PGP MESSAGE-----\n\n" + base64Lines(raw) + "-----END PGP MESSAGE-----\n")
	case strings.HasSuffix(kind, " KEY BLOCK"):
		return "", errors.New("a key, no message: name it with --pgp-key")
	case kind == "PGP SIGNATURE":
		return "", errors.New("a signature without what it signs: give the whole message")
	}
	if len(raw) > maxInlinePGP {
		return "", errors.New("over 1 MiB: only whole mails may be so large")
	}
	return "Content-Type: text/plain\r\n\r\n" + string(raw), nil
}

// maxInlinePGP is how long a text may be that is searched for OpenPGP.
const maxInlinePGP = 1 << 20

func base64Lines(raw []byte) string {
	var b strings.Builder
	for text := base64.StdEncoding.EncodeToString(raw); text != ""; {
		n := min(len(text), 64)
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return b.String()
}

// structure adds what the message and its content are made of.
func (r *cryptoReport) structure(f io.ReaderAt, size int64, op *entity.Opened) (err error) {
	if r.Message, err = mailparts.Inspect(f, size, mailparts.Limits{}); err != nil && !errors.Is(err, mailparts.ErrLimits) {
		return err
	}
	if op.Content == nil || len(op.Layers) == 0 {
		return nil
	}
	content, err := mailparts.Inspect(op.Content.Reader(), op.Content.Size, mailparts.Limits{})
	if err != nil && !errors.Is(err, mailparts.ErrLimits) {
		return err
	}
	r.Content = &content
	return nil
}

// fine reports whether there is nothing to object to.
func (r cryptoReport) fine() bool {
	signed := r.Signature == entity.Good || r.Signature == entity.NotSigned
	switch r.Encryption {
	case entity.NotEncrypted, entity.Decrypted, entity.Malleable:
		return signed && r.Opened
	}
	return false
}

func (r cryptoReport) print(c console) error {
	var b strings.Builder
	fmt.Fprintf(&b, "encryption  %s\nsignature   %s\n", r.Encryption, r.Signature)
	for _, line := range [][2]string{{"covers", r.Covers}, {"remark", r.Detail}} {
		if line[1] != "" {
			fmt.Fprintf(&b, "%-11s %s\n", line[0], line[1])
		}
	}
	for n, l := range r.Layers {
		fmt.Fprintf(&b, "layer %d     %s\n", n+1, strings.Join(words(string(l.Technique), l.Kind, l.Form, string(l.Encryption), strings.Join(l.Algorithms, ", "), key(l.Key), l.Detail), ", "))
		for _, s := range l.Signatures {
			fmt.Fprintf(&b, "  %s\n", strings.Join(words(string(s.Verdict), s.Signer, strings.Join(s.Addresses, " "), s.Algorithm, key(s.Key), local(s.Time), s.Detail), "; "))
		}
		if hint := hintFor(l); hint != "" {
			fmt.Fprintf(&b, "  hint: %s\n", hint)
		}
	}
	for _, f := range r.Fields {
		fmt.Fprintf(&b, "field       %s\n", strings.Join(words(f.Name, yes(f.Signed, "signed"), yes(f.Encrypted, "encrypted"), yes(f.Differs, "differs outside"), yes(!f.Shown, "not shown")), ", "))
	}
	content := r.Message
	if r.Content != nil {
		content = *r.Content
	}
	for _, p := range content.Parts {
		fmt.Fprintf(&b, "part %-6s %s\n", p.ID, strings.Join(words(p.Type, p.FileName, fmt.Sprint(p.Size, " octets")), ", "))
	}
	_, err := io.WriteString(c.out, b.String())
	return err
}

// key names a key by its fingerprint.
func key(fingerprint string) string {
	if fingerprint == "" {
		return ""
	}
	return "key " + fingerprint
}

// hintFor says what the reader of the output could give us.
func hintFor(l entity.LayerReport) string {
	pgp := l.Technique == entity.OpenPGP
	missing := l.Encryption == entity.NotForUs
	for _, s := range l.Signatures {
		if s.Verdict == entity.UnknownKey {
			return map[bool]string{true: "give the signer's key with --pgp-key", false: "give the signer's certificate with --cert"}[pgp]
		}
		if s.Verdict == entity.Untrusted {
			return "give the CA that you trust with --anchors"
		}
	}
	switch {
	case missing && pgp:
		return "give the recipient's private key with --pgp-key"
	case missing:
		return "give the recipient's private key with --key, and its certificate with --cert"
	}
	return ""
}

// yes is the word for what is so.
func yes(so bool, word string) string {
	if so {
		return word
	}
	return ""
}

// words leaves out what is empty.
func words(list ...string) []string {
	var out []string
	for _, w := range list {
		if w != "" {
			out = append(out, w)
		}
	}
	return out
}

// writeOpened writes the opened message whole or not at all.
func writeOpened(file string, op *entity.Opened) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = op.WriteMessage(f)
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}
