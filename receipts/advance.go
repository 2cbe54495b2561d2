package receipts

import (
	"slices"
	"strings"
	"time"

	"gatewayd/message"
)

// alarmOwner is who writes the alarms of Advance, so that it can take back its
// own and leave those of others (message.WithAlarm).
const alarmOwner = "receipts"

// Advance computes where an item stands from all its receipts, and says in
// words what changed. It is pure; the same set of receipts gives the same case
// in any order, and repeating it changes nothing. The case rests on verified
// receipts only and never goes backwards; of receipts that contradict each
// other the one in favour of service counts, with an alarm. Everything else
// may raise an alarm and closes nothing.
//
// A verified receipt proves that the platform has the message: an item that is
// held or unclear, or waits for another attempt, becomes Handed and is not sent
// again. A Handed one becomes Done when the case is closed or nothing more is
// owed, and Refused on a verified notice that it could not be delivered. An
// open attempt (Sending) is left to the one who made it, and an item that has
// ended keeps its state. NextTry is cleared when the platform has receipted.
func Advance(item message.Item, rs []message.Receipt) (message.Item, []string) {
	next := item
	e := weigh(item.Key, rs)
	if e.proof {
		advanceCase(&next, e)
		advanceState(&next, e)
	}
	setAlarm(&next, item, e)
	return next, changes(item, next)
}

// evidence is what an item's receipts amount to.
type evidence struct {
	proof    bool                            // a verified one exists
	earliest time.Time                       // the platform's time of the first verified one
	at       map[message.CaseState]time.Time // verified: case state → earliest time
	kinds    map[message.ReceiptKind]bool    // verified kinds
	weak     map[message.ReceiptKind]bool    // kinds that came unsigned or untrusted
	forged   bool
	codes    map[string]bool // verified dt codes
	mismatch string          // how a verified one differs from what was sent; it moves nothing
}

