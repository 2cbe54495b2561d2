package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/crypto/seal"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/retention"
	"gatewayd/vault"
)

// TestLoss: the gateway stood still from six days before the limit until four days
// after it, so that nothing could be exported in time. What nobody had confirmed is
// not readable any more, and destroyed; that is an incident, and said as one: in the
// protocol, in the log, to the authority by mail, and as a task until somebody says
// what became of the matter. What was confirmed or relayed is no loss. A sweep that is
// cut off at any step, and comes again, says all of it once.
func TestLoss(t *testing.T) {
	var steps []string
	for cut := 0; cut == 0 || cut <= len(steps); cut++ {
		name := "whole"
		if cut > 0 {
			name = fmt.Sprintf("%d %s", cut, steps[cut-1])
		}
		t.Run(name, func(t *testing.T) {
			if passed := lossAt(t, cut); cut == 0 {
				steps = passed
			}
		})
	}
	if all := strings.Join(steps, " "); !strings.Contains(all, "remind destroy") {
		t.Errorf("steps: %s", all)
	}
}

// lossAt cuts the first sweep off before its n-th step; 0: never. It returns the
// steps.
func lossAt(t *testing.T, n int) (steps []string) {
	f := newOffice(t)
	f.run()
	in, sent := f.plant("inbound", "verloren"), f.plant("registered", "unterwegs")
	done, relayed := f.plant("inbound", "abgelegt"), f.plant("normal", "weiter")
	f.quiet()
	f.confirm(done.id)
	limit := retention.Default().EraseBy(in.at)
	stopped(t, f, &in, limit.Add(-6*24*time.Hour), limit.Add(4*24*time.Hour))
	f.boot = "first" // the machine ran on: its clock is not in doubt
	f.open(t, f.w, f.dir)
	if _, err := f.vault.OpenBody(in.ref); !errors.Is(err, vault.ErrGone) {
		t.Errorf("before the first sweep: %v", err)
	}
	f.hook = func(step string) error {
		if steps = append(steps, step); len(steps) == n {
			return errCut
		}
		return nil
	}
	did, err := f.ret.Sweep(context.Background())
	silent := n > 0 && steps[n-1] == "remind" // a mail that cannot be written does not hold up the erasure
	if (n == 0 || silent) && (err != nil || did.Lost != 2) || n > 0 && !silent && !errors.Is(err, errCut) {
		t.Fatalf("%+v %v", did, err)
	}
	f.hook = nil
	f.shut()
	f.w.set(f.w.time().Add(20 * time.Second))
	f.open(t, f.w, f.dir)
	f.run()
	f.sweep()
	f.quiet()
	if f.keys.Exists(seal.Content, in.ref.Day) {
		t.Error("the key is still there")
	}
	for id, want := range map[message.ID]int{in.id: 1, sent.id: 1, done.id: 0, relayed.id: 0} {
		if got := f.events(id, message.EventLost); got != want {
			t.Errorf("%s: %d events, want %d", id, got, want)
		}
		if alarm := f.item(key(id, 1)).Alarm; strings.Contains(alarm, "nobody has it") != (want == 1) {
			t.Errorf("%s: alarm %q", id, alarm)
		}
	}
	f.checkLossProtocol(t)
	f.checkLossTold(t, !silent, in, sent)
	f.checkLossTask(t, in.id, sent.id)
	f.close()
	return steps
}

func (f *office) checkLossProtocol(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(f.dir, "protocols", "*-content-*.jsonl"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%v %v", names, err)
	}
	text, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	_, list, tail, err := protocolOf(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	none := 0
	for _, d := range list {
		if d.Disposition == "none" {
			none++
			if !strings.Contains(d.Failed, "did not run") {
				t.Errorf("%+v", d)
			}
		}
	}
	if none != 2 || tail.Failed < 2 || tail.Late == nil || !strings.HasPrefix(tail.Late.By, "96h") || tail.Late.Until.Sub(tail.Late.From) < 9*24*time.Hour {
		t.Errorf("%d without disposition; %+v %+v", none, tail, tail.Late)
	}
}

// checkLossTold: the authority was told once, by mail that quotes nothing.
func (f *office) checkLossTold(t *testing.T, want bool, in, sent planted) {
	told := 0
	for _, n := range f.notes("bau") {
		if n.about.Message.IsZero() && strings.Contains(n.text, "nobody has them") {
			told++
			if !strings.Contains(n.text, in.id.String()) || !strings.Contains(n.text, sent.id.String()) || strings.Contains(n.text, in.subject) {
				t.Errorf("it says %q", n.text)
			}
		}
	}
	if want != (told == 1) || told > 1 {
		t.Errorf("told %d times", told)
	}
}

// checkLossTask: the task stands until somebody says what became of the matter.
func (f *office) checkLossTask(t *testing.T, ids ...message.ID) {
	ctx := context.Background()
	waits := func() (n int) {
		page, _, err := f.g.Unfiled(ctx, "bau", "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range page {
			if u.Lost {
				n++
			}
		}
		return n
	}
	if n := waits(); n != len(ids) {
		t.Errorf("%d tasks", n)
	}
	for _, id := range ids {
		if _, err := gateway.NewPrograms(f.g).HandOver(ctx, "bau", id, message.Filing{Disposition: message.NoRecord, Ref: "INC-2027-4", By: "fach"}); err != nil {
			t.Fatal(err)
		}
		if alarm := f.item(key(id, 1)).Alarm; strings.Contains(alarm, "nobody has it") {
			t.Errorf("it is closed, and the alarm says %q", alarm)
		}
	}
	if n := waits(); n != 0 {
		t.Errorf("%d tasks are left", n)
	}
}
