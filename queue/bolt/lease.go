package bolt

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.etcd.io/bbolt"

	"gatewayd/message"
	"gatewayd/queue"
)

// leaseTries is how often Lease picks again when others were faster.
const leaseTries = 3

// Lease implements queue.Store. Items are picked in a read transaction, which
// holds up nobody, and opened in the commit if they still wait.
func (s *Store) Lease(ctx context.Context, now time.Time, max int, room func(destination string) queue.Room) ([]queue.Leased, error) {
	max = min(max, queue.MaxPage)
	for range leaseTries {
		var chosen []picked
		err := s.view(ctx, func(tx *bbolt.Tx) error {
			chosen = s.pick(tx, stampOf(now), max, room)
			return nil
		})
		if err != nil || len(chosen) == 0 {
			return nil, err
		}
		leased, err := s.open(ctx, now, chosen)
		if err != nil || len(leased) > 0 {
			return leased, err
		}
	}
	return nil, nil
}

// open turns the items that Lease has picked into open attempts. Those that
// somebody changed meanwhile are left alone.
func (s *Store) open(ctx context.Context, now time.Time, chosen []picked) ([]queue.Leased, error) {
	var leased []queue.Leased
	unreadable := map[message.ItemKey]error{}
	err := s.commit(ctx, func(b *batch) error {
		leased = nil
		for _, p := range chosen {
			old, err := b.item(p.item)
			var env message.Envelope
			if err == nil {
				env, err = b.envelope(old.head.day, p.item.Message)
			}
			if err != nil {
				if !errors.Is(err, queue.ErrNotFound) {
					unreadable[p.item] = err
				}
				continue
			}
			if old.Item.State != message.Waiting || old.Item.NextTry.After(now) {
				continue
			}
			next := old.Item
			next.State = message.Sending
			next.Attempts++
			next.Version++
			if err := errors.Join(b.changeItem(old, next), b.events([]message.Event{attempt(env, next, now)})); err != nil {
				return err
			}
			leased = append(leased, queue.Leased{Item: next, Envelope: env})
		}
		return nil
	})
	s.dests.mu.Lock()
	defer s.dests.mu.Unlock()
	for key, err := range unreadable {
		s.unreadable(key, err)
	}
	if err != nil {
		return nil, err
	}
	return leased, nil
}

func attempt(env message.Envelope, item message.Item, now time.Time) message.Event {
	return message.Event{
		At: now, Kind: message.EventAttempt, Authority: env.Authority, Message: env.ID, Item: item.Key.N,
		Data: map[string]string{"attempt": strconv.Itoa(item.Attempts), "via": item.Decision.Via},
	}
}

// NextDue implements queue.Store.
func (s *Store) NextDue(ctx context.Context) (next time.Time, ok bool, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		var stamp uint64
		if stamp, ok = s.earliest(tx); ok {
			next = timeOf(stamp)
		}
		return nil
	})
	return next, ok, err
}
