package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/receipts"
	"gatewayd/vault"
)

// registered sends a decision and waits until the platform has it.
func (r *rig) registered() (message.ID, message.Item) {
	r.t.Helper()
	id := r.send("[einschreiben] Entscheid", "buerger@example.ch")
	return id, r.becomes(id, message.Handed)
}

// receives brings a mail of the platform and waits until it is filed.
func (r *rig) receives(text string) message.ID {
	r.t.Helper()
	id, err := r.inbound(platformSender, text, "bau@bl.example")
	if err != nil {
		r.t.Fatal(err)
	}
	r.becomes(id, message.Done)
	return id
}

// TestReceiptsOverdue: each missing receipt is one alarm and one event; nothing
// is sent again, and the receipts still count when they come.
func TestReceiptsOverdue(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	id, item := r.registered()
	r.pass(16 * time.Minute)
	r.until("overdue", func() bool { return r.item(key(id, 1)).Case == message.CaseOverdue })
	r.receives(r.w.receipt(t, "Abgabequittung", item.Reference, "buerger@example.ch"))
	if got := r.item(key(id, 1)); got.Case != message.CaseSubmitted || got.Alarm != "" {
		t.Errorf("after the Abgabequittung: case %s, alarm %q", got.Case, got.Alarm)
	}
	r.pass(7 * 24 * time.Hour)
	r.stays()
	if got := r.events(id, message.EventOverdue); got != 1 {
		t.Errorf("%d overdue events within the window, want 1", got)
	}
	r.pass(2 * 24 * time.Hour)
	r.until("the alarm for the closing receipt", func() bool { return r.events(id, message.EventOverdue) == 2 })
	version := r.item(key(id, 1)).Version
	r.pass(24 * time.Hour)
	r.stays()
	if got := r.item(key(id, 1)); got.Version != version || got.State != message.Handed {
		t.Errorf("the alarm repeats itself: %d changes since", got.Version-version)
	}
	if got := r.events(id, message.EventOverdue); got != 2 {
		t.Errorf("%d overdue events, want 2", got)
	}
	r.receives(r.w.receipt(t, "Abholquittung", item.Reference, "buerger@example.ch"))
	r.until("no alarm but of the correction", func() bool { return !strings.Contains(r.item(key(id, 1)).Alarm, "closing receipt") })
	if got := r.item(key(id, 1)); got.State != message.Done || got.Case != message.CaseCollected {
		t.Errorf("collected late: %+v", got)
	}
	if n := len(r.w.links["incamail"].seen()); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
}

// TestNoReceiptAtAll: first the Abgabequittung is missing, then the end.
func TestNoReceiptAtAll(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	id, _ := r.registered()
	for _, step := range []time.Duration{16 * time.Minute, 9 * 24 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
		r.pass(step)
		r.stays()
	}
	if got := r.events(id, message.EventOverdue); got != 2 {
		t.Errorf("%d overdue events, want 2", got)
	}
	if got := r.item(key(id, 1)); got.State != message.Handed || got.Case != message.CaseOverdue || got.Alarm == "" {
		t.Errorf("item %+v", got)
	}
}

// TestReceiptTwice: equal receipts are one, whoever repeats them.
func TestReceiptTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	id, item := r.registered()
	text := r.w.receipt(t, "Abgabequittung", item.Reference, "buerger@example.ch")
	for range 3 {
		r.receives(text)
	}
	rs, err := r.store.Receipts(context.Background(), id)
	if err != nil || len(rs) != 1 || rs[0].Verdict != message.Verified || rs[0].MatchedBy != "reference" {
		t.Fatalf("receipts %+v, %v", rs, err)
	}
	doc, err := r.g.Document(context.Background(), rs[0])
	if err != nil || !bytes.HasPrefix(doc, []byte("%PDF-")) {
		t.Errorf("document of %d octets, %v", len(doc), err)
	}
	if n := r.events(id, message.EventCase); n != 1 {
		t.Errorf("%d case events, want 1", n)
	}
}

// TestForgedReceipt: an alarm, an event, and nothing moves.
func TestForgedReceipt(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	id, item := r.registered()
	pdf := r.w.document(t, "Abholquittung", item.Reference, "buerger@example.ch")
	i := bytes.Index(pdf, []byte("/MediaBox"))
	pdf[i+len("/MediaBox [0 0 ")] ^= 1
	r.receives(carry("Abholquittung: ["+item.Reference+"]", pdf))
	got := r.item(key(id, 1))
	if got.State != message.Handed || got.Case != message.CaseNone || got.Alarm == "" {
		t.Errorf("item %+v", got)
	}
	if n := r.events(id, message.EventForged); n != 1 {
		t.Errorf("%d forged events, want 1", n)
	}
}

