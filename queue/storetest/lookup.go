package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"gatewayd/message"
	"gatewayd/queue"
)

func testFind(t *testing.T, m must) {
	a, b, c := Registered(1, 2), Accepted(2, 1), Accepted(3, 1)
	b.Envelope.Authority = "steuern"
	b.Items[0].Recipient = a.Items[0].Recipient
	c.Items[0].State = message.Held
	m.index(a, b, c)
	leased := m.lease(Now().Add(time.Hour), 1, nil)
	sent := m.edit(leased[0].Key, func(i *message.Item) {
		i.State, i.SentAs, i.RemoteID = message.Handed, "<left@gateway.example>", "im-1"
	})
	k := append(append(keysOf(a.Items), b.Items[0].Key), c.Items[0].Key)
	to := a.Items[0].Recipient.Address.Key()
	tests := map[string]struct {
		q    queue.Query
		want []message.ItemKey
	}{
		"all":                        {queue.Query{}, k},
		"authority":                  {queue.Query{Authority: "bau"}, []message.ItemKey{k[0], k[1], k[3]}},
		"unknown authority":          {queue.Query{Authority: "x"}, nil},
		"state":                      {queue.Query{State: message.Held}, k[3:]},
		"no such state":              {queue.Query{State: message.Dropped}, nil},
		"authority and state":        {queue.Query{Authority: "bau", State: message.Waiting}, k[1:2]},
		"recipient":                  {queue.Query{Authority: "bau", Recipient: to}, k[:1]},
		"recipient in capitals":      {queue.Query{Authority: "bau", Recipient: a.Items[0].Recipient.Address.String()}, k[:1]},
		"recipient, other authority": {queue.Query{Authority: "steuern", Recipient: to}, k[2:3]},
		"recipient, no authority":    {queue.Query{Recipient: to}, nil},
		"recipient and state":        {queue.Query{Authority: "bau", Recipient: to, State: message.Waiting}, nil},
		"message id as it came":      {queue.Query{Authority: "bau", MessageID: a.Envelope.MessageID}, k[:2]},
		"message id as it left":      {queue.Query{Authority: "bau", MessageID: sent.SentAs}, k[:1]},
		"message id elsewhere":       {queue.Query{Authority: "steuern", MessageID: sent.SentAs}, nil},
		"reference":                  {queue.Query{Reference: a.Items[1].Reference}, k[1:2]},
		"reference of another":       {queue.Query{Reference: a.Items[1].Reference, Authority: "steuern"}, nil},
		"remote id":                  {queue.Query{RemoteID: "im-1"}, k[:1]},
		"message id and remote id":   {queue.Query{Authority: "bau", MessageID: a.Envelope.MessageID, RemoteID: "im-1"}, k[:1]},
		"part of a reference":        {queue.Query{Reference: a.Items[1].Reference[:5]}, nil},
	}
	for name, tt := range tests {
		got := m.find(tt.q)
		if tt.q == (queue.Query{}) || tt.q.State != "" { // no order across authorities
			slices.SortFunc(got, compare)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: Find = %v, want %v", name, got, tt.want)
		}
	}
	m.edit(sent.Key, func(i *message.Item) { i.RemoteID, i.Reference = "im-2", "BL-NEW" })
	if old, now := m.find(queue.Query{RemoteID: "im-1"}), m.find(queue.Query{Reference: "BL-NEW"}); len(old) != 0 || len(now) != 1 {
		t.Errorf("after a change: %d found by the old value, %d by the new", len(old), len(now))
	}
}

func compare(a, b message.ItemKey) int {
	if c := slices.Compare(a.Message[:], b.Message[:]); c != 0 {
		return c
	}
	return a.N - b.N
}

func testFindPages(t *testing.T, m must) {
	var want []message.ItemKey
	var batch []queue.Accepted
	for i := range uint64(23) {
		a := Accepted(i, int(i%3)+1) //nolint:gosec // small
		batch, want = append(batch, a), append(want, keysOf(a.Items)...)
	}
	m.index(batch...)
	for _, q := range []queue.Query{{}, {Authority: "bau"}, {State: message.Waiting}, {Authority: "bau", State: message.Waiting}} {
		for _, limit := range []int{1, 7, len(want) - 1, len(want), 0, -1, 1 << 30} {
			q.Limit = limit
			if got := m.find(q); !slices.Equal(got, want) {
				t.Errorf("Find(%+v) gave %d items in pages, want %d, oldest first", q, len(got), len(want))
			}
		}
	}
	page, next, err := m.Find(m.ctx(), queue.Query{Limit: len(want)})
	if err != nil || len(page) != len(want) || next != "" {
		t.Errorf("a page that holds all = %d items, cursor %q, %v", len(page), next, err)
	}
	if _, _, err := m.Find(m.ctx(), queue.Query{After: "!"}); !errors.Is(err, queue.ErrMalformed) {
		t.Errorf("Find with a bad cursor = %v, want ErrMalformed", err)
	}
}

