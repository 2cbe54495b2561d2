package receipts

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
)

// ledger is a Lookup over a few items.
type ledger struct {
	items []message.Item
	envs  map[message.ID]message.Envelope
	err   error
}

func (l ledger) find(keep func(message.Item) bool) ([]message.Item, error) {
	var out []message.Item
	for _, i := range l.items {
		if keep(i) {
			out = append(out, i)
		}
	}
	return out, l.err
}

func (l ledger) ByReference(_ context.Context, ref string) ([]message.Item, error) {
	return l.find(func(i message.Item) bool { return i.Reference == ref })
}

func (l ledger) ByMessageID(_ context.Context, authority, id string) ([]message.Item, error) {
	return l.find(func(i message.Item) bool {
		env := l.envs[i.Key.Message]
		return env.Authority == authority && (env.MessageID == id || i.SentAs == id)
	})
}

func (l ledger) ByRecipient(_ context.Context, authority string, to message.Address) ([]message.Item, error) {
	return l.find(func(i message.Item) bool {
		return l.envs[i.Key.Message].Authority == authority && i.Recipient.Address.Key() == to.Key()
	})
}

func (l ledger) Envelope(_ context.Context, id message.ID) (message.Envelope, error) {
	return l.envs[id], l.err
}

func (l ledger) Senders(_ context.Context, authority string) ([]message.Address, error) {
	return []message.Address{addr("baugesuche@" + authority + ".example")}, l.err
}

