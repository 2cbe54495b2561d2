package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/message"
)

// TestRepairByHand: not while the gateway runs; a ledger full of noise is told,
// and without it everything comes back from the vault.
func TestRepairByHand(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	if err := r.stranger("Subject: Gesuch\r\n\r\nGesuch\r\n", "bauinspektorat@bl.example"); err != nil {
		t.Fatal(err)
	}
	await(t, "the mail in the mailbox", func() bool {
		s := r.trace("bauinspektorat@bl.example")
		return len(s) == 1 && s[0].Items[0].State == message.Done
	})
	if out, code := r.run("queue", "check", "--repair"); code != exitFailed || !strings.Contains(out, "stop it first") {
		t.Errorf("while it runs: exit %d\n%s", code, out)
	}
	r.stop()
	if out, code := r.run("queue", "check", "--repair"); code != 0 || !strings.Contains(out, "ledger made anew: 1 messages") || !strings.Contains(out, "0 problems") {
		t.Errorf("a sound ledger: exit %d\n%s", code, out)
	}
	ledger := filepath.Join(r.cfg.Data, "ledger.db")
	if err := os.WriteFile(ledger, []byte(strings.Repeat("noise", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := r.run("queue", "check", "--repair"); code != exitFailed || !strings.Contains(out, "move it away") {
		t.Errorf("noise: exit %d\n%s", code, out)
	}
	if err := os.Rename(ledger, ledger+".bad"); err != nil {
		t.Fatal(err)
	}
	if out, code := r.run("queue", "check", "--repair"); code != 0 || !strings.Contains(out, "taken from the vault: 1 items") {
		t.Errorf("without a ledger: exit %d\n%s", code, out)
	}
	r.start()
	if s := r.trace("bauinspektorat@bl.example"); len(s) != 1 {
		t.Errorf("%d messages are there, want 1", len(s))
	}
}
