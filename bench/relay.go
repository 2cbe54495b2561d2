package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// relaying is W2: from the client to the sink, end to end.
func relaying(ctx context.Context, l *lab) error {
	for _, size := range or(l.sizes, []int{4 << 10, 50 << 10}) {
		for _, sessions := range or(l.sessions, []int{10, 50}) {
			c := cell{workload: "W2", size: size, sessions: sessions, measure: perS}
			err := l.windows(ctx, c, l.reps, l.able(delivering), func(p peer) (sample, error) {
				return l.relay(ctx, p, setup{mode: delivering}, c, relayCount(size), "")
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// slowRelay is the part of W7 that goes to the end.
func (l *lab) slowRelay(ctx context.Context, wrap []string) error {
	for _, sessions := range or(l.sessions, []int{10}) {
		c := cell{workload: "W7", variant: "relay", size: or(l.sizes, []int{4 << 10})[0], sessions: sessions, delay: slowMS, measure: perS}
		var peers []peer
		for _, p := range l.able(delivering) {
			if d, known := l.durable[p.name]; !known || d.durable {
				peers = append(peers, p)
			}
		}
		err := l.windows(ctx, c, l.reps, peers, func(p peer) (sample, error) {
			return l.relay(ctx, p, setup{mode: delivering, wrap: wrap}, c, relayCount(c.size)/2, "")
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func relayCount(size int) int64 { return max(50, min(2000, int64(50<<20/size))) }

// Limits of a relay measurement.
const (
	sendTime  = 20 * time.Second
	drainTime = 40 * time.Second
)

// relay sends count messages and waits until all are at the sink. want must
// stand in the header of what comes out.
func (l *lab) relay(ctx context.Context, p peer, s setup, c cell, count int64, want string) (got sample, err error) {
	next, err := l.sinkFor(want)
	if err != nil {
		return got, err
	}
	defer next.close()
	next.speak()
	err = l.with(ctx, p, s, func(r *running) error {
		stop := make(chan struct{})
		most := watch(r.pid(), stop)
		work := load{entrance: r.entrance, sessions: c.sessions, size: c.size, count: count, time: sendTime}
		t := work.run(ctx)
		drained(ctx, next, t.ok, drainTime)
		close(stop)
		took := next.latencies()
		got = sample{
			perS: perSecond(next.n.Load(), time.Unix(0, next.last.Load()).Sub(t.first)), p50: milliseconds(quantile(took, .5)), p99: milliseconds(quantile(took, .99)),
			detail: map[string]float64{"accept_per_s": t.perSecond(), "pss_mib": (<-most).pss},
		}
		if t.failed > 0 {
			got.detail["failed"], got.trouble = float64(t.failed), t.trouble()
		}
		if left := t.ok - next.n.Load(); left > 0 {
			got.detail["not_delivered"] = float64(left)
		}
		if next.n.Load() == 0 {
			return fmt.Errorf("delivered nothing of %d (%d came unprotected)", t.ok, next.odd.Load())
		}
		if odd := next.odd.Load(); odd > 0 {
			return fmt.Errorf("%d messages came out unprotected", odd)
		}
		if s.keys != nil {
			return s.keys.opens(s.lab.dir, next.first())
		}
		return nil
	})
	return got, err
}

// drained waits until the sink has n messages.
func drained(ctx context.Context, s *sink, n int64, limit time.Duration) bool {
	for end := time.Now().Add(limit); s.n.Load()+s.odd.Load() < n; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) || ctx.Err() != nil {
			return false
		}
	}
	return true
}

// backlog is W3: the next system hangs, a queue grows, the next system works
// again.
func backlog(ctx context.Context, l *lab) error {
	c := cell{workload: "W3", size: or(l.sizes, []int{4 << 10})[0], sessions: 20, measure: perS}
	// Exim starts a process for every message: thousands would hang.
	peers := slices.DeleteFunc(l.able(delivering), func(p peer) bool { return p.name == "exim" })
	return l.windows(ctx, c, min(l.reps, 2), peers, func(p peer) (sample, error) { return l.drain(ctx, p, c) })
}

// sweepPause is longer than gatewayd waits between two sweeps: then what was
// delivered has been let go.
const sweepPause = 12 * time.Second

func (l *lab) drain(ctx context.Context, p peer, c cell) (got sample, err error) {
	next, err := l.sinkFor("")
	if err != nil {
		return got, err
	}
	defer next.close()
	err = l.with(ctx, p, setup{mode: delivering}, func(r *running) error {
		empty := allocated(r.spool)
		work := load{entrance: r.entrance, sessions: c.sessions, size: c.size, count: int64(l.backlog), time: 30 * time.Second}
		t := work.run(ctx)
		if t.ok == 0 {
			return fmt.Errorf("took nothing: %s", t.trouble())
		}
		time.Sleep(2 * time.Second)
		got.detail = map[string]float64{
			"queued": float64(t.ok), "accept_per_s": t.perSecond(), "pss_mib": memoryOf(r.pid()).pss,
			"disk_per_message": float64(allocated(r.spool)-empty) / float64(t.ok),
		}
		begun := time.Now()
		next.speak()
		stop := make(chan struct{})
		most := watch(r.pid(), stop)
		whole := drained(ctx, next, t.ok, 2*time.Minute)
		close(stop)
		got.perS = perSecond(next.n.Load(), time.Unix(0, next.last.Load()).Sub(begun))
		got.detail["pss_mib_draining"] = (<-most).pss
		if !whole {
			got.detail["not_delivered"] = float64(t.ok - next.n.Load())
			return nil
		}
		time.Sleep(sweepPause)
		got.detail["disk_per_delivered"] = float64(allocated(r.spool)-empty) / float64(t.ok)
		return nil
	})
	return got, err
}

// secure is W4: every message is signed and encrypted on its way. The limit is
// what the cores can sign at all.
func secure(ctx context.Context, l *lab) error {
	if _, err := program("openssl"); err != nil {
		fmt.Fprintf(l.say, "W4 left out: %v: apt-get install openssl\n", err)
		return nil
	}
	for _, kind := range keyKinds() {
		keys, err := newKeys(kind)
		if err != nil {
			return err
		}
		for _, size := range or(l.sizes, []int{4 << 10}) {
			c := cell{workload: "W4", variant: kind, size: size, sessions: 10, measure: perS}
			peers := append(l.able(securing), limit(keys))
			err := l.windows(ctx, c, min(l.reps, 2), peers, func(p peer) (sample, error) {
				switch p.name {
				case limitName:
					return sample{perS: keys.signatureRate(time.Second)}, nil
				case postfixName:
					return l.relay(ctx, p, setup{lab: l, mode: securing, keys: keys}, c, 120, "pkcs7-mime")
				}
				return l.relay(ctx, p, setup{lab: l, mode: securing, keys: keys}, c, 2000, "pkcs7-mime")
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// limitName stands in the place of a peer where the cores' own limit is told.
const limitName = "limit"

func limit(*keyPair) peer {
	return peer{name: limitName, start: func(context.Context, setup) (*running, error) { return nil, errors.New("no peer") }}
}