func addr(s string) message.Address {
	a, err := message.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func (l *ledger) add(n byte, authority, from, to, ref string) *message.Item {
	id := message.ID{n}
	if l.envs == nil {
		l.envs = map[message.ID]message.Envelope{}
	}
	l.envs[id] = message.Envelope{
		ID: id, Direction: message.Outbound, Authority: authority, From: addr(from), Received: testDay.Add(-time.Minute),
		MessageID: "<client" + string('0'+rune(n)) + "@x>", Content: message.Content{Body: message.Digest{n}},
	}
	l.items = append(l.items, message.Item{
		Key: message.ItemKey{Message: id, N: 1}, Recipient: message.Recipient{Address: addr(to)}, Reference: ref, State: message.Handed, Attempts: 1,
		HandedAt: testDay, SentAs: "<sent" + string('0'+rune(n)) + "@gw>", Decision: message.Decision{Class: message.Registered},
	})
	return &l.items[len(l.items)-1]
}

func testLedger() ledger {
	var l ledger
	l.add(1, "bau", "bau@bl.example", "buerger@example.ch", "BL-11111111")
	l.add(2, "bau", "bau@bl.example", "frau@example.ch.incamail.ch", "BL-22222222")
	l.add(3, "steuer", "steuer@bl.example", "buerger@example.ch", "BL-33333333")
	l.add(4, "bau", "bau@bl.example", "wartet@example.ch", "").Attempts = 0
	env := l.envs[message.ID{5}]
	l.add(5, "bau", "buerger@example.ch", "bau@bl.example", "BL-55555555")
	env = l.envs[message.ID{5}]
	env.Direction = message.Inbound
	l.envs[message.ID{5}] = env
	l.add(6, "bau", "bau@bl.example", "zwei@example.ch", "BL-66666666")
	l.add(7, "bau", "bau@bl.example", "zwei@example.ch", "BL-77777777").HandedAt = testDay.Add(90 * time.Second)
	return l
}

func TestMatch(t *testing.T) {
	full := func(ref, from, to string) Finding {
		return Finding{Reference: ref, Sender: addr(from), Recipient: addr(to), Suffixes: []string{".incamail.ch"}}
	}
	with := func(f Finding, change func(*Finding)) Finding {
		change(&f)
		return f
	}
	tests := []struct {
		name string
		f    Finding
		want byte // 0: no match
		rung string
	}{
		{"reference", full("BL-11111111", "bau@bl.example", "buerger@example.ch"), 1, RungReference},
		{"reference, other case", full("BL-11111111", "BAU@BL.example", "Buerger@example.CH"), 1, RungReference},
		{"reference alone", Finding{Reference: "BL-11111111"}, 1, RungReference},
		{"suffix on our side", full("BL-22222222", "bau@bl.example", "frau@example.ch"), 2, RungReference},
		{"suffix on their side", full("BL-11111111", "bau@bl.example", "buerger@example.ch.incamail.ch"), 1, RungReference},
		{"address on the platform", full("BL-11111111", "baugesuche@bau.example", "buerger@example.ch"), 1, RungReference},
		{"role: we are the recipient", full("BL-11111111", "buerger@example.ch", "bau@bl.example"), 0, ""},
		{"role: another sender", full("BL-11111111", "steuer@bl.example", "buerger@example.ch"), 0, ""},
		{"another recipient", full("BL-11111111", "bau@bl.example", "anders@example.ch"), 0, ""},
		{"another authority's", full("BL-33333333", "steuer@bl.example", "buerger@example.ch"), 0, ""},
		{"inbound mail", full("BL-55555555", "buerger@example.ch", "bau@bl.example"), 0, ""},
		{"unknown reference stops the ladder", with(full("BL-99999999", "bau@bl.example", "buerger@example.ch"), func(f *Finding) { f.InReplyTo = []string{"<sent1@gw>"} }), 0, ""},
		{"body digest fits", with(full("BL-11111111", "bau@bl.example", "buerger@example.ch"), func(f *Finding) { f.BodyDigest = message.Digest{1} }), 1, RungReference},
		{"body digest does not fit", with(full("BL-11111111", "bau@bl.example", "buerger@example.ch"), func(f *Finding) { f.BodyDigest = message.Digest{9} }), 1, RungReference}, // and Compare tells
		{"sent as", Finding{InReplyTo: []string{"<other@x>", "<sent1@gw>"}}, 1, RungMessageID},
		{"client's id", Finding{InReplyTo: []string{"<client1@x>", "<sent1@gw>"}}, 1, RungMessageID},
		{"two messages named", Finding{InReplyTo: []string{"<sent1@gw>", "<sent6@gw>"}}, 0, ""},
		{"id of a message that never left", Finding{InReplyTo: []string{"<sent4@gw>"}}, 0, ""},
		{"recipient and time", with(full("", "bau@bl.example", "buerger@example.ch"), func(f *Finding) { f.SentAt = testDay.Add(100 * time.Second) }), 1, RungRecipient},
		{"too late", with(full("", "bau@bl.example", "buerger@example.ch"), func(f *Finding) { f.SentAt = testDay.Add(121 * time.Second) }), 0, ""},
		{"two candidates", with(full("", "bau@bl.example", "zwei@example.ch"), func(f *Finding) { f.SentAt = testDay.Add(time.Minute) }), 0, ""},
		{"two, told apart by digest", with(full("", "bau@bl.example", "zwei@example.ch"), func(f *Finding) { f.SentAt, f.BodyDigest = testDay.Add(time.Minute), message.Digest{7} }), 7, RungRecipient},
		{"no time", full("", "bau@bl.example", "buerger@example.ch"), 0, ""},
		{"no sender", Finding{Recipient: addr("buerger@example.ch"), SentAt: testDay}, 0, ""},
		{"nothing", Finding{}, 0, ""},
	}
	for _, tt := range tests {
		item, rung, ok, err := Match(context.Background(), tt.f, "bau", testLedger())
		if err != nil || ok != (tt.want != 0) || item.Key.Message[0] != tt.want || rung != tt.rung {
			t.Errorf("%s: item %d by %q, %v, %v; want %d by %q", tt.name, item.Key.Message[0], rung, ok, err, tt.want, tt.rung)
		}
	}
}

func TestMatchUnclear(t *testing.T) {
	l := testLedger()
	l.items[0].State, l.items[0].HandedAt = message.Unclear, time.Time{}
	f := Finding{Sender: addr("bau@bl.example"), Recipient: addr("buerger@example.ch"), SentAt: testDay.Add(time.Hour)}
	if _, _, ok, _ := Match(context.Background(), f, "bau", l); !ok {
		t.Error("an unclear hand-over is not found")
	}
	f.SentAt = testDay.Add(-time.Hour)
	if _, _, ok, _ := Match(context.Background(), f, "bau", l); ok {
		t.Error("matched with a mail sent before ours was accepted")
	}
}

func TestMatchError(t *testing.T) {
	l := testLedger()
	l.err = errors.New("ledger broken")
	if _, _, ok, err := Match(context.Background(), Finding{Reference: "BL-11111111"}, "bau", l); ok || !errors.Is(err, l.err) {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestStrip(t *testing.T) {
	for in, want := range map[string]string{"a@b.ch.incamail.ch": "a@b.ch", "a@incamail.ch": "a@incamail.ch", "a@b.ch": "a@b.ch", "a@.incamail.ch": "a@.incamail.ch"} {
		if got := strip(in, []string{"", ".incamail.ch"}); got != want {
			t.Errorf("strip(%q) = %q, want %q", in, got, want)
		}
	}
	if strings.Contains(strip("a@b.ch.incamail.ch", nil), "x") {
		t.Error("unexpected")
	}
}

func TestCompare(t *testing.T) {
	sent := message.Content{Body: message.Digest{1}}
	a, b := Attachment{"a.pdf", message.Digest{0xa}}, Attachment{"b.pdf", message.Digest{0xb}}
	for _, tt := range []struct {
		name          string
		f             Finding
		sent          []Attachment
		fits, differs string
	}{
		{"nothing stated", Finding{}, []Attachment{a}, "", ""},
		{"body", Finding{BodyDigest: message.Digest{1}}, nil, "body", ""},
		{"other body", Finding{BodyDigest: message.Digest{2}}, nil, "", "it names the body sha256 02"},
		{"attachments", Finding{Attachments: []Attachment{b, {"A.PDF", message.Digest{0xa}}}}, []Attachment{a, b}, "attachments (2)", ""},
		{"both", Finding{BodyDigest: message.Digest{1}, Attachments: []Attachment{a}}, []Attachment{a}, "body, attachments (1)", ""},
		{"one dropped", Finding{Attachments: []Attachment{a}}, []Attachment{a, b}, "", "does not name the attachment b.pdf"},
		{"one of two equal ones dropped", Finding{Attachments: []Attachment{a}}, []Attachment{a, a}, "", "does not name the attachment a.pdf"},
		{"one changed", Finding{Attachments: []Attachment{{"a.pdf", message.Digest{9}}}}, []Attachment{a}, "", "names an attachment a.pdf that was not sent"},
		{"one foreign", Finding{BodyDigest: message.Digest{1}, Attachments: []Attachment{a, b}}, []Attachment{a}, "", "names an attachment b.pdf"},
		{"content gone", Finding{BodyDigest: message.Digest{1}, Attachments: []Attachment{a}}, nil, "body", ""},
		{"sent none", Finding{Attachments: []Attachment{a}}, []Attachment{}, "", "names an attachment a.pdf"},
	} {
		fits, differs := Compare(tt.f, sent, tt.sent)
		if fits != tt.fits || (differs == "") != (tt.differs == "") || !strings.Contains(differs, tt.differs) {
			t.Errorf("%s: %q, %q", tt.name, fits, differs)
		}
	}
}
