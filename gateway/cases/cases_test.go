package cases_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/crypto/cms"
	"gatewayd/crypto/tsp"
	"gatewayd/directory"
	"gatewayd/evidence"
	"gatewayd/gateway/cases"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/simulator"
	"gatewayd/vault"
)

// ledger has one message with two recipients: a registered one, handed over a
// quarter of an hour ago, and a normal one.
type ledger struct {
	env      message.Envelope
	items    []message.Item
	receipts []message.Receipt
	events   []message.Event
	full     error
	tail     bool // the message is not in the ledger yet
}

func (l *ledger) Message(_ context.Context, id message.ID) (message.Envelope, []message.Item, error) {
	if id != l.env.ID {
		return message.Envelope{}, nil, queue.ErrNotFound
	}
	return l.env, l.items, nil
}

func (l *ledger) Receipts(context.Context, message.ID) ([]message.Receipt, error) {
	if l.tail {
		return nil, queue.ErrNotFound
	}
	return l.receipts, nil
}

func (l *ledger) Events(context.Context, message.ID) ([]message.Event, error) { return l.events, nil }

func (l *ledger) Apply(_ context.Context, c queue.Change) error {
	l.events = append(l.events, c.Events...)
	return l.full
}

// Prove implements cases.Log: no day is sealed.
func (l *ledger) Prove(context.Context, uint64) (audit.Proof, error) {
	return audit.Proof{}, audit.ErrNotSealed
}

// OpenBody implements cases.Contents: it was erased.
func (l *ledger) OpenBody(message.Ref) (*vault.BodyReader, error) { return nil, vault.ErrGone }

var handed = time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)

const people = `
[[recipient]]
address = "buerger@example.ch"
canton = "BS"
platforms = [{ name = "incamail", identified = true, checked = 2026-11-01 }]
consent = [{ authority = "bau", scope = "all", form = "text", given = 2026-01-05, evidence = "GEVER 4711", expects = true }]
`

func addr(s string) message.Address {
	a, err := message.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func open(t *testing.T) (*cases.Cases, *ledger) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "directory.toml")
	if err := os.WriteFile(path, []byte(people), 0o600); err != nil {
		t.Fatal(err)
	}
	d, problems := directory.Load(path)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	id := message.NewID(handed)
	l := &ledger{env: message.Envelope{ID: id, Authority: "bau", Direction: message.Outbound, From: addr("bau@bl.example"), Received: handed, Content: message.Content{Size: 10}}}
	for n, c := range []message.Class{message.Registered, message.Normal} {
		l.items = append(l.items, message.Item{
			Key: message.ItemKey{Message: id, N: n + 1}, Recipient: message.Recipient{Address: addr("buerger@example.ch")}, State: message.Handed, HandedAt: handed,
			Decision: message.Decision{Verdict: message.Deliver, Class: c, Via: "incamail", Owed: []message.ReceiptKind{message.Abgabequittung}}, EraseBy: handed.AddDate(0, 2, 0),
		})
	}
	l.events = []message.Event{{Seq: 7, At: handed, Kind: message.EventHanded, Authority: "bau", Message: id, Item: 1, Data: map[string]string{}}}
	return cases.New(cases.Options{
		Ledger: l, Directory: func() *directory.Directory { return d }, Rules: legal.DefaultRules(), Now: func() time.Time { return handed.Add(time.Hour) },
		Wait: func(via string) time.Duration {
			if via != "incamail" {
				t.Errorf("asked for %q", via)
			}
			return 20 * time.Minute
		},
	}), l
}

// TestWatched: NextTry belongs to the case only of a registered item that was handed
// over or has ended.
func TestWatched(t *testing.T) {
	for _, s := range message.States() {
		want := s == message.Handed || s.Final()
		if got := cases.Watched(message.Item{State: s, Decision: message.Decision{Class: message.Registered}}); got != want {
			t.Errorf("registered, %s: %v", s, got)
		}
		if cases.Watched(message.Item{State: s, Decision: message.Decision{Class: message.Confidential}}) {
			t.Errorf("confidential, %s", s)
		}
	}
}

