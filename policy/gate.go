package policy

import (
	"strings"

	"gatewayd/message"
)

// Usable asks again, at the moment of an attempt, whether the way that was
// decided may still be used on today's facts: consent, directory, recognition,
// tag. It looks at nothing else and never finds another way; reason is a
// sentence for the sender when it may not.
func (p *Policy) Usable(f Facts, d message.Decision) (reason string, ok bool) {
	r := &run{p: p, f: f, c: classified{class: d.Class}}
	if says, text := dutyConsent(r); says == saysHold {
		return text, false
	}
	tag, why, _ := r.usable(d.Via)
	switch {
	case why != "":
		return d.Via + ": " + why, false
	case strings.TrimSpace(tag) != strings.TrimSpace(d.Tag):
		return d.Via + ": the tag of the class was changed in the configuration since the message was accepted", false
	}
	return "", true
}
