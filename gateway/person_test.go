package gateway_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/policy"
)

func breakAudit(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "audit")
	if err := errors.Join(os.Rename(path, path+".away"), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func mendAudit(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "audit")
	if err := errors.Join(os.Remove(path), os.Rename(path+".away", path)); err != nil {
		t.Fatal(err)
	}
}

// heldTold waits until an item is held and its sender was told.
func (r *rig) heldTold(id message.ID) message.Item {
	r.t.Helper()
	var item message.Item
	r.until("held and told", func() bool {
		item = r.item(key(id, 1))
		return item.State == message.Held && !item.Told.IsZero()
	})
	return item
}

// TestReleaseDecidesAgain: an item that had no way gets the one that the rules
// give now, never another.
func TestReleaseDecidesAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	ctx := context.Background()
	id := r.send("[einschreiben] Entscheid", "firma@example.ch")
	held := r.heldTold(id)
	err := r.g.Release(ctx, key(id, 1), "please")
	if !errors.Is(err, gateway.ErrStillHeld) || !strings.Contains(err.Error(), "duty:consent") {
		t.Errorf("without consent: %v", err)
	}
	if got := r.item(key(id, 1)); got.Version != held.Version {
		t.Errorf("a release that failed changed the item: %+v", got)
	}
	r.w.know(t, strings.ReplaceAll(peopleText, "checked = 2026-11-01 }]\n\n", "checked = 2026-11-01 }]\n")+
		`consent = [{ authority = "bau", scope = "all", form = "text", given = 2026-11-20, evidence = "sha256:0000000000000000000000000000000000000000000000000000000000000000" }]`)
	if err := r.g.Release(ctx, key(id, 1), "consent has come"); err != nil {
		t.Fatal(err)
	}
	item := r.becomes(id, message.Handed)
	if item.Decision.Via != "incamail" || item.Decision.Tag != "<r> " || item.Reference != held.Reference || len(item.Decision.Owed) == 0 || item.Decision.GiveUp <= 0 {
		t.Errorf("decided again: %+v", item)
	}
	if n := r.events(id, message.EventReleased); n != 1 {
		t.Errorf("%d released events, want 1", n)
	}
}

// TestReleaseNeverInvents: misspelt marks stay held whoever releases them, and
// a class is never lowered.
func TestReleaseNeverInvents(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	for _, subject := range []string{"[einschreibn] Entscheid", "<R> Entscheid"} {
		id := r.send(subject, "buerger@example.ch")
		r.heldTold(id)
		if err := r.g.Release(context.Background(), key(id, 1), "send it"); !errors.Is(err, gateway.ErrStillHeld) {
			t.Errorf("%s: %v", subject, err)
		}
	}
	s := submission("a@example.net")
	s.Class = message.Confidential // said by the API: it stands nowhere in the header
	id := r.submit(s, letter("Akten", "api"))
	r.heldTold(id)
	if err := r.g.Release(context.Background(), key(id, 1), "send it"); !errors.Is(err, gateway.ErrStillHeld) {
		t.Errorf("confidential without a way: %v", err)
	}
	if n := len(r.w.links["smtp"].seen()) + len(r.w.links["incamail"].seen()); n != 0 {
		t.Errorf("%d mails left", n)
	}
}

// TestReleaseApprovesMassMail: a release is the approval, and its reason stands
// in the audit log.
func TestReleaseApprovesMassMail(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{edit: func(o *gateway.Options) {
		rules, errs := policy.Compile(policy.Options{Routes: []policy.Route{{Name: "alles", When: "true", Via: []string{"smtp"}}}})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		o.Policy = rules
	}})
	s := submission("a@example.net")
	s.Class = message.Bulk
	id := r.submit(s, letter("Rundschreiben", "bulk"))
	r.heldTold(id)
	if err := r.g.Release(context.Background(), key(id, 1), "approved by the head"); err != nil {
		t.Fatal(err)
	}
	r.becomes(id, message.Done)
}

