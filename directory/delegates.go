package directory

import (
	"slices"
	"time"

	"gatewayd/calendar"
)

// Delegate may act for an authority that is not its own, on the days named: a
// substitute during an absence, a shared secretariat. Forwarding mail to another
// person is forbidden (Benutzungsreglement BL § 10); a delegate goes to the mail
// instead, and every act stands in the audit log under its own name.
type Delegate struct {
	Authority string // whose mailbox
	Account   string // of the submission port; or
	Token     string // of the HTTP API
	May       []Right
	From      time.Time // beginning of the first local day
	Until     time.Time // end of the last local day; zero: until the entry goes
	Reason    string
}

// at reports whether the entry holds at an instant.
func (d Delegate) at(now time.Time) bool {
	return !now.Before(d.From) && (d.Until.IsZero() || now.Before(d.Until))
}

// AccountActs reports whether an account may send for an authority that is not
// its own, now.
func (d *Directory) AccountActs(account, authority string, now time.Time) bool {
	return account != "" && d != nil && slices.ContainsFunc(d.delegates, func(e Delegate) bool {
		return e.Account == account && e.Authority == authority && slices.Contains(e.May, RightSend) && e.at(now)
	})
}

// TokenActs returns what a token may do for an authority that is not its own,
// now.
func (d *Directory) TokenActs(token, authority string, now time.Time) []Right {
	var may []Right
	if d == nil || token == "" {
		return nil
	}
	for _, e := range d.delegates {
		if e.Token == token && e.Authority == authority && e.at(now) {
			may = append(may, e.May...)
		}
	}
	return may
}

// Delegates returns every entry, for checks and lists.
func (d *Directory) Delegates() []Delegate {
	if d == nil {
		return nil
	}
	return slices.Clone(d.delegates)
}

// delegate reads one entry.
func (r *reader) delegate(d *Directory, v *value) {
	var e Delegate
	before := len(r.problems)
	r.fill("a delegate", v, map[string]field{
		"authority": {aText, true, word(&e.Authority)},
		"account":   {aText, false, word(&e.Account)},
		"token":     {aText, false, word(&e.Token)},
		"may":       {aList, true, rights(&e.May)},
		"from":      {aDate, true, day(&e.From)},
		"until":     {aDate, false, dayEnd(&e.Until)},
		"reason":    {aText, true, words(&e.Reason)},
	})
	switch {
	case len(r.problems) > before:
		return
	case (e.Account == "") == (e.Token == ""):
		r.add(v.line, v.column, "a delegate has either an account (submission port) or a token (HTTP API)")
	case e.Account != "" && (len(e.May) != 1 || e.May[0] != RightSend):
		r.add(v.line, v.column, `an account may only "send"; reading needs a token of the HTTP API`)
	case !e.Until.IsZero() && !e.Until.After(e.From):
		r.add(v.line, v.column, "ends before it begins")
	}
	d.delegates = append(d.delegates, e)
}

func rights(to *[]Right) func(*value) string {
	return func(v *value) string {
		for _, w := range v.list {
			right := Right(w.text)
			if w.kind != aText || !slices.Contains(Rights(), right) || slices.Contains(*to, right) {
				return `must list "send", "read" or "handover", each once`
			}
			*to = append(*to, right)
		}
		if len(*to) == 0 {
			return "is empty"
		}
		return ""
	}
}

func word(to *string) func(*value) string {
	return func(v *value) string {
		if !isName(v.text) {
			return "must be a name without spaces"
		}
		*to = v.text
		return ""
	}
}

// dayEnd reads a date as the end of that legal day.
func dayEnd(to *time.Time) func(*value) string {
	return func(v *value) string {
		d, err := calendar.ParseDay(v.text)
		if err != nil {
			return "is no date that exists"
		}
		*to = d.End()
		return ""
	}
}
