package queue_test

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/queue/storetest"
)

func TestEncodeDecode(t *testing.T) {
	a := storetest.Registered(1, 3)
	b, err := queue.Encode(a)
	if err != nil {
		t.Fatal(err)
	}
	got, err := queue.Decode(b)
	if err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("Decode(Encode) = %+v, %v, want %+v", got, err, a)
	}
	bad := storetest.Accepted(1, 1)
	bad.Items[0].EraseBy = time.Time{}
	if _, err := queue.Encode(bad); !errors.Is(err, queue.ErrEraseBy) {
		t.Errorf("Encode of what no ledger takes = %v, want ErrEraseBy", err)
	}
}

// TestStoredFormIsWhole: every field of what is stored comes back, whatever it
// holds; a new field without a place in the stored form fails here.
func TestStoredFormIsWhole(t *testing.T) {
	at := time.Date(2026, 11, 23, 13, 0, 0, 7, time.UTC)
	var env message.Envelope
	fill(reflect.ValueOf(&env).Elem(), at)
	b, err := queue.EncodeEnvelope(env)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := queue.DecodeEnvelope(b); err != nil || !reflect.DeepEqual(got, env) {
		t.Errorf("envelope %+v, %v, want %+v", got, err, env)
	}
	var item message.Item
	fill(reflect.ValueOf(&item).Elem(), at)
	d := item.Decision
	if b, err = queue.EncodeItem(item); err != nil {
		t.Fatal(err)
	}
	item.Key, item.Decision = message.ItemKey{}, message.Decision{}
	if got, err := queue.DecodeItem(b); err != nil || !reflect.DeepEqual(got, item) {
		t.Errorf("item %+v, %v, want %+v", got, err, item)
	}
	if b, err = queue.EncodeDecision(d); err != nil {
		t.Fatal(err)
	}
	if got, err := queue.DecodeDecision(b); err != nil || !reflect.DeepEqual(got, d) {
		t.Errorf("decision %+v, %v, want %+v", got, err, d)
	}
}

// fill gives every field a value of its own that is not its zero value; text is
// not UTF-8.
func fill(v reflect.Value, at time.Time) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(at))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), at.Add(time.Duration(i)*time.Second))
		}
	case v.Kind() == reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(i + 1)) //nolint:gosec // small
		}
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), at)
		fill(v.Index(1), at)
	case v.Kind() == reflect.String:
		v.SetString("\xff\x00ü" + at.Format("0405"))
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(at.Unix())
	case v.CanUint():
		v.SetUint(uint64(at.Unix())) //nolint:gosec // after 1970
	default:
		panic("a kind of field that this test does not know: " + v.Type().String())
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := queue.Encode(storetest.Accepted(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"empty":         nil,
		"other version": bytes.Replace(good, []byte{0xa5, 1, 3}, []byte{0xa5, 1, 4}, 1),
		"cut":           good[:len(good)-1],
		"trailing":      append(bytes.Clone(good), 0),
		"text":          []byte("planted planted"),
		"other kind":    bytes.Replace(good, []byte("waiting"), []byte("planted"), 1),
	} {
		_, err := queue.Decode(b)
		if bytes.Equal(b, good) || err == nil || strings.Contains(err.Error(), "planted") && name != "other kind" {
			t.Errorf("%s: Decode = %v, want an error without contents", name, err)
		}
	}
}

// TestDecodesOlderRecord: what version 2 wrote is read as it was.
func TestDecodesOlderRecord(t *testing.T) {
	b, err := os.ReadFile("testdata/accepted-2.cbor")
	if err != nil {
		t.Fatal(err)
	}
	want := storetest.Registered(1, 3)
	if got, err := queue.Decode(b); err != nil || len(want.Events) == 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("Decode = %+v, %v, want %+v", got, err, want)
	}
}

