package receipts

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatewayd/message"
)

// Rungs of the matching ladder (platforms.md § 5.3 rule 4), as they stand in
// Receipt.MatchedBy.
const (
	RungReference = "reference"
	RungMessageID = "message-id"
	RungRecipient = "recipient+time"
)

// sentSlack is how far the platform's time of sending may lie from ours.
const sentSlack = 2 * time.Minute

// Lookup answers from the ledger. Every list may be empty.
type Lookup interface {
	ByReference(ctx context.Context, ref string) ([]message.Item, error)
	// ByMessageID finds items by the Message-ID under which they came or left.
	ByMessageID(ctx context.Context, authority, id string) ([]message.Item, error)
	ByRecipient(ctx context.Context, authority string, to message.Address) ([]message.Item, error)
	Envelope(ctx context.Context, id message.ID) (message.Envelope, error)
	// Senders lists the addresses from which the authority sends: its own and
	// those it has on the platforms.
	Senders(ctx context.Context, authority string) ([]message.Address, error)
}

// Match finds the item of an authority that a finding is about, by our
// reference, else by Message-ID, else by recipient and time of sending. It
// takes an item only if the authority sent it: both parties get every receipt,
// and one about mail that the authority received, or that somebody else sent,
// must not move anything (role check). Without a reference it also refuses an
// item whose body the platform saw with another digest; with one that is a
// mismatch, which Compare tells. Not ok means: keep the receipt, unmatched,
// and show it; so does more than one candidate.
func Match(ctx context.Context, f Finding, authority string, l Lookup) (item message.Item, rung string, ok bool, err error) {
	m := &matcher{finding: f, authority: authority, lookup: l}
	if m.senders, err = l.Senders(ctx, authority); err != nil {
		return message.Item{}, "", false, fmt.Errorf("match: %w", err)
	}
	for _, step := range []struct {
		rung string
		find func(context.Context) ([]message.Item, error)
	}{{RungReference, m.byReference}, {RungMessageID, m.byMessageID}, {RungRecipient, m.byRecipient}} {
		items, err := step.find(ctx)
		if err == nil {
			items, err = m.filter(ctx, items, step.rung)
		}
		if err != nil {
			return message.Item{}, "", false, fmt.Errorf("match by %s: %w", step.rung, err)
		}
		if len(items) == 1 {
			return items[0], step.rung, true, nil
		}
		if len(items) > 1 || step.rung == RungReference && f.Reference != "" {
			return message.Item{}, "", false, nil // ambiguous, or a reference that names something else
		}
	}
	return message.Item{}, "", false, nil
}

type matcher struct {
	finding   Finding
	authority string
	lookup    Lookup
	senders   []message.Address
}

func (m *matcher) byReference(ctx context.Context) ([]message.Item, error) {
	if m.finding.Reference == "" {
		return nil, nil
	}
	items, err := m.lookup.ByReference(ctx, m.finding.Reference)
	return slices.DeleteFunc(items, func(i message.Item) bool { return i.Reference != m.finding.Reference }), err
}

func (m *matcher) byMessageID(ctx context.Context) ([]message.Item, error) {
	var all []message.Item
	for _, id := range m.finding.InReplyTo {
		items, err := m.lookup.ByMessageID(ctx, m.authority, id)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
	}
	return all, nil
}

// byRecipient is the weakest rung: both ends and the time of sending must be
// stated.
func (m *matcher) byRecipient(ctx context.Context) ([]message.Item, error) {
	f := m.finding
	if f.Recipient.IsNull() || f.Sender.IsNull() || f.SentAt.IsZero() {
		return nil, nil
	}
	var all []message.Item
	for _, to := range append([]string{""}, f.Suffixes...) {
		a := f.Recipient
		a.Domain += to
		items, err := m.lookup.ByRecipient(ctx, m.authority, a)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
	}
	return all, nil
}

