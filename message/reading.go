package message

import (
	"errors"
	"fmt"
	"strings"
)

// Purpose is what log data may be read for (Benutzungsreglement BL § 22 para. 1),
// and, of what is kept about one person, that this person wants to know.
type Purpose string

// The purposes.
const (
	ForSecurity   Purpose = "security"   // data security
	ForOperation  Purpose = "operation"  // orderly operation
	ForProtection Purpose = "protection" // data-protection control
	ForAudit      Purpose = "audit"      // audit of information technology
	ForAccess     Purpose = "access"     // the person concerned asks what is kept
)

// Purposes returns all of them.
func Purposes() []Purpose {
	return []Purpose{ForSecurity, ForOperation, ForProtection, ForAudit, ForAccess}
}

// ErrNoPurpose is for whoever reads log data and does not say what for.
var ErrNoPurpose = errors.New("say what the log data are read for: security, operation, protection or audit (Benutzungsreglement BL § 22), " +
	"or access when the person concerned has asked; it stands in the audit log")

// UnmarshalText implements encoding.TextUnmarshaler; it takes nothing but one of
// the purposes.
func (p *Purpose) UnmarshalText(text []byte) error {
	for _, known := range Purposes() {
		if string(text) == string(known) {
			*p = known
			return nil
		}
	}
	return fmt.Errorf("%q: %w", text, ErrNoPurpose)
}

// Reading says who reads log data, and what for.
type Reading struct {
	By      string // name of the person, or of the program
	Purpose Purpose
}

// maxReader bounds the name of a reader, in octets.
const maxReader = 128

// Check returns ErrNoPurpose, or what is wrong with the name.
func (r Reading) Check() error {
	var p Purpose
	if err := p.UnmarshalText([]byte(r.Purpose)); err != nil {
		return err
	}
	if strings.TrimSpace(r.By) == "" || len(r.By) > maxReader {
		return errors.New("say who reads the log data, in at most 128 octets")
	}
	return nil
}

// ErrNoReason is for whoever changes something by hand and does not say why.
var ErrNoReason = errors.New("a reason is needed: it stands in the audit log")

// CheckReason returns a person's reason as it is kept, or ErrNoReason.
func CheckReason(text string) (string, error) {
	if text = Bounded(strings.TrimSpace(text)); text == "" {
		return "", ErrNoReason
	}
	return text, nil
}

// maxText bounds a text of somebody else's in an event or item, in octets.
const maxText = 500

// Bounded makes a text of somebody else's fit for an event or item: valid UTF-8,
// at most 500 octets of it.
func Bounded(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}
