package message_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
)

var packedEvent = message.Event{
	Seq: 123456, At: time.Unix(1795933487, 89680271).UTC(), Kind: message.EventAccepted, Authority: "bauinspektorat", Message: message.ID{1, 2, 3},
	Data: map[string]string{
		"direction": "in", "from": "anna.muster@example.ch", "account": "", "peer": "192.0.2.17:45678", "tls": "TLS 1.3 TLS_AES_128_GCM_SHA256",
		"size": "4096", "sha256": strings.Repeat("ab", 32), "message_id": "<1234567890.abc@example.ch>",
	},
}

func linkOf(e message.Event) message.Link {
	return message.Link{Seq: e.Seq, At: e.At, Message: e.Message}
}

// TestPackedForm pins the stored form: whoever changes it loses what is stored.
func TestPackedForm(t *testing.T) {
	const want = "010338626175696e7370656b746f7261740008b30200eb03bb07bb0458616e6e612e6d7573746572406578616d706c652e6368" +
		"fb046c3c313233343536373839302e616263406578616d706c652e63683eb305403139322e302e322e31373a3435363738" +
		"93068101ababababababababababababababababababababababababababababababababc306828001f30678544c5320312e3320544c535f4145535f3132385f47434d5f534841323536"
	b := packedEvent.AppendPacked(nil, nil)
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("packed is %s", got)
	}
	e, err := message.ParseEvent(linkOf(packedEvent), b)
	if err != nil || !reflect.DeepEqual(e, packedEvent) {
		t.Errorf("read back %+v, %v", e, err)
	}
}

// TestPackedWords: the table is part of the stored form. It may grow; what is in
// it stays where it is.
func TestPackedWords(t *testing.T) {
	const first, sum = 167, "3b1ec6172f836acb68d737e0f42363b5c384d1a90bd6f287bc0d255fb6baaf51"
	h := sha256.New()
	for i := range uint64(first) {
		h.Write([]byte(wordOf(t, i) + "\n"))
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		t.Errorf("the first %d words hash to %s: a word was moved, changed or taken away", first, got)
	}
	for _, r := range message.EventRecords() {
		if b := (message.Event{Kind: r.Kind}).AppendPacked(nil, nil); len(b) > 6 {
			t.Errorf("kind %s has no word: add it at the end", r.Kind)
		}
	}
}

// wordOf reads a word of the table through the form.
func wordOf(t *testing.T, i uint64) string {
	t.Helper()
	e, err := message.UnpackEvent(append(appendNumber([]byte{1}, i<<3|3), 0, 0, 0), nil)
	if err != nil {
		t.Fatalf("word %d: %v", i, err)
	}
	return string(e.Kind)
}

func appendNumber(b []byte, n uint64) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func TestPackedCallersWords(t *testing.T) {
	words := []string{"other", packedEvent.Data["sha256"], packedEvent.Data["from"], packedEvent.Authority}
	long, short := packedEvent.AppendPacked(nil, nil), packedEvent.AppendPacked(nil, words)
	if len(long)-len(short) < 60 {
		t.Errorf("with words %d octets, without %d", len(short), len(long))
	}
	e, err := message.UnpackEvent(short, words)
	if err != nil || !maps.Equal(e.Data, packedEvent.Data) || e.Authority != packedEvent.Authority {
		t.Errorf("read back %+v, %v", e, err)
	}
	if e, err := message.UnpackEvent(short, words[:2]); err == nil {
		t.Errorf("without the words it reads as %+v", e)
	}
}