// TestNoteAddressee: what the directory says on that day stands in the event, of a
// registered item only.
func TestNoteAddressee(t *testing.T) {
	c, l := open(t)
	e := message.Event{At: handed, Data: map[string]string{}}
	c.NoteAddressee(&e, l.env, l.items[1])
	if len(e.Data) != 0 {
		t.Errorf("no case: %v", e.Data)
	}
	c.NoteAddressee(&e, l.env, l.items[0])
	for _, want := range []string{"GEVER 4711", "BS", "2026-11-01"} {
		if !slices.Contains(slices.Collect(maps.Values(e.Data)), want) {
			t.Errorf("%q is missing: %v", want, e.Data)
		}
	}
}

// TestAttend: the alarm comes when the platform's own time is over, once, and
// stands on the item; afterwards the item sleeps until more can be due.
func TestAttend(t *testing.T) {
	c, l := open(t)
	item := l.items[0]
	change, err := c.Attend(context.Background(), l.env, &item, handed.Add(19*time.Minute))
	if err != nil || len(change.Events) != 0 || item.Alarm != "" || !item.NextTry.Equal(handed.Add(20*time.Minute)) {
		t.Fatalf("early: %v %v, alarm %q, next %s", err, change.Events, item.Alarm, item.NextTry)
	}
	late := handed.Add(20 * time.Minute)
	change, err = c.Attend(context.Background(), l.env, &item, late)
	if err != nil || len(change.Events) != 1 || change.Events[0].Kind != message.EventOverdue || item.Case != message.CaseOverdue || item.Alarm == "" {
		t.Fatalf("late: %v %+v, alarm %q, case %q", err, change.Events, item.Alarm, item.Case)
	}
	l.events = append(l.events, change.Events...)
	if change, err = c.Attend(context.Background(), l.env, &item, late.Add(time.Minute)); err != nil || len(change.Events) != 0 || item.Alarm == "" || !(item.NextTry.IsZero() || item.NextTry.After(late)) {
		t.Errorf("again: %v %+v, alarm %q, next %s", err, change.Events, item.Alarm, item.NextTry)
	}
}

// TestOf: each registered recipient of an outbound message has a case, also while
// the message is in no ledger yet.
func TestOf(t *testing.T) {
	c, l := open(t)
	for _, l.tail = range []bool{false, true} {
		list, err := c.Of(context.Background(), message.Story{Envelope: l.env, Items: l.items, Events: l.events})
		if err != nil || len(list) != 1 || list[0].Item.N != 1 || len(list[0].Trail) == 0 {
			t.Errorf("tail %v: %+v %v", l.tail, list, err)
		}
	}
	in := l.env
	in.Direction = message.Inbound
	if list, err := c.Of(context.Background(), message.Story{Envelope: in, Items: l.items}); err != nil || len(list) != 0 {
		t.Errorf("of mail that came in: %+v %v", list, err)
	}
}

// TestHear: a person's word goes into the event and wakes the case; what was not
// asked cannot be answered.
func TestHear(t *testing.T) {
	c, l := open(t)
	ctx, at := context.Background(), handed.Add(30*time.Minute)
	hear := func(n int, say cases.Say) (message.Item, message.Event, error) {
		item, e := l.items[n], message.Event{At: at, Data: map[string]string{legal.KeyReason: "rang up"}}
		err := c.Hear(ctx, &item, &e, say)
		return item, e, err
	}
	if _, _, err := hear(1, cases.Closed("receipt_overdue", "fuchs")); !errors.Is(err, cases.ErrNoCase) {
		t.Errorf("no case: %v", err)
	}
	if _, _, err := hear(0, cases.Closed("not_collected", "fuchs")); !errors.Is(err, cases.ErrNoTask) {
		t.Errorf("no such alarm: %v", err)
	}
	item, e, err := hear(0, cases.Closed(string(legal.AlarmOverdue), "fuchs"))
	if err != nil || e.Kind != message.EventTaskClosed || e.Data[legal.KeyBy] != "fuchs" || e.Data[legal.KeyTask] != "receipt_overdue" || !item.NextTry.Equal(at) {
		t.Errorf("%v %+v, next %s", err, e, item.NextTry)
	}
	if _, err := cases.Expected("perhaps", "fuchs"); !errors.Is(err, cases.ErrAnswer) {
		t.Errorf("perhaps: %v", err)
	}
	say, err := cases.Expected(legal.No, "fuchs")
	if err != nil {
		t.Fatal(err)
	}
	l.items[0].State = message.Waiting
	if item, e, err = hear(0, say); err != nil || e.Kind != message.EventStated || e.Data[legal.KeyReason] != "rang up" || !item.NextTry.IsZero() {
		t.Errorf("%v %+v, next %s", err, e, item.NextTry)
	}
}