// TestEventsOfRecord: events come back with everything, also those of another
// message, authority or item than the record's; what envelope and items say is
// not stored twice.
func TestEventsOfRecord(t *testing.T) {
	a := storetest.Registered(1, 2)
	env, item := &a.Envelope, &a.Items[1]
	env.Content.Digest, env.MessageID, env.Account = message.Digest{0xab, 7: 9}, "<"+strings.Repeat("long.", 20)+"@x>", "konto"
	item.Decision.Because = []message.Reason{{Rule: "r1", Text: strings.Repeat("says so ", 20)}}
	a.Events = []message.Event{
		{At: env.Received, Kind: message.EventAccepted, Authority: env.Authority, Message: env.ID, Data: map[string]string{"sha256": env.Content.Digest.String(), "message_id": env.MessageID, "from": env.From.String(), "account": "konto", "tls": ""}},
		{At: env.Received.Add(time.Second), Kind: message.EventDecided, Authority: env.Authority, Message: env.ID, Item: 2, Data: map[string]string{"because": "r1: " + item.Decision.Because[0].Text, "to": item.Recipient.Address.String()}},
		{At: env.Received.Add(-time.Hour), Kind: message.EventDecided, Authority: "andere", Message: message.ID{1, 2}, Item: 77, Data: map[string]string{"to": "\xff not utf-8"}},
		{Kind: message.EventStarted},
	}
	b, err := queue.Encode(a)
	if err != nil {
		t.Fatal(err)
	}
	got, err := queue.Decode(b)
	if err != nil || !reflect.DeepEqual(got.Events, a.Events) {
		t.Errorf("events %+v, %v, want %+v", got.Events, err, a.Events)
	}
	for _, once := range []string{env.MessageID, item.Decision.Because[0].Text, string(env.Content.Digest[:])} {
		if n := bytes.Count(b, []byte(once)); n != 1 {
			t.Errorf("%.20q stands %d times in the record", once, n)
		}
	}
	a.Events = nil
	bare, err := queue.Encode(a)
	if err != nil || len(b)-len(bare) > 150 {
		t.Errorf("four events take %d octets, %v", len(b)-len(bare), err)
	}
}

func FuzzDecode(f *testing.F) {
	for i := range uint64(3) {
		b, err := queue.Encode(storetest.Registered(i, int(i)+1)) //nolint:gosec // small
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0xa1, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := queue.Decode(b)
		if err != nil {
			return
		}
		text, err := queue.Encode(a)
		if err != nil {
			t.Fatalf("Encode refuses what Decode accepted: %v", err)
		}
		if again, err := queue.Decode(text); err != nil || len(again.Items) != len(a.Items) || again.Envelope.ID != a.Envelope.ID {
			t.Fatalf("a second round trip changes the record: %v", err)
		}
	})
}

func TestDupKeyIsUnambiguous(t *testing.T) {
	to, d := message.Address{Local: "A", Domain: "b.ch"}, message.Digest{1}
	base := queue.DupKey("bau", "<1@x>", to, d)
	if !bytes.Equal(base, queue.DupKey("bau", "<1@x>", message.Address{Local: "a", Domain: "b.ch"}, d)) {
		t.Error("the case of a recipient makes two decisions of one")
	}
	for name, other := range map[string][]byte{
		"shifted":   queue.DupKey("bau<", "1@x>", to, d),
		"authority": queue.DupKey("bauamt", "<1@x>", to, d),
		"recipient": queue.DupKey("bau", "<1@x>", message.Address{Local: "c", Domain: "b.ch"}, d),
		"content":   queue.DupKey("bau", "<1@x>", to, message.Digest{2}),
	} {
		if bytes.Equal(base, other) {
			t.Errorf("%s: the same key", name)
		}
	}
}

func TestDestination(t *testing.T) {
	item := message.Item{Recipient: message.Recipient{Address: message.Address{Local: "a", Domain: "b.ch"}}}
	for via, want := range map[string]string{"smtp": "smtp:b.ch", "incamail": "incamail", "mailbox": "mailbox"} {
		item.Decision.Via = via
		if got := queue.Destination(item); got != want {
			t.Errorf("Destination over %s = %q, want %q", via, got, want)
		}
	}
}
