//go:build failpoints

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"gatewayd/connectors"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/smtp"
	"gatewayd/vault"
)

// taps lets the program die, as by SIGKILL, at a dangerous moment (build tag
// failpoints; docs/faults.md). Three variables of the environment speak to it:
//
//	GATEWAYD_FAILPOINT=index.after@3        die when that moment is passed the third time
//	GATEWAYD_FAILPOINTS_PASSED=file         write each moment there once, when it is passed first
//	GATEWAYD_FAILPOINTS_CLOCK=1464h         the clock goes ahead by that much
type taps struct {
	*failpoints
}

// failpoints counts moments.
type failpoints struct {
	name  string
	at    int
	ahead time.Duration

	mu     sync.Mutex
	hits   int
	passed map[string]bool
	list   *os.File
}

func newTaps() taps {
	f := &failpoints{at: 1, passed: map[string]bool{}}
	name, at, counted := strings.Cut(os.Getenv("GATEWAYD_FAILPOINT"), "@")
	f.name = name
	var err error
	if counted {
		f.at, err = strconv.Atoi(at)
	}
	if path := os.Getenv("GATEWAYD_FAILPOINTS_PASSED"); path != "" && err == nil {
		f.list, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	}
	if ahead := os.Getenv("GATEWAYD_FAILPOINTS_CLOCK"); ahead != "" && err == nil {
		f.ahead, err = time.ParseDuration(ahead)
	}
	if err != nil {
		panic(fmt.Sprintf("failpoints: %v", err))
	}
	return taps{f}
}