func testReceipts(t *testing.T, m must) {
	a := Registered(1, 2)
	m.index(a)
	base := message.Receipt{ID: message.ID{1}, Item: a.Items[0].Key, Kind: message.Abgabequittung, Platform: "incamail", Digest: message.Digest{1}, Received: Now(), Verdict: message.Untrusted}
	add := func(change func(*message.Receipt)) {
		t.Helper()
		r := base
		if change != nil {
			change(&r)
		}
		m.apply(queue.Change{Receipts: []message.Receipt{r}})
	}
	count := func() (matched, unmatched int) {
		rs, err := m.Receipts(m.ctx(), a.Envelope.ID)
		if err != nil {
			t.Fatal(err)
		}
		un, err := m.Unmatched(m.ctx(), 100)
		if err != nil {
			t.Fatal(err)
		}
		return len(rs), len(un)
	}
	steps := []struct {
		name   string
		change func(*message.Receipt)
		n, un  int
	}{
		{"first", nil, 1, 0},
		{"the same", func(r *message.Receipt) { r.ID, r.Received = message.ID{2}, Now().Add(time.Hour) }, 1, 0},
		{"other kind", func(r *message.Receipt) { r.Kind = message.Abholquittung }, 2, 0},
		{"other platform", func(r *message.Receipt) { r.Platform = "privasphere" }, 3, 0},
		{"other item", func(r *message.Receipt) { r.Item.N = 2 }, 4, 0},
		{"other document", func(r *message.Receipt) { r.Digest[0]++ }, 5, 0},
		{"no document", func(r *message.Receipt) { r.Digest, r.ID = message.Digest{}, message.ID{3} }, 6, 0},
		{"no document, again", func(r *message.Receipt) { r.Digest, r.ID = message.Digest{}, message.ID{3} }, 6, 0},
		{"another without document", func(r *message.Receipt) { r.Digest, r.ID = message.Digest{}, message.ID{4} }, 7, 0},
		{"unmatched", func(r *message.Receipt) { r.Item = message.ItemKey{} }, 7, 1},
		{"unmatched again", func(r *message.Receipt) { r.Item = message.ItemKey{} }, 7, 1},
		{"unmatched, other", func(r *message.Receipt) { r.Item, r.Digest[0] = message.ItemKey{}, 9 }, 7, 2},
	}
	for _, s := range steps {
		add(s.change)
		if n, un := count(); n != s.n || un != s.un {
			t.Errorf("%s: %d receipts and %d unmatched, want %d and %d", s.name, n, un, s.n, s.un)
		}
	}
	if un, err := m.Unmatched(m.ctx(), 1); err != nil || len(un) != 1 {
		t.Errorf("Unmatched(1) = %d, %v", len(un), err)
	}
	testSupersede(t, m, base)
}

// testSupersede: the same document verified at last replaces the unverified one,
// never the other way round.
func testSupersede(t *testing.T, m must, r message.Receipt) {
	for _, step := range []struct{ give, want message.Authenticity }{
		{message.Unsigned, message.Untrusted}, {message.Verified, message.Verified}, {message.Forged, message.Verified},
	} {
		r.Verdict = step.give
		m.apply(queue.Change{Receipts: []message.Receipt{r, r}})
		rs, err := m.Receipts(m.ctx(), r.Item.Message)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(rs, func(o message.Receipt) bool {
			return queue.ReceiptIdentity(o) == queue.ReceiptIdentity(r)
		})
		if i < 0 || rs[i].Verdict != step.want || len(rs) != 7 {
			t.Errorf("after a receipt that is %s: %d receipts, %+v, want %s", step.give, len(rs), rs, step.want)
		}
	}
}

func testReceiptsRefuse(t *testing.T, m must) {
	a := Registered(1, 1)
	m.index(a)
	r := message.Receipt{ID: message.ID{1}, Item: message.ItemKey{Message: a.Envelope.ID, N: 2}, Received: Now()}
	if err := m.Apply(m.ctx(), queue.Change{Receipts: []message.Receipt{r}}); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("a receipt for no item = %v, want ErrNotFound", err)
	}
	if rs, err := m.Receipts(m.ctx(), a.Envelope.ID); err != nil || len(rs) != 0 {
		t.Errorf("Receipts = %v, %v", rs, err)
	}
}
