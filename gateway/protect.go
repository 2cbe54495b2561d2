package gateway

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatewayd/connectors"
	"gatewayd/crypto/entity"
	"gatewayd/crypto/keys"
	"gatewayd/crypto/openpgp"
	"gatewayd/crypto/smime"
	"gatewayd/keysources"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/vault"
)

// maxProtected bounds a message in its encrypted form, in octets: twice what
// the doors take, because base64 adds a third and a signature some more.
const maxProtected = 128 << 20

// errNoKey closes the gate: what was decided rests on a key that is gone.
var errNoKey = errors.New("there is no usable key of the recipient any more")

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
func (g *Gateway) protect(ctx context.Context, env message.Envelope, item message.Item, body *vault.BodyReader) (sealedMail, error) {
	now := g.now()
	protected, err := g.protected(ctx, env, item, body, now)
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

func (g *Gateway) protected(ctx context.Context, env message.Envelope, item message.Item, body *vault.BodyReader, now time.Time) (*entity.Protected, error) {
	to := item.Recipient.Address
	theirs := g.Selection(ctx, to, now, true)
	how := entity.HeadersOutside
	if a := g.byID[env.Authority]; a != nil {
		how = a.Headers
	}
	ours := g.Ring().Signers(env.Authority, env.From, now)
	switch {
	case ours.Err != nil && item.Decision.Class != message.Private:
		return nil, fmt.Errorf("sign message: %w", ours.Err) // temporary: never unsigned because nobody knows the keys now
	case item.Decision.Via == policy.ViaSMIME && theirs.Certificate != nil:
		g.Used(to, theirs, entity.SMIME, now)
		return smime.Protect(body, body.Size(), smime.Options{
			Class: item.Decision.Class, Signer: ours.SMIME, Recipients: []*x509.Certificate{theirs.Certificate}, Method: theirs.Method, Headers: how, Time: now,
		})
	case item.Decision.Via == policy.ViaOpenPGP && theirs.OpenPGP != nil:
		g.Used(to, theirs, entity.OpenPGP, now)
		return openpgp.Protect(body, body.Size(), openpgp.Options{
			Class: item.Decision.Class, Signer: ours.OpenPGP, Recipients: []openpgp.Key{*theirs.OpenPGP}, Headers: how, Time: now,
		})
	case slices.ContainsFunc(theirs.Reasons, func(r keys.Reason) bool { return errors.Is(r.Err, keysources.ErrStatusUnknown) }):
		return nil, keysources.ErrStatusUnknown // temporary: the issuer may answer later
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
	body *vault.BodyReader // as it is stored
}

// stored reads the message as it is stored, from its beginning.
func (o Opening) stored() io.Reader { return io.NewSectionReader(o.body, 0, o.body.Size()) }

// Close forgets what was decrypted.
func (o Opening) Close() error { return errors.Join(o.Opened.Close(), o.body.Close()) }

// Open takes off what S/MIME and OpenPGP have put around a message of an
// authority, with the authority's own keys, and says what that was worth. What
// is stored stays as it came.
func (g *Gateway) Open(ctx context.Context, env message.Envelope) (Opening, error) {
	return g.open(ctx, env, false)
}

// open is Open; now: whether certificates are revoked is asked over the network.
func (g *Gateway) open(ctx context.Context, env message.Envelope, now bool) (Opening, error) {
	body, err := g.o.Vault.OpenBody(env.Body)
	if err != nil {
		return Opening{}, err
	}
	openers := g.Ring().Openers(keys.Reader{
		Authority: env.Authority, At: g.now(), Learned: g.Learned(author(env)), Revoked: g.Revoked(ctx, env.Received, now),
	})
	opened, err := entity.Open(body, body.Size(), entity.Options{
		Openers: openers, At: env.Received,
		Spool: func(limit int64) entity.Spool { return entity.NewSpool(g.o.Data, limit) },
	})
	if err != nil {
		body.Close()
		return Opening{}, err
	}
	return Opening{opened, body}, nil
}

// author is the address in the From field; null where there is not exactly one.
func author(env message.Envelope) message.Address {
	a, err := message.ParseAddress(env.HeaderFrom)
	if err != nil {
		return message.Address{}
	}
	return a
}

// protection tells what the protection of a mail that came in is worth, and
// learns from it; nil when it has none.
func (g *Gateway) protection(ctx context.Context, env message.Envelope, item message.Item) (map[string]string, error) {
	if env.PlainText {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askedWithin)
	defer cancel()
	opening, err := g.open(ctx, env, true)
	if err != nil {
		return nil, err
	}
	defer opening.Close()
	if len(opening.Layers) == 0 && opening.Encryption == entity.NotEncrypted && opening.Signature == entity.NotSigned {
		return nil, nil
	}
	s := opening.Summary()
	g.waitFor(env, item, s, author(env))
	g.Harvest(ctx, env, opening.Opened, author(env))
	found := map[string]string{
		"verdict": string(s.Word), "encryption": string(s.Encryption), "signature": string(s.Signature), "signer_is_from": strconv.FormatBool(s.FromAuthor),
	}
	for name, value := range map[string]string{
		"covers": s.Covers, "signed_by": string(s.SignedBy), "key": s.Key, "anchor": g.Ring().AnchorSet(s.Anchor), "encrypted_by": string(s.Sealed), "detail": s.Detail,
		"hidden": strings.Join(s.Hidden, " "), "differs": strings.Join(s.Differs, " "),
	} {
		if value != "" {
			found[name] = value
		}
	}
	return found, nil
}

// askedWithin bounds the questions about one mail that came in.
const askedWithin = 20 * time.Second
