package gateway_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/connectors"
	"gatewayd/message"
	"gatewayd/queue"
)

// backup copies one file or folder of the data folder away; the returned
// function puts it back.
func backup(t *testing.T, dir, name string) (restore func()) {
	t.Helper()
	to := filepath.Join(t.TempDir(), name)
	if err := platter(filepath.Join(dir, name), to); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := platter(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// allHeld asserts that nothing leaves and that everything which would is held
// with a task for a person.
func (r *rig) allHeld(sent int, ids ...message.ID) {
	r.t.Helper()
	r.pass(30 * 24 * time.Hour)
	r.stays()
	if n := len(r.w.links["incamail"].seen()) + len(r.w.links["smtp"].seen()); n != sent {
		r.t.Errorf("%d mails left in all, want %d", n, sent)
	}
	for _, id := range ids {
		if item := r.item(key(id, 1)); item.State != message.Held || item.Alarm == "" || !item.NextTry.IsZero() {
			r.t.Errorf("%s: %s, alarm %q, next %s", id, item.State, item.Alarm, item.NextTry)
		}
	}
}

// TestLedgerDeleted: everything is known from the vault, nothing is sent again,
// and the receipts that came are found again.
func TestLedgerDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	proven, item := r.registered()
	r.receives(r.w.receipt(t, "Abgabequittung", item.Reference, "buerger@example.ch"))
	sent := r.send("[einschreiben] Entscheid", "buerger@example.ch")
	r.becomes(sent, message.Handed)
	normal := r.send("Auskunft", "a@example.net")
	r.becomes(normal, message.Done)
	held := r.send("[einschreiben] Entscheid", "firma@example.ch")
	r.heldTold(held)
	r.close()
	if err := os.Remove(filepath.Join(r.dir, "ledger.db")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second start is no restore, and holds all the same
		r = newRigAt(t, r.w, r.dir, rigOptions{})
		r.torn = true // the chain begins anew: audit verify says so from now on
		r.until("the receipt was found again", func() bool { return r.item(key(proven, 1)).Case == message.CaseSubmitted })
		r.allHeld(3, sent, normal, held)
		if s := r.item(key(proven, 1)).State; s != message.Handed {
			t.Errorf("proven hand-over is %s", s)
		}
		r.close()
	}
	r = newRigAt(t, r.w, r.dir, rigOptions{})
	r.torn = true
	if err := r.g.Release(context.Background(), key(normal, 1), "the recipient has not got it"); err != nil {
		t.Fatal(err)
	}
	r.becomes(normal, message.Done)
}

// TestOlderLedger: a copy from the run before, and one from the same run.
func TestOlderLedger(t *testing.T) {
	t.Parallel()
	for name, sameRun := range map[string]bool{"run before": false, "same run": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{})
			r.w.links["smtp"].fails(errLater)
			waiting := r.send("Auskunft", "a@example.net")
			r.until("an attempt", func() bool { i := r.item(key(waiting, 1)); return i.State == message.Waiting && i.Attempts == 1 })
			var restore func()
			if !sameRun {
				r.close()
				restore = backup(t, r.dir, "ledger.db")
				r = newRigAt(t, r.w, r.dir, rigOptions{})
			} else {
				restore = backup(t, r.dir, "ledger.db")
			}
			r.w.links["smtp"].on(nil)
			r.pass(2 * time.Minute)
			r.becomes(waiting, message.Done)
			decision, _ := r.registered()
			r.close()
			restore()
			r = newRigAt(t, r.w, r.dir, rigOptions{})
			r.torn = true
			r.allHeld(3, waiting, decision)
			r = r.again(rigOptions{})
			r.torn = true
			r.allHeld(3, waiting, decision)
		})
	}
}

// TestOlderVault: the ledger knows more than the vault; nothing is sent that
// may have been.
func TestOlderVault(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.close()
	restoreVault, restoreEpoch := backup(t, r.dir, "vault"), backup(t, r.dir, "epoch")
	r = newRigAt(t, r.w, r.dir, rigOptions{})
	r.w.links["smtp"].fails(errLater)
	id := r.send("Auskunft", "a@example.net")
	r.until("an attempt", func() bool { i := r.item(key(id, 1)); return i.State == message.Waiting && i.Attempts == 1 })
	r.close()
	restoreVault()
	restoreEpoch()
	r = newRigAt(t, r.w, r.dir, rigOptions{})
	r.damaged = true // bodies are missing
	r.w.links["smtp"].on(nil)
	r.allHeld(1, id)
}

