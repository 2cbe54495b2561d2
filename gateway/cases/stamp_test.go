package cases

import (
	"encoding/base64"
	"testing"
	"time"

	"gatewayd/message"
)

// TestUnstamped: what waits is what has a seal in its event, of this item, and no
// stamp since; it is asked for in growing intervals.
func TestUnstamped(t *testing.T) {
	at := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	event := func(kind message.EventKind, n int, id, seal string) message.Event {
		return message.Event{At: at, Kind: kind, Item: n, Data: map[string]string{keyBundle: id, keySeal: base64.StdEncoding.EncodeToString([]byte(seal))}}
	}
	events := []message.Event{
		event(message.EventEvidence, 1, "stamped at once", ""), event(message.EventEvidence, 1, "a", "seal a"), event(message.EventEvidence, 2, "other", "seal"),
		event(message.EventEvidence, 1, "b", "seal b"), event(message.EventStamped, 2, "b", "of another item"), event(message.EventStamped, 1, "a", "done"),
		{At: at, Kind: message.EventEvidence, Item: 1, Data: map[string]string{keyBundle: "damaged", keySeal: "%"}},
	}
	list := unstamped(events, 1)
	if len(list) != 1 || list[0].id != "b" || string(list[0].seal) != "seal b" {
		t.Fatalf("%+v", list)
	}
	for after, want := range map[time.Duration]time.Duration{
		0: time.Minute, 30 * time.Second: time.Minute, 5 * time.Minute: 5 * time.Minute, 59 * time.Minute: 59 * time.Minute, 30 * 24 * time.Hour: time.Hour,
	} {
		if got := askAgain(list, at.Add(after)); got.Sub(at.Add(after)) != want {
			t.Errorf("%s after the export: again in %s, want %s", after, got.Sub(at.Add(after)), want)
		}
	}
	if got := askAgain(nil, at); !got.IsZero() {
		t.Errorf("nothing waits: %s", got)
	}
}
