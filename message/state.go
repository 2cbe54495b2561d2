package message

import "slices"

// State is where one recipient's item stands.
type State string

// The states of an item. docs/states.md draws them.
const (
	Waiting State = "waiting" // to be sent at NextTry
	Sending State = "sending" // an attempt is open; found at start it becomes Unclear
	Unclear State = "unclear" // the platform may or may not have it
	Held    State = "held"    // waits for a person, a key or a platform
	Handed  State = "handed"  // the next system has taken it over; receipts are owed
	Done    State = "done"    // everything promised has happened
	Refused State = "refused" // ended badly; the sender was told
	Dropped State = "dropped" // ended by a person, with a reason
	Expired State = "expired" // erase-by was reached first; the sender was told
)

// States lists every state in the order of the documentation.
func States() []State {
	return []State{Waiting, Sending, Unclear, Held, Handed, Done, Refused, Dropped, Expired}
}

// Transition is one allowed change of state, with the reason it exists.
type Transition struct {
	From, To State
	Why      string
}

// transitions is the table of all allowed changes of state. The zero State as
// From means: may be the first state.
var transitions = []Transition{
	{"", Waiting, "accepted"},
	{"", Held, "accepted, but policy holds it"},
	{"", Refused, "accepted together with others, refused by policy for this recipient"},
	{Waiting, Sending, "leased: an attempt is opened"},
	{Sending, Handed, "the next system took it over and owes receipts"},
	{Sending, Done, "the next system took it over and owes nothing"},
	{Sending, Waiting, "temporary failure"},
	{Sending, Unclear, "the reply was lost, or we died during the attempt"},
	{Sending, Refused, "permanent failure or give-up"},
	{Sending, Held, "the gate closed: consent, directory, key or platform no longer valid"},
	{Unclear, Handed, "a receipt or log proves that it arrived"},
	{Unclear, Waiting, "not registered: sent once more with the same Message-ID"},
	{Unclear, Held, "registered: a person must decide"},
	{Waiting, Held, "held by a person, or by a restored backup"},
	{Held, Waiting, "released"},
	{Held, Refused, "returned to the sender after its limit"},
	{Held, Dropped, "dropped by a person, with a reason"},
	{Waiting, Refused, "give-up before another attempt"},
	{Held, Handed, "a receipt proves that an unclear hand-over had arrived"},
	{Unclear, Done, "a receipt proves that it arrived and how it ended"},
	{Unclear, Refused, "a notice proves that it arrived and could not be delivered"},
	{Held, Done, "a receipt proves that an unclear hand-over had arrived and how it ended"},
	{Waiting, Handed, "a receipt proves that an attempt taken for failed had arrived"},
	{Waiting, Done, "a receipt proves that an attempt taken for failed had arrived and how it ended"},
	{Handed, Done, "every promised receipt has come"},
	{Handed, Refused, "a late DSN or notice says that it failed"},
	{Waiting, Expired, "erase-by reached"},
	{Held, Expired, "erase-by reached"},
	{Unclear, Expired, "erase-by reached"},
	{Handed, Expired, "erase-by reached before the receipts came"},
}

// Transitions returns the table of all allowed changes of state. The zero State
// as From means: may be the first state.
func Transitions() []Transition { return slices.Clone(transitions) }

// MayBecome reports whether the table allows the change. A state may always
// stay what it is: other fields of the item change then.
func (s State) MayBecome(next State) bool {
	if s == next {
		return s != ""
	}
	for i := range transitions {
		if t := &transitions[i]; t.From == s && t.To == next {
			return true
		}
	}
	return false
}

// Final reports whether no work is left for the gateway: only receipts, case
// states and erasure can still follow.
func (s State) Final() bool {
	switch s {
	case Done, Refused, Dropped, Expired:
		return true
	}
	return false
}

// CaseState is the legal view of one registered item (Zustellung): which of
// the platform's verified receipts it rests on. The gateway computes and shows
// it; it never decides law.
type CaseState string

// The case states. Overdue is not an end: the receipt may still come.
const (
	CaseNone        CaseState = ""
	CaseSubmitted   CaseState = "submitted"       // Abgabequittung
	CaseAvailable   CaseState = "available"       // Bereitstellung
	CaseCollected   CaseState = "collected"       // Abholquittung: the moment of service
	CaseRefused     CaseState = "refused"         // Annahmeverweigerung
	CaseExpired     CaseState = "expired"         // Nichtabholung (Verfallquittung)
	CaseBlocked     CaseState = "blocked"         // the recipient takes no registered mail
	CaseUndelivered CaseState = "undelivered"     // the recipient's system rejected it
	CaseOverdue     CaseState = "receipt_overdue" // the Abgabequittung did not come in time; never a resend
)

// Closed reports whether a further receipt can only repeat or correct.
func (c CaseState) Closed() bool {
	switch c {
	case CaseCollected, CaseRefused, CaseExpired, CaseBlocked, CaseUndelivered:
		return true
	}
	return false
}
