package main

import (
	"encoding/json"
	"strings"
	"testing"

	"gatewayd/message"
)

// TestHandoverCommands: what came in waits to be filed, is confirmed with a
// reference, and waits no more.
func TestHandoverCommands(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	if err := r.stranger("Subject: Gesuch\r\n\r\nText\r\n", "bauinspektorat@bl.example"); err != nil {
		t.Fatal(err)
	}
	waiting := func() []message.Unfiled {
		out, code := r.run("handover", "list", "--authority", "bauinspektorat", "--json")
		var page struct{ Messages []message.Unfiled }
		if err := json.Unmarshal([]byte(out), &page); err != nil || code != 0 {
			t.Fatalf("handover list: exit %d, %v\n%s", code, err, out)
		}
		return page.Messages
	}
	await(t, "the mail in the mailbox", func() bool { w := waiting(); return len(w) == 1 && !w[0].Open })
	id, sum := waiting()[0].ID.String(), waiting()[0].SHA256
	base := []string{"--authority", "bauinspektorat", id}
	if out, code := r.run(append([]string{"handover", "show"}, base...)...); code != exitFailed || !strings.Contains(out, "nothing was said") {
		t.Errorf("show before: exit %d\n%s", code, out)
	}
	confirm := append([]string{"handover", "confirm"}, base...)
	for _, bad := range [][]string{{"--ref", "Hans Muster"}, {"--ref", "BIT-1", "--sha256", strings.Repeat("0", 64)}} {
		if out, code := r.run(append(confirm, bad...)...); code != exitFailed {
			t.Errorf("confirm %q: exit %d\n%s", bad, code, out)
		}
	}
	if out, code := r.run(append(confirm, "--ref", "BIT-2026-417", "--sha256", sum)...); code != 0 || !strings.Contains(out, "handed_over_gever  BIT-2026-417  by administrator") {
		t.Errorf("confirm: exit %d\n%s", code, out)
	}
	if out, code := r.run(append([]string{"handover", "show"}, base...)...); code != 0 || !strings.Contains(out, "BIT-2026-417") {
		t.Errorf("show: exit %d\n%s", code, out)
	}
	if w := waiting(); len(w) != 0 {
		t.Errorf("it still waits: %+v", w)
	}
	if out, code := r.run("retention", "verify"); code != 0 || !strings.Contains(out, "nothing was destroyed yet") {
		t.Errorf("retention verify: exit %d\n%s", code, out)
	}
	if out, code := r.run("message", "trace", id, "--purpose", "operation"); code != 0 || !strings.Contains(out, "BIT-2026-417") {
		t.Errorf("the story does not tell it: exit %d\n%s", code, out)
	}
}
