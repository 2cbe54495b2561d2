package message

import "time"

// Story is everything that is known about one message: what was asked, what
// became of it for each recipient, what was proven, and each step in order.
type Story struct {
	Envelope Envelope  `json:"envelope"`
	Items    []Item    `json:"items"`
	Receipts []Receipt `json:"receipts"`
	Events   []Event   `json:"events"`
	Subject  string    `json:"subject,omitempty"` // only where it was asked for

	// Protection says what S/MIME or OpenPGP around a received message were worth
	// when they were last looked at, by the fields of EventMailbox; nil: not yet.
	Protection map[string]string `json:"protection,omitempty"`
}

// Destination is where items go: a platform, a way with a recipient's domain, an
// authority's mailbox or own server.
type Destination struct {
	Name     string    `json:"destination"`
	Open     int       `json:"open"`               // attempts of this moment
	Failures int       `json:"failures,omitempty"` // in a row, to reach it
	Rests    time.Time `json:"rests_until,omitzero"`
	Paused   time.Time `json:"paused_since,omitzero"` // by a person
	Reason   string    `json:"reason,omitempty"`
}
