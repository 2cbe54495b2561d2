package notices_test

import (
	"bufio"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gatewayd/calendar"
	"gatewayd/crypto/seal"
	"gatewayd/gateway/notices"
	"gatewayd/mail"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/retention"
)

var now = time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)

// shelf keeps what notices say, and what day it goes on.
type shelf struct {
	texts   []string
	days    []string
	full    error
	gone    bool // the message that a notice is about
	damaged error
	copies  int
}

func (s *shelf) PutBlob(_ context.Context, family seal.Family, day string, text []byte) (message.Ref, error) {
	if family != seal.Content {
		return message.Ref{}, errors.New("a notice is content")
	}
	s.texts, s.days = append(s.texts, string(text)), append(s.days, day)
	return message.Ref{Day: day, Offset: int64(len(s.texts))}, s.full
}

func (s *shelf) header(message.Envelope) (*mail.Header, error) {
	if s.gone || s.damaged != nil {
		return nil, s.damaged
	}
	return mail.ReadHeader(bufio.NewReader(strings.NewReader("Subject: Steuererlass\r\nMessage-ID: <1@bl.example>\r\n\r\n")), 1<<20)
}

func (s *shelf) open() *notices.Notices {
	return notices.New(notices.Options{
		Host: "gateway.bl.example", Windows: retention.Default(), Vault: s, Header: s.header,
		Forward: func(a *queue.Accepted, at time.Time) {
			if len(a.Items) == 1 && at.Equal(now) {
				s.copies++
			}
		},
	})
}

// last reads the notice that was made last as a person does.
func (s *shelf) last(t *testing.T) string {
	t.Helper()
	if len(s.texts) == 0 {
		t.Fatal("no notice")
	}
	return s.texts[len(s.texts)-1]
}

