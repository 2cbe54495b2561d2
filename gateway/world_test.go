package gateway_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/calendar"
	"gatewayd/connectors"
	"gatewayd/directory"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/receipts"
	"gatewayd/retention"
)

// world is what lies outside of the data folder: the clock, the next systems
// and the directory. It outlives crashes.
type world struct {
	mu     sync.Mutex
	now    time.Time
	clock  func() time.Time // virtual time; nil: now, which a test moves
	people atomic.Pointer[directory.Directory]
	links  map[string]*link
	seal   platformSeal
}

// link is a next system that does what a test says.
type link struct {
	name string
	mu   sync.Mutex
	got  []handed
	do   func(context.Context, connectors.Handover) (connectors.Result, error) // nil: takes everything
}

// port is a link as one process sees it: who is dead reaches nobody.
type port struct {
	*link
	dead *atomic.Bool
}

func (p port) Submit(ctx context.Context, h connectors.Handover) (connectors.Result, error) {
	if p.dead.Load() {
		return connectors.Result{}, errLater
	}
	return p.link.Submit(ctx, h)
}

// handed is one submission that a next system saw.
type handed struct {
	key  message.ItemKey
	from message.Address
	ref  string
	body string
}

func (l *link) Name() string              { return l.name }
func (l *link) Limits() connectors.Limits { return connectors.Limits{} }

func (l *link) Submit(ctx context.Context, h connectors.Handover) (connectors.Result, error) {
	b, err := io.ReadAll(h.Body)
	if err != nil {
		return connectors.Result{}, err
	}
	l.mu.Lock()
	l.got = append(l.got, handed{h.Item.Key, h.From, h.Item.Reference, string(b)})
	do := l.do
	l.mu.Unlock()
	if do == nil {
		return connectors.Result{Reply: "250 ok"}, nil
	}
	return do(ctx, h)
}

func (l *link) on(do func(context.Context, connectors.Handover) (connectors.Result, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.do = do
}

// fails lets every attempt fail with err.
func (l *link) fails(err error) {
	l.on(func(context.Context, connectors.Handover) (connectors.Result, error) {
		return connectors.Result{SentAs: "<sent@gateway.bl.example>"}, err
	})
}

func (l *link) seen() []handed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]handed(nil), l.got...)
}

var (
	errLater   = &connectors.Error{Kind: connectors.Temporary, Step: connectors.StepRcpt, Code: 450, Enhanced: "4.2.1", Text: "later"}
	errNever   = &connectors.Error{Kind: connectors.Permanent, Step: connectors.StepRcpt, Code: 550, Enhanced: "5.1.1", Text: "no such user"}
	errUnclear = &connectors.Error{Kind: connectors.Unclear, Step: connectors.StepDot, Err: errors.New("connection lost")}
)

const peopleText = `
[[recipient]]
address = "buerger@example.ch"
platforms = [{ name = "incamail", identified = true, checked = 2026-11-01 }]
consent = [{ authority = "*", scope = "all", form = "text", given = 2026-01-05, evidence = "sha256:0000000000000000000000000000000000000000000000000000000000000000" }]

[[recipient]]
address = "firma@example.ch"
platforms = [{ name = "incamail", identified = true, checked = 2026-11-01 }]
`

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{now: time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC), links: map[string]*link{}, seal: newSeal(t)}
	for _, name := range []string{"incamail", "smtp"} {
		w.links[name] = &link{name: name}
	}
	w.know(t, peopleText)
	return w
}

// know replaces the directory.
func (w *world) know(t testing.TB, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "directory.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d, problems := directory.Load(path)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w.people.Store(d)
}

func (w *world) time() time.Time {
	if w.clock != nil {
		return w.clock()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) options(t testing.TB, r *rig, log *audit.Log, windows retention.Windows) gateway.Options {
	t.Helper()
	rules, errs := policy.Compile(policy.Options{GiveUpLimit: windows.GiveUpLimit(), Routes: []policy.Route{
		{Name: "entscheide", When: `message.class == "registered"`, Via: []string{"incamail"}},
		{Name: "vertraulich", When: `message.class == "confidential"`, Via: []string{"incamail"}},
		{Name: "intern", When: `recipient.internal`, Via: []string{"mailbox"}},
		{Name: "extern", When: `message.class == "normal"`, Via: []string{"smtp"}, GiveUp: 4 * time.Hour},
	}})
	recogniser, more := receipts.New(receipts.Options{Platforms: receipts.DefaultPlatforms()})
	if errs = append(errs, more...); len(errs) > 0 {
		t.Fatal(errs)
	}
	links := map[string]connectors.Connector{}
	for name, l := range w.links {
		links[name] = port{l, &r.dead}
	}
	return gateway.Options{
		Hostname: "gateway.bl.example", Data: r.dir, ReferencePrefix: "BL", Vault: r.vault, Store: r.store, Audit: log,
		Authorities: []gateway.Authority{
			{ID: "bau", Name: "Bauinspektorat", Addresses: []message.Address{addr("bau@bl.example"), addr("planung@bl.example")}, Platforms: map[string]message.Address{"incamail": addr("bau@inca.example")}, Accounts: []string{"bau"}},
			{ID: "steuer", Name: "Steuerverwaltung", Addresses: []message.Address{addr("steuer@bl.example")}, Accounts: []string{"steuer"}},
		},
		Policy: rules, Vocabulary: policy.DefaultVocabulary(), Directory: w.people.Load, Connectors: links,
		Platforms: map[string]gateway.Platform{"incamail": {
			State:       policy.PlatformState{Configured: true, Tags: map[message.Class]string{message.Registered: "<r> ", message.Confidential: "<c> "}},
			Recognised:  gateway.Recognition{By: "Vo E-GovG", Reference: "RRB 1", From: calendar.Day{Year: 2022, Month: 1, Day: 1}},
			Roots:       w.seal.roots,
			ReceiptWait: 15 * time.Minute,
		}},
		Recogniser: recogniser, Windows: windows, Now: w.time, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Delivery: gateway.Delivery{RetryFirst: time.Minute, RetryMax: 30 * time.Minute, HoldReturn: 24 * time.Hour, Concurrency: 4, PerTarget: 2},
	}
}
