package audit

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatewayd/calendar"
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

// FuzzLine: a line that is taken for a link is, octet for octet, what is written
// for that link; and the lines of a file are cut where they end, with their places.
func FuzzLine(f *testing.F) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	link := message.Link{Seq: 7, At: at, Message: message.NewID(at), Day: "2027-05-23", Sealed: []byte("sealed"), Prev: message.Digest{1}}
	link.Hash = link.ChainHash()
	good := appendLink(nil, link)
	f.Add(good)
	f.Add(append(append(bytes.Clone(good), '\n'), good...))
	f.Add([]byte(strings.ToUpper(string(good)) + "\n{}\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all := newLines(bytes.NewReader(text))
		for {
			line, err := all.next()
			if all.at > int64(len(text)) || all.end < all.at || all.end > int64(len(text)) {
				t.Fatalf("line %d from %d to %d of %d octets", all.n, all.at, all.end, len(text))
			}
			if err != nil {
				return
			}
			if !bytes.Equal(line, text[all.at:all.end-1]) {
				t.Fatalf("line %d does not stand at %d", all.n, all.at)
			}
			link, err := parseLine(line, calendar.DayOf(at))
			if err != nil {
				continue
			}
			var other message.Link
			if err := json.Unmarshal(line, &other); err != nil || !reflect.DeepEqual(other, link) {
				t.Fatalf("taken for another link than the one that stands there: %s", line)
			}
			if again, err := json.Marshal(other); err != nil || !bytes.Equal(again, line) {
				t.Fatalf("taken for a link: %s", line)
			}
		}
	})
}
