package directory

import (
	"time"

	"gatewayd/message"
)

// Scope of a consent (VwVG Art. 11b para. 2): for every case of the authority,
// or for single cases only. A consent for a case says nothing about other
// cases, so it is no consent in general.
type Scope string

// Scopes.
const (
	All  Scope = "all"
	Case Scope = "case"
)

// Everybody as the authority of a consent means every authority.
const Everybody = "*"

// Platform is a recipient's registration on one platform.
type Platform struct {
	Name       string          // connector: "incamail", "privasphere"
	Identified bool            // the platform has identified the person; the seven-day fiction rests on it
	Checked    time.Time       // local day on which the registration was looked up
	Address    message.Address // on the platform, if another than the recipient's own; else null
}

// Consent is one person's consent to receive decisions electronically.
type Consent struct {
	Authority string    // id of the authority, or Everybody
	Scope     Scope     // All or Case
	Form      string    // how it was given: "text", "minuted"
	Given     time.Time // local day
	Revoked   time.Time // local day; zero: not revoked
	Evidence  string    // where the proof is: "sha256:…" or a file reference
	Expects   string    // "yes" or "no": whether the person had to expect decisions; "": not said. The seven-day fiction rests on it
}

// Recipient is one entry of the directory.
type Recipient struct {
	Address   message.Address
	Name      string
	Canton    string // whose holidays count for periods (VwVG Art. 20 para. 3); "": not said
	Platforms []Platform
	Consents  []Consent
}

// Platform returns the registration on the named platform.
func (r Recipient) Platform(name string) (Platform, bool) {
	for _, p := range r.Platforms {
		if p.Name == name {
			return p, true
		}
	}
	return Platform{}, false
}

// Consent returns the consent that allows the authority to send decisions at
// the given time: general, given, and not revoked. A revocation counts from the
// beginning of its day, at once and for every authority it names (VwVG Art. 11b
// para. 2: revocable at any time).
func (r Recipient) Consent(authority string, at time.Time) (Consent, bool) {
	for _, c := range r.Consents {
		if c.covers(authority) && c.Scope == All && !at.Before(c.Given) && (c.Revoked.IsZero() || at.Before(c.Revoked)) {
			return c, true
		}
	}
	return Consent{}, false
}

func (c Consent) covers(authority string) bool {
	return c.Authority == Everybody || c.Authority == authority && authority != ""
}

// Directory is one state of the file. It never changes.
type Directory struct {
	byKey     map[string]Recipient
	delegates []Delegate
}

// Recipient finds an entry by its address, without regard to case.
func (d *Directory) Recipient(a message.Address) (Recipient, bool) {
	if d == nil || a.IsNull() {
		return Recipient{}, false
	}
	r, ok := d.byKey[a.Key()]
	return r, ok
}

// Len returns the number of recipients.
func (d *Directory) Len() int {
	if d == nil {
		return 0
	}
	return len(d.byKey)
}
