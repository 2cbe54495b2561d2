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
	// Submit tries once and never repeats by itself what the next system may have
	// taken. A nil error means that it has taken the message over (SMTP 2xx to the
	// final dot). Any
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
	// A long one is read twice (once to look, once to send) and never held in
	// memory whole.
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

// Sender hands a message to the next system in one transaction; smtpclient.Client
// is the one of the product. A nil error means a 2xx reply to the end of the
// message. Errors are *Error: up to the end of the message Temporary or
// Permanent, from there on Unclear unless the peer answered.
type Sender interface {
	Send(ctx context.Context, m Mail) (Sent, error)
}

// Mail is one message for one recipient, as a Sender sends it.
type Mail struct {
	From, To message.Address
	Header   []byte        // every field as it leaves, and the blank line
	Body     io.ReadSeeker // the body part starts at offset Start and goes to the end
	Start    int64
	UTF8     bool // the submitter asked for SMTPUTF8
	DSN      *DSN // nil: ask for nothing
}

// DSN holds the parameters of RFC 3461 as their decoded values. They are passed
// on where the peer offers DSN.
type DSN struct {
	EnvID, Ret string
	Notify     []string
	ORcpt      string
}

// Sent tells how a message was taken over.
type Sent struct {
	Reply string // text of the reply to the final dot, bounded, printable
	DSN   bool   // the peer took the DSN parameters
}