func addr(s string) message.Address {
	a, err := message.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func sent() (message.Envelope, message.Item) {
	env := message.Envelope{
		ID: message.NewID(now), Direction: message.Outbound, Authority: "bau", From: addr("bau@bl.example"), Received: now, MessageID: "<1@bl.example>",
		EraseDay: "2027-01-23", LogDay: "2027-05-23",
	}
	return env, message.Item{
		Key: message.ItemKey{Message: env.ID, N: 2}, Recipient: message.Recipient{Address: addr("buerger@example.ch")}, Reply: "rcpt: 550 5.1.1 no such user",
		Decision: message.Decision{Verdict: message.Deliver, Class: message.Normal}, EraseBy: now.AddDate(0, 2, 0),
	}
}

// TestNobodyIsTold: no backscatter, nothing to the null reverse-path, nothing
// against NOTIFY; whatever the occasion.
func TestNobodyIsTold(t *testing.T) {
	s := &shelf{}
	n := s.open()
	for name, edit := range map[string]func(*message.Envelope, *message.Item){
		"null reverse-path": func(e *message.Envelope, _ *message.Item) { e.From = message.Address{} },
		"from outside":      func(e *message.Envelope, _ *message.Item) { e.Direction = message.Inbound },
		"about a notice":    func(e *message.Envelope, _ *message.Item) { e.Direction = message.Notice },
		"NOTIFY=NEVER":      func(_ *message.Envelope, i *message.Item) { i.Recipient.Notify = []string{"NEVER"} },
		"NOTIFY=SUCCESS":    func(_ *message.Envelope, i *message.Item) { i.Recipient.Notify = []string{"SUCCESS", "DELAY"} },
	} {
		env, item := sent()
		edit(&env, &item)
		for _, tell := range []func(context.Context, message.Envelope, message.Item, time.Time) (*queue.Accepted, error){n.Failed, n.Held, n.Expired} {
			if a, err := tell(context.Background(), env, item, now); a != nil || err != nil {
				t.Errorf("%s: %v %v", name, a, err)
			}
		}
	}
	env, item := sent()
	item.Recipient.Notify = []string{"SUCCESS", "failure"}
	if a, err := n.Failed(context.Background(), env, item, now); a == nil || err != nil || len(s.texts) != 1 {
		t.Errorf("NOTIFY=FAILURE: %v %v", a, err)
	}
}

// TestFailed: the report names recipient, status and the peer's own words, lies in
// the sender's mailbox, is about the item, and goes with what it quotes.
func TestFailed(t *testing.T) {
	s := &shelf{}
	env, item := sent()
	a, err := s.open().Failed(context.Background(), env, item, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"buerger@example.ch", "5.1.1", "550 5.1.1 no such user", "Antwort des nächsten Systems", "Subject: Steuererlass", "message/delivery-status"} {
		if !strings.Contains(decoded(s.last(t)), want) {
			t.Errorf("%q is missing:\n%s", want, s.last(t))
		}
	}
	e, i := a.Envelope, a.Items[0]
	if e.Direction != message.Notice || e.Authority != "bau" || e.About != item.Key || !e.From.IsNull() || e.Content.Size != int64(len(s.last(t))) || e.EraseDay != env.EraseDay || s.days[0] != env.EraseDay || !i.EraseBy.Equal(item.EraseBy) {
		t.Errorf("%+v", a)
	}
	if i.Recipient.Address.String() != "bau@bl.example" || i.Decision.Via != "mailbox" || i.State != message.Waiting || s.copies != 1 || i.Recipient.Notify[0] != "NEVER" {
		t.Errorf("%+v, %d copies", i, s.copies)
	}
	for name, edit := range map[string]func(*shelf, *message.Item){
		"soon erased": func(_ *shelf, i *message.Item) { i.EraseBy = now.Add(13 * 24 * time.Hour) },
		"gone":        func(s *shelf, _ *message.Item) { s.gone = true },
	} {
		s, i := &shelf{}, item
		edit(s, &i)
		if _, err := s.open().Failed(context.Background(), env, i, now); err != nil || strings.Contains(s.last(t), "Steuererlass") {
			t.Errorf("%s: quotes what it may not: %v", name, err)
		}
	}
	for name, broken := range map[string]*shelf{"header": {damaged: errors.New("disk")}, "full": {full: errors.New("disk full")}} {
		if a, err := broken.open().Failed(context.Background(), env, item, now); err == nil || a != nil {
			t.Errorf("%s: %v %v", name, a, err)
		}
	}
}

// decoded undoes quoted-printable as far as these tests need it.
func decoded(s string) string {
	return strings.NewReplacer("=\r\n", "", "=C3=A4", "ä", "=C3=BC", "ü", "=C3=B6", "ö", "=3D", "=").Replace(s)
}

// TestCause: the reason stands in both languages, whoever gave it.
func TestCause(t *testing.T) {
	registered := message.Decision{Verdict: message.Hold, Because: []message.Reason{{Rule: "gate", Says: "held", Text: "smime: no key"}}}
	for reply, want := range map[string][2]string{
		notices.AtGate + notices.MalwareFound + "Eicar":        {"Schadsoftware wurde gefunden: Eicar", "malware was found: Eicar"},
		notices.AtGate + notices.Unscannable:                   {"zu gross für die Prüfung", notices.Unscannable},
		notices.GaveUp + "4h0m0s" + notices.LastAnswer + "450": {"aufgegeben nach 4h0m0s; letzte Antwort: 450", "given up after 4h0m0s"},
		notices.ByPerson:  {"von der Verwaltung des Mailsystems angehalten", notices.ByPerson},
		notices.DroppedBy: {"von der Verwaltung des Mailsystems beendet", notices.DroppedBy},
		"mailbox full":    {"Antwort des nächsten Systems: mailbox full", "answer of the next system: mailbox full"},
	} {
		for _, d := range []message.Decision{{Verdict: message.Deliver}, registered} {
			s := &shelf{}
			env, item := sent()
			item.Reply, item.Decision = reply, d
			if _, err := s.open().Held(context.Background(), env, item, now); err != nil {
				t.Fatal(err)
			}
			for _, text := range want {
				if !strings.Contains(oneLine(decoded(s.last(t))), text) {
					t.Errorf("%q: %q is missing:\n%s", reply, text, decoded(s.last(t)))
				}
			}
		}
	}
}

// oneLine takes out where a text is folded.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// TestMalware: mail that came in is told to its recipient, never to its sender.
func TestMalware(t *testing.T) {
	s := &shelf{}
	env, item := sent()
	env.Direction, env.From, item.Recipient.Address, item.Reply = message.Inbound, addr("wer@example.org"), addr("bau@bl.example"), notices.AtGate+notices.MalwareFound+"Eicar"
	a, err := s.open().Malware(context.Background(), env, item, now)
	if err != nil || len(a.Items) != 1 || a.Items[0].Recipient.Address.String() != "bau@bl.example" || strings.Contains(s.last(t), "To: wer@example.org") || !strings.Contains(decoded(s.last(t)), "Eicar") {
		t.Errorf("%v %+v\n%s", err, a, s.last(t))
	}
}

// TestUnfiled: the reminder says by when what happens, before and after the export,
// for Zurich's day, and names some of the messages.
func TestUnfiled(t *testing.T) {
	s := &shelf{}
	limit := calendar.Day{Year: 2027, Month: 1, Day: 20}.End()
	about := retention.Reminder{Day: "2027-01-20", Count: 3, IDs: []string{"a1", "b2"}, Export: limit.AddDate(0, 0, -5), Limit: limit}
	for _, about.Exported = range []bool{false, true} {
		a, err := s.open().Unfiled(context.Background(), "bau", addr("bau@bl.example"), about, now)
		if err != nil || !a.Envelope.About.Message.IsZero() || a.Envelope.Authority != "bau" || a.Items[0].Recipient.Address.String() != "bau@bl.example" {
			t.Fatalf("%v %+v", err, a)
		}
		text := oneLine(decoded(s.last(t)))
		for _, want := range []string{"20.01.2027", "2027-01-20", "3 Nachrichten", "3 messages", "a1, b2, …"} {
			if !strings.Contains(text, want) && !strings.Contains(text, strings.ReplaceAll(want, "…", "=E2=80=A6")) {
				t.Errorf("exported %v: %q is missing:\n%s", about.Exported, want, text)
			}
		}
		if strings.Contains(text, "wurden verschlüsselt") != about.Exported {
			t.Errorf("exported %v:\n%s", about.Exported, text)
		}
	}
}
