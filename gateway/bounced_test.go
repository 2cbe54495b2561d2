package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gatewayd/message"
)

// report is a delivery status notification as Postfix writes it.
func report(messageID, to, action, status string) string {
	return strings.ReplaceAll(fmt.Sprintf(`From: MAILER-DAEMON@mx.example.net (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

This is the mail system at host mx.example.net.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; %s
Action: %s
Status: %s
Diagnostic-Code: smtp; 550 %[3]s said no

--b
Content-Type: text/rfc822-headers

From: bau@bl.example
Message-ID: %[4]s

--b--
`, to, action, status, messageID), "\n", "\r\n")
}

// TestBounce: a report of a mail system that comes later becomes an event and an
// alarm on the item that it is about, lies in the mailbox, and closes nothing.
func TestBounce(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	id := r.send("Auskunft", "a@example.net")
	other := r.send("Auskunft", "a@example.net")
	r.becomes(id, message.Done)
	r.becomes(other, message.Done)
	env, _, err := r.store.Message(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	bring := func(from, text string) message.ID {
		t.Helper()
		in, err := r.inbound(from, text, "bau@bl.example")
		if err != nil {
			t.Fatal(err)
		}
		r.becomes(in, message.Done)
		if n := r.events(in, message.EventMailbox); n != 1 {
			t.Errorf("%d mailbox events of a report, want 1", n)
		}
		return in
	}
	bring("", report(env.MessageID, "a@example.net", "delayed", "4.4.1"))
	if item := r.item(key(id, 1)); item.Alarm != "" {
		t.Errorf("a delay raised the alarm %q", item.Alarm)
	}
	in := bring("", report(env.MessageID, "A@example.net", "failed", "5.1.1"))
	item := r.item(key(id, 1))
	if item.State != message.Done || !strings.Contains(item.Alarm, "5.1.1") {
		t.Errorf("state %s, alarm %q", item.State, item.Alarm)
	}
	story, err := r.g.Story(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	if last := story.Events[len(story.Events)-1]; last.Kind != message.EventBounced || last.Item != 1 || last.Data["status"] != "5.1.1" || last.Data["permanent"] != "true" || last.Data["mail"] != in.String() {
		t.Errorf("last event %+v", last)
	}
	for name, text := range map[string]string{
		"another recipient":      report(env.MessageID, "b@example.net", "failed", "5.1.1"),
		"a Message-ID not ours":  report("<foreign@bl.example>", "a@example.net", "failed", "5.1.1"),
		"delivered":              report(env.MessageID, "a@example.net", "delivered", "2.0.0"),
		"no report at all":       "Subject: x\r\n\r\n" + env.MessageID + "\r\n",
		"a report without an id": report("", "a@example.net", "failed", "5.1.1"),
	} {
		bring("", text)
		if n := r.events(id, message.EventBounced) + r.events(other, message.EventBounced); n != 2 {
			t.Errorf("%s: %d bounced events, want the 2 from before", name, n)
		}
	}
	bring("somebody@example.net", strings.Replace(report(env.MessageID, "a@example.net", "failed", "5.1.1"), "MAILER-DAEMON@mx", "somebody@mx", 1))
	if n := r.events(id, message.EventBounced); n != 2 {
		t.Errorf("a person's mail counts as a report")
	}
}

// TestBounceOfDecision: a report about a decision that a platform has is an alarm,
// and neither its state nor its case moves.
func TestBounceOfDecision(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	id, item := r.registered()
	env, _, err := r.store.Message(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	in, err := r.inbound("", report(env.MessageID, "buerger@example.ch", "failed", "5.2.2"), "bau@bl.example")
	if err != nil {
		t.Fatal(err)
	}
	r.becomes(in, message.Done)
	got := r.item(key(id, 1))
	if got.State != message.Handed || got.Case != item.Case || got.Alarm == "" {
		t.Errorf("state %s, case %s, alarm %q", got.State, got.Case, got.Alarm)
	}
	r.receives(r.w.receipt(t, "Abgabequittung", item.Reference, "buerger@example.ch"))
	if got := r.item(key(id, 1)); got.Case != message.CaseSubmitted {
		t.Errorf("the receipt behind it: case %s", got.Case)
	}
}