// TestUnmatchedReceipt is kept, listed and stands in the audit log.
func TestUnmatchedReceipt(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	id, item := r.registered()
	mail := r.receives(r.w.receipt(t, "Abholquittung", "BL-00000000", "buerger@example.ch"))
	rs, err := r.g.Unmatched(context.Background(), reading(), 10)
	if err != nil || len(rs) != 1 || rs[0].Mail != mail || rs[0].Kind != message.Abholquittung {
		t.Errorf("unmatched: %+v, %v", rs, err)
	}
	// The right reference, but the receipt of another authority's mailbox.
	in, err := r.inbound(platformSender, r.w.receipt(t, "Abholquittung", item.Reference, "buerger@example.ch"), "steuer@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	r.becomes(in, message.Done)
	if got := r.item(key(id, 1)); got.Case != message.CaseNone {
		t.Errorf("a foreign receipt moved the case to %s", got.Case)
	}
	if n := r.events(mail, message.EventUnmatched); n != 1 {
		t.Errorf("%d unmatched events, want 1", n)
	}
}

// TestUnreadableMail: after three attempts a mail of the platform that nobody
// can read lies in the mailbox, with an alarm.
func TestUnreadableMail(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{edit: func(o *gateway.Options) { o.Delivery.Concurrency = 0 }})
	text := r.w.receipt(t, "Abgabequittung", "BL-00000000", "buerger@example.ch") + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 8000)
	id, err := r.inbound(platformSender, text, "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	r.close()
	damage(t, r.dir)
	r = newRigAt(t, r.w, r.dir, rigOptions{})
	r.damaged = true
	for n := 1; n < 3; n++ {
		r.until("an attempt", func() bool { i := r.item(key(id, 1)); return i.Attempts == n && i.State == message.Waiting })
		r.pass(time.Hour)
	}
	if item := r.becomes(id, message.Done); item.Alarm == "" || item.Attempts != 3 {
		t.Errorf("item %+v", item)
	}
	if n := r.events(id, message.EventMailbox); n != 1 {
		t.Errorf("%d mailbox events, want 1", n)
	}
}

// damage changes one octet in the middle of the only large body.
func damage(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "vault", "*", "*.body"))
	if err != nil || len(files) != 1 {
		t.Fatalf("body files: %v, %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestReceiptWhileDiskIsFull: trouble of our own is no reason to take a receipt
// for ordinary mail, however long it lasts.
func TestReceiptWhileDiskIsFull(t *testing.T) {
	t.Parallel()
	var full, armed atomic.Bool
	r := newRig(t, rigOptions{vault: vault.Hooks{
		BeforeWrite: func(string) error {
			if full.Load() {
				return errors.New("no space left on device")
			}
			return nil
		},
		AfterSync: func(string) error { // the receipt is the last that fits
			full.Store(armed.Load())
			return nil
		},
	}})
	id, item := r.registered()
	text := r.w.receipt(t, "Abgabequittung", item.Reference, "buerger@example.ch")
	armed.Store(true)
	in, err := r.inbound(platformSender, text, "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 6; n++ {
		r.pass(time.Hour)
		r.stays()
	}
	if got := r.item(key(in, 1)); got.State != message.Waiting || got.Attempts < 5 {
		t.Errorf("while the disk is full: %s after %d attempts", got.State, got.Attempts)
	}
	armed.Store(false)
	full.Store(false)
	r.pass(time.Hour)
	r.becomes(in, message.Done)
	if got := r.item(key(id, 1)); got.Case != message.CaseSubmitted {
		t.Errorf("the receipt was lost: case %q", got.Case)
	}
}

// TestVerifiedNotice: the platform has sealed that it could not deliver; the
// sender is told.
func TestVerifiedNotice(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{edit: func(o *gateway.Options) {
		ps := receipts.DefaultPlatforms()
		ps[0].Texts[message.NoticeUndelivered] = []string{"^IncaMail Unzustellbar$"}
		var errs []error
		if o.Recogniser, errs = receipts.New(receipts.Options{Platforms: ps}); len(errs) > 0 {
			t.Fatal(errs)
		}
	}})
	id, item := r.registered()
	r.receives(r.w.receipt(t, "Unzustellbar", item.Reference, "buerger@example.ch"))
	if got := r.item(key(id, 1)); got.State != message.Refused || got.Case != message.CaseUndelivered {
		t.Errorf("item %+v", got)
	}
	r.told(key(id, 1), 1)
}
