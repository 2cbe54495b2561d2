package legal

import (
	"slices"
	"strings"
	"time"

	"gatewayd/calendar"
	"gatewayd/message"
)

// State is where a case stands (docs/case.md draws it).
type State string

// The states of a case.
const (
	Held            State = "held"              // waits for a person, a key, consent or a platform
	Queued          State = "queued"            // to be handed over
	Submitting      State = "submitting"        // an attempt is open
	Uncertain       State = "submit_uncertain"  // the platform may or may not have it
	Returned        State = "returned"          // never reached a platform; the sender was told
	Submitted       State = "submitted"         // the platform took it; its receipt has not come yet
	ReceiptMissing  State = "receipt_missing"   // … and is overdue; never sent again by itself
	Available       State = "available"         // the platform has it for the addressee
	Relayed         State = "relayed"           // the other recognised platform has it for the addressee
	RefusedWait     State = "refused_wait"      // refused; the seventh day is not over
	Undecided       State = "undecided"         // a person must say what only a person knows
	Served          State = "served"            // collected, or refused where the rules let that count
	ServedByFiction State = "served_by_fiction" // not collected within seven days
	NotServed       State = "not_served"        // serve by post
	EvidenceInvalid State = "evidence_invalid"  // the platform receipted something else than was sent
)

// States lists every state.
func States() []State {
	return []State{
		Held, Queued, Submitting, Uncertain, Returned, Submitted, ReceiptMissing, Available, Relayed, RefusedWait, Undecided,
		Served, ServedByFiction, NotServed, EvidenceInvalid,
	}
}

// Terminal reports whether only a correction or a person can change it.
func (s State) Terminal() bool {
	switch s {
	case Returned, Served, ServedByFiction, NotServed:
		return true
	}
	return false
}

// Basis says on what a service date rests.
type Basis string

// The bases.
const (
	Download Basis = "download" // the addressee collected it (VeÜ-ZSSV Art. 11)
	Fiction  Basis = "fiction"  // the seventh day (ZPO Art. 138 para. 3 lit. a, VwVG Art. 20 para. 2bis)
	Refusal  Basis = "refusal"  // the day of refusal (ZPO Art. 138 para. 3 lit. b, by analogy; only if the rules say so)
	None     Basis = "none"     // not served, or not yet
)

// Service is the computed moment of service.
type Service struct {
	Date  calendar.Day `json:"date,omitzero"`
	Basis Basis        `json:"basis"`
	Rule  string       `json:"rule,omitempty"` // German, with the law
	At    time.Time    `json:"at,omitzero"`    // the platform's time that counts
}

// Case is one delivery case as it stands at Now.
type Case struct {
	Item      message.ItemKey `json:"item"`
	Recipient string          `json:"recipient"`
	Reference string          `json:"reference,omitempty"`
	Platform  string          `json:"platform,omitempty"`
	Now       time.Time       `json:"now"`
	State     State           `json:"state"`
	Because   string          `json:"because"` // German, one sentence
	Service   Service         `json:"service"`
	// Expected is the day on which the item will count as served if nobody
	// collects it; no day where that cannot happen.
	Expected calendar.Day `json:"expected,omitzero"`
	// Alternative is another reading of the law, which a person may prefer.
	Alternative *Service          `json:"alternative,omitempty"`
	Periods     []calendar.Period `json:"periods,omitempty"` // one for each profile
	Profile     calendar.Profile  `json:"profile"`           // the one that the authority usually needs
	Addressee   Addressee         `json:"addressee"`
	Versions    []Version         `json:"versions,omitempty"` // every reading that was ever shown, the oldest first
	Trail       []Entry           `json:"trail,omitempty"`    // what happened, in the terms of evidence
	Alarms      []Alarm           `json:"alarms,omitempty"`
	Tasks       []Task            `json:"tasks,omitempty"`
	Next        time.Time         `json:"next,omitzero"`        // when the next alarm is due
	HandedOver  time.Time         `json:"handed_over,omitzero"` // the authority's own file has it
	Erased      time.Time         `json:"erased,omitzero"`      // the content is gone
	Binding     bool              `json:"binding"`              // never: it is help
}

// Period returns the period of the profile that the authority usually needs.
func (c Case) Period() (calendar.Period, bool) {
	for _, p := range c.Periods {
		if p.Profile == c.Profile {
			return p, true
		}
	}
	return calendar.Period{}, false
}

// Open reports whether a person has to do something.
func (c Case) Open() bool {
	for _, t := range c.Tasks {
		if t.Closed.IsZero() {
			return true
		}
	}
	return false
}

// Version is one reading of a case. A later one does not delete an earlier one.
type Version struct {
	N        int            `json:"n"`
	At       time.Time      `json:"at"` // our time: when this became the reading
	State    State          `json:"state"`
	Service  Service        `json:"service"`
	Because  string         `json:"because"`
	Task     TaskCode       `json:"task,omitempty"`      // what it asks of a person
	Receipts []message.ID   `json:"receipts,omitempty"`  // what came at that time
	Corrects int            `json:"corrects,omitempty"`  // number of the version whose service date this one changes
	LastDays []calendar.Day `json:"last_days,omitempty"` // of the periods, in the order of the profiles
}

// AlarmCode names an alarm.
type AlarmCode string

// The alarms.
const (
	AlarmOverdue   AlarmCode = "receipt_overdue"
	AlarmClosing   AlarmCode = "closing_receipt_missing"
	AlarmUnclaimed AlarmCode = "not_collected"
	AlarmExpired   AlarmCode = "expired"
	AlarmRefused   AlarmCode = "refused"
	AlarmFiction   AlarmCode = "fiction_reached"
	AlarmNotServed AlarmCode = "not_served"
	AlarmUndecided AlarmCode = "undecided"
	AlarmMismatch  AlarmCode = "evidence_mismatch"
	AlarmCheck     AlarmCode = "check_delivery"
	AlarmCorrected AlarmCode = "corrected"
	AlarmDeadline  AlarmCode = "deadline_near"
)

// Alarm is something that a person should look at. It ends when what it is
// about has settled, when a person closes it by its code, and, where it only
// informs, when the authority's own file has taken the case over.
type Alarm struct {
	Code  AlarmCode `json:"code"`
	At    time.Time `json:"at"`             // since when
	Until time.Time `json:"until,omitzero"` // when it ends by itself; no time: it does not
	Text  string    `json:"text"`
}

// Attention says in one line what a person should look at; "" for nothing.
func (c Case) Attention() string {
	var texts []string
	for _, a := range c.Alarms {
		if !slices.Contains(texts, a.Text) {
			texts = append(texts, a.Text)
		}
	}
	return strings.Join(texts, "; ")
}

// TaskCode names a task.
type TaskCode string

// The tasks. A person closes them, with a word on how.
const (
	TaskPost     TaskCode = "serve_by_post"
	TaskExpect   TaskCode = "say_whether_expected" // closed by saying it
	TaskReceipt  TaskCode = "ask_platform"
	TaskEvidence TaskCode = "check_evidence"
	TaskDelivery TaskCode = "check_delivery"
)

// TaskCodes lists the tasks.
func TaskCodes() []TaskCode {
	return []TaskCode{TaskPost, TaskExpect, TaskReceipt, TaskEvidence, TaskDelivery}
}

// Task is something that a person must do.
type Task struct {
	Code   TaskCode  `json:"code"`
	Since  time.Time `json:"since"`
	Text   string    `json:"text"`
	Closed time.Time `json:"closed,omitzero"`
	By     string    `json:"by,omitempty"`
	How    string    `json:"how,omitempty"`
}
