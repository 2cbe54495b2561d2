// Package forms makes of a stored message the forms that it has elsewhere: signed and
// encrypted when it leaves, opened when somebody reads it, with the verdict about its
// protection when it is delivered, and looked at for malware. What is stored stays as
// it came; nothing readable of another form is on disk (entity.Spool).
package forms

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"gatewayd/crypto/entity"
	"gatewayd/crypto/keys"
	"gatewayd/mail"
	"gatewayd/mail/footer"
	"gatewayd/message"
	"gatewayd/vault"
)

// MaxHeader bounds the header section of a message, in octets.
const MaxHeader = 256 << 10

// maxProtected bounds a message in its encrypted form, in octets: twice what
// the doors take, because base64 adds a third and a signature some more.
const maxProtected = 128 << 20

// Options is what forms are made with.
type Options struct {
	Host    string // the gateway's, in the fields that only it may write
	Data    string // folder for what does not fit into memory, sealed
	Vault   Vault
	Keys    Keys
	Scanner Scanner                       // for malware; nil: nobody looks
	Manner  func(authority string) Manner // how an authority wants its mail
	Footers map[string]footer.Footer      // that decisions name
	Now     func() time.Time
	Log     *slog.Logger // nil: nothing is logged
}

// Manner is how an authority wants its mail.
type Manner struct {
	Headers       entity.Headers    // what becomes of the header fields of what is encrypted or signed for it
	Tags          map[string]string // subject tags of verdicts: a word of entity.Word, or TagEncrypted → "[…]"
	ForwardOpened bool              // what goes to its own server was opened before; the original is attached
}

// Vault opens what is stored (vault.Vault).
type Vault interface {
	OpenBody(ref message.Ref) (*vault.BodyReader, error)
}

// Keys is where keys are kept (keydesk.Desk).
type Keys interface {
	Ring() *keys.Ring
	Learned(a message.Address) []keys.Partner
	Revoked(ctx context.Context, at time.Time, now bool) func(c, issuer *x509.Certificate) error
	Selection(ctx context.Context, to message.Address, at time.Time, now bool) keys.Selection
	Used(a message.Address, s keys.Selection, t entity.Technique, now time.Time)
}

// Forms makes them. It remembers for a while what the scanner has said.
type Forms struct {
	o       Options
	scanned cleanList
}

// New returns the forms of a gateway.
func New(o Options) *Forms { return &Forms{o: o} }

// Header reads the header of a message again; nil when its body is gone or
// damaged.
func (f *Forms) Header(env message.Envelope) (*mail.Header, error) {
	body, err := f.o.Vault.OpenBody(env.Body)
	if errors.Is(err, vault.ErrGone) || errors.Is(err, vault.ErrCorrupt) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	head, err := mail.ReadHeader(bufio.NewReader(body), MaxHeader)
	if errors.Is(err, vault.ErrCorrupt) {
		return nil, nil
	}
	return head, err
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
func (f *Forms) Open(ctx context.Context, env message.Envelope) (Opening, error) {
	return f.open(ctx, env, false)
}

// open is Open; now: whether certificates are revoked is asked over the network.
func (f *Forms) open(ctx context.Context, env message.Envelope, now bool) (Opening, error) {
	body, err := f.o.Vault.OpenBody(env.Body)
	if err != nil {
		return Opening{}, err
	}
	openers := f.o.Keys.Ring().Openers(keys.Reader{
		Authority: env.Authority, At: f.o.Now().UTC(), Learned: f.o.Keys.Learned(author(env)), Revoked: f.o.Keys.Revoked(ctx, env.Received, now),
	})
	opened, err := entity.Open(body, body.Size(), entity.Options{
		Openers: openers, At: env.Received,
		Spool: func(limit int64) entity.Spool { return entity.NewSpool(f.o.Data, limit) },
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

// Protection tells what the protection of a mail that came in is worth; nil when it
// has none. learn is given what was found and who says to have written it.
func (f *Forms) Protection(ctx context.Context, env message.Envelope, learn func(entity.Summary, *entity.Opened, message.Address)) (map[string]string, error) {
	if env.PlainText {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askedWithin)
	defer cancel()
	opening, err := f.open(ctx, env, true)
	if err != nil {
		return nil, err
	}
	defer opening.Close()
	if len(opening.Layers) == 0 && opening.Encryption == entity.NotEncrypted && opening.Signature == entity.NotSigned {
		return nil, nil
	}
	s := opening.Summary()
	learn(s, opening.Opened, author(env))
	found := map[string]string{
		"verdict": string(s.Word), "encryption": string(s.Encryption), "signature": string(s.Signature), "signer_is_from": strconv.FormatBool(s.FromAuthor),
	}
	for name, value := range map[string]string{
		"covers": s.Covers, "signed_by": string(s.SignedBy), "key": s.Key, "anchor": f.o.Keys.Ring().AnchorSet(s.Anchor), "encrypted_by": string(s.Sealed), "detail": s.Detail,
		"own_key": opened(opening.Layers), "hidden": strings.Join(s.Hidden, " "), "differs": strings.Join(s.Differs, " "),
	} {
		if value != "" {
			found[name] = value
		}
	}
	return found, nil
}

// opened names our keys that have opened a message: each layer is one use.
func opened(layers []entity.Layer) string {
	var by []string
	for _, l := range layers {
		if l.Key != "" {
			by = append(by, l.Key)
		}
	}
	return strings.Join(by, " ")
}

// askedWithin bounds the questions about one mail that came in.
const askedWithin = 20 * time.Second
