package message_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
)

func TestIDRoundTrip(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	id := message.NewID(now)
	if id.IsZero() || len(id.String()) != 26 {
		t.Fatalf("NewID = %q", id)
	}
	got, err := message.ParseID(strings.ToUpper(id.String()))
	if err != nil || got != id {
		t.Errorf("ParseID(upper case) = %v, %v, want %v", got, err, id)
	}
	later := message.NewID(now.Add(time.Millisecond))
	if later.String() <= id.String() {
		t.Errorf("a later id sorts before: %s <= %s", later, id)
	}
	b, err := json.Marshal(message.ItemKey{Message: id, N: 2})
	if err != nil {
		t.Fatal(err)
	}
	var key message.ItemKey
	if err := json.Unmarshal(b, &key); err != nil || key.Message != id || key.N != 2 {
		t.Errorf("json round trip of %s = %v, %v", b, key, err)
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, s := range []string{"", "x", strings.Repeat("u", 26), strings.Repeat("0", 27), "../../etc/passwd-000000000"} {
		if _, err := message.ParseID(s); !errors.Is(err, message.ErrBadID) {
			t.Errorf("ParseID(%q) = %v, want ErrBadID", s, err)
		}
	}
}

func TestIDsDiffer(t *testing.T) {
	now := time.Now()
	seen := map[message.ID]bool{}
	refs := map[string]bool{}
	for range 10000 {
		id := message.NewID(now)
		if seen[id] {
			t.Fatal("the same id twice")
		}
		if got := id.Time(); !got.Equal(now.Truncate(time.Millisecond)) {
			t.Fatalf("Time = %v, want %v", got, now)
		}
		seen[id] = true
		refs[message.NewReference("BL")] = true
	}
	if len(refs) < 9990 {
		t.Errorf("10,000 references gave only %d different ones", len(refs))
	}
}

func TestParseAddress(t *testing.T) {
	tests := []struct {
		in, local, domain, out string
		bad                    bool
	}{
		{in: "", out: ""},
		{in: "a@b.ch", local: "a", domain: "b.ch", out: "a@b.ch"},
		{in: "Hans.Muster+x@BL.Example", local: "Hans.Muster+x", domain: "bl.example", out: "Hans.Muster+x@bl.example"},
		{in: `"a b"@y.ch`, local: "a b", domain: "y.ch", out: `"a b"@y.ch`},
		{in: `"a@b"@y.ch`, local: "a@b", domain: "y.ch", out: `"a@b"@y.ch`},
		{in: `"a\"\\"@y.ch`, local: `a"\`, domain: "y.ch", out: `"a\"\\"@y.ch`},
		{in: `"plain"@y.ch`, local: "plain", domain: "y.ch", out: "plain@y.ch"},
		{in: "müller@bücher.ch", local: "müller", domain: "bücher.ch", out: "müller@bücher.ch"},
		{in: "a@[192.0.2.1]", local: "a", domain: "[192.0.2.1]", out: "a@[192.0.2.1]"},
		{in: "a@b@c.ch", bad: true},
		{in: "a", bad: true},
		{in: "@b.ch", bad: true},
		{in: "a@", bad: true},
		{in: "a b@c.ch", bad: true},
		{in: "a..b@c.ch", bad: true},
		{in: ".a@c.ch", bad: true},
		{in: "a@c..ch", bad: true},
		{in: "a@-c.ch", bad: true},
		{in: "a@c.ch\r\nRCPT TO:<x@y>", bad: true},
		{in: "a\x00@c.ch", bad: true},
		{in: "<a@c.ch>", bad: true},
		{in: "@relay.ch:a@c.ch", bad: true},
		{in: `"a`, bad: true},
		{in: `"a\`, bad: true},
		{in: `""@y.ch`, bad: true},
		{in: strings.Repeat("a", 65) + "@c.ch", bad: true},
		{in: "a@" + strings.Repeat("b.", 140) + "ch", bad: true},
		{in: "a%b@c.ch", local: "a%b", domain: "c.ch", out: "a%b@c.ch"},
	}
	for _, tt := range tests {
		got, err := message.ParseAddress(tt.in)
		if tt.bad {
			if err == nil {
				t.Errorf("ParseAddress(%q) = %+v, want an error", tt.in, got)
			}
			continue
		}
		if err != nil || got.Local != tt.local || got.Domain != tt.domain || got.String() != tt.out {
			t.Errorf("ParseAddress(%q) = %+v %q, %v, want %q %q %q", tt.in, got, got, err, tt.local, tt.domain, tt.out)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"a@b.ch", `"a b"@c`, "müller@bücher.ch", "a@[1.2.3.4]", `"\""@x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := message.ParseAddress(s)
		if err != nil || a.IsNull() {
			return
		}
		out := a.String()
		if strings.ContainsAny(out, "\r\n\x00") {
			t.Fatalf("%q gives a line break or NUL: %q", s, out)
		}
		again, err := message.ParseAddress(out)
		if err != nil || again != a {
			t.Fatalf("%q → %q → %+v, %v; want %+v", s, out, again, err, a)
		}
	})
}

func TestTransitions(t *testing.T) {
	seen := map[[2]message.State]bool{}
	known := map[message.State]bool{"": true}
	for _, s := range message.States() {
		known[s] = true
	}
	for _, tr := range message.Transitions() {
		k := [2]message.State{tr.From, tr.To}
		if seen[k] {
			t.Errorf("%s → %s stands twice", tr.From, tr.To)
		}
		seen[k] = true
		if !known[tr.From] || !known[tr.To] || tr.Why == "" {
			t.Errorf("bad row %+v", tr)
		}
		if tr.From.Final() {
			t.Errorf("%s is final but leads to %s", tr.From, tr.To)
		}
	}
	for _, from := range append(message.States(), "") {
		for _, to := range message.States() {
			want := seen[[2]message.State{from, to}] || (from == to && from != "")
			if got := from.MayBecome(to); got != want {
				t.Errorf("%q.MayBecome(%q) = %v, want %v", from, to, got, want)
			}
		}
	}
	// A registered decision whose hand-over is unclear is never sent again by
	// itself: the only way back to Waiting leads through a person (Held).
	if !message.Unclear.MayBecome(message.Held) {
		t.Error("unclear items cannot be held for a person")
	}
	// Every state can be reached and every open state has an end.
	for _, s := range message.States() {
		reached, left := false, s.Final()
		for _, tr := range message.Transitions() {
			reached = reached || tr.To == s
			left = left || tr.From == s
		}
		if !reached || !left {
			t.Errorf("%s: reached %v, left or final %v", s, reached, left)
		}
	}
}

func TestChainHashCoversEverything(t *testing.T) {
	base := message.Link{Seq: 7, At: time.Unix(1, 0), Day: "2027-05-23", Sealed: []byte("abc")}
	base.Message[3] = 9
	want := base.ChainHash()
	change := map[string]func(*message.Link){
		"seq":     func(l *message.Link) { l.Seq++ },
		"at":      func(l *message.Link) { l.At = l.At.Add(1) },
		"message": func(l *message.Link) { l.Message[0] = 1 },
		"day":     func(l *message.Link) { l.Day = "2027-05-24" },
		"sealed":  func(l *message.Link) { l.Sealed = []byte("abd") },
		"prev":    func(l *message.Link) { l.Prev[0] = 1 },
	}
	for name, f := range change {
		l := base
		f(&l)
		if l.ChainHash() == want {
			t.Errorf("the hash does not cover %s", name)
		}
	}
}

func TestClassTable(t *testing.T) {
	for _, c := range message.Classes() {
		got, err := message.ParseClass(string(c))
		if err != nil || got != c {
			t.Errorf("ParseClass(%q) = %v, %v", c, got, err)
		}
	}
	if _, err := message.ParseClass("secret"); err == nil {
		t.Error("ParseClass(secret) gave no error")
	}
	if message.Normal.MustEncrypt() || !message.Registered.MustEncrypt() || !message.Confidential.MustEncrypt() {
		t.Error("MustEncrypt is wrong for normal, registered or confidential")
	}
}

// TestStatesPage compares docs/states.md with the table in the code.
func TestStatesPage(t *testing.T) {
	page, err := os.ReadFile("../docs/states.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Count(string(page), "\n| ")
	if rows < len(message.Transitions()) {
		t.Errorf("docs/states.md has %d table rows, the code %d transitions", rows, len(message.Transitions()))
	}
	for _, tr := range message.Transitions() {
		from := string(tr.From)
		if from == "" {
			from = "–"
		}
		row := "| " + from + " | " + string(tr.To) + " | " + tr.Why + " |"
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/states.md lacks %s", row)
		}
	}
}
