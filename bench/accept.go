package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// or returns the values that were asked for, else those of the workload.
func or(asked, own []int) []int {
	if len(asked) > 0 {
		return asked
	}
	return own
}

// acceptance is W1: how many messages are acknowledged per second; first in the
// clear, then by those who can over TLS.
func acceptance(ctx context.Context, l *lab) error {
	if err := l.acceptClear(ctx); err != nil {
		return err
	}
	for _, size := range or(l.sizes, []int{4 << 10}) {
		for _, sessions := range or(l.sessions, []int{1, 10, 50, 200}) {
			c := cell{workload: "W1", variant: "submission over TLS", size: size, sessions: sessions, measure: perS}
			err := l.windows(ctx, c, l.reps, l.able(parking), func(p peer) (sample, error) {
				silent, err := l.sinkFor("")
				if err != nil {
					return sample{}, err
				}
				defer silent.close()
				return l.accept(ctx, p, setup{mode: parking}, c, l.time)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lab) acceptClear(ctx context.Context) error {
	for _, size := range or(l.sizes, []int{4 << 10, 50 << 10, 1 << 20, 10 << 20}) {
		own := []int{1, 10} // many large ones at once are W5's
		switch {
		case size <= 4<<10:
			own = []int{1, 10, 50, 200}
		case size <= 50<<10:
			own = []int{10, 50}
		}
		for _, sessions := range or(l.sessions, own) {
			c := cell{workload: "W1", size: size, sessions: sessions, measure: perS}
			err := l.windows(ctx, c, l.reps, l.able(accepting), func(p peer) (sample, error) {
				return l.accept(ctx, p, setup{mode: accepting}, c, l.time)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// accept measures one point.
func (l *lab) accept(ctx context.Context, p peer, s setup, c cell, d time.Duration) (got sample, err error) {
	err = l.with(ctx, p, s, func(r *running) error {
		work := load{entrance: r.entrance, sessions: c.sessions, size: c.size, time: l.warm}
		work.run(ctx)
		work.time = d
		t := work.run(ctx)
		got = accepted(t)
		if t.ok == 0 {
			return fmt.Errorf("took nothing: %s", t.trouble())
		}
		return nil
	})
	return got, err
}

func accepted(t *tally) sample {
	s := sample{perS: t.perSecond(), p50: milliseconds(quantile(t.took, .5)), p99: milliseconds(quantile(t.took, .99)), detail: map[string]float64{}}
	if t.failed > 0 {
		s.detail["failed"], s.trouble = float64(t.failed), t.trouble()
	}
	return s
}

// slowMS is how long a sync takes in W7.
const slowMS = 5

// slowDisk is W7: everything that waits for the disk, at 5 ms per sync. strace
// puts the delay in, the same for all. It models a disk whose syncs may overlap
// freely, which is the best case for peers that sync every message by itself.
func slowDisk(ctx context.Context, l *lab) error {
	wrap, err := l.tracer(slowMS*time.Millisecond, "/dev/null")
	if err != nil {
		fmt.Fprintf(l.say, "W7 left out: %v\n", err)
		return nil
	}
	var peers []peer
	for _, p := range l.able(accepting) {
		if d, known := l.durable[p.name]; !known || d.durable {
			peers = append(peers, p) // who does not sync is not slowed down
		}
	}
	for _, size := range or(l.sizes, []int{4 << 10}) {
		for _, sessions := range or(l.sessions, []int{1, 10, 50}) {
			c := cell{workload: "W7", size: size, sessions: sessions, delay: slowMS, measure: perS}
			err := l.windows(ctx, c, l.reps, peers, func(p peer) (sample, error) {
				return l.accept(ctx, p, setup{mode: accepting, wrap: wrap}, c, l.time)
			})
			if err != nil {
				return err
			}
		}
	}
	return l.slowRelay(ctx, wrap)
}

// syncCalls are the system calls that bring data to the disk.
const syncCalls = "fsync,fdatasync,sync,syncfs,sync_file_range,msync"

// tracer is the command that delays every sync of what follows and writes them
// down in a file.
func (l *lab) tracer(delay time.Duration, file string) ([]string, error) {
	strace, err := program("strace")
	if err != nil {
		return nil, fmt.Errorf("%w: apt-get install strace", err)
	}
	line := []string{strace, "-f", "--seccomp-bpf", "-qq", "-o", file, "-e", "trace=" + syncCalls, "-e", "signal=none"}
	if delay > 0 {
		line = append(line, "-e", fmt.Sprintf("inject=%s:delay_exit=%d", syncCalls, delay.Microseconds()))
	}
	return line, nil
}

// durability is what a peer does before it says 250.
type durability struct {
	durable bool
	serial  float64 // syncs one after the other that the reply waits for
	calls   float64 // sync calls per message, those behind the reply too
}

// Values of the test for durability: one delay is far longer than a message
// takes, so that it shows.
const (
	proofDelay    = 30 * time.Millisecond
	proofMessages = 20
)

// syncs finds out who truly waits for the disk: with a delay in every sync call
// the reply of who does comes later by it, the reply of who does not comes as
// before. One session, so that nobody shares a sync.
func (l *lab) syncs(ctx context.Context) error {
	if _, err := l.tracer(0, ""); err != nil {
		fmt.Fprintf(l.say, "who truly syncs is not known: %v\n\n", err)
		return nil
	}
	for _, p := range l.able(accepting) {
		d, err := l.prove(ctx, p)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(l.say, "syncs of %s: %v\n", p.name, err)
			continue
		}
		l.durable[p.name] = d
	}
	return l.writeSyncs(l.say)
}

func (l *lab) prove(ctx context.Context, p peer) (durability, error) {
	plain, _, err := l.traced(ctx, p, 0)
	if err != nil {
		return durability{}, err
	}
	slow, calls, err := l.traced(ctx, p, proofDelay)
	if err != nil {
		return durability{}, err
	}
	waits := (slow - plain).Seconds() / proofDelay.Seconds()
	return durability{durable: waits > 0.5, serial: max(0, math.Round(waits)), calls: calls}, nil
}

// traced returns the median time to a reply and the sync calls per message.
func (l *lab) traced(ctx context.Context, p peer, delay time.Duration) (took time.Duration, calls float64, err error) {
	l.started++
	file := filepath.Join(l.dir, fmt.Sprintf("strace-%d", l.started))
	defer os.Remove(file)
	wrap, err := l.tracer(delay, file)
	if err != nil {
		return 0, 0, err
	}
	err = l.with(ctx, p, setup{mode: accepting, wrap: wrap}, func(r *running) error {
		work := load{entrance: r.entrance, sessions: 1, size: 4 << 10, count: 2, time: patience}
		work.run(ctx)
		time.Sleep(time.Second) // what is behind the replies
		before := lines(file)
		work.count = proofMessages
		t := work.run(ctx)
		time.Sleep(time.Second)
		if t.ok != proofMessages {
			return fmt.Errorf("took %d of %d: %s", t.ok, proofMessages, t.trouble())
		}
		took, calls = quantile(t.took, .5), float64(lines(file)-before)/proofMessages
		return nil
	})
	return took, calls, err
}

// lines counts the calls in a trace; those that are resumed stand there twice.
func lines(file string) (n int) {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if !strings.Contains(s.Text(), " resumed>") {
			n++
		}
	}
	return n
}

func (l *lab) writeSyncs(out io.Writer) error {
	if len(l.durable) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "truly on disk before 250?\tanswer\tsyncs the reply waits for\tsync calls per message (1 session)")
	for _, p := range l.peers {
		d, ok := l.durable[p.name]
		if !ok {
			continue
		}
		answer := "yes"
		if !d.durable {
			answer = "NO: what it has acknowledged may be lost with the power"
		}
		fmt.Fprintf(w, "%s\t%s\t%.0f\t%.1f\n", p.name, answer, d.serial, d.calls)
	}
	fmt.Fprintln(w)
	return w.Flush()
}
