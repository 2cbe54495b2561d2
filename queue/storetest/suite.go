package storetest

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"gatewayd/message"
	"gatewayd/queue"
)

// Run runs the whole suite. open returns a new, empty store each time, opened
// with LogDay; the suite closes it.
func Run(t *testing.T, open func(*testing.T) queue.Store) {
	for name, test := range map[string]func(*testing.T, must){
		"Index":          testIndex,
		"IndexRefuses":   testIndexRefuses,
		"Marks":          testMarks,
		"Lease":          testLease,
		"LeaseRoom":      testLeaseRoom,
		"IndexAndLease":  testIndexAndLease,
		"LeaseTurns":     testLeaseTurns,
		"LeaseAtOnce":    testLeaseAtOnce,
		"Due":            testDue,
		"Apply":          testApply,
		"ApplyRefuses":   testApplyRefuses,
		"ApplyAtOnce":    testApplyAtOnce,
		"Transitions":    testTransitions,
		"Find":           testFind,
		"FindPages":      testFindPages,
		"Receipts":       testReceipts,
		"ReceiptsRefuse": testReceiptsRefuse,
		"Duplicate":      testDuplicate,
		"Chain":          testChain,
		"Feed":           testFeed,
		"IdemKey":        testIdemKey,
		"Epoch":          testEpoch,
		"Closed":         testClosed,
	} {
		t.Run(name, func(t *testing.T) { test(t, start(t, open)) })
	}
	t.Run("Model", func(t *testing.T) { testModel(t, open) })
}

func testIndex(t *testing.T, m must) {
	a, b := Accepted(1, 3), Accepted(2, 1)
	m.index(a, b, a)
	m.index(b)
	env, items, err := m.Message(m.ctx(), a.Envelope.ID)
	if err != nil || !reflect.DeepEqual(env, a.Envelope) {
		t.Errorf("Message = %+v, %v, want %+v", env, err, a.Envelope)
	}
	for i := range a.Items {
		a.Items[i].Version = 1
	}
	if !reflect.DeepEqual(items, a.Items) {
		t.Errorf("items = %+v, want %+v", items, a.Items)
	}
	if got := len(m.pending()); got != 4 {
		t.Errorf("%d events in the chain, want 4: indexing again must add none", got)
	}
	counts, err := m.Counts(m.ctx())
	if want := map[message.State]int{message.Waiting: 4}; err != nil || !maps.Equal(counts, want) {
		t.Errorf("Counts = %v, %v, want %v", counts, err, want)
	}
	if _, _, err := m.Message(m.ctx(), Accepted(3, 1).Envelope.ID); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("Message(unknown) = %v, want ErrNotFound", err)
	}
	if _, err := m.Item(m.ctx(), message.ItemKey{Message: a.Envelope.ID, N: 9}); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("Item(unknown) = %v, want ErrNotFound", err)
	}
}

func testIndexRefuses(t *testing.T, m must) {
	tests := map[string]struct {
		damage func(*queue.Accepted)
		want   error
	}{
		"no erase-by":   {func(a *queue.Accepted) { a.Items[1].EraseBy = time.Time{} }, queue.ErrEraseBy},
		"starts sent":   {func(a *queue.Accepted) { a.Items[1].State = message.Sending }, queue.ErrTransition},
		"foreign item":  {func(a *queue.Accepted) { a.Items[1].Key.Message[15]++ }, queue.ErrMalformed},
		"twice":         {func(a *queue.Accepted) { a.Items[1].Key.N = 1 }, queue.ErrMalformed},
		"no id":         {func(a *queue.Accepted) { a.Envelope.ID = message.ID{} }, queue.ErrMalformed},
		"no log day":    {func(a *queue.Accepted) { a.Envelope.LogDay = "soon" }, queue.ErrMalformed},
		"no recipients": {func(a *queue.Accepted) { a.Items = nil }, queue.ErrMalformed},
	}
	for name, tt := range tests {
		a := Accepted(1, 2)
		tt.damage(&a)
		if err := m.Index(m.ctx(), []queue.Accepted{Accepted(2, 1), a}, map[uint64]int64{1: 10}); !errors.Is(err, tt.want) {
			t.Errorf("%s: Index = %v, want %v", name, err, tt.want)
		}
	}
	if n, marks := len(m.pending()), m.marks(); n != 0 || len(marks) != 0 || len(m.find(queue.Query{})) != 0 {
		t.Errorf("refused batches left %d events, marks %v", n, marks)
	}
}

