package personfile_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/audit"
	"gatewayd/directory"
	"gatewayd/gateway/personfile"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
)

// holdings is a gateway in a few slices.
type holdings struct {
	stories      map[message.ID]message.Story
	unmatched    []message.Receipt
	events       []audit.Entry
	keys         []message.KeyInfo
	destinations []message.Destination
	cases        []legal.Case
	page         int // items on one page; 0: all
}

func (h *holdings) Message(_ context.Context, id message.ID) (message.Story, error) {
	s, ok := h.stories[id]
	if !ok {
		return s, queue.ErrNotFound
	}
	return s, nil
}

func (h *holdings) Cases(_ context.Context, question string) ([]legal.Case, error) {
	var list []legal.Case
	for _, c := range h.cases {
		if c.Item.Message.String() == question {
			list = append(list, c)
		}
	}
	return list, nil
}

func (h *holdings) Keys(context.Context) ([]message.KeyInfo, error) { return h.keys, nil }

func (h *holdings) Destinations(context.Context) ([]message.Destination, error) {
	return h.destinations, nil
}

func (h *holdings) Find(_ context.Context, q queue.Query) (items []message.Item, next string, err error) {
	for id, s := range h.stories {
		for _, i := range s.Items {
			if s.Envelope.Authority == q.Authority && i.Recipient.Address.Key() == q.Recipient && id.String() > q.After {
				items = append(items, i)
			}
		}
	}
	if h.page > 0 && len(items) > 0 { // one at a time, in the order of the ids
		first := items[0]
		for _, i := range items {
			if i.Key.Message.String() < first.Key.Message.String() {
				first = i
			}
		}
		if len(items) > 1 {
			next = first.Key.Message.String()
		}
		items = []message.Item{first}
	}
	return items, next, nil
}

func (h *holdings) Receipts(_ context.Context, id message.ID) ([]message.Receipt, error) {
	return h.stories[id].Receipts, nil
}

func (h *holdings) Unmatched(context.Context, int) ([]message.Receipt, error) {
	return h.unmatched, nil
}

