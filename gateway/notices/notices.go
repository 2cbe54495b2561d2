// Package notices writes what the gateway tells its own people: the report that a
// message ended badly, the notice that one waits, and why, and the reminder of what
// nobody has filed. Each is a message of its own, made ready for the commit that makes
// it necessary; strangers are told nothing.
package notices

import (
	"context"
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/mail"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/queue"
	"gatewayd/retention"
)

// Options is what notices are written with.
type Options struct {
	Host    string
	Windows retention.Windows
	Vault   Vault
	Header  func(message.Envelope) (*mail.Header, error) // of a stored message; nil when its body is gone
	Forward func(a *queue.Accepted, now time.Time)       // adds the copy for the authority's own server
}

// Vault stores what a notice says (vault.Vault).
type Vault interface {
	PutBlob(ctx context.Context, family seal.Family, day string, text []byte) (message.Ref, error)
}

// Notices writes them.
type Notices struct{ o Options }

// New returns the notices of a gateway.
func New(o Options) *Notices { return &Notices{o} }

// mayTell reports whether anybody is to be told: never the null reverse-path,
// never about mail that came from outside (no backscatter), and not against
// NOTIFY (RFC 3461 section 4.1).
func mayTell(env message.Envelope, item message.Item) bool {
	if env.From.IsNull() || env.Direction != message.Outbound {
		return false
	}
	when := item.Recipient.Notify
	return len(when) == 0 || slices.ContainsFunc(when, func(s string) bool { return strings.EqualFold(s, "FAILURE") })
}

