package legal_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatewayd/calendar"
	"gatewayd/legal"
	"gatewayd/message"
)

// drawInput makes any mixture of receipts, statements and clock.
func drawInput(t *rapid.T) legal.Input {
	start := time.Date(2026, time.Month(rapid.IntRange(1, 12).Draw(t, "month")), rapid.IntRange(1, 28).Draw(t, "day"), 9, 0, 0, 0, time.UTC)
	in := legal.Input{
		Item:  message.Item{Key: theKey, State: rapid.SampledFrom(message.States()).Draw(t, "state"), Attempts: 1, HandedAt: start},
		Rules: legal.DefaultRules(), Now: start.Add(time.Duration(rapid.IntRange(0, 24*30).Draw(t, "now")) * time.Hour),
	}
	in.Rules.RefusalServes = rapid.Bool().Draw(t, "refusal serves")
	who := legal.Addressee{Identified: rapid.Bool().Draw(t, "identified"), Expects: rapid.SampledFrom([]legal.Answer{legal.Yes, legal.No, legal.Unknown}).Draw(t, "expects"), Calendar: "BL"}
	in.Events = []message.Event{{Seq: 1, At: start, Kind: message.EventHanded, Item: 1, Data: who.Data()}}
	for i := range rapid.IntRange(0, 2).Draw(t, "statements") {
		when := start.Add(time.Duration(rapid.IntRange(1, 500).Draw(t, "said")) * time.Hour)
		data := legal.Statement(rapid.SampledFrom([]legal.Answer{legal.Yes, legal.No}).Draw(t, "answer"), "fuchs", "x")
		e := message.Event{Seq: uint64(i + 2), At: when, Kind: message.EventStated, Item: 1, Data: data}
		if rapid.Bool().Draw(t, "closes") {
			e.Kind, e.Data = message.EventTaskClosed, map[string]string{legal.KeyTask: string(rapid.SampledFrom(legal.TaskCodes()).Draw(t, "task"))}
		}
		in.Events = append(in.Events, e)
	}
	slices.SortStableFunc(in.Events, func(a, b message.Event) int { return a.At.Compare(b.At) })
	for i := range rapid.IntRange(0, 6).Draw(t, "receipts") {
		platform := start.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "hour")) * time.Hour)
		in.Receipts = append(in.Receipts, message.Receipt{
			ID: message.ID{9, byte(i)}, Item: theKey, At: platform, Received: platform.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "late")) * time.Hour),
			Kind: rapid.SampledFrom([]message.ReceiptKind{
				message.Abgabequittung, message.Abgabequittung, message.Bereitstellung, message.Abholquittung, message.Annahmeverweigerung, message.Verfallquittung,
				message.Weitergabe, message.NoticeBlocked, message.NoticeUndelivered, message.UnknownReceipt,
			}).Draw(t, "kind"),
			Verdict:  rapid.SampledFrom([]message.Authenticity{message.Verified, message.Verified, message.Verified, message.Unsigned, message.Forged}).Draw(t, "verdict"),
			Mismatch: rapid.SampledFrom([]string{"", "", "", "", "other"}).Draw(t, "mismatch"),
			Code:     rapid.SampledFrom([]string{"", "", "13"}).Draw(t, "code"),
		})
	}
	return in
}

// TestCaseHolds: what must be true of every case, whatever came.
func TestCaseHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		c := legal.Open(in)
		if c.Binding || !slices.Contains(legal.States(), c.State) || c.Because == "" {
			t.Fatalf("%+v", c)
		}
		checkService(t, in, c)
		checkVersions(t, in, c)
		if !c.Next.IsZero() && !c.Next.After(in.Now) {
			t.Fatalf("next alarm at %s, now is %s", c.Next, in.Now)
		}
		// The order, and repetition, of the receipts make no difference.
		again := in
		again.Receipts = rapid.Permutation(slices.Concat(in.Receipts, in.Receipts)).Draw(t, "order")
		if got := legal.Open(again); got.State != c.State || got.Service != c.Service || len(got.Versions) != len(c.Versions) || got.Expected != c.Expected {
			t.Fatalf("another order gives %s %+v, not %s %+v", got.State, got.Service, c.State, c.Service)
		}
		if !reflect.DeepEqual(legal.Open(in), c) {
			t.Fatal("the same input gives two cases")
		}
	})
}

func proof(in legal.Input, kinds ...message.ReceiptKind) bool {
	return slices.ContainsFunc(in.Receipts, func(r message.Receipt) bool {
		return slices.Contains(kinds, r.Kind) && r.Verdict == message.Verified && !r.Received.After(in.Now)
	})
}

func checkService(t *rapid.T, in legal.Input, c legal.Case) {
	served := c.State == legal.Served || c.State == legal.ServedByFiction
	if served == c.Service.Date.IsZero() || served == (c.Service.Basis == legal.None) || served != (len(c.Periods) > 0) {
		t.Fatalf("%s with service %+v and %d periods", c.State, c.Service, len(c.Periods))
	}
	switch c.Service.Basis {
	case legal.Download:
		if !proof(in, message.Abholquittung) || c.Service.At.IsZero() {
			t.Fatal("served by download without a verified Abholquittung")
		}
	case legal.Refusal:
		if !proof(in, message.Annahmeverweigerung) || !in.Rules.RefusalServes {
			t.Fatal("served by refusal without proof or rule")
		}
	case legal.Fiction:
		if !proof(in, message.Abgabequittung, message.Bereitstellung, message.Weitergabe) || !c.Addressee.Identified || c.Addressee.Expects != legal.Yes {
			t.Fatalf("fiction without proof of availability, identification or expectation: %+v", c.Addressee)
		}
		if day := calendar.DayOf(in.Now); c.Service.Date.After(day) && !proof(in, message.Verfallquittung, message.Abholquittung) {
			t.Fatalf("fiction on %s, today is %s", c.Service.Date, day)
		}
	}
	if c.State == legal.NotServed && !slices.ContainsFunc(c.Tasks, func(k legal.Task) bool { return k.Code == legal.TaskPost }) {
		t.Fatal("not served, and nobody is asked to serve by post")
	}
}

func checkVersions(t *rapid.T, in legal.Input, c legal.Case) {
	for i, v := range c.Versions {
		if v.N != i+1 || v.At.After(in.Now) || i > 0 && !v.At.After(c.Versions[i-1].At) || v.Corrects >= v.N {
			t.Fatalf("version %+v", v)
		}
	}
	if n := len(c.Versions); n > 0 {
		if last := c.Versions[n-1]; last.State != c.State || last.Service != c.Service {
			t.Fatalf("the last version is %s %+v, the case %s %+v", last.State, last.Service, c.State, c.Service)
		}
	}
	// An earlier look saw exactly the versions up to then.
	early := in
	early.Now = in.Now.Add(-50 * time.Hour)
	var want []legal.Version
	for _, v := range c.Versions {
		if !v.At.After(early.Now) {
			want = append(want, v)
		}
	}
	if got := legal.Open(early).Versions; len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
		t.Fatalf("50 hours earlier the versions were %+v, now they say %+v", got, want)
	}
}
