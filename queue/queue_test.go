package queue_test

import (
	"bytes"
	"errors"
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

func TestDecodeRefuses(t *testing.T) {
	good, err := queue.Encode(storetest.Accepted(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"empty":         nil,
		"other version": bytes.Replace(good, []byte(`"v":1`), []byte(`"v":2`), 1),
		"no version":    bytes.Replace(good, []byte(`"v":1,`), nil, 1),
		"cut":           good[:len(good)-1],
		"bad address":   bytes.Replace(good, []byte(`Buerger0@`), []byte(`planted planted@`), 1),
		"no item":       []byte(`{"v":1,"envelope":{"id":"06h0f8hjg6h5s9swe64y58pab8","log_day":"2027-05-23"}}`),
	} {
		_, err := queue.Decode(b)
		if err == nil || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: Decode = %v, want an error without contents", name, err)
		}
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
	f.Add([]byte(`{"v":1}`))
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