func TestUnpackRefuses(t *testing.T) {
	good := packedEvent.AppendPacked(nil, nil)
	for name, b := range map[string][]byte{
		"empty": nil, "other form": append([]byte{2}, good[1:]...), "trailing": append(bytes.Clone(good), 0),
		"a field twice": {1, 0, 0, 0, 2, 4, 'a', 0, 4, 'a', 0}, "too many fields": {1, 0, 0, 0, 200}, "unknown word": {1, 0xfb, 0xff, 3, 0, 0, 0},
		"long number": {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, "item": {1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0},
	} {
		if e, err := message.UnpackEvent(b, nil); err == nil {
			t.Errorf("%s: read as %+v", name, e)
		}
	}
	for n := range good {
		if e, err := message.UnpackEvent(good[:n], nil); err == nil {
			t.Errorf("cut at %d: read as %+v", n, e)
		}
	}
}

// TestOlderEvents: JSON, as it was sealed before, is read; in another link it is
// foreign.
func TestOlderEvents(t *testing.T) {
	text, err := json.Marshal(packedEvent)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := message.ParseEvent(linkOf(packedEvent), text); err != nil || !reflect.DeepEqual(e, packedEvent) {
		t.Errorf("read %+v, %v", e, err)
	}
	for name, l := range map[string]message.Link{
		"number":  {Seq: 1, At: packedEvent.At, Message: packedEvent.Message},
		"time":    {Seq: packedEvent.Seq, At: packedEvent.At.Add(1), Message: packedEvent.Message},
		"message": {Seq: packedEvent.Seq, At: packedEvent.At},
	} {
		if _, err := message.ParseEvent(l, text); !errors.Is(err, message.ErrForeign) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if _, err := message.ParseEvent(linkOf(packedEvent), []byte(`{"planted`)); err == nil || strings.Contains(err.Error(), "planted") {
		t.Errorf("broken JSON: %v", err)
	}
}

// FuzzPack: whatever a field holds comes back as it was.
func FuzzPack(f *testing.F) {
	f.Add("accepted", "bau", 2, "entscheide: «<r>» \"x\" \x00\xff", "tls", "other")
	for _, value := range []string{"0", "00", "007", "12345678901234567890", "123456789012345", "abcdef", "ABCDEF", "abc", "done", ""} {
		f.Add("accepted", value, 0, value, "size", value)
	}
	f.Fuzz(func(t *testing.T, kind, authority string, item int, value, other, word string) {
		e := message.Event{Kind: message.EventKind(kind), Authority: authority, Item: item & 0xffff}
		for _, r := range message.EventRecords() {
			if string(r.Kind) == kind {
				e.Data = map[string]string{}
				for _, name := range r.Fields {
					e.Data[name] = value
				}
			}
		}
		if _, ok := message.EventField(other); ok && e.Data != nil {
			e.Data[other] = value
		}
		words := []string{word, "x"}
		got, err := message.UnpackEvent(e.AppendPacked(nil, words), words)
		delete(got.Data, message.Undescribed)
		delete(e.Data, message.Undescribed)
		if err != nil || got.Kind != e.Kind || got.Authority != e.Authority || got.Item != e.Item || !maps.Equal(got.Data, e.Data) {
			t.Errorf("got %+v, %v, want %+v", got, err, e)
		}
		planted := message.Event{Kind: e.Kind, Data: map[string]string{"planted " + other: value}}
		back, err := message.UnpackEvent(planted.AppendPacked(nil, nil), nil)
		if err != nil || len(back.Data) != 1 || back.Data[message.Undescribed] == "" {
			t.Errorf("what nobody has declared is written as %v, %v", back.Data, err)
		}
	})
}

// FuzzUnpack: no octets make it panic, and what it reads it can write again.
func FuzzUnpack(f *testing.F) {
	f.Add(packedEvent.AppendPacked(nil, nil))
	f.Add([]byte(`{"seq":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := message.ParseEvent(message.Link{Seq: 1}, b)
		if err != nil {
			return
		}
		if _, err := message.UnpackEvent(e.AppendPacked(nil, nil), nil); err != nil {
			t.Errorf("%+v does not read again: %v", e, err)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	buf := make([]byte, 0, 1024)
	for b.Loop() {
		buf = packedEvent.AppendPacked(buf[:0], nil)
	}
}
