package connectors

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Kind says what a failed hand-over means for the next attempt.
type Kind int

// The kinds. Temporary is the zero value and the meaning of every unknown
// error: a message waits rather than bounces.
const (
	Temporary Kind = iota // the next system does not have it; try again
	Permanent             // the next system does not have it and never will; tell the sender
	Unclear               // the final dot may have left and no reply came: it may have it
)

// String returns the kind in one lower-case word.
func (k Kind) String() string {
	switch k {
	case Permanent:
		return "permanent"
	case Unclear:
		return "unclear"
	default:
		return "temporary"
	}
}

// Error is a failed hand-over. Its text names step and codes only; what the
// next system wrote stands in Text, which may quote addresses and belongs in
// sealed places (ledger, DSN), never in a log.
type Error struct {
	Kind     Kind
	Step     Step
	Code     int    // RFC 5321 reply code; 0 when there was no reply
	Enhanced string // RFC 3463 status; may be empty
	Text     string // the reply, or our own reason; bounded and printable
	Err      error  // cause; may be nil
}

// Error implements error: "RCPT: permanent: 550 5.1.1".
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Step, e.Kind)
	if e.Code != 0 {
		b.WriteString(": " + strconv.Itoa(e.Code))
		if e.Enhanced != "" {
			b.WriteString(" " + e.Enhanced)
		}
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf tells what err means for the next attempt. Unknown errors are
// Temporary.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Temporary
}

// Refuse returns a Permanent error made on this side, before a byte was sent:
// the message can't leave this way. The reason is a constant of ours, without
// subject, address or secret, and may be shown to the sender.
func Refuse(step Step, enhanced, reason string) *Error {
	return &Error{Kind: Permanent, Step: step, Code: 554, Enhanced: enhanced, Text: reason, Err: errors.New(reason)}
}

// LookupError hides the name in an error of the resolver, as it may be a
// recipient's domain; other errors come back as they are.
func LookupError(err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New("name lookup: " + e.Err)
	}
	return err
}

// Step names the place in the hand-over at which it failed.
type Step string

// The steps, in order.
const (
	StepForm     Step = "form"     // building what leaves and checking it; nothing was sent
	StepMessage  Step = "message"  // looking through the message; nothing was sent
	StepRoute    Step = "route"    // finding the host (MX)
	StepConnect  Step = "connect"  // TCP
	StepBanner   Step = "banner"   // 220
	StepHello    Step = "EHLO"     // also the second one, under TLS
	StepStartTLS Step = "STARTTLS" // the command and its reply
	StepTLS      Step = "TLS"      // handshake and verification
	StepAuth     Step = "AUTH"
	StepReset    Step = "RSET" // on a kept connection, before MAIL
	StepMail     Step = "MAIL"
	StepRcpt     Step = "RCPT"
	StepData     Step = "DATA" // or BDAT: the command, its reply, and the octets up to the end of the message
	StepDot      Step = "dot"  // the final dot or BDAT 0 LAST, and its reply
)

// OfLink reports whether a failure at this step speaks about the link and not
// about the message. Whatever code the peer gives there, the message waits: a
// wrong password or an unwilling host must not bounce a decision.
func (s Step) OfLink() bool {
	switch s {
	case StepConnect, StepBanner, StepHello, StepStartTLS, StepTLS,
		StepAuth, StepReset:
		return true
	}
	return false
}