// filter keeps the candidates that pass every check, each once.
func (m *matcher) filter(ctx context.Context, items []message.Item, rung string) ([]message.Item, error) {
	var kept []message.Item
	for _, item := range items {
		if slices.ContainsFunc(kept, func(k message.Item) bool { return k.Key == item.Key }) {
			continue
		}
		env, err := m.lookup.Envelope(ctx, item.Key.Message)
		if err != nil {
			return nil, err
		}
		if m.fits(item, env, rung) {
			kept = append(kept, item)
		}
	}
	return kept, nil
}

func (m *matcher) fits(item message.Item, env message.Envelope, rung string) bool {
	f := m.finding
	switch {
	case env.Authority != m.authority || env.Direction != message.Outbound:
		return false
	case !f.Sender.IsNull() && !m.ours(f.Sender, env):
		return false
	case !f.Recipient.IsNull() && !sameMailbox(item.Recipient.Address, f.Recipient, f.Suffixes):
		return false
	case rung == RungReference:
		return true
	case otherBody(f, env.Content):
		return false
	case item.Attempts == 0:
		return false // never left
	case rung == RungRecipient:
		return item.Decision.Class == message.Registered && sentAround(item, env, f.SentAt)
	}
	return true
}

// ours is the role check: the receipt's sender is an address of ours.
func (m *matcher) ours(sender message.Address, env message.Envelope) bool {
	key := sender.Key()
	return key == env.From.Key() || slices.ContainsFunc(m.senders, func(a message.Address) bool { return a.Key() == key })
}

// sameMailbox compares without case and without a platform's suffix.
func sameMailbox(ours, theirs message.Address, suffixes []string) bool {
	return strip(ours.Key(), suffixes) == strip(theirs.Key(), suffixes)
}

func strip(key string, suffixes []string) string {
	for _, s := range suffixes {
		if rest, ok := strings.CutSuffix(key, s); ok && s != "" && strings.Contains(rest, "@") && !strings.HasSuffix(rest, "@") {
			return rest
		}
	}
	return key
}

// sentAround compares the platform's time of sending with ours. Where the
// hand-over ended without a reply we know only the earliest moment.
func sentAround(item message.Item, env message.Envelope, sent time.Time) bool {
	if item.HandedAt.IsZero() {
		return sent.After(env.Received.Add(-sentSlack))
	}
	return item.HandedAt.Sub(sent).Abs() <= sentSlack
}

func otherBody(f Finding, sent message.Content) bool {
	return f.BodyDigest != (message.Digest{}) && sent.Body != (message.Digest{}) && f.BodyDigest != sent.Body
}

// Compare says what a verified receipt makes of the content that was sent:
// which of it fits, or how it differs (law.md C-05). attachments are those that
// were sent; nil: the content is gone, nobody knows. Both empty: the receipt
// states nothing that can be compared.
func Compare(f Finding, sent message.Content, attachments []Attachment) (fits, differs string) {
	var good, bad []string
	switch {
	case otherBody(f, sent):
		bad = append(bad, "it names the body sha256 "+f.BodyDigest.String()+", sent was "+sent.Body.String())
	case f.BodyDigest != (message.Digest{}) && sent.Body != (message.Digest{}):
		good = append(good, "body")
	}
	if len(f.Attachments) > 0 && attachments != nil {
		missing := without(attachments, f.Attachments)
		foreign := without(f.Attachments, attachments)
		for _, a := range missing {
			bad = append(bad, "it does not name the attachment "+a.Name+" that was sent")
		}
		for _, a := range foreign {
			bad = append(bad, "it names an attachment "+a.Name+" that was not sent so")
		}
		if len(missing)+len(foreign) == 0 {
			good = append(good, fmt.Sprintf("attachments (%d)", len(attachments)))
		}
	}
	if len(bad) > 0 {
		return "", strings.Join(bad, "; ")
	}
	return strings.Join(good, ", "), ""
}

// without returns those of a that have no like in b, by digest: names may be
// shortened on the way.
func without(a, b []Attachment) []Attachment {
	left := slices.Clone(b)
	var out []Attachment
	for _, x := range a {
		i := slices.IndexFunc(left, func(y Attachment) bool { return x.SHA256 == y.SHA256 })
		if i < 0 {
			out = append(out, x)
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	return out
}
