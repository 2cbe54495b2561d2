package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/config"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/simulator"
)

// stage is gateway and platforms in one process with one clock, for scenarios
// that need days to pass.
type stage struct {
	*demo
	t *testing.T
}

func newStage(t *testing.T, config func(*demo)) *stage {
	t.Helper()
	s := &demo{c: console{&lockedBuffer{}, &lockedBuffer{}}, dir: filepath.Join(t.TempDir(), "gw"), clock: newClock()}
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	if config != nil {
		config(s)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.parts.run(ctx, s.doors, slog.New(slog.DiscardHandler)) }()
	await(t, "the gateway", func() bool {
		c, err := net.Dial("tcp", s.ports.Submission)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("gateway: %v", err)
		}
		if problems, err := s.parts.gateway.Check(context.Background()); err != nil || len(problems) > 0 {
			t.Errorf("queue check: %v %v", problems, err)
		}
		s.sims.close()
		s.stamps.Close()
		if err := s.parts.close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &stage{s, t}
}

func (s *stage) decide(subject string, to ...string) message.ID {
	s.t.Helper()
	id, err := s.send(fmt.Appendf(nil, "From: bauinspektorat@bl.example\r\nTo: x@y.ch\r\nSubject: %s\r\nMessage-ID: <%s@bl.example>\r\n\r\nVerfuegung\r\n", subject, token()), to...)
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

func (s *stage) item(id message.ID, n int) message.Item {
	s.t.Helper()
	for _, item := range s.items(id) {
		if item.Key.N == n {
			return item
		}
	}
	return message.Item{}
}

// until waits until the item fulfils a condition.
func (s *stage) until(id message.ID, what string, there func(message.Item) bool) message.Item {
	s.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if item := s.item(id, 1); there(item) {
			return item
		}
	}
	story, _ := s.parts.gateway.Story(context.Background(), id)
	var b strings.Builder
	printStory(&b, story)
	s.t.Fatalf("did not come: %s\n%s", what, b.String())
	return message.Item{}
}

func inCase(c message.CaseState) func(message.Item) bool {
	return func(i message.Item) bool { return i.Case == c }
}

// pass moves the clock and does what became due everywhere.
func (s *stage) pass(d time.Duration) {
	s.clock.Advance(d)
	s.sims.incamail.Tick()
	s.sims.privasphere.Tick()
	s.parts.gateway.Wake()
}

func (s *stage) faults(p *simulator.Platform, names ...string) {
	s.t.Helper()
	f, err := simulator.ParseFaults(names)
	if err == nil {
		err = p.SetFaults(f)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) receipts(id message.ID) []message.Receipt {
	s.t.Helper()
	story, err := s.parts.gateway.Story(context.Background(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return story.Receipts
}

const buerger, firma = "buerger@example.ch", "firma@example.ch"

func TestScenarioExpiryToTheSecond(t *testing.T) {
	s := newStage(t, nil)
	id := s.decide("[einschreiben] Entscheid", buerger)
	s.until(id, "submitted", inCase(message.CaseSubmitted))
	deadline := s.sims.incamail.Messages()[0].Deadline
	s.pass(deadline.Sub(s.clock.Now()) - 2*time.Second)
	time.Sleep(300 * time.Millisecond)
	if c := s.item(id, 1).Case; c != message.CaseSubmitted {
		t.Errorf("just before seven days: case %s, want submitted", c)
	}
	s.pass(3 * time.Second)
	item := s.until(id, "expired", inCase(message.CaseExpired))
	if item.State != message.Done {
		t.Errorf("state %s, want done", item.State)
	}
}

func TestScenarioTagLostRaisesAlarmAndNeverResends(t *testing.T) {
	s := newStage(t, nil)
	s.faults(s.sims.incamail, "strip-tag")
	id := s.decide("[einschreiben] Entscheid", buerger)
	s.until(id, "handed", func(i message.Item) bool { return i.State == message.Handed })
	s.pass(16 * time.Minute)
	item := s.until(id, "receipt overdue", inCase(message.CaseOverdue))
	if item.Alarm == "" {
		t.Error("no alarm")
	}
	s.pass(3 * 24 * time.Hour)
	time.Sleep(300 * time.Millisecond)
	if n := len(s.sims.incamail.Received()); n != 1 {
		t.Errorf("the platform received it %d times, want once", n)
	}
}

func TestScenarioForeignReceiptClosesTheCase(t *testing.T) {
	s := newStage(t, nil)
	s.faults(s.sims.incamail, "foreign-receipt")
	id := s.decide("[einschreiben] Entscheid", buerger)
	s.until(id, "submitted", inCase(message.CaseSubmitted))
	s.act(s.sims.incamail, buerger, s.sims.incamail.Accept)
	item := s.until(id, "collected", inCase(message.CaseCollected))
	if item.Decision.Via != "incamail" {
		t.Errorf("via %s", item.Decision.Via)
	}
	for _, r := range s.receipts(id) {
		if r.Platform != "privasphere" || r.Verdict != message.Verified {
			t.Errorf("receipt %s by %s: %s", r.Kind, r.Platform, r.Verdict)
		}
	}
}

func TestScenarioReceiptsTwiceAndOutOfOrder(t *testing.T) {
	for _, fault := range []string{"dup-receipt", "reorder", "late:1h"} {
		t.Run(fault, func(t *testing.T) {
			s := newStage(t, nil)
			s.faults(s.sims.incamail, fault)
			id := s.decide("[einschreiben] Entscheid", buerger)
			await(t, "the platform has it", func() bool {
				m := s.sims.incamail.Messages()
				return len(m) == 1 && m[0].State == simulator.AwaitingPickup
			})
			s.act(s.sims.incamail, buerger, s.sims.incamail.Accept)
			s.pass(2 * time.Hour)
			item := s.until(id, "collected", func(i message.Item) bool { return i.Case == message.CaseCollected && i.State == message.Done })
			time.Sleep(300 * time.Millisecond)
			kinds := map[message.ReceiptKind]int{}
			for _, r := range s.receipts(id) {
				kinds[r.Kind]++
			}
			if kinds[message.Abgabequittung] != 1 || kinds[message.Abholquittung] != 1 {
				t.Errorf("receipts %v, want one of each", kinds)
			}
			if item = s.item(id, 1); item.Case != message.CaseCollected || item.Alarm != "" {
				t.Errorf("case %s, alarm %q", item.Case, item.Alarm)
			}
		})
	}
}

func TestScenarioForgedReceiptsCloseNothing(t *testing.T) {
	for _, fault := range []string{"bad-seal", "wrong-seal", "tamper"} {
		t.Run(fault, func(t *testing.T) {
			s := newStage(t, nil)
			s.faults(s.sims.incamail, fault)
			id := s.decide("[einschreiben] Entscheid", buerger)
			item := s.until(id, "an alarm", func(i message.Item) bool { return i.Alarm != "" })
			if item.Case != message.CaseNone || item.State != message.Handed {
				t.Errorf("case %q, state %s: a receipt with a bad seal moved it", item.Case, item.State)
			}
			for _, r := range s.receipts(id) {
				if r.Verdict == message.Verified {
					t.Errorf("%s: verdict verified", r.Kind)
				}
			}
			s.faults(s.sims.incamail)
			s.act(s.sims.incamail, buerger, s.sims.incamail.Accept)
			s.until(id, "collected by the good receipt", inCase(message.CaseCollected))
		})
	}
}

// TestScenarioBlockedAndSmallMailbox: the platforms say it by ordinary mail
// without a seal. That closes no case; it raises an alarm and lies in the
// mailbox for a person (platforms.md § 5.3 rule 6).
func TestScenarioBlockedAndSmallMailbox(t *testing.T) {
	tests := []struct {
		profile simulator.Profile
		says    message.ReceiptKind
	}{
		{simulator.Profile{Kind: simulator.BlocksRegistered}, message.NoticeBlocked},
		{simulator.Profile{Kind: simulator.SmallMailbox, MailboxMB: 0}, message.NoticeUndelivered},
	}
	for _, tt := range tests {
		t.Run(string(tt.profile.Kind), func(t *testing.T) {
			s := newStage(t, func(d *demo) { d.sims.incamail.SetRecipient(buerger, tt.profile) })
			id := s.decide("[einschreiben] Entscheid", buerger)
			item := s.until(id, "an alarm", func(i message.Item) bool { return strings.Contains(i.Alarm, string(tt.says)) })
			if item.State != message.Handed || item.Case != message.CaseSubmitted {
				t.Errorf("state %s, case %s: an unsealed notice moved it", item.State, item.Case)
			}
			await(t, "the notice in the mailbox", s.replied)
		})
	}
}

// TestScenarioHangAfterData: the final dot left, no reply came. The decision is
// unclear; the Abgabequittung clears it up, and it is never sent again.
func TestScenarioHangAfterData(t *testing.T) {
	s := newStage(t, func(d *demo) {
		d.cfg.IncaMail.Link.Timeouts.Dot = 500 * time.Millisecond
		p, err := open2(d)
		if err != nil {
			t.Fatal(err)
		}
		d.parts = p
	})
	s.faults(s.sims.incamail, "hang-after-data")
	id := s.decide("[einschreiben] Entscheid", buerger)
	s.until(id, "an attempt without reply", func(i message.Item) bool { return i.Unclears > 0 })
	item := s.until(id, "cleared up by the Abgabequittung", inCase(message.CaseSubmitted))
	if item.State != message.Handed {
		t.Errorf("state %s, want handed", item.State)
	}
	s.pass(time.Hour)
	time.Sleep(500 * time.Millisecond)
	if n := len(s.sims.incamail.Received()); n != 1 {
		t.Errorf("the platform received it %d times, want once", n)
	}
}

// open2 opens the installation again with a changed configuration.
func open2(d *demo) (*parts, error) {
	if err := d.parts.close(); err != nil {
		return nil, err
	}
	p, err := open(d.cfg, slog.New(slog.DiscardHandler), d.clock.Now)
	d.timeline = newTimeline(d.c.out, false, p)
	return p, err
}

// TestScenarioUnclearWithoutReceipt: nothing ever comes; a person must decide.
func TestScenarioUnclearWithoutReceipt(t *testing.T) {
	s := newStage(t, func(d *demo) {
		d.cfg.IncaMail.Link.Timeouts.Dot = 500 * time.Millisecond
		p, err := open2(d)
		if err != nil {
			t.Fatal(err)
		}
		d.parts = p
	})
	s.faults(s.sims.incamail, "hang-after-data", "drop-receipt")
	id := s.decide("[einschreiben] Entscheid", buerger)
	s.until(id, "unclear", func(i message.Item) bool { return i.State == message.Unclear })
	s.pass(16 * time.Minute)
	item := s.until(id, "held for a person", func(i message.Item) bool { return i.State == message.Held })
	if item.Alarm == "" {
		t.Error("no task for a person")
	}
	s.pass(3 * 24 * time.Hour)
	time.Sleep(500 * time.Millisecond)
	if n := len(s.sims.incamail.Received()); n != 1 {
		t.Errorf("the platform received it %d times, want once", n)
	}
}

func TestScenarioTemporaryAndPermanentRefusal(t *testing.T) {
	s := newStage(t, nil)
	s.faults(s.sims.incamail, "4xx:2")
	id := s.decide("[einschreiben] Entscheid", buerger)
	s.until(id, "a retry", func(i message.Item) bool { return i.Attempts >= 1 && i.State == message.Waiting })
	for range 4 {
		s.pass(5 * time.Minute)
		time.Sleep(200 * time.Millisecond)
	}
	s.until(id, "submitted after retries", inCase(message.CaseSubmitted))
	s.faults(s.sims.incamail, "5xx")
	id = s.decide("[einschreiben] Entscheid", buerger)
	s.until(id, "refused", func(i message.Item) bool { return i.State == message.Refused })
	await(t, "the sender has the DSN", func() bool { return s.told(id) })
}

// TestScenarioInboundReceiptMovesNothing: the authority gets receipts as
// recipient of a citizen's registered mail, too; they close no case of its own.
func TestScenarioInboundReceiptMovesNothing(t *testing.T) {
	s := newStage(t, nil)
	id := s.decide("[einschreiben] Entscheid", buerger)
	item := s.until(id, "submitted", inCase(message.CaseSubmitted))
	if _, err := s.sims.incamail.Inbound(simulator.CitizenMail{
		From: buerger, To: "bauinspektorat@bl.example", Class: message.Registered, Subject: "[" + item.Reference + "] Antwort", Text: "Rekurs",
	}); err != nil {
		t.Fatal(err)
	}
	await(t, "receipts of the citizen's mail", func() bool {
		rs, err := s.parts.gateway.Unmatched(context.Background(), testReading(), 10)
		return err == nil && len(rs) >= 1
	})
	time.Sleep(500 * time.Millisecond)
	if got := s.item(id, 1); got.Case != message.CaseSubmitted || got.State != message.Handed {
		t.Errorf("case %s, state %s: a receipt for the inbound role moved an outgoing case", got.Case, got.State)
	}
}

// TestScenarioControlStrings: users' text can't command a platform.
func TestScenarioControlStrings(t *testing.T) {
	s := newStage(t, nil)
	id := s.decide("[einschreiben] Entscheid <nomuc> eLs!: psph_no_muc_ <onlyWeb>", firma)
	s.until(id, "submitted", inCase(message.CaseSubmitted))
	for _, m := range s.sims.privasphere.Messages() {
		if len(m.Controls) > 0 {
			t.Errorf("the platform obeyed %q", m.Controls)
		}
	}
	_, err := s.send([]byte("Subject: [einschreiben] dump4DebugT0f!l3: Entscheid\r\n\r\nx\r\n"), firma)
	if err == nil || !strings.Contains(err.Error(), "550") {
		t.Errorf("the debug keyword was accepted: %v", err)
	}
	for _, subject := range []string{"[einschreibn] Entscheid", "<R> Entscheid", "[vertraulich] [einschreiben] Entscheid"} {
		id := s.decide(subject, buerger)
		s.until(id, "held with an answer", func(i message.Item) bool { return i.State == message.Held && !i.Told.IsZero() && i.Reply != "" })
	}
}

// TestScenarioConsentRevokedBeforeSending: the gate closes between accept and
// hand-over (law.md C-01).
func TestScenarioConsentRevokedBeforeSending(t *testing.T) {
	s := newStage(t, nil)
	s.faults(s.sims.incamail, "4xx:100")
	id := s.decide("[einschreiben] Entscheid", buerger)
	s.until(id, "a retry", func(i message.Item) bool { return i.Attempts >= 1 && i.State == message.Waiting })
	revoke(t, s.cfg)
	s.faults(s.sims.incamail)
	s.pass(10 * time.Minute)
	item := s.until(id, "held at the gate", func(i message.Item) bool { return i.State == message.Held })
	if !strings.Contains(item.Reply, "consent") {
		t.Errorf("reason %q, want the consent", item.Reply)
	}
	if n := len(s.sims.incamail.Received()); n != 0 {
		t.Errorf("%d mails left", n)
	}
}

// TestDuplicateAtTheDoor: the client lost our reply and sends the same decision
// again: the first id, once at the platform. Ordinary mail is not compared.
func TestDuplicateAtTheDoor(t *testing.T) {
	s := newStage(t, nil)
	text := []byte("From: bauinspektorat@bl.example\r\nSubject: [einschreiben] Entscheid\r\nMessage-ID: <dup@bl.example>\r\n\r\nVerfuegung\r\n")
	first, err := s.send(text, buerger)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		again, err := s.send(text, buerger)
		if err != nil || again != first {
			t.Errorf("sent again: %s, %v; want %s", again, err, first)
		}
	}
	s.until(first, "submitted", inCase(message.CaseSubmitted))
	if n := len(s.sims.incamail.Received()); n != 1 {
		t.Errorf("the platform received it %d times, want once", n)
	}
	items, _, err := s.parts.gateway.List(context.Background(), queue.Query{Authority: "bauinspektorat", Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		if item.Recipient.Address.String() == buerger && item.Key.Message != first {
			t.Errorf("a second message %s for the same decision", item.Key)
		}
	}
	story, err := s.parts.gateway.Story(context.Background(), first)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range story.Events {
		if e.Kind == message.EventDuplicate {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d duplicate events, want 3", n)
	}
}

// revoke withdraws every consent in the directory file and reloads it.
func revoke(t *testing.T, cfg *config.Config) {
	t.Helper()
	replaceIn(t, cfg.File.Directory, "given = 2026-01-05", "given = 2026-01-05, revoked = 2026-02-01")
	if err := cfg.People.Reload(); err != nil {
		t.Fatal(err)
	}
}
