package gateway

import (
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/mail"
	"gatewayd/message"
	"gatewayd/policy"
)

// Recognition says from when to when a platform is recognised, and by what
// (Vo E-GovG BL § 1 Abs. 1 Bst. a, Anhang 1).
type Recognition struct {
	By, Reference string
	From, Until   calendar.Day // Until zero: open-ended
}

// on reports whether the recognition holds on that day.
func (r Recognition) on(d calendar.Day) bool {
	return r.By != "" && r.Reference != "" && !r.From.IsZero() && !d.Before(r.From) && (r.Until.IsZero() || !d.After(r.Until))
}

// decide asks the policy about one recipient of a message.
func (g *Gateway) decide(env *message.Envelope, s message.Submission, r message.Recipient, head *mail.Header, now time.Time) message.Decision {
	f := g.factsOf(env, r.Address, head, now)
	f.Message.Class = s.Class
	for _, other := range s.To {
		if g.local(other.Address) != nil {
			f.Message.Bulk++
		}
	}
	d := g.o.Policy.Decide(f)
	if d.Class == message.Registered && d.Verdict == message.Deliver {
		d.GiveUp = min(d.GiveUp, g.o.Windows.MaxGiveUp(now))
	}
	return d
}

// factsOf adds what the header says.
func (g *Gateway) factsOf(env *message.Envelope, to message.Address, head *mail.Header, now time.Time) policy.Facts {
	f := g.facts(env, to, now)
	f.Message.Subject = head.Text("Subject")
	f.Message.Marks = g.o.Vocabulary.Marks(head.All)
	return f
}

// facts looks up what a decision rests on, as it is at now.
func (g *Gateway) facts(env *message.Envelope, to message.Address, now time.Time) policy.Facts {
	bare, suffix := g.o.Vocabulary.SplitSuffix(to)
	f := policy.Facts{
		Direction: env.Direction,
		Sender:    policy.Sender{Authority: env.Authority, Account: env.Account, Address: env.From},
		Message:   policy.Message{Size: env.Content.Size},
		Recipient: policy.Recipient{Address: bare, Suffix: suffix, Internal: g.local(bare) != nil},
		Platforms: map[string]policy.PlatformState{},
	}
	if env.Direction != message.Inbound {
		f.Recipient.Keys = g.Ways(bare, now)
	}
	if p, ok := g.o.Directory().Recipient(bare); ok {
		f.Recipient.Known = true
		for _, at := range p.Platforms {
			f.Recipient.Platforms = append(f.Recipient.Platforms, policy.PlatformFact{Name: at.Name, Identified: at.Identified})
		}
		_, f.Recipient.Consent = p.Consent(env.Authority, now)
	}
	today := calendar.DayOf(now)
	for name, p := range g.o.Platforms {
		state := p.State
		state.Recognised = p.Recognised.on(today)
		if a := g.byID[env.Authority]; a == nil || a.Platforms[name].IsNull() {
			state.Configured = false // the authority has no address there (Vo E-GovG BL § 9 Abs. 2)
		}
		f.Platforms[name] = state
	}
	return f
}

// gate asks again, at the moment of an attempt, whether the way that was
// decided may still be used. It may only close; another way is never chosen
// here, because the decision is evidence.
func (g *Gateway) gate(env message.Envelope, item message.Item) (reason string, open bool) {
	if !item.Decision.Class.MustEncrypt() && !g.isPlatform(item.Decision.Via) {
		return "", true
	}
	f := g.facts(&env, item.Recipient.Address, g.now())
	f.Message.Class = item.Decision.Class
	f.Recipient.Suffix = suffixOf(item.Decision)
	return g.o.Policy.Usable(f, item.Decision)
}

// suffixOf returns the platform that the recipient's suffix asked for when the
// decision was made; the item's address has lost it.
func suffixOf(d message.Decision) string {
	for _, r := range d.Because {
		if r.Rule != "mark:suffix" {
			continue
		}
		for _, p := range policy.Platforms() {
			if strings.HasSuffix(r.Text, " "+p) {
				return p
			}
		}
	}
	return ""
}

// Explain tells, rule by rule, how a message would travel, by the same code as
// Accept and without side effects. A nil head stands for a message without
// header.
func (g *Gateway) Explain(s message.Submission, head *mail.Header, size int64) policy.Explanation {
	now := g.now()
	env := g.envelope(s, now)
	env.Content.Size = size
	f := g.facts(&env, s.To[0].Address, now)
	if head != nil {
		f = g.factsOf(&env, s.To[0].Address, head, now)
	}
	f.Message.Class = s.Class
	return g.o.Policy.Explain(f)
}
