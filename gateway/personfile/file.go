package personfile

import (
	"time"

	"gatewayd/audit"
	"gatewayd/legal"
	"gatewayd/message"
)

// File is everything that is held about one person.
type File struct {
	Address      string                `json:"address"`
	Authority    string                `json:"authority,omitempty"` // only what this one holds; empty: all
	At           time.Time             `json:"at"`
	Directory    *Entry                `json:"directory,omitempty"`
	Messages     []Message             `json:"messages"`
	Unmatched    []message.Receipt     `json:"receipts_without_message,omitempty"`
	Keys         []message.KeyInfo     `json:"keys"`
	Destinations []message.Destination `json:"destinations"` // of the domain
	Events       []audit.Entry         `json:"events"`
	Remarks      []string              `json:"remarks"` // what this file cannot show
}

// Entry is what the directory says, with every consent.
type Entry struct {
	Name      string     `json:"name,omitempty"`
	Canton    string     `json:"canton,omitempty"`
	Platforms []Platform `json:"platforms,omitempty"`
	Consents  []Consent  `json:"consents,omitempty"`
}

// Platform is a registration on a platform.
type Platform struct {
	Name       string    `json:"platform"`
	Identified bool      `json:"identified"`
	Checked    time.Time `json:"checked,omitzero"`
	Address    string    `json:"address,omitempty"`
}

// Consent is a consent, given or revoked.
type Consent struct {
	Authority string    `json:"authority"` // "*": every one
	Scope     string    `json:"scope"`
	Form      string    `json:"form,omitempty"`
	Given     time.Time `json:"given,omitzero"`
	Revoked   time.Time `json:"revoked,omitzero"`
	Evidence  string    `json:"evidence,omitempty"`
	Expects   string    `json:"expects,omitempty"`
}

// Message is one message to the person or from it.
type Message struct {
	ID        string            `json:"id"`
	Direction message.Direction `json:"direction"`
	Authority string            `json:"authority"`
	From      string            `json:"from"`
	Received  time.Time         `json:"received"`
	MessageID string            `json:"message_id,omitempty"`
	Content   message.Content   `json:"content"`
	Held      bool              `json:"content_held"` // it can still be read; the authority gives it out
	Items     []message.Item    `json:"items"`        // the person's own, or of a message from it those of authorities
	Others    int               `json:"other_recipients,omitempty"`
	Claimed   bool              `json:"only_by_from_field,omitempty"` // its From field names the person, its envelope does not: nobody has proven that it is from the person
	Receipts  []message.Receipt `json:"receipts,omitempty"`
	Cases     []legal.Case      `json:"cases,omitempty"`
}

// ManyNames is a remark on a file that has more names of others than are looked for.
const ManyNames = "so many others are named that not every name was looked for: read all free text before it is given out"

// Remarks says what no file can show.
func Remarks() []string {
	return []string{
		"free text (reasons, replies of mail systems) was searched for mail addresses, names beside them and names of the directory only: read it before it is given out",
		"mail is found by its envelope and its From field; Sender and Reply-To stand in its content only",
		"the content of messages is not part of this file; while it is held, the authority gives it out from its mailbox",
		"content that was exported before its erasure is encrypted to the authority's own key, and protocols of destruction name nobody: neither can be searched",
		"lines of the log whose key was destroyed can no longer be read by anybody",
	}
}
