package message

import "fmt"

// Refusal is an answer meant for the client: the only kind of error whose text
// strangers may read. Every other error is answered as temporary and generic.
type Refusal struct {
	Code     int    // RFC 5321 reply code: 4xx temporary, 5xx permanent
	Enhanced string // RFC 3463 status, "5.7.1"
	Text     string // one line of US-ASCII for a person: cause and next step
}

// Error implements error.
func (r *Refusal) Error() string { return fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, r.Text) }

// Temporary reports whether the client should try again by itself.
func (r *Refusal) Temporary() bool { return r.Code < 500 }