// moment is passed; the program may end here.
func (f *failpoints) moment(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.list != nil && !f.passed[name] {
		f.passed[name] = true
		fmt.Fprintln(f.list, name)
	}
	if name != f.name {
		return
	}
	if f.hits++; f.hits == f.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (t taps) clock(now func() time.Time) func() time.Time {
	return func() time.Time { return now().Add(t.ahead) }
}

func (t taps) vault() vault.Hooks {
	at := func(step string) func(string) error {
		return func(path string) error {
			kind := strings.TrimPrefix(filepath.Ext(path), ".")
			if kind == "" {
				kind = "dir"
			}
			t.moment("vault." + step + "." + kind)
			return nil
		}
	}
	return vault.Hooks{
		BeforeCreate: at("create"), BeforeWrite: at("write"), BeforeSync: at("sync"), AfterSync: at("synced"), BeforeRename: at("rename"),
		BeforeTruncate: at("truncate"), BeforePunch: at("punch"), BeforeRemove: at("remove"),
	}
}

func (t taps) bolt() bolt.Hooks {
	at := func(name string) func() error {
		return func() error {
			t.moment(name)
			return nil
		}
	}
	return bolt.Hooks{BeforeCommit: at("commit.before"), AfterCommit: at("commit.after"), BeforeSwap: at("compact.before"), AfterSwap: at("compact.after")}
}

func (t taps) sweep() func(string) error {
	return func(step string) error {
		t.moment("sweep." + strings.ReplaceAll(step, " ", "-"))
		return nil
	}
}

// ledger compacts at every chance, however little it brings.
func (t taps) ledger(l gateway.Ledger) gateway.Ledger { return tappedLedger{l} }

type tappedLedger struct{ gateway.Ledger }

// Compact implements gateway.Ledger.
func (l tappedLedger) Compact(ctx context.Context) (bool, error) {
	s, ok := l.Ledger.(*bolt.Store)
	if !ok {
		return l.Ledger.Compact(ctx)
	}
	return true, s.CompactNow(ctx)
}

func (t taps) store(s queue.Store) queue.Store { return tappedStore{s, t} }

// tappedStore has a moment before and after each change of the ledger.
type tappedStore struct {
	queue.Store
	t taps
}

func (s tappedStore) around(name string, do func() error) error {
	s.t.moment(name + ".before")
	defer s.t.moment(name + ".after")
	return do()
}

// Index implements queue.Store.
func (s tappedStore) Index(ctx context.Context, batch []queue.Accepted, marks map[uint64]int64) error {
	return s.around("index", func() error { return s.Store.Index(ctx, batch, marks) })
}

// IndexAndLease implements queue.Store.
func (s tappedStore) IndexAndLease(ctx context.Context, batch []queue.Accepted, marks map[uint64]int64, now time.Time, take func(message.Item) bool) (leased []queue.Leased, err error) {
	err = s.around("index", func() error {
		leased, err = s.Store.IndexAndLease(ctx, batch, marks, now, take)
		return err
	})
	return leased, err
}

// Lease implements queue.Store. A lease that takes nothing has no moment behind it.
func (s tappedStore) Lease(ctx context.Context, now time.Time, max int, room func(string) queue.Room) ([]queue.Leased, error) {
	s.t.moment("lease.before")
	leased, err := s.Store.Lease(ctx, now, max, room)
	if len(leased) > 0 {
		s.t.moment("lease.after")
	}
	return leased, err
}

// Apply implements queue.Store.
func (s tappedStore) Apply(ctx context.Context, c queue.Change) error {
	return s.around(changeName(c), func() error { return s.Store.Apply(ctx, c) })
}

// changeName says by the last event what a change is about.
func changeName(c queue.Change) string {
	if len(c.Events) == 0 {
		return "note"
	}
	switch c.Events[len(c.Events)-1].Kind {
	case message.EventHanded, message.EventRetry, message.EventRefused:
		return "settle"
	case message.EventUnclear:
		return "unclear"
	case message.EventNotice, message.EventHeld:
		return "tell"
	case message.EventReceipt, message.EventCase, message.EventUnmatched, message.EventForged, message.EventBounced, message.EventOverdue:
		return "receipt"
	case message.EventMailbox:
		return "mailbox"
	case message.EventErased, message.EventExported, message.EventExpired:
		return "erase"
	default:
		return "note"
	}
}

// Forget implements queue.Store: the day files have these links, synced.
func (s tappedStore) Forget(ctx context.Context, upTo uint64) error {
	return s.around("audit", func() error { return s.Store.Forget(ctx, upTo) })
}

// Pending implements queue.Store.
func (s tappedStore) Pending(ctx context.Context, after uint64, max int) ([]message.Link, error) {
	links, err := s.Store.Pending(ctx, after, max)
	if len(links) > 0 {
		s.t.moment("audit.write")
	}
	return links, err
}

// SetEpoch implements queue.Store.
func (s tappedStore) SetEpoch(ctx context.Context, epoch string) error {
	return s.around("epoch", func() error { return s.Store.SetEpoch(ctx, epoch) })
}

func (t taps) links(all map[string]connectors.Connector) map[string]connectors.Connector {
	tapped := map[string]connectors.Connector{}
	for name, c := range all {
		tapped[name] = tappedLink{c, t}
	}
	return tapped
}

// tappedLink has a moment before and after each hand-over.
type tappedLink struct {
	connectors.Connector
	t taps
}

// Submit implements connectors.Connector.
func (l tappedLink) Submit(ctx context.Context, h connectors.Handover) (connectors.Result, error) {
	l.t.moment("submit.before")
	defer l.t.moment("submit.after")
	return l.Connector.Submit(ctx, h)
}

func (t taps) intake(i smtp.Intake) smtp.Intake { return tappedIntake{i, t} }

// tappedIntake has a moment between the last sync and the reply.
type tappedIntake struct {
	smtp.Intake
	t taps
}

// Accept implements smtp.Intake.
func (i tappedIntake) Accept(ctx context.Context, s message.Submission, body io.Reader) (message.ID, error) {
	i.t.moment("accept.before")
	defer i.t.moment("accept.after")
	return i.Intake.Accept(ctx, s, body)
}
