package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"gatewayd/gateway/personfile"
	"gatewayd/message"
	"gatewayd/queue"
)

const someone, somebodyElse = "kunde@example.org", "nachbar.geheim@example.org"

// person asks for a file, and checks that it was noted with the digest of what
// was given out.
func (r *rig) person(authority string) (personfile.File, string) {
	r.t.Helper()
	before := len(r.readsOf())
	text, err := r.g.Person(context.Background(), message.Reading{By: "administrator muster", Purpose: message.ForAccess}, addr(someone), authority)
	if err != nil {
		r.t.Fatal(err)
	}
	var f personfile.File
	if err := json.Unmarshal(text, &f); err != nil {
		r.t.Fatal(err)
	}
	reads := r.readsOf()[before:]
	sum := sha256.Sum256(text)
	if len(reads) != 1 || reads[0].Data["sha256"] != message.Digest(sum).String() || reads[0].Data["purpose"] != "access" || reads[0].Data["asked"] != someone || reads[0].Authority != authority {
		r.t.Errorf("noted: %v", reads)
	}
	return f, string(text)
}

// TestPersonFile plants a person in every place where one can be, beside others:
// all of it is found, and nothing that names the others, or who worked on it.
func TestPersonFile(t *testing.T) {
	r := newRig(t, rigOptions{})
	ctx := context.Background()
	held := r.submit(submission("KUNDE@example.org"), letter("[vertraulich] Akten", "x"))
	r.becomes(held, message.Held)
	if err := r.g.Drop(ctx, key(held, 1), "Absprache mit nachbar.geheim@example.org"); err != nil {
		t.Fatal(err)
	}
	r.w.know(t, strings.NewReplacer("buerger@example.ch", someone, "given =", "expects = true, given =").Replace(peopleText))
	both := r.send("Auskunft", someone, somebodyElse)
	r.becomes(both, message.Done)
	r.itemBecomes(key(both, 2), message.Done)
	other := r.send("Anderes", somebodyElse)
	r.becomes(other, message.Done)
	in, err := r.inbound(someone, letter("Gesuch", "von mir"), "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	r.becomes(in, message.Done)
	tax := submission(someone)
	tax.Account, tax.Authority, tax.From = "steuer", "steuer", addr("steuer@bl.example")
	fromTax := r.submit(tax, letter("Rechnung", "steuer"))
	r.becomes(fromTax, message.Done)
	if _, err := r.g.Trace(ctx, reading(), someone); err != nil {
		t.Fatal(err)
	}
	f, text := r.person("")
	found := map[string]bool{}
	for _, m := range f.Messages {
		found[m.ID] = true
		if len(m.Items) != 1 || m.ID == both.String() && m.Others != 1 {
			t.Errorf("message %s: %d items, %d others", m.ID, len(m.Items), m.Others)
		}
	}
	if len(found) != 4 || !found[both.String()] || !found[in.String()] || !found[fromTax.String()] || !found[held.String()] || found[other.String()] {
		t.Errorf("messages %v", found)
	}
	if d := f.Directory; d == nil || len(d.Platforms) != 1 || !d.Platforms[0].Identified || len(d.Consents) != 1 || d.Consents[0].Expects != "yes" {
		t.Errorf("directory %+v", d)
	}
	kinds := map[message.EventKind]int{}
	for _, e := range f.Events {
		kinds[e.Kind]++
		if e.Message == other || e.Message == both && e.Item == 2 {
			t.Errorf("an event of somebody else: %+v", e)
		}
	}
	for _, k := range []message.EventKind{message.EventAccepted, message.EventHanded, message.EventNotice, message.EventDropped, message.EventMailbox, message.EventRead} {
		if kinds[k] == 0 {
			t.Errorf("no event %s: %v", k, kinds)
		}
	}
	for _, secret := range []string{"nachbar", "geheim", "muster", `"account": "bau"`, `"by": "administrator"`} {
		if strings.Contains(text, secret) {
			t.Errorf("the file tells %q:\n%s", secret, text)
		}
	}
	if !strings.Contains(text, "Absprache mit [redacted]") || !strings.Contains(text, "bau@bl.example") {
		t.Errorf("redacted is more or less than it must be:\n%s", text)
	}
	one, text := r.person("steuer")
	if len(one.Messages) != 1 || one.Messages[0].ID != fromTax.String() || strings.Contains(text, "bau@bl.example") || strings.Contains(text, in.String()) {
		t.Errorf("what one authority holds: %s", text)
	}
	if _, err := r.g.Person(ctx, message.Reading{}, addr(someone), ""); !errors.Is(err, message.ErrNoPurpose) {
		t.Errorf("without a purpose: %v", err)
	}
	if _, err := r.g.Person(ctx, reading(), addr(someone), "niemand"); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("an authority that is none: %v", err)
	}
	if _, err := r.g.Person(ctx, reading(), message.Address{}, ""); err == nil {
		t.Error("a file about nobody")
	}
}
