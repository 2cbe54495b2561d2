package audit

import (
	"encoding/json"
	"testing"
	"time"

	"gatewayd/message"
)

// TestAppendLink: the lines are those of encoding/json, octet for octet.
func TestAppendLink(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, link := range []message.Link{
		{},
		{Seq: 1, At: at, Day: "2027-05-23", Sealed: []byte{}, Prev: message.Digest{1}, Hash: message.Digest{255}},
		{Seq: 1<<64 - 1, At: at.Add(123456789), Message: message.NewID(at), Day: "2027-05-23", Sealed: []byte("\x00\xff?>~"), Hash: message.Digest{9}},
	} {
		want, err := json.Marshal(link)
		if err != nil {
			t.Fatal(err)
		}
		if link.Sealed == nil {
			link.Sealed, want = []byte{}, []byte(`{"seq":0,"at":"0001-01-01T00:00:00Z","day":"","sealed":"","prev":"0000000000000000000000000000000000000000000000000000000000000000","hash":"0000000000000000000000000000000000000000000000000000000000000000"}`)
		}
		if got := appendLink(nil, link); string(got) != string(want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
