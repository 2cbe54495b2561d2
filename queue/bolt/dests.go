package bolt

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"sync"

	"go.etcd.io/bbolt"

	"gatewayd/message"
	"gatewayd/queue"
)

// dests knows every destination that has items in Waiting: which is due when,
// and whose turn it is. It is made from the index at start, by one step per
// destination, and never written down. An instant in it may be too early, never
// too late: Lease looks at the rows themselves.
type dests struct {
	mu    sync.Mutex
	all   map[[destLen]byte]*dest
	later destHeap // by the instant from which they are worth a look
	ready destHeap // by their turn
	turn  uint64
	bad   map[message.ItemKey]bool // items that do not open: passed over
}

// dest is one destination.
type dest struct {
	hash  [destLen]byte
	name  string // "" while no item of it was read
	next  uint64 // stamp of its earliest item, or of when it may be asked again
	turn  uint64
	heap  *destHeap // in which it stands
	place int
}

type destHeap struct {
	list []*dest
	less func(a, b *dest) bool
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h *destHeap) Len() int           { return len(h.list) }
func (h *destHeap) Less(i, j int) bool { return h.less(h.list[i], h.list[j]) }

func (h *destHeap) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].place, h.list[j].place = i, j
}

func (h *destHeap) Push(x any) {
	d, _ := x.(*dest)
	d.heap, d.place = h, len(h.list)
	h.list = append(h.list, d)
}

func (h *destHeap) Pop() any {
	d := h.list[len(h.list)-1]
	h.list[len(h.list)-1] = nil
	h.list = h.list[:len(h.list)-1]
	d.heap = nil
	return d
}

func newDests() *dests {
	return &dests{
		all:   map[[destLen]byte]*dest{},
		bad:   map[message.ItemKey]bool{},
		later: destHeap{less: func(a, b *dest) bool { return a.next < b.next }},
		ready: destHeap{less: func(a, b *dest) bool { return a.turn < b.turn }},
	}
}

// load finds every destination in the index.
func (t *dests) load(tx *bbolt.Tx) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := tx.Bucket([]byte(inDue)).Cursor()
	for k, _ := c.First(); len(k) == dueLen; {
		t.note(k)
		after := bytes.Repeat([]byte{0xff}, dueLen+1)
		copy(after, k[:destLen])
		k, _ = c.Seek(after)
	}
}

const dueLen = destLen + 8 + itemLen

// born notes rows of the index that are new.
func (t *dests) born(rows []row) {
	if len(rows) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range rows {
		t.note(r.key)
	}
}

func (t *dests) note(dueKey []byte) {
	hash, next := [destLen]byte(dueKey), binary.BigEndian.Uint64(dueKey[destLen:])
	d := t.all[hash]
	switch {
	case d == nil:
		d = &dest{hash: hash, next: next}
		t.all[hash] = d
		heap.Push(&t.later, d)
	case next < d.next:
		t.wait(d, next)
	}
}

// wait lets a destination stand back until an instant.
func (t *dests) wait(d *dest, next uint64) {
	d.next = next
	switch d.heap {
	case &t.later:
		heap.Fix(&t.later, d.place)
		return
	case &t.ready:
		heap.Remove(&t.ready, d.place)
	}
	heap.Push(&t.later, d)
}

// drop forgets a destination that has no items left.
func (t *dests) drop(d *dest) {
	if d.heap != nil {
		heap.Remove(d.heap, d.place)
	}
	delete(t.all, d.hash)
}

// wake makes destinations ready whose time has come.
func (t *dests) wake(now uint64) {
	for len(t.later.list) > 0 && t.later.list[0].next <= now {
		d, _ := heap.Pop(&t.later).(*dest)
		t.turn++
		d.turn = t.turn
		heap.Push(&t.ready, d)
	}
}

// taker picks items of one destination.
type taker struct {
	d    *dest
	c    *bbolt.Cursor
	key  []byte // its next row; nil: none is left
	left int    // how many it may still take
}

// picked is a row to lease.
type picked struct {
	dest *dest
	item message.ItemKey
}

