package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatewayd/connectors"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/retention"
)

// TestBackoffUntilGiveUp: waits double, the longest is kept, the last attempt
// is not later than the give-up time, and the sender gets one DSN.
func TestBackoffUntilGiveUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.links["smtp"].fails(errLater)
	start := r.w.time()
	id := r.send("Auskunft", "a@example.net")
	var waits []time.Duration
	for n := 1; ; n++ {
		var item message.Item
		r.until(fmt.Sprintf("attempt %d", n), func() bool {
			item = r.item(key(id, 1))
			return item.Attempts == n && item.State != message.Sending
		})
		if item.State == message.Refused {
			break
		}
		wait := item.NextTry.Sub(r.w.time())
		waits = append(waits, wait)
		r.pass(wait)
	}
	for i, w := range waits[:6] {
		if want := min(time.Minute<<i, 30*time.Minute); w < want*9/10 || w > want*11/10 {
			t.Errorf("wait %d is %s, want about %s", i+1, w, want)
		}
	}
	if took := r.w.time().Sub(start); took != 4*time.Hour {
		t.Errorf("given up after %s, want 4h", took)
	}
	n := r.told(key(id, 1), 1)[0].text
	for _, want := range []string{"Action: failed", "450 4.2.1 later", "aufgegeben nach 4h0m0s", "given up after"} {
		if !strings.Contains(strings.ReplaceAll(n, "=\r\n", ""), want) {
			t.Errorf("the DSN lacks %q:\n%s", want, n)
		}
	}
	if got := r.events(id, message.EventRetry); got != len(waits) {
		t.Errorf("%d retry events, want %d", got, len(waits))
	}
}

// TestReportGoesWithItsMessage: a report that quotes a subject must be gone on
// the day of that message; too late for that, it quotes nothing and stays as
// long as any other text.
func TestReportGoesWithItsMessage(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	own := func(id message.ID) (message.Envelope, message.Item) {
		for _, item := range r.list(queue.Query{Authority: "bau"}) {
			if env, _, err := r.store.Message(context.Background(), item.Key.Message); err != nil {
				t.Fatal(err)
			} else if env.About == key(id, 1) {
				return env, item
			}
		}
		t.Fatal("no report")
		return message.Envelope{}, message.Item{}
	}
	r.w.links["smtp"].fails(errLater)
	late := r.send("Geplanter Betreff zwei", "a@example.net")
	r.until("an attempt", func() bool { i := r.item(key(late, 1)); return i.State == message.Waiting && i.Attempts == 1 })
	r.w.links["smtp"].fails(errNever)
	early := r.send("Geplanter Betreff eins", "b@example.net")
	r.becomes(early, message.Refused)
	if n := r.told(key(early, 1), 1)[0].text; !strings.Contains(n, "Geplanter Betreff eins") {
		t.Errorf("the report quotes no subject:\n%s", n)
	}
	about, _, err := r.store.Message(context.Background(), early)
	if env, item := own(early); err != nil || env.EraseDay != about.EraseDay || !item.EraseBy.Equal(r.item(key(early, 1)).EraseBy) {
		t.Errorf("%v: the report goes on %s, its message on %s", err, env.EraseDay, about.EraseDay)
	}
	r.pass(50 * 24 * time.Hour) // eleven days before its message must be gone
	r.becomes(late, message.Refused)
	if n := r.told(key(late, 1), 1)[0].text; strings.Contains(n, "Betreff zwei") {
		t.Errorf("the late report quotes the subject:\n%s", n)
	}
	if env, item := own(late); env.EraseDay != retention.Default().ContentDay(r.w.time()).String() || !item.EraseBy.After(r.item(key(late, 1)).EraseBy) {
		t.Errorf("the late report goes on %s", env.EraseDay)
	}
}

func TestPermanent(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.links["smtp"].fails(errNever)
	id := r.send("Auskunft", "a@example.net")
	r.becomes(id, message.Refused)
	r.told(key(id, 1), 1)
	if n := len(r.w.links["smtp"].seen()); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
}

// TestUnclearNormal: once more with what it had, then a person decides; the
// sender is told once.
func TestUnclearNormal(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.links["smtp"].fails(errUnclear)
	id := r.send("Auskunft", "a@example.net")
	if item := r.becomes(id, message.Unclear); item.SentAs == "" {
		t.Error("the Message-ID that may have left is not recorded")
	}
	r.pass(2 * time.Minute)
	r.until("the second attempt", func() bool { i := r.item(key(id, 1)); return i.State == message.Unclear && i.Unclears == 2 })
	r.pass(3 * time.Minute)
	item := r.becomes(id, message.Held)
	if item.Alarm == "" || !item.NextTry.IsZero() {
		t.Errorf("no task for a person, or it would go back by itself: %+v", item)
	}
	r.pass(30 * 24 * time.Hour)
	r.stays()
	if n := len(r.w.links["smtp"].seen()); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
	if n := r.told(key(id, 1), 1)[0].text; !strings.Contains(n, "unclear") {
		t.Errorf("notice:\n%s", n)
	}
	r.becomes(id, message.Held)
}

