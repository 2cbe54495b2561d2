package receipts

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatewayd/message"
)

var theKey = message.ItemKey{Message: message.ID{1}, N: 1}

func receipt(k message.ReceiptKind, v message.Authenticity, minute int) message.Receipt {
	return message.Receipt{Item: theKey, Kind: k, Verdict: v, Platform: "incamail", At: testDay.Add(time.Duration(minute) * time.Minute)}
}

func verified(kinds ...message.ReceiptKind) []message.Receipt {
	var list []message.Receipt
	for i, k := range kinds {
		list = append(list, receipt(k, message.Verified, i))
	}
	return list
}

func testItem(s message.State) message.Item {
	return message.Item{
		Key: theKey, State: s, Attempts: 1, NextTry: testDay, EraseBy: testDay.AddDate(0, 2, 0),
		Decision: message.Decision{Class: message.Registered, Owed: []message.ReceiptKind{message.Abgabequittung, message.Abholquittung}},
	}
}

func TestAdvance(t *testing.T) {
	weak := func(k message.ReceiptKind) []message.Receipt {
		return []message.Receipt{receipt(k, message.Unsigned, 0)}
	}
	other := func(k message.ReceiptKind) []message.Receipt {
		r := receipt(k, message.Verified, 0)
		r.Mismatch = "another body"
		return []message.Receipt{r}
	}
	tests := []struct {
		name  string
		state message.State
		rs    []message.Receipt
		want  message.State
		c     message.CaseState
		alarm bool
	}{
		{"nothing", message.Handed, nil, message.Handed, message.CaseNone, false},
		{"submitted", message.Handed, verified(message.Abgabequittung), message.Handed, message.CaseSubmitted, false},
		{"available", message.Handed, verified(message.Abgabequittung, message.Bereitstellung), message.Handed, message.CaseAvailable, false},
		{"archive copy", message.Handed, verified(message.ArchiveCopy), message.Handed, message.CaseSubmitted, false},
		{"handed to the other platform", message.Handed, verified(message.Abgabequittung, message.Weitergabe), message.Handed, message.CaseSubmitted, false},
		{"collected", message.Handed, verified(message.Abgabequittung, message.Abholquittung), message.Done, message.CaseCollected, false},
		{"collected, first receipt lost", message.Handed, verified(message.Abholquittung), message.Done, message.CaseCollected, false},
		{"refused by the addressee", message.Handed, verified(message.Annahmeverweigerung), message.Done, message.CaseRefused, false},
		{"expired", message.Handed, verified(message.Verfallquittung), message.Done, message.CaseExpired, false},
		{"blocked", message.Handed, verified(message.NoticeBlocked), message.Refused, message.CaseBlocked, false},
		{"undelivered", message.Handed, verified(message.Abgabequittung, message.NoticeUndelivered), message.Refused, message.CaseUndelivered, false},
		{"collected, but something else", message.Handed, other(message.Abholquittung), message.Handed, message.CaseNone, true},
		{"unsigned notice", message.Handed, weak(message.NoticeBlocked), message.Handed, message.CaseNone, true},
		{"unsigned collected", message.Handed, weak(message.Abholquittung), message.Handed, message.CaseNone, true},
		{"untrusted", message.Handed, []message.Receipt{receipt(message.Abholquittung, message.Untrusted, 0)}, message.Handed, message.CaseNone, true},
		{"forged", message.Handed, []message.Receipt{receipt(message.Abholquittung, message.Forged, 0)}, message.Handed, message.CaseNone, true},
		{"forged beside a good one", message.Handed, append(verified(message.Abholquittung), receipt(message.Verfallquittung, message.Forged, 0)), message.Done, message.CaseCollected, true},
		{"unsigned settled by a verified one", message.Handed, append(verified(message.Abholquittung), weak(message.NoticeUndelivered)...), message.Done, message.CaseCollected, false},
		{"unknown kind", message.Handed, verified(message.UnknownReceipt), message.Handed, message.CaseNone, true},
		{"contradiction", message.Handed, verified(message.Verfallquittung, message.Abholquittung), message.Done, message.CaseCollected, true},
		{"unclear, arrived", message.Unclear, verified(message.Abgabequittung), message.Handed, message.CaseSubmitted, false},
		{"unclear, collected", message.Unclear, verified(message.Abholquittung), message.Done, message.CaseCollected, false},
		{"unclear, blocked", message.Unclear, verified(message.NoticeBlocked), message.Refused, message.CaseBlocked, false},
		{"unclear, unsigned", message.Unclear, weak(message.Abgabequittung), message.Unclear, message.CaseNone, true},
		{"held, arrived", message.Held, verified(message.Abgabequittung), message.Handed, message.CaseSubmitted, false},
		{"waiting for a second try, arrived", message.Waiting, verified(message.Abgabequittung), message.Handed, message.CaseSubmitted, false},
		{"open attempt", message.Sending, verified(message.Abgabequittung, message.Abholquittung), message.Sending, message.CaseCollected, false},
		{"late, after expiry", message.Expired, verified(message.Abholquittung), message.Expired, message.CaseCollected, false},
		{"recorded as not sent", message.Refused, verified(message.Abgabequittung), message.Refused, message.CaseSubmitted, true},
		{"dropped", message.Dropped, verified(message.Abgabequittung), message.Dropped, message.CaseSubmitted, true},
		{"another item's", message.Handed, []message.Receipt{{Kind: message.Abholquittung, Verdict: message.Verified}}, message.Handed, message.CaseNone, false},
	}
	for _, tt := range tests {
		got, changed := Advance(testItem(tt.state), tt.rs)
		if got.State != tt.want || got.Case != tt.c || (got.Alarm != "") != tt.alarm {
			t.Errorf("%s: state %s, case %q, alarm %q", tt.name, got.State, got.Case, got.Alarm)
		}
		if same := reflect.DeepEqual(got, testItem(tt.state)); same != (len(changed) == 0) {
			t.Errorf("%s: changes %q", tt.name, changed)
		}
	}
}

