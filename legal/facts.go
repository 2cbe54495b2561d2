package legal

import (
	"time"

	"gatewayd/calendar"
	"gatewayd/message"
)

// Answer is what is known about something that only people know.
type Answer string

// The answers; the zero Answer means that nobody has said.
const (
	Unknown Answer = ""
	Yes     Answer = "yes"
	No      Answer = "no"
)

// Addressee is what the case rests on beside receipts: the directory as it was
// when the item was handed over, and what a person said since.
type Addressee struct {
	Identified bool   `json:"identified"`         // the platform has identified the person (VeÜ-ZSSV Art. 9, 11)
	Checked    string `json:"checked,omitempty"`  // day on which the registration was looked up
	Expects    Answer `json:"expects,omitempty"`  // whether the party had to expect mail (ZPO Art. 138 para. 3 lit. a)
	Calendar   string `json:"calendar"`           // canton of the party or its representative (VwVG Art. 20 para. 3)
	Consent    string `json:"consent,omitempty"`  // where the proof of consent is
	AsOf       string `json:"as_of,omitempty"`    // instant of the look-up, RFC 3339
	SaidBy     string `json:"said_by,omitempty"`  // who said what Expects says, if not the directory
	SaidWhy    string `json:"said_why,omitempty"` // and why
}

// Keys of the data of an event that carries what the directory said.
const (
	keyIdentified = "identified"
	keyChecked    = "identified_checked"
	keyExpects    = "expects"
	keyCalendar   = "calendar"
	keyConsent    = "consent"
)

// Keys of the data of message.EventStated and message.EventTaskClosed.
const (
	KeyTask   = "task"
	KeyBy     = "by"
	KeyReason = "reason"
)

// Data returns the addressee as data of an event: of the decision, of the
// hand-over, of a person's statement (only what it states).
func (a Addressee) Data() map[string]string {
	data := map[string]string{keyIdentified: string(No), keyChecked: a.Checked, keyExpects: string(a.Expects), keyCalendar: a.Calendar, keyConsent: a.Consent}
	if a.Identified {
		data[keyIdentified] = string(Yes)
	}
	return data
}

// Statement returns the data of message.EventStated: a person's word on whether
// the party had to expect mail.
func Statement(a Answer, by, why string) map[string]string {
	return map[string]string{keyExpects: string(a), KeyBy: by, KeyReason: why, KeyTask: string(TaskExpect)}
}

// addressee reads from the events of an item what was known at an instant.
func addressee(events []message.Event, n int, calendarID string, at time.Time) Addressee {
	a := Addressee{Calendar: calendarID}
	for _, e := range events {
		if e.Item != n || e.At.After(at) {
			continue
		}
		switch v, told := e.Data[keyIdentified]; {
		case e.Kind == message.EventStated && e.Data[keyExpects] != "":
			a.Expects, a.SaidBy, a.SaidWhy = Answer(e.Data[keyExpects]), e.Data[KeyBy], e.Data[KeyReason]
		case told:
			a.Identified, a.Checked, a.Consent, a.AsOf = v == string(Yes), e.Data[keyChecked], e.Data[keyConsent], e.At.Format(time.RFC3339)
			if a.SaidBy == "" {
				a.Expects = Answer(e.Data[keyExpects])
			}
			if _, err := calendar.For(e.Data[keyCalendar]); err == nil {
				a.Calendar = e.Data[keyCalendar]
			}
		}
	}
	return a
}