// TestReleaseUnclear: a person says that it has not arrived.
func TestReleaseUnclear(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.links["incamail"].fails(errUnclear)
	id := r.send("[einschreiben] Entscheid", "buerger@example.ch")
	r.becomes(id, message.Unclear)
	r.pass(16 * time.Minute)
	r.becomes(id, message.Held)
	r.w.links["incamail"].on(nil)
	if err := r.g.Release(context.Background(), key(id, 1), "IncaMail has not got it, ticket 7"); err != nil {
		t.Fatal(err)
	}
	if item := r.becomes(id, message.Handed); item.Alarm != "" || len(r.w.links["incamail"].seen()) != 2 {
		t.Errorf("released: %+v", item)
	}
}

// TestReleaseTooLate: a registered decision past its time cannot be proven.
func TestReleaseTooLate(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.links["incamail"].fails(errUnclear)
	id := r.send("[einschreiben] Entscheid", "buerger@example.ch")
	r.becomes(id, message.Unclear)
	r.pass(50 * 24 * time.Hour)
	r.becomes(id, message.Held)
	if err := r.g.Release(context.Background(), key(id, 1), "again"); !errors.Is(err, gateway.ErrTooLate) {
		t.Errorf("release: %v", err)
	}
}

// TestHoldAndDrop: a waiting item is held, told, dropped with a DSN; one that
// may have arrived is dropped without.
func TestHoldAndDrop(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	ctx := context.Background()
	r.w.links["smtp"].fails(errLater)
	id := r.send("Auskunft", "a@example.net")
	r.until("an attempt", func() bool { i := r.item(key(id, 1)); return i.State == message.Waiting && i.Attempts == 1 })
	if err := r.g.Hold(ctx, key(id, 1), "wrong attachment"); err != nil {
		t.Fatal(err)
	}
	r.heldTold(id)
	if err := r.g.Drop(ctx, key(id, 1), "sender asked for it"); err != nil {
		t.Fatal(err)
	}
	r.becomes(id, message.Dropped)
	for _, n := range r.told(key(id, 1), 2) {
		if strings.Contains(n.text, "wrong attachment") || strings.Contains(n.text, "asked for it") {
			t.Errorf("the reason for the audit log stands in the letter:\n%s", n.text)
		}
	}
	r.w.links["smtp"].fails(errUnclear)
	id = r.send("Auskunft", "b@example.net")
	r.becomes(id, message.Unclear)
	if err := r.g.Hold(ctx, key(id, 1), "let me look"); err != nil {
		t.Fatal(err)
	}
	r.pass(10 * 24 * time.Hour)
	r.stays()
	r.becomes(id, message.Held)
	if err := r.g.Drop(ctx, key(id, 1), "it has arrived"); err != nil {
		t.Fatal(err)
	}
	r.stays()
	r.told(key(id, 1), 0)
	if n := r.events(id, message.EventDropped) + r.events(id, message.EventHeld); n != 2 {
		t.Errorf("%d events of the two deeds", n)
	}
}

func TestRetryNow(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.links["smtp"].fails(errLater)
	id := r.send("Auskunft", "a@example.net")
	r.until("an attempt", func() bool { i := r.item(key(id, 1)); return i.State == message.Waiting && i.Attempts == 1 })
	r.w.links["smtp"].on(nil)
	r.stays()
	r.becomes(id, message.Waiting)
	if err := r.g.Retry(context.Background(), key(id, 1)); err != nil {
		t.Fatal(err)
	}
	r.becomes(id, message.Done)
}

// TestHeldAgainAfterRelease: a released item whose gate closes is told again and
// has its whole time again.
func TestHeldAgainAfterRelease(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.links["incamail"].fails(errLater)
	id := r.send("[einschreiben] Entscheid", "buerger@example.ch")
	r.until("an attempt", func() bool { i := r.item(key(id, 1)); return i.State == message.Waiting && i.Attempts == 1 })
	if err := r.g.Hold(context.Background(), key(id, 1), "look"); err != nil {
		t.Fatal(err)
	}
	r.heldTold(id)
	r.w.know(t, strings.Replace(peopleText, "consent = [{", "consent = [{ revoked = 2026-01-06,", 1))
	if err := r.g.Release(context.Background(), key(id, 1), "go"); err != nil {
		t.Fatal(err)
	}
	r.until("held at the gate", func() bool {
		i := r.item(key(id, 1))
		return i.State == message.Held && strings.HasPrefix(i.Reply, "gate: ")
	})
	r.pass(time.Hour)
	r.stays()
	r.becomes(id, message.Held)
	r.told(key(id, 1), 2)
}
