package connectors

import (
	"context"
	"io"

	"gatewayd/message"
)

// Connector hands one message for one recipient to one next system.
type Connector interface {
	// Name is the name under which decisions and routes know it ("incamail").
	Name() string
	// Submit tries once and never repeats by itself. A nil error means that the
	// next system has taken the message over (SMTP 2xx to the final dot). Any
	// other error is read with KindOf. The Result is filled as far as it is
	// known, also beside an error: SentAs is set as soon as the final dot may
	// have left.
	Submit(ctx context.Context, h Handover) (Result, error)
	// Limits tells what the next system takes, so that policy can say no before
	// the message is accepted.
	Limits() Limits
}

// Handover is one message for one recipient, ready to leave.
type Handover struct {
	Item     message.Item
	Envelope message.Envelope
	From     message.Address // on this platform: what MAIL FROM says
	To       message.Address // on this platform: what RCPT TO says
	Received string          // trace field to put on top (RFC 5321 section 4.4); "" for none
	// Body is the whole message as accepted, header and body part, at offset 0.
	// It is read twice (once to look, once to send) and never held in memory
	// whole.
	Body io.ReadSeeker
}

// Result is what the next system answered.
type Result struct {
	Reply    string // text of the last reply, bounded, printable; may name addresses: for sealed places only
	RemoteID string // the next system's own id, where its reply names one
	SentAs   string // Message-ID that left, with angle brackets
	DSN      bool   // the next system took over the duty to send DSNs (RFC 3461)
}

// Limits are bounds of the next system. Zero means: unknown or none.
type Limits struct {
	MaxSize       int64 // octets of the whole message
	MaxRecipients int   // per transaction
}