// TestUnclearRegistered: never again by itself.
func TestUnclearRegistered(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.links["incamail"].fails(errUnclear)
	id := r.send("[einschreiben] Entscheid", "buerger@example.ch")
	r.becomes(id, message.Unclear)
	r.pass(14 * time.Minute)
	r.stays()
	r.becomes(id, message.Unclear)
	r.pass(2 * time.Minute)
	held := r.becomes(id, message.Held)
	r.pass(5 * 24 * time.Hour)
	r.stays()
	if n := len(r.w.links["incamail"].seen()); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
	// Its Abgabequittung comes after all.
	if _, err := r.inbound(platformSender, r.w.receipt(t, "Abgabequittung", held.Reference, "buerger@example.ch"), "bau@bl.example"); err != nil {
		t.Fatal(err)
	}
	if item := r.becomes(id, message.Handed); item.Alarm != "" || item.Case != message.CaseSubmitted {
		t.Errorf("cleared up: %+v", item)
	}
}

// TestReceiptFasterThanReply: receipts come while the attempt is open. They
// close the case as soon as the attempt is recorded, whatever it says.
func TestReceiptFasterThanReply(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]error{"taken": nil, "unclear": errUnclear, "temporary": errLater} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{})
			open, answer := make(chan string, 1), make(chan struct{})
			r.w.links["incamail"].on(func(_ context.Context, h connectors.Handover) (connectors.Result, error) {
				open <- h.Item.Reference
				<-answer
				return connectors.Result{}, reply
			})
			id := r.send("[einschreiben] Entscheid", "buerger@example.ch")
			ref := <-open
			for _, kind := range []string{"Abgabequittung", "Abholquittung"} {
				in, err := r.inbound(platformSender, r.w.receipt(t, kind, ref, "buerger@example.ch"), "bau@bl.example")
				if err != nil {
					t.Fatal(err)
				}
				r.becomes(in, message.Done)
			}
			if item := r.item(key(id, 1)); item.State != message.Sending || item.Case != message.CaseCollected {
				t.Errorf("while the attempt is open: %s, case %s", item.State, item.Case)
			}
			close(answer)
			r.becomes(id, message.Done)
			r.pass(20 * 24 * time.Hour)
			r.stays()
			if item := r.item(key(id, 1)); item.Alarm != "" || len(r.w.links["incamail"].seen()) != 1 {
				t.Errorf("later: %+v", item)
			}
		})
	}
}

// TestStopWhileAttemptIsOpen: the attempt is cut short, recorded, and repeated
// at the next start; nothing hangs.
func TestStopWhileAttemptIsOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	open := make(chan struct{})
	r.w.links["smtp"].on(func(ctx context.Context, _ connectors.Handover) (connectors.Result, error) {
		close(open)
		<-ctx.Done()
		return connectors.Result{}, ctx.Err()
	})
	id := r.send("Auskunft", "a@example.net")
	<-open
	r.w.links["smtp"].on(nil)
	r = r.again(rigOptions{})
	if item := r.item(key(id, 1)); item.State != message.Waiting || item.Unclears != 0 {
		t.Errorf("after the stop: %s", item.State)
	}
	r.pass(2 * time.Minute)
	r.becomes(id, message.Done)
}

// TestGateCloses: what has changed since the decision holds the item; the
// sender is told in time, also when it had waited for long.
func TestGateCloses(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.links["incamail"].fails(errLater)
	id := r.send("[einschreiben] Entscheid", "buerger@example.ch")
	r.until("an attempt", func() bool { i := r.item(key(id, 1)); return i.State == message.Waiting && i.Attempts == 1 })
	r.w.know(t, strings.Replace(peopleText, "consent = [{", "consent = [{ revoked = 2026-01-06,", 1))
	r.w.links["incamail"].on(nil)
	r.pass(3 * 24 * time.Hour)
	item := r.becomes(id, message.Held)
	if n := r.told(key(id, 1), 1)[0].text; !strings.Contains(strings.ReplaceAll(n, "=\r\n", ""), "Einwilligung des Empf") {
		t.Errorf("the notice does not say why in German:\n%s", n)
	}
	r.pass(23 * time.Hour)
	r.stays()
	r.becomes(id, message.Held) // a person has the whole time, counted from now
	r.pass(2 * time.Hour)
	r.becomes(id, message.Refused)
	r.told(key(id, 1), 2)
	if n := len(r.w.links["incamail"].seen()); n != 1 || item.Reference == "" {
		t.Errorf("%d attempts, want 1", n)
	}
}

