package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/vault"
)

// crash makes a copy of the data folder at the very moment of one write, sync
// or commit, and lets the process die there: what it does from then on never
// happened.
type crash struct {
	t      *testing.T
	from   string
	to     string
	at     int // number of the moment
	rig    *rig
	ledger sync.Mutex // held while the ledger's file is written

	mu    sync.Mutex
	n     int
	where string
}

func (c *crash) hooks() rigOptions {
	moment := func(what string, inLedger bool) func(string) error {
		return func(path string) error {
			c.moment(what+" "+filepath.Ext(path), inLedger)
			return nil
		}
	}
	return rigOptions{
		vault: vault.Hooks{BeforeCreate: moment("create", false), BeforeWrite: moment("write", false), BeforeSync: moment("sync", false), AfterSync: moment("synced", false)},
		bolt: bolt.Hooks{
			BeforeCommit: func() error {
				c.ledger.Lock()
				c.moment("commit", true)
				return nil
			},
			AfterCommit: func() error {
				c.moment("committed", true)
				c.ledger.Unlock()
				return nil
			},
		},
	}
}

func (c *crash) moment(what string, inLedger bool) {
	if !c.now(what) {
		return
	}
	if !inLedger {
		c.ledger.Lock()
		defer c.ledger.Unlock()
	}
	c.rig.dead.Store(true)
	// Whatever was written first is copied first.
	for _, name := range []string{"epoch", "audit", "ledger.db", "vault", "keys"} {
		if err := platter(filepath.Join(c.from, name), filepath.Join(c.to, name)); err != nil {
			c.t.Error(err)
		}
	}
}

// now counts the moments and reports whether this is the one.
func (c *crash) now(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rig == nil {
		return false // not started yet
	}
	if c.n++; c.n == c.at {
		c.where = what
	}
	return c.n == c.at
}

// platter copies a file or folder.
func platter(from, to string) error {
	info, err := os.Stat(from)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return os.CopyFS(to, os.DirFS(from))
	}
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o700)
	}
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	return err
}

// TestCrash lets the gateway die at every moment of a story. The clients send
// again what was not acknowledged. Every mail ends once at the next system, or
// visibly in the queue; a registered one never twice; a second copy of another
// one is explained. Afterwards the folder starts once more.
func TestCrash(t *testing.T) {
	t.Parallel()
	last := moments(t)
	if last < 30 {
		t.Errorf("only %d moments: do the hooks still work?", last)
	}
	step := 3 // GATEWAYD_CRASH_ALL=1: every moment
	if os.Getenv("GATEWAYD_CRASH_ALL") != "" {
		step = 1
	}
	t.Logf("%d moments", last)
	for at := 1 + rand.N(step); at <= last; at += step {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			crashAt(t, at)
		})
	}
}

// moments counts the moments of the story without a crash.
func moments(t *testing.T) int {
	t.Helper()
	c, mail := &crash{t: t}, newMail()
	w := newWorld(t)
	r := openRig(t, w, filepath.Join(t.TempDir(), "data"), c.hooks())
	r.run()
	c.mu.Lock()
	c.rig = r
	c.mu.Unlock()
	mail.send(r)
	mail.settle(r)
	r.close()
	return c.n
}

func crashAt(t *testing.T, at int) {
	w, base := newWorld(t), t.TempDir()
	c := &crash{t: t, from: filepath.Join(base, "data"), to: filepath.Join(base, "platter"), at: at}
	r := openRig(t, w, c.from, c.hooks())
	r.run()
	c.mu.Lock()
	c.rig = r
	c.mu.Unlock()
	mail := newMail()
	mail.send(r)
	mail.settle(r)
	r.close()
	if c.where == "" {
		return // this run had fewer moments
	}
	r = newRigAt(t, w, c.to, rigOptions{})
	mail.send(r)
	mail.settle(r)
	mail.account(r, c.where)
	r = r.again(rigOptions{})
	mail.settle(r)
	mail.account(r, c.where+", started once more")
}

