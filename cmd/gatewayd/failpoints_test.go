package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/retention"
)

// failpoint is a moment at which the program is killed (failpoints_on.go).
type failpoint struct {
	name string
	upTo int // it dies when the moment is passed at the latest that often
}

// killPoints are moments under load, in an order in which one makes the next one possible:
// an attempt is found open only after a kill between hand-over and settling.
// docs/faults.md says what each means.
var killPoints = []failpoint{
	// start
	{"vault.sync.dir", 1},
	{"vault.synced.dir", 1},
	{"vault.create.dir", 1},
	{"vault.create.new", 1},
	{"vault.write.new", 1},
	{"vault.sync.new", 1},
	{"vault.synced.new", 1},
	{"vault.rename.new", 1},
	{"commit.before", 1},
	{"commit.after", 1},
	{"epoch.before", 1},
	{"epoch.after", 1},
	{"note.before", 1},
	{"note.after", 1},
	// accept
	{"accept.before", 20},
	{"vault.create.part", 3},
	{"vault.write.part", 10},
	{"vault.sync.part", 3},
	{"vault.synced.part", 3},
	{"vault.create.seg", 1},
	{"vault.write.seg", 20},
	{"vault.sync.seg", 20},
	{"vault.synced.seg", 20},
	{"vault.rename.part", 3},
	{"accept.after", 20},
	// ledger
	{"index.before", 5},
	{"index.after", 5},
	{"commit.before", 40},
	{"commit.after", 40},
	// hand-over and settling
	{"lease.before", 5},
	{"lease.after", 1},
	{"submit.before", 10},
	{"submit.after", 10},
	{"unclear.before", 1},
	{"submit.after", 10},
	{"unclear.after", 1},
	{"settle.before", 10},
	{"settle.after", 10},
	{"tell.before", 3},
	{"tell.after", 3},
	// what comes back
	{"receipt.before", 3},
	{"receipt.after", 3},
	{"mailbox.before", 3},
	{"mailbox.after", 3},
	// audit
	{"audit.write", 2},
	{"audit.before", 2},
	{"audit.after", 2},
	// what was delivered lets go of its body
	{"sweep.release", 1},
	{"vault.punch.seg", 1},
	{"vault.remove.body", 1},
	{"erase.before", 1},
	{"erase.after", 1},
	// compaction, in this build at every start
	{"compact.before", 1},
	{"compact.after", 1},
}

// sweepPoints are the moments of erasure, each at its time: so long before
// the limit of the content, or, with log, behind the end of the log window.
var sweepPoints = []struct {
	failpoint
	before time.Duration
	log    bool
}{
	{failpoint{"sweep.export", 20}, 5 * 24 * time.Hour, false},
	{failpoint{"sweep.expire", 1}, 3 * 24 * time.Hour, false},
	{failpoint{"sweep.doom", 1}, 3 * 24 * time.Hour, false},
	{failpoint{"sweep.list", 1}, 2*24*time.Hour - time.Hour, false},
	{failpoint{"sweep.destroy", 1}, 2*24*time.Hour - time.Hour, false},
	{failpoint{"sweep.unlink", 1}, 2*24*time.Hour - time.Hour, false},
	{failpoint{"vault.remove.seg", 1}, 2*24*time.Hour - time.Hour, false},
	{failpoint{"vault.remove.dir", 1}, 2*24*time.Hour - time.Hour, false},
	{failpoint{"sweep.protocol", 1}, 2*24*time.Hour - time.Hour, false},
	{failpoint{"sweep.purge", 1}, -time.Hour, true},
	{failpoint{"sweep.erase-audit", 1}, -time.Hour, true},
	{failpoint{"sweep.destroy", 1}, -time.Hour, true},
	{failpoint{"sweep.unlink", 1}, -time.Hour, true},
	{failpoint{"sweep.protocol", 1}, -time.Hour, true},
}

// failpointBinary builds the program with its failpoints.
func failpointBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gatewayd-failpoints")
	build := exec.Command("go", "build", "-tags", "failpoints", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// TestFailpoints kills the program once at every dangerous moment while 20
// clients send, and starts it again: what TestKill demands, at each of them.
// GATEWAYD_FAILPOINTS=1 takes them all; otherwise a few are drawn.
func TestFailpoints(t *testing.T) {
	points := slices.Clone(killPoints)
	if os.Getenv("GATEWAYD_FAILPOINTS") == "" {
		points = drawn(points, times("", 6, 2))
	}
	r := newRig(t, tormentable)
	r.binary = failpointBinary(t)
	passed := filepath.Join(t.TempDir(), "passed")
	ack, stop := r.underLoad(20)
	defer stop()
	r.start() // something must be there to let go, to compact and to find open
	ack.acknowledges(t, 100)
	r.kill()
	for _, p := range points {
		r.steadyClock()
		r.env = []string{fmt.Sprintf("GATEWAYD_FAILPOINT=%s@%d", p.name, 1+rand.N(p.upTo)), "GATEWAYD_FAILPOINTS_PASSED=" + passed}
		r.diesOf(p.name)
		if out, code := r.run("queue", "check"); code != 0 {
			t.Fatalf("after %s: queue check: exit %d\n%s", r.env[0], code, out)
		}
	}
	stop()
	r.env = []string{"GATEWAYD_FAILPOINTS_PASSED=" + passed}
	r.start()
	r.settled()
	r.account(ack, fmt.Sprintf("killed at %d failpoints", len(points)))
	r.sound("after all failpoints")
	r.listed(passed)
}

// drawn takes n of them, in their order.
func drawn(points []failpoint, n int) []failpoint {
	for len(points) > n {
		i := rand.N(len(points))
		points = slices.Delete(points, i, i+1)
	}
	return slices.DeleteFunc(points, func(p failpoint) bool { return strings.HasPrefix(p.name, "unclear") }) // they need the one before
}

// diesOf starts the program and waits until it has killed itself.
func (r *rig) diesOf(name string) {
	r.t.Helper()
	cmd := exec.Command(r.binary, "serve", "-c", r.file)
	cmd.Env = append(os.Environ(), r.env...)
	cmd.Stdout, cmd.Stderr = r.log, r.log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { cmd.Process.Signal(syscall.SIGTERM) })
	defer late.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		r.t.Fatalf("it did not die at %s: %v\n%s", name, err, tailOf(r.log.String(), 3000))
	}
}

