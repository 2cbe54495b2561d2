package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"gatewayd/message"
	"gatewayd/queue"
)

// How far the ledger may lag behind the vault before we stop accepting.
const (
	maxTail    = 4096
	maxTailAge = time.Second
	indexBatch = 512
)

// indexPace is the least time between two batches. A record that comes after a
// pause is taken at once; those of a busy session share a commit, which would
// otherwise stand before the sync for the session's next record.
const indexPace = 10 * time.Millisecond

// tail is what the vault has and the ledger has not yet: it serves duplicates
// and reading one's own write. It is rebuilt from the vault at start.
type tail struct {
	mu       sync.Mutex
	waiting  []tailEntry // in vault order
	oldest   time.Time   // steady time at which the first of them came
	byID     map[message.ID]*queue.Accepted
	reserved map[dupKey]message.ID // registered decisions on their way into the vault or ledger
}

// dupKey identifies a registered decision for one recipient.
type dupKey struct {
	authority string
	key       [32]byte
}

type tailEntry struct {
	accepted *queue.Accepted
	ref      message.Ref
	keys     []dupKey
}

func newTail() *tail {
	return &tail{byID: map[message.ID]*queue.Accepted{}, reserved: map[dupKey]message.ID{}}
}

// push adds a record that is durable in the vault. It is called in vault order
// and does not block.
func (t *tail) push(a *queue.Accepted, ref message.Ref, keys []dupKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.Envelope.Body = ref
	if len(t.waiting) == 0 {
		t.oldest = time.Now()
	}
	t.waiting = append(t.waiting, tailEntry{a, ref, keys})
	t.byID[a.Envelope.ID] = a
}

// full reports whether the ledger lags too far behind.
func (t *tail) full() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting) >= maxTail || len(t.waiting) > 0 && time.Since(t.oldest) > maxTailAge
}

// batch returns the next records for the ledger without removing them.
func (t *tail) batch() []tailEntry {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(t.waiting), indexBatch)
	return t.waiting[:n:n]
}

// indexed removes the first n records: the ledger has them.
func (t *tail) indexed(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.waiting[:n] {
		delete(t.byID, e.accepted.Envelope.ID)
		for _, k := range e.keys {
			delete(t.reserved, k)
		}
	}
	t.waiting = append([]tailEntry(nil), t.waiting[n:]...)
	t.oldest = time.Now()
}

// reserve claims a key for id. If somebody else has it, their id is returned,
// and whether their record is already durable.
func (t *tail) reserve(k dupKey, id message.ID) (other message.ID, durable, taken bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if other, taken = t.reserved[k]; taken {
		_, durable = t.byID[other]
		return other, durable, true
	}
	t.reserved[k] = id
	return message.ID{}, false, false
}

// release gives keys back after a failed accept.
func (t *tail) release(keys []dupKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range keys {
		delete(t.reserved, k)
	}
}

// get returns a record that the ledger may not have yet.
func (t *tail) get(id message.ID) (queue.Accepted, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, ok := t.byID[id]
	if !ok {
		return queue.Accepted{}, false
	}
	return *a, true
}

// indexLoop fills the ledger behind the acknowledgement. attempts ends when no
// more may be opened.
func (g *Gateway) indexLoop(ctx, attempts context.Context) {
	for ctx.Err() == nil {
		begun := time.Now()
		n, err := g.indexOnce(ctx, attempts)
		switch {
		case err != nil:
			g.pause(ctx, nil, g.retryPause)
		case n == 0:
			g.pause(ctx, g.indexed, time.Second)
		case n < indexBatch:
			waitFor(ctx, nil, indexPace-time.Since(begun))
		}
	}
}

// indexOnce moves one batch into the ledger and returns how many records it
// has taken.
func (g *Gateway) indexOnce(ctx, attempts context.Context) (int, error) {
	entries := g.tail.batch()
	if len(entries) == 0 {
		return 0, nil
	}
	batch := make([]queue.Accepted, len(entries))
	marks := map[uint64]int64{}
	for i, e := range entries {
		batch[i] = *e.accepted
		marks[e.ref.Segment] = max(marks[e.ref.Segment], e.ref.End)
	}
	leased, err := g.indexAndLease(ctx, attempts, batch, marks)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			g.o.Log.Error("ledger does not take accepted mail; it is safe in the vault and will be tried again", "records", len(batch), "error", err)
		}
		return 0, err
	}
	g.tail.indexed(len(entries))
	g.lookFor(batch)
	if len(leased) == 0 {
		g.Wake()
	}
	return len(entries), nil
}

// indexAndLease takes a batch over and opens attempts for what there is room for
// in the same commit: most mail leaves at once, and needs no second one.
func (g *Gateway) indexAndLease(ctx, attempts context.Context, batch []queue.Accepted, marks map[uint64]int64) ([]queue.Leased, error) {
	g.opening.RLock()
	defer g.opening.RUnlock()
	if g.ended || attempts.Err() != nil || g.auditDown.Load() {
		return nil, g.o.Store.Index(ctx, batch, marks)
	}
	now := g.now()
	var taken []message.Item
	leased, err := g.o.Store.IndexAndLease(ctx, batch, marks, now, func(item message.Item) bool {
		ok := !g.lacksOwnKeys(queue.Destination(item)) && g.inFlight.Take(item, now, g.o.Delivery.Concurrency)
		if ok {
			taken = append(taken, item)
		}
		return ok
	})
	if err != nil {
		for _, item := range taken {
			g.inFlight.End(item, true) // nobody makes it; reclaim finds it if the ledger has it all the same
		}
		if len(taken) > 0 {
			g.doubt.Store(true)
		}
		return nil, err
	}
	g.start(attempts, leased)
	return leased, nil
}