func (h *holdings) Entries(_ context.Context, _ audit.Filter, fn func(audit.Entry) error) error {
	for _, e := range h.events {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

var now = time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)

func addr(s string) message.Address {
	a, err := message.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func id(n int) message.ID { return message.NewID(now.Add(time.Duration(n) * time.Second)) }

// add puts a message of authority bau into the holdings, to the recipients.
func (h *holdings) add(d message.Direction, from string, to ...string) message.ID {
	if h.stories == nil {
		h.stories = map[message.ID]message.Story{}
	}
	s := message.Story{Envelope: message.Envelope{ID: id(len(h.stories)), Authority: "bau", Direction: d, From: addr(from)}}
	for n, a := range to {
		s.Items = append(s.Items, message.Item{
			Key: message.ItemKey{Message: s.Envelope.ID, N: n + 1}, Recipient: message.Recipient{Address: addr(a)}, EraseBy: now.Add(time.Hour),
			Reply: "to " + a, Filed: message.Filing{By: "frau.muster"},
		})
	}
	h.stories[s.Envelope.ID] = s
	return s.Envelope.ID
}

func (h *holdings) happened(m message.ID, n int, kind message.EventKind, data map[string]string) {
	e := audit.Entry{}
	e.Kind, e.Message, e.Item, e.Authority, e.Data = kind, m, n, "bau", data
	h.events = append(h.events, e)
}

// gather makes the file of ich@example.org, who has a second address on a
// platform.
func (h *holdings) gather(t *testing.T, authority string) (personfile.File, string) {
	t.Helper()
	f, err := personfile.Gather(context.Background(), h.all(t), addr("Ich@example.org"), authority, now)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return f, string(text)
}

func (h *holdings) all(t *testing.T) personfile.Holdings {
	t.Helper()
	path := filepath.Join(t.TempDir(), "directory.toml")
	text := "[[recipient]]\naddress = \"ich@example.org\"\nplatforms = [{ name = \"incamail\", identified = true, checked = 2026-11-01, address = \"zweite@plattform.example\" }]\nname = \"Ida Ich\"\n" +
		"[[recipient]]\naddress = \"nachbar@example.org\"\nname = \"Nora Nachbar\"\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d, problems := directory.Load(path)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return personfile.Holdings{
		Flow: h, Ledger: h, Log: h, Directory: d, Authorities: []string{"bau", "steuer"},
		Ours: func(address string) bool { return address == "bau@bl.example" },
	}
}

// TestRedacted: whatever names somebody else is taken out wherever it stands;
// what names the person or an authority stays.
func TestRedacted(t *testing.T) {
	h := &holdings{}
	m := h.add(message.Outbound, "bau@bl.example", "ich@example.org", "nachbar@example.org")
	h.happened(m, 0, message.EventAccepted, map[string]string{"from": "bau@bl.example", "peer": "192.0.2.1", "account": "muster", "sha256": "nachbar@stays.example"})
	h.happened(m, 1, message.EventHanded, map[string]string{"reply": "250 ok <ICH@example.org>, not <nachbar@example.org>."})
	h.happened(m, 2, message.EventHanded, map[string]string{"reply": "250 ok zwei"})
	h.cases = []legal.Case{{Item: message.ItemKey{Message: m, N: 1}, Addressee: legal.Addressee{SaidBy: "muster", SaidWhy: "von chef@example.org"}, Tasks: []legal.Task{{By: "muster", How: "ruf chef@example.org an"}}}}
	h.unmatched = []message.Receipt{{Authority: "bau", Detail: "ich@example.org und chef@example.org"}, {Authority: "bau", Detail: "nachbar@example.org"}}
	f, text := h.gather(t, "")
	for _, secret := range []string{"muster", "nachbar@example.org", "chef@", "192.0.2.1", "zwei\""} {
		if strings.Contains(text, secret) {
			t.Errorf("the file tells %q:\n%s", secret, text)
		}
	}
	for _, mine := range []string{"ICH@example.org", "bau@bl.example", "nachbar@stays.example", "ruf [redacted] an", "von [redacted]"} {
		if !strings.Contains(text, mine) {
			t.Errorf("the file lacks %q:\n%s", mine, text)
		}
	}
	if len(f.Messages) != 1 || f.Messages[0].Others != 1 || !f.Messages[0].Held || len(f.Messages[0].Items) != 1 || len(f.Messages[0].Cases) != 1 || len(f.Unmatched) != 1 || len(f.Events) != 2 {
		t.Errorf("%+v", f)
	}
}

// TestFromPerson: of mail that came from the person, found by the log alone, all
// is shown but who else is named; and where it came from is the person's.
func TestFromPerson(t *testing.T) {
	h := &holdings{}
	m := h.add(message.Inbound, "zweite@plattform.example", "bau@bl.example", "planung@other.example")
	h.happened(m, 0, message.EventAccepted, map[string]string{"from": "zweite@plattform.example", "peer": "192.0.2.1"})
	gone := id(9) // its row is erased, the log is not
	h.happened(gone, 0, message.EventAccepted, map[string]string{"from": "ich@example.org"})
	f, text := h.gather(t, "")
	if len(f.Messages) != 1 || len(f.Messages[0].Items) != 2 || f.Messages[0].Others != 0 || len(f.Events) != 2 || !strings.Contains(text, "192.0.2.1") || strings.Contains(text, "planung") {
		t.Errorf("%s", text)
	}
}

// TestEveryPage: each page of the ledger is read, for each address of the person;
// nothing of another authority comes in when one is named.
func TestEveryPage(t *testing.T) {
	h := &holdings{page: 1}
	for range 3 {
		h.add(message.Outbound, "bau@bl.example", "ich@example.org")
	}
	h.add(message.Outbound, "bau@bl.example", "zweite@plattform.example")
	h.keys = []message.KeyInfo{{Address: "ICH@example.org"}, {Names: []string{"Zweite@plattform.example"}}, {Address: "nachbar@example.org"}}
	h.destinations = []message.Destination{{Name: "smtp:example.org", Reason: "says chef@example.org"}, {Name: "smtp:other.example"}, {Name: "smtp"}}
	f, text := h.gather(t, "")
	if len(f.Messages) != 4 || len(f.Keys) != 2 || len(f.Destinations) != 1 || strings.Contains(text, "chef@") {
		t.Errorf("%s", text)
	}
	h.happened(message.ID{}, 0, message.EventRead, map[string]string{"asked": "ich@example.org"})
	f, _ = h.gather(t, "steuer")
	if len(f.Messages) != 0 || len(f.Events) != 0 {
		t.Errorf("of another authority: %+v", f)
	}
}

// TestTooMany: a person with more than a file can hold is told, not cut.
func TestTooMany(t *testing.T) {
	h := &holdings{}
	for range 100_001 {
		h.happened(message.ID{}, 0, message.EventRead, map[string]string{"asked": "ich@example.org"})
	}
	if _, err := personfile.Gather(context.Background(), h.all(t), addr("ich@example.org"), "", now); !errors.Is(err, personfile.ErrTooMany) {
		t.Errorf("error %v", err)
	}
}

// TestNamesRedacted: names of others go wherever they stand, those of the directory
// and those beside addresses; the person's own stays.
func TestNamesRedacted(t *testing.T) {
	h := &holdings{}
	m := h.add(message.Outbound, "bau@bl.example", "ich@example.org", "nachbar@example.org")
	h.happened(m, 1, message.EventHanded, map[string]string{"reply": "250 for Ida Ich <ich@example.org>, not for \"Otto Fremd\" <otto@example.net> or Eva Weit <eva@example.net>"})
	h.happened(m, 1, message.EventHeld, map[string]string{"reason": "Nora Nachbar and nachbar, nora rang; FREMD OTTO and Ida Ich did not", "message_id": "<Nora Nachbar@stays>"})
	s := h.stories[m]
	s.Items[0].Alarm = "ask Eva Weit"
	s.Receipts = []message.Receipt{{Item: message.ItemKey{Message: m, N: 1}, Detail: "Abholquittung für Nora Nachbar"}}
	h.stories[m] = s
	h.cases = []legal.Case{{Item: message.ItemKey{Message: m, N: 1}, Tasks: []legal.Task{{How: "with Otto Fremd"}}}}
	_, text := h.gather(t, "")
	for _, secret := range []string{"Otto", "Eva", "OTTO", "nora rang", "with O", "for Nora", "für Nora", "Nachbar and"} {
		if strings.Contains(text, secret) {
			t.Errorf("the file tells %q:\n%s", secret, text)
		}
	}
	for _, mine := range []string{"Ida Ich \\u003cich@example.org", "and Ida Ich did not", "Nora Nachbar@stays"} {
		if !strings.Contains(text, mine) {
			t.Errorf("the file lacks %q:\n%s", mine, text)
		}
	}
}

// TestManyNames: a reply full of names costs no more than reading it, and a file with
// more of them than are looked for says so.
func TestManyNames(t *testing.T) {
	for _, n := range []int{3000, 3400} { // three forms each
		h := &holdings{}
		m := h.add(message.Outbound, "bau@bl.example", "ich@example.org")
		var reply strings.Builder
		for i := range n {
			fmt.Fprintf(&reply, "\"%x Fremd %x\" <f%d@example.net> ", sha256.Sum256([]byte{byte(i), byte(i >> 8)}), i, i)
		}
		h.happened(m, 1, message.EventHanded, map[string]string{"reply": reply.String()})
		start := time.Now()
		f, _ := h.gather(t, "")
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%d names: %s", n, took)
		}
		if slices.Contains(f.Remarks, personfile.ManyNames) != (n == 3400) {
			t.Errorf("%d names: remarks %q", n, f.Remarks)
		}
	}
}

// TestClaimed: mail whose From field alone names the person is found, called so, and
// tells nothing of who really sent it.
func TestClaimed(t *testing.T) {
	h := &holdings{}
	m := h.add(message.Inbound, "list@lists.example", "bau@bl.example")
	s := h.stories[m]
	s.Envelope.HeaderFrom = "Ich@example.org"
	h.stories[m] = s
	h.happened(m, 0, message.EventAccepted, map[string]string{"from": "list@lists.example", "peer": "192.0.2.1"})
	other := h.add(message.Inbound, "fremd@lists.example", "bau@bl.example")
	h.happened(other, 0, message.EventAccepted, map[string]string{"from": "fremd@lists.example"})
	h.happened(id(77), 0, message.EventAccepted, map[string]string{"from": "gone@lists.example"})
	f, text := h.gather(t, "")
	if len(f.Messages) != 1 || !f.Messages[0].Claimed || f.Messages[0].ID != m.String() || len(f.Events) != 1 || strings.Contains(text, "192.0.2.1") || strings.Contains(text, "lists.example") {
		t.Errorf("%s", text)
	}
}
