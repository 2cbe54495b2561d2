package queue

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"gatewayd/message"
)

// CheckItem reports why an item may not change from old to next: a stale
// Version (ErrConflict), a change of state that the table does not have
// (ErrTransition), an erase-by instant that is missing or later than before
// (ErrEraseBy).
func CheckItem(old, next message.Item) error {
	switch {
	case next.Version != old.Version:
		return fmt.Errorf("item %s: version %d, stored is %d: %w", old.Key, next.Version, old.Version, ErrConflict)
	case !old.State.MayBecome(next.State):
		return fmt.Errorf("item %s: from %s to %q: %w", old.Key, old.State, next.State, ErrTransition)
	case next.EraseBy.IsZero() || next.EraseBy.After(old.EraseBy):
		return fmt.Errorf("item %s: %w", old.Key, ErrEraseBy)
	}
	return nil
}

// Unsigned ends the name of a destination for what is encrypted only.
const Unsigned = ":unsigned"

// Destination names where an item goes next: a connector, and the recipient's
// domain where the connector finds its way by it. Items of one destination wait
// for the same thing: private mail is not signed, and does not wait for an
// authority's own key.
func Destination(item message.Item) string {
	switch via := item.Decision.Via; {
	case item.Decision.Class == message.Private && (via == "smime" || via == "openpgp"):
		return via + ":" + item.Recipient.Address.Domain + Unsigned
	case via == "smtp", via == "smime", via == "openpgp":
		return item.Decision.Via + ":" + item.Recipient.Address.Domain
	}
	return item.Decision.Via
}

// Registered reports whether a message's item takes part in the search for
// duplicates: a registered decision of an authority whose client named it by a
// Message-ID. Other classes follow RFC 5321 and prefer a duplicate to a loss.
func Registered(env message.Envelope, item message.Item) bool {
	return env.Direction == message.Outbound && item.Decision.Class == message.Registered && env.MessageID != ""
}

// DupKey returns what makes two registered decisions the same: authority,
// Message-ID, recipient and content. The store hashes it with the authority's
// key; it never stands in clear.
func DupKey(authority, messageID string, to message.Address, d message.Digest) []byte {
	return join("gatewayd duplicate 1", authority, messageID, to.Key(), string(d[:]))
}

// ReceiptIdentity returns what makes two receipts one: item, kind, platform and
// the document's digest. A receipt without a document equals only itself.
func ReceiptIdentity(r message.Receipt) message.Digest {
	what := string(r.Digest[:])
	if r.Digest == (message.Digest{}) {
		what = r.ID.String()
	}
	return sha256.Sum256(join("gatewayd receipt 1", r.Item.String(), string(r.Kind), r.Platform, what))
}

// Supersedes reports whether a receipt replaces the stored one that it equals:
// only when it is verified and the stored one was not, because the same
// document came again after its trust anchor had been configured.
func Supersedes(stored, again message.Receipt) bool {
	return again.Verdict == message.Verified && stored.Verdict != message.Verified
}

// join concatenates parts so that no two lists of parts give the same bytes.
func join(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p))) //nolint:gosec // far below 4 GiB
		b = append(b, p...)
	}
	return b
}
