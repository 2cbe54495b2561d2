package storetest

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"gatewayd/message"
	"gatewayd/queue"
)

// feed reads an authority's feed to its end in pages of that size.
func (m must) feed(authority string, after uint64, page int) []message.Event {
	m.t.Helper()
	var all []message.Event
	for {
		events, err := m.Feed(m.ctx(), authority, after, page)
		if err != nil {
			m.t.Fatalf("Feed: %v", err)
		}
		if len(events) == 0 {
			return all
		}
		if len(events) > page {
			m.t.Fatalf("Feed gave %d events, at most %d were asked for", len(events), page)
		}
		all, after = append(all, events...), events[len(events)-1].Seq
	}
}

func testFeed(t *testing.T, m must) {
	a, b := Accepted(1, 100), Accepted(2, 1)
	for n := range 98 { // more events than one row has
		a.Events = append(a.Events, message.Event{At: a.Envelope.Received, Kind: message.EventDecided, Authority: "bau", Message: a.Envelope.ID, Item: n + 2})
	}
	b.Envelope.Authority = "steuern"
	for i := range b.Events {
		b.Events[i].Authority = "steuern"
	}
	m.index(a, b)
	m.lease(Now().Add(time.Hour), 3, nil)
	m.apply(queue.Change{Events: []message.Event{
		{At: Now(), Kind: message.EventHeld, Message: b.Envelope.ID, Item: 1}, // whose it is stands in the envelope
		{At: Now(), Kind: message.EventStarted},
		{At: Now(), Kind: message.EventRetry, Authority: "bau", Message: a.Envelope.ID, Item: 2},
	}})
	all := m.feed("bau", 0, 7)
	if len(all) < 102 || len(all)+len(m.feed("steuern", 0, 7)) != 100+2+3+2 {
		t.Errorf("feeds of %d and %d events", len(all), len(m.feed("steuern", 0, 7)))
	}
	for i, e := range all {
		if e.Authority != "bau" || i > 0 && e.Seq <= all[i-1].Seq {
			t.Fatalf("event %d of the feed: %+v", i, e)
		}
		if rest := m.feed("bau", e.Seq, 1000); !reflect.DeepEqual(rest, slices.Clone(all[i+1:])) && len(rest)+len(all[i+1:]) > 0 {
			t.Fatalf("behind event %d: %d events, want %d", i, len(rest), len(all)-i-1)
		}
	}
	other := m.feed("steuern", 0, 1)
	if len(other) == 0 || other[len(other)-1].Kind != message.EventHeld {
		t.Errorf("the feed of the other authority ends with %+v", other[len(other)-1:])
	}
	for _, env := range []message.Envelope{a.Envelope, b.Envelope} {
		got, err := m.Events(m.ctx(), env.ID)
		want := slices.DeleteFunc(append(slices.Clone(all), other...), func(e message.Event) bool { return e.Message != env.ID })
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Events = %d, %v, want %d", len(got), err, len(want))
		}
	}
	if got, err := m.Events(m.ctx(), message.NewID(Now())); err != nil || len(got) != 0 {
		t.Errorf("Events of an unknown message = %v, %v", got, err)
	}
	if got := m.feed("", 0, 100); len(got) != 1 || got[0].Kind != message.EventStarted {
		t.Errorf("the gateway's own feed = %+v", got)
	}
}

func testIdemKey(t *testing.T, m must) {
	a, b, c := Accepted(1, 3), Accepted(2, 1), Accepted(3, 1)
	a.Envelope.IdemKey = queue.JoinIdemKey("key-1", message.Digest{1})
	b.Envelope.IdemKey = queue.JoinIdemKey("key-1", message.Digest{2})
	b.Envelope.Authority = "steuern"
	m.index(a, b, c)
	tests := map[string]struct {
		q    queue.Query
		want []message.ItemKey
	}{
		"key":               {queue.Query{Authority: "bau", IdemKey: "key-1"}, keysOf(a.Items[:1])},
		"other authority":   {queue.Query{Authority: "steuern", IdemKey: "key-1"}, keysOf(b.Items)},
		"no authority":      {queue.Query{IdemKey: "key-1"}, nil},
		"unknown key":       {queue.Query{Authority: "bau", IdemKey: "key-2"}, nil},
		"part of a key":     {queue.Query{Authority: "bau", IdemKey: "key"}, nil},
		"key and the wish":  {queue.Query{Authority: "bau", IdemKey: a.Envelope.IdemKey}, nil},
		"key and recipient": {queue.Query{Authority: "bau", IdemKey: "key-1", Recipient: a.Items[1].Recipient.Address.Key()}, nil},
	}
	for name, tt := range tests {
		if got := m.find(tt.q); !slices.Equal(got, tt.want) {
			t.Errorf("%s: Find = %v, want %v", name, got, tt.want)
		}
	}
	m.edit(a.Items[0].Key, func(i *message.Item) { i.State, i.HandedOver = message.Held, Now() })
	if got := m.find(queue.Query{Authority: "bau", IdemKey: "key-1"}); len(got) != 1 {
		t.Errorf("after a change %d found", len(got))
	}
}
