package gateway

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatewayd/crypto/seal"
	"gatewayd/mail"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/queue"
)

// mayTell reports whether anybody is to be told: never the null reverse-path,
// never about mail that came from outside (no backscatter), and not against
// NOTIFY (RFC 3461 section 4.1).
func mayTell(env message.Envelope, item message.Item) bool {
	if env.From.IsNull() || env.Direction != message.Outbound {
		return false
	}
	n := item.Recipient.Notify
	return len(n) == 0 || slices.ContainsFunc(n, func(s string) bool { return strings.EqualFold(s, "FAILURE") })
}

// dsn composes the report to the sender that one recipient's item ended badly;
// nil when nobody is to be told.
func (g *Gateway) dsn(ctx context.Context, env message.Envelope, item message.Item, now time.Time) (*queue.Accepted, error) {
	if !mayTell(env, item) {
		return nil, nil
	}
	letter := g.letter(env, now)
	window := g.noticeWindow(now)
	var head *mail.Header
	if about := (contentWindow{env.EraseDay, item.EraseBy}); quotes(about, now) {
		var err error
		if head, err = g.forms.Header(env); err != nil {
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
	return g.toSender(ctx, env, item, letter, text, window, now)
}

// contentWindow says by when a text must be gone.
type contentWindow struct {
	day string
	by  time.Time
}

// noticeWindow is that of a text which quotes nothing.
func (g *Gateway) noticeWindow(now time.Time) contentWindow {
	return contentWindow{g.o.Windows.ContentDay(now).String(), g.o.Windows.EraseBy(now)}
}

// quotesUntil is how long before a message must be gone a report may still quote
// its header. A report that quotes goes with what it quotes, so that no subject
// outlives its message (Vo E-GovG BL § 11), and its reader must have time.
const quotesUntil = 14 * 24 * time.Hour

func quotes(about contentWindow, now time.Time) bool {
	return about.by.Sub(now) >= quotesUntil
}

// heldNotice tells the sender that a message waits, why, and what to do.
func (g *Gateway) heldNotice(ctx context.Context, env message.Envelope, item message.Item, now time.Time) (*queue.Accepted, error) {
	if env.Direction == message.Inbound && heldByScanner(item) {
		return g.scannerNotice(ctx, env, item, now)
	}
	if !mayTell(env, item) {
		return nil, nil
	}
	topic := mail.TopicHeld
	if item.Alarm != "" {
		topic = mail.TopicUnclear
	}
	letter := g.letter(env, now)
	text, err := mail.ComposeNotice(mail.Notice{
		Letter: letter, Topic: topic, Recipient: item.Recipient.Address, Reference: item.Reference, Cause: cause(item),
	})
	if err != nil {
		return nil, fmt.Errorf("compose notice: %w", err)
	}
	return g.toSender(ctx, env, item, letter, text, g.noticeWindow(now), now)
}

// scannerNotice tells the authority that a mail to it is held; its sender, who may
// be anybody, hears nothing.
func (g *Gateway) scannerNotice(ctx context.Context, env message.Envelope, item message.Item, now time.Time) (*queue.Accepted, error) {
	if strings.HasPrefix(item.Decision.Via, forwardPrefix) {
		return nil, nil // the item of the mailbox tells it
	}
	to := item.Recipient.Address
	letter := g.letter(env, now)
	letter.To = to
	text, err := mail.ComposeNotice(mail.Notice{Letter: letter, Topic: mail.TopicMalware, Recipient: to, Cause: cause(item)})
	if err != nil {
		return nil, fmt.Errorf("compose notice: %w", err)
	}
	return g.toReader(ctx, env, to, item, letter, text, g.noticeWindow(now), now)
}

// How replies of our own begin; cause says the same in German.
const (
	atGate     = "gate: "
	gaveUp     = "given up after "
	lastAnswer = "; last answer: "
	byPerson   = "held by the administrators of the mail system"
	droppedBy  = "ended by the administrators of the mail system"
)

// cause is the reason for an item's state, for people in both languages. What
// the next system answered stays as it is.
func cause(item message.Item) mail.Text {
	reply := item.Reply
	if r, ok := policy.Deciding(item.Decision); ok && item.Decision.Verdict != message.Deliver && reply == message.Bounded(because(item.Decision)) {
		return mail.Text{DE: policy.German(r), EN: r.Text}
	}
	if name, ok := strings.CutPrefix(reply, atGate+malwareFound); ok {
		return mail.Text{DE: "Schadsoftware wurde gefunden: " + name, EN: malwareFound + name}
	}
	if reply == atGate+unscannable {
		return mail.Text{DE: "zu gross für die Prüfung auf Schadsoftware", EN: unscannable}
	}
	if reason, ok := strings.CutPrefix(reply, atGate); ok {
		return mail.Text{DE: policy.German(message.Reason{Rule: "gate", Text: reason}), EN: reason}
	}
	if rest, ok := strings.CutPrefix(reply, gaveUp); ok {
		after, last, _ := strings.Cut(rest, lastAnswer)
		return mail.Text{DE: "aufgegeben nach " + after + "; letzte Antwort: " + last, EN: reply}
	}
	switch reply {
	case "":
		return mail.Text{}
	case byPerson:
		return mail.Text{DE: "von der Verwaltung des Mailsystems angehalten", EN: reply}
	case droppedBy:
		return mail.Text{DE: "von der Verwaltung des Mailsystems beendet", EN: reply}
	}
	return mail.Text{DE: "Antwort des nächsten Systems: " + reply, EN: "answer of the next system: " + reply}
}

func (g *Gateway) letter(env message.Envelope, now time.Time) mail.Letter {
	return mail.Letter{ID: message.NewID(now), Host: g.o.Hostname, To: env.From, Date: now, InReplyTo: env.MessageID, About: env.ID}
}

// toSender stores a text of ours as a blob and returns the message that carries
// it; the same commit that makes it necessary brings it into the ledger.
func (g *Gateway) toSender(ctx context.Context, about message.Envelope, item message.Item, l mail.Letter, text []byte, window contentWindow, now time.Time) (*queue.Accepted, error) {
	return g.toReader(ctx, about, about.From, item, l, text, window, now)
}

func (g *Gateway) toReader(ctx context.Context, about message.Envelope, to message.Address, item message.Item, l mail.Letter, text []byte, window contentWindow, now time.Time) (*queue.Accepted, error) {
	env := message.Envelope{
		ID: l.ID, Direction: message.Notice, Authority: about.Authority, Received: now,
		Content: message.Content{Digest: digestOf(text), Size: int64(len(text))}, MessageID: mail.MessageID(l.ID, l.Host),
		About: item.Key, UTF8: !to.IsASCII(),
		EraseDay: window.day, LogDay: g.o.Windows.LogDay(now).String(),
	}
	var err error
	if env.Body, err = g.o.Vault.PutBlob(ctx, seal.Content, env.EraseDay, text); err != nil {
		return nil, fmt.Errorf("store notice: %w", err)
	}
	note := message.Item{
		Key: message.ItemKey{Message: env.ID, N: 1}, Recipient: message.Recipient{Address: to, Notify: []string{"NEVER"}},
		Decision: message.Decision{Verdict: message.Deliver, Class: message.Normal, Via: viaMailbox, Keep: message.KeepUntilHandedOver, GiveUp: 5 * 24 * time.Hour},
		State:    message.Waiting, NextTry: now, EraseBy: window.by,
	}
	made := &queue.Accepted{Envelope: env, Items: []message.Item{note}}
	g.forward(made, now)
	return made, nil
}

var statusCode = regexp.MustCompile(`\b[245]\.\d{1,3}\.\d{1,3}\b`)

// statusIn finds the RFC 3463 status in a reply.
func statusIn(reply string) string { return statusCode.FindString(reply) }

var smtpReply = regexp.MustCompile(`\b[45]\d\d[ -].*`)

// diagnostic is the peer's own reply in our text, for Diagnostic-Code.
func diagnostic(reply string) string { return smtpReply.FindString(reply) }