// sealing is a seal, and a time-stamping authority that answers.
func sealing(t *testing.T) cases.Sealing {
	t.Helper()
	ca, err := simulator.NewCA("Evidence CA")
	if err != nil {
		t.Fatal(err)
	}
	seal, err := ca.Client("gateway seal")
	if err != nil {
		t.Fatal(err)
	}
	tsa, err := ca.TSA("stamps")
	if err != nil {
		t.Fatal(err)
	}
	authority := &simulator.TSA{Cert: tsa, Now: func() time.Time { return handed }}
	return cases.Sealing{Seals: map[string]cms.Signer{"bau": {Cert: seal.Leaf, Key: seal.Key}}, Stamp: func(_ context.Context, r io.Reader) ([]byte, error) {
		q, err := tsp.NewRequest(r)
		if err != nil {
			return nil, err
		}
		return authority.Stamp(q)
	}}
}

// TestDossier: only a registered item that left has a bundle, nobody gets one that
// is not written down, and a program does not see how much others send.
func TestDossier(t *testing.T) {
	c, l := open(t)
	d := cases.Dossiers{
		Cases: c, Host: "gateway.bl.example", Authority: func(string) (string, string) { return "Bauinspektorat", "" }, Log: l, Contents: l,
		Document: func(message.Ref, message.Digest) ([]byte, error) { return nil, errors.New("no document") },
	}
	ctx, r := context.Background(), message.Reading{By: "test", Purpose: message.ForAudit}
	if _, err := d.Make(ctx, "", l.items[0].Key, r, "test"); !errors.Is(err, evidence.ErrNoSeal) {
		t.Errorf("no seal: %v", err)
	}
	d.Sealing = sealing(t)
	if _, err := d.Make(ctx, "", l.items[1].Key, r, "test"); !errors.Is(err, cases.ErrNoCase) {
		t.Errorf("not registered: %v", err)
	}
	if _, err := d.Make(ctx, "", message.ItemKey{Message: l.env.ID, N: 3}, r, "test"); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("no such recipient: %v", err)
	}
	if len(l.events) != 1 {
		t.Errorf("noted: %v", l.events[1:])
	}
	for authority, sees := range map[string]bool{"": true, "bau": false} {
		l.events = l.events[:1]
		b, err := d.Make(ctx, authority, l.items[0].Key, r, "test")
		if err != nil {
			t.Fatal(err)
		}
		e := l.events[len(l.events)-1]
		if e.Kind != message.EventEvidence || e.Data["by"] != "test" || e.Data["purpose"] != "audit" || e.Data["door"] != "test" || e.Data["sha256"] == "" || e.Data["evidence"] != b.Record.ID {
			t.Errorf("noted: %+v", e)
		}
		if (len(b.Record.Chain) > 0) != sees {
			t.Errorf("authority %q sees of the log: %+v", authority, b.Record.Chain)
		}
	}
	l.full = errors.New("disk full")
	if _, err := d.Make(ctx, "", l.items[0].Key, r, "test"); !errors.Is(err, l.full) {
		t.Errorf("what cannot be noted: %v", err)
	}
}
