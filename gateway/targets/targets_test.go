package targets_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatewayd/connectors"
	"gatewayd/gateway/targets"
	"gatewayd/message"
)

var (
	start   = time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)
	errDown = &connectors.Error{Kind: connectors.Temporary, Step: connectors.StepConnect, Err: errors.New("connection refused")}
	errBusy = &connectors.Error{Kind: connectors.Temporary, Step: connectors.StepRcpt, Code: 450}
)

// item goes to a@domain by SMTP.
func item(n int, domain string) message.Item {
	a, err := message.ParseAddress("a@" + domain)
	if err != nil {
		panic(err)
	}
	return message.Item{Key: message.ItemKey{N: n}, Recipient: message.Recipient{Address: a}, Decision: message.Decision{Via: "smtp"}}
}

const (
	dead  = "smtp:dead.example"
	alive = "smtp:alive.example"
)

// TestRoom: each destination has its own room, and all together no more workers
// than there are.
func TestRoom(t *testing.T) {
	s := targets.New(2)
	for n, want := range []bool{true, true, false} {
		if got := s.Take(item(n, "dead.example"), start, 3); got != want {
			t.Errorf("attempt %d: %v", n, got)
		}
	}
	if room := s.Room(alive, start); room.Free != 2 || s.Total() != 2 {
		t.Errorf("another one has %+v, %d are open", room, s.Total())
	}
	if !s.Take(item(3, "alive.example"), start, 3) || s.Take(item(4, "alive.example"), start, 3) {
		t.Error("more or fewer than there are workers")
	}
	s.End(item(0, "dead.example"), true)
	s.End(item(1, "dead.example"), false)
	if s.Has(message.ItemKey{N: 0}) || !s.Has(message.ItemKey{N: 1}) || s.Total() != 1 {
		t.Error("an attempt that is not recorded must stay known, and no other")
	}
	s.Begin(item(5, "dead.example"))
	if room := s.Room(dead, start); room.Free != 1 {
		t.Errorf("room %+v", room)
	}
	s.End(item(5, "dead.example"), true)
	s.End(item(3, "alive.example"), true)
	if list := s.List(start); len(list) != 0 {
		t.Errorf("still known: %+v", list)
	}
}

// try makes an attempt that ends with err, and reports whether it was let.
func try(s *targets.Targets, err error, now time.Time) bool {
	i := item(1, "dead.example")
	if !s.Take(i, now, 100) {
		return false
	}
	s.Tried(i, err, now)
	s.End(i, true)
	return true
}

// TestRest: a destination that cannot be reached rests twice as long with each
// failure, within a tenth, five minutes at most; other failures are not its own.
func TestRest(t *testing.T) {
	s, now := targets.New(8), start
	if !try(s, errBusy, now) || len(s.List(now)) != 0 {
		t.Errorf("a mailbox that is busy: %+v", s.List(now))
	}
	for n := range 12 {
		if !try(s, errDown, now) {
			t.Fatalf("no attempt after rest %d", n)
		}
		list := s.List(now)
		if len(list) != 1 || list[0].Name != dead || list[0].Failures != n+1 {
			t.Fatalf("failure %d: %+v", n, list)
		}
		want := min(5*time.Second<<n, 5*time.Minute)
		if rest := list[0].Rests.Sub(now); rest < want*9/10 || rest > want*11/10 {
			t.Errorf("rest %d is %s, want about %s", n, rest, want)
		}
		if room := s.Room(dead, now); room.Free != 0 || room.Again.Sub(now) > targets.AskAgain || !room.Again.After(now) {
			t.Errorf("room %+v at %s", room, now)
		}
		if try(s, nil, now) {
			t.Error("an attempt in its rest")
		}
		if room := s.Room(alive, now); room.Free != 8 {
			t.Errorf("another destination has %+v", room)
		}
		now = list[0].Rests
	}
}

// TestOneMoment: those that failed together count as one failure.
func TestOneMoment(t *testing.T) {
	s := targets.New(4)
	for n := range 4 {
		s.Begin(item(n, "dead.example"))
	}
	for n := range 4 {
		s.Tried(item(n, "dead.example"), errDown, start)
		s.End(item(n, "dead.example"), true)
	}
	if list := s.List(start); len(list) != 1 || list[0].Failures != 1 {
		t.Errorf("%+v", list)
	}
}

// TestRecovery: after a rest one attempt, then two, four, and all.
func TestRecovery(t *testing.T) {
	s, now := targets.New(8), start
	try(s, errDown, now)
	now = now.Add(time.Minute)
	for _, want := range []int{1, 2, 4, 8} {
		if room := s.Room(dead, now); room.Free != want {
			t.Errorf("room %+v, want %d", room, want)
		}
		try(s, nil, now)
	}
	if list := s.List(now); len(list) != 0 {
		t.Errorf("still known: %+v", list)
	}
}

// TestPaused: a way pauses each destination of it, a destination only itself; the
// list tells both, in the order of names.
func TestPaused(t *testing.T) {
	s := targets.New(4)
	s.SetPaused([]targets.Paused{{Destination: "smtp", Since: start, Reason: "a"}, {Destination: "forward:bau", Since: start, Reason: "b"}})
	for name, paused := range map[string]bool{dead: true, "smtp": true, "forward:bau": true, "forward:steuer": false, "smtps:x.example": false, "incamail": false} {
		if room := s.Room(name, start); (room.Free == 0) != paused || paused && !room.Again.Equal(start.Add(targets.AskAgain)) {
			t.Errorf("%s: %+v", name, room)
		}
	}
	s.Begin(item(1, "dead.example"))
	list := s.List(start)
	if len(list) != 3 || list[0].Name != "forward:bau" || list[1].Name != "smtp" || list[2].Name != dead || list[2].Reason != "a" || list[2].Open != 1 {
		t.Errorf("%+v", list)
	}
	if p := s.Paused(); len(p) != 2 {
		t.Errorf("%+v", p)
	}
	s.SetPaused(nil)
	if room := s.Room(dead, start); room.Free != 3 {
		t.Errorf("resumed: %+v", room)
	}
}

// TestTogether: whatever the workers do at the same time, nothing is left open and
// the limits hold.
func TestTogether(t *testing.T) {
	s := targets.New(3)
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for n := range 200 {
				i := item(w*1000+n, fmt.Sprintf("d%d.example", n%3))
				if !s.Take(i, start, 5) {
					continue
				}
				if open := s.Total(); open > 5 {
					t.Errorf("%d are open", open)
				}
				s.Tried(i, nil, start)
				s.End(i, true)
			}
		})
	}
	all.Wait()
	if s.Total() != 0 || len(s.List(start)) != 0 {
		t.Errorf("%d are open: %+v", s.Total(), s.List(start))
	}
}