func TestAdvanceDetails(t *testing.T) {
	item := testItem(message.Unclear)
	item.Case, item.CaseAt, item.Alarm = message.CaseOverdue, testDay, "no Abgabequittung after 15 minutes"
	got, changed := Advance(item, verified(message.Abgabequittung))
	if got.Case != message.CaseSubmitted || got.Alarm != "" || !got.NextTry.IsZero() || !got.HandedAt.Equal(testDay) || !got.CaseAt.Equal(testDay) {
		t.Errorf("overdue: %+v", got)
	}
	if text := strings.Join(changed, "; "); text != "case receipt_overdue → submitted; state unclear → handed" {
		t.Errorf("changes %q", text)
	}
	never := testItem(message.Waiting)
	never.Attempts = 0
	if got, _ := Advance(never, verified(message.Abgabequittung)); got.State != message.Waiting || got.Alarm == "" {
		t.Errorf("never left: %s, alarm %q", got.State, got.Alarm)
	}
	only := testItem(message.Handed)
	only.Decision.Owed = []message.ReceiptKind{message.Abgabequittung}
	if got, _ := Advance(only, verified(message.ArchiveCopy)); got.State != message.Done {
		t.Errorf("nothing more owed: %s", got.State)
	}
	foreign := testItem(message.Handed)
	foreign.Alarm = "somebody else's"
	if got, _ := Advance(foreign, nil); got.Alarm != foreign.Alarm {
		t.Errorf("alarm %q", got.Alarm)
	}
	twice := []message.Receipt{receipt(message.Abholquittung, message.Verified, 9), receipt(message.Abholquittung, message.Verified, 3)}
	if got, _ := Advance(testItem(message.Handed), twice); !got.CaseAt.Equal(testDay.Add(3 * time.Minute)) {
		t.Errorf("case at %s", got.CaseAt)
	}
}

func drawReceipts(t *rapid.T) []message.Receipt {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) message.Receipt {
		r := receipt(
			rapid.SampledFrom([]message.ReceiptKind{
				message.Abgabequittung, message.Bereitstellung, message.Abholquittung, message.Annahmeverweigerung, message.Verfallquittung, message.Weitergabe,
				message.NoticeBlocked, message.NoticeUndelivered, message.ArchiveCopy, message.UnknownReceipt,
			}).Draw(t, "kind"),
			rapid.SampledFrom([]message.Authenticity{message.Verified, message.Verified, message.Unsigned, message.Untrusted, message.Forged}).Draw(t, "verdict"),
			rapid.IntRange(0, 5).Draw(t, "minute"))
		r.Code = rapid.SampledFrom([]string{"", "13", "0"}).Draw(t, "code")
		return r
	}), 0, 7).Draw(t, "receipts")
}

// Any order, repetition and slicing of the same receipts gives the same case;
// the way there uses allowed transitions only, and never goes backwards.
func TestAdvanceOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := testItem(rapid.SampledFrom(message.States()).Draw(t, "state"))
		start.Case = rapid.SampledFrom([]message.CaseState{message.CaseNone, message.CaseOverdue, message.CaseSubmitted}).Draw(t, "case")
		if start.Case == message.CaseOverdue {
			start.Alarm = "overdue"
		}
		rs := drawReceipts(t)
		want, _ := Advance(start, rs)

		order := rapid.Permutation(append(append([]message.Receipt{}, rs...), rs...)).Draw(t, "order")
		got := start
		for i := range order {
			before := got
			got, _ = Advance(got, order[:i+1])
			if rank(got.Case) < rank(before.Case) {
				t.Fatalf("case goes back from %s to %s", before.Case, got.Case)
			}
			if !before.State.MayBecome(got.State) {
				t.Fatalf("state %s → %s is not in the table", before.State, got.State)
			}
			if again, changed := Advance(got, order[:i+1]); !reflect.DeepEqual(again, got) || len(changed) != 0 {
				t.Fatalf("not idempotent: %+v then %+v, %q", got, again, changed)
			}
		}
		if got.Case != want.Case || !got.CaseAt.Equal(want.CaseAt) {
			t.Fatalf("case %s at %s, all at once %s at %s", got.Case, got.CaseAt, want.Case, want.CaseAt)
		}
		if closings(weigh(theKey, rs)) <= 1 && (got.State != want.State || got.Alarm != want.Alarm) {
			t.Fatalf("state %s, alarm %q; all at once %s, %q", got.State, got.Alarm, want.State, want.Alarm)
		}
		closed := false
		for _, r := range rs {
			closed = closed || r.Verdict == message.Verified && caseOf(r.Kind).Closed()
		}
		if got.Case.Closed() != closed {
			t.Fatalf("case %s without a verified closing receipt", got.Case)
		}
	})
}
