package storetest

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatewayd/message"
	"gatewayd/queue"
)

// model is the ledger as the contract describes it, in memory and without any
// thought of speed.
type model struct {
	must
	now      time.Time
	envs     map[message.ID]message.Envelope
	items    map[message.ItemKey]message.Item
	receipts map[message.Digest]message.Receipt
	links    uint64 // length of the chain
	feeds    map[string][]message.Event
	forgot   uint64
	seed     uint64
}

// testModel runs random operations against store and model and compares all
// that can be read.
func testModel(t *testing.T, open func(*testing.T) queue.Store) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{
			must: must{rt, open(t)}, now: Now(), envs: map[message.ID]message.Envelope{},
			items: map[message.ItemKey]message.Item{}, receipts: map[message.Digest]message.Receipt{},
			feeds: map[string][]message.Event{},
		}
		defer m.Close()
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			m.step(rt)
		}
		m.compare(rt)
		m.check()
	})
}

func (m *model) step(rt *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(0, 90).Draw(rt, "seconds")) * time.Second)
	switch rapid.SampledFrom([]string{"index", "index again", "lease", "apply", "apply", "receipt", "forget"}).Draw(rt, "operation") {
	case "index":
		m.indexNew(rt)
	case "index again":
		m.indexAgain(rt)
	case "lease":
		m.leaseSome(rt)
	case "apply":
		m.applyOne(rt)
	case "receipt":
		m.addReceipt(rt)
	case "forget":
		m.forget(rt)
	}
}

func (m *model) indexNew(rt *rapid.T) {
	var batch []queue.Accepted
	for range rapid.IntRange(1, 4).Draw(rt, "messages") {
		m.seed++
		a := Accepted(m.seed, rapid.IntRange(1, 3).Draw(rt, "recipients"))
		if rapid.Bool().Draw(rt, "registered") {
			a = Registered(m.seed, len(a.Items))
		}
		a.Envelope.Authority = rapid.SampledFrom([]string{"bau", "steuern"}).Draw(rt, "authority")
		a.Envelope.IdemKey = queue.JoinIdemKey(rapid.SampledFrom([]string{"", fmt.Sprint("key-", m.seed)}).Draw(rt, "key"), message.Digest{})
		for i := range a.Events {
			a.Events[i].Authority = a.Envelope.Authority
		}
		for i := range a.Items {
			a.Items[i].State = rapid.SampledFrom([]message.State{message.Waiting, message.Waiting, message.Held}).Draw(rt, "state")
			a.Items[i].NextTry = m.someTime(rt)
		}
		batch = append(batch, a)
		m.take(a)
	}
	m.index(batch...)
}

// take writes an accepted message into the model.
func (m *model) take(a queue.Accepted) {
	m.envs[a.Envelope.ID] = a.Envelope
	for _, item := range a.Items {
		item.Version = 1
		m.items[item.Key] = item
	}
	for _, e := range a.Events {
		m.happened(e)
	}
}

// happened appends an event to the chain and to its authority's feed.
func (m *model) happened(e message.Event) {
	m.links++
	e.Seq = m.links
	m.feeds[e.Authority] = append(m.feeds[e.Authority], e)
}

func (m *model) someTime(rt *rapid.T) time.Time {
	return m.now.Add(time.Duration(rapid.IntRange(-60, 120).Draw(rt, "next try")) * time.Second)
}

// indexAgain gives the store a message that it has, with other contents.
func (m *model) indexAgain(rt *rapid.T) {
	if len(m.envs) == 0 {
		return
	}
	again := Accepted(99, 1)
	again.Envelope.ID = rapid.SampledFrom(m.ids()).Draw(rt, "message")
	again.Items[0].Key.Message = again.Envelope.ID
	m.index(again)
}

func (m *model) ids() []message.ID {
	return slices.SortedFunc(maps.Keys(m.envs), func(a, b message.ID) int { return slices.Compare(a[:], b[:]) })
}

func (m *model) keys() []message.ItemKey { return slices.SortedFunc(maps.Keys(m.items), compare) }

// due returns the model's items in the given states that are due, earliest first.
func (m *model) due(states ...message.State) []message.ItemKey {
	var keys []message.ItemKey
	for _, k := range m.keys() {
		if item := m.items[k]; slices.Contains(states, item.State) && !item.NextTry.After(m.now) && (item.State == message.Waiting || !item.NextTry.IsZero()) {
			keys = append(keys, k)
		}
	}
	slices.SortStableFunc(keys, func(a, b message.ItemKey) int { return m.items[a].NextTry.Compare(m.items[b].NextTry) })
	return keys
}

