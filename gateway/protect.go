package gateway

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"

	"gatewayd/connectors"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/vault"
)

// maxProtected bounds a message in its encrypted form, in octets: twice what
// the doors take, because base64 adds a third and a signature some more.
const maxProtected = 128 << 20

// errNoKey closes the gate: what was decided rests on a key that is gone.
var errNoKey = errors.New("there is no usable key of the recipient any more")

// ring returns the key ring as it is now; an empty one when none is configured.
func (g *Gateway) ring() *keys.Ring {
	if g.o.Keys == nil {
		return &keys.Ring{}
	}
	return g.o.Keys()
}

// keysFor lists the ways in which mail to an address can be encrypted by us.
func (g *Gateway) keysFor(to message.Address, now time.Time) []string {
	var ways []string
	s := g.ring().Select(keys.Wish{To: to, At: now})
	if s.Certificate != nil {
		ways = append(ways, policy.ViaSMIME)
	}
	if s.OpenPGP != nil {
		ways = append(ways, policy.ViaOpenPGP)
	}
	return ways
}

// sealedMail is a message in its encrypted form. Nothing readable of it is on
// disk (entity.Spool).
type sealedMail struct {
	*io.SectionReader
	entity.Spool
}

// Read and ReadAt are those of the section, which knows the size.
func (s sealedMail) Read(p []byte) (int, error) { return s.SectionReader.Read(p) }

func (s sealedMail) ReadAt(p []byte, off int64) (int, error) { return s.SectionReader.ReadAt(p, off) }

func (s sealedMail) Seek(off int64, whence int) (int64, error) {
	return s.SectionReader.Seek(off, whence)
}

// protect signs and encrypts the message for its one recipient, by the way that
// was decided (docs/flow.md, step 6). Private mail carries no official
// signature (Benutzungsreglement BL § 12).
func (g *Gateway) protect(env message.Envelope, item message.Item, body *vault.BodyReader) (sealedMail, error) {
	now := g.now()
	protected, err := g.protected(env, item, body, now)
	if err != nil {
		return sealedMail{}, err
	}
	spool := entity.NewSpool(g.o.Data, maxProtected)
	n, err := protected.WriteTo(spool)
	if err != nil {
		spool.Close()
		return sealedMail{}, fmt.Errorf("encrypt message: %w", err)
	}
	return sealedMail{io.NewSectionReader(spool, 0, n), spool}, nil
}

func (g *Gateway) protected(env message.Envelope, item message.Item, body *vault.BodyReader, now time.Time) (*entity.Protected, error) {
	theirs := g.ring().Select(keys.Wish{To: item.Recipient.Address, At: now})
	ours := g.ring().Signers(env.Authority, env.From, now)
	switch {
	case item.Decision.Via == policy.ViaSMIME && theirs.Certificate != nil:
		return smime.Protect(body, body.Size(), smime.Options{
			Class: item.Decision.Class, Signer: ours.SMIME, Recipients: []*x509.Certificate{theirs.Certificate}, Method: theirs.Method, Time: now,
		})
	case item.Decision.Via == policy.ViaOpenPGP && theirs.OpenPGP != nil:
		return openpgp.Protect(body, body.Size(), openpgp.Options{
			Class: item.Decision.Class, Signer: ours.OpenPGP, Recipients: []openpgp.Key{*theirs.OpenPGP}, Time: now,
		})
	}
	return nil, errNoKey
}

// protectError turns a failed protection into an outcome: never sent as it is.
func protectError(err error) outcome {
	switch {
	case errors.Is(err, errNoKey):
		return outcome{hold: err.Error()}
	case errors.Is(err, entity.ErrIrregular):
		return outcome{err: connectors.Refuse(connectors.StepMessage, "5.6.0", "the message has irregular lines and cannot be signed: send it anew with another program")}
	}
	return outcome{err: fmt.Errorf("protect message: %w", err)}
}

// Opening is a message that was opened; it must be closed.
type Opening struct {
	*entity.Opened
	body io.Closer
}

// Close forgets what was decrypted.
func (o Opening) Close() error { return errors.Join(o.Opened.Close(), o.body.Close()) }

// Open takes off what S/MIME and OpenPGP have put around a message of an
// authority, with the authority's own keys, and says what that was worth. What
// is stored stays as it came.
func (g *Gateway) Open(_ context.Context, env message.Envelope) (Opening, error) {
	body, err := g.o.Vault.OpenBody(env.Body)
	if err != nil {
		return Opening{}, err
	}
	opened, err := entity.Open(body, body.Size(), entity.Options{
		Openers: g.ring().Openers(keys.Reader{Authority: env.Authority, At: g.now()}), At: env.Received,
		Spool: func(limit int64) entity.Spool { return entity.NewSpool(g.o.Data, limit) },
	})
	if err != nil {
		body.Close()
		return Opening{}, err
	}
	return Opening{opened, body}, nil
}

// protection tells what the protection of a mail that came in is worth; nil
// when it has none, or when it cannot be looked at: then it lies there as it is.
func (g *Gateway) protection(ctx context.Context, env message.Envelope) map[string]string {
	if env.PlainText {
		return nil
	}
	opening, err := g.Open(ctx, env)
	if err != nil {
		return nil
	}
	defer opening.Close()
	if len(opening.Layers) == 0 && opening.Encryption == entity.NotEncrypted && opening.Signature == entity.NotSigned {
		return nil
	}
	return map[string]string{"encryption": string(opening.Encryption), "signature": string(opening.Signature)}
}