// TestRegisteredTooLate: the gateway stood still past the time for the
// hand-over; sending now could not be proven before erasure.
func TestRegisteredTooLate(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.links["incamail"].fails(errLater)
	id := r.send("[einschreiben] Entscheid", "buerger@example.ch")
	r.until("an attempt", func() bool { i := r.item(key(id, 1)); return i.State == message.Waiting && i.Attempts == 1 })
	r.w.links["incamail"].on(nil)
	r.pass(retention.Default().GiveUpLimit() + time.Hour)
	item := r.becomes(id, message.Refused)
	r.told(key(id, 1), 1)
	if n := len(r.w.links["incamail"].seen()); n != 1 || !strings.Contains(item.Reply, "450 4.2.1") {
		t.Errorf("%d attempts, want 1; %s", n, item.Reply)
	}
}

// TestManyTargets: a destination that hangs does not keep the others waiting.
func TestManyTargets(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	release := make(chan struct{})
	r.w.links["smtp"].on(func(_ context.Context, h connectors.Handover) (connectors.Result, error) {
		if h.To.Domain == "slow.example" {
			<-release
		}
		return connectors.Result{}, nil
	})
	for range 20 {
		r.send("Auskunft", "a@slow.example")
	}
	var ids []message.ID
	for range 20 {
		ids = append(ids, r.send("Auskunft", "a@fast.example"))
	}
	for _, id := range ids {
		r.becomes(id, message.Done)
	}
	close(release)
	r.until("everything is done", func() bool {
		n, err := r.g.Counts(context.Background())
		return err == nil && n[message.Done] == 40
	})
}

// TestAuditCannotBeWritten: nothing is accepted and nothing leaves; both go on
// by themselves (quality goal R6).
func TestAuditCannotBeWritten(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	smtp := r.w.links["smtp"]
	smtp.fails(errLater)
	id := r.send("Auskunft", "a@example.net")
	r.until("an attempt", func() bool { i := r.item(key(id, 1)); return i.State == message.Waiting && i.Attempts == 1 })
	breakAudit(t, r.dir)
	accept := func() error {
		_, err := r.g.Accept(context.Background(), submission("b@example.net"), strings.NewReader(letter("x", "x")))
		return err
	}
	r.until("nothing is accepted", func() bool { return accept() != nil })
	refused(t, accept(), 451)
	r.until("what was under way has ended", func() bool {
		before := len(smtp.seen())
		r.stays()
		n, err := r.g.Counts(context.Background())
		return err == nil && n[message.Sending] == 0 && len(smtp.seen()) == before
	})
	smtp.on(nil)
	before := len(smtp.seen())
	r.pass(time.Hour) // everything is due
	r.stays()
	if n := len(smtp.seen()); n != before {
		t.Errorf("%d mails left meanwhile", n-before)
	}
	mendAudit(t, r.dir)
	r.until("accepted again", func() bool { return accept() == nil })
	r.becomes(id, message.Done)
	if !strings.Contains(r.log.String(), "audit log cannot be written") {
		t.Error("no alarm")
	}
}

// TestErrorsOfPeople checks what an operator hears.
func TestErrorsOfPeople(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	ctx := context.Background()
	id := r.send("Auskunft", "a@example.net")
	r.becomes(id, message.Done)
	k := key(id, 1)
	for name, tt := range map[string]struct{ got, want error }{
		"release":   {r.g.Release(ctx, k, "x"), gateway.ErrNotHeld},
		"drop":      {r.g.Drop(ctx, k, "x"), gateway.ErrNotHeld},
		"hold":      {r.g.Hold(ctx, k, "x"), gateway.ErrNotOpen},
		"retry":     {r.g.Retry(ctx, k), gateway.ErrNotWaiting},
		"no reason": {r.g.Release(ctx, k, " \n"), message.ErrNoReason},
		"unknown":   {r.g.Drop(ctx, key(message.NewID(r.w.time()), 1), "x"), queue.ErrNotFound},
	} {
		if !errors.Is(tt.got, tt.want) {
			t.Errorf("%s: %v, want %v", name, tt.got, tt.want)
		}
	}
}
