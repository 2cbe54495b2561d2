package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/retention"
	"gatewayd/vault"
)

// patience is how long a test waits for what must come: far longer than a busy
// machine with the race detector needs, because only what never comes is a fault.
const patience = 2 * time.Minute

// rig is one gateway on one data folder.
type rig struct {
	t     testing.TB
	w     *world
	o     rigOptions
	dir   string
	vault *vault.Vault
	store queue.Store
	g     *gateway.Gateway
	audit *audit.Log
	log   *lockedBuffer
	stop  context.CancelFunc
	ended chan error
	dead  atomic.Bool // a crash was made of it: what it does from now on never happened
	// torn means that ledger and audit files do not belong together, as after a
	// restore: the chain is broken, and says so.
	torn bool
	// damaged means that a test has changed the vault: Check must say so.
	damaged bool
	// proofs are the kinds of events that the last evidence bundle proves.
	proofs []message.EventKind
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
func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	return newRigAt(t, newWorld(t), filepath.Join(t.TempDir(), "data"), o)
}

// newRigAt starts a gateway on a folder, and checks it when the test ends.
func newRigAt(t testing.TB, w *world, dir string, o rigOptions) *rig {
	t.Helper()
	r := openRig(t, w, dir, o)
	r.run()
	t.Cleanup(r.close)
	return r
}

// openRig opens everything; nothing runs.
func openRig(t testing.TB, w *world, dir string, o rigOptions) *rig {
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
	r.audit = log
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
	case <-time.After(patience):
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
	case <-time.After(patience):
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
	report, err := r.g.VerifyAudit(context.Background(), nil)
	if err != nil || report.OK() == r.torn {
		r.t.Errorf("audit: %v %+v, torn %v", err, report, r.torn)
	}
	if _, ok := r.t.(*testing.T); ok && !r.torn && r.audit != nil {
		r.described()
	}
	if r.t.Failed() {
		r.t.Logf("log:\n%s", r.log)
	}
}

// described checks that every field of every event is declared for its kind
// (message/record.go).
func (r *rig) described() {
	err := r.audit.Each(context.Background(), calendar.Day{}, func(_ message.Link, e *message.Event) error {
		if e != nil && e.Data[message.Undescribed] != "" {
			r.t.Errorf("event %d, %s: not declared: %s", e.Seq, e.Kind, e.Data[message.Undescribed])
		}
		return nil
	})
	if err != nil {
		r.t.Errorf("audit: %v", err)
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
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
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
func refused(t testing.TB, err error, code int) {
	t.Helper()
	var refusal *message.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("error %v, want a refusal with %d", err, code)
	}
}