// TestEpoch: a crash between the two writes is no restore; a file that is lost
// beside a ledger with a past is one; the first start and an orderly one are
// none.
func TestEpoch(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(t *testing.T, path string, e map[string]string)
		held   bool
	}{
		"orderly": {func(*testing.T, string, map[string]string) {}, false},
		"between the writes": {func(t *testing.T, path string, e map[string]string) {
			t.Helper()
			write(t, path, map[string]string{"current": "neu", "previous": e["current"]})
		}, false},
		"foreign": {func(t *testing.T, path string, _ map[string]string) {
			t.Helper()
			write(t, path, map[string]string{"current": "neu", "previous": "alt"})
		}, true},
		"lost": {func(t *testing.T, path string, _ map[string]string) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{})
			r.w.links["smtp"].fails(errLater)
			id := r.send("Auskunft", "a@example.net")
			r.until("an attempt", func() bool { i := r.item(key(id, 1)); return i.State == message.Waiting && i.Attempts == 1 })
			for range 2 {
				r.close()
				path := filepath.Join(r.dir, "epoch")
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				var e map[string]string
				if err := json.Unmarshal(text, &e); err != nil {
					t.Fatal(err)
				}
				if e["previous"] != "" {
					t.Errorf("the epoch before still counts: %s", text)
				}
				tt.change(t, path, e)
				r = newRigAt(t, r.w, r.dir, rigOptions{})
			}
			want := message.Waiting
			if tt.held {
				want = message.Held
			}
			if got := r.item(key(id, 1)).State; got != want {
				t.Errorf("after the start: %s, want %s", got, want)
			}
		})
	}
}

// TestFirstStartCutOff: a first start that ended before the epoch was written is
// no restore.
func TestFirstStartCutOff(t *testing.T) {
	t.Parallel()
	r := openRig(t, newWorld(t), filepath.Join(t.TempDir(), "data"), rigOptions{})
	if err := r.store.Apply(context.Background(), queue.Change{Events: []message.Event{{At: r.w.time(), Kind: message.EventStarted}}}); err != nil {
		t.Fatal(err)
	}
	r.run()
	defer r.close()
	if strings.Contains(r.log.String(), "do not belong together") {
		t.Errorf("taken for a restore:\n%s", r.log)
	}
}

func write(t *testing.T, path string, v any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestDiedDuringAttempt: the crash table's last row, class by class: whoever
// dies between lease and settle does not know whether it has left.
func TestDiedDuringAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	at := make(chan struct{}, 4)
	end := make(chan struct{})
	hang := func(context.Context, connectors.Handover) (connectors.Result, error) {
		at <- struct{}{}
		<-end
		return connectors.Result{}, nil
	}
	r.w.links["smtp"].on(hang)
	r.w.links["incamail"].on(hang)
	decision := r.send("[einschreiben] Entscheid", "buerger@example.ch")
	normal := r.send("Auskunft", "a@example.net")
	<-at
	<-at
	copied := filepath.Join(t.TempDir(), "platter")
	for _, name := range []string{"epoch", "audit", "ledger.db", "vault", "keys"} {
		if err := platter(filepath.Join(r.dir, name), filepath.Join(copied, name)); err != nil {
			t.Fatal(err)
		}
	}
	r.dead.Store(true)
	close(end)
	r.close()
	r.w.links["smtp"].on(nil)
	r.w.links["incamail"].on(nil)
	r = newRigAt(t, r.w, copied, rigOptions{})
	r.becomes(normal, message.Done)
	if item := r.becomes(decision, message.Unclear); item.Unclears != 1 {
		t.Errorf("%+v", item)
	}
	r = r.again(rigOptions{}) // starting once more changes nothing
	r.pass(16 * time.Minute)
	r.becomes(decision, message.Held)
	if n, m := len(r.w.links["incamail"].seen()), len(r.w.links["smtp"].seen()); n != 1 || m != 2 {
		t.Errorf("%d and %d submissions, want 1 and 2", n, m)
	}
	r.until("no attempt is open", func() bool { return len(r.list(queue.Query{State: message.Sending})) == 0 })
	if !strings.HasPrefix(r.item(key(decision, 1)).Alarm, "unclear") {
		t.Error("no task for a person")
	}
}