// weigh sorts the receipts of an item; its result is a set, so order and
// repetition do not matter.
func weigh(key message.ItemKey, rs []message.Receipt) evidence {
	e := evidence{
		at: map[message.CaseState]time.Time{}, kinds: map[message.ReceiptKind]bool{},
		weak: map[message.ReceiptKind]bool{}, codes: map[string]bool{},
	}
	for _, r := range rs {
		switch {
		case r.Item != key:
		case r.Verdict == message.Forged:
			e.forged = true
		case r.Verdict != message.Verified:
			e.weak[r.Kind] = true
		case r.Mismatch != "":
			e.mismatch = max(e.mismatch, r.Mismatch)
		default:
			e.kinds[r.Kind], e.codes[r.Code] = true, true
			c := caseOf(r.Kind)
			if c == message.CaseNone {
				continue
			}
			e.at[c] = earlier(e.at[c], r.At)
			e.earliest = earlier(e.earliest, r.At)
			e.proof = true
		}
	}
	return e
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// caseOf says what a verified receipt of the kind makes of the case.
func caseOf(k message.ReceiptKind) message.CaseState {
	switch k {
	case message.Abgabequittung, message.ArchiveCopy, message.Weitergabe:
		return message.CaseSubmitted // handed to the other platform is not an end
	case message.Bereitstellung:
		return message.CaseAvailable
	case message.Abholquittung:
		return message.CaseCollected
	case message.Annahmeverweigerung:
		return message.CaseRefused
	case message.Verfallquittung:
		return message.CaseExpired
	case message.NoticeBlocked:
		return message.CaseBlocked
	case message.NoticeUndelivered:
		return message.CaseUndelivered
	}
	return message.CaseNone
}

// rank orders the case states: a case only ever moves up. Collected stands
// highest: an Abholquittung that comes late replaces an expiry (law.md § 9).
func rank(c message.CaseState) int {
	return slices.Index([]message.CaseState{
		message.CaseNone, message.CaseOverdue, message.CaseSubmitted, message.CaseAvailable, message.CaseBlocked,
		message.CaseUndelivered, message.CaseExpired, message.CaseRefused, message.CaseCollected,
	}, c)
}

func advanceCase(item *message.Item, e evidence) {
	for c, at := range e.at {
		switch {
		case rank(c) > rank(item.Case):
			item.Case, item.CaseAt = c, at
		case c == item.Case:
			item.CaseAt = earlier(item.CaseAt, at)
		}
	}
}

func advanceState(item *message.Item, e evidence) {
	switch item.State {
	case message.Unclear, message.Held, message.Handed:
	case message.Waiting:
		if item.Attempts == 0 {
			return // it never left: the receipt is about something else
		}
	default:
		return
	}
	item.NextTry = time.Time{}
	if item.HandedAt.IsZero() {
		item.HandedAt = e.earliest
	}
	switch {
	case item.Case == message.CaseBlocked || item.Case == message.CaseUndelivered:
		item.State = message.Refused
	case item.Case.Closed() || nothingOwed(item.Decision.Owed, e):
		item.State = message.Done
	default:
		item.State = message.Handed
	}
}

// nothingOwed reports whether every promised receipt has come, verified.
func nothingOwed(owed []message.ReceiptKind, e evidence) bool {
	for _, k := range owed {
		if !e.kinds[k] && !(k == message.Abgabequittung && e.kinds[message.ArchiveCopy]) {
			return false
		}
	}
	return true
}

// setAlarm writes what a person should look at because of the receipts, or
// takes back what has settled. Alarms of others, such as the overdue one, end
// when verified receipts move the item; who still has something to say will say
// it again.
func setAlarm(next *message.Item, before message.Item, e evidence) {
	if next.Case != before.Case || next.State != before.State {
		next.Alarm = ""
	}
	next.Alarm = message.WithAlarm(next.Alarm, alarmOwner, alarm(*next, e))
}

// alarm tells the gravest first; "" if there is nothing to look at.
func alarm(item message.Item, e evidence) string {
	var texts []string
	add := func(when bool, text string) {
		if when {
			texts = append(texts, text)
		}
	}
	add(e.mismatch != "", "the platform has receipted something else than was sent: "+e.mismatch)
	add(e.forged, "one came whose seal is broken; it is kept and does not count")
	add(closings(e) > 1, "verified ones contradict each other; the case shows the one in favour of service")
	add(e.proof && endedBadly(item), "the platform has receipted a message that is recorded as not sent")
	add(e.proof && item.State == message.Waiting, "a verified one came for a message that has not left yet")
	add(e.codes["13"], "the platform delivered outside of itself; a person must check")
	add(e.kinds[message.UnknownReceipt] || e.weak[message.UnknownReceipt], "one came that says nothing we know")
	for _, k := range []message.ReceiptKind{
		message.Abholquittung, message.Annahmeverweigerung, message.Verfallquittung, message.NoticeUndelivered,
		message.NoticeBlocked, message.Bereitstellung, message.Abgabequittung, message.ArchiveCopy, message.Weitergabe,
	} {
		add(e.weak[k] && !settled(k, e), "one that cannot be verified says "+string(k)+"; it closes nothing")
	}
	return strings.Join(texts, "; ")
}

// settled reports whether verified receipts make an unverified one of the kind
// uninteresting: they say as much, or the case has closed.
func settled(k message.ReceiptKind, e evidence) bool {
	for c := range e.at {
		if rank(c) >= rank(caseOf(k)) || c.Closed() {
			return true
		}
	}
	return false
}

// closings counts the different ends that verified receipts state.
func closings(e evidence) int {
	n := 0
	for c := range e.at {
		if c.Closed() {
			n++
		}
	}
	return n
}

func endedBadly(item message.Item) bool {
	switch item.State {
	case message.Refused:
		return item.Case != message.CaseBlocked && item.Case != message.CaseUndelivered
	case message.Dropped:
		return true
	}
	return false
}

// changes says in words what is new.
func changes(before, after message.Item) []string {
	var list []string
	if before.Case != after.Case {
		list = append(list, "case "+named(string(before.Case))+" → "+string(after.Case))
	}
	if before.State != after.State {
		list = append(list, "state "+string(before.State)+" → "+string(after.State))
	}
	if before.Alarm != after.Alarm && after.Alarm != "" {
		list = append(list, "alarm: "+after.Alarm)
	}
	return list
}

func named(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
