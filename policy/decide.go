package policy

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/vm"

	"gatewayd/message"
)

// Decide says how a message travels to one recipient. Because names every mark,
// duty and route that had a say, and for each way that was passed over, why.
//
// A class registered without consent, without a recognised platform or without
// a directory entry is held, not refused: the sender is told, and what is
// missing can be supplied (docs/law.md C-01, C-02). A message that no route
// takes is held too, whatever its class.
func (p *Policy) Decide(f Facts) message.Decision {
	r := p.run(f)
	return r.decision
}

// Deciding returns the reason that made a decision what it is: the first that
// refuses or holds, or the route that was chosen.
func Deciding(d message.Decision) (message.Reason, bool) {
	says := map[message.Verdict]string{message.Refuse: saysRefuse, message.Hold: saysHold, message.Deliver: saysChosen}[d.Verdict]
	i := slices.IndexFunc(d.Because, func(r message.Reason) bool { return r.Says == says })
	if i < 0 {
		return message.Reason{}, false
	}
	return d.Because[i], true
}

// Because returns the deciding reason, for people; "" if there is none.
func Because(d message.Decision) string {
	r, ok := Deciding(d)
	if !ok {
		return ""
	}
	return r.Rule + ": " + r.Text
}

// LacksKey reports whether a decision holds the message although a key of the
// recipient would give it a way.
func LacksKey(d message.Decision) bool {
	return d.Verdict == message.Hold && slices.ContainsFunc(d.Because, func(r message.Reason) bool {
		return r.Says == saysPassed && (r.Text == ViaSMIME+": "+NoKey || r.Text == ViaOpenPGP+": "+NoKey)
	})
}

// NoKey is why a way by S/MIME or OpenPGP cannot be used.
const NoKey = "no usable key of the recipient"

// run is one decision in the making.
type run struct {
	p        *Policy
	f        Facts
	c        classified
	env      env
	decision message.Decision
	asked    int // routes whose condition was evaluated
}

func (p *Policy) run(f Facts) *run {
	c := p.classify(f)
	if f.Direction == message.Outbound && f.Message.Bulk > p.bulkLimit {
		c.bulk = true
	}
	if c.bulk && c.class == message.Normal {
		c.class = message.Bulk
	}
	r := &run{p: p, f: f, c: c, env: newEnv(f, c)}
	r.decision = message.Decision{Class: c.class, Because: slices.Clone(c.because)}
	switch {
	case f.Direction == message.Inbound, f.Direction == message.Notice && f.Recipient.Internal:
		r.mailbox()
	case f.Direction == message.Notice || r.duties():
		r.routes()
	}
	if r.decision.Verdict == message.Hold {
		r.decision.GiveUp = p.holdFor
	}
	return r
}

func (r *run) add(rule, says, text, law string) {
	r.decision.Because = append(r.decision.Because, message.Reason{Rule: rule, Says: says, Text: text, Law: law})
}

func (r *run) hold(rule, text, law string) {
	r.add(rule, saysHold, text, law)
	r.decision.Verdict = message.Hold
}

// mailbox delivers to the mailbox of an authority, or refuses to relay.
func (r *run) mailbox() {
	const rule = "duty:mailbox"
	if !r.f.Recipient.Internal {
		r.add(rule, saysRefuse, "the recipient has no mailbox on this gateway, and the gateway relays for nobody", "")
		r.decision.Verdict = message.Refuse
		return
	}
	r.add(rule, saysChosen, "laid into the authority's mailbox", lawAccount)
	r.decision.Verdict, r.decision.Route, r.decision.Via = message.Deliver, rule, ViaMailbox
	r.decision.Keep, r.decision.GiveUp = message.KeepUntilHandedOver, DefaultGiveUp
}

// duty is a built-in rule above the configured ones. says returns "" where it
// does not apply.
type duty struct {
	name, law string
	says      func(*run) (says, text string)
}

func duties() []duty {
	return []duty{
		{"duty:hygiene", "", dutyHygiene},
		{"duty:forwarding", lawForward, dutyForwarding},
		{"duty:own-private-address", lawOwnPrivate, dutyOwnPrivate},
		{"duty:bulk", lawBulk, dutyBulk},
		{"duty:private", lawPrivate, dutyPrivate},
		{"duty:consent", lawConsent, dutyConsent},
		{"duty:identified", lawIdentified, dutyIdentified},
	}
}

