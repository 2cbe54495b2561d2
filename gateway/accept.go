package gateway

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"gatewayd/gateway/forms"
	"gatewayd/mail"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/queue"
	"gatewayd/vault"
)

// Answers that strangers may read.
var (
	errNoSuchMailbox = &message.Refusal{Code: 550, Enhanced: "5.1.1", Text: "no such mailbox here; check the address"}
	errNoRelay       = &message.Refusal{Code: 550, Enhanced: "5.7.1", Text: "this server does not relay for strangers; sign in at the submission port"}
	errOneAuthority  = &message.Refusal{Code: 452, Enhanced: "4.5.3", Text: "this recipient belongs to another authority; send to it in a transaction of its own"}
	errDiskFull      = &message.Refusal{Code: 452, Enhanced: "4.3.1", Text: "not enough storage; try again later"}
	errAuditDown     = &message.Refusal{Code: 451, Enhanced: "4.3.0", Text: "the audit log cannot be written; try again later"}
	errBusy          = &message.Refusal{Code: 452, Enhanced: "4.3.2", Text: "too much mail at once; try again later"}
	errSameNow       = &message.Refusal{Code: 451, Enhanced: "4.3.2", Text: "the same decision is being accepted on another connection; try again later"}
	errHeaderTooLong = &message.Refusal{Code: 552, Enhanced: "5.3.4", Text: "the header section is larger than 256 KiB"}
)

// Willing decides what the envelope alone can decide about one recipient
// (docs/flow.md, step 1). s.To holds the recipients already taken.
func (g *Gateway) Willing(_ context.Context, s message.Submission, to message.Address) error {
	if s.Door == message.Outbound {
		return nil // who signed in may write to anybody; policy decides at the end of the body
	}
	a := g.local(to)
	if a == nil {
		if _, ours := g.domains[to.Domain]; ours {
			return errNoSuchMailbox
		}
		return errNoRelay
	}
	for _, earlier := range s.To {
		if other := g.local(earlier.Address); other != nil && other != a {
			return errOneAuthority // every object belongs to one authority
		}
	}
	return nil
}

// local returns the authority that owns an address; postmaster of one of our
// domains is the first authority there (RFC 5321 section 4.5.1).
func (g *Gateway) local(to message.Address) *Authority {
	if a := g.byAddress[to.Key()]; a != nil {
		return a
	}
	if strings.EqualFold(to.Local, "postmaster") {
		return g.domains[to.Domain]
	}
	return nil
}

// Accept takes one message. When it returns nil, message, envelope and
// decision are on disk; every error means that nothing was stored.
func (g *Gateway) Accept(ctx context.Context, s message.Submission, body io.Reader) (message.ID, error) {
	g.came.Add(1)
	if err := g.roomFor(); err != nil {
		return message.ID{}, err
	}
	now := g.now()
	s = g.actsFor(s, now)
	env := g.envelope(s, now)
	if env.Authority == "" || len(s.To) == 0 {
		return message.ID{}, errNoRelay
	}
	sealed, err := g.o.Vault.NewBody(env.EraseDay)
	if err != nil {
		return message.ID{}, storageError(err)
	}
	defer sealed.Abort()
	behind := sha256.New() // the platforms name it in their receipts
	text := &forms.Seeker{Word: forms.Armour}
	head, err := store(sealed, body, io.MultiWriter(behind, text))
	if err != nil {
		return message.ID{}, err
	}
	env.PlainText = forms.MayBePlain(head) && !text.Found
	if env.Content, err = sealed.Finish(); err != nil {
		return message.ID{}, storageError(err)
	}
	behind.Sum(env.Content.Body[:0])
	env.MessageID = strings.TrimSpace(head.Get("Message-ID"))
	if from, _, ok := mail.HeaderFrom(head); ok {
		env.HeaderFrom = from.String()
	}
	accepted := &queue.Accepted{Envelope: env}
	if err := g.decideAll(accepted, s, head, now); err != nil {
		return message.ID{}, err
	}
	return g.commit(ctx, accepted, sealed)
}

