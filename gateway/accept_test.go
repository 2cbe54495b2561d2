package gateway_test

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/gateway"
	"gatewayd/message"
	"gatewayd/policy"
	"gatewayd/queue"
)

// TestMixedRecipients: one is sent, one held, one refused: 250 for all, a DSN
// for the refused one, a notice for the held one.
func TestMixedRecipients(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	id := r.send("[einschreiben] Entscheid", "buerger@example.ch", "firma@example.ch", "psph_no_muc_x@example.ch")
	r.itemBecomes(key(id, 1), message.Handed)
	held := r.itemBecomes(key(id, 2), message.Held)
	r.itemBecomes(key(id, 3), message.Refused)
	n := r.told(key(id, 3), 1)[0].text
	if !strings.Contains(n, "multipart/report") || !strings.Contains(n, "Action: failed") || strings.Contains(n, "Entscheid") {
		t.Errorf("no DSN, or it shows the subject:\n%s", n)
	}
	n = r.told(key(id, 2), 1)[0].text
	if !strings.Contains(n, "Auto-Submitted: auto-generated") || !strings.Contains(n, "nicht eingewilligt") || !strings.Contains(n, "has not consented") {
		t.Errorf("the notice does not say why in both languages:\n%s", n)
	}
	if held.Decision.Via != "" || !strings.HasPrefix(held.Reply, "duty:consent") && held.Reply != "" {
		t.Errorf("held item %+v", held)
	}
	r.stays()
	r.told(key(id, 1), 0)
	if got := r.w.links["incamail"].seen(); len(got) != 1 || got[0].from != addr("bau@inca.example") || got[0].ref == "" {
		t.Errorf("the platform saw %+v", got)
	}
}

func TestAllRefusedStoresNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	_, err := r.g.Accept(context.Background(), submission("buerger@example.ch", "firma@example.ch"), strings.NewReader(letter("dump4DebugT0f!l3: Entscheid", "x")))
	refused(t, err, 550)
	r.stays()
	if items := r.list(queue.Query{}); len(items) != 0 {
		t.Errorf("stored %d items", len(items))
	}
}

// TestNobodyIsTold: NOTIFY=NEVER and NOTIFY=SUCCESS, the null reverse-path.
func TestNobodyIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.links["smtp"].fails(errNever)
	for _, notify := range []string{"NEVER", "SUCCESS"} {
		s := submission("a@example.net")
		s.To[0].Notify = []string{notify}
		id := r.submit(s, letter("Auskunft", notify))
		r.becomes(id, message.Refused)
	}
	s := submission("b@example.net")
	s.From = message.Address{}
	id := r.submit(s, letter("Auskunft", "null"))
	r.becomes(id, message.Refused)
	s = submission("firma@example.ch")
	s.To[0].Notify = []string{"never"}
	id = r.submit(s, letter("[einschreiben] Entscheid", "held"))
	r.until("held and looked after", func() bool { i := r.item(key(id, 1)); return i.State == message.Held && !i.Told.IsZero() })
	if got := r.notes("bau"); len(got) != 0 {
		t.Errorf("%d notices, the first:\n%s", len(got), got[0].text)
	}
	s = submission("c@example.net")
	s.To[0].Notify = []string{"SUCCESS", "FAILURE"}
	id = r.submit(s, letter("Auskunft", "both"))
	r.told(key(id, 1), 1)
}

// TestInboundIsNeverAnswered: what comes from outside ends in the mailbox or is
// refused at the door; nothing goes back.
func TestInboundIsNeverAnswered(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	id, err := r.inbound("fremd@example.net", "Subject: [einschreibn] <r> dump4DebugT0f!l3:\r\nSensitivity: x\r\nResent-From: a@b.ch\r\n\r\nx\r\n", "bau@bl.example", "postmaster@bl.example", "postmaster@gateway.bl.example", "Planung@BL.example")
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 4; n++ {
		if item := r.itemBecomes(key(id, n), message.Done); item.Decision.Via != "mailbox" {
			t.Errorf("recipient %d went by %s", n, item.Decision.Via)
		}
	}
	if got := r.events(id, message.EventMailbox); got != 4 {
		t.Errorf("%d mailbox events, want 4", got)
	}
	if id, err = r.inbound("", "Subject: bounce\r\n\r\nx\r\n", "bau@bl.example"); err != nil {
		t.Fatal(err)
	}
	r.becomes(id, message.Done)
	if len(r.notes("bau"))+len(r.notes("steuer"))+len(r.w.links["smtp"].seen()) != 0 {
		t.Error("somebody was answered")
	}
}

func TestDoorRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	for _, tt := range []struct {
		code int
		to   []string
	}{
		{550, []string{"fremd@example.net"}},
		{550, []string{"niemand@bl.example"}},
		{550, []string{"postmaster@example.net"}},
		{452, []string{"bau@bl.example", "steuer@bl.example"}},
		{452, []string{"steuer@bl.example", "postmaster@bl.example"}},
	} {
		_, err := r.inbound("fremd@example.net", "Subject: x\r\n\r\nx\r\n", tt.to...)
		refused(t, err, tt.code)
	}
	if _, err := r.g.Accept(context.Background(), message.Submission{Door: message.Inbound}, strings.NewReader("x")); err == nil {
		t.Error("mail without a recipient was accepted")
	}
	_, err := r.g.Accept(context.Background(), submission("a@example.net"), strings.NewReader("X: "+strings.Repeat("y", 300<<10)+"\r\n\r\n"))
	refused(t, err, 552)
	broken := errors.New("client lost")
	if _, err = r.g.Accept(context.Background(), submission("a@example.net"), io.MultiReader(strings.NewReader("Subject: x\r\n\r\nhalf"), failing{broken})); !errors.Is(err, broken) {
		t.Errorf("a lost client gives %v", err)
	}
	if items := r.list(queue.Query{}); len(items) != 0 {
		t.Errorf("stored %d items", len(items))
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestBetweenAuthorities: mail stays on this gateway, and each side sees its
// own message.
func TestBetweenAuthorities(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	for _, tt := range []struct{ to, authority string }{{"steuer@bl.example", "steuer"}, {"planung@bl.example", "bau"}} {
		id := r.send("Amtshilfe", tt.to)
		item := r.becomes(id, message.Done)
		other, err := message.ParseID(item.RemoteID)
		if err != nil {
			t.Fatalf("remote id %q: %v", item.RemoteID, err)
		}
		r.becomes(other, message.Done)
		env, _, err := r.store.Message(context.Background(), other)
		if err != nil || env.Authority != tt.authority || env.Direction != message.Inbound || env.From != addr("bau@bl.example") {
			t.Errorf("%s: %+v, %v", tt.to, env, err)
		}
	}
	if n := len(r.w.links["smtp"].seen()); n != 0 {
		t.Errorf("%d mails left the gateway", n)
	}
}

// TestDuplicateAtTheDoor: the same registered decision is answered by the first
// id, in the tail and in the ledger; other classes are not compared.
func TestDuplicateAtTheDoor(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	text := letter("[einschreiben] Entscheid", "dup")
	first := r.submit(submission("buerger@example.ch"), text)
	if again := r.submit(submission("Buerger@example.ch"), text); again != first {
		t.Errorf("at once: %s, want %s", again, first)
	}
	r.becomes(first, message.Handed)
	if again := r.submit(submission("buerger@example.ch"), text); again != first {
		t.Errorf("later: %s, want %s", again, first)
	}
	second := r.submit(submission("buerger@example.ch", "firma@example.ch"), text)
	if second == first {
		t.Error("the new recipient was lost")
	}
	r.itemBecomes(key(second, 2), message.Held)
	if got := r.item(key(second, 1)); got.State != "" {
		t.Errorf("the old recipient is there again: %s", got.State)
	}
	if got := r.submit(submission("buerger@example.ch"), text+"changed\r\n"); got == first {
		t.Error("another content was taken for the same")
	}
	n := r.send("Auskunft", "a@example.net")
	if r.submit(submission("a@example.net"), letter("Auskunft", n.String())) == n {
		t.Error("ordinary mail was compared")
	}
	if got := r.events(first, message.EventDuplicate); got != 3 {
		t.Errorf("%d duplicate events, want 3", got)
	}
}

// TestSentAgainAfterFailure: after a DSN the sender may bring the very same
// decision again; it must not be swallowed as a duplicate.
func TestSentAgainAfterFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.links["incamail"].fails(errNever)
	text := letter("[einschreiben] Entscheid", "again")
	first := r.submit(submission("buerger@example.ch"), text)
	r.becomes(first, message.Refused)
	r.w.links["incamail"].on(nil)
	second := r.submit(submission("buerger@example.ch"), text)
	if second == first {
		t.Fatal("the sender was told 250, but nothing will be sent")
	}
	r.becomes(second, message.Handed)
	for range 2 {
		if third := r.submit(submission("buerger@example.ch"), text); third != second {
			t.Errorf("third: %s, want %s", third, second)
		}
	}
	r.stays()
	if n := len(r.w.links["incamail"].seen()); n != 2 {
		t.Errorf("%d submissions, want 2", n)
	}
}

func TestDuplicatesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	text := letter("[einschreiben] Entscheid", "race")
	var wait sync.WaitGroup
	var mu sync.Mutex
	ids := map[message.ID]bool{}
	for range 8 {
		wait.Go(func() {
			for {
				id, err := r.g.Accept(context.Background(), submission("buerger@example.ch"), strings.NewReader(text))
				var refusal *message.Refusal
				if errors.As(err, &refusal) && refusal.Code == 451 {
					continue // as a client does
				}
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				ids[id] = true
				mu.Unlock()
				return
			}
		})
	}
	wait.Wait()
	if len(ids) != 1 {
		t.Errorf("%d different ids", len(ids))
	}
	for id := range ids {
		r.becomes(id, message.Handed)
	}
	r.stays()
	if n := len(r.w.links["incamail"].seen()); n != 1 {
		t.Errorf("%d submissions, want 1", n)
	}
}

// TestSameRecipientTwice: in one transaction he gets it once; a registered
// decision also when a suffix makes his address look different, and without a
// Message-ID.
func TestSameRecipientTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	id := r.send("[einschreiben] Entscheid", "buerger@example.ch", "BUERGER@example.ch", "buerger@example.ch.incamail.ch")
	r.becomes(id, message.Handed)
	id = r.submit(submission("buerger@example.ch", "buerger@example.ch.incamail.ch"), "Subject: [einschreiben] x\r\n\r\nx\r\n")
	r.becomes(id, message.Handed)
	r.send("Auskunft", "a@example.net", "A@example.net")
	r.until("the mail", func() bool { return len(r.w.links["smtp"].seen()) > 0 })
	r.stays()
	if n, m := len(r.w.links["incamail"].seen()), len(r.w.links["smtp"].seen()); n != 2 || m != 1 {
		t.Errorf("%d registered and %d others sent, want 2 and 1", n, m)
	}
}

// TestSuffixAtTheGate: a confidential mail may go to somebody who is not in the
// directory when his suffix asks for the platform, also at the attempt.
func TestSuffixAtTheGate(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	id := r.send("Akten", "unbekannt@example.org.incamail.ch")
	item := r.becomes(id, message.Done)
	if item.Decision.Class != message.Confidential || item.Decision.Via != "incamail" {
		t.Errorf("class %s via %s", item.Decision.Class, item.Decision.Via)
	}
}

func TestDiskReserve(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{edit: func(o *gateway.Options) { o.Delivery.ReserveDisk = math.MaxInt64 }})
	_, err := r.g.Accept(context.Background(), submission("a@example.net"), strings.NewReader(letter("x", "x")))
	refused(t, err, 452)
	_, err = r.inbound("a@example.net", letter("x", "x"), "bau@bl.example")
	refused(t, err, 452)
}

// TestExplainIsAccept: what Explain says is what Accept does.
func TestExplainIsAccept(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	for _, to := range []string{"buerger@example.ch", "firma@example.ch", "steuer@bl.example"} {
		s := submission(to)
		s.Class = message.Registered
		x := r.g.Explain(s, nil, 100)
		id := r.submit(s, letter("Entscheid", to))
		r.until("indexed", func() bool { return r.item(key(id, 1)).State != "" })
		d := r.item(key(id, 1)).Decision
		why, _ := policy.Deciding(d)
		said, _ := policy.Deciding(x.Decision)
		if x.Decision.Verdict != d.Verdict || x.Decision.Via != d.Via || why != said {
			t.Errorf("%s: explained %+v, done %+v", to, x.Decision, d)
		}
	}
}

// TestDelegateSends: an account of another authority sends for one that has made
// it a delegate, on the days named; the message belongs to the authority that it
// speaks for, and the account stands in its story.
func TestDelegateSends(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.w.know(t, peopleText+`
[[delegate]]
authority = "bau"
account = "steuer"
may = ["send"]
from = 2026-11-23
until = 2026-11-24
reason = "Ferienvertretung"
`)
	bau, steuer := addr("bau@bl.example"), addr("steuer@bl.example")
	if !r.g.MayUse("steuer", bau) || !r.g.MayUse("steuer", steuer) || r.g.MayUse("bau", steuer) {
		t.Error("who may use which address")
	}
	s := submission("a@example.net")
	s.Account, s.Authority = "steuer", "steuer" // as the door knows it
	id := r.submit(s, letter("Auskunft", "1"))
	r.becomes(id, message.Done)
	story, err := r.g.Story(context.Background(), id)
	if err != nil || story.Envelope.Authority != "bau" || story.Envelope.Account != "steuer" || story.Events[0].Data["delegate"] != "steuer" {
		t.Errorf("%v: of %s by %s, %v", err, story.Envelope.Authority, story.Envelope.Account, story.Events)
	}
	s.From = steuer
	own := r.submit(s, letter("Auskunft", "2"))
	if story, err := r.g.Story(context.Background(), own); err != nil || story.Envelope.Authority != "steuer" || story.Events[0].Data["delegate"] != "" {
		t.Errorf("%v: its own mail is of %s", err, story.Envelope.Authority)
	}
	r.pass(48 * time.Hour)
	if r.g.MayUse("steuer", bau) {
		t.Error("a delegate acts after the last day")
	}
}
