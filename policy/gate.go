package policy

import (
	"gatewayd/message"
)

// Usable reports whether the way that was decided may still be used with the
// facts of today: consent, platform, tag, size, key. It is asked before every
// attempt and can only close the way, never choose another (the decision is
// evidence). reason tells a person what has changed since.
func (p *Policy) Usable(f Facts, d message.Decision) (reason string, open bool) {
	if d.Verdict != message.Deliver {
		return "the decision was not to deliver", false
	}
	r := &run{p: p, f: f, c: classified{class: d.Class}}
	if says, text := dutyConsent(r); says == saysHold {
		return text, false
	}
	tag, why, _ := r.usable(d.Via)
	switch {
	case why != "":
		return d.Via + ": " + why, false
	case tag != d.Tag:
		return d.Via + ": the tag configured for class " + string(d.Class) + " has changed since the decision", false
	}
	return "", true
}