// duties asks every duty, so that the sender hears everything at once, and
// reports whether the routes may be asked.
func (r *run) duties() bool {
	if r.c.problem != "" { // its reasons stand already among the marks
		r.decision.Verdict = message.Hold
	}
	for _, d := range duties() {
		says, text := d.says(r)
		if says == "" {
			continue
		}
		r.add(d.name, says, text, d.law)
		switch {
		case says == saysRefuse:
			r.decision.Verdict = message.Refuse
		case says == saysHold && r.decision.Verdict == "":
			r.decision.Verdict = message.Hold
		}
	}
	return r.decision.Verdict == ""
}

func dutyHygiene(r *run) (says, text string) {
	if commandsPlatform(r.f.Recipient.Address.Local) {
		return saysRefuse, "the recipient's address begins with a platform's control string"
	}
	switch _, found, reject := Hygiene(r.c.rest); {
	case reject:
		return saysRefuse, "the subject contains the control string that hands a message to a platform vendor's support"
	case len(found) > 0:
		return saysMark, fmt.Sprintf("control strings in the subject are neutralised: %q", found)
	}
	return "", ""
}

func dutyForwarding(r *run) (says, text string) {
	if r.f.Message.Marks.Forwarded {
		return saysRefuse, "automatic forwarding and redirection of official mail is not allowed: send the message anew"
	}
	return "", ""
}

func dutyOwnPrivate(r *run) (says, text string) {
	switch {
	case !r.f.Recipient.PrivateOfSender:
		return "", ""
	case r.c.class == message.Private:
		return saysMet, "private mail may go to the sender's own private address"
	}
	return saysRefuse, "official mail must not go to the sender's own private address; private mail is marked Private"
}

func dutyBulk(r *run) (says, text string) {
	switch {
	case !r.c.bulk:
		return "", ""
	case r.f.Message.Approved:
		return saysMet, "mass mail with exactly this content was approved"
	}
	return saysHold, "mass mail needs the approval of the competent head"
}

func dutyPrivate(r *run) (says, text string) {
	switch {
	case r.c.class != message.Private:
		return "", ""
	case r.c.seal:
		return saysMark, "private: no official signature and no footer; its content must be protected as well"
	}
	return saysMark, "private: no official signature and no footer"
}

func dutyConsent(r *run) (says, text string) {
	switch {
	case r.c.class != message.Registered:
		return "", ""
	case !r.f.Recipient.Known:
		return saysHold, "the recipient is not in the directory: enter platform and consent, or serve by post"
	case !r.f.Recipient.Consent:
		return saysHold, "the recipient has not consented to electronic service by this authority: record the consent, or serve by post"
	}
	return saysMet, "the recipient has consented to electronic service"
}

func dutyIdentified(r *run) (says, text string) {
	if r.c.class != message.Registered || !r.f.Recipient.Known {
		return "", ""
	}
	for _, p := range r.f.Recipient.Platforms {
		if p.Identified {
			return saysMark, "identified mailbox on " + p.Name + ": the seven-day rule can apply there"
		}
	}
	return saysMark, "no identified mailbox: without collection nothing is served"
}

// routes asks the routes in order; the first whose condition holds decides.
func (r *run) routes() {
	for _, route := range r.p.routes {
		r.asked++
		holds, err := route.holds(r.env)
		if err != nil {
			r.hold(route.Name, "the condition could not be evaluated", "")
			return
		}
		if holds {
			r.take(route)
			return
		}
		r.add(route.Name, saysNoMatch, "its condition does not hold", "")
	}
	r.hold("routes", fmt.Sprintf("no route takes mail of class %s from this sender to this recipient", r.c.class), "")
}

func (rt route) holds(e env) (bool, error) {
	machine := vm.VM{MemoryBudget: maxMemory}
	out, err := machine.Run(rt.condition, e)
	if err != nil {
		return false, err
	}
	holds, ok := out.(bool)
	if !ok {
		return false, fmt.Errorf("condition gives a %T", out)
	}
	return holds, nil
}

// take chooses the first usable way of the route.
func (r *run) take(route route) {
	for _, via := range route.Via {
		tag, why, law := r.usable(via)
		if why != "" {
			r.add(route.Name, saysPassed, via+": "+why, law)
			continue
		}
		r.add(route.Name, saysChosen, "goes by "+via, "")
		r.deliver(route, via, tag)
		r.footer(route, via)
		return
	}
	r.decision.Route = route.Name
	switch {
	case r.c.class == message.Registered:
		r.hold("duty:registered", "a registered decision travels only over a recognised platform on which the recipient is registered; none can be used", lawPlatform)
	case r.mustSeal():
		r.hold("duty:encrypt", "no way of this route protects the content for this recipient: TLS alone is not encryption", lawConfidential+" Abs. 2")
	default:
		r.hold(route.Name, "none of the route's ways can be used", "")
	}
}