// Failed composes the report to the sender that one recipient's item ended badly;
// nil when nobody is to be told.
func (n *Notices) Failed(ctx context.Context, env message.Envelope, item message.Item, now time.Time) (*queue.Accepted, error) {
	if !mayTell(env, item) {
		return nil, nil
	}
	letter := n.letter(env, now)
	window := n.noticeWindow(now)
	var head *mail.Header
	if about := (contentWindow{env.EraseDay, item.EraseBy}); quotes(about, now) {
		var err error
		if head, err = n.o.Header(env); err != nil {
			return nil, err
		}
		window = about
	}
	text, err := mail.ComposeDSN(mail.DSN{
		Letter: letter, EnvID: env.EnvID, Arrival: env.Received, Class: item.Decision.Class, Original: head,
		Recipients: []mail.DSNRecipient{{
			Address: item.Recipient.Address, ORcpt: item.Recipient.ORcpt, Action: mail.ActionFailed,
			Status: statusIn(item.Reply), Diagnostic: diagnostic(item.Reply), LastAttempt: now, Cause: cause(item),
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("compose report: %w", err)
	}
	return n.toSender(ctx, env, item, letter, text, window, now)
}

// contentWindow says by when a text must be gone.
type contentWindow struct {
	day string
	by  time.Time
}

// noticeWindow is that of a text which quotes nothing.
func (n *Notices) noticeWindow(now time.Time) contentWindow {
	return contentWindow{n.o.Windows.ContentDay(now).String(), n.o.Windows.EraseBy(now)}
}

// quotesUntil is how long before a message must be gone a report may still quote
// its header. A report that quotes goes with what it quotes, so that no subject
// outlives its message (Vo E-GovG BL § 11), and its reader must have time.
const quotesUntil = 14 * 24 * time.Hour

func quotes(about contentWindow, now time.Time) bool {
	return about.by.Sub(now) >= quotesUntil
}

// Held tells the sender that a message waits, why, and what to do; nil when nobody is
// to be told.
func (n *Notices) Held(ctx context.Context, env message.Envelope, item message.Item, now time.Time) (*queue.Accepted, error) {
	if !mayTell(env, item) {
		return nil, nil
	}
	topic := mail.TopicHeld
	if item.Alarm != "" {
		topic = mail.TopicUnclear
	}
	letter := n.letter(env, now)
	text, err := mail.ComposeNotice(mail.Notice{
		Letter: letter, Topic: topic, Recipient: item.Recipient.Address, Reference: item.Reference, Cause: cause(item),
	})
	if err != nil {
		return nil, fmt.Errorf("compose notice: %w", err)
	}
	return n.toSender(ctx, env, item, letter, text, n.noticeWindow(now), now)
}

// Malware tells the authority that a mail to it is held; its sender, who may
// be anybody, hears nothing.
func (n *Notices) Malware(ctx context.Context, env message.Envelope, item message.Item, now time.Time) (*queue.Accepted, error) {
	to := item.Recipient.Address
	letter := n.letter(env, now)
	letter.To = to
	text, err := mail.ComposeNotice(mail.Notice{Letter: letter, Topic: mail.TopicMalware, Recipient: to, Cause: cause(item)})
	if err != nil {
		return nil, fmt.Errorf("compose notice: %w", err)
	}
	return n.toReader(ctx, env, to, item, letter, text, n.noticeWindow(now), now)
}

// Expired tells the sender that a message was erased before it could be delivered;
// nil when nobody is to be told.
func (n *Notices) Expired(ctx context.Context, env message.Envelope, item message.Item, now time.Time) (*queue.Accepted, error) {
	if !mayTell(env, item) {
		return nil, nil
	}
	letter := n.letter(env, now)
	text, err := mail.ComposeNotice(mail.Notice{Letter: letter, Topic: mail.TopicExpired, Recipient: item.Recipient.Address, Reference: item.Reference, Cause: cause(item)})
	if err != nil {
		return nil, fmt.Errorf("compose notice: %w", err)
	}
	return n.toSender(ctx, env, item, letter, text, n.noticeWindow(now), now)
}

// Unfiled reminds an authority, at one of its addresses, of what nobody has filed.
func (n *Notices) Unfiled(ctx context.Context, authority string, to message.Address, about retention.Reminder, now time.Time) (*queue.Accepted, error) {
	ids := strings.Join(about.IDs, ", ")
	if more := about.Count - len(about.IDs); more > 0 {
		ids += ", …"
	}
	export, limit := about.Export.In(calendar.Zone()), about.Limit.Add(-time.Second).In(calendar.Zone())
	cause := mail.Text{
		DE: fmt.Sprintf("%d Nachrichten. Ohne Bestätigung werden sie am %s verschlüsselt für Ihren Ersatzschlüssel exportiert; spätestens am %s wird ihr Inhalt gelöscht. Kennungen: %s", about.Count, export.Format("02.01.2006"), limit.Format("02.01.2006"), ids),
		EN: fmt.Sprintf("%d messages. Without a confirmation they are exported on %s, encrypted to your fallback key; their content is erased on %s at the latest. Ids: %s", about.Count, export.Format(time.DateOnly), limit.Format(time.DateOnly), ids),
	}
	if about.Exported {
		cause = mail.Text{
			DE: fmt.Sprintf("%d Nachrichten wurden verschlüsselt für Ihren Ersatzschlüssel exportiert; die Dateien gibt Ihnen die Verwaltung des Mailsystems. Spätestens am %s wird ihr Inhalt im Gateway gelöscht. Kennungen: %s", about.Count, limit.Format("02.01.2006"), ids),
			EN: fmt.Sprintf("%d messages were exported, encrypted to your fallback key; the administrators of the mail system give you the files. Their content in the gateway is erased on %s at the latest. Ids: %s", about.Count, limit.Format(time.DateOnly), ids),
		}
	}
	if about.Lost {
		cause = mail.Text{
			DE: fmt.Sprintf("%d Nachrichten wurden an ihrer Frist vernichtet, ohne dass jemand sie hat: Niemand hatte sie bestätigt, und sie liessen sich nicht exportieren, zum Beispiel weil das Gateway stillstand. Bitte halten Sie für jede fest, was daraus wird, und fragen Sie wo nötig beim Absender nach. Kennungen: %s", about.Count, ids),
			EN: fmt.Sprintf("%d messages were destroyed at their limit, and nobody has them: nobody had confirmed them, and they could not be exported, for example because the gateway stood still. Please record what becomes of each, and ask the sender where that is needed. Ids: %s", about.Count, ids),
		}
	}
	letter := mail.Letter{ID: message.NewID(now), Host: n.o.Host, To: to, Date: now}
	text, err := mail.ComposeNotice(mail.Notice{Letter: letter, Topic: mail.TopicUnfiled, Cause: cause})
	if err != nil {
		return nil, fmt.Errorf("compose reminder: %w", err)
	}
	return n.toReader(ctx, message.Envelope{Authority: authority}, to, message.Item{}, letter, text, n.noticeWindow(now), now)
}

// How replies of our own begin; cause says the same in German.
const (
	MalwareFound = "malware was found: "
	Unscannable  = "too large for the scanner for malware"
	AtGate       = "gate: "
	GaveUp       = "given up after "
	LastAnswer   = "; last answer: "
	ByPerson     = "held by the administrators of the mail system"
	DroppedBy    = "ended by the administrators of the mail system"
)

// cause is the reason for an item's state, for people in both languages. What
// the next system answered stays as it is.
func cause(item message.Item) mail.Text {
	reply := item.Reply
	if r, ok := policy.Deciding(item.Decision); ok && item.Decision.Verdict != message.Deliver && reply == message.Bounded(policy.Because(item.Decision)) {
		return mail.Text{DE: policy.German(r), EN: r.Text}
	}
	if name, ok := strings.CutPrefix(reply, AtGate+MalwareFound); ok {
		return mail.Text{DE: "Schadsoftware wurde gefunden: " + name, EN: MalwareFound + name}
	}
	if reply == AtGate+Unscannable {
		return mail.Text{DE: "zu gross für die Prüfung auf Schadsoftware", EN: Unscannable}
	}
	if reason, ok := strings.CutPrefix(reply, AtGate); ok {
		return mail.Text{DE: policy.German(message.Reason{Rule: "gate", Text: reason}), EN: reason}
	}
	if rest, ok := strings.CutPrefix(reply, GaveUp); ok {
		after, last, _ := strings.Cut(rest, LastAnswer)
		return mail.Text{DE: "aufgegeben nach " + after + "; letzte Antwort: " + last, EN: reply}
	}
	switch reply {
	case "":
		return mail.Text{}
	case ByPerson:
		return mail.Text{DE: "von der Verwaltung des Mailsystems angehalten", EN: reply}
	case DroppedBy:
		return mail.Text{DE: "von der Verwaltung des Mailsystems beendet", EN: reply}
	}
	return mail.Text{DE: "Antwort des nächsten Systems: " + reply, EN: "answer of the next system: " + reply}
}

func (n *Notices) letter(env message.Envelope, now time.Time) mail.Letter {
	return mail.Letter{ID: message.NewID(now), Host: n.o.Host, To: env.From, Date: now, InReplyTo: env.MessageID, About: env.ID}
}

// toSender stores a text of ours as a blob and returns the message that carries
// it; the same commit that makes it necessary brings it into the ledger.
func (n *Notices) toSender(ctx context.Context, about message.Envelope, item message.Item, l mail.Letter, text []byte, window contentWindow, now time.Time) (*queue.Accepted, error) {
	return n.toReader(ctx, about, about.From, item, l, text, window, now)
}

func (n *Notices) toReader(ctx context.Context, about message.Envelope, to message.Address, item message.Item, l mail.Letter, text []byte, window contentWindow, now time.Time) (*queue.Accepted, error) {
	env := message.Envelope{
		ID: l.ID, Direction: message.Notice, Authority: about.Authority, Received: now,
		Content: message.Content{Digest: sha256.Sum256(text), Size: int64(len(text))}, MessageID: mail.MessageID(l.ID, l.Host),
		About: item.Key, UTF8: !to.IsASCII(),
		EraseDay: window.day, LogDay: n.o.Windows.LogDay(now).String(),
	}
	var err error
	if env.Body, err = n.o.Vault.PutBlob(ctx, seal.Content, env.EraseDay, text); err != nil {
		return nil, fmt.Errorf("store notice: %w", err)
	}
	note := message.Item{
		Key: message.ItemKey{Message: env.ID, N: 1}, Recipient: message.Recipient{Address: to, Notify: []string{"NEVER"}},
		Decision: message.Decision{Verdict: message.Deliver, Class: message.Normal, Via: policy.ViaMailbox, Keep: message.KeepUntilHandedOver, GiveUp: 5 * 24 * time.Hour},
		State:    message.Waiting, NextTry: now, EraseBy: window.by,
	}
	made := &queue.Accepted{Envelope: env, Items: []message.Item{note}}
	n.o.Forward(made, now)
	return made, nil
}

var statusCode = regexp.MustCompile(`\b[245]\.\d{1,3}\.\d{1,3}\b`)

// statusIn finds the RFC 3463 status in a reply.
func statusIn(reply string) string { return statusCode.FindString(reply) }

var smtpReply = regexp.MustCompile(`\b[45]\d\d[ -].*`)

// diagnostic is the peer's own reply in our text, for Diagnostic-Code.
func diagnostic(reply string) string { return smtpReply.FindString(reply) }
