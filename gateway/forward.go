package gateway

import (
	"time"

	"gatewayd/message"
	"gatewayd/queue"
)

// forwardPrefix begins the way to an authority's own mail server: each has a
// connector of its own.
const forwardPrefix = "forward:"

// ForwardVia names the way to the mail server of an authority.
func ForwardVia(authority string) string { return forwardPrefix + authority }

// forwardGiveUp is how long the authority's own server may be away. The mail
// lies in the mailbox all the same.
const forwardGiveUp = 5 * 24 * time.Hour

// forward adds the items that bring a mail for an authority to its own mail
// server, as it came; what S/MIME or OpenPGP protect is opened for it only where
// the authority has asked for that.
// This is no forwarding in the sense of Benutzungsreglement BL § 10: the mail
// stays with the authority that it was sent to.
func (g *Gateway) forward(a *queue.Accepted, now time.Time) {
	via := ForwardVia(a.Envelope.Authority)
	if _, ok := g.o.Connectors[via]; !ok || a.Envelope.Direction == message.Outbound {
		return
	}
	last := a.Items[len(a.Items)-1].Key.N
	for _, item := range a.Items {
		if item.Decision.Via != viaMailbox {
			continue
		}
		item.Key.N += last
		item.Decision = message.Decision{
			Verdict: message.Deliver, Class: message.Normal, Route: "forward", Via: via, Keep: message.KeepUntilHandedOver, GiveUp: forwardGiveUp,
			Because: []message.Reason{{Rule: "forward", Says: "chosen", Text: "a copy goes to the authority's own mail server"}},
		}
		a.Items = append(a.Items, item)
		if a.Envelope.Direction == message.Inbound {
			a.Events = append(a.Events, decidedEvent(&a.Envelope, item, now))
		}
	}
}