func (m *model) leaseSome(rt *rapid.T) {
	n := rapid.IntRange(0, 5).Draw(rt, "max")
	closed := rapid.SampledFrom([]string{"", "incamail", "smtp:d1.example"}).Draw(rt, "busy destination")
	want, total := map[string][]message.ItemKey{}, 0 // destination → its items in their order
	for _, k := range m.due(message.Waiting) {
		if d := queue.Destination(m.items[k]); d != closed {
			want[d], total = append(want[d], k), total+1
		}
	}
	got := m.lease(m.now, n, func(destination string) queue.Room {
		if destination == closed {
			return queue.Room{}
		}
		return queue.Room{Free: n}
	})
	if len(got) != min(n, total) {
		rt.Fatalf("%d leased, want %d", len(got), min(n, total))
	}
	for _, item := range got {
		d := queue.Destination(item)
		if len(want[d]) == 0 || want[d][0] != item.Key {
			rt.Fatalf("leased %v, of %s want %v", keysOf(got), d, want[d])
		}
		want[d] = want[d][1:]
	}
	for _, item := range got {
		w := m.items[item.Key]
		w.State, w.Attempts, w.Version = message.Sending, w.Attempts+1, w.Version+1
		if !reflect.DeepEqual(item, w) {
			rt.Fatalf("leased %+v, want %+v", item, w)
		}
		m.items[item.Key] = w
		m.happened(message.Event{At: m.now, Kind: message.EventAttempt, Authority: m.envs[item.Key.Message].Authority, Message: item.Key.Message, Item: item.Key.N, Data: map[string]string{
			"attempt": strconv.Itoa(w.Attempts), "via": w.Decision.Via,
		}})
	}
}

// applyOne changes one or two items, validly or not.
func (m *model) applyOne(rt *rapid.T) {
	if len(m.items) == 0 {
		return
	}
	var c queue.Change
	var want error
	for range rapid.IntRange(1, 2).Draw(rt, "items") {
		old := m.items[rapid.SampledFrom(m.keys()).Draw(rt, "item")]
		if len(c.Items) == 1 && c.Items[0].Key == old.Key {
			continue
		}
		next := old
		next.State = rapid.SampledFrom(message.States()).Draw(rt, "state")
		next.NextTry = m.someTime(rt)
		next.RemoteID = rapid.SampledFrom([]string{"", "r1", "r2"}).Draw(rt, "remote id")
		next.SentAs = rapid.SampledFrom([]string{"", "<left@x>", m.envs[old.Key.Message].MessageID}).Draw(rt, "sent as")
		next.EraseBy = old.EraseBy.Add(-time.Duration(rapid.IntRange(-1, 5).Draw(rt, "erase earlier")) * time.Minute)
		next.Version -= uint64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(rt, "stale")) //nolint:gosec // 0 or 1
		if want == nil {
			want = queue.CheckItem(old, next)
		}
		c.Items = append(c.Items, next)
	}
	c.Events = []message.Event{{At: m.now, Kind: message.EventRetry}}
	if rapid.Bool().Draw(rt, "with notice") {
		m.seed++
		c.New = []queue.Accepted{Accepted(m.seed, 1)}
	}
	got := m.Apply(m.ctx(), c)
	if !sameKind(got, want) {
		rt.Fatalf("Apply = %v, want %v", got, want)
	}
	if got != nil {
		return
	}
	for _, item := range c.Items {
		item.Version++
		m.items[item.Key] = item
	}
	for _, a := range c.New {
		m.take(a)
	}
	m.happened(c.Events[0])
}

func sameKind(got, want error) bool {
	for _, kind := range []error{queue.ErrConflict, queue.ErrTransition, queue.ErrEraseBy} {
		if errors.Is(got, kind) != errors.Is(want, kind) {
			return false
		}
	}
	return (got == nil) == (want == nil)
}

func (m *model) addReceipt(rt *rapid.T) {
	m.seed++
	r := message.Receipt{
		ID: message.NewID(m.now), Kind: message.Abgabequittung, Platform: "incamail", Received: m.now,
		Digest: message.Digest{byte(rapid.IntRange(0, 3).Draw(rt, "document"))}, Verdict: rapid.SampledFrom([]message.Authenticity{message.Verified, message.Unsigned}).Draw(rt, "verdict"),
	}
	if len(m.items) > 0 && rapid.Bool().Draw(rt, "matched") {
		r.Item = rapid.SampledFrom(m.keys()).Draw(rt, "item")
	}
	m.apply(queue.Change{Receipts: []message.Receipt{r}})
	if old, ok := m.receipts[queue.ReceiptIdentity(r)]; !ok || queue.Supersedes(old, r) {
		m.receipts[queue.ReceiptIdentity(r)] = r
	}
}

func (m *model) forget(rt *rapid.T) {
	m.forgot += uint64(rapid.IntRange(0, int(m.links-m.forgot)).Draw(rt, "links")) //nolint:gosec // small
	if err := m.Forget(m.ctx(), m.forgot); err != nil {
		rt.Fatalf("Forget(%d): %v", m.forgot, err)
	}
}

