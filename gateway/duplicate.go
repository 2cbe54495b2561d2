package gateway

import (
	"context"
	"crypto/sha256"

	"gatewayd/message"
	"gatewayd/queue"
)

// reserve finds registered decisions that we already have: the client lost our
// reply and sends again. Recipients who have it are taken out; when nobody is
// left the first id is returned. No other class is compared: RFC 5321 prefers a
// duplicate to a loss.
func (g *Gateway) reserve(ctx context.Context, a *queue.Accepted) (keys []dupKey, first message.ID, err error) {
	var left []message.Item
	for _, item := range a.Items {
		if item.Decision.Class != message.Registered || a.Envelope.MessageID == "" || a.Envelope.Direction != message.Outbound {
			left = append(left, item)
			continue
		}
		k := dupKey{a.Envelope.Authority, sha256.Sum256(queue.DupKey(a.Envelope.Authority, a.Envelope.MessageID, item.Recipient.Address, a.Envelope.Content.Digest))}
		earlier, err := g.earlier(ctx, k, a.Envelope, item)
		if err != nil {
			g.tail.release(keys)
			return nil, message.ID{}, err
		}
		if earlier.IsZero() {
			keys, left = append(keys, k), append(left, item)
			continue
		}
		first = earlier
		a.Events = append(a.Events, duplicateEvent(a.Envelope, item, earlier))
	}
	if len(left) == 0 {
		return nil, first, g.noteDuplicate(ctx, a)
	}
	a.Items = left
	return keys, message.ID{}, nil
}

// earlier looks for the key in the tail and the ledger, and claims it for the
// message when nobody has it.
func (g *Gateway) earlier(ctx context.Context, k dupKey, env message.Envelope, item message.Item) (message.ID, error) {
	other, durable, taken := g.tail.reserve(k, env.ID)
	if taken {
		if !durable {
			return message.ID{}, errSameNow // it may still fail
		}
		return other, nil
	}
	other, known, err := g.o.Store.Duplicate(ctx, k.authority, k.key)
	if err == nil && known {
		other, err = g.alive(ctx, env, item)
	}
	if err != nil || !other.IsZero() {
		g.tail.release([]dupKey{k})
	}
	return other, err
}

// alive finds the message that brought the same decision and did not end before
// it left; zero: there is none. After a report that it was not sent the sender
// may bring the very same mail again, and it must go then.
func (g *Gateway) alive(ctx context.Context, env message.Envelope, item message.Item) (message.ID, error) {
	q := queue.Query{Authority: env.Authority, MessageID: env.MessageID, Recipient: item.Recipient.Address.Key(), Limit: queue.MaxPage}
	for {
		items, next, err := g.o.Store.Find(ctx, q)
		if err != nil {
			return message.ID{}, err
		}
		for _, i := range items {
			if toldFailed(i) {
				continue
			}
			earlier, _, err := g.o.Store.Message(ctx, i.Key.Message)
			if err != nil {
				return message.ID{}, err
			}
			if queue.Registered(earlier, i) && earlier.Content.Digest == env.Content.Digest {
				return earlier.ID, nil
			}
		}
		if next == "" {
			return message.ID{}, nil
		}
		q.After = next
	}
}

// toldFailed reports whether the sender knows that the item was not delivered.
func toldFailed(i message.Item) bool {
	return i.State == message.Refused || (i.State == message.Dropped || i.State == message.Expired) && neverLeft(i)
}

// neverLeft reports whether an item is certainly not with the next system.
func neverLeft(i message.Item) bool {
	return i.HandedAt.IsZero() && i.Unclears == 0 && i.Alarm == ""
}

func duplicateEvent(env message.Envelope, item message.Item, earlier message.ID) message.Event {
	return message.Event{
		At: env.Received, Kind: message.EventDuplicate, Authority: env.Authority, Message: earlier,
		Data: map[string]string{"to": item.Recipient.Address.String(), "again_as": env.ID.String()},
	}
}

// noteDuplicate records that the client sent again what we have. The answer is
// the first id; nothing new is stored.
func (g *Gateway) noteDuplicate(ctx context.Context, a *queue.Accepted) error {
	var events []message.Event
	for _, e := range a.Events {
		if e.Kind == message.EventDuplicate {
			events = append(events, e)
		}
	}
	return g.o.Store.Apply(ctx, queue.Change{Events: events})
}
