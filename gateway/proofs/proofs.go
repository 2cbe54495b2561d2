// Package proofs reads what platforms say in mail that came in: it recognises their
// receipts, keeps each document and what issuers say of its seal, and compares with
// what was sent. Where a receipt belongs, and what it changes, is the flow's business.
package proofs

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"gatewayd/crypto/seal"
	"gatewayd/evidence"
	"gatewayd/keysources"
	"gatewayd/message"
	"gatewayd/receipts"
	"gatewayd/vault"
)

// Options is what proofs are read with.
type Options struct {
	Recogniser *receipts.Recogniser
	Vault      Vault
	Revocation Revocation                // nil: nobody is asked
	Roots      map[string]*x509.CertPool // platform → anchors of its seal
}

// Vault is where mail lies, and documents stay (vault.Vault).
type Vault interface {
	OpenBody(ref message.Ref) (*vault.BodyReader, error)
	PutBlob(ctx context.Context, family seal.Family, day string, text []byte) (message.Ref, error)
}

// Revocation asks issuers about the certificates of a seal (keysources.Revocation).
type Revocation interface {
	Answers(ctx context.Context, chain []*x509.Certificate) ([]keysources.Answer, error)
}

// Proofs reads them. It remembers which answers of issuers are kept already.
type Proofs struct {
	o       Options
	answers answers
}

// New returns the reader.
func New(o Options) *Proofs { return &Proofs{o: o} }

// UnreadableError marks a mail that cannot be read, now or ever.
type UnreadableError struct{ err error }

// Error implements error.
func (e *UnreadableError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *UnreadableError) Unwrap() error { return e.err }

// Proof is a receipt with its finding; the document is in the vault already.
type Proof struct {
	Receipt message.Receipt
	Finding receipts.Finding
}

// Read reads what a platform says in a mail; nil when it is no receipt.
// *UnreadableError; every other error is trouble of ours.
func (p *Proofs) Read(ctx context.Context, env message.Envelope) ([]Proof, error) {
	if !p.o.Recogniser.Claims(env) {
		return nil, nil
	}
	body, err := p.o.Vault.OpenBody(env.Body)
	if errors.Is(err, vault.ErrGone) || errors.Is(err, vault.ErrCorrupt) {
		return nil, &UnreadableError{err}
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	findings, claimed, err := p.o.Recogniser.Recognise(receipts.Input{Envelope: env, Body: body, Size: body.Size(), Now: env.Received, Roots: p.o.Roots})
	if err != nil {
		return nil, &UnreadableError{err}
	}
	if !claimed {
		return nil, nil
	}
	var all []Proof
	for i, f := range findings {
		r, err := p.receipt(ctx, env, f, i)
		if err != nil {
			return nil, err
		}
		all = append(all, Proof{r, f})
	}
	return all, nil
}

func (p *Proofs) receipt(ctx context.Context, env message.Envelope, f receipts.Finding, n int) (message.Receipt, error) {
	r := message.Receipt{
		ID: receiptID(env.ID, n), Authority: env.Authority, Mail: env.ID, Kind: f.Kind, Platform: f.Platform, At: f.At, Received: env.Received,
		Verdict: f.Verdict, Detail: message.Bounded(f.Detail), Signer: message.Bounded(f.Signer), Code: f.Code,
		Digest: sha256.Sum256(f.Document), FileName: message.Bounded(f.FileName), MediaType: f.MediaType,
	}
	if r.Verdict == message.Verified {
		if err := p.askStatus(ctx, env, f, &r); err != nil {
			return r, err
		}
	}
	if len(f.Document) > 0 {
		var err error
		// The document is proof: it follows the log window, not the content's.
		if r.Document, err = p.o.Vault.PutBlob(ctx, seal.Log, env.LogDay, f.Document); err != nil {
			return r, err
		}
	}
	return r, nil
}

// statusWait bounds how long a receipt waits for what issuers say of its seal.
const statusWait = 15 * time.Second

// askStatus keeps what issuers say of the certificates of a good seal. One that
// was revoked before the receipt's time proves nothing; that nobody answers
// takes nothing from it.
func (p *Proofs) askStatus(ctx context.Context, env message.Envelope, f receipts.Finding, r *message.Receipt) error {
	if p.o.Revocation == nil || len(f.Chain) < 2 {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	answers, err := p.o.Revocation.Answers(asking, f.Chain)
	if err != nil {
		r.Detail = message.Bounded(r.Detail + "; whether its certificates are revoked could not be learned of all")
	}
	for _, a := range answers {
		s := message.Status{Kind: a.Kind, Of: sha256.Sum256(a.Of.Raw), At: a.At, Revoked: a.Revoked, Digest: sha256.Sum256(a.Data)}
		if s.Document, err = p.answers.keep(s.Digest, env.LogDay, func() (message.Ref, error) { return p.o.Vault.PutBlob(ctx, seal.Log, env.LogDay, a.Data) }); err != nil {
			return err
		}
		r.Status = append(r.Status, s)
		if !a.Revoked.IsZero() && !a.Revoked.After(f.At) {
			r.Verdict = message.Untrusted
			r.Detail = message.Bounded("a certificate of its seal was revoked on " + a.Revoked.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// answers remembers where an issuer's answer lies already: the same list stands
// beside many receipts.
type answers struct {
	mu    sync.Mutex
	where map[string]message.Ref
}

// maxAnswers bounds what is remembered.
const maxAnswers = 1000

func (a *answers) keep(d message.Digest, day string, put func() (message.Ref, error)) (message.Ref, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := day + d.String()
	if ref, ok := a.where[key]; ok {
		return ref, nil
	}
	ref, err := put()
	if err != nil {
		return ref, err
	}
	if a.where == nil || len(a.where) >= maxAnswers {
		a.where = map[string]message.Ref{}
	}
	a.where[key] = ref
	return ref, nil
}

// receiptID is derived from the mail's, so that a repeated attempt gives the
// same receipt.
func receiptID(mail message.ID, n int) message.ID {
	d := sha256.Sum256(fmt.Appendf(nil, "receipt %s %d", mail, n))
	id := mail
	copy(id[6:], d[:])
	return id
}

// Compare says whether a verified receipt names what was sent (law.md C-05).
func (p *Proofs) Compare(f receipts.Finding, env message.Envelope) (fits, differs string, err error) {
	var sent []receipts.Attachment
	if len(f.Attachments) > 0 {
		if sent, err = p.attachmentsOf(env); err != nil {
			return "", "", err
		}
	}
	fits, differs = receipts.Compare(f, env.Content, sent)
	return message.Bounded(fits), message.Bounded(differs), nil
}

// attachmentsOf lists the named parts of a message with their digests; nil if
// the content is gone.
func (p *Proofs) attachmentsOf(env message.Envelope) ([]receipts.Attachment, error) {
	body, err := p.o.Vault.OpenBody(env.Body)
	if errors.Is(err, vault.ErrGone) || errors.Is(err, vault.ErrCorrupt) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	parts, err := evidence.Parts(body, body.Size())
	if err != nil {
		return nil, err
	}
	list := []receipts.Attachment{}
	for _, p := range parts {
		if p.Name == "" {
			continue
		}
		a := receipts.Attachment{Name: p.Name}
		if err := a.SHA256.UnmarshalText([]byte(p.SHA256)); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}
