package smtp

import (
	"errors"
	"fmt"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

// maxReplyText bounds the text of a reply line (RFC 5321 section 4.5.3.1.5
// allows 512 octets for the whole line).
const maxReplyText = 450

// Replies of the door itself.
var (
	errTemporary   = message.Refusal{Code: 451, Enhanced: "4.3.0", Text: "temporary trouble here; please try again later"}
	errTooMany     = message.Refusal{Code: 421, Enhanced: "4.7.0", Text: "too many errors in this session; closing the connection"}
	errTimeout     = gosmtp.SMTPError{Code: 421, EnhancedCode: gosmtp.EnhancedCode{4, 4, 2}, Message: "too slow, or the server is stopping; nothing was accepted, please try again"}
	errAborted     = message.Refusal{Code: 451, Enhanced: "4.4.2", Text: "the connection or the transfer broke off before the end of the message; nothing was accepted"}
	errBroken      = gosmtp.SMTPError{Code: 421, EnhancedCode: gosmtp.EnhancedCode{4, 4, 2}, Message: "the connection broke off; nothing was accepted"}
	errNested      = message.Refusal{Code: 503, Enhanced: "5.5.1", Text: "a transaction is open already; send RSET first"}
	errNoMail      = message.Refusal{Code: 503, Enhanced: "5.5.1", Text: "send MAIL and RCPT first"}
	errNeedTLS     = message.Refusal{Code: 530, Enhanced: "5.7.0", Text: "must issue a STARTTLS command first"}
	errNeedAuth    = message.Refusal{Code: 530, Enhanced: "5.7.0", Text: "authentication required"}
	errBadSender   = message.Refusal{Code: 553, Enhanced: "5.1.7", Text: "the sender address is not valid (RFC 5321)"}
	errBadRcpt     = message.Refusal{Code: 553, Enhanced: "5.1.3", Text: "the recipient address is not valid (RFC 5321)"}
	errNeedUTF8    = message.Refusal{Code: 553, Enhanced: "5.6.7", Text: "an address with characters beyond ASCII needs the SMTPUTF8 parameter (RFC 6531)"}
	errNotYours    = message.Refusal{Code: 550, Enhanced: "5.7.1", Text: "this sender address does not belong to your account; ask the administrator of the gateway to add it"}
	errBadEnvID    = message.Refusal{Code: 501, Enhanced: "5.5.4", Text: "ENVID is longer than 100 characters (RFC 3461)"}
	errBadORcpt    = message.Refusal{Code: 501, Enhanced: "5.5.4", Text: "ORCPT is malformed or longer than 500 characters (RFC 3461)"}
	errAuthFailed  = message.Refusal{Code: 535, Enhanced: "5.7.8", Text: "authentication failed"}
	errAuthSyntax  = message.Refusal{Code: 501, Enhanced: "5.5.2", Text: "malformed PLAIN response (RFC 4616)"}
	errAuthMech    = message.Refusal{Code: 504, Enhanced: "5.5.4", Text: "only AUTH PLAIN is offered here"}
	errAuthBusy    = message.Refusal{Code: 454, Enhanced: "4.7.0", Text: "too many failed logins; please wait before the next one"}
	errAuthNone    = message.Refusal{Code: 502, Enhanced: "5.5.1", Text: "no login on this port; use the submission port"}
	errTransaction = message.Refusal{Code: 503, Enhanced: "5.5.1", Text: "AUTH is not allowed during a transaction"}
)

// reply is the one rule that turns an error into an SMTP reply: a Refusal is
// passed on, what go-smtp itself answers stays, everything else is temporary
// and generic, because unknown means temporary and strangers learn nothing.
// The result is never wrapped: go-smtp recognises it by its type alone.
func reply(err error) *gosmtp.SMTPError {
	var refusal *message.Refusal
	if errors.As(err, &refusal) && refusal.Code >= 400 && refusal.Code <= 599 {
		return &gosmtp.SMTPError{
			Code:         refusal.Code,
			EnhancedCode: enhancedCode(refusal.Code, refusal.Enhanced),
			Message:      replyText(refusal.Text),
		}
	}
	var own *gosmtp.SMTPError
	if errors.As(err, &own) && own.Code >= 400 && own.Code <= 599 {
		return &gosmtp.SMTPError{Code: own.Code, EnhancedCode: own.EnhancedCode, Message: replyText(own.Message)}
	}
	return reply(&errTemporary)
}

// known reports whether an error carries its own reply; any other is a fault
// of ours and belongs in the log.
func known(err error) bool {
	var refusal *message.Refusal
	var own *gosmtp.SMTPError
	return errors.As(err, &refusal) || errors.As(err, &own)
}

// enhancedCode parses "5.7.1"; what does not fit the reply code becomes X.0.0
// (RFC 3463 section 2: the class must agree with the reply).
func enhancedCode(code int, s string) gosmtp.EnhancedCode {
	var e gosmtp.EnhancedCode
	n, err := fmt.Sscanf(s, "%d.%d.%d", &e[0], &e[1], &e[2])
	if err != nil || n != 3 || e[0] != code/100 || e[1] < 0 || e[2] < 0 {
		return gosmtp.EnhancedCode{code / 100, 0, 0}
	}
	return e
}

// replyText makes one line of printable US-ASCII.
func replyText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(s) > maxReplyText {
		s = s[:maxReplyText]
	}
	return s
}
