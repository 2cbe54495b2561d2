package storetest

import (
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"gatewayd/message"
	"gatewayd/queue"
)

func testDuplicate(t *testing.T, m must) {
	a, plain, noID := Registered(1, 2), Accepted(2, 1), Registered(3, 1)
	noID.Envelope.MessageID = ""
	again := Registered(4, 1)
	again.Envelope.MessageID, again.Envelope.Content = a.Envelope.MessageID, a.Envelope.Content
	again.Items[0].Recipient = a.Items[0].Recipient
	m.index(again, a, plain, noID)
	ask := func(authority string, of queue.Accepted, n int, change func(*queue.Accepted)) (message.ID, bool) {
		of.Items = slices.Clone(of.Items)
		if change != nil {
			change(&of)
		}
		key := sha256.Sum256(queue.DupKey(authority, of.Envelope.MessageID, of.Items[n].Recipient.Address, of.Envelope.Content.Digest))
		id, known, err := m.Duplicate(m.ctx(), authority, key)
		if err != nil {
			t.Fatalf("Duplicate: %v", err)
		}
		return id, known
	}
	for n := range 2 {
		if id, known := ask("bau", a, n, nil); !known || id != a.Envelope.ID {
			t.Errorf("Duplicate of recipient %d = %s, %v, want the first message %s", n, id, known, a.Envelope.ID)
		}
	}
	for name, known := range map[string]func() bool{
		"other authority": func() bool { _, k := ask("steuern", a, 0, nil); return k },
		"not registered":  func() bool { _, k := ask("bau", plain, 0, nil); return k },
		"no Message-ID":   func() bool { _, k := ask("bau", noID, 0, nil); return k },
		"other Message-ID": func() bool {
			_, k := ask("bau", a, 0, func(a *queue.Accepted) { a.Envelope.MessageID = "<x@y>" })
			return k
		},
		"other content": func() bool {
			_, k := ask("bau", a, 0, func(a *queue.Accepted) { a.Envelope.Content.Digest[0]++ })
			return k
		},
		"other recipient": func() bool {
			_, k := ask("bau", a, 0, func(a *queue.Accepted) { a.Items[0].Recipient.Address.Local = "x" })
			return k
		},
	} {
		if known() {
			t.Errorf("%s counts as a duplicate", name)
		}
	}
}

func testChain(t *testing.T, m must) {
	if seq, hash, err := m.Head(m.ctx()); seq != 0 || hash != (message.Digest{}) || err != nil {
		t.Errorf("Head of an empty ledger = %d, %s, %v", seq, hash, err)
	}
	for i := range uint64(5) {
		m.index(Accepted(i, 1))
	}
	m.apply(queue.Change{Events: []message.Event{{Kind: message.EventStarted}, {At: Now().Add(-24 * time.Hour), Kind: message.EventClock}}})
	links := m.pending()
	if len(links) != 12 {
		t.Fatalf("%d links, want 12", len(links))
	}
	prev := message.Digest{}
	for i, l := range links {
		if l.Seq != uint64(i)+1 || l.Prev != prev || l.Hash != l.ChainHash() || l.Day != LogDay(l.At) || l.At.IsZero() {
			t.Errorf("link %d does not continue the chain: %+v", i+1, l)
		}
		prev = l.Hash
	}
	if seq, hash, err := m.Head(m.ctx()); seq != 12 || hash != prev || err != nil {
		t.Errorf("Head = %d, %s, %v, want 12, %s", seq, hash, err, prev)
	}
	some, err := m.Pending(m.ctx(), 3, 2)
	if err != nil || len(some) != 2 || some[0].Seq != 4 {
		t.Errorf("Pending(3, 2) = %d links, %v", len(some), err)
	}
	for range 2 {
		if err := m.Forget(m.ctx(), 10); err != nil {
			t.Errorf("Forget: %v", err)
		}
	}
	if got := m.pending(); len(got) != 2 || got[0].Seq != 11 {
		t.Errorf("after Forget(10) %d links wait", len(got))
	}
	if err := m.Forget(m.ctx(), 13); !errors.Is(err, queue.ErrMalformed) {
		t.Errorf("Forget of links that do not exist = %v, want ErrMalformed", err)
	}
	if err := m.Forget(m.ctx(), 12); err != nil {
		t.Errorf("Forget: %v", err)
	}
	m.index(Accepted(9, 1))
	if got := m.pending(); len(got) != 2 || got[0].Seq != 13 || got[0].Prev != prev {
		t.Errorf("the chain does not go on behind what was forgotten: %+v", got)
	}
}
