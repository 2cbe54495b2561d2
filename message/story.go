package message

// Story is everything that is known about one message: what was asked, what
// became of it for each recipient, what was proven, and each step in order.
type Story struct {
	Envelope Envelope  `json:"envelope"`
	Items    []Item    `json:"items"`
	Receipts []Receipt `json:"receipts"`
	Events   []Event   `json:"events"`
}
