package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// memory is W5: idle, with 200 large messages on their way at once, and with a
// long queue. Less is better: the ratio is that of the memory.
func memory(ctx context.Context, l *lab) error {
	if err := l.held(ctx); err != nil {
		return err
	}
	var peers []peer
	for _, p := range l.able(delivering) {
		if p.name == gatewaydName || p.name == postfixName {
			peers = append(peers, p)
		}
	}
	c := cell{workload: "W5", variant: fmt.Sprintf("%d queued", l.queued), size: 4 << 10, sessions: 50, measure: "pss_mib", less: true}
	return l.windows(ctx, c, 1, peers, func(p peer) (sample, error) { return l.long(ctx, p, c) })
}

// held measures idle and with the messages open, of the same process.
func (l *lab) held(ctx context.Context) error {
	c := cell{workload: "W5", variant: "held open", size: or(l.sizes, []int{10 << 20})[0], sessions: or(l.sessions, []int{200})[0], measure: "pss_mib", less: true}
	idle := cell{workload: "W5", variant: "idle", measure: "pss_mib", less: true}
	idles, open := map[string]sample{}, map[string]sample{}
	for _, p := range l.able(accepting) {
		err := l.with(ctx, p, setup{mode: accepting}, func(r *running) error {
			time.Sleep(time.Second)
			m := memoryOf(r.pid())
			idles[p.name] = sample{detail: map[string]float64{"pss_mib": m.pss, "anonymous_mib": m.anonymous, "processes": float64(m.processes)}}
			got, err := hold(r, c)
			open[p.name] = got
			return err
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(l.say, "%s, %s: %v\n", c, p.name, err)
			delete(open, p.name)
		}
	}
	l.add(summarise(idle, []map[string]sample{idles})...)
	l.add(summarise(c, []map[string]sample{open})...)
	return nil
}

// hold opens the sessions, brings each message up to its last line, looks, and
// lets all of them end. per_s counts them from the first octet to the last 250.
func hold(r *running, c cell) (sample, error) {
	text := body(c.size)
	var ok atomic.Int64
	var ready, done sync.WaitGroup
	finish := make(chan struct{})
	stop := make(chan struct{})
	most := watch(r.pid(), stop)
	begun := time.Now()
	for i := range c.sessions {
		ready.Add(1)
		done.Go(func() {
			cl, err := dial(r.entrance)
			if err == nil {
				defer cl.quit()
				if err = cl.begin(r.entrance); err == nil {
					err = cl.write(r.entrance, letter{number: int64(i), run: "hold", body: text})
				}
			}
			ready.Done()
			<-finish
			if err == nil && cl.command('2', ".") == nil {
				ok.Add(1)
			}
		})
	}
	ready.Wait()
	m := memoryOf(r.pid())
	close(finish)
	done.Wait()
	took := time.Since(begun)
	close(stop)
	peak := <-most
	s := sample{perS: perSecond(ok.Load(), took), detail: map[string]float64{
		"pss_mib": max(m.pss, peak.pss), "anonymous_mib": max(m.anonymous, peak.anonymous), "processes": float64(peak.processes), "accepted": float64(ok.Load()),
	}}
	if ok.Load() == 0 {
		return s, fmt.Errorf("took none of %d messages", c.sessions)
	}
	return s, nil
}

// long fills a queue while the next system hangs, and compares accepting and
// delivering with an empty one.
func (l *lab) long(ctx context.Context, p peer, c cell) (got sample, err error) {
	next, err := l.sinkFor("")
	if err != nil {
		return got, err
	}
	defer next.close()
	s := setup{mode: delivering}
	err = l.with(ctx, p, s, func(r *running) error {
		work := load{entrance: r.entrance, sessions: 10, size: c.size, time: l.warm}
		work.run(ctx)
		work.time = l.time
		empty := work.run(ctx)
		fill := load{entrance: r.entrance, sessions: c.sessions, size: c.size, count: int64(l.queued), time: time.Duration(l.queued/100) * time.Second}
		filled := fill.run(ctx)
		full := work.run(ctx)
		time.Sleep(2 * time.Second)
		m := memoryOf(r.pid())
		got = sample{perS: filled.perSecond(), detail: map[string]float64{
			"queued": float64(empty.ok + filled.ok + full.ok), "pss_mib": m.pss, "anonymous_mib": m.anonymous, "accept_full_to_empty": full.perSecond() / max(empty.perSecond(), 1),
		}}
		return l.again(ctx, p, s, r, next, &got)
	})
	return got, err
}

// again starts the peer anew on its long queue and lets it deliver for a while.
func (l *lab) again(ctx context.Context, p peer, s setup, r *running, next *sink, got *sample) error {
	r.end(30 * time.Second)
	s.lab, s.dir = l, r.cmd.Dir
	begun := time.Now()
	second, err := p.start(ctx, s)
	if err != nil {
		return fmt.Errorf("start on a long queue: %w", err)
	}
	*r = *second
	got.detail["start_s"] = time.Since(begun).Seconds()
	begun = time.Now()
	next.speak()
	drained(ctx, next, int64(got.detail["queued"]), 10*time.Second)
	got.detail["drain_per_s"] = perSecond(next.n.Load(), time.Since(begun))
	got.detail["pss_mib_again"] = memoryOf(r.pid()).pss
	return nil
}