// steadyClock writes down that the clock has run for days without a jump, so
// that the next sweep may erase and compact.
func (r *rig) steadyClock() {
	r.t.Helper()
	now := time.Now().Add(r.ahead)
	text, err := json.Marshal(map[string]any{"high": now, "seen": now, "steady_ns": 100 * time.Hour})
	if err == nil {
		err = os.WriteFile(filepath.Join(r.cfg.Data, "clock.json"), text, 0o600)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// sweepsTo starts the program, waits for a file and kills it.
func (r *rig) sweepsTo(path string) {
	r.t.Helper()
	r.steadyClock()
	r.env = r.env[1:]
	r.start()
	await(r.t, filepath.Base(path), func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
	r.kill()
}

// listed fails for a moment that was passed and that no test kills at: a new
// one must come into the list.
func (r *rig) listed(passed string) {
	r.t.Helper()
	text, err := os.ReadFile(passed)
	if err != nil {
		r.t.Fatal(err)
	}
	known := map[string]bool{
		"vault.truncate.seg": true, // only where a kill has left half a record: package vault kills there
	}
	for _, p := range killPoints {
		known[p.name] = true
	}
	for _, name := range strings.Fields(string(text)) {
		if !known[name] {
			r.t.Errorf("moment %s was passed, and no test kills there: list it among the failpoints", name)
			known[name] = true
		}
	}
}

// TestSweepFailpoints kills the program once at every step of erasure, with a
// clock that is ahead: the sweeps that follow end what was begun, nothing is
// left, and everything stands in a whole protocol.
func TestSweepFailpoints(t *testing.T) {
	if os.Getenv("GATEWAYD_FAILPOINTS") == "" {
		t.Skip("GATEWAYD_FAILPOINTS=1 kills at every step of erasure; gateway.TestSweepCrash does so in one process")
	}
	r := newRig(t, tormentable)
	r.binary = failpointBinary(t)
	ack, stop := r.underLoad(8)
	defer stop()
	r.start()
	ack.acknowledges(t, 60)
	stop()
	r.settled()
	r.stop()
	windows, now := retention.Default(), time.Now()
	for _, p := range sweepPoints {
		at := windows.EraseBy(now).Add(-p.before)
		if p.log {
			at = windows.LogDay(now).End().Add(-p.before)
		}
		r.ahead = at.Sub(now)
		r.steadyClock()
		r.env = []string{"GATEWAYD_FAILPOINT=" + p.name, "GATEWAYD_FAILPOINTS_CLOCK=" + r.ahead.String()}
		r.diesOf(p.name)
		if out, code := r.run("queue", "check"); code != 0 {
			t.Fatalf("after %s: queue check: exit %d\n%s", p.name, code, out)
		}
		if p.name == "sweep.doom" { // a key is destroyed only when it has refused for a day
			r.sweepsTo(filepath.Join(r.cfg.Data, "keys", "content-"+windows.ContentDay(now).String()+".doomed"))
		}
	}
	r.steadyClock()
	r.env = r.env[1:]
	r.start()
	protocols := filepath.Join(r.cfg.Data, "protocols")
	key := filepath.Join(r.cfg.Data, "keys", "log-"+windows.LogDay(now).String()+".key")
	await(t, "the end of the log window", func() bool {
		parts, _ := filepath.Glob(filepath.Join(protocols, "*.part"))
		_, err := os.Stat(key)
		return errors.Is(err, os.ErrNotExist) && len(parts) == 0
	})
	for _, family := range []string{"content-" + windows.ContentDay(now).String(), "log-" + windows.LogDay(now).String()} {
		if all, _ := filepath.Glob(filepath.Join(protocols, "*"+family+"*")); len(all) != 1 {
			t.Errorf("protocols of %s: %v", family, all)
		}
		if all, _ := filepath.Glob(filepath.Join(r.cfg.Data, "keys", family+"*.key")); len(all) != 0 {
			t.Errorf("keys of %s: %v", family, all)
		}
	}
	if _, err := os.Stat(filepath.Join(r.cfg.Data, "vault", windows.ContentDay(now).String())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the content of the day is still there: %v", err)
	}
	r.sound("after all steps of erasure")
	t.Logf("killed at %d steps of erasure", len(sweepPoints))
}