// compare reads everything and compares it with the model.
func (m *model) compare(rt *rapid.T) {
	counts := map[message.State]int{}
	for k, want := range m.items {
		counts[want.State]++
		if got := m.item(k); !reflect.DeepEqual(got, want) {
			rt.Errorf("item %s = %+v, want %+v", k, got, want)
		}
	}
	for id, want := range m.envs {
		if got, _, err := m.Message(m.ctx(), id); err != nil || !reflect.DeepEqual(got, want) {
			rt.Errorf("envelope %s = %+v, %v, want %+v", id, got, err, want)
		}
	}
	if got, err := m.Counts(m.ctx()); err != nil || !maps.Equal(got, counts) {
		rt.Errorf("Counts = %v, %v, want %v", got, err, counts)
	}
	if got := m.pending(); uint64(len(got)) != m.links-m.forgot {
		rt.Errorf("%d links wait, want %d", len(got), m.links-m.forgot)
	}
	for authority, want := range m.feeds {
		if got := m.feed(authority, 0, 3); !reflect.DeepEqual(got, want) {
			rt.Errorf("feed of %q = %+v, want %+v", authority, got, want)
		}
	}
	m.compareDue(rt)
	m.compareFound(rt)
	m.compareReceipts(rt)
}

func (m *model) compareDue(rt *rapid.T) {
	m.now = m.now.Add(30 * time.Second)
	items, err := m.Due(m.ctx(), m.now, 1000)
	if want := m.due(message.Held, message.Unclear, message.Handed, message.Done, message.Refused, message.Dropped, message.Expired); err != nil || !slices.Equal(keysOf(items), want) {
		rt.Errorf("Due = %v, %v, want %v", keysOf(items), err, want)
	}
	var first time.Time
	for _, item := range m.items {
		if item.State == message.Waiting && (first.IsZero() || item.NextTry.Before(first)) {
			first = item.NextTry
		}
	}
	if got, ok, err := m.NextDue(m.ctx()); err != nil || ok == first.IsZero() || !got.Equal(first) {
		rt.Errorf("NextDue = %v, %v, %v, want %v", got, ok, err, first)
	}
}

func (m *model) compareFound(rt *rapid.T) {
	queries := []queue.Query{{}, {Authority: "bau"}, {Authority: "steuern", State: message.Held}, {RemoteID: "r1"}, {Authority: "bau", RemoteID: "r2"}, {Authority: "bau", MessageID: "<left@x>"}}
	for _, s := range message.States() {
		queries = append(queries, queue.Query{State: s})
	}
	for _, k := range m.keys() {
		item, env := m.items[k], m.envs[k.Message]
		queries = append(
			queries,
			queue.Query{Authority: env.Authority, Recipient: item.Recipient.Address.Key()},
			queue.Query{Authority: env.Authority, MessageID: env.MessageID},
		)
		if item.Reference != "" {
			queries = append(queries, queue.Query{Reference: item.Reference})
		}
	}
	for _, q := range queries {
		q.Limit = 3
		got := m.find(q)
		slices.SortFunc(got, compare)
		if want := m.search(q); !slices.Equal(got, want) {
			rt.Errorf("Find(%+v) = %v, want %v", q, got, want)
		}
	}
}

// search is Find on the model.
func (m *model) search(q queue.Query) []message.ItemKey {
	var keys []message.ItemKey
	for _, k := range m.keys() {
		item, env := m.items[k], m.envs[k.Message]
		if (q.Authority == "" || q.Authority == env.Authority) && (q.State == "" || q.State == item.State) &&
			(q.Recipient == "" || q.Recipient == item.Recipient.Address.Key()) &&
			(q.MessageID == "" || q.MessageID == env.MessageID || q.MessageID == item.SentAs) &&
			(q.Reference == "" || q.Reference == item.Reference) && (q.RemoteID == "" || q.RemoteID == item.RemoteID) {
			keys = append(keys, k)
		}
	}
	return keys
}

func (m *model) compareReceipts(rt *rapid.T) {
	found := 0
	for _, id := range append(m.ids(), message.ID{}) {
		rs, err := m.Receipts(m.ctx(), id)
		if id.IsZero() {
			rs, err = m.Unmatched(m.ctx(), 1000)
		}
		if err != nil {
			rt.Fatalf("Receipts(%s): %v", id, err)
		}
		for _, r := range rs {
			found++
			if want := m.receipts[queue.ReceiptIdentity(r)]; r.Item.Message != id || !reflect.DeepEqual(r, want) {
				rt.Errorf("receipt %+v, want %+v", r, want)
			}
		}
	}
	if found != len(m.receipts) {
		rt.Errorf("%d receipts, want %d", found, len(m.receipts))
	}
}
