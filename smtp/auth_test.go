package smtp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
)

func network(s string) netip.Prefix { return networkOf(s) }

// guess makes tries one after the other for a while and counts those that
// were let through to the password check.
func guess(b *brake, now *time.Time, d time.Duration, from func(i int) netip.Prefix, name func(i int) string) int {
	end := now.Add(d)
	n := 0
	for i := 0; now.Before(end); i++ {
		wait, ok := b.ask(from(i), name(i))
		if !ok {
			*now = now.Add(time.Second)
			continue
		}
		*now = now.Add(wait)
		b.failed(from(i), name(i))
		n++
	}
	return n
}

func TestBrake(t *testing.T) {
	same := func(int) netip.Prefix { return network("192.0.2.1") }
	many := func(i int) netip.Prefix { return network(fmt.Sprintf("198.51.%d.%d", i/250%250, i%250)) }
	bau := func(int) string { return "bau" }
	names := func(i int) string { return fmt.Sprint("name", i) }
	cases := []struct {
		name string
		d    time.Duration
		from func(int) netip.Prefix
		who  func(int) string
		most int
	}{
		{"one address, one name, a minute", time.Minute, same, bau, 15},
		{"one address, many names, an hour", time.Hour, same, names, 110},
		{"many addresses, one name, ten minutes", 10 * time.Minute, many, bau, 110},
	}
	for _, tc := range cases {
		now := time.Unix(1795000000, 0)
		b := newBrake(func() time.Time { return now })
		if n := guess(b, &now, tc.d, tc.from, tc.who); n > tc.most {
			t.Errorf("%s: %d tries, want at most %d", tc.name, n, tc.most)
		}
	}
}

// TestBrakeGrows: the first failures cost nothing, then each more than the one
// before, and an hour of quiet makes good.
func TestBrakeGrows(t *testing.T) {
	now := time.Unix(1795000000, 0)
	b := newBrake(func() time.Time { return now })
	from := network("2001:db8::1")
	var waits []time.Duration
	for range 9 {
		wait, ok := b.ask(network("2001:db8::ffff:2"), "bau") // the same /64
		if !ok {
			t.Fatal("sent away")
		}
		waits = append(waits, wait)
		now = now.Add(wait)
		b.failed(from, "bau")
	}
	want := "[0s 0s 0s 0s 0s 1s 2s 4s 8s]"
	if got := fmt.Sprint(waits); got != want {
		t.Errorf("waits %v, want %v", got, want)
	}
	now = now.Add(failureMemory)
	if wait, ok := b.ask(from, "bau"); wait != 0 || !ok {
		t.Errorf("after an hour: %v, %v", wait, ok)
	}
}

// TestBrakeParallel: tries at the same time stand in one row.
func TestBrakeParallel(t *testing.T) {
	now := time.Unix(1795000000, 0)
	b := newBrake(func() time.Time { return now })
	from := network("192.0.2.1")
	for range freeFailures + 1 {
		b.failed(from, "bau")
	}
	through := 0
	for range 1000 {
		if _, ok := b.ask(from, "bau"); ok {
			through++
		}
	}
	if through > 12 {
		t.Errorf("%d of 1000 parallel tries would be let through within %v", through, maxWait)
	}
}

// TestBrakeOwner: who has logged in from an address is not locked out by
// others, neither at that address nor under that name.
func TestBrakeOwner(t *testing.T) {
	now := time.Unix(1795000000, 0)
	b := newBrake(func() time.Time { return now })
	home := network("192.0.2.1")
	b.succeeded(home, "bau")
	guess(b, &now, time.Minute, func(int) netip.Prefix { return network("198.51.100.1") }, func(int) string { return "bau" })
	guess(b, &now, time.Minute, func(int) netip.Prefix { return home }, func(i int) string { return fmt.Sprint(i) })
	if wait, ok := b.ask(home, "bau"); wait != 0 || !ok {
		t.Errorf("the owner waits %v, %v", wait, ok)
	}
	if wait, ok := b.ask(home, "another"); ok && wait == 0 {
		t.Error("another name from the same address is not slowed down")
	}
}

func TestBrakeIsBounded(t *testing.T) {
	now := time.Unix(1795000000, 0)
	b := newBrake(func() time.Time { return now })
	from := network("192.0.2.1")
	for i := range 2 * maxRemembered {
		b.failed(from, fmt.Sprint(i))
		b.succeeded(from, fmt.Sprint(i))
	}
	if len(b.seen) > maxRemembered+1 || len(b.good) > maxRemembered {
		t.Errorf("%d and %d remembered, want at most %d", len(b.seen), len(b.good), maxRemembered)
	}
}

// TestBrakeAtTheDoor: the delay is really waited for, and grows.
func TestBrakeAtTheDoor(t *testing.T) {
	inBubble(t, message.Outbound, func(o *Options) { o.Limits.AuthFailures = 2 }, func(t *testing.T, d *door) {
		var took []string
		for range 8 {
			c := d.client(t)
			c.want("220 ")
			c.do("EHLO client.example", "250-")
			c.do("STARTTLS", "220 ")
			c.startTLS(d.trust())
			c.do("EHLO client.example", "250-")
			start := time.Now()
			c.do("AUTH PLAIN "+plainResponse("", "bau", "falsch"), "535 5.7.8 ")
			took = append(took, time.Since(start).String())
			c.conn.Close()
		}
		if got, want := strings.Join(took, " "), "0s 0s 0s 0s 0s 1s 2s 4s"; got != want {
			t.Errorf("answers took %s, want %s", got, want)
		}
		if d.auth.tries != 8 {
			t.Errorf("%d passwords were checked, want 8", d.auth.tries)
		}
	})
}

// TestNoEnumeration: nothing tells an existing account from another: the same
// reply, and a password check for both.
func TestNoEnumeration(t *testing.T) {
	answer := func(name string) (string, int) {
		d := open(t, message.Outbound, nil)
		c := d.client(t)
		c.want("220 ")
		c.do("EHLO client.example", "250-")
		c.do("STARTTLS", "220 ")
		c.startTLS(d.trust())
		c.do("EHLO client.example", "250-")
		return c.do("AUTH PLAIN "+plainResponse("", name, "falsch"), "535 "), d.auth.tries
	}
	known, tries := answer("bau")
	unknown, others := answer("niemand")
	if known != unknown || tries != 1 || others != 1 {
		t.Errorf("known %q (%d checks), unknown %q (%d checks)", known, tries, unknown, others)
	}
}
