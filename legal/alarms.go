package legal

import (
	"fmt"
	"slices"
	"time"

	"gatewayd/calendar"
	"gatewayd/message"
)

// alarms lists what a person should look at now, the earliest first, and the
// instant at which that may change by itself; no instant when it will not.
func (in Input) alarms(c Case) (now []Alarm, next time.Time) {
	sooner := func(t time.Time) {
		if t.After(in.Now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, a := range slices.Concat(in.overdue(), in.waiting(c), in.received(), in.concluded(c), in.deadline(c)) {
		sooner(a.At)
		if a.At.After(in.Now) || !a.Until.IsZero() && !in.Now.Before(a.Until) {
			continue
		}
		if closed, _, _ := in.closing(string(a.Code), a.At); !closed.IsZero() || a.informs() && !c.HandedOver.IsZero() && !c.HandedOver.Before(a.At) {
			continue
		}
		sooner(a.Until)
		now = append(now, a)
	}
	if over := c.Expected; !over.IsZero() && !c.State.Terminal() {
		sooner(over.End()) // the reading changes then
	}
	slices.SortStableFunc(now, func(a, b Alarm) int { return a.At.Compare(b.At) })
	return now, next
}

// informs reports whether an alarm only tells what has happened.
func (a Alarm) informs() bool {
	switch a.Code {
	case AlarmExpired, AlarmRefused, AlarmFiction, AlarmCorrected:
		return true
	}
	return false
}

// overdue: a receipt that the platform owes has not come.
func (in Input) overdue() []Alarm {
	p := in.proofsAt(in.Now)
	handed := in.Item.HandedAt
	if handed.IsZero() || in.Item.State != message.Handed || p.has(message.Abholquittung, message.Annahmeverweigerung, message.Verfallquittung, message.NoticeBlocked, message.NoticeUndelivered) {
		return nil
	}
	list := []Alarm{{Code: AlarmClosing, At: handed.Add(in.Rules.ClosingWait), Text: "no closing receipt after the collection window: ask the platform"}}
	if !p.has(proving()...) {
		list = append(list, Alarm{Code: AlarmOverdue, At: handed.Add(in.Rules.ReceiptWait), Text: "no Abgabequittung: ask the platform whether it has the message; do not send it again"})
	}
	return list
}

// waiting: the addressee has not collected it yet.
func (in Input) waiting(c Case) []Alarm {
	available, ok := in.proofsAt(in.Now).available()
	if !ok || c.State != Available && c.State != Relayed {
		return nil
	}
	at := calendar.DayOf(available).AddDays(in.Rules.UnclaimedAfter).Start()
	return []Alarm{{Code: AlarmUnclaimed, At: at, Text: fmt.Sprintf("not collected by day %d of %d", in.Rules.UnclaimedAfter, calendar.FictionDays)}}
}

// received: what verified receipts report.
func (in Input) received() []Alarm {
	var list []Alarm
	for _, r := range in.Receipts {
		if r.Item != in.Item.Key || r.Verdict != message.Verified {
			continue
		}
		switch {
		case r.Mismatch != "":
			if !in.closed(TaskEvidence, in.Now) {
				list = append(list, Alarm{Code: AlarmMismatch, At: r.Received, Text: "the platform has receipted something else than was sent: " + r.Mismatch})
			}
		case r.Kind == message.Annahmeverweigerung:
			list = append(list, Alarm{Code: AlarmRefused, At: r.Received, Text: "the addressee has refused it"})
		case r.Kind == message.Verfallquittung:
			list = append(list, Alarm{Code: AlarmExpired, At: r.Received, Text: "not collected: the platform's window is over"})
		}
	}
	return list
}

// concluded: what the versions of the case amount to, and what is left to do.
func (in Input) concluded(c Case) []Alarm {
	var list []Alarm
	for _, v := range c.Versions {
		if v.Corrects > 0 {
			list = append(list, Alarm{Code: AlarmCorrected, At: v.At, Text: fmt.Sprintf("the service date of version %d was corrected: %s", v.Corrects, dateOr(v.Service))})
		}
		if v.State == ServedByFiction && c.State == ServedByFiction && v.Service == c.Service {
			list = append(list, Alarm{Code: AlarmFiction, At: v.At, Text: "counts as served by fiction on " + v.Service.Date.String() + " (not binding)"})
		}
	}
	for _, t := range c.Tasks {
		if !t.Closed.IsZero() {
			continue
		}
		switch t.Code {
		case TaskPost:
			list = append(list, Alarm{Code: AlarmNotServed, At: t.Since, Text: t.Text})
		case TaskExpect, TaskReceipt:
			list = append(list, Alarm{Code: AlarmUndecided, At: t.Since, Text: t.Text})
		case TaskDelivery:
			list = append(list, Alarm{Code: AlarmCheck, At: t.Since, Text: t.Text})
		}
	}
	return list
}

func dateOr(s Service) string {
	if s.Date.IsZero() {
		return "not served"
	}
	return s.Date.String() + " by " + string(s.Basis)
}

// deadline: the period that service has started ends soon.
func (in Input) deadline(c Case) []Alarm {
	p, ok := c.Period()
	if !ok || in.Rules.DeadlineNear <= 0 {
		return nil
	}
	return []Alarm{{
		Code: AlarmDeadline, At: p.Last.AddDays(-in.Rules.DeadlineNear).Start(), Until: p.Last.End(),
		Text: fmt.Sprintf("the period of %d days ends on %s (%s, not binding)", p.Days, p.Last, p.Profile),
	}}
}