// roomFor refuses mail while the disk is nearly full or the ledger lags: the
// reserve belongs to receipts, settlements and the audit log.
func (g *Gateway) roomFor() error {
	if g.guard != nil {
		if err := g.guard(); err != nil {
			return err
		}
	}
	switch {
	case g.auditDown.Load():
		return errAuditDown
	case g.tail.full():
		return errBusy
	}
	free, err := g.o.Vault.Free()
	if err != nil {
		return fmt.Errorf("ask for free space: %w", err)
	}
	if int64(free.Bytes) < g.o.Delivery.ReserveDisk || free.Inodes < reserveInodes { //nolint:gosec // far below 2^63
		return errDiskFull
	}
	return nil
}

// reserveInodes stay free for segments, day files and keys.
const reserveInodes = 64

// bodyBuffer is what a message takes in memory beside the chunk that is sealed,
// as long as it comes in: a record of TLS.
const bodyBuffer = 16 << 10

// store streams the message into the vault and returns its header. behind is
// given what follows the header.
func store(w io.Writer, body io.Reader, behind io.Writer) (*mail.Header, error) {
	r := bufio.NewReaderSize(body, bodyBuffer)
	head, err := mail.ReadHeader(r, forms.MaxHeader)
	switch {
	case errors.Is(err, mail.ErrHeaderTooLong):
		return nil, errHeaderTooLong
	case err != nil:
		return nil, err
	}
	if _, err := w.Write(head.Bytes()); err != nil {
		return nil, storageError(err)
	}
	if _, err := io.Copy(io.MultiWriter(sealWriter{w}, behind), r); err != nil {
		var se *sealError
		if errors.As(err, &se) {
			return nil, storageError(se.err)
		}
		return nil, err
	}
	return head, nil
}

// sealWriter marks errors of the writing side: io.Copy does not tell whose
// error it returns, and the client must hear 452 for ours only.
type sealWriter struct{ w io.Writer }

type sealError struct{ err error }

func (e *sealError) Error() string { return e.err.Error() }

// Write implements io.Writer.
func (s sealWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil {
		return n, &sealError{err}
	}
	return n, nil
}

// storageError turns a full disk into its answer; everything else stays what it
// is: temporary, and generic to the client.
func storageError(err error) error {
	if errors.Is(err, vault.ErrFull) || errors.Is(err, queue.ErrFull) {
		return errDiskFull
	}
	return err
}

// actsFor gives the message of an account that is a delegate today to the
// authority whose address it sends from.
func (g *Gateway) actsFor(s message.Submission, now time.Time) message.Submission {
	a := g.byAddress[s.From.Key()]
	if s.Door == message.Outbound && a != nil && a.ID != s.Authority && g.o.Directory().AccountActs(s.Account, a.ID, now) {
		s.Authority, s.Delegate = a.ID, true
	}
	return s
}

func (g *Gateway) envelope(s message.Submission, now time.Time) message.Envelope {
	env := message.Envelope{
		ID: message.NewID(now), Direction: s.Door, Authority: s.Authority, Account: s.Account, From: s.From, Received: now,
		Helo: s.Helo, RemoteAddr: s.RemoteAddr, TLS: s.TLS, Protocol: s.Protocol,
		EnvID: s.EnvID, Ret: s.Ret, UTF8: s.UTF8, EightBit: s.EightBit, IdemKey: s.IdemKey,
		EraseDay: g.o.Windows.ContentDay(now).String(), LogDay: g.o.Windows.LogDay(now).String(),
	}
	if s.Door == message.Inbound && len(s.To) > 0 {
		if a := g.local(s.To[0].Address); a != nil {
			env.Authority = a.ID
		}
	}
	return env
}

