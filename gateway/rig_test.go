package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/calendar"
	"gatewayd/connectors"
	"gatewayd/crypto/seal"
	"gatewayd/directory"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/receipts"
	"gatewayd/retention"
	"gatewayd/vault"
)

// world is what lies outside of the data folder: the clock, the next systems
// and the directory. It outlives crashes.
type world struct {
	mu     sync.Mutex
	now    time.Time
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

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{now: time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC), links: map[string]*link{}, seal: newSeal(t)}
	for _, name := range []string{"incamail", "smtp"} {
		w.links[name] = &link{name: name}
	}
	w.know(t, peopleText)
	return w
}

// know replaces the directory.
func (w *world) know(t *testing.T, text string) {
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
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// rig is one gateway on one data folder.
type rig struct {
	t     *testing.T
	w     *world
	o     rigOptions
	dir   string
	vault *vault.Vault
	store queue.Store
	g     *gateway.Gateway
	log   *lockedBuffer
	stop  context.CancelFunc
	ended chan error
	dead  atomic.Bool // a crash was made of it: what it does from now on never happened
	// torn means that ledger and audit files do not belong together, as after a
	// restore: the chain is broken, and says so.
	torn bool
	// damaged means that a test has changed the vault: Check must say so.
	damaged bool
}

type rigOptions struct {
	vault vault.Hooks
	bolt  bolt.Hooks
	wrap  func(queue.Store) queue.Store
	edit  func(*gateway.Options)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newRig starts a gateway on an empty folder.
func newRig(t *testing.T, o rigOptions) *rig {
	t.Helper()
	return newRigAt(t, newWorld(t), filepath.Join(t.TempDir(), "data"), o)
}

// newRigAt starts a gateway on a folder, and checks it when the test ends.
func newRigAt(t *testing.T, w *world, dir string, o rigOptions) *rig {
	t.Helper()
	r := openRig(t, w, dir, o)
	r.run()
	t.Cleanup(r.close)
	return r
}

// openRig opens everything; nothing runs.
func openRig(t *testing.T, w *world, dir string, o rigOptions) *rig {
	t.Helper()
	r := &rig{t: t, w: w, o: o, dir: dir, log: &lockedBuffer{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Open(filepath.Join(dir, "keys"), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	if r.vault, err = vault.Open(vault.Options{Dir: filepath.Join(dir, "vault"), Keys: keys, Hooks: o.vault}); err != nil {
		t.Fatal(err)
	}
	windows := retention.Default()
	store, err := bolt.Open(bolt.Options{
		Path: filepath.Join(dir, "ledger.db"), Keys: keys, Now: w.time, Hooks: o.bolt,
		LogDay: func(at time.Time) string { return windows.LogDay(at).String() },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.store = store
	if o.wrap != nil {
		r.store = o.wrap(store)
	}
	log, err := audit.Open(filepath.Join(dir, "audit"), keys)
	if err != nil {
		t.Fatal(err)
	}
	options := w.options(t, r, log, windows)
	if o.edit != nil {
		o.edit(&options)
	}
	if r.g, err = gateway.New(options); err != nil {
		t.Fatal(err)
	}
	r.g.Sooner()
	return r
}

func (w *world) options(t *testing.T, r *rig, log *audit.Log, windows retention.Windows) gateway.Options {
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

// run starts the flow and waits until mail may be accepted.
func (r *rig) run() {
	r.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r.stop, r.ended = stop, make(chan error, 1)
	ready := make(chan struct{})
	go func() { r.ended <- r.g.Run(ctx, ready) }()
	select {
	case <-ready:
	case err := <-r.ended:
		r.t.Fatalf("start: %v", err)
	case <-time.After(10 * time.Second):
		r.t.Fatal("the gateway does not become ready")
	}
}

// close stops the flow and checks every invariant.
func (r *rig) close() {
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	select {
	case err := <-r.ended:
		if err != nil && !errors.Is(err, audit.ErrBroken) {
			r.t.Errorf("run: %v", err)
		}
	case <-time.After(10 * time.Second):
		r.t.Error("the gateway does not stop")
		return
	}
	if !r.dead.Load() {
		r.verify()
	}
	if err := errors.Join(r.store.Close(), r.vault.Close()); err != nil {
		r.t.Errorf("close: %v", err)
	}
}

func (r *rig) verify() {
	problems, err := r.g.Check(context.Background())
	if err != nil || len(problems) > 0 != r.damaged {
		r.t.Errorf("check: %v %q, damaged %v", err, problems, r.damaged)
	}
	report, err := r.g.VerifyAudit(context.Background())
	if err != nil || report.OK() == r.torn {
		r.t.Errorf("audit: %v %+v, torn %v", err, report, r.torn)
	}
	if r.t.Failed() {
		r.t.Logf("log:\n%s", r.log)
	}
}

// again stops the gateway in order and starts one on the same folder.
func (r *rig) again(o rigOptions) *rig {
	r.t.Helper()
	r.close()
	return newRigAt(r.t, r.w, r.dir, o)
}

// pass moves the clock.
func (r *rig) pass(d time.Duration) {
	r.w.mu.Lock()
	r.w.now = r.w.now.Add(d)
	r.w.mu.Unlock()
	r.g.Wake()
}

func addr(s string) message.Address {
	a, err := message.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func letter(subject, id string) string {
	return fmt.Sprintf("From: bau@bl.example\r\nSubject: %s\r\nMessage-ID: <%s@bl.example>\r\n\r\nSehr geehrte Damen und Herren\r\n", subject, id)
}

func submission(to ...string) message.Submission {
	s := message.Submission{Door: message.Outbound, Account: "bau", Authority: "bau", From: addr("bau@bl.example"), Protocol: "ESMTPSA"}
	for _, a := range to {
		s.To = append(s.To, message.Recipient{Address: addr(a)})
	}
	return s
}

// send submits a letter that must be accepted.
func (r *rig) send(subject string, to ...string) message.ID {
	r.t.Helper()
	return r.submit(submission(to...), letter(subject, message.NewID(time.Now()).String()))
}

func (r *rig) submit(s message.Submission, text string) message.ID {
	r.t.Helper()
	id, err := r.g.Accept(context.Background(), s, strings.NewReader(text))
	if err != nil {
		r.t.Fatalf("accept: %v", err)
	}
	return id
}

// inbound brings mail from outside through both questions of port 25.
func (r *rig) inbound(from, text string, to ...string) (message.ID, error) {
	s := message.Submission{Door: message.Inbound, Protocol: "ESMTPS"}
	if from != "" {
		s.From = addr(from)
	}
	for _, a := range to {
		if err := r.g.Willing(context.Background(), s, addr(a)); err != nil {
			return message.ID{}, err
		}
		s.To = append(s.To, message.Recipient{Address: addr(a)})
	}
	return r.g.Accept(context.Background(), s, strings.NewReader(text))
}

func key(id message.ID, n int) message.ItemKey { return message.ItemKey{Message: id, N: n} }

func (r *rig) item(k message.ItemKey) message.Item {
	item, err := r.store.Item(context.Background(), k)
	if err != nil && !errors.Is(err, queue.ErrNotFound) {
		r.t.Errorf("item %s: %v", k, err)
	}
	return item
}

// until waits for something.
func (r *rig) until(what string, there func() bool) {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if there() {
			return
		}
	}
	r.t.Fatalf("did not come: %s\nlog:\n%s", what, r.log)
}

// becomes waits for a state of the first recipient's item.
func (r *rig) becomes(id message.ID, s message.State) message.Item {
	r.t.Helper()
	return r.itemBecomes(key(id, 1), s)
}

func (r *rig) itemBecomes(k message.ItemKey, s message.State) message.Item {
	r.t.Helper()
	var item message.Item
	r.until(fmt.Sprintf("%s is %s", k, s), func() bool { item = r.item(k); return item.State == s })
	return item
}

// stays gives the loops time to do what they must not do.
func (r *rig) stays() { time.Sleep(250 * time.Millisecond) }

// note is a text that the gateway wrote to a sender.
type note struct {
	about message.ItemKey
	text  string
}

// notes returns the notices to an authority.
func (r *rig) notes(authority string) []note {
	r.t.Helper()
	var all []note
	for _, item := range r.list(queue.Query{Authority: authority}) {
		env, _, err := r.store.Message(context.Background(), item.Key.Message)
		if err != nil {
			r.t.Fatal(err)
		}
		if env.Direction != message.Notice {
			continue
		}
		body, err := r.vault.OpenBody(env.Body)
		if err != nil {
			r.t.Fatal(err)
		}
		text, err := io.ReadAll(body)
		if err = errors.Join(err, body.Close()); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, note{env.About, string(text)})
	}
	return all
}

// told waits until exactly n notices about an item are there.
func (r *rig) told(k message.ItemKey, n int) []note {
	r.t.Helper()
	var mine []note
	r.until(fmt.Sprintf("%d notices about %s", n, k), func() bool {
		mine = nil
		for _, n := range r.notes("bau") {
			if n.about == k {
				mine = append(mine, n)
			}
		}
		return len(mine) >= n
	})
	if len(mine) > n {
		r.t.Errorf("%d notices about %s, want %d", len(mine), k, n)
	}
	return mine
}

func (r *rig) list(q queue.Query) []message.Item {
	r.t.Helper()
	q.Limit = 1000
	items, _, err := r.store.Find(context.Background(), q)
	if err != nil {
		r.t.Fatal(err)
	}
	return items
}

// events counts the events of a kind in the story of a message.
func (r *rig) events(id message.ID, kind message.EventKind) int {
	r.t.Helper()
	var s message.Story
	r.until("the story", func() (ok bool) {
		var err error
		s, err = r.g.Story(context.Background(), id)
		return err == nil // a commit that fails once is no end
	})
	n := 0
	for _, e := range s.Events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// refused asserts that err is a refusal with a code.
func refused(t *testing.T, err error, code int) {
	t.Helper()
	var refusal *message.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("error %v, want a refusal with %d", err, code)
	}
}