func (r *run) mustSeal() bool { return r.c.class.MustEncrypt() || r.c.seal }

func (r *run) deliver(route route, via, tag string) {
	d := &r.decision
	d.Verdict, d.Route, d.Via, d.Tag, d.GiveUp, d.Keep = message.Deliver, route.Name, via, tag, route.GiveUp, route.Keep
	if r.c.class == message.Registered {
		d.Owed = OwedForRegistered()
	}
	if d.Keep == "" {
		d.Keep = message.KeepUntilDone
		if r.c.class == message.Registered || via == ViaMailbox {
			d.Keep = message.KeepUntilHandedOver
		}
	}
}

// footer decides whether the route's footer is put under the text. What a platform
// proves must be what was sent, and what stays here goes out by no door.
func (r *run) footer(route route, via string) {
	switch {
	case route.Footer == "":
	case r.c.class == message.Private:
		r.add(route.Name, saysMark, "no footer: private", lawPrivate)
	case isPlatform(via):
		r.add(route.Name, saysMark, "no footer by "+via+": its receipts are about what the sender wrote", "")
	case via == ViaMailbox:
		r.add(route.Name, saysMark, "no footer: the message stays on this gateway", "")
	default:
		r.add(route.Name, saysMark, "the footer "+route.Footer+" is put under its text, before it is signed and encrypted", "")
		r.decision.Footer = route.Footer
	}
}

// OwedForRegistered lists the receipts of a registered message: first the
// Abgabequittung, then exactly one of the others closes the case.
func OwedForRegistered() []message.ReceiptKind {
	return []message.ReceiptKind{message.Abgabequittung, message.Abholquittung, message.Annahmeverweigerung, message.Verfallquittung}
}

// usable reports by which tag the message may go by via, or why it may not.
func (r *run) usable(via string) (tag, why, law string) {
	if r.f.Recipient.Suffix != "" && via != r.f.Recipient.Suffix {
		return "", "the recipient's suffix asks for " + r.f.Recipient.Suffix, ""
	}
	if isPlatform(via) {
		return r.usablePlatform(via)
	}
	if r.c.class == message.Registered {
		return "", "a registered decision travels only over a recognised platform", lawPlatform
	}
	switch via {
	case ViaSMTP:
		if r.mustSeal() {
			return "", "TLS alone is not encryption", lawConfidential + " Abs. 2"
		}
	case ViaMailbox:
		if !r.f.Recipient.Internal {
			return "", "the recipient has no mailbox on this gateway", ""
		}
	default: // smime, openpgp
		if !slices.Contains(r.f.Recipient.Keys, via) {
			return "", NoKey, ""
		}
	}
	return "", "", ""
}

func (r *run) usablePlatform(via string) (tag, why, law string) {
	state, known := r.f.Platforms[via]
	tag = state.Tags[r.c.class]
	if r.c.class == message.Private && tag == "" {
		tag = state.Tags[message.Confidential]
	}
	switch {
	case !known || !state.Configured:
		return "", "the platform is not configured", ""
	case !state.Recognised:
		return "", "the platform is not recognised today", lawPlatform
	case !r.onPlatform(via):
		return "", "recipient not on " + via, lawIdentified
	case tag == "":
		return "", fmt.Sprintf("no tag is configured for class %s", r.c.class), ""
	case state.MaxSize > 0 && r.f.Message.Size > state.MaxSize:
		return "", fmt.Sprintf("the message has %d octets, the platform takes %d", r.f.Message.Size, state.MaxSize), ""
	}
	return tag, "", ""
}

// onPlatform reports whether the platform reaches the recipient: he is
// registered there, or the sender asked for it by suffix and the class is one
// that needs no registration (docs/platforms.md § 2.2, confidential).
func (r *run) onPlatform(via string) bool {
	if slices.ContainsFunc(r.f.Recipient.Platforms, func(p PlatformFact) bool { return p.Name == via }) {
		return true
	}
	return r.f.Recipient.Suffix == via && (r.c.class == message.Confidential || r.c.class == message.Private)
}