// decideAll makes the items (docs/flow.md, step 3). All refused: the client
// hears it. Some refused: they enter as items that end with a DSN; port 25
// never gets there, because mail for an authority is never refused here.
func (g *Gateway) decideAll(a *queue.Accepted, s message.Submission, head *mail.Header, now time.Time) error {
	env := &a.Envelope
	a.Events = append(a.Events, message.Event{
		At: now, Kind: message.EventAccepted, Authority: env.Authority, Message: env.ID,
		Data: map[string]string{
			"direction": string(env.Direction), "from": env.From.String(), "account": env.Account, "peer": env.RemoteAddr, "tls": env.TLS,
			"size": strconv.FormatInt(env.Content.Size, 10), "sha256": env.Content.Digest.String(), "message_id": env.MessageID,
		},
	})
	if s.Delegate {
		a.Events[0].Data["delegate"] = env.Account
	}
	refused := 0
	var why message.Decision
	seen := map[string]bool{}
	for i, r := range s.To {
		d := g.decide(env, s, r, head, now)
		if again(seen, r.Address, d, g.o.Vocabulary) {
			continue
		}
		r.Address, _ = g.o.Vocabulary.SplitSuffix(r.Address)
		item := message.Item{
			Key: message.ItemKey{Message: env.ID, N: i + 1}, Recipient: r, Decision: d,
			State: message.Waiting, NextTry: now, EraseBy: g.o.Windows.EraseBy(now),
		}
		if d.Class == message.Registered {
			item.Reference = message.NewReference(g.o.ReferencePrefix)
		}
		if d.Verdict != message.Deliver {
			item.State = message.Held // the attend loop tells the sender
			item.NextTry = g.patience(d, r.Address, now)
		}
		if d.Verdict == message.Refuse {
			refused, why = refused+1, d
		}
		a.Items = append(a.Items, item)
		decided := decidedEvent(env, item, now)
		g.cases.NoteAddressee(&decided, *env, item)
		a.Events = append(a.Events, decided)
	}
	if refused == len(a.Items) {
		return refusal(why)
	}
	g.forward(a, now)
	return nil
}

// again reports whether the client named a recipient twice in one transaction:
// he gets the message once. A registered decision counts as the same with a
// platform's suffix and without.
func again(seen map[string]bool, to message.Address, d message.Decision, v policy.Vocabulary) bool {
	keys := []string{to.Key()}
	if bare, _ := v.SplitSuffix(to); d.Class == message.Registered {
		keys = append(keys, "registered "+bare.Key())
	}
	for _, k := range keys {
		if seen[k] {
			return true
		}
	}
	for _, k := range keys {
		seen[k] = true
	}
	return false
}

func decidedEvent(env *message.Envelope, item message.Item, now time.Time) message.Event {
	d := item.Decision
	return message.Event{
		At: now, Kind: message.EventDecided, Authority: env.Authority, Message: env.ID, Item: item.Key.N,
		Data: map[string]string{
			"to": item.Recipient.Address.String(), "verdict": string(d.Verdict), "class": string(d.Class), "route": d.Route, "via": d.Via,
			"reference": item.Reference, "because": policy.Because(d),
		},
	}
}

func refusal(d message.Decision) *message.Refusal {
	text := policy.Because(d)
	if text == "" {
		text = "policy refuses this message"
	}
	return &message.Refusal{Code: 550, Enhanced: "5.7.1", Text: ascii(text)}
}

// ascii makes a text fit for an SMTP reply.
func ascii(s string) string {
	s = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "Ä", "Ae", "Ö", "Oe", "Ü", "Ue", "ß", "ss", "é", "e", "è", "e", "à", "a", "«", "'", "»", "'", "–", "-", "…", "...").Replace(s)
	s = strings.Map(func(r rune) rune {
		if r < 32 || r > 126 {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 400)]
}

// commit makes the message durable: one vault record, one fsync, only then an
// answer (docs/flow.md, step 4).
func (g *Gateway) commit(ctx context.Context, a *queue.Accepted, sealed *vault.Body) (message.ID, error) {
	keys, first, err := g.reserve(ctx, a)
	if err != nil || !first.IsZero() {
		return first, err
	}
	meta, err := queue.Encode(*a)
	if err == nil {
		_, err = g.o.Vault.Accept(ctx, vault.Record{
			Meta: meta, LogDay: a.Envelope.LogDay, Body: sealed,
			Committed: func(ref message.Ref) { g.tail.push(a, ref, keys) },
		})
	}
	if err != nil {
		g.tail.release(keys)
		return message.ID{}, storageError(err)
	}
	select {
	case g.indexed <- struct{}{}:
	default:
	}
	return a.Envelope.ID, nil
}
