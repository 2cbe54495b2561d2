package forms

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
	"gatewayd/keysources"
	"gatewayd/message"
	"gatewayd/policy"
)

// ErrNoKey closes the gate: what was decided rests on a key that is gone.
var ErrNoKey = errors.New("there is no usable key of the recipient any more")

// Sealed is a message in its encrypted form; it must be closed. Nothing readable of it is on
// disk (entity.Spool).
type Sealed struct {
	*io.SectionReader
	entity.Spool
	SignedBy string // fingerprint of the authority's key; "": not signed
}

// Read and ReadAt are those of the section, which knows the size.
func (s Sealed) Read(p []byte) (int, error) { return s.SectionReader.Read(p) }

// ReadAt reads at an offset of the section.
func (s Sealed) ReadAt(p []byte, off int64) (int, error) { return s.SectionReader.ReadAt(p, off) }

// Seek moves in the section.
func (s Sealed) Seek(off int64, whence int) (int64, error) {
	return s.SectionReader.Seek(off, whence)
}

// Protect signs and encrypts the message for its one recipient, by the way that
// was decided (docs/flow.md, step 6). Private mail carries no official
// signature (Benutzungsreglement BL § 12).
func (f *Forms) Protect(ctx context.Context, env message.Envelope, item message.Item, body Source) (Sealed, error) {
	now := f.o.Now().UTC()
	protected, by, err := f.protected(ctx, env, item, body, now)
	if err != nil {
		return Sealed{}, err
	}
	spool := entity.NewSpool(f.o.Data, maxProtected)
	n, err := protected.WriteTo(spool)
	if err != nil {
		spool.Close()
		return Sealed{}, fmt.Errorf("encrypt message: %w", err)
	}
	return Sealed{io.NewSectionReader(spool, 0, n), spool, by}, nil
}

// protected is the message signed and encrypted, and by which own key it is signed.
func (f *Forms) protected(ctx context.Context, env message.Envelope, item message.Item, body Source, now time.Time) (p *entity.Protected, by string, err error) {
	to := item.Recipient.Address
	theirs := f.o.Keys.Selection(ctx, to, now, true)
	ours := f.o.Keys.Ring().Signers(env.Authority, env.From, now)
	if item.Decision.Class == message.Private {
		ours = keys.Signers{} // it is not signed: nobody needs them
	}
	switch {
	case ours.Err != nil:
		return nil, "", fmt.Errorf("sign message: %w", ours.Err) // temporary: never unsigned because nobody knows the keys now
	case item.Decision.Via == policy.ViaSMIME && theirs.Certificate != nil:
		f.o.Keys.Used(to, theirs, entity.SMIME, now)
		if ours.SMIME != nil {
			by = smime.Fingerprint(ours.SMIME.Cert)
		}
		p, err = smime.Protect(body, body.Size(), smime.Options{
			Class: item.Decision.Class, Signer: ours.SMIME, Recipients: []*x509.Certificate{theirs.Certificate}, Method: theirs.Method, Headers: f.o.Manner(env.Authority).Headers, Time: now,
		})
		return p, by, err
	case item.Decision.Via == policy.ViaOpenPGP && theirs.OpenPGP != nil:
		f.o.Keys.Used(to, theirs, entity.OpenPGP, now)
		if ours.OpenPGP != nil {
			by = ours.OpenPGP.Fingerprint
		}
		p, err = openpgp.Protect(body, body.Size(), openpgp.Options{
			Class: item.Decision.Class, Signer: ours.OpenPGP, Recipients: []openpgp.Key{*theirs.OpenPGP}, Headers: f.o.Manner(env.Authority).Headers, Time: now,
		})
		return p, by, err
	case slices.ContainsFunc(theirs.Reasons, func(r keys.Reason) bool { return errors.Is(r.Err, keysources.ErrStatusUnknown) }):
		return nil, "", keysources.ErrStatusUnknown // temporary: the issuer may answer later
	}
	return nil, "", ErrNoKey
}
