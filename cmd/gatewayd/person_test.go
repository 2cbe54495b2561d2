package main

import (
	"slices"
	"strings"
	"testing"

	"gatewayd/message"
)

// TestPerson: an operator holds, shows, releases and drops, while the gateway
// runs; every act needs a reason and stands in the story.
func TestPerson(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	path, _ := letter(t, "[vertraulich] Akten", "geheim")
	out, err := r.swaks("--to", "niemand@example.net", "--data", "@"+path)
	if err != nil {
		t.Fatalf("swaks: %v\n%s", err, out)
	}
	id := idIn(t, out)
	item := id.String() + "/1"
	await(t, "held and told", func() bool { return !r.trace(id.String())[0].Items[0].Told.IsZero() })
	if out, code := r.run("queue", "show", item); code != 0 || !strings.Contains(out, "duty:encrypt") {
		t.Errorf("queue show: exit %d\n%s", code, out)
	}
	if out, code := r.run("queue", "release", item, "--reason", "trotzdem"); code != exitFailed || !strings.Contains(out, "duty:encrypt") {
		t.Errorf("releasing what must not leave: exit %d\n%s", code, out)
	}
	if out, code := r.run("queue", "drop", item); code != exitUsage {
		t.Errorf("drop without a reason: exit %d\n%s", code, out)
	}
	if out, code := r.run("queue", "drop", item, "--reason", "irrtümlich gesendet"); code != 0 {
		t.Errorf("drop: exit %d\n%s", code, out)
	}
	s := r.trace(id.String())[0]
	if s.Items[0].State != message.Dropped {
		t.Errorf("state %s, want dropped", s.Items[0].State)
	}
	dropped := slices.ContainsFunc(s.Events, func(e message.Event) bool {
		return e.Kind == message.EventDropped && strings.Contains(e.Data["reason"], "irrtümlich")
	})
	if !dropped {
		t.Errorf("no event says who dropped it and why: %v", s.Events)
	}
	if out, code := r.run("queue", "retry", item); code != exitFailed {
		t.Errorf("retry of a dropped item: exit %d\n%s", code, out)
	}
}

// TestPauseByHand: the running gateway pauses, shows and resumes; so does the
// command alone while none runs.
func TestPauseByHand(t *testing.T) {
	r := newRig(t, nil)
	pause := func() {
		t.Helper()
		if out, code := r.run("queue", "pause", "incamail", "--reason", "Wartung"); code != 0 {
			t.Fatalf("exit %d\n%s", code, out)
		}
		if out, code := r.run("queue", "destinations", "--json"); code != 0 || !strings.Contains(out, `"incamail"`) || !strings.Contains(out, "Wartung") {
			t.Errorf("exit %d\n%s", code, out)
		}
	}
	pause()
	r.start()
	pause()
	if out, code := r.run("queue", "resume", "incamail", "--reason", "beendet"); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	if out, code := r.run("queue", "resume", "incamail", "--reason", "beendet"); code != exitFailed || !strings.Contains(out, "not paused") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if out, code := r.run("queue", "pause", "nowhere at all", "--reason", "x"); code != exitFailed || !strings.Contains(out, "name a platform") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