// mailbag is what the clients send until they are told 250.
type mailbag struct {
	acked map[string]message.ID // by name
}

func newMail() *mailbag { return &mailbag{acked: map[string]message.ID{}} }

var mails = []struct{ name, subject, to, via string }{
	{"registered", "[einschreiben] Entscheid", "buerger@example.ch", "incamail"},
	{"normal", "Auskunft", "a@example.net", "smtp"},
	{"held", "[einschreiben] Entscheid", "firma@example.ch", ""},
	{"refused", "Auskunft", "refused@example.net", ""},
	{"local", "Amtshilfe", "steuer@bl.example", ""},
}

// send brings everything that is not acknowledged, as a client does: the same
// text again.
func (m *mailbag) send(r *rig) {
	for _, x := range mails {
		for end := time.Now().Add(patience); m.acked[x.name].IsZero() && !r.dead.Load() && time.Now().Before(end); {
			id, err := r.g.Accept(context.Background(), submission(x.to), strings.NewReader(letter(x.subject, x.name)+"Inhalt "+x.name+"\r\n"))
			if err == nil && !r.dead.Load() {
				m.acked[x.name] = id
			}
		}
	}
}

// settle waits until nothing moves any more, or the process is dead. Meanwhile
// the platform receipts what it has got.
func (m *mailbag) settle(r *rig) {
	receipted := false
	calm := 0
	for end := time.Now().Add(patience); calm < 15 && !r.dead.Load() && time.Now().Before(end); time.Sleep(3 * time.Millisecond) {
		if got := r.w.links["incamail"].seen(); len(got) > 0 && !receipted {
			_, err := r.inbound(platformSender, r.w.receipt(r.t, "Abgabequittung", got[0].ref, "buerger@example.ch"), "bau@bl.example")
			receipted = err == nil
		}
		n, err := r.g.Counts(context.Background())
		if err == nil && n[message.Waiting]+n[message.Sending] == 0 && len(n) > 0 {
			calm++
		} else {
			calm = 0
		}
	}
}

func (m *mailbag) account(r *rig, where string) {
	r.t.Helper()
	copies := map[string]int{}
	for _, l := range r.w.links {
		for _, got := range l.seen() {
			for _, x := range mails {
				if strings.Contains(got.body, "Inhalt "+x.name+"\r\n") {
					copies[x.name]++
				}
			}
		}
	}
	for _, x := range mails {
		id := m.acked[x.name]
		if id.IsZero() {
			r.t.Errorf("%s: %s was never acknowledged", where, x.name)
			continue
		}
		item, err := r.store.Item(context.Background(), key(id, 1))
		if err != nil {
			r.t.Errorf("%s: %s is lost: %v", where, x.name, err)
			continue
		}
		n := copies[x.name]
		switch {
		case x.name == "registered" && n != 1 && (n > 1 || item.State != message.Unclear && item.State != message.Held):
			r.t.Errorf("%s: %d copies of the registered one, its state %s", where, n, item.State)
		case x.name == "registered" && n == 1 && item.Case != message.CaseSubmitted:
			r.t.Errorf("%s: the receipt did not count: %s, case %q", where, item.State, item.Case)
		case x.name == "normal" && n == 0:
			r.t.Errorf("%s: normal mail lost, %s", where, item.State)
		case x.name == "normal" && n > 1 && !m.explained(r):
			r.t.Errorf("%s: %d copies of normal mail and nobody knows why", where, n)
		case x.name == "held" && item.State != message.Held, x.name == "local" && item.State != message.Done:
			r.t.Errorf("%s: %s is %s", where, x.name, item.State)
		}
	}
}

// explained: normal mail may be there twice when its attempt was open at the
// crash, or when the client was not told 250 and sent it again.
func (m *mailbag) explained(r *rig) bool {
	accepted, unclear := 0, 0
	for _, item := range r.list(queue.Query{Authority: "bau", MessageID: "<normal@bl.example>"}) {
		accepted++
		unclear += r.events(item.Key.Message, message.EventUnclear)
	}
	return accepted > 1 || unclear > 0
}