// first positions a taker at the earliest readable item of a destination.
func (t *dests) first(tx *bbolt.Tx, d *dest) *taker {
	k := &taker{d: d, c: tx.Bucket([]byte(inDue)).Cursor()}
	row, _ := k.c.Seek(d.hash[:])
	t.settle(k, row)
	return k
}

// advance goes to the next readable item.
func (t *dests) advance(k *taker) {
	row, _ := k.c.Next()
	t.settle(k, row)
}

func (t *dests) settle(k *taker, row []byte) {
	for ; len(row) == dueLen && bytes.HasPrefix(row, k.d.hash[:]); row, _ = k.c.Next() {
		if !t.bad[parseItemKey(row)] {
			k.key = row
			return
		}
	}
	k.key = nil
}

func (k *taker) due(now uint64) bool { return k.key != nil && stampIn(k.key) <= now }

func stampIn(dueKey []byte) uint64 { return binary.BigEndian.Uint64(dueKey[destLen:]) }

// pick chooses up to max items that are due: the destinations take turns.
func (s *Store) pick(tx *bbolt.Tx, now uint64, max int, room func(string) queue.Room) (all []picked) {
	t := s.dests
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wake(now)
	takers, asked := s.takers(tx, now, max, room)
	for len(takers) > 0 && len(all) < max {
		var more []*taker
		for _, k := range takers {
			if len(all) == max {
				break
			}
			all = append(all, picked{k.d, parseItemKey(k.key)})
			t.turn++
			k.d.turn = t.turn
			t.advance(k)
			if k.left--; k.left > 0 && k.due(now) {
				more = append(more, k)
			}
		}
		takers = more
	}
	for _, d := range asked {
		heap.Push(&t.ready, d)
	}
	return all
}

// takers takes destinations out of the row, in their turn, until max have room.
// All that were asked are returned as well, and go back into the row.
func (s *Store) takers(tx *bbolt.Tx, now uint64, max int, room func(string) queue.Room) (takers []*taker, asked []*dest) {
	t := s.dests
	for len(t.ready.list) > 0 && len(takers) < max {
		d, _ := heap.Pop(&t.ready).(*dest)
		k := t.first(tx, d)
		if room != nil && d.name == "" {
			s.name(tx, k, now)
		}
		switch {
		case k.key == nil:
			t.drop(d)
			continue
		case !k.due(now):
			t.wait(d, stampIn(k.key))
			continue
		}
		k.left = max
		if room != nil {
			r := room(d.name)
			if r.Free <= 0 && stampOf(r.Again) > now {
				t.wait(d, stampOf(r.Again))
				continue
			}
			k.left = r.Free
		}
		asked = append(asked, d)
		if k.left > 0 {
			takers = append(takers, k)
		}
	}
	return takers, asked
}

// name reads how a destination is called from its first readable item that is
// due.
func (s *Store) name(tx *bbolt.Tx, k *taker, now uint64) {
	for k.due(now) && k.d.name == "" {
		key := parseItemKey(k.key)
		r, err := s.record(tx, s.dayOf(tx, key.Message), key)
		if err == nil {
			k.d.name = queue.Destination(r.Item)
			return
		}
		s.unreadable(key, err)
		s.dests.advance(k)
	}
}

// unreadable passes an item over from now on. The caller holds the lock.
func (s *Store) unreadable(key message.ItemKey, err error) {
	s.dests.bad[key] = true
	s.damage(key, err)
}

// earliest returns the smallest next try of all, or the instant at which a
// destination that rests is asked again.
func (s *Store) earliest(tx *bbolt.Tx) (next uint64, ok bool) {
	t := s.dests
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range t.ready.list {
		if k := t.first(tx, d); k.key != nil && (!ok || stampIn(k.key) < next) {
			next, ok = stampIn(k.key), true
		}
	}
	for len(t.later.list) > 0 {
		d := t.later.list[0]
		if ok && d.next >= next {
			return next, ok
		}
		switch k := t.first(tx, d); {
		case k.key == nil:
			t.drop(d)
		case stampIn(k.key) > d.next:
			t.wait(d, stampIn(k.key))
		default:
			return d.next, true
		}
	}
	return next, ok
}