func (m must) marks() map[uint64]int64 {
	m.t.Helper()
	marks, err := m.Marks(m.ctx())
	if err != nil {
		m.t.Fatalf("Marks: %v", err)
	}
	return marks
}

func testMarks(t *testing.T, m must) {
	for _, step := range []map[uint64]int64{{1: 100}, {1: 50, 2: 7}, {1: 200}} {
		if err := m.Index(m.ctx(), nil, step); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := m.marks(), (map[uint64]int64{1: 200, 2: 7}); !maps.Equal(got, want) {
		t.Errorf("Marks = %v, want %v", got, want)
	}
}

func testLease(t *testing.T, m must) {
	a := Accepted(1, 4)
	for i, after := range []int{3, 1, 2, 60} {
		a.Items[i].NextTry = Now().Add(time.Duration(after) * time.Minute)
	}
	m.index(a)
	next, ok, err := m.NextDue(m.ctx())
	if want := a.Items[1].NextTry; err != nil || !ok || !next.Equal(want) {
		t.Errorf("NextDue = %v, %v, %v, want %v", next, ok, err, want)
	}
	if got := m.lease(Now(), 10, nil); len(got) != 0 {
		t.Errorf("%d items leased before they were due", len(got))
	}
	at := Now().Add(3 * time.Minute)
	first := m.lease(at, 2, nil)
	if got, want := keysOf(first), []message.ItemKey{a.Items[1].Key, a.Items[2].Key}; !slices.Equal(got, want) {
		t.Errorf("leased %v, want %v: earliest first, never more than asked", got, want)
	}
	for _, item := range first {
		if stored := m.item(item.Key); !reflect.DeepEqual(stored, item) || item.State != message.Sending || item.Attempts != 1 || item.Version != 2 {
			t.Errorf("leased %+v, stored %+v", item, stored)
		}
	}
	if got := keysOf(m.lease(at, 10, nil)); !slices.Equal(got, []message.ItemKey{a.Items[0].Key}) {
		t.Errorf("second lease = %v: NextTry = now is due", got)
	}
	if got := m.lease(at.Add(time.Hour), 0, nil); len(got) != 0 {
		t.Errorf("a lease of none gave %d items", len(got))
	}
	open, err := m.Sending(m.ctx())
	if err != nil || len(open) != 3 {
		t.Errorf("Sending = %d items, %v, want 3", len(open), err)
	}
	if got := len(m.pending()); got != 2+3 {
		t.Errorf("%d events, want the accept's 2 and 3 attempts", got)
	}
	if next, ok, err := m.NextDue(m.ctx()); err != nil || !ok || !next.Equal(a.Items[3].NextTry) {
		t.Errorf("NextDue = %v, %v, %v, want %v", next, ok, err, a.Items[3].NextTry)
	}
}

// testLeaseRoom: a destination gets no more than it has room for, and the others
// do not wait for it.
func testLeaseRoom(t *testing.T, m must) {
	slow, fast, none := Accepted(1, 5), Accepted(2, 3), Registered(3, 2)
	none.Items[0].NextTry = time.Time{} // no time: due at once
	m.index(slow, fast, none)
	now := Now().Add(time.Hour)
	asked := map[string]int{}
	room := func(r queue.Room) func(string) queue.Room {
		return func(destination string) queue.Room {
			asked[destination]++
			if destination == "smtp:d1.example" {
				return r
			}
			return queue.Room{Free: 100}
		}
	}
	got := m.lease(now, 100, room(queue.Room{}))
	if len(got) != 5 || got[0].Key != none.Items[0].Key {
		t.Errorf("leased %v, want the 5 items of other destinations", keysOf(got))
	}
	if len(asked) != 3 || asked["smtp:d1.example"] != 1 || asked["smtp:d2.example"] != 1 || asked["incamail"] != 1 {
		t.Errorf("asked %v, want each destination once", asked)
	}
	if got := m.lease(now, 100, room(queue.Room{Free: 2})); !slices.Equal(keysOf(got), keysOf(slow.Items[:2])) {
		t.Errorf("with room for 2: %v", keysOf(got))
	}
	rest := queue.Room{Again: now.Add(time.Minute)}
	for range 3 {
		if got := m.lease(now, 100, room(rest)); len(got) != 0 {
			t.Errorf("leased %v of a destination that rests", keysOf(got))
		}
	}
	if n := asked["smtp:d1.example"]; n != 3 {
		t.Errorf("a destination that rests was asked %d times, want 3", n)
	}
	if next, ok, err := m.NextDue(m.ctx()); err != nil || !ok || next.After(rest.Again) {
		t.Errorf("NextDue = %v, %v, %v, want not behind %v", next, ok, err, rest.Again)
	}
	if got := m.lease(now.Add(time.Minute), 100, nil); len(got) != 3 {
		t.Errorf("then leased %d, want the 3 left", len(got))
	}
	if _, ok, err := m.NextDue(m.ctx()); ok || err != nil {
		t.Errorf("NextDue with nothing waiting = %v, %v", ok, err)
	}
}

// testIndexAndLease: what is taken is as if it had been indexed and leased, in
// one commit; the rest waits.
func testIndexAndLease(t *testing.T, m must) {
	a, b := Accepted(1, 4), Accepted(2, 1)
	a.Items[1].NextTry = Now().Add(time.Hour) // not due
	a.Items[2].State = message.Held
	var asked []message.ItemKey
	take := func(item message.Item) bool {
		asked = append(asked, item.Key)
		return item.Key != a.Items[3].Key
	}
	now := Now().Add(time.Minute)
	leased, err := m.IndexAndLease(m.ctx(), []queue.Accepted{a, b}, map[uint64]int64{3: 9}, now, take)
	if err != nil || len(leased) != 2 || leased[0].Item.Key != a.Items[0].Key || leased[1].Item.Key != b.Items[0].Key {
		t.Fatalf("leased %+v, %v", leased, err)
	}
	if want := []message.ItemKey{a.Items[0].Key, a.Items[3].Key, b.Items[0].Key}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	for _, l := range leased {
		if got := m.item(l.Item.Key); !reflect.DeepEqual(got, l.Item) || got.State != message.Sending || got.Attempts != 1 {
			t.Errorf("leased %+v, stored %+v", l.Item, got)
		}
	}
	if !reflect.DeepEqual(leased[1].Envelope, b.Envelope) {
		t.Errorf("leased with envelope %+v", leased[1].Envelope)
	}
	events, err := m.Events(m.ctx(), b.Envelope.ID)
	if err != nil || len(events) != 3 || events[2].Kind != message.EventAttempt || events[2].Item != 1 || !events[2].At.Equal(now) || events[2].Data["attempt"] != "1" {
		t.Errorf("events %+v, %v", events, err)
	}
	again, err := m.IndexAndLease(m.ctx(), []queue.Accepted{a, b}, nil, now, func(message.Item) bool { t.Error("asked for what is known"); return true })
	if err != nil || len(again) != 0 {
		t.Errorf("again: %d leased, %v", len(again), err)
	}
	if got := m.lease(now, 10, nil); len(got) != 1 || got[0].Key != a.Items[3].Key {
		t.Errorf("then leased %v, want the one not taken", keysOf(got))
	}
	if counts, err := m.Counts(m.ctx()); err != nil || counts[message.Sending] != 3 || counts[message.Waiting] != 1 || counts[message.Held] != 1 {
		t.Errorf("counts %v, %v", counts, err)
	}
}

// testLeaseTurns: however long the row for one destination is, the others get
// their turn, and each destination's own items keep their order.
func testLeaseTurns(t *testing.T, m must) {
	var batch []queue.Accepted
	for i := range uint64(20) {
		batch = append(batch, Registered(i, 2)) // one platform: 40 items, all earlier
	}
	few := []queue.Accepted{Accepted(21, 1), Accepted(22, 1), Accepted(23, 1)}
	m.index(append(batch, few...)...)
	now := Now().Add(time.Hour)
	var order []message.Item
	for range 6 {
		order = append(order, m.lease(now, 2, nil)...)
	}
	others, last := 0, message.ItemKey{}
	for n, item := range order {
		if item.Decision.Via == "smtp" {
			if others++; n > 7 {
				t.Errorf("destination %s had to wait for %d others", item.Recipient.Address.Domain, n)
			}
			continue
		}
		if compare(item.Key, last) < 0 {
			t.Errorf("item %s came behind %s", item.Key, last)
		}
		last = item.Key
	}
	if others != 3 || len(order) != 12 {
		t.Errorf("%d of 3 other destinations among %d", others, len(order))
	}
}

// testLeaseAtOnce: no item is ever leased twice.
func testLeaseAtOnce(t *testing.T, m must) {
	var batch []queue.Accepted
	for i := range uint64(30) {
		batch = append(batch, Accepted(i, 3))
	}
	m.index(batch...)
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[message.ItemKey]int{}
	for range 8 {
		wg.Go(func() {
			for range 40 {
				items, err := m.Lease(m.ctx(), Now().Add(time.Hour), 4, nil)
				if err != nil {
					t.Errorf("Lease: %v", err)
					return
				}
				mu.Lock()
				for _, l := range items {
					seen[l.Item.Key]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 90 {
		t.Errorf("%d of 90 items leased", len(seen))
	}
	for key, n := range seen {
		if n != 1 {
			t.Errorf("item %s leased %d times", key, n)
		}
	}
}

func testDue(t *testing.T, m must) {
	a := Accepted(1, 6)
	a.Items[0].State, a.Items[1].State, a.Items[2].State = message.Held, message.Held, message.Held
	a.Items[0].NextTry = Now().Add(2 * time.Minute)
	a.Items[1].NextTry = Now().Add(time.Minute)
	a.Items[2].NextTry = time.Time{} // waits for a person only
	m.index(a)
	m.lease(Now().Add(time.Second), 3, nil)
	m.edit(a.Items[3].Key, func(i *message.Item) { i.State, i.NextTry = message.Unclear, Now().Add(3*time.Minute) })
	m.edit(a.Items[4].Key, func(i *message.Item) { i.State, i.NextTry = message.Handed, Now().Add(4*time.Minute) })
	m.edit(a.Items[5].Key, func(i *message.Item) { i.State, i.NextTry = message.Done, Now().Add(5*time.Minute) })
	due := func(after time.Duration, max int) []message.ItemKey {
		items, err := m.Due(m.ctx(), Now().Add(after), max)
		if err != nil {
			t.Fatalf("Due: %v", err)
		}
		return keysOf(items)
	}
	k := keysOf(a.Items)
	if got, want := due(time.Hour, 10), []message.ItemKey{k[1], k[0], k[3], k[4], k[5]}; !slices.Equal(got, want) {
		t.Errorf("Due = %v, want %v", got, want)
	}
	if got := due(2*time.Minute, 10); len(got) != 2 {
		t.Errorf("Due at the second minute = %v, want 2", got)
	}
	if got := due(time.Hour, 1); !slices.Equal(got, k[1:2]) {
		t.Errorf("Due of one = %v", got)
	}
	m.edit(k[4], func(i *message.Item) { i.State, i.NextTry = message.Done, time.Time{} })
	if got := due(time.Hour, 10); len(got) != 4 {
		t.Errorf("Due after the end of one = %v, want 4", got)
	}
}

func testApply(t *testing.T, m must) {
	a := Registered(1, 2)
	m.index(a)
	leased := m.lease(Now().Add(time.Hour), 2, nil)
	one, two := leased[0], leased[1]
	one.State, one.RemoteID, one.SentAs, one.HandedAt = message.Handed, "im-4711", "<new@bl.example>", Now()
	one.NextTry = Now().Add(15 * time.Minute)
	one.EraseBy = one.EraseBy.Add(-time.Hour)
	two.State, two.NextTry = message.Refused, time.Time{}
	notice := Accepted(2, 1)
	notice.Envelope.Direction, notice.Envelope.About = message.Notice, two.Key
	receipt := message.Receipt{ID: message.ID{1}, Item: one.Key, Kind: message.Abgabequittung, Platform: "incamail", Digest: message.Digest{1}, Received: Now()}
	m.apply(queue.Change{
		Items: []message.Item{one, two}, New: []queue.Accepted{notice}, Receipts: []message.Receipt{receipt},
		Events: []message.Event{{At: Now(), Kind: message.EventHanded, Message: one.Key.Message, Item: 1}},
	})
	one.Version++
	two.Version++
	if got := m.item(one.Key); !reflect.DeepEqual(got, one) {
		t.Errorf("item 1 = %+v, want %+v", got, one)
	}
	if got := m.item(two.Key); !reflect.DeepEqual(got, two) {
		t.Errorf("item 2 = %+v, want %+v", got, two)
	}
	if env, items, err := m.Message(m.ctx(), notice.Envelope.ID); err != nil || env.About != two.Key || len(items) != 1 {
		t.Errorf("notice = %+v with %d items, %v", env, len(items), err)
	}
	rs, err := m.Receipts(m.ctx(), one.Key.Message)
	if err != nil || len(rs) != 1 || !reflect.DeepEqual(rs[0], receipt) {
		t.Errorf("Receipts = %+v, %v, want %+v", rs, err, receipt)
	}
	counts, err := m.Counts(m.ctx())
	if want := (map[message.State]int{message.Handed: 1, message.Refused: 1, message.Waiting: 1}); err != nil || !maps.Equal(counts, want) {
		t.Errorf("Counts = %v, %v, want %v", counts, err, want)
	}
}

// testApplyRefuses: a change with one bad part leaves no trace of its good parts.
func testApplyRefuses(t *testing.T, m must) {
	a := Accepted(1, 2)
	m.index(a)
	good, links := m.item(a.Items[0].Key), len(m.pending())
	good.State = message.Held
	forbidden := message.States()[slices.IndexFunc(message.States(), func(s message.State) bool { return !message.Waiting.MayBecome(s) })]
	tests := map[string]struct {
		damage func(*queue.Change)
		want   error
	}{
		"stale":           {func(c *queue.Change) { c.Items[1].Version = 0 }, queue.ErrConflict},
		"ahead":           {func(c *queue.Change) { c.Items[1].Version = 2 }, queue.ErrConflict},
		"twice":           {func(c *queue.Change) { c.Items[1].Key = good.Key }, queue.ErrConflict},
		"transition":      {func(c *queue.Change) { c.Items[1].State = forbidden }, queue.ErrTransition},
		"unknown state":   {func(c *queue.Change) { c.Items[1].State = "lost" }, queue.ErrTransition},
		"later erase-by":  {func(c *queue.Change) { c.Items[1].EraseBy = c.Items[1].EraseBy.Add(1) }, queue.ErrEraseBy},
		"no erase-by":     {func(c *queue.Change) { c.Items[1].EraseBy = time.Time{} }, queue.ErrEraseBy},
		"unknown item":    {func(c *queue.Change) { c.Items[1].Key.N = 7 }, queue.ErrNotFound},
		"bad notice":      {func(c *queue.Change) { c.New[0].Items[0].EraseBy = time.Time{} }, queue.ErrEraseBy},
		"foreign receipt": {func(c *queue.Change) { c.Receipts[0].Item.N = 7 }, queue.ErrNotFound},
	}
	for name, tt := range tests {
		c := queue.Change{
			Items: []message.Item{good, m.item(a.Items[1].Key)}, New: []queue.Accepted{Accepted(2, 1)},
			Receipts: []message.Receipt{{ID: message.ID{1}, Item: good.Key, Received: Now()}},
			Events:   []message.Event{{At: Now(), Kind: message.EventHeld}},
		}
		tt.damage(&c)
		if err := m.Apply(m.ctx(), c); !errors.Is(err, tt.want) {
			t.Errorf("%s: Apply = %v, want %v", name, err, tt.want)
		}
	}
	rs, err := m.Receipts(m.ctx(), a.Envelope.ID)
	if got := m.item(good.Key); got.State != message.Waiting || len(m.pending()) != links || len(rs) != 0 || err != nil {
		t.Errorf("refused changes left state %s, %d new events, %d receipts", got.State, len(m.pending())-links, len(rs))
	}
	if got := len(m.find(queue.Query{})); got != 2 {
		t.Errorf("%d items, want 2", got)
	}
}

// testApplyAtOnce: of many who change one item, each version has one winner,
// and a loser does not harm its neighbours in the same commit.
func testApplyAtOnce(t *testing.T, m must) {
	a := Accepted(1, 8)
	m.index(a)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for done := 0; done < 10; {
				key := a.Items[(worker+done)%len(a.Items)].Key
				item, err := m.Item(m.ctx(), key)
				if err != nil {
					t.Errorf("Item: %v", err)
					return
				}
				item.Attempts++
				switch err := m.Apply(m.ctx(), queue.Change{Items: []message.Item{item}, Events: []message.Event{{At: Now(), Kind: message.EventRetry}}}); {
				case err == nil:
					done++
				case !errors.Is(err, queue.ErrConflict):
					t.Errorf("Apply: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, item := range a.Items {
		got := m.item(item.Key)
		sum += got.Attempts
		if got.Version != uint64(got.Attempts)+1 { //nolint:gosec // small
			t.Errorf("item %s: %d changes, version %d", item.Key, got.Attempts, got.Version)
		}
	}
	if links := len(m.pending()); sum != 80 || links != 82 {
		t.Errorf("%d changes and %d events survived, want 80 and 82", sum, links)
	}
}

// testTransitions walks every pair of states.
func testTransitions(t *testing.T, m must) {
	seed := uint64(0)
	for _, from := range message.States() {
		path := pathTo(from)
		if path == nil {
			t.Fatalf("no way to %s", from)
		}
		for _, to := range message.States() {
			seed++
			a := Accepted(seed, 1)
			a.Items[0].State = path[0]
			m.index(a)
			for _, s := range path[1:] {
				m.edit(a.Items[0].Key, func(i *message.Item) { i.State = s })
			}
			item := m.item(a.Items[0].Key)
			item.State = to
			err := m.Apply(m.ctx(), queue.Change{Items: []message.Item{item}})
			if want := from.MayBecome(to); want != (err == nil) || err != nil && !errors.Is(err, queue.ErrTransition) {
				t.Errorf("%s → %s: %v, allowed is %v", from, to, err, want)
			}
		}
	}
}

// pathTo returns the shortest way from acceptance to a state.
func pathTo(to message.State) []message.State {
	paths := [][]message.State{{""}}
	for len(paths) > 0 {
		p := paths[0]
		paths = paths[1:]
		last := p[len(p)-1]
		if last == to {
			return p[1:]
		}
		for _, s := range message.States() {
			if last.MayBecome(s) && !slices.Contains(p, s) {
				paths = append(paths, append(slices.Clone(p), s))
			}
		}
	}
	return nil
}

func testEpoch(t *testing.T, m must) {
	first, err := m.Epoch(m.ctx())
	if err != nil || first == "" {
		t.Errorf("Epoch = %q, %v, want a random one", first, err)
	}
	if err := m.SetEpoch(m.ctx(), "next"); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Epoch(m.ctx()); err != nil || got != "next" {
		t.Errorf("Epoch = %q, %v, want next", got, err)
	}
}

func testClosed(t *testing.T, m must) {
	a := Accepted(1, 1)
	m.index(a)
	ctx, cancel := context.WithCancel(m.ctx())
	cancel()
	if err := m.Apply(ctx, queue.Change{}); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Apply with an ended context = %v", err)
	}
	m.check()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	if err := m.Index(m.ctx(), []queue.Accepted{a}, nil); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Index after Close = %v, want ErrClosed", err)
	}
	if _, err := m.Item(m.ctx(), a.Items[0].Key); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Item after Close = %v, want ErrClosed", err)
	}
	if _, err := m.Lease(m.ctx(), Now().Add(time.Hour), 1, nil); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Lease after Close = %v, want ErrClosed", err)
	}
}
