package simulator

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RecipientKind is what sort of recipient an address is on a platform.
type RecipientKind string

// The kinds of recipients.
const (
	Native           RecipientKind = "native"            // a person with an account, reads on the web
	Business         RecipientKind = "business"          // a connected domain: mail arrives readable
	OtherPlatform    RecipientKind = "other-platform"    // known at the other recognised platform only
	Unregistered     RecipientKind = "unregistered"      // known nowhere; the default
	BlocksRegistered RecipientKind = "blocks-registered" // takes no registered mail
	AutoAccept       RecipientKind = "auto-accept"       // Business with Auto-Accept on
	SmallMailbox     RecipientKind = "small-mailbox"     // Native, rejects mail above MailboxMB
)

// Action is what a recipient does with a registered mail.
type Action string

// The actions. The zero Action waits for somebody to act by Accept or Refuse.
const (
	ActAccept Action = "accept"
	ActRefuse Action = "refuse"
	ActIgnore Action = "ignore"
)

// Profile is what a recipient is and does.
type Profile struct {
	Kind      RecipientKind
	MailboxMB int           // SmallMailbox only: limit in megabytes of 10^6 octets
	Action    Action        // what the recipient does by itself
	After     time.Duration // how long after the mail became available
}

// ParseProfile reads "native", "small-mailbox:5", and either of them followed
// by a behaviour: "native accepts-after:2d", "business,refuses-after:90m",
// "native ignores". Days are written "2d".
func ParseProfile(s string) (Profile, error) {
	words := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	if len(words) == 0 || len(words) > 2 {
		return Profile{}, fmt.Errorf("profile %q: want a kind and at most one behaviour", s)
	}
	p, err := parseKind(words[0])
	if err != nil || len(words) == 1 {
		return p, err
	}
	name, arg, hasArg := strings.Cut(words[1], ":")
	act, ok := map[string]Action{"accepts-after": ActAccept, "refuses-after": ActRefuse, "ignores": ActIgnore}[name]
	if !ok || hasArg == (act == ActIgnore) {
		return Profile{}, fmt.Errorf("profile %q: unknown behaviour %q", s, words[1])
	}
	p.Action = act
	if hasArg {
		p.After, err = parseDuration(arg)
	}
	return p, err
}

func parseKind(word string) (Profile, error) {
	name, arg, hasArg := strings.Cut(word, ":")
	p := Profile{Kind: RecipientKind(name)}
	kinds := []RecipientKind{Native, Business, OtherPlatform, Unregistered, BlocksRegistered, AutoAccept, SmallMailbox}
	if !slices.Contains(kinds, p.Kind) || hasArg != (p.Kind == SmallMailbox) {
		return Profile{}, fmt.Errorf("unknown profile %q: use one of %v, small-mailbox with :MB", word, kinds)
	}
	if hasArg {
		mb, err := strconv.ParseUint(arg, 10, 16)
		if err != nil {
			return Profile{}, fmt.Errorf("profile %q: want small-mailbox:MB", word)
		}
		p.MailboxMB = int(mb)
	}
	return p, nil
}

// parseDuration reads a Go duration or whole days, "7d".
func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("bad duration %q", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("bad duration %q", s)
	}
	return d, nil
}

// direct reports whether mail arrives readable, without a form or a link.
func (p Profile) direct() bool { return p.Kind == Business || p.Kind == AutoAccept }
