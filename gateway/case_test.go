package gateway_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gatewayd/gateway"
	"gatewayd/gateway/cases"
	"gatewayd/legal"
	"gatewayd/message"
)

const expectingText = `
[[recipient]]
address = "buerger@example.ch"
canton = "BS"
platforms = [{ name = "incamail", identified = true, checked = 2026-11-01 }]
consent = [{ authority = "bau", scope = "all", form = "text", given = 2026-01-05, evidence = "GEVER 4711", expects = true }]
`

func (r *rig) theCase(k message.ItemKey) legal.Case {
	r.t.Helper()
	cases, err := r.g.Cases(context.Background(), k.String())
	if err != nil || len(cases) != 1 {
		r.t.Fatalf("cases of %s: %d, %v", k, len(cases), err)
	}
	return cases[0]
}

// alarms lists the codes of the alarms in the log of a message.
func (r *rig) alarms(id message.ID) string {
	r.t.Helper()
	events, err := r.store.Events(context.Background(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	var codes []string
	for _, e := range events {
		if code := e.Data["alarm"]; code != "" {
			codes = append(codes, code)
		}
	}
	return strings.Join(codes, " ")
}

// TestCaseNeverCollected: the alarms come one after the other, each once, the
// fiction is computed, and nothing is ever sent again.
func TestCaseNeverCollected(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.know(t, expectingText)
	id, item := r.registered() // Monday 23 November, 14:00 in Zurich
	k := key(id, 1)
	r.receives(r.w.receipt(t, "Abgabequittung", item.Reference, "buerger@example.ch"))
	if c := r.theCase(k); c.State != legal.Available || c.Expected.String() != "2026-11-30" || c.Addressee.Consent != "GEVER 4711" || c.Addressee.Calendar != "BS" || c.Addressee.Expects != legal.Yes {
		t.Errorf("%+v", c)
	}
	r.pass(5 * 24 * time.Hour)
	r.until("day 5", func() bool { return r.alarms(id) == "not_collected" })
	if got := r.item(k); !strings.HasPrefix(got.Alarm, "case: not collected") {
		t.Errorf("alarm %q", got.Alarm)
	}
	r.pass(48*time.Hour + time.Minute) // Monday, day 7
	r.receives(r.w.receipt(t, "Verfallquittung", item.Reference, "buerger@example.ch"))
	r.until("expiry and fiction", func() bool { return r.alarms(id) == "not_collected expired fiction_reached" })
	c := r.theCase(k)
	if c.State != legal.ServedByFiction || c.Service.Date.String() != "2026-11-30" || c.Binding {
		t.Errorf("%+v", c)
	}
	if p, ok := c.Period(); !ok || p.Last.String() != "2026-12-10" || p.Calendar != "BS" {
		t.Errorf("period %+v", p)
	}
	r.pass(6*24*time.Hour + 12*time.Hour)
	r.until("the end is near", func() bool { return strings.HasSuffix(r.alarms(id), " deadline_near") })
	if got := r.item(k); got.State != message.Done || !strings.Contains(got.Alarm, "ends on 2026-12-10") {
		t.Errorf("item %s, alarm %q", got.State, got.Alarm)
	}
	r.pass(5 * 24 * time.Hour)
	r.until("the period is over", func() bool { return !strings.Contains(r.item(k).Alarm, "ends on") })
	if got := r.item(k); !got.NextTry.IsZero() {
		t.Errorf("wants attention again at %s", got.NextTry)
	}
	if n := len(r.w.links["incamail"].seen()); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
}

// TestCaseCorrected: a receipt that comes late replaces the fiction by a new
// version; both can be seen.
func TestCaseCorrected(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.know(t, expectingText)
	id, item := r.registered()
	k := key(id, 1)
	r.receives(r.w.receipt(t, "Abgabequittung", item.Reference, "buerger@example.ch"))
	r.pass(3 * 24 * time.Hour)
	collected := r.w.receipt(t, "Abholquittung", item.Reference, "buerger@example.ch")
	r.pass(6 * 24 * time.Hour)
	r.until("the fiction", func() bool { return strings.Contains(r.alarms(id), "fiction_reached") })
	r.receives(collected)
	r.until("the correction", func() bool { return strings.Contains(r.alarms(id), "corrected") })
	c := r.theCase(k)
	if c.State != legal.Served || c.Service.Date.String() != "2026-11-26" || len(c.Versions) != 3 || c.Versions[1].State != legal.ServedByFiction || c.Versions[2].Corrects != 2 {
		t.Errorf("%s %+v %+v", c.State, c.Service, c.Versions)
	}
	if got := r.item(k); got.State != message.Done || got.Case != message.CaseCollected || !strings.Contains(got.Alarm, "corrected: 2026-11-26 by download") {
		t.Errorf("item %+v", got)
	}
	// The authority's file takes it over: what only informs is over.
	p := gateway.NewPrograms(r.g)
	if _, err := p.HandOver(context.Background(), "bau", id, message.Filing{Disposition: message.HandedOverGEVER, Ref: "BIT-2026-1", By: "fachapplikation"}); err != nil {
		t.Fatal(err)
	}
	r.until("no alarm", func() bool { return r.item(k).Alarm == "" })
}

// TestCaseAsksAPerson: what only people know is asked, and what they say counts
// and stands in the log.
func TestCaseAsksAPerson(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	id, item := r.registered() // this directory does not say what the party expects
	k := key(id, 1)
	ctx := context.Background()
	r.receives(r.w.receipt(t, "Abgabequittung", item.Reference, "buerger@example.ch"))
	r.pass(7*24*time.Hour + time.Minute)
	r.receives(r.w.receipt(t, "Verfallquittung", item.Reference, "buerger@example.ch"))
	r.until("the question", func() bool { return strings.HasSuffix(r.alarms(id), "undecided") })
	if c := r.theCase(k); c.State != legal.Undecided || !c.Open() {
		t.Fatalf("%+v", c)
	}
	for _, err := range []error{
		r.g.SayExpected(ctx, k, "perhaps", "x"), r.g.SayExpected(ctx, k, legal.No, " "), r.g.CloseTask(ctx, k, string(legal.TaskPost), "x"),
		r.g.CloseTask(ctx, k, string(legal.TaskExpect), "x"), r.g.SayExpected(ctx, key(id, 2), legal.No, "x"),
	} {
		if err == nil {
			t.Error("nonsense was taken")
		}
	}
	if err := r.g.SayExpected(ctx, k, legal.No, "kein Verfahren hängig"); err != nil {
		t.Fatal(err)
	}
	r.until("the task", func() bool { return strings.HasSuffix(r.alarms(id), "not_served") })
	if c := r.theCase(k); c.State != legal.NotServed || c.Addressee.SaidWhy != "kein Verfahren hängig" {
		t.Errorf("%+v", c)
	}
	if err := r.g.CloseTask(ctx, k, string(legal.TaskPost), "eingeschrieben am 2. Dezember"); err != nil {
		t.Fatal(err)
	}
	r.until("no open task", func() bool { return !strings.Contains(r.item(k).Alarm, "by post") })
	c := r.theCase(k)
	if c.Open() || r.events(id, message.EventTaskClosed) != 1 || r.events(id, message.EventStated) != 1 {
		t.Errorf("%+v", c.Tasks)
	}
	if err := r.g.CloseTask(ctx, k, string(legal.TaskPost), "again"); !errors.Is(err, cases.ErrNoTask) {
		t.Errorf("closed twice: %v", err)
	}
	plain := r.send("Auskunft", "a@example.net")
	r.becomes(plain, message.Done)
	if err := r.g.SayExpected(ctx, key(plain, 1), legal.Yes, "x"); !errors.Is(err, cases.ErrNoCase) {
		t.Errorf("an ordinary mail: %v", err)
	}
	if cases, err := r.g.Cases(ctx, plain.String()); err != nil || len(cases) != 0 {
		t.Errorf("an ordinary mail has %d cases, %v", len(cases), err)
	}
}

// TestCaseAlarmsBesideOthers: a case leaves the alarms of others alone.
func TestCaseAlarmsBesideOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.know(t, expectingText)
	id, item := r.registered()
	k := key(id, 1)
	r.receives(r.w.receipt(t, "Abgabequittung", item.Reference, "buerger@example.ch"))
	forged := strings.Replace(r.w.receipt(t, "Abholquittung", item.Reference, "buerger@example.ch"), "JVBERi0xLj", "JVBERi0xLk", 1)
	r.receives(forged)
	r.until("the alarm about the seal", func() bool { return strings.HasPrefix(r.item(k).Alarm, "receipts: ") })
	r.pass(5 * 24 * time.Hour)
	r.until("both", func() bool {
		a := r.item(k).Alarm
		return strings.HasPrefix(a, "receipts: ") && strings.Contains(a, " | case: not collected")
	})
	if c := r.theCase(k); c.State != legal.Available {
		t.Errorf("a forged receipt moved the case to %s", c.State)
	}
}
